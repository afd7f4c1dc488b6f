//! Commands about the terminal that they are typed on.

use super::command::Messages;
use super::{Command, CommandError, Output, Run};

pub const COMMANDS: &[Command] = &[
    Command {
        words: "configure [terminal]",
        about: "Begins to configure: lines that follow are lines of the configuration, up to `end` or Ctrl-Z",
        help: &[("configure", "Change the configuration"), ("terminal", "From the terminal")],
        run: Run::OnSession(|session, _| {
            session.configure()?;
            Ok(message("Enter configuration commands, one per line.  End with CNTL/Z."))
        }),
    },
    Command {
        words: "enable",
        about: "Does nothing: whoever may use the command socket may do everything",
        help: &[("enable", "Nothing: every command is privileged")],
        run: Run::Alone(|_| Ok(Output::nothing())),
    },
    Command {
        words: "disable",
        about: "Does nothing: whoever may use the command socket may do everything",
        help: &[("disable", "Nothing: every command is privileged")],
        run: Run::Alone(|_| Ok(Output::nothing())),
    },
    Command {
        words: "exit",
        about: "Ends the session",
        help: &[("exit", "Leave")],
        run: Run::OnSession(|session, _| {
            session.exit();
            Ok(Output::nothing())
        }),
    },
    Command {
        words: "logout",
        about: "Ends the session",
        help: &[("logout", "Leave")],
        run: Run::OnSession(|session, _| {
            session.exit();
            Ok(Output::nothing())
        }),
    },
    Command {
        words: "end",
        about: "Does nothing outside of the configuration, which it leaves",
        help: &[("end", "Leave the configuration")],
        run: Run::Alone(|_| Ok(Output::nothing())),
    },
    Command {
        words: "terminal monitor",
        about: "Shows lines of the log on this terminal as they come. As `tokenca terminal monitor`, until \
                interrupted",
        help: &[("terminal", "This terminal"), ("monitor", "Show lines of the log")],
        run: Run::OnSession(|session, call| {
            if !session.is_served() {
                return Err(refused("no server runs here: there is nothing to watch"));
            }
            match call.console.monitor(true)? {
                true => Ok(Output::nothing()),
                false => Err(refused("this terminal cannot show lines of the log")),
            }
        }),
    },
    Command {
        words: "terminal no monitor",
        about: "Shows no more lines of the log on this terminal",
        help: &[("terminal", "This terminal"), ("no", "Take back"), ("monitor", "Show lines of the log")],
        run: Run::OnSession(|_, call| {
            call.console.monitor(false)?;
            Ok(Output::nothing())
        }),
    },
];

fn message(text: &str) -> Output {
    Output::of(Messages::from(text.to_owned()))
}

fn refused(why: &str) -> CommandError {
    CommandError::Refused(why.to_owned())
}
