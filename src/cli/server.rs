//! `crypto pki server L …` and `show crypto pki server`.

use std::fmt;

use secrecy::ExposeSecret;
use serde::Serialize;

use super::certificates::serial;
use super::command::groups;
use super::{Call, Command, CommandError, Output, Run};
use crate::node::{CertServer, CrlReport, Decision, Node, NodeError, RequestRow, Selection};
use crate::node::{ServerReport, ServerStatus};
use crate::pki::Name;
use crate::store::Class;

pub const COMMANDS: &[Command] = &[
    Command {
        words: "show crypto pki/ca server [<label>]",
        about: "Shows the state of the certificate servers",
        help: &[("server", "Certificate servers")],
        run: Run::OnNode(|node, call| {
            let labels = match call.args.get("label") {
                Some(label) => vec![label.to_owned()],
                None => node.servers(),
            };
            let report = |label: String| node.server(&label)?.report();
            Ok(Output::of(Servers(labels.into_iter().map(report).collect::<Result<_, NodeError>>()?)))
        }),
    },
    Command {
        words: "show crypto pki/ca server <label> requests",
        about: "The same as `crypto pki server <label> info requests`",
        help: &[("server", "Certificate servers"), ("requests", "Enrollment requests")],
        run: Run::OnNode(|node, call| Ok(Output::of(Requests(server(node, call)?.requests()?)))),
    },
    Command {
        words: "show crypto pki/ca server <label> crl",
        about: "The same as `crypto pki server <label> info crl`",
        help: &[("server", "Certificate servers"), ("crl", "The CRL")],
        run: Run::OnNode(|node, call| Ok(Output::of(CrlInfo(server(node, call)?.crl()?)))),
    },
    Command {
        words: "crypto pki/ca server <label> info requests",
        about: "Lists the enrollment requests with their states",
        help: &[("info", "Show what the server has"), ("requests", "Enrollment requests")],
        run: Run::OnNode(|node, call| Ok(Output::of(Requests(server(node, call)?.requests()?)))),
    },
    Command {
        words: "crypto pki/ca server <label> info crl",
        about: "Shows the newest CRL",
        help: &[("info", "Show what the server has"), ("crl", "The CRL")],
        run: Run::OnNode(|node, call| Ok(Output::of(CrlInfo(server(node, call)?.crl()?)))),
    },
    Command {
        words: "crypto pki/ca server <label> grant {all | <ids>}",
        about: "Issues the certificates of pending requests",
        help: &[
            ("grant", "Grant requests"),
            ("all", "All pending requests"),
            ("<ids>", "ReqID, as 3 or 3-7"),
        ],
        run: Run::OnNode(|node, call| Ok(decisions(server(node, call)?.grant(selection(call)?)?))),
    },
    Command {
        words: "crypto pki/ca server <label> reject {all | <ids>}",
        about: "Denies pending requests",
        help: &[
            ("reject", "Deny requests"),
            ("all", "All pending requests"),
            ("<ids>", "ReqID, as 3 or 3-7"),
        ],
        run: Run::OnNode(|node, call| Ok(decisions(server(node, call)?.reject(selection(call)?)?))),
    },
    Command {
        words: "crypto pki/ca server <label> remove {all | <ids>}",
        about: "Forgets requests; certificates issued stay",
        help: &[("remove", "Forget requests"), ("all", "All requests"), ("<ids>", "ReqID, as 3 or 3-7")],
        run: Run::OnNode(|node, call| Ok(decisions(server(node, call)?.remove(selection(call)?)?))),
    },
    Command {
        words: "crypto pki/ca server <label> password generate [<minutes:1-1440>] [subject <dn...>]",
        about: "Makes a one-time password that authorizes a request, valid for an hour by default; a new one \
                replaces the last, unless they are bound to subjects",
        help: &[
            ("password", "One-time passwords"),
            ("generate", "Make one"),
            ("<minutes>", "How long it is valid"),
            ("subject", "For a request with this subject only"),
            ("<dn>", "As in CN=r1, O=Example"),
        ],
        run: Run::OnNode(password),
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

fn server(node: &Node, call: &Call<'_>) -> Result<std::sync::Arc<CertServer>, CommandError> {
    Ok(node.server(call.args.text("label"))?)
}

/// `all`, `3` or `3-7`.
fn selection(call: &Call<'_>) -> Result<Selection, CommandError> {
    let Some(ids) = call.args.get("ids") else { return Ok(Selection::All) };
    let (first, last) = ids.split_once('-').unwrap_or((ids, ids));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok(Selection::Range(first, last)),
        _ => Err(call.refuse("ids", "requests are named all, 3 or 3-7")),
    }
}

fn password(node: &Node, call: &mut Call<'_>) -> Result<Output, CommandError> {
    // 1440 at most.
    let minutes = call.args.number("minutes").and_then(|minutes| u32::try_from(minutes).ok()).unwrap_or(60);
    let subject = call.args.get("dn");
    let name = subject.map(Name::parse).transpose().map_err(|error| call.refuse("dn", error.to_string()))?;
    let password = server(node, call)?.generate_password(minutes, subject)?;
    let subject = name.map(|name| name.to_string());
    Ok(Output::of(Password { password: password.expose_secret().to_owned(), minutes, subject }))
}

#[derive(Serialize)]
struct Servers(Vec<ServerReport>);

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            writeln!(f, "% No certificate server is configured.")?;
        }
        for (i, report) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            state(f, report)?;
        }
        Ok(())
    }
}

