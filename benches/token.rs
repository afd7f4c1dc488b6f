//! What the token layer costs: signatures per second through it, beside those of the bare module.
//!
//! `cargo bench --bench token [-- MODULE...]`, with the names of tests/support/modules; `softhsm2` and
//! `opencryptoki` when none is named. For RSA-2048 and P-256, with one thread and with two, the same key of
//! the same token signs in turns by
//!
//! - the bare module: the crate `cryptoki`, a session and a kept handle for each thread, a digest made before;
//! - the bare module again, each signature verified as the token layer does it before it leaves: that is wanted,
//!   and no overhead;
//! - the token layer: [`TokenKey`], which hashes, queues, signs, and verifies what came;
//! - the token layer with the module in a process of its own (`module isolated`).
//!
//! Printed are medians, and the medians of the quotients to the bare module and to the verified one within a
//! turn: the machine's other work comes and goes. Without `--bench`, as `cargo test` runs it, it only shows that it works.

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use tokenca::pki::{Curve, Hash, KeyKind, PublicKey, SignatureAlgorithm, SigningKey};
use tokenca::token::{KeyUsage, PinSource, Selector, Token, TokenConfig, TokenKey};

use support::modules::TestModule;

const KINDS: [KeyKind; 2] = [KeyKind::Rsa { bits: 2048 }, KeyKind::Ec(Curve::P256)];
const MESSAGE: &[u8] = b"to be signed";
/// Which module this process is to measure: its library, label, PIN and slot.
const MODULE: &str = "TOKENCA_BENCH_MODULE";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let full = arguments.iter().any(|argument| argument == "--bench");
    if let Ok(module) = std::env::var(MODULE) {
        return measure(&module, full);
    }
    let named: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|word| !word.starts_with('-')).collect();
    let modules = match &named[..] {
        [] if full => &["softhsm2", "opencryptoki"][..],
        [] => &["softhsm2"],
        named => named,
    };
    for name in modules {
        match TestModule::start(name) {
            Ok(module) => {
                let slot = module.slot.map(|slot| slot.to_string()).unwrap_or_default();
                let library = module.library.display().to_string();
                let what = [name, library.as_str(), &module.label, &module.pin, &slot].join("\n");
                let mut again = module.command(std::env::current_exe().expect("this program"));
                let status = again.args(&arguments).env(MODULE, what).status();
                assert!(status.expect("this program runs again").success());
            }
            Err(why) => println!("{name}: {why}"),
        }
    }
}

fn measure(module: &str, full: bool) {
    let fields: Vec<&str> = module.split('\n').collect();
    let [name, library, token, pin, slot] = fields[..] else { panic!("five lines") };
    let slot = slot.parse().ok();
    let config = |sessions, apart: Option<PathBuf>| {
        let selector = Selector { slot, ..Selector::label(token) };
        // Another name is another process.
        let token_name = format!("bench-{sessions}");
        TokenConfig {
            module: Some(library.into()),
            sessions: Some(sessions),
            apart,
            ..TokenConfig::new(token_name, selector, PinSource::Given(pin.into()))
        }
    };
    let (turns, span) = match full {
        true => (9, Duration::from_millis(700)),
        false => (1, Duration::from_millis(50)),
    };
    let program = PathBuf::from(env!("CARGO_BIN_EXE_tokenca"));
    for kind in KINDS {
        let label = format!("bench {kind}");
        let maker = Token::open(&config(1, None)).expect("the token");
        if !maker.capabilities().can_generate(kind) {
            println!("{name}: no {kind}");
            continue;
        }
        maker.generate(&label, kind, KeyUsage::SIGNATURE, false).expect("a key");
        for threads in [1, 2] {
            let here = Token::open(&config(threads, None)).expect("the token");
            let apart = Token::open(&config(threads, Some(program.clone()))).expect("the token, apart");
            let (here, apart) = (here.key(&label).expect("the key"), apart.key(&label).expect("the key"));
            let bare = Bare::open(library, slot, token, pin, kind);
            let mut rows = Vec::new();
            for _ in 0..turns {
                rows.push([
                    rate(threads, span, || bare.signer(None)),
                    rate(threads, span, || bare.signer(Some(here.public_key()))),
                    rate(threads, span, || signer(&here)),
                    rate(threads, span, || signer(&apart)),
                ]);
            }
            let of = |at: usize| median(rows.iter().map(|row| row[at]).collect());
            let quotient = |at: usize, to: usize| median(rows.iter().map(|row| row[at] / row[to]).collect());
            println!("{name} {kind}, {threads} thread(s): bare {:.0}/s, verified {:.0}/s", of(0), of(1));
            for (what, at) in [("token layer", 2), ("isolated", 3)] {
                println!(
                    "  {what} {:.0}/s: {:.2} of bare, {:.2} of verified",
                    of(at),
                    quotient(at, 0),
                    quotient(at, 1)
                );
            }
        }
        maker.delete(&label).expect("the key is deleted");
    }
}

