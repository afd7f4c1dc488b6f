//! `crypto pki server L rollover`: the next CA certificate.

use std::fmt;

use serde::Serialize;

use super::command::{Messages, groups};
use super::requests::request;
use super::server::server;
use super::{Call, Command, CommandError, Output, Run};
use crate::node::{Node, RolloverReport, RolloverStatus};

pub const COMMANDS: &[Command] = &[
    Command {
        words: "crypto pki/ca server <label> rollover",
        about: "Makes the next CA certificate and its key now; it takes over when the CA certificate ends",
        help: &[("rollover", "Make the next CA certificate")],
        run: Run::OnNode(|node, call| {
            let server = server(node, call)?;
            let mut messages = server.roll_over()?;
            let report = server.rollover(0)?;
            let (Some(begins), Some(sha256)) = (report.begins, &report.fingerprint_sha256) else {
                return Ok(Output::of(Messages { messages }));
            };
            messages.push("% The rollover CA certificate is available.".to_owned());
            messages.push(format!("% Its fingerprint SHA256: {}", groups(sha256)));
            messages.push(format!("% It takes over on {begins}."));
            Ok(Output::of(Messages { messages }))
        }),
    },
    Command {
        words: "crypto pki/ca server <label> rollover cancel",
        about: "Takes the next CA certificate back and deletes its keys; what it issued is revoked. Another is made \
                by `rollover` only, or for the CA certificate after this one",
        help: &[("rollover", "The next CA certificate"), ("cancel", "Take it back and delete its keys")],
        run: Run::OnNode(cancel),
    },
    Command {
        words: "crypto pki/ca server <label> rollover request pkcs10 {terminal | url <url> | <url>} [base64 | pem]",
        about: "Takes a request for a certificate of the next CA by hand; it is printed when it is granted",
        help: &[
            ("rollover", "The next CA certificate"),
            ("request", "Bring a request for one of its certificates by hand"),
            ("pkcs10", "A PKCS#10"),
            ("terminal", "Paste it"),
            ("url", "Read it from a file"),
            ("<url>", "As in nvram:r1.req or tftp://192.0.2.1/r1.req"),
            ("base64", "Print the certificate in base64"),
            ("pem", "Print the certificate in PEM"),
        ],
        run: Run::OnNode(|node, call| request(node, call, true)),
    },
    Command {
        words: "crypto pki/ca server <label> info rollover",
        about: "Shows how far a rollover has come, and who has no certificate of the next CA yet; not an IOS command",
        help: &[("info", "Show what the server has"), ("rollover", "How far a rollover has come")],
        run: Run::OnNode(|node, call| Ok(Output::of(Info(server(node, call)?.rollover(MOST_NAMED)?)))),
    },
];

fn cancel(node: &Node, call: &mut Call<'_>) -> Result<Output, CommandError> {
    let server = server(node, call)?;
    match server.rollover_at_stake()? {
        0 => {}
        1 => call
            .confirm(&format!("% 1 certificate was issued by the rollover CA; it will be revoked. {SURE}"))?,
        n => call.confirm(&format!(
            "% {n} certificates were issued by the rollover CA; they will be revoked. {SURE}"
        ))?,
    }
    let mut messages = vec!["% The rollover CA certificate and its keys are deleted.".to_owned()];
    messages.extend(server.cancel_rollover()?);
    Ok(Output::of(Messages { messages }))
}

/// The lines of a rollover in `show crypto pki server`.
pub fn state(f: &mut fmt::Formatter<'_>, report: &RolloverReport) -> fmt::Result {
    match &report.status {
        RolloverStatus::Available => writeln!(f, "  Rollover status: available for rollover")?,
        RolloverStatus::Withheld(why) => writeln!(f, "  Rollover status: not offered: {}", lines(why))?,
        RolloverStatus::Cancelled => writeln!(f, "  Rollover status: cancelled by the operator")?,
        RolloverStatus::None => {}
    }
    if let Some(md5) = &report.fingerprint_md5 {
        writeln!(f, "  Rollover CA certificate fingerprint: {}", groups(md5))?;
    }
    if let Some(expires) = report.expires {
        writeln!(f, "  Rollover CA certificate expiration time: {expires}")?;
    }
    if let Some(days) = report.overlap_days {
        writeln!(f, "  Auto-Rollover configured, overlap period {days} days")?;
    }
    if let (Some(timer), RolloverStatus::None) = (report.timer, &report.status) {
        writeln!(f, "  Autorollover timer: {timer}")?;
    }
    // What IOS does not say.
    if let Some(sha256) = &report.fingerprint_sha256 {
        writeln!(f, "  Rollover CA certificate fingerprint SHA256: {}", groups(sha256))?;
        match &report.clients {
            Some(clients) => writeln!(
                f,
                "  Rollover clients: {} ready, {} not yet; rollover CA certificate fetched from {} addresses",
                clients.ready, clients.missing, report.fetched
            )?,
            None => writeln!(f, "  Rollover CA certificate fetched from {} addresses", report.fetched)?,
        }
    }
    Ok(())
}

