//! Certificate serial numbers.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A certificate serial number: a non-negative integer, kept as big-endian octets without leading
/// zeros (zero is one zero octet).
///
/// What we issue has at most 20 octets (RFC 5280, 4.1.2.2); what clients show us may have more
/// (certmonger's signer certificates have 33). Displayed as IOS does: `0x1F`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// From big-endian unsigned octets; leading zeros are dropped.
    pub fn from_be_bytes(bytes: &[u8]) -> Self {
        let start = bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len().saturating_sub(1));
        Self(match &bytes[start..] {
            [] => vec![0],
            digits => digits.to_vec(),
        })
    }

    /// The magnitude, big-endian, without leading zeros.
    pub fn as_be_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The content octets of the DER INTEGER: a zero octet in front when the top bit is set.
    pub fn to_der_content(&self) -> Vec<u8> {
        let mut content = Vec::with_capacity(self.0.len() + 1);
        if self.0[0] & 0x80 != 0 {
            content.push(0);
        }
        content.extend_from_slice(&self.0);
        content
    }

    /// The value, when it fits.
    pub fn to_u64(&self) -> Option<u64> {
        (self.0.len() <= 8).then(|| self.0.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
    }
}

impl Ord for Serial {
    /// By value: without leading zeros the longer one is the larger.
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Serial {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<u64> for Serial {
    fn from(value: u64) -> Self {
        Self::from_be_bytes(&value.to_be_bytes())
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:X}", self.0[0])?;
        self.0[1..].iter().try_for_each(|b| write!(f, "{b:02X}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Serial {
    type Err = SerialError;

    /// `0x` and hex digits, or decimal digits, as the operator types them.
    fn from_str(text: &str) -> Result<Self, SerialError> {
        let digits = |s: &str, radix: u32| -> Option<Vec<u8>> {
            if s.is_empty() || s.len() > MAX_DIGITS {
                return None;
            }
            let mut bytes = vec![0u8; s.len()];
            for c in s.chars() {
                let mut carry = c.to_digit(radix)?;
                for b in bytes.iter_mut().rev() {
                    carry += u32::from(*b) * radix;
                    *b = carry as u8;
                    carry >>= 8;
                }
            }
            Some(bytes)
        };
        match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(hex) => digits(hex, 16),
            None => digits(text, 10),
        }
        .map(|bytes| Self::from_be_bytes(&bytes))
        .ok_or_else(|| SerialError(text.chars().take(MAX_DIGITS).collect()))
    }
}

/// What was typed is neither `0x` and hex digits nor decimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a serial number; type it as 0x1F or 31")]
pub struct SerialError(String);

const MAX_DIGITS: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_in_hex_and_decimal() {
        assert_eq!("0x1f".parse::<Serial>().unwrap(), Serial::from(31));
        assert_eq!("31".parse::<Serial>().unwrap(), Serial::from(31));
        assert_eq!(
            "340282366920938463463374607431768211456".parse::<Serial>().unwrap().to_string(),
            format!("0x1{}", "0".repeat(32))
        );
        for bad in ["", "0x", "x", "0xg", "-1", "1 "] {
            assert!(bad.parse::<Serial>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ordered_by_value() {
        assert!(Serial::from(2) < Serial::from(0x100));
        assert!(Serial::from(0x201) > Serial::from(0x102));
    }

    #[test]
    fn leading_zeros_and_sign_octet() {
        assert_eq!(Serial::from_be_bytes(&[0, 0, 0x80]).to_der_content(), [0, 0x80]);
        assert_eq!(Serial::from_be_bytes(&[]).to_string(), "0x0");
        assert_eq!(Serial::from(0x1234).to_string(), "0x1234");
        assert_eq!(Serial::from(u64::MAX).to_u64(), Some(u64::MAX));
    }
}
