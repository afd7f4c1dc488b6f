//! Octets as hex digits, in the manner of IOS.

use std::fmt::Write;

/// The octets of these digits; `None` for anything else.
pub(super) fn octets(digits: &str) -> Option<Vec<u8>> {
    if digits.is_empty() || !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |octet: u8| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    digits.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// Lines of eight groups of eight upper-case digits.
pub(super) fn lines(octets: &[u8]) -> String {
    let mut text = String::new();
    for line in octets.chunks(32) {
        text.push(' ');
        for group in line.chunks(4) {
            text.push(' ');
            // Writing to a String cannot fail.
            for octet in group {
                let _ = write!(text, "{octet:02X}");
            }
        }
        text.push('\n');
    }
    text
}
