//! The HTTP face of SCEP, RFC 8894, 4.1, as pure functions on strings.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// `operation=`. Upper and lower case are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// GetCACaps.
    GetCaCaps,
    /// GetCACert.
    GetCaCert,
    /// GetCACertChain, of the drafts; `GetCAChain` with certmonger.
    GetCaCertChain,
    /// GetNextCACert.
    GetNextCaCert,
    /// PKIOperation.
    PkiOperation,
    /// GetCRL, of IOS: the CRL as it is.
    GetCrl,
}

impl Operation {
    /// The operation of this name.
    pub fn from_text(text: &str) -> Option<Self> {
        let name = text.to_ascii_lowercase();
        Some(match name.as_str() {
            "getcacaps" => Self::GetCaCaps,
            "getcacert" => Self::GetCaCert,
            "getcacertchain" | "getcachain" => Self::GetCaCertChain,
            "getnextcacert" => Self::GetNextCaCert,
            "pkioperation" => Self::PkiOperation,
            "getcrl" => Self::GetCrl,
            _ => return None,
        })
    }
}

/// The value of `key` in a query, in any order and case, %-escapes decoded. `+` stays: it is base64 here.
pub fn parameter(query: &str, key: &str) -> Option<String> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let value = pairs.filter(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, value)| value).next()?;
    Some(String::from_utf8_lossy(&unescape(value)).into_owned())
}

/// A message from a GET: base64 as clients write it. Either alphabet, a blank where `+` was, line breaks,
/// padding or none.
pub fn message_from_query(value: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = value
        .bytes()
        .filter(|b| !matches!(b, b'\r' | b'\n' | b'\t' | b'='))
        .map(|b| match b {
            b' ' | b'-' => b'+',
            b'_' => b'/',
            b => b,
        })
        .collect();
    TOLERANT.decode(digits).ok().filter(|message| !message.is_empty())
}

/// A message from a POST: its octets, or the same in base64.
pub fn message_from_body(body: Vec<u8>) -> Vec<u8> {
    const SEQUENCE: u8 = 0x30;
    match body.first() {
        Some(&SEQUENCE) | None => body,
        Some(_) => match std::str::from_utf8(&body).ok().and_then(message_from_query) {
            Some(message) => message,
            None => body,
        },
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, ..] => {
                let digit = |b: u8| (b as char).to_digit(16);
                digit(*high).zip(digit(*low)).map(|(high, low)| (high << 4 | low) as u8)
            }
            _ => None,
        };
        match escaped {
            Some(octet) => {
                out.push(octet);
                rest = &rest[3..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

const TOLERANT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_clients_base64() {
        let message = [0x30, 0xfb, 0xef, 0xff, 1];
        for text in ["MPvv/wE=", "MPvv/wE", "MPvv_wE", "MPvv\n/wE=\n", "MPvv/wE=\r\n"] {
            assert_eq!(message_from_query(text).as_deref(), Some(&message[..]), "{text:?}");
        }
        assert_eq!(message_from_query("MPv +w").as_deref(), message_from_query("MPv++w").as_deref());
        assert_eq!(message_from_query("M"), None);
        assert_eq!(message_from_query("%%%"), None);
        assert_eq!(message_from_query(""), None);
    }

    #[test]
    fn parameters_in_any_order_and_case() {
        let query = "Message=a%2Bb+c%0A&OPERATION=pkiOperation";
        assert_eq!(parameter(query, "message").as_deref(), Some("a+b+c\n"));
        assert_eq!(
            parameter(query, "operation").and_then(|o| Operation::from_text(&o)),
            Some(Operation::PkiOperation)
        );
        assert_eq!(parameter("operation", "operation").as_deref(), Some(""));
        assert_eq!(parameter("a=%zz%4", "a").as_deref(), Some("%zz%4"));
        assert_eq!(parameter("", "operation"), None);
    }

    #[test]
    fn a_body_may_be_base64() {
        assert_eq!(message_from_body(vec![0x30, 0]), [0x30, 0]);
        assert_eq!(message_from_body(b"MAA=\n".to_vec()), [0x30, 0]);
        assert_eq!(message_from_body(b"?".to_vec()), b"?");
    }
}
