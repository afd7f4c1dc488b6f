//! `GetCACaps`, RFC 8894, 3.5.

use std::fmt;

use super::pki_message::AlgorithmPolicy;

/// What this server says it can do: one keyword a line, LF, well below the 1024 octets that certmonger reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities(Vec<&'static str>);

impl Capabilities {
    /// Of a server with this policy. What is only taken from old clients is not offered to anybody.
    pub fn serving(_policy: &AlgorithmPolicy) -> Self {
        Self(vec![
            "AES",
            "DES3",
            "POSTPKIOperation",
            "Renewal",
            "SHA-1",
            "SHA-256",
            // Not in the registry, but true, and strongSwan 5.9.8 takes it for AES by mistake.
            "SHA-384",
            "SHA-512",
            "SCEPStandard",
        ])
    }

    /// Those of a reply; unknown ones are kept, as the RFC asks clients to ignore them.
    pub fn has(text: &str, keyword: &str) -> bool {
        text.lines().any(|line| line.trim().eq_ignore_ascii_case(keyword))
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|keyword| writeln!(f, "{keyword}"))
    }
}
