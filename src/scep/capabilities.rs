//! `GetCACaps`, RFC 8894, 3.5: written by a server, read by a client.

use std::fmt;

use super::pki_message::AlgorithmPolicy;

/// What a server says it can do: one keyword a line, LF, well below the 1024 octets that certmonger reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(Vec<&'static str>);

impl Capabilities {
    /// Of a server with this policy, which has a next CA certificate or not. What is only taken from old clients
    /// is not offered to anybody.
    pub fn serving(_policy: &AlgorithmPolicy, next: bool) -> Self {
        let mut said = vec![
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
        ];
        if next {
            said.insert(2, "GetNextCACert");
        }
        Self(said)
    }

    /// Those of a reply, in any case and with any line ends. Unknown ones are passed over, as RFC 8894, 3.5.2
    /// asks clients to do.
    pub fn parse(text: &str) -> Self {
        let known = |line: &str| KEYWORDS.iter().find(|keyword| line.trim().eq_ignore_ascii_case(keyword));
        Self(text.lines().filter_map(known).copied().collect())
    }

    /// Whether this is said, or implied: `SCEPStandard` stands for everything that RFC 8894, 2.9 has everybody
    /// implement.
    pub fn has(&self, keyword: &str) -> bool {
        let says = |wanted: &str| self.0.iter().any(|said| said.eq_ignore_ascii_case(wanted));
        let implied = IMPLIED.iter().any(|implied| implied.eq_ignore_ascii_case(keyword));
        says(keyword) || (implied && says(STANDARD))
    }

    /// Whether nothing is said at all: a server of before there was GetCACaps, or one of another protocol.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|keyword| writeln!(f, "{keyword}"))
    }
}

const STANDARD: &str = "SCEPStandard";
/// By [`STANDARD`].
const IMPLIED: &[&str] = &["AES", "POSTPKIOperation", "SHA-256"];
/// Those of the registry (RFC 8894, 3.5.2), and one that servers say beside them.
const KEYWORDS: &[&str] = &[
    "AES",
    "DES3",
    "GetNextCACert",
    "POSTPKIOperation",
    "Renewal",
    "SHA-1",
    "SHA-256",
    "SHA-384",
    "SHA-512",
    STANDARD,
    "Update",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_and_what_is_implied() {
        let says = Capabilities::parse("postpkioperation\r\nSHA-512 \nMagic\n\nRenewal");
        assert!(says.has("POSTPKIOperation") && says.has("SHA-512") && says.has("Renewal"));
        assert!(!says.has("AES") && !says.has("Magic") && !says.has("GetNextCACert"));
        let standard = Capabilities::parse("SCEPStandard\n");
        assert!(standard.has("AES") && standard.has("SHA-256") && standard.has("POSTPKIOperation"));
        assert!(!standard.has("Renewal") && !standard.has("DES3"));
        assert!(Capabilities::parse("<html>no such page</html>").is_empty());
    }

    #[test]
    fn what_is_served_is_understood() {
        for next in [false, true] {
            let served = Capabilities::serving(&AlgorithmPolicy::default(), next);
            assert_eq!(Capabilities::parse(&served.to_string()), served);
            assert_eq!(served.has("GetNextCACert"), next);
        }
    }
}
