//! Enrolments per second over HTTP, beside what the token can do: how much of it is left.
//!
//! `cargo bench --bench enroll [-- SECONDS] [MODULE...]`, with the names of tests/support/modules; all of them
//! when none is named. A server process with `grant auto` on a fresh token of the module answers PKCSReq messages
//! that were prepared beforehand, each for another subject, over 1, 8 and 32 kept connections. In turns with that,
//! another process signs by the bare module ([`Bare`]) with an RSA-2048 key of its own on the same token, in as
//! many sessions as the server has. An enrolment takes three private-key operations, so the limit is a third of
//! that rate. SoftHSM is measured once more with `module isolated` at the server. Medians of several turns; the
//! load generator, the token and the server share the machine, and the disk is that of `TMPDIR`. Of a slow
//! module there are fewer and longer turns, without 32 connections.
//!
//! Other work on the machine takes more from two threads that sign than from a server with many, so shares can be
//! above 100 % there. CPU times are not so: of the server for an enrolment, and of the bare module for three
//! signatures, both as far as the token computes in the process that asks it.
//!
//! Every answer must be SUCCESS. Without `--bench`, as `cargo test` runs it, it only shows that it works.

#[path = "../common/bare.rs"]
mod bare;
mod load;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::env;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use tokenca::pki::KeyKind;
use tokenca::token::{KeyUsage, PinSource, Selector, Token, TokenConfig};

use bare::{Bare, median};
use load::Client;
use support::modules::server::ModuleServer;
use support::modules::{NAMES, TestModule};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let full = arguments.iter().any(|argument| argument == "--bench");
    let words: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|word| !word.starts_with('-')).collect();
    let seconds = words.iter().find_map(|word| word.parse().ok()).unwrap_or(1.0);
    let named: Vec<&str> = words.into_iter().filter(|word| word.parse::<f64>().is_err()).collect();
    if let (Ok(file), [name, lines @ ..]) = (env::var(MODULE), &named[..]) {
        let plan = if full { Plan::full(seconds) } else { Plan::brief() };
        return measure(&TestModule::described(name, Path::new(&file)), &lines.concat(), plan);
    }
    let modules = match &named[..] {
        [] if full => &NAMES[..],
        [] => &["softhsm2"],
        named => named,
    };
    for name in modules {
        let isolated = full && *name == "softhsm2";
        for lines in if isolated { &["", ISOLATED][..] } else { &[""] } {
            let module = match TestModule::start(name) {
                Ok(module) => module,
                Err(why) => {
                    println!("{name}: {why}");
                    continue;
                }
            };
            // What sees the token, and the server that it starts.
            let mut again = module.command(env::current_exe().expect("this program"));
            again.arg(name).args(Some(*lines).filter(|lines| !lines.is_empty())).arg(seconds.to_string());
            again.args(full.then_some("--bench"));
            again.env(MODULE, module.describe()).env("TOKENCA_LOG", "error,cryptoki=off");
            assert!(again.status().expect("this program runs again").success());
        }
    }
}

/// How much is measured.
struct Plan {
    /// Turns, each with every number of connections.
    turns: usize,
    /// How long each measurement takes.
    span: Duration,
    /// Client keys.
    keys: usize,
    connections: &'static [usize],
}

impl Plan {
    fn full(seconds: f64) -> Self {
        Self { turns: 5, span: Duration::from_secs_f64(seconds), keys: 4, connections: &[1, 8, 32] }
    }

    fn brief() -> Self {
        Self { turns: 1, span: Duration::from_millis(100), keys: 1, connections: &[1, 8, 32] }
    }

    /// For a module that makes so many signatures a second.
    fn at(self, rate: f64) -> Self {
        match rate < SLOW {
            true => Self { turns: self.turns.min(3), span: 3 * self.span, connections: &[1, 8], ..self },
            false => self,
        }
    }
}