fn state(f: &mut fmt::Formatter<'_>, report: &ServerReport) -> fmt::Result {
    writeln!(f, "Certificate Server {}:", report.label)?;
    writeln!(
        f,
        "  Status: {}",
        match report.status {
            ServerStatus::Enabled => "enabled",
            ServerStatus::Disabled => "disabled",
            ServerStatus::CheckFailed => "check failed",
        }
    )?;
    match report.locked {
        true => writeln!(f, "  Server's configuration is locked (enter \"shut\" to unlock it)")?,
        false => writeln!(f, "  Server's configuration is unlocked (enter \"no shut\" to lock it)")?,
    }
    writeln!(f, "  Issuer name: {}", report.issuer_name)?;
    let md5 = report.fingerprint_md5.as_deref().map_or("-Not found-".to_owned(), groups);
    writeln!(f, "  CA cert fingerprint: {md5}")?;
    writeln!(f, "  Granting mode is: {}", report.granting)?;
    let serial = report.last_serial.as_ref().map_or("0x0".to_owned(), ToString::to_string);
    writeln!(f, "  Last certificate issued serial number: {serial}")?;
    writeln!(f, "  CA certificate expiration timer: {}", report.ca_expires.unwrap_or_default())?;
    match report.crl_next_update {
        Some(time) => writeln!(f, "  CRL NextUpdate timer: {time}")?,
        None => writeln!(f, "  CRL not present.")?,
    }
    writeln!(f, "  Current storage dir: {}", report.storage)?;
    writeln!(
        f,
        "  Database Level: {}",
        // IOS says which files it writes; what is kept here does not depend on the level.
        match report.database_level.as_str() {
            "names" => "Names - all issued certs kept in the database",
            "complete" => "Complete - all issued certs kept in the database",
            _ => "Minimum - all issued certs kept in the database",
        }
    )?;
    // What IOS does not say.
    if let Some(sha256) = &report.fingerprint_sha256 {
        writeln!(f, "  CA cert fingerprint SHA256: {}", groups(sha256))?;
    }
    writeln!(f, "  CA key: {}", report.key)?;
    writeln!(f, "  SCEP key: {}", report.scep_key)?;
    writeln!(f, "  Pending requests: {}", report.pending)?;
    let last = report.last_error.as_ref().map(|error| error.replace('\n', "\n    "));
    last.iter().try_for_each(|error| writeln!(f, "  Last error: {error}"))
}

#[derive(Serialize)]
struct Requests(Vec<RequestRow>);

impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Enrollment Request Database:\n")?;
        let groups = [
            ("Subordinate CA certificate requests:", Class::SubordinateCa),
            ("RA certificate requests:", Class::Ra),
            ("Router certificates requests:", Class::Router),
        ];
        for (title, class) in groups {
            writeln!(f, "{title}")?;
            writeln!(f, "{:<7}{:<11}{:<33}SubjectName", "ReqID", "State", "Fingerprint")?;
            writeln!(f, "{:-<62}", "")?;
            for row in self.0.iter().filter(|row| row.class == class) {
                let fingerprint = row.fingerprint.to_ascii_uppercase();
                writeln!(f, "{:<7}{:<11}{fingerprint:<33}{}", row.id, row.state, row.subject)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

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
            writeln!(f, "  Serial Number: {}", row.serial)?;
            writeln!(f, "  Revocation Date: {}", row.at)?;
            writeln!(f, "  Reason: {}", row.reason)?;
        }
        match crl.entries.checked_sub(crl.revoked.len() as u64) {
            Some(more @ 1..) => writeln!(f, "  and {more} more"),
            _ => Ok(()),
        }
    }
}

fn decisions(decisions: Vec<Decision>) -> Output {
    let failed = decisions.iter().any(|decision| decision.error.is_some());
    let mut output = Output::of(Decisions(decisions));
    output.failed = failed;
    output
}

#[derive(Serialize)]
struct Decisions(Vec<Decision>);

