//! Instants, to the second, UTC.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use der::DateTime;

/// An instant in whole seconds since 1970-01-01T00:00:00Z, the resolution of X.509
/// (RFC 5280, 4.1.2.5). Displayed as IOS does: `19:44:57 UTC Oct 14 2026`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The months, as IOS writes them.
    pub const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

    /// From seconds since the Unix epoch.
    pub const fn from_unix(seconds: u64) -> Self {
        Self(seconds)
    }

    /// The host's clock. Only the edges call this; everything below takes the time as an argument.
    pub fn now() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()))
    }

    /// Seconds since the Unix epoch.
    pub const fn unix(self) -> u64 {
        self.0
    }

    /// This instant and `duration` more; the fraction of a second is dropped.
    pub const fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_secs()))
    }

    /// This instant less `duration`; never before the epoch.
    pub const fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration.as_secs()))
    }

    /// How long after `earlier` this is; zero when it is not after.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }

    /// The calendar form. The last second of year 9999 when beyond it, as RFC 5280, 4.1.2.5 has no later.
    pub fn calendar(self) -> DateTime {
        DateTime::from_unix_duration(Duration::from_secs(self.0)).unwrap_or(DateTime::INFINITY)
    }

    /// The instant of a year, a month and a day, and of hours, minutes and seconds, in UTC. `None` when there
    /// is no such day, or it is before 1970.
    pub fn from_calendar(year: u16, month: u8, day: u8, [hours, minutes, seconds]: [u8; 3]) -> Option<Self> {
        DateTime::new(year, month, day, hours, minutes, seconds).ok().map(Self::from)
    }

    /// As certificates and CRLs carry it: UTCTime through 2049, GeneralizedTime after (RFC 5280, 4.1.2.5).
    pub fn to_x509(self) -> x509_cert::time::Time {
        let calendar = self.calendar();
        match der::asn1::UtcTime::from_date_time(calendar) {
            Ok(time) => x509_cert::time::Time::UtcTime(time),
            Err(_) => x509_cert::time::Time::GeneralTime(calendar.into()),
        }
    }
}

impl Time {
    /// As HTTP headers carry it (RFC 9110, 5.6.7): `Wed, 14 Oct 2026 19:44:57 GMT`.
    pub fn to_http(self) -> String {
        let t = self.calendar();
        // The epoch was a Thursday.
        let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][(self.0 / 86_400 % 7) as usize];
        format!(
            "{weekday}, {:02} {} {} {:02}:{:02}:{:02} GMT",
            t.day(),
            Self::MONTHS[usize::from(t.month()) - 1], // DateTime's month is 1 to 12
            t.year(),
            t.hour(),
            t.minutes(),
            t.seconds()
        )
    }
}

impl From<DateTime> for Time {
    fn from(value: DateTime) -> Self {
        Self(value.unix_duration().as_secs())
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = self.calendar();
        write!(
            f,
            "{:02}:{:02}:{:02} UTC {} {} {}",
            t.hour(),
            t.minutes(),
            t.seconds(),
            Self::MONTHS[usize::from(t.month()) - 1], // DateTime's month is 1 to 12
            t.day(),
            t.year()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_as_ios_does() {
        assert_eq!(Time::from_unix(1_792_007_097).to_string(), "19:44:57 UTC Oct 14 2026");
        assert_eq!(Time::from_unix(1_792_007_097).to_http(), "Wed, 14 Oct 2026 19:44:57 GMT");
        assert_eq!(Time::default().to_string(), "00:00:00 UTC Jan 1 1970");
    }
}
