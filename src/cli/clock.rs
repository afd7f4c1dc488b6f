//! `show clock`, and `clear clock history`.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::command::Messages;
use super::{Command, Output, Run};
use crate::pki::Time;

pub const COMMANDS: &[Command] = &[
    Command {
        words: "show clock [detail]",
        about: "Shows the time by which certificates are issued: the host's, in UTC",
        help: &[("clock", "The time"), ("detail", "And where the host has it from")],
        run: Run::Alone(|call| {
            let source = call.args.has("detail").then(source);
            Ok(Output::of(Clock { time: Time::now().to_string(), source }))
        }),
    },
    Command {
        words: "clear clock history",
        about: "Forgets the latest time on record, that a clock which was ahead has left: servers start again \
                with an earlier time",
        help: &[
            ("clear", "Forget something"),
            ("clock", "The time"),
            ("history", "The latest time on record"),
        ],
        run: Run::OnNode(|node, call| {
            call.confirm(
                "% Certificates issued at a wrong time are of no use. The clock of this host must be right now.\n\
                 Are you sure you want to do this? [yes/no]: ",
            )?;
            node.forget_time()?;
            Ok(Output::of(Messages::from("% The latest time on record is forgotten.".to_owned())))
        }),
    },
];

#[derive(Serialize)]
struct Clock {
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'static str>,
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.time)?;
        self.source.iter().try_for_each(|source| writeln!(f, "Time source is {source}"))
    }
}

/// What keeps the clock of the host, as far as it leaves a trace.
fn source() -> &'static str {
    let there = |path: &str| Path::new(path).exists();
    match () {
        () if there("/run/systemd/timesync/synchronized") => "NTP (systemd-timesyncd, synchronized)",
        () if there("/run/systemd/timesync") => "NTP (systemd-timesyncd, not synchronized)",
        () if there("/run/chrony") => "NTP (chrony)",
        () if there("/run/ntpd.pid") || there("/run/ntpsec") => "NTP (ntpd)",
        () => "the clock of the host",
    }
}
