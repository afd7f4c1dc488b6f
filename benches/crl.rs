//! What a long CRL costs: issuing it with ten thousand, a hundred thousand and a million entries, reading it
//! back, and the peak of memory over what the process had before, beside what cannot be avoided: reading the
//! rows, and hashing as many octets (to sign, and to check the signature).
//!
//! `cargo bench --bench crl`. The key is in memory: a token signs the digest only. Each size is measured in a
//! process of its own. Without `--bench`, as `cargo test` runs it, it only shows that it works.

#[path = "../tests/support/keys.rs"]
mod keys;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokenca::ca::{Ca, Gate, Meter, Settings};
use tokenca::pki::profile;
use tokenca::pki::{Hash, Serial, SignatureAlgorithm, SigningKey, Time, crl, tbs};
use tokenca::policy::Rules;
use tokenca::store::sqlite::Sqlite;
use tokenca::store::{Adopted, Adoption, NewAuthority, Omit, Reuse, Revocation, Role, SerialRule, Store};

use keys::{TestKey, name};

fn main() {
    if let (Some(dir), Ok(entries)) = (std::env::var_os(DIR), std::env::var(ENTRIES)) {
        return measure(Path::new(&dir), entries.parse().expect("a number"));
    }
    let full = std::env::args().any(|argument| argument == "--bench");
    let sizes = if full { &[10_000, 100_000, 1_000_000][..] } else { &[1000, 10_000] };
    println!(
        "{:>9} {:>8} | {:>8} {:>8} | {:>8} {:>6} {:>8} {:>6} | {:>8} {:>6} | {:>8} {:>8}",
        "entries",
        "DER, MB",
        "rows, s",
        "hash, s",
        "issue, s",
        "ratio",
        "peak, MB",
        "of DER",
        "load, s",
        "of DER",
        "parse, s",
        "fill, s"
    );
    for entries in sizes {
        let dir = tempfile::tempdir().expect("a directory in TMPDIR");
        let started = Instant::now();
        prepare(dir.path(), *entries);
        let filled = started.elapsed();
        let mut child = Command::new(std::env::current_exe().expect("this program"));
        child.env(DIR, dir.path()).env(ENTRIES, entries.to_string());
        let ran = child.output().expect("this program runs again");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        println!("{} {:>8.2}", String::from_utf8_lossy(&ran.stdout).trim_end(), filled.as_secs_f64());
    }
}

/// A database with a CA that has revoked so many certificates.
fn prepare(dir: &Path, entries: u64) {
    let key = TestKey::new();
    fs::write(dir.join("key.pem"), key.pem()).expect("a file");
    let algorithm = SignatureAlgorithm::RsaPkcs1(Hash::Sha256);
    let validity = (NOW.minus(DAY), NOW.plus(DAY * 1000));
    let template = profile::root(&name("CN=mycs"), key.public_key(), true, algorithm, validity);
    let body = template.finalize(&Serial::from(1)).expect("it encodes");
    let signature = key.sign(Hash::Sha256, &body).expect("a signature");
    let authority = NewAuthority {
        server: "mycs".into(),
        role: Role::Ca,
        token: "usbtoken0".into(),
        key_label: "mycs".into(),
        certificate: tbs::assemble(&body, algorithm, &signature).expect("it encodes"),
    };
    let certificates = (0..entries).map(revoked).collect();
    let last_serial = Serial::from(1);
    let store = Sqlite::open(&dir.join("tokenca.db")).expect("a new database");
    store.adopt(Adoption { authority, certificates, last_serial, crl: None, now: NOW }).expect("adopted");
}

