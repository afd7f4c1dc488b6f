//! One line in the manner of IOS.

use std::fmt::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use der::DateTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata};

/// How an event is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `CRYPTO_CS: …`
    Debug,
    /// `%PKI-6-CERTISSUE: …`
    Syslog,
    /// Whatever else has happened.
    Other,
}

impl Kind {
    /// Of an event with this metadata.
    pub fn of(metadata: &Metadata<'_>) -> Self {
        match metadata.target() {
            target if target.starts_with("CRYPTO_") => Self::Debug,
            target if is_syslog(target) => Self::Syslog,
            _ => Self::Other,
        }
    }
}

/// `FACILITY-SEVERITY-MNEMONIC`.
fn is_syslog(target: &str) -> bool {
    let capitals = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    let mut parts = target.split('-');
    parts.next().is_some_and(capitals)
        && parts.next().is_some_and(|severity| matches!(severity.as_bytes(), [b'0'..=b'7']))
        && parts.next().is_some_and(capitals)
        && parts.next().is_none()
}

/// The line of an event that happened at `now`, without its newline. Only a dump of a message
/// (`CRYPTO_PKI_MSG`) has several lines.
pub fn line(event: &Event<'_>, now: SystemTime) -> String {
    let mut text = stamp(now);
    let target = event.metadata().target();
    // A String takes everything.
    let _ = match Kind::of(event.metadata()) {
        Kind::Debug => write!(text, ": {}: ", target.trim_end_matches("_MSG")),
        Kind::Syslog => write!(text, ": %{target}: "),
        Kind::Other => write!(text, ": %TOKENCA-{}: ", severity(*event.metadata().level())),
    };
    let mut fields = Fields { text: String::new(), rest: String::new() };
    event.record(&mut fields);
    fields.text.push_str(&fields.rest);
    let may_break = target == "CRYPTO_PKI_MSG";
    for c in fields.text.chars() {
        match c {
            '\n' if may_break => text.push(c),
            // What a client has sent does not move the cursor of an operator.
            c if c.is_control() => text.extend(c.escape_default()),
            c => text.push(c),
        }
    }
    text
}

fn severity(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3-ERROR",
        Level::WARN => "4-WARNING",
        Level::INFO => "6-INFO",
        _ => "7-DEBUG",
    }
}

/// `Jan  6 21:07:57.529`, UTC.
fn stamp(now: SystemTime) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let t = DateTime::from_unix_duration(Duration::from_secs(since.as_secs())).unwrap_or(DateTime::INFINITY);
    format!(
        "{} {:>2} {:02}:{:02}:{:02}.{:03}",
        MONTHS[usize::from(t.month()) - 1], // DateTime's month is 1 to 12
        t.day(),
        t.hour(),
        t.minutes(),
        t.seconds(),
        since.subsec_millis()
    )
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The message first, then the other fields.
struct Fields {
    text: String,
    rest: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.text, "{value:?}"),
            name => write!(self.rest, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_those_of_ios() {
        let at = |seconds, millis| UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis);
        assert_eq!(stamp(at(1_105_045_677, 529)), "Jan  6 21:07:57.529");
        assert_eq!(stamp(at(0, 0)), "Jan  1 00:00:00.000");
    }

    #[test]
    fn targets_tell_the_kind() {
        for target in ["PKI-6-CERTISSUE", "PARSER-5-CFGLOG_LOGGEDCMD"] {
            assert!(is_syslog(target), "{target}");
        }
        for target in ["tokenca::node", "PKI-8-X", "PKI-6", "PKI-6-X-Y", "pki-6-X", "-6-X"] {
            assert!(!is_syslog(target), "{target}");
        }
    }
}
