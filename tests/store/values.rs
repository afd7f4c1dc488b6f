//! Values, and short ways to common states.

use super::*;

pub const CA: &str = "mycs";
pub const OTHER: &str = "other";
pub const NOW: Time = Time::from_unix(1_800_000_000);
pub const HOUR: Duration = Duration::from_secs(3600);
pub const DAY: Duration = Duration::from_secs(86400);

/// A distinct digest for each number.
pub fn digest(n: u64) -> [u8; 32] {
    let mut digest = [0xA5; 32];
    // In front, and scattered as those of a hash are.
    digest[..8].copy_from_slice(&n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    digest
}

pub fn cost(signatures: u32, decryptions: u32) -> Cost {
    Cost { signatures, decryptions, micros: 1000 * u64::from(signatures + decryptions) }
}

/// A router's request that will pend.
pub fn request(n: u64) -> NewEnrollment {
    NewEnrollment {
        server: CA.into(),
        class: Class::Router,
        authority: None,
        transaction: n.to_string().into_bytes(),
        identity: digest(n),
        csr: vec![0x30; 40],
        signer_key: digest(n),
        subject: format!("CN=r{n}"),
        source: "terminal".into(),
        now: NOW,
        reuse: Reuse::UntilHalfLife,
        claim: None,
        max_pending: 1000,
        submission: Submission::Pend,
        cost: Cost::default(),
    }
}

pub fn new_intent() -> NewIntent {
    NewIntent {
        server: CA.into(),
        authority: None,
        serial: SerialRule::Sequential,
        tbs: Box::new(tbs),
        now: NOW,
    }
}

pub fn new_authority(role: Role, n: u8) -> NewAuthority {
    NewAuthority {
        server: CA.into(),
        role,
        token: "usbtoken0".into(),
        key_label: format!("key {n}"),
        certificate: vec![n; 40],
    }
}

pub fn tbs(serial: &Serial) -> Vec<u8> {
    format!("tbs {serial}").into_bytes()
}

pub fn der(serial: &Serial) -> Vec<u8> {
    format!("certificate {serial}").into_bytes()
}

/// Valid for 100 days.
pub fn issued(serial: &Serial) -> Issued {
    Issued {
        serial: serial.clone(),
        der: der(serial),
        subject: "CN=r1".into(),
        key: digest(5),
        not_before: NOW,
        not_after: NOW.plus(DAY * 100),
        cost: Cost::default(),
        now: NOW,
    }
}

/// Lives for an hour.
pub fn password(n: u64, subject: Option<&str>) -> Password {
    Password {
        digest: digest(n),
        subject: subject.map(str::to_owned),
        created: NOW,
        expires: NOW.plus(HOUR),
        used_by: None,
    }
}

pub fn issue(store: &dyn Store, n: u64) -> Submitted {
    store.submit(NewEnrollment { submission: Submission::Issue(new_intent()), ..request(n) }).unwrap()
}

/// Gives the ReqID.
pub fn grant(store: &dyn Store, n: u64) -> u64 {
    let submitted = issue(store, n);
    store.keep(CA, issued(&submitted.intent.unwrap().serial)).unwrap();
    submitted.enrollment.id
}

/// What a list must have.
pub fn revoked(store: &dyn Store, authority: u64, omit: Omit) -> Vec<(Serial, Revocation)> {
    let mut list = Vec::new();
    let revision = store.revoked(CA, authority, omit, &mut |serial, how| list.push((serial.clone(), how)));
    assert_eq!(revision.unwrap(), store.revision(CA).unwrap());
    list
}

/// What a list must have when everything revoked so far was on the last one.
pub fn unexpired(store: &dyn Store, authority: u64, at: Time) -> Vec<(Serial, Revocation)> {
    let revision = store.revision(CA).unwrap();
    revoked(store, authority, Omit { expired_before: at, revision })
}

pub fn crl(authority: u64, number: u64, octets: &[u8]) -> Crl {
    Crl {
        authority,
        number,
        this_update: NOW,
        next_update: NOW.plus(DAY),
        revision: 0,
        der: octets.to_vec().into(),
    }
}

/// Runs `work` in so many threads, which start together.
pub fn crowd<T: Send>(threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(threads);
    thread::scope(|s| {
        let threads: Vec<_> = (0..threads)
            .map(|i| {
                let (barrier, work) = (&barrier, &work);
                s.spawn(move || {
                    barrier.wait();
                    work(i)
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    })
}

/// The shortest of many runs: what it takes when nobody else is in the way.
pub fn best(run: impl Fn()) -> Duration {
    let time = || {
        let started = Instant::now();
        run();
        started.elapsed()
    };
    (0..50).map(|_| time()).min().unwrap()
}

#[track_caller]
pub fn assert_conflict<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::Conflict)), "{result:?}");
}

#[track_caller]
pub fn assert_not_found<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::NotFound)), "{result:?}");
}
