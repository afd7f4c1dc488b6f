//! `debug`, `show debugging`, `show logging`.

use std::fmt;

use serde::Serialize;

use super::command::Messages;
use super::{Call, Command, Output, Run};
use crate::log::{self, Flag};

pub const COMMANDS: &[Command] = &[
    Command {
        words: "debug crypto pki/ca {server | transactions | messages}",
        about: "Turns debugging on, for the log and for terminals that watch it",
        help: &[
            ("debug", "Turn debugging on"),
            ("server", "What the certificate servers do"),
            ("transactions", "Which SCEP messages come and go"),
            ("messages", "The SCEP messages themselves"),
        ],
        run: Run::Alone(|call| Ok(switch(call, true))),
    },
    Command {
        words: "no debug crypto pki/ca {server | transactions | messages}",
        about: "Turns debugging off",
        help: &[
            ("no", "Take back"),
            ("debug", "Debugging"),
            ("server", "What the certificate servers do"),
            ("transactions", "Which SCEP messages come and go"),
            ("messages", "The SCEP messages themselves"),
        ],
        run: Run::Alone(|call| Ok(switch(call, false))),
    },
    Command {
        words: "no debug all",
        about: "The same as `undebug all`",
        help: &[("no", "Take back"), ("debug", "Debugging"), ("all", "All debugging")],
        run: Run::Alone(|_| Ok(all_off())),
    },
    Command {
        words: "undebug crypto pki/ca {server | transactions | messages}",
        about: "The same as `no debug`",
        help: &[
            ("undebug", "Turn debugging off"),
            ("server", "What the certificate servers do"),
            ("transactions", "Which SCEP messages come and go"),
            ("messages", "The SCEP messages themselves"),
        ],
        run: Run::Alone(|call| Ok(switch(call, false))),
    },
    Command {
        words: "undebug all",
        about: "Turns all debugging off",
        help: &[("undebug", "Turn debugging off"), ("all", "All debugging")],
        run: Run::Alone(|_| Ok(all_off())),
    },
    Command {
        words: "show debugging",
        about: "Shows which debugging is on",
        help: &[("debugging", "Which debugging is on")],
        run: Run::Alone(|_| Ok(Output::of(Debugging::now()))),
    },
    Command {
        words: "show logging",
        about: "Shows the last lines of the log",
        help: &[("logging", "The last lines of the log")],
        run: Run::Alone(|_| Ok(Output::of(Logging::now()))),
    },
    Command {
        words: "clear logging",
        about: "Forgets the last lines of the log, which `show logging` shows",
        help: &[("clear", "Forget something"), ("logging", "The last lines of the log")],
        run: Run::Alone(|_| {
            log::hub().clear();
            Ok(Output::nothing())
        }),
    },
];

const FLAGS: [(Flag, &str, &str); 3] = [
    (Flag::Server, "server", "Crypto PKI Certificate Server"),
    (Flag::Transactions, "transactions", "Crypto PKI Trans"),
    (Flag::Messages, "messages", "Crypto PKI Msg"),
];

fn switch(call: &Call<'_>, on: bool) -> Output {
    let wanted = FLAGS.iter().filter(|(_, word, _)| call.args.has(word));
    let state = if on { "on" } else { "off" };
    let messages = wanted.map(|(flag, _, name)| {
        log::hub().set(*flag, on);
        format!("{name} debugging is {state}")
    });
    Output::of(Messages { messages: messages.collect() })
}

fn all_off() -> Output {
    Flag::ALL.iter().for_each(|flag| log::hub().set(*flag, false));
    Output::of(Messages::from("All possible debugging has been turned off".to_owned()))
}

#[derive(Serialize)]
struct Debugging {
    server: bool,
    transactions: bool,
    messages: bool,
}

impl Debugging {
    fn now() -> Self {
        let is_on = |flag| log::hub().is_on(flag);
        Self {
            server: is_on(Flag::Server),
            transactions: is_on(Flag::Transactions),
            messages: is_on(Flag::Messages),
        }
    }
}

impl fmt::Display for Debugging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = [self.server, self.transactions, self.messages];
        if on.contains(&true) {
            writeln!(f, "PKI:")?;
        }
        let mut on = FLAGS.iter().zip(on).filter(|(_, on)| *on);
        on.try_for_each(|((_, _, name), _)| writeln!(f, "  {name} debugging is on"))
    }
}

#[derive(Serialize)]
struct Logging {
    logged: u64,
    monitors: usize,
    shown: u64,
    lost: u64,
    lines: Vec<String>,
}

impl Logging {
    fn now() -> Self {
        let kept = log::hub().kept();
        Self {
            logged: kept.logged,
            monitors: kept.monitors,
            shown: kept.shown,
            lost: kept.lost,
            lines: kept.lines.iter().map(ToString::to_string).collect(),
        }
    }
}

impl fmt::Display for Logging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Syslog logging: enabled ({} messages dropped)", self.lost)?;
        writeln!(f, "    Monitor logging: {} messages logged, {} terminals", self.shown, self.monitors)?;
        writeln!(f, "    Buffer logging: {} messages logged", self.logged)?;
        writeln!(f, "\nLog Buffer ({} lines):", self.lines.len())?;
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}