/// With a random serial number of 16 octets, and a reason.
fn revoked(n: u64) -> Adopted {
    let mut serial = [0; 16];
    serial[0] = 1 | (n as u8 & 0x3F) << 1;
    serial[1..9].copy_from_slice(&n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    let at = NOW.minus(Duration::from_secs(n));
    Adopted {
        serial: Serial::from_be_bytes(&serial),
        der: None,
        subject: None,
        key: None,
        not_before: None,
        not_after: Some(NOW.plus(DAY * 300)),
        revocation: Some(Revocation { at, reason: 1 + (n % 5) as u8 }),
    }
}

fn measure(dir: &Path, entries: u64) {
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&dir.join("tokenca.db")).expect("a database"));
    let key = Arc::new(TestKey::from_pem(&fs::read_to_string(dir.join("key.pem")).expect("the key")));
    let authority = store.authorities("mycs").expect("authorities").pop().expect("a CA");
    let open = || {
        Ca::open("mycs", store.clone(), &authority, key.clone(), settings(), Arc::new(Gate::default()))
            .expect("a CA")
    };

    let mut rows = 0;
    let read = best(|| {
        rows = 0;
        store.revoked("mycs", authority.id, Omit::NOTHING, &mut |_, _| rows += 1).expect("the rows");
    });
    assert_eq!(rows, entries);

    let before = Memory::now();
    let started = Instant::now();
    let first = open().issue_crl(&Meter::new(), NOW).expect("a CRL");
    let mut issue = started.elapsed();
    let peak = Memory::peak_over(&before);
    let size = first.der.len();
    drop(first);

    let before = Memory::now();
    let started = Instant::now();
    let loaded = open().crl().expect("a CRL").expect("it was kept");
    let load = started.elapsed();
    let load_peak = Memory::peak_over(&before);
    assert_eq!(loaded.der.len(), size);

    issue = issue.min(best(|| drop(open().issue_crl(&Meter::new(), NOW).expect("a CRL"))));
    // Once to sign, once to check the signature.
    let hash = best(|| drop(Hash::Sha256.digest(&[&loaded.der]))) * 2;
    let parse = best(|| assert_eq!(crl::Crl::parse(loaded.der.clone()).expect("a CRL").len(), entries));
    println!(
        "{entries:>9} {:>8.2} | {:>8.3} {:>8.3} | {:>8.3} {:>6.1} {:>8.1} {:>6.2} | {:>8.3} {:>6.2} | {:>8.3}",
        mega(size),
        read.as_secs_f64(),
        hash.as_secs_f64(),
        issue.as_secs_f64(),
        issue.as_secs_f64() / (read + hash).as_secs_f64(),
        mega(peak),
        peak as f64 / size as f64,
        load.as_secs_f64(),
        load_peak as f64 / size as f64,
        parse.as_secs_f64(),
    );
}

/// Resident octets of this process.
struct Memory(usize);

impl Memory {
    /// What it has now; the peak counts from here.
    fn now() -> Self {
        // proc(5): 5 resets the peak.
        fs::write("/proc/self/clear_refs", "5").expect("one's own peak can be reset");
        Self(Self::read("VmRSS:"))
    }

    fn peak_over(before: &Self) -> usize {
        Self::read("VmHWM:").saturating_sub(before.0)
    }

    fn read(line: &str) -> usize {
        let status = fs::read_to_string("/proc/self/status").expect("Linux");
        let value = status.lines().find_map(|text| text.strip_prefix(line)).expect("the kernel tells it");
        let kilobytes: usize = value.trim().trim_end_matches(" kB").parse().expect("a number");
        kilobytes * 1024
    }
}

fn settings() -> Settings {
    Settings {
        hash: Hash::Sha256,
        ca_lifetime: DAY * 1000,
        certificate_lifetime: DAY * 365,
        crl_lifetime: DAY * 7,
        cdp: None,
        serial: SerialRule::Random,
        reuse: Reuse::Never,
        max_pending: 100,
        rules: Rules::default(),
    }
}

/// The shortest of three runs.
fn best(mut run: impl FnMut()) -> Duration {
    let mut time = || {
        let started = Instant::now();
        run();
        started.elapsed()
    };
    (0..3).map(|_| time()).min().expect("three")
}

fn mega(octets: usize) -> f64 {
    octets as f64 / 1e6
}

const NOW: Time = Time::from_unix(1_800_000_000);
const DAY: Duration = Duration::from_secs(86_400);
const DIR: &str = "TOKENCA_BENCH_DIR";
const ENTRIES: &str = "TOKENCA_BENCH_ENTRIES";
