//! How events get to the log of the process and to the hub.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::format::{Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::LookupSpan;

use super::hub::{Flag, Hub};
use super::line::{Kind, line};

/// Formats events for standard error: those in the manner of IOS so, the others as `tracing` does.
#[derive(Default)]
pub struct Lines(Format);

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        match Kind::of(event.metadata()) {
            Kind::Other => self.0.format_event(context, writer, event),
            Kind::Debug | Kind::Syslog => writeln!(writer, "{}", line(event, SystemTime::now())),
        }
    }
}

/// Which events are wanted.
pub struct Wanted {
    hub: Arc<Hub>,
    only_debugging: bool,
}

impl Wanted {
    /// Those of the debugging that is on.
    pub fn debugging(hub: &Arc<Hub>) -> Self {
        Self { hub: hub.clone(), only_debugging: true }
    }

    /// These, syslog lines, warnings and errors.
    fn by_operators(hub: &Arc<Hub>) -> Self {
        Self { hub: hub.clone(), only_debugging: false }
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        match Kind::of(metadata) {
            Kind::Debug => Flag::of(metadata.target()).is_some_and(|flag| self.hub.is_on(flag)),
            Kind::Syslog => !self.only_debugging,
            Kind::Other => {
                !self.only_debugging
                    && *metadata.level() <= Level::WARN
                    && metadata.target().starts_with("tokenca")
            }
        }
    }
}

impl<S> Filter<S> for Wanted {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    // Asked again when a flag changes: see `Hub::set`.
    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(if self.hub.debugs() { LevelFilter::DEBUG } else { LevelFilter::INFO })
    }
}

/// Feeds a hub.
pub struct Feed(Arc<Hub>);

/// A layer that feeds `hub` with what operators want to see.
pub fn feed<S>(hub: &Arc<Hub>) -> impl Layer<S> + Send + Sync + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    Feed(hub.clone()).with_filter(Wanted::by_operators(hub))
}

impl<S: Subscriber> Layer<S> for Feed {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.push(line(event, SystemTime::now()));
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// The lines of a hub without their stamps.
    fn seen(hub: &Hub) -> Vec<String> {
        let stamp = "Jan  6 21:07:57.529: ".len();
        hub.kept().lines.iter().map(|line| line[stamp..].to_owned()).collect()
    }

    #[test]
    fn events_are_shown_in_the_manner_of_ios() {
        let hub = Arc::new(Hub::default());
        let _guard = tracing::subscriber::set_default(Registry::default().with(feed(&hub)));
        let emit = || {
            tracing::debug!(target: "CRYPTO_CS", "received a SCEP request");
            tracing::debug!(target: "CRYPTO_PKI", id = 3, "answered");
            tracing::debug!(target: "CRYPTO_PKI_MSG", "dump\nof two lines");
        };
        emit();
        assert_eq!(seen(&hub), [""; 0]);
        hub.set(Flag::Server, true);
        emit();
        assert_eq!(seen(&hub), ["CRYPTO_CS: received a SCEP request"]);
        hub.clear();
        Flag::ALL.iter().for_each(|flag| hub.set(*flag, true));
        emit();
        assert_eq!(
            seen(&hub),
            [
                "CRYPTO_CS: received a SCEP request",
                "CRYPTO_PKI: answered id=3",
                "CRYPTO_PKI: dump\nof two lines"
            ]
        );
        hub.clear();
        Flag::ALL.iter().for_each(|flag| hub.set(*flag, false));
        emit();
        tracing::debug!("of no interest");
        tracing::info!(target: "PKI-6-CERTISSUE", "serial {}", 2);
        tracing::warn!(token = "t", "gone");
        tracing::info!(target: "PKI-6-CERTISSUE", "moves \u{1b}[2J\nthe cursor");
        assert_eq!(
            seen(&hub),
            [
                "%PKI-6-CERTISSUE: serial 2",
                "%TOKENCA-4-WARNING: gone token=t",
                "%PKI-6-CERTISSUE: moves \\u{1b}[2J\\nthe cursor"
            ]
        );
    }

    #[test]
    fn what_is_off_is_not_even_formatted() {
        let hub = Arc::new(Hub::default());
        let _guard = tracing::subscriber::set_default(Registry::default().with(feed(&hub)));
        struct Never;
        impl fmt::Display for Never {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("formatted while debugging is off")
            }
        }
        tracing::debug!(target: "CRYPTO_CS", "{Never}");
        tracing::debug!(target: "CRYPTO_OTHER", "{Never}");
        assert_eq!(seen(&hub), [""; 0]);
    }
}