#[derive(Serialize)]
#[serde(transparent)]
struct Info(RolloverReport);

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = &self.0;
        if report.fingerprint_md5.is_none() {
            writeln!(f, "There is no rollover CA certificate.")?;
        }
        state(f, report)?;
        report
            .begins
            .iter()
            .try_for_each(|time| writeln!(f, "  Rollover CA certificate takes over: {time}"))?;
        report.key.iter().try_for_each(|key| writeln!(f, "  Rollover CA key: {key}"))?;
        let Some(clients) = &report.clients else { return Ok(()) };
        if clients.missing > 0 {
            writeln!(f, "Without a certificate of the rollover CA:")?;
        }
        clients.subjects.iter().try_for_each(|subject| writeln!(f, "  {subject}"))?;
        match clients.missing.checked_sub(clients.subjects.len() as u64) {
            Some(more @ 1..) => writeln!(f, "  and {more} more"),
            _ => Ok(()),
        }
    }
}

/// A hint goes under what it is for.
fn lines(text: &str) -> String {
    text.replace('\n', "\n    ")
}

const SURE: &str = "Are you sure? [yes/no]: ";
/// Of those that are not ready.
const MOST_NAMED: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::Time;
    use crate::store::LeftBehind;

    #[test]
    fn a_rollover_is_shown_as_ios_does() {
        struct Shown(RolloverReport);
        impl fmt::Display for Shown {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                state(f, &self.0)
            }
        }
        assert_eq!(Shown(RolloverReport::default()).to_string(), "");
        let waits = RolloverReport {
            overlap_days: Some(25),
            timer: Some(Time::from_unix(1_792_007_097)),
            ..RolloverReport::default()
        };
        assert_eq!(
            Shown(waits).to_string(),
            "  Auto-Rollover configured, overlap period 25 days\n  Autorollover timer: 19:44:57 UTC Oct 14 2026\n"
        );
        let there = RolloverReport {
            status: RolloverStatus::Available,
            overlap_days: Some(25),
            fingerprint_md5: Some("9bd7a44300a6dd74e4d9ed5fb7931be0".into()),
            expires: Some(Time::from_unix(1_792_007_097)),
            ..RolloverReport::default()
        };
        assert_eq!(
            Shown(there).to_string(),
            "  Rollover status: available for rollover\n\
             \x20 Rollover CA certificate fingerprint: 9BD7A443 00A6DD74 E4D9ED5F B7931BE0\n\
             \x20 Rollover CA certificate expiration time: 19:44:57 UTC Oct 14 2026\n\
             \x20 Auto-Rollover configured, overlap period 25 days\n"
        );
    }

    #[test]
    fn of_the_devices_of_an_ra_its_ca_knows() {
        let report = RolloverReport {
            status: RolloverStatus::Available,
            fingerprint_sha256: Some("00".into()),
            fetched: 3,
            ..RolloverReport::default()
        };
        let text = Info(report).to_string();
        assert!(text.ends_with("  Rollover CA certificate fetched from 3 addresses\n"), "{text}");
    }

    #[test]
    fn those_left_behind_are_named() {
        let clients = LeftBehind { missing: 3, ready: 7, subjects: vec!["cn=a".into(), "cn=b".into()] };
        let report = RolloverReport {
            status: RolloverStatus::Withheld("no token\nhint: plug it in".into()),
            fingerprint_md5: Some("00".into()),
            fingerprint_sha256: Some("00".into()),
            clients: Some(clients),
            ..RolloverReport::default()
        };
        let text = Info(report).to_string();
        for part in [
            "not offered: no token\n    hint: plug",
            "7 ready, 3 not yet",
            ":\n  cn=a\n  cn=b\n  and 1 more\n",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        assert!(
            Info(RolloverReport::default()).to_string().starts_with("There is no rollover CA certificate.\n")
        );
    }
}
