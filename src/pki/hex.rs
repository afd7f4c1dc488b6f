//! Hexadecimal digits.

/// Two upper-case digits an octet, as IOS shows fingerprints.
pub fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(octets.len() * 2), |text, octet| text + &format!("{octet:02X}"))
}