fn signer(key: &TokenKey) -> impl FnMut() + Send + 'static {
    let key = key.clone();
    move || {
        key.sign(Hash::Sha256, MESSAGE).unwrap_or_else(|error| panic!("{}", error.source));
    }
}

/// The module without us.
struct Bare {
    context: Pkcs11,
    slot: Slot,
    pin: AuthPin,
    label: String,
    kind: KeyKind,
}

impl Bare {
    fn open(library: &str, slot: Option<u64>, token: &str, pin: &str, kind: KeyKind) -> Self {
        let context = Pkcs11::new(library).expect("the module");
        // The token layer has done it.
        let _ = context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
        let wanted = |candidate: &Slot| match slot {
            Some(slot) => candidate.id() == slot,
            None => context.get_token_info(*candidate).is_ok_and(|info| info.label().trim() == token),
        };
        let slot = context.get_slots_with_token().expect("slots").into_iter().find(wanted);
        let slot = slot.expect("the token's slot");
        Self { context, slot, pin: AuthPin::from(pin.to_owned()), label: format!("bench {kind}"), kind }
    }

    /// With a public key, what it signs is verified.
    fn signer(&self, verify: Option<&PublicKey>) -> impl FnMut() + Send + 'static {
        let session = self.context.open_rw_session(self.slot).expect("a session");
        // The token layer has logged in, for the whole process.
        let _ = session.login(UserType::User, Some(&self.pin));
        let template =
            [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label(self.label.as_bytes().to_vec())];
        let key = session.find_objects(&template).expect("objects")[0];
        let digest = Hash::Sha256.digest(&[MESSAGE]);
        let rsa = matches!(self.kind, KeyKind::Rsa { .. });
        let data = if rsa { Hash::Sha256.digest_info(&digest) } else { digest };
        let (algorithm, verify) = (SignatureAlgorithm::for_key(self.kind, Hash::Sha256), verify.cloned());
        move || {
            let mechanism = if rsa { Mechanism::RsaPkcs } else { Mechanism::Ecdsa };
            let mut signature = session.sign(&mechanism, key, &data).expect("a signature");
            let Some(key) = &verify else { return };
            if !rsa {
                let rs = p256::ecdsa::Signature::from_slice(&signature).expect("r and s");
                signature = rs.to_der().as_bytes().to_vec();
            }
            key.verify(algorithm, MESSAGE, &signature).expect("it verifies");
        }
    }
}

/// Signatures per second by so many threads.
fn rate<S: FnMut() + Send + 'static>(threads: usize, span: Duration, make: impl Fn() -> S) -> f64 {
    let (stop, done, barrier) = (AtomicBool::new(false), AtomicU64::new(0), Barrier::new(threads + 1));
    let mut took = Duration::ZERO;
    thread::scope(|scope| {
        for mut sign in (0..threads).map(|_| make()) {
            let (stop, done, barrier) = (&stop, &done, &barrier);
            scope.spawn(move || {
                sign();
                barrier.wait();
                let mut mine = 0;
                while !stop.load(Ordering::Relaxed) {
                    sign();
                    mine += 1;
                }
                done.fetch_add(mine, Ordering::Relaxed);
            });
        }
        barrier.wait();
        let start = Instant::now();
        thread::sleep(span);
        stop.store(true, Ordering::Relaxed);
        took = start.elapsed();
    });
    done.load(Ordering::Relaxed) as f64 / took.as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
