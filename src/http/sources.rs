//! How many operations of the token each source may ask for, and how many connections it may have.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A bucket of tokens for each source, in its compact form: the instant at which it will be full again
/// (GCRA). An IPv4 address or an IPv6 /64 is a source, as one customer has a whole /64.
#[derive(Default)]
pub struct Sources(Mutex<Buckets>);

#[derive(Default)]
struct Buckets {
    full_at: HashMap<Source, Instant>,
    swept: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    V4(Ipv4Addr),
    V6([u16; 4]),
    /// Whoever has no bucket of their own, as there are too many.
    Others,
}

/// How many connections each source has.
#[derive(Clone, Default)]
pub struct Connections(Arc<Mutex<HashMap<Source, usize>>>);

/// One of them, until this is dropped.
pub struct Presence {
    all: Connections,
    source: Source,
}

impl Connections {
    /// One more of `peer`; `None` when it has too many. What comes from this host does not count: a proxy may
    /// stand before us.
    pub fn enter(&self, peer: IpAddr) -> Option<Presence> {
        let presence = |source| Presence { all: self.clone(), source };
        if peer.to_canonical().is_loopback() {
            return Some(presence(Source::Others));
        }
        let source = Source::of(peer);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(source).or_default();
        *count += 1;
        if *count > MAX_CONNECTIONS {
            *count -= 1;
            return None;
        }
        Some(presence(source))
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut counts = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Entry::Occupied(mut count) = counts.entry(self.source) else { return };
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

impl Sources {
    /// Takes a token of `peer` at `now`; without one left, says how long it takes until there is.
    ///
    /// There are `rate` a second, and four times as many at once; 0 is no limit. Without a rate it is 50, and
    /// what comes from this host does not count: a proxy may stand before us.
    pub fn take(&self, peer: IpAddr, rate: Option<u32>, now: Instant) -> Result<(), Duration> {
        let per_second = rate.unwrap_or(DEFAULT_RATE);
        if per_second == 0 || rate.is_none() && peer.is_loopback() {
            return Ok(());
        }
        let interval = Duration::from_secs(1) / per_second;
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let source = buckets.place(Source::of(peer), now);
        let full_at = buckets.full_at.entry(source).or_insert(now);
        let next = (*full_at).max(now) + interval;
        match next.saturating_duration_since(now + BURST) {
            Duration::ZERO => {
                *full_at = next;
                Ok(())
            }
            wait => Err(wait),
        }
    }
}

impl Buckets {
    /// The bucket of `source`, or the common one where there are too many. A full one needs no place.
    fn place(&mut self, source: Source, now: Instant) -> Source {
        if self.full_at.len() < MAX_SOURCES || self.full_at.contains_key(&source) {
            return source;
        }
        if self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP) {
            self.swept = Some(now);
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        if self.full_at.len() < MAX_SOURCES { source } else { Source::Others }
    }
}

impl Source {
    fn of(peer: IpAddr) -> Self {
        match peer.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6(prefix(address)),
        }
    }
}

/// The first 64 bits.
fn prefix(address: Ipv6Addr) -> [u16; 4] {
    let [a, b, c, d, ..] = address.segments();
    [a, b, c, d]
}

/// PKIOperations a second: as many as a SoftHSM token does with an RSA key of 4096 bits, and far more than a
/// device needs.
const DEFAULT_RATE: u32 = 50;
/// What a full bucket holds: this time's worth of tokens.
const BURST: Duration = Duration::from_secs(4);
/// Sources with a bucket of their own; some 40 octets each.
const MAX_SOURCES: usize = 16_384;
/// Connections of one source: a quarter of those that a listener has.
const MAX_CONNECTIONS: usize = 512;
/// How often full buckets are looked for, at most: it takes a look at every one.
const SWEEP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Option<u32> = Some(10);

    fn taken(sources: &Sources, peer: &str, now: Instant) -> usize {
        taken_at(sources, RATE, peer, now)
    }

