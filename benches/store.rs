//! What group commit gains: enrollments recorded and kept per second, from several threads at once, and
//! the same with every transaction on its own, one wait for the disk each.
//!
//! `cargo bench --bench store`; the directory of the database is that of `TMPDIR`. Without `--bench`, as
//! `cargo test` runs it, it only shows that it works.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokenca::pki::{Serial, Time};
use tokenca::store::sqlite::Sqlite;
use tokenca::store::{Class, Cost, Issued, NewEnrollment, NewIntent, Reuse, SerialRule, Store, Submission};

fn main() {
    let span = if std::env::args().any(|arg| arg == "--bench") { FULL } else { BRIEF };
    let dir = tempfile::tempdir().expect("a directory in TMPDIR");
    println!("fdatasync of a page: {:.0}/s", syncs(&dir.path().join("file"), span));
    println!("each enrollment is two transactions, submit and keep");
    println!("{:>8} {:>16} {:>16} {:>6}", "threads", "alone, tx/s", "grouped, tx/s", "ratio");
    for threads in [1, 8, 32] {
        // In turns, the best of each: others use the disk too.
        let (mut alone, mut grouped) = (0.0, 0.0);
        for turn in 0..TURNS {
            let path = |name| dir.path().join(format!("{name}-{threads}-{turn}.db"));
            alone = rate(&path("alone"), threads, span, true).max(alone);
            grouped = rate(&path("grouped"), threads, span, false).max(grouped);
        }
        println!("{threads:>8} {alone:>16.0} {grouped:>16.0} {:>6.1}", grouped / alone);
    }
}

/// Transactions per second. `alone`: a lock around each call, so that the writer never finds a second one.
fn rate(path: &Path, threads: u64, span: Duration, alone: bool) -> f64 {
    let store = Sqlite::open(path).expect("a new database");
    let next = AtomicU64::new(0);
    let lock = Mutex::new(());
    let started = Instant::now();
    thread::scope(|s| {
        for _ in 0..threads {
            s.spawn(|| {
                while started.elapsed() < span {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let submitted = {
                        let _turn = alone.then(|| lock.lock());
                        store.submit(request(n)).expect("submit")
                    };
                    let intent = submitted.intent.expect("an intent, as it is issued at once");
                    let _turn = alone.then(|| lock.lock());
                    store.keep("mycs", issued(intent.serial)).expect("keep");
                }
            });
        }
    });
    2.0 * next.into_inner() as f64 / started.elapsed().as_secs_f64()
}

/// How often per second the disk takes a page for good: what one transaction cannot beat.
fn syncs(path: &Path, span: Duration) -> f64 {
    let mut file = File::create(path).expect("a new file");
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < span {
        file.seek(SeekFrom::Start(0)).expect("seek");
        file.write_all(&[count as u8; 4096]).expect("write");
        file.sync_data().expect("fdatasync");
        count += 1;
    }
    f64::from(count) / started.elapsed().as_secs_f64()
}

fn request(n: u64) -> NewEnrollment {
    let mut digest = [0; 32];
    // Scattered as those of a hash are.
    digest[..8].copy_from_slice(&n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    let intent = NewIntent {
        server: "mycs".into(),
        authority: None,
        serial: SerialRule::Sequential,
        tbs: Box::new(|_| vec![0x30; 700]),
        now: NOW,
    };
    NewEnrollment {
        server: "mycs".into(),
        class: Class::Router,
        authority: None,
        transaction: format!("{n:032X}").into_bytes(),
        identity: digest,
        csr: vec![0x30; 700],
        signer_key: digest,
        subject: format!("CN=router{n}, O=Example"),
        source: "192.0.2.1".into(),
        now: NOW,
        reuse: Reuse::UntilHalfLife,
        claim: None,
        max_pending: 1000,
        submission: Submission::Issue(intent),
        cost: Cost { signatures: 0, decryptions: 1, micros: 1000 },
    }
}

fn issued(serial: Serial) -> Issued {
    let mut key = [0; 32];
    key[..serial.as_be_bytes().len()].copy_from_slice(serial.as_be_bytes());
    Issued {
        serial,
        der: vec![0x30; 1000],
        subject: "CN=router, O=Example".into(),
        key,
        not_before: NOW,
        not_after: NOW.plus(Duration::from_secs(365 * 86400)),
        cost: Cost { signatures: 1, decryptions: 0, micros: 1000 },
        now: NOW,
    }
}

const NOW: Time = Time::from_unix(1_800_000_000);
const TURNS: u32 = 3;
const FULL: Duration = Duration::from_secs(1);
const BRIEF: Duration = Duration::from_millis(20);
