//! `crypto pki server L …`: revocation and the CRL.

use std::fmt;

use serde::Serialize;

use super::certificates::{octets, serial};
use super::server::server;
use super::{Command, Output, Run};
use crate::node::CrlReport;

pub const COMMANDS: &[Command] = &[
    Command {
        words: "show crypto pki/ca server <label> crl",
        about: "The same as `crypto pki server <label> info crl`",
        help: &[("server", "Certificate servers"), ("crl", "The CRL")],
        run: Run::OnNode(|node, call| Ok(Output::of(CrlInfo(server(node, call)?.crl()?)))),
    },
    Command {
        words: "crypto pki/ca server <label> info crl",
        about: "Shows the newest CRL",
        help: &[("info", "Show what the server has"), ("crl", "The CRL")],
        run: Run::OnNode(|node, call| Ok(Output::of(CrlInfo(server(node, call)?.crl()?)))),
    },
    Command {
        words: "crypto pki/ca server <label> revoke <serial> [reason {unspecified | \
                keyCompromise/key-compromise | cACompromise/ca-compromise | \
                affiliationChanged/affiliation-changed | superseded | \
                cessationOfOperation/cessation-of-operation | certificateHold/certificate-hold | \
                privilegeWithdrawn/privilege-withdrawn | aACompromise/aa-compromise}]",
        about: "Revokes a certificate and issues a CRL",
        help: &[
            ("revoke", "Revoke a certificate"),
            ("<serial>", "Serial number, as 0x1F or 31"),
            ("reason", "Why, by RFC 5280, 5.3.1"),
            ("unspecified", "No reason is told"),
            ("keyCompromise", "Its key is known to others"),
            ("cACompromise", "The key of the CA that it certifies is known to others"),
            ("affiliationChanged", "Its name is wrong now"),
            ("superseded", "There is a newer one"),
            ("cessationOfOperation", "It is not needed any more"),
            ("certificateHold", "For a time; unrevoke takes it back"),
            ("privilegeWithdrawn", "It may not have it any more"),
            ("aACompromise", "The key of the attribute authority is known to others"),
        ],
        run: Run::OnNode(|node, call| {
            let serial = serial(call)?;
            let reason = REASONS.iter().find(|(name, _)| call.args.has(name)).map_or(0, |(_, code)| *code);
            let crl = server(node, call)?.revoke(&serial, reason)?;
            Ok(Output::of(Revoked { serial: serial.to_string(), done: "revoked", crl: crl.number }))
        }),
    },
    Command {
        words: "crypto pki/ca server <label> unrevoke <serial>",
        about: "Takes back a revocation with the reason certificateHold and issues a CRL",
        help: &[("unrevoke", "Take a hold back"), ("<serial>", "Serial number, as 0x1F or 31")],
        run: Run::OnNode(|node, call| {
            let serial = serial(call)?;
            let crl = server(node, call)?.unrevoke(&serial)?;
            Ok(Output::of(Revoked { serial: serial.to_string(), done: "unrevoked", crl: crl.number }))
        }),
    },
];

/// RFC 5280, 5.3.1; removeFromCRL (8) is for delta CRLs.
const REASONS: &[(&str, u8)] = &[
    ("unspecified", 0),
    ("keyCompromise", 1),
    ("cACompromise", 2),
    ("affiliationChanged", 3),
    ("superseded", 4),
    ("cessationOfOperation", 5),
    ("certificateHold", 6),
    ("privilegeWithdrawn", 9),
    ("aACompromise", 10),
];

#[derive(Serialize)]
#[serde(transparent)]
struct CrlInfo(CrlReport);

impl fmt::Display for CrlInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let crl = &self.0;
        writeln!(f, "Certificate Revocation List:")?;
        writeln!(f, "  Issuer: {}", crl.issuer)?;
        writeln!(f, "  This Update: {}", crl.this_update)?;
        writeln!(f, "  Next Update: {}", crl.next_update)?;
        writeln!(f, "  Number of CRL entries: {}", crl.entries)?;
        writeln!(f, "  CRL size: {} bytes", crl.size)?;
        writeln!(f, "  CRL number: {}", crl.number)?;
        if !crl.revoked.is_empty() {
            writeln!(f, "Revoked Certificates:")?;
        }
        for row in &crl.revoked {
            writeln!(f, "  Serial Number: 0x{}", octets(&row.serial))?;
            writeln!(f, "  Revocation Date: {}", row.at)?;
            writeln!(f, "  Reason: {}", row.reason)?;
        }
        match crl.entries.checked_sub(crl.revoked.len() as u64) {
            Some(more @ 1..) => writeln!(f, "  and {more} more"),
            _ => Ok(()),
        }
    }
}

#[derive(Serialize)]
struct Revoked {
    serial: String,
    #[serde(rename = "state")]
    done: &'static str,
    crl: u64,
}

impl fmt::Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "% Certificate {} successfully {}.", self.serial, self.done)?;
        writeln!(f, "% CRL number {} was issued.", self.crl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_can_be_typed() {
        for (name, code) in REASONS {
            let found = super::super::find(&format!("crypto ca server x revoke 1 reason {name}")).unwrap();
            assert!(found.args.has(name), "{name} ({code})");
        }
        let found = super::super::find("crypto pki server x revoke 1 reason key-comp").unwrap();
        assert!(found.args.has("keyCompromise"));
    }
}
