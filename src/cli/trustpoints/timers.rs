//! `show crypto pki timers`: what will happen by itself, and when.

use std::fmt;

use serde::Serialize;

use crate::cli::{Command, Output, Run};
use crate::node::{Node, NodeError, TimerKind};
use crate::pki::Time;

pub const COMMANDS: &[Command] = &[Command {
    words: "show crypto pki/ca timers",
    about: "Shows what will happen by itself, and in how many days, hours, minutes and seconds: polls, renewals and \
            rollovers of trustpoints, CRLs and ends of certificate servers",
    help: &[("timers", "What will happen by itself")],
    run: Run::OnNode(|node, _| Ok(Output::of(Timers::of(node)?))),
}];

/// Timers of trustpoints and of certificate servers.
#[derive(Serialize)]
struct Timers {
    pki: Vec<Timer>,
    servers: Vec<Timer>,
}

#[derive(Serialize)]
struct Timer {
    what: &'static str,
    of: String,
    at: String,
    seconds: u64,
}

impl Timers {
    fn of(node: &Node) -> Result<Self, NodeError> {
        let now = node.now();
        let timer = |what, of: &str, at: Time| {
            let (of, seconds) = (of.to_owned(), at.since(now).as_secs());
            (at, Timer { what, of, at: at.to_string(), seconds })
        };
        let reports = node.timer_reports();
        let pki = reports.iter().map(|report| timer(words(report.what), &report.trustpoint, report.at));
        let mut servers = Vec::new();
        for label in node.servers() {
            let report = node.server(&label)?.report()?;
            servers.extend(report.crl_next_update.map(|at| timer("CS CRL UPDATE", &label, at)));
            servers.extend(report.ca_expires.map(|at| timer("CS CERT EXPIRE", &label, at)));
        }
        Ok(Self { pki: sorted(pki.collect()), servers: sorted(servers) })
    }
}

/// The next first.
fn sorted(mut timers: Vec<(Time, Timer)>) -> Vec<Timer> {
    timers.sort_by_key(|(at, _)| *at);
    timers.into_iter().map(|(_, timer)| timer).collect()
}

/// As IOS calls them.
const fn words(kind: TimerKind) -> &'static str {
    match kind {
        TimerKind::Poll => "POLL",
        TimerKind::Renew => "RENEW",
        TimerKind::Shadow => "SHADOW",
        TimerKind::Rollover => "ROLLOVER",
    }
}

impl fmt::Display for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (title, timers) in [("PKI Timers", &self.pki), ("CS Timers", &self.servers)] {
            let Some(first) = timers.first() else { continue };
            writeln!(f, "{title}\n|{}", Span(first.seconds))?;
            timers.iter().try_for_each(|timer| {
                writeln!(f, "  |{} {} {}", Span(timer.seconds), timer.what, timer.of)
            })?;
        }
        match self.pki.is_empty() && self.servers.is_empty() {
            true => writeln!(f, "% Nothing will happen by itself."),
            false => Ok(()),
        }
    }
}

/// Seconds as IOS writes a span: `639d23:54:21`, `5:54:21`, `8:46`.
struct Span(u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, hours, minutes, seconds) =
            (self.0 / 86_400, self.0 / 3600 % 24, self.0 / 60 % 60, self.0 % 60);
        let text = match (days, hours) {
            (0, 0) => format!("{minutes}:{seconds:02}"),
            (0, _) => format!("{hours}:{minutes:02}:{seconds:02}"),
            _ => format!("{days}d{hours:02}:{minutes:02}:{seconds:02}"),
        };
        write!(f, "{text:>14}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_as_ios_does() {
        let of = |seconds| Span(seconds).to_string().trim().to_owned();
        assert_eq!((of(0), of(526), of(21_261)), ("0:00".into(), "8:46".into(), "5:54:21".into()));
        assert_eq!(of(639 * 86_400 + 86_061), "639d23:54:21");
    }
}
