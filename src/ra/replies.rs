//! Replies given, for requests that come again octet for octet: they cost the token nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;

use crate::pki::Serial;

/// The last successful replies by the SHA-256 of their requests. Bounded; the oldest go first.
#[derive(Default)]
pub struct Replies(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    replies: HashMap<[u8; 32], (Serial, Bytes)>,
    order: VecDeque<[u8; 32]>,
    octets: usize,
}

impl Replies {
    /// The reply to this request and the certificate in it.
    pub fn find(&self, request: &[u8; 32]) -> Option<(Serial, Bytes)> {
        self.kept().replies.get(request).cloned()
    }

    /// Keeps a reply.
    pub fn keep(&self, request: [u8; 32], serial: Serial, reply: Bytes) {
        let mut kept = self.kept();
        kept.octets += reply.len();
        match kept.replies.insert(request, (serial, reply)) {
            None => kept.order.push_back(request),
            Some((_, replaced)) => kept.octets -= replaced.len(),
        }
        while kept.octets > MAX_OCTETS {
            let Some(oldest) = kept.order.pop_front() else { return };
            if let Some((_, reply)) = kept.replies.remove(&oldest) {
                kept.octets -= reply.len();
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Some 1500 replies: a client repeats itself within minutes or not at all.
const MAX_OCTETS: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_and_the_oldest_go_first() {
        let replies = Replies::default();
        let id = |n: u32| -> [u8; 32] { std::array::from_fn(|i| n.to_be_bytes()[i % 4]) };
        for n in 0..10 {
            replies.keep(id(n), Serial::from(u64::from(n)), vec![0; MAX_OCTETS / 5].into());
        }
        assert!(replies.find(&id(4)).is_none());
        assert_eq!(replies.find(&id(9)).map(|(serial, _)| serial), Some(Serial::from(9)));
        assert!(replies.kept().octets <= MAX_OCTETS);
        replies.keep(id(9), Serial::from(1), vec![1].into());
        assert_eq!(replies.find(&id(9)), Some((Serial::from(1), vec![1].into())));
    }
}
