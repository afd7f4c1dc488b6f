//! `crypto legacy`: old algorithms that a server or a trustpoint may use after all.

use std::fmt;

use crate::pki::Hash;

use super::grammar::Args;
use super::line::Verb;

/// Old algorithms allowed in one section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Legacy {
    /// Single DES: in requests to a server, in replies to a trustpoint.
    pub des: bool,
    /// MD5: in requests to a server, in replies to a trustpoint, and `hash md5`.
    pub md5: bool,
    /// SHA-1: in certificates, and `hash sha1`.
    pub sha1: bool,
    /// RSA keys of 1024 to 2047 bits.
    pub rsa_1024: bool,
}

impl Legacy {
    /// Its syntax, in every section that has it.
    pub(super) const SYNTAX: &'static str = "crypto legacy {des | md5 | sha1 | rsa-1024}";

    /// Whether this digest may be used.
    pub const fn allows(self, hash: Hash) -> bool {
        match hash {
            Hash::Md5 => self.md5,
            Hash::Sha1 => self.sha1,
            Hash::Sha256 | Hash::Sha384 | Hash::Sha512 => true,
        }
    }

    /// What either allows.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self {
            des: self.des || other.des,
            md5: self.md5 || other.md5,
            sha1: self.sha1 || other.sha1,
            rsa_1024: self.rsa_1024 || other.rsa_1024,
        }
    }

    /// Does a line with [`Legacy::SYNTAX`].
    pub(super) fn line(&mut self, verb: Verb, args: &Args) {
        let words = [
            ("des", &mut self.des),
            ("md5", &mut self.md5),
            ("sha1", &mut self.sha1),
            ("rsa-1024", &mut self.rsa_1024),
        ];
        // `no crypto legacy` alone takes all of them back.
        let every = !words.iter().any(|(word, _)| args.has(word));
        for (word, allowed) in words {
            if every || args.has(word) {
                *allowed = verb == Verb::Set;
            }
        }
    }
}

impl fmt::Display for Legacy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [("des", self.des), ("md5", self.md5), ("sha1", self.sha1), ("rsa-1024", self.rsa_1024)];
        let mut allowed = words.into_iter().filter(|(_, allowed)| *allowed);
        allowed.try_for_each(|(word, _)| writeln!(f, " crypto legacy {word}"))
    }
}
