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

/// Whether systemd has connected standard error with the journal: `JOURNAL_STREAM` names its device and inode.
fn is_journal() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else { return false };
    let stderr = fs::metadata("/proc/self/fd/2").map(|file| format!("{}:{}", file.dev(), file.ino()));
    stderr.is_ok_and(|stderr| stream.to_str() == Some(stderr.as_str()))
}
