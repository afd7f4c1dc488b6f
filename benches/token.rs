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

#[path = "common/bare.rs"]
mod bare;
#[path = "../tests/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokenca::pki::{Curve, Hash, KeyKind, SigningKey};
use tokenca::token::{KeyUsage, PinSource, Selector, Token, TokenConfig, TokenKey};

use bare::{Bare, MESSAGE, median, rate};
use support::modules::TestModule;

const KINDS: [KeyKind; 2] = [KeyKind::Rsa { bits: 2048 }, KeyKind::Ec(Curve::P256)];
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
            let bare = Bare::open(Path::new(library), slot, token, pin, &label, kind);
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