impl fmt::Display for Decisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            writeln!(f, "% There are no such requests.")?;
        }
        for decision in &self.0 {
            let id = decision.id;
            match (&decision.error, &decision.state, &decision.serial) {
                (Some(error), ..) => writeln!(f, "% reqID={id}: {error}")?,
                (None, Some(state), Some(serial)) => {
                    writeln!(f, "% reqID={id} {state}, serial number {serial}")?
                }
                (None, Some(state), None) => writeln!(f, "% reqID={id} {state}")?,
                (None, None, _) => writeln!(f, "% reqID={id} removed")?,
            }
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Password {
    password: String,
    minutes: u32,
    subject: Option<String>,
}

impl fmt::Display for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "% New password is {}, valid for {} minutes", self.password, self.minutes)?;
        self.subject.iter().try_for_each(|subject| writeln!(f, "% for the subject {subject}"))
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
    use crate::pki::{Serial, Time};
    use crate::store::{Cost, State};

    fn report() -> ServerReport {
        ServerReport {
            label: "sub".into(),
            status: ServerStatus::Enabled,
            last_error: None,
            locked: true,
            issuer_name: "cn=sub".into(),
            fingerprint_md5: Some("11b586ee3b354f3314a25ddd7bd39187".into()),
            fingerprint_sha1: None,
            fingerprint_sha256: None,
            granting: "manual".into(),
            last_serial: Some(Serial::from(1)),
            ca_expires: Some(Time::from_unix(1_792_007_097)),
            crl_next_update: Some(Time::from_unix(1_792_007_097)),
            storage: "nvram:".into(),
            database_level: "minimum".into(),
            key: "usbtoken0:sub".into(),
            scep_key: "the CA key".into(),
            pending: 0,
        }
    }

    #[test]
    fn the_server_is_shown_as_ios_does() {
        let text = Servers(vec![report()]).to_string();
        assert!(
            text.starts_with(
                "Certificate Server sub:\n  Status: enabled\n  Server's configuration is locked (enter \
                 \"shut\" to unlock it)\n  Issuer name: cn=sub\n  CA cert fingerprint: 11B586EE 3B354F33 \
                 14A25DDD 7BD39187\n  Granting mode is: manual\n  Last certificate issued serial number: \
                 0x1\n  CA certificate expiration timer: 19:44:57 UTC Oct 14 2026\n  CRL NextUpdate timer: \
                 19:44:57 UTC Oct 14 2026\n  Current storage dir: nvram:\n  Database Level: Minimum - all \
                 issued certs kept in the database\n"
            ),
            "{text}"
        );
        let bare = ServerReport {
            status: ServerStatus::CheckFailed,
            last_error: Some("no token".into()),
            fingerprint_md5: None,
            last_serial: None,
            ca_expires: None,
            crl_next_update: None,
            ..report()
        };
        let text = Servers(vec![bare]).to_string();
        for line in
            ["Status: check failed", "-Not found-", "number: 0x0", "CRL not present.", "Last error: no token"]
        {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn requests_are_listed_by_group() {
        let row = |id, class, state, subject: &str| RequestRow {
            id,
            class,
            state,
            fingerprint: "1b07f3021daab0f19f35da25d01d8567".into(),
            fingerprint_sha256: String::new(),
            subject: subject.into(),
            transaction: String::new(),
            source: String::new(),
            created: Time::default(),
            serial: None,
            reason: None,
            cost: Cost::default(),
        };
        let rows = vec![
            row(3, Class::Ra, State::Denied, "cn=myra,ou=ioscs RA"),
            row(2, Class::Router, State::Pending, "hostname=host1.company.com"),
        ];
        let head = "ReqID  State      Fingerprint                      SubjectName\n\
                    --------------------------------------------------------------\n";
        assert_eq!(
            Requests(rows).to_string(),
            format!(
                "Enrollment Request Database:\n\n\
                 Subordinate CA certificate requests:\n{head}\n\
                 RA certificate requests:\n{head}\
                 3      denied     1B07F3021DAAB0F19F35DA25D01D8567 cn=myra,ou=ioscs RA\n\n\
                 Router certificates requests:\n{head}\
                 2      pending    1B07F3021DAAB0F19F35DA25D01D8567 hostname=host1.company.com\n\n"
            )
        );
    }

    #[test]
    fn a_decision_that_failed_fails_the_command() {
        let granted =
            Decision { id: 1, state: Some(State::Granted), serial: Some(Serial::from(2)), error: None };
        let denied = Decision { id: 2, state: None, serial: None, error: Some("it is denied".into()) };
        let output = decisions(vec![granted.clone()]);
        assert_eq!(
            (output.render(false), output.failed),
            ("% reqID=1 granted, serial number 0x2\n".into(), false)
        );
        let output = decisions(vec![granted, denied]);
        assert!(output.failed);
        assert!(output.render(false).ends_with("% reqID=2: it is denied\n"));
        assert!(output.render(true).contains("\"serial\": \"0x2\""));
    }

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
