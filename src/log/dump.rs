//! Octets as lines of text.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Shows how many octets there are, and on further lines the octets in base64. Encoded only when shown.
pub struct Dump<'o>(pub &'o [u8]);

impl fmt::Display for Dump<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes:", self.0.len())?;
        // 48 octets are 64 characters.
        self.0.chunks(48).try_for_each(|chunk| write!(f, "\n{}", STANDARD.encode(chunk)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_lines() {
        assert_eq!(Dump(b"").to_string(), "0 bytes:");
        let long = Dump(&[0; 49]).to_string();
        assert_eq!(long, format!("49 bytes:\n{}\nAA==", "A".repeat(64)));
    }
}