fn measure(module: &TestModule, lines: &str, plan: Plan) {
    let server = ModuleServer::start(module, lines, &[("mycs", "rsakeypair mycs 2048")]);
    let token = server.json("show crypto pki token")[0].clone();
    let sessions = token["sessions"].as_u64().expect("a number") as usize;
    let bare = raw(module);
    let mut bare_cpu = Vec::new();
    let mut raw_rate = |span: Duration| {
        let used = cpu(process::id());
        let rate = bare::rate(sessions, span, || bare.signer(None));
        let used = cpu(process::id()) - used;
        bare_cpu.push(3.0 * 1000.0 * used / (rate * span.as_secs_f64()));
        rate
    };
    // The best of three, as others use the machine too.
    let best = (0..3).map(|_| raw_rate(plan.span / 3)).fold(0.0, f64::max);
    let plan = plan.at(best);
    // The limit and a little more: nothing is answered faster.
    let messages = (best / 3.0 * plan.span.as_secs_f64() * 1.1) as usize + 1;
    // One connection has one operation going on at a time, on a token that could do as many as it has sessions.
    let needed = |connections| if connections == 1 { messages.div_ceil(sessions.min(2)) } else { messages };
    let total: usize = plan.turns * plan.connections.iter().copied().map(needed).sum::<usize>();
    let clients: Vec<Client> = (0..plan.keys).map(|_| Client::new()).collect();
    let requests = load::prepare(&clients, &load::ca(server.address()), server.address(), total);

    let mut requests = &requests[..];
    let mut levels: Vec<Level> = plan.connections.iter().map(|_| Level::default()).collect();
    let mut flushes = Vec::new();
    let mut before = raw_rate(plan.span);
    for _ in 0..plan.turns {
        flushes.push(flush(&module.dir));
        for (connections, level) in plan.connections.iter().zip(&mut levels) {
            let (now, later) = requests.split_at(needed(*connections));
            requests = later;
            let used = cpu(server.running.child.id());
            let (done, rate) = load::rate(server.address(), now, *connections, plan.span);
            let used = cpu(server.running.child.id()) - used;
            let after = raw_rate(plan.span);
            let limit = (before + after) / 6.0;
            before = after;
            level.limits.push(limit);
            level.rates.push(rate);
            level.shares.push(100.0 * rate / limit);
            level.cpu.push(1000.0 * used / f64::from(done));
        }
    }
    let limit = median(levels.iter().flat_map(|level| level.limits.clone()).collect());
    let flush = 1000.0 * median(flushes);
    println!(
        "{}{}, {} cores: {:.0} RSA-2048 signatures/s with {sessions} session(s), the limit is {limit:.0} \
         enrolments/s, {:.2} ms of CPU each; {flush:.1} ms for a flush of the disk, of which an enrolment waits \
         for two",
        module.name,
        lines.trim_end(),
        thread::available_parallelism().map_or(1, usize::from),
        3.0 * limit,
        median(bare_cpu)
    );
    println!("connections  enrolments/s  of limit  each, ms  server's CPU, ms");
    for (connections, level) in plan.connections.iter().zip(levels) {
        let (rate, share) = (median(level.rates), median(level.shares));
        let (each, cpu) = (1000.0 * *connections as f64 / rate, median(level.cpu));
        println!("{connections:>11} {rate:>13.1} {share:>8.0}% {each:>9.1} {cpu:>17.2}");
    }
}

/// What was measured with one number of connections.
#[derive(Default)]
struct Level {
    limits: Vec<f64>,
    rates: Vec<f64>,
    /// Percent of the limit measured right before and after.
    shares: Vec<f64>,
    /// Milliseconds of the server's processor for each enrolment, the token's included where it is in there.
    cpu: Vec<f64>,
}

/// Another key on the token, for this process alone.
fn raw(module: &TestModule) -> Bare {
    let (label, kind) = ("raw", KeyKind::Rsa { bits: 2048 });
    let config = TokenConfig {
        module: Some(module.library.clone()),
        parameters: module.parameters.clone(),
        ..TokenConfig::new(label, Selector::label(&module.label), PinSource::File(module.pin_file()))
    };
    let token = Token::open(&config).expect("the token");
    // As the server's own: to a TPM, CKM_RSA_PKCS is a decryption, which keys for signatures alone refuse.
    token.generate(label, kind, KeyUsage::general(kind), false).expect("a key");
    Bare::open(&module.library, module.slot, &module.label, &module.pin, label, kind)
}

/// Seconds of processor that a process has used (proc(5)).
fn cpu(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    // After its name, which may have spaces, the 12th and 13th: in user and in kernel mode.
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let ticks =
        fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("a number"));
    ticks.sum::<f64>() / TICKS
}

/// Seconds that it takes to write a page so that it stays.
fn flush(dir: &Path) -> f64 {
    let mut file = File::create(dir.join("page")).expect("a file");
    let started = Instant::now();
    for _ in 0..FLUSHES {
        file.write_all(&[1; 4096]).and_then(|()| file.sync_data()).expect("it is written");
    }
    started.elapsed().as_secs_f64() / f64::from(FLUSHES)
}

const FLUSHES: u32 = 20;
/// Ticks in a second, of Linux.
const TICKS: f64 = 100.0;
/// Signatures a second below which a module is slow.
const SLOW: f64 = 300.0;
const ISOLATED: &str = " module isolated\n";
/// In the process that measures: the description of its token.
const MODULE: &str = "TOKENCA_BENCH_MODULE";
