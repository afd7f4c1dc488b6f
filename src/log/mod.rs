//! The log: what the process writes about itself, and what operators watch on their terminals.
//!
//! Any layer emits events of [`tracing`]. Those with a target in the manner of IOS are shown in its words:
//!
//! | emitted | shown |
//! |---|---|
//! | `debug!(target: "CRYPTO_CS", "received a SCEP request")` | `Jan  6 21:07:57.529: CRYPTO_CS: received a SCEP request` |
//! | `info!(target: "PKI-6-CERTISSUE", "…")` | `Jan  6 21:07:57.529: %PKI-6-CERTISSUE: …` |
//!
//! The first kind is emitted only while its [`Flag`] is on (`debug crypto pki server`). Everything goes to
//! the log of the process (standard error or the journal); lines of both kinds, warnings and errors also to
//! the [`Hub`], which keeps the last ones and hands them to the terminals that asked.

mod dump;
mod hub;
mod layer;
mod line;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use tracing_subscriber::filter::FilterExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

pub use dump::Dump;
pub use hub::{Flag, Hub, Kept, Monitor, hub};
pub use layer::{Feed, feed};

use layer::{Lines, Wanted};

/// Sets the log of this process up: to the journal when standard error leads there, else to standard error.
/// `TOKENCA_LOG` says how much (`info,cryptoki=off` without it). A second call changes nothing.
pub fn setup() {
    let _ = Registry::default().with(process_log()).with(feed(hub())).try_init();
}

/// The same without a log of the process, for a program that has a terminal: lines are only kept and watched.
pub fn setup_quiet() {
    let _ = Registry::default().with(feed(hub())).try_init();
}

fn process_log() -> Box<dyn Layer<Registry> + Send + Sync> {
    let filter = EnvFilter::try_from_env("TOKENCA_LOG").unwrap_or_else(|_| "info,cryptoki=off".into());
    let filter = filter.or(Wanted::debugging(hub()));
    if is_journal() {
        match tracing_journald::layer() {
            Ok(journal) => {
                return journal.with_syslog_identifier("tokenca".into()).with_filter(filter).boxed();
            }
            Err(error) => eprintln!("% the journal cannot be written to: {error}"),
        }
    }
    let format = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false);
    format.event_format(Lines::default()).with_filter(filter).boxed()
}

/// Whether systemd has connected standard error with the journal.
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    fs::metadata("/proc/self/fd/2").is_ok_and(|stderr| is_of(&stream, &stderr))
}

/// `JOURNAL_STREAM` names device and inode (systemd.exec(5)).
fn is_of(stream: &str, file: &fs::Metadata) -> bool {
    stream
        .split_once(':')
        .is_some_and(|(device, inode)| (device.parse(), inode.parse()) == (Ok(file.dev()), Ok(file.ino())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let metadata = file.as_file().metadata().unwrap();
        assert!(is_of(&format!("{}:{}", metadata.dev(), metadata.ino()), &metadata));
        for other in [format!("{}:{}", metadata.dev(), metadata.ino() + 1), "8:".into(), String::new()] {
            assert!(!is_of(&other, &metadata), "{other}");
        }
    }
}