    fn taken_at(sources: &Sources, rate: Option<u32>, peer: &str, now: Instant) -> usize {
        let peer = peer.parse().unwrap();
        (0..1000).take_while(|_| sources.take(peer, rate, now).is_ok()).count()
    }

    #[test]
    fn a_burst_and_then_so_many_a_second() {
        let (sources, start) = (Sources::default(), Instant::now());
        assert_eq!(taken(&sources, "192.0.2.1", start), 40);
        let wait = sources.take("192.0.2.1".parse().unwrap(), RATE, start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert_eq!(taken(&sources, "192.0.2.1", start + wait), 1);
        assert_eq!(taken(&sources, "192.0.2.1", start + wait + Duration::from_secs(2)), 20);
        assert_eq!(taken(&sources, "192.0.2.1", start + Duration::from_secs(3600)), 40);
    }

    #[test]
    fn each_source_has_its_own() {
        let (sources, now) = (Sources::default(), Instant::now());
        assert_eq!(taken(&sources, "2001:db8::1", now), 40);
        assert_eq!(taken(&sources, "2001:db8::ffff:1", now), 0, "the same /64");
        assert_eq!(taken(&sources, "2001:db8:0:1::1", now), 40);
        assert_eq!(taken(&sources, "192.0.2.1", now), 40);
        assert_eq!(taken(&sources, "::ffff:192.0.2.1", now), 0, "the same address");
        assert_eq!(taken(&sources, "192.0.2.2", now), 40);
    }

    #[test]
    fn this_host_counts_where_a_rate_is_configured() {
        let now = Instant::now();
        for (rate, of_this_host) in [(None, 1000), (Some(10), 40), (Some(0), 1000)] {
            for host in ["127.0.0.1", "::1"] {
                assert_eq!(taken_at(&Sources::default(), rate, host, now), of_this_host, "{host} {rate:?}");
            }
        }
        assert_eq!(taken_at(&Sources::default(), None, "192.0.2.1", now), 200);
        assert_eq!(taken_at(&Sources::default(), Some(0), "192.0.2.1", now), 1000);
    }

    #[test]
    fn one_source_does_not_take_every_connection() {
        let all = Connections::default();
        let enter = |peer: &str| all.enter(peer.parse().unwrap());
        let mut held: Vec<_> = (0..MAX_CONNECTIONS).map(|n| enter(&format!("2001:db8::{n:x}"))).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(enter("2001:db8::ffff:1").is_none(), "the same /64");
        assert!(enter("2001:db8:0:1::1").is_some() && enter("192.0.2.1").is_some());
        drop(held.pop());
        let again = enter("2001:db8::1");
        assert!(again.is_some() && enter("2001:db8::1").is_none());
        // A proxy on this host speaks for many.
        let proxied: Vec<_> = (0..2 * MAX_CONNECTIONS).map(|_| enter("::ffff:127.0.0.1")).collect();
        assert!(proxied.iter().all(Option::is_some));
        drop((held, again, proxied));
        assert!(all.0.lock().unwrap().is_empty(), "who has gone is forgotten");
    }

    #[test]
    fn memory_is_bounded_and_the_known_keep_theirs() {
        let (sources, start) = (Sources::default(), Instant::now());
        assert_eq!(taken(&sources, "192.0.2.1", start), 40);
        let many = |now| {
            (0..2 * MAX_SOURCES as u32)
                .filter(|n| sources.take(Ipv4Addr::from(0x0a00_0000 + n).into(), RATE, now).is_ok())
                .count()
        };
        // Those without a place share a bucket.
        assert_eq!(many(start), MAX_SOURCES - 1 + 40);
        assert!(sources.0.lock().unwrap().full_at.len() <= MAX_SOURCES + 1);
        assert_eq!(taken(&sources, "192.0.2.1", start), 0);
        // Full buckets make place.
        let later = start + Duration::from_secs(10);
        assert_eq!(taken(&sources, "192.0.2.9", later), 40);
        assert!(sources.0.lock().unwrap().full_at.len() < 3);
    }
}
