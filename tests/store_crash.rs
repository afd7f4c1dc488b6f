//! What was acknowledged survives: a child process works on a database from several threads and says
//! what it was told; it is killed at a random moment, again and again; then every word must be true.
//!
//! SIGKILL leaves what the kernel was given, so that this tests the order of things (nobody is answered
//! before the commit, nothing is half done). That the commit waits for the disk is `synchronous=FULL`.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use tokenca::pki::{Serial, Time};
use tokenca::store::sqlite::Sqlite;
use tokenca::store::{
    Adopted, Adoption, Class, Cost, Crl, Enrollment, Issued, NewAuthority, NewEnrollment, NewIntent, Phase,
    Reuse, Revocation, Role, SerialRule, State, Store, Submission,
};

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenca.db");
    let mut told = Told::default();
    for round in 0..ROUNDS {
        let before = told.lines;
        run_and_kill(&path, round, &mut told);
        println!("round {round}: {} acknowledged", told.lines - before);
        assert!(told.lines > before, "round {round} was killed before it did anything");
        told.check(&Sqlite::open(&path).unwrap());
    }
    finish(&Sqlite::open(&path).unwrap());
    told.check(&Sqlite::open(&path).unwrap());
}

#[test]
fn a_ca_is_taken_over_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenca.db");
    let (mut announced, mut whole, mut half_way) = (0, 0, 0);
    for round in 0..ROUNDS {
        let mut child = start("adopting_child", &path, round);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut heard = 0;
        // In the middle of one: after it was announced, before it is told.
        while let Some(line) = lines.next()
            && heard <= 2 * random(4)
        {
            heard += u64::from(line.starts_with(MARK));
        }
        thread::sleep(Duration::from_micros(random(30_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        let store = Sqlite::open(&path).unwrap();
        for line in lines.collect::<Vec<_>>() {
            let Some(server) = line.strip_prefix(MARK).and_then(|line| line.strip_prefix("adopted ")) else {
                continue;
            };
            assert!(is_adopted(&store, server), "{server} was told and is lost");
        }
        let servers: Vec<String> = (0..100).map(|n| format!("ca-{round}-{n}")).collect();
        let there: Vec<bool> = servers.iter().map(|server| is_adopted(&store, server)).collect();
        assert!(there.is_sorted_by(|a, b| a >= b), "they came one after the other");
        let count = there.iter().filter(|there| **there).count();
        (announced, whole) = (announced + heard, whole + count);
        half_way += u64::from(count < 100);
    }
    println!("{announced} words, {whole} whole, killed on the way {half_way} times");
    assert!(whole > 0 && half_way > 0);
}

/// Everything of an adoption is there; or nothing is.
fn is_adopted(store: &dyn Store, server: &str) -> bool {
    let authorities = store.authorities(server).unwrap();
    let certificates = store.certificates(server, None, usize::MAX).unwrap().len() as u64;
    let numbers = (store.last_serial(server).unwrap(), store.revision(server).unwrap());
    let Some(authority) = authorities.first() else {
        assert_eq!((certificates, numbers), (0, (None, 0)), "{server} is there in part");
        return false;
    };
    assert_eq!((certificates, numbers), (ADOPTED, (Some(Serial::from(ADOPTED)), ADOPTED)), "{server}");
    let crl = store.crl(server, authority.id).unwrap().expect("the CRL belongs to it");
    assert_eq!((crl.number, crl.der.len()), (9, 100_000));
    true
}

/// Not a test: the child that takes one CA over after the other.
#[test]
fn adopting_child() {
    let Ok(path) = std::env::var(DATABASE) else { return };
    let round = std::env::var(ROUND).unwrap();
    let store = Sqlite::open(Path::new(&path)).unwrap();
    for n in 0..100 {
        let server = format!("ca-{round}-{n}");
        println!("\n{MARK}adopting {server}");
        store.adopt(adoption(&server)).unwrap();
        println!("\n{MARK}adopted {server}");
    }
}

fn adoption(server: &str) -> Adoption {
    let authority = NewAuthority {
        server: server.into(),
        role: Role::Ca,
        token: "usbtoken0".into(),
        key_label: server.into(),
        certificate: vec![1; 900],
    };
    let certificate = |n: u64| Adopted {
        serial: Serial::from(n),
        der: Some(vec![2; 900]),
        subject: Some("CN=r".into()),
        key: Some([7; 32]),
        not_before: Some(NOW),
        not_after: Some(NOW),
        revocation: Some(Revocation { at: NOW, reason: 1 }),
    };
    let (this_update, der) = (NOW, vec![3; 100_000].into());
    let crl = Crl { authority: 0, number: 9, this_update, next_update: NOW, revision: 0, der };
    let (certificates, last_serial) = ((1..=ADOPTED).map(certificate).collect(), Serial::from(ADOPTED));
    Adoption { authority, certificates, last_serial, crl: Some(crl), now: NOW }
}

#[test]
fn a_ca_rolls_over_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenca.db");
    let mut heard = 0;
    for round in 0..ROUNDS {
        let mut child = start("rolling_child", &path, round);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let patience = 1 + random(60);
        let mut last = None;
        let mut hear = |line: String| {
            let Some(n) = line.strip_prefix(MARK).and_then(|line| line.strip_prefix("rolled ")) else {
                return 0;
            };
            last = Some(n.parse::<u64>().unwrap());
            1
        };
        let mut this_round = 0;
        while this_round < patience
            && let Some(line) = lines.next()
        {
            this_round += hear(line);
        }
        thread::sleep(Duration::from_micros(random(3000)));
        child.kill().unwrap();
        child.wait().unwrap();
        lines.for_each(|line| this_round += hear(line));
        assert!(this_round > 0, "round {round} was killed before it did anything");
        heard += this_round;
        let store = Sqlite::open(&path).unwrap();
        let authorities = store.authorities(CA).unwrap();
        let active: Vec<_> = authorities.iter().filter(|a| a.phase == Phase::Active).collect();
        // All three roles have the same key name: they have moved together.
        assert_eq!(active.iter().map(|a| a.role).collect::<Vec<_>>(), ROLES);
        assert!(active.iter().all(|a| a.key_label == active[0].key_label), "{active:?}");
        let acting: u64 = active[0].key_label.parse().unwrap();
        assert!(last.is_none_or(|last| acting >= last), "{last:?} was told, {acting} acts");
        for retired in authorities.iter().filter(|a| a.phase == Phase::Retired) {
            assert!(retired.key_label.parse::<u64>().unwrap() < acting);
        }
    }
    assert!(heard > ROUNDS);
}

/// Not a test: the child that rolls one CA over again and again, beginning where the last one was killed.
#[test]
fn rolling_child() {
    let Ok(path) = std::env::var(DATABASE) else { return };
    let store = Sqlite::open(Path::new(&path)).unwrap();
    let authority = |role, n: u64| NewAuthority {
        server: CA.into(),
        role,
        token: "usbtoken0".into(),
        key_label: n.to_string(),
        certificate: vec![1; 900],
    };
    let there = store.authorities(CA).unwrap();
    if !there.iter().any(|a| a.phase == Phase::Active && a.role == ROLES[2]) {
        for role in ROLES.iter().filter(|role| !there.iter().any(|a| a.role == **role)) {
            store.install(authority(*role, 0), None).unwrap();
        }
    }
    loop {
        let there = store.authorities(CA).unwrap();
        let acting: u64 =
            there.iter().rfind(|a| a.phase == Phase::Active).unwrap().key_label.parse().unwrap();
        for role in ROLES {
            if !there.iter().any(|a| a.phase == Phase::Next && a.role == role) {
                store.prepare(authority(role, acting + 1)).unwrap();
            }
        }
        store.activate(CA).unwrap();
        println!("\n{MARK}rolled {}", acting + 1);
    }
}

/// Not a test: the child, which never ends by itself. Without the variable there is nothing to do.
#[test]
fn child() {
    let Ok(path) = std::env::var(DATABASE) else { return };
    let round: u64 = std::env::var(ROUND).unwrap().parse().unwrap();
    let store = Sqlite::open(Path::new(&path)).unwrap();
    let out = Mutex::new(std::io::stdout());
    // A line is written at once and whole, or the kill comes first and nobody was told.
    let say = |line: String| out.lock().unwrap().write_all(format!("\n{MARK}{line}\n").as_bytes()).unwrap();
    thread::scope(|s| {
        for t in 0..THREADS {
            let (store, say) = (&store, &say);
            s.spawn(move || {
                (0..=u32::MAX).for_each(|n| enroll(store, round << 40 | t << 32 | u64::from(n), say))
            });
        }
    });
}

/// One enrollment by one of the two ways, with a word after each step.
fn enroll(store: &dyn Store, n: u64, say: &(dyn Fn(String) + Sync)) {
    let at_once = n.is_multiple_of(2);
    let submission = if at_once { Submission::Issue(new_intent()) } else { Submission::Pend };
    let submitted = store.submit(request(n, submission)).unwrap();
    let id = submitted.enrollment.id;
    say(format!("submitted {n} {id}"));
    let intent = match submitted.intent {
        Some(intent) => intent,
        None => store.intend(new_intent(), Some((id, State::Pending))).unwrap(),
    };
    say(format!("intended {id} {}", intent.serial));
    store.keep(CA, issued(&intent.serial)).unwrap();
    say(format!("kept {id} {}", intent.serial));
}

fn run_and_kill(path: &Path, round: u64, told: &mut Told) {
    let mut child = start("child", path, round);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    // The moment is random in work done and in time.
    let patience = random(400);
    for line in lines.by_ref() {
        told.hear(&line);
        if told.this_round > patience {
            break;
        }
    }
    thread::sleep(Duration::from_micros(random(3000)));
    child.kill().unwrap();
    child.wait().unwrap();
    // What it had said before, but was not heard yet.
    lines.for_each(|line| told.hear(&line));
    told.this_round = 0;
}

fn start(child: &str, path: &Path, round: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", child, "--nocapture", "--test-threads=1"])
        .env(DATABASE, path)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What the children were told by the store.
#[derive(Default)]
struct Told {
    lines: u64,
    this_round: u64,
    /// ReqID to the number of the request.
    submitted: HashMap<u64, u64>,
    /// Serial number to ReqID.
    intended: HashMap<Serial, u64>,
    kept: HashSet<Serial>,
}

impl Told {
    fn hear(&mut self, line: &str) {
        let Some(words) = line.strip_prefix(MARK) else { return };
        let words: Vec<&str> = words.split(' ').collect();
        match words[..] {
            ["submitted", n, id] => {
                let twice = self.submitted.insert(id.parse().unwrap(), n.parse().unwrap());
                assert_eq!(twice, None, "ReqID {id} was given twice");
            }
            ["intended", id, serial] => {
                let twice = self.intended.insert(serial.parse().unwrap(), id.parse().unwrap());
                assert_eq!(twice, None, "serial number {serial} was given twice");
            }
            ["kept", _, serial] => assert!(self.kept.insert(serial.parse().unwrap())),
            _ => panic!("the child said {line:?}"),
        }
        self.lines += 1;
        self.this_round += 1;
    }

    fn check(&self, store: &dyn Store) {
        let stored: HashMap<u64, Enrollment> = all(store).into_iter().map(|e| (e.id, e)).collect();
        for (id, n) in &self.submitted {
            let enrollment = stored.get(id).unwrap_or_else(|| panic!("request {id} is lost"));
            assert_eq!(enrollment.identity, identity(*n), "request {id} is another");
        }
        for (serial, id) in &self.intended {
            let enrollment = &stored[id];
            assert!(matches!(enrollment.state, State::Authorized | State::Granted), "request {id}");
            assert_eq!(enrollment.serial.as_ref(), Some(serial), "request {id}");
        }
        for serial in &self.kept {
            let kept = store.certificate(CA, serial).unwrap().unwrap_or_else(|| panic!("{serial} is lost"));
            assert_eq!(kept.der, der(serial));
            assert_eq!(stored[&kept.enrollment.unwrap()].state, State::Granted);
        }

        // And nothing is half done: each authorized one has its intent, each granted one its certificate,
        // no serial number and no request stands for two.
        let unfinished: HashMap<u64, Serial> =
            store.unfinished(CA).unwrap().into_iter().map(|i| (i.enrollment.unwrap(), i.serial)).collect();
        let mut serials = HashSet::new();
        let mut identities = HashSet::new();
        for (id, enrollment) in &stored {
            assert!(identities.insert(enrollment.identity), "request {id} is there twice");
            assert_eq!(enrollment.state == State::Authorized, unfinished.contains_key(id), "request {id}");
            match (enrollment.state, &enrollment.serial) {
                (State::Pending, None) => {}
                (State::Authorized, Some(serial)) => {
                    assert_eq!(unfinished[id], *serial);
                    assert!(serials.insert(serial.clone()), "{serial} stands for two");
                }
                (State::Granted, Some(serial)) => {
                    assert_eq!(store.certificate(CA, serial).unwrap().unwrap().enrollment, Some(*id));
                    assert!(serials.insert(serial.clone()), "{serial} stands for two");
                }
                (state, serial) => panic!("request {id} is {state} with {serial:?}"),
            }
        }
        let pending = stored.values().filter(|e| e.state == State::Pending).count();
        assert_eq!(store.pending(CA).unwrap(), pending as u64);
        // Sequential numbers without gaps, for every one given out belongs to a committed intent.
        let highest = serials.iter().filter_map(Serial::to_u64).max();
        assert_eq!(highest, Some(serials.len() as u64));
        assert_eq!(store.last_serial(CA).unwrap(), highest.map(Serial::from));
    }
}

/// What is done at start: the same bytes are signed again.
fn finish(store: &dyn Store) {
    for intent in store.unfinished(CA).unwrap() {
        assert_eq!(intent.tbs, intent.serial.to_string().into_bytes());
        store.keep(CA, issued(&intent.serial)).unwrap();
    }
    assert_eq!(store.unfinished(CA).unwrap(), []);
}

fn all(store: &dyn Store) -> Vec<Enrollment> {
    let mut all: Vec<Enrollment> = Vec::new();
    while let page = store.enrollments(CA, all.last().map_or(0, |e| e.id), 1000).unwrap()
        && !page.is_empty()
    {
        all.extend(page);
    }
    all
}

fn random(below: u64) -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    u64::from_le_bytes(bytes) % below
}

fn identity(n: u64) -> [u8; 32] {
    let mut identity = [0; 32];
    identity[..8].copy_from_slice(&n.to_be_bytes());
    identity
}

fn der(serial: &Serial) -> Vec<u8> {
    serial.to_string().repeat(300).into_bytes()
}

fn request(n: u64, submission: Submission) -> NewEnrollment {
    NewEnrollment {
        server: CA.into(),
        class: Class::Router,
        authority: None,
        transaction: n.to_string().into_bytes(),
        identity: identity(n),
        csr: vec![0x30; 700],
        signer_key: identity(n),
        subject: format!("CN=r{n}"),
        source: "terminal".into(),
        now: NOW,
        reuse: Reuse::UntilHalfLife,
        claim: None,
        max_pending: u64::MAX,
        submission,
        cost: Cost::default(),
    }
}

fn new_intent() -> NewIntent {
    NewIntent {
        server: CA.into(),
        authority: None,
        serial: SerialRule::Sequential,
        tbs: Box::new(|serial| serial.to_string().into_bytes()),
        now: NOW,
    }
}

fn issued(serial: &Serial) -> Issued {
    Issued {
        serial: serial.clone(),
        der: der(serial),
        subject: "CN=r".into(),
        key: [7; 32],
        not_before: NOW,
        not_after: NOW.plus(Duration::from_secs(86400)),
        cost: Cost::default(),
        now: NOW,
    }
}

const CA: &str = "mycs";
const NOW: Time = Time::from_unix(1_800_000_000);

/// The environment of the child.
const DATABASE: &str = "TOKENCA_CRASH_DATABASE";
const ROUND: &str = "TOKENCA_CRASH_ROUND";

/// Begins the child's lines, since the test harness writes its own between them.
const MARK: &str = "told ";

/// Certificates of each CA taken over.
const ADOPTED: u64 = 300;

const ROLES: [Role; 3] = [Role::Ca, Role::RaSign, Role::RaDecrypt];

const ROUNDS: u64 = 12;
const THREADS: u64 = 6;
