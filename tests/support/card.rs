//! A PIV smartcard and its reader without USB: pcscd, vsmartcard's virtual reader, and the card of
//! `tests/vcard`, for each test its own.
//!
//! The name of pcscd's socket and the ports of the reader are fixed. Hence pcscd has mounts and a network of
//! its own, in which only the card is; clients find the socket by [`Card::environment`]. Root is not needed
//! where users may make namespaces. It is the card of a YubiKey as far as Yubico's software looks: the same
//! extensions and factory settings, and the reader's name.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Ran, run, skipped, until};

/// A card in a reader. Everything ends when this is dropped.
pub struct Card {
    /// Holds `run`, which is `/run` for pcscd, and the card's memory `store`.
    dir: TempDir,
    /// The program that is the card.
    vcard: PathBuf,
    pcscd: Child,
    /// The card while it is in the reader.
    inserted: Option<Child>,
}

impl Card {
    /// The user's PIN, as it leaves the factory; the third wrong one in a row locks it.
    pub const PIN: &str = "123456";
    /// What unlocks it.
    pub const PUK: &str = "12345678";
    /// The management key, which is the security officer's PIN for Yubico's module.
    pub const MANAGEMENT_KEY: &str = "010203040506070801020304050607080102030405060708";

    /// A new card in a new reader; or what is in the way on this machine.
    pub fn start() -> Result<Self, String> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for name in ["run", "store"] {
            fs::create_dir(dir.path().join(name)).expect("a directory");
        }
        fs::write(dir.path().join("readers"), READER).expect("a file");
        said(run(Command::new("sh").args(["-c", PROGRAMS])))?;
        said(run(&mut namespaces(dir.path(), ":")))?;
        let vcard = said(run(Command::new("sh").args(["-c", BUILD])))?.trim().into();
        let mut card = Self { pcscd: pcscd(dir.path()), dir, vcard, inserted: None };
        card.await_reader();
        card.plug();
        Ok(card)
    }

    /// Takes the card out of the reader. What it holds stays.
    pub fn pull(&mut self) {
        end(&mut self.inserted.take().expect("the card is plugged in"));
        until("pcscd sees that the card is out", || (!self.present()).then_some(()));
    }

    /// Puts it in again.
    pub fn plug(&mut self) {
        assert!(self.inserted.is_none(), "the card is not plugged in");
        let mut since = Instant::now();
        self.inserted = Some(self.vcard());
        until("pcscd sees the card", || {
            // The reader loses a card for good that comes while a module still talks to the one before. Then
            // a hand puts it in once more.
            if since.elapsed() > SEEN {
                end(self.inserted.as_mut().expect("it was put in"));
                since = Instant::now();
                self.inserted = Some(self.vcard());
            }
            self.present().then_some(())
        });
    }

    fn vcard(&self) -> Child {
        let mut vcard = Command::new("nsenter");
        vcard.arg(format!("--target={}", self.pcscd.id())).arg("--net");
        if !root() {
            vcard.args(["--user", "--preserve-credentials"]);
        }
        vcard.arg(&self.vcard).arg(PORT).arg(self.dir.path().join("store"));
        let vcard = vcard.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log(self.dir.path()));
        vcard.spawn().expect("nsenter is installed; see scripts/install-deps")
    }

    /// pcscd crashes and is started again; the card stays where it was.
    pub fn restart_pcscd(&mut self) {
        end(&mut self.pcscd);
        // Its end is the end of the card's connection, and of the network that they were in.
        let inserted = self.inserted.take();
        let was_in = inserted.map(|mut card| end(&mut card)).is_some();
        // Socket and process number: pcscd takes them for another one that runs.
        fs::remove_dir_all(self.dir.path().join("run/pcscd")).expect("pcscd has made it");
        self.pcscd = pcscd(self.dir.path());
        self.await_reader();
        if was_in {
            self.plug();
        }
    }

    /// What a process needs to see the card.
    pub fn environment(&self) -> Vec<(String, OsString)> {
        vec![(SOCKET.to_owned(), self.dir.path().join("run/pcscd/pcscd.comm").into())]
    }

    /// The root to which the certificate of the key that attests the others leads.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join(ROOT)
    }

    /// A program that sees the card.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.envs(self.environment());
        command
    }

    /// Whether pcscd has a card.
    fn present(&self) -> bool {
        run(self.command("opensc-tool").args(["--reader", "0", "--atr"])).code == Some(0)
    }

    fn await_reader(&mut self) {
        until("pcscd has its reader", || {
            let ended = self.pcscd.try_wait().expect("it is our child");
            assert!(ended.is_none(), "pcscd has ended: {ended:?}\n{}", self.log());
            let list = run(self.command("opensc-tool").arg("--list-readers"));
            list.stdout.contains("YubiKey").then_some(())
        });
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        if let Some(inserted) = &mut self.inserted {
            end(inserted);
        }
        end(&mut self.pcscd);
        if std::thread::panicking() {
            eprintln!("the log of pcscd and the card:\n{}", self.log());
        }
    }
}

/// Yubico's module.
pub fn ykcs11() -> PathBuf {
    library("libykcs11.so")
}

/// OpenSC's module.
pub fn opensc() -> PathBuf {
    library("opensc-pkcs11.so")
}

/// Runs `#[test] fn name` again in a child process that sees a new card, and `story` there, which has a hand
/// at the card. `prepare` sees the card first. Where there can be no card the test is [`skipped`].
///
/// The environment of a process that has threads cannot be changed, and a module is initialised once per
/// process, so each test that loads a module has a process of its own.
pub fn own_process(name: &str, prepare: impl FnOnce(&Card), story: impl FnOnce(&mut Hand)) {
    if std::env::var_os(CHILD).is_some() {
        return story(&mut Hand(()));
    }
    let mut card = match Card::start() {
        Ok(card) => card,
        Err(why) => return skipped(name, &why),
    };
    prepare(&card);
    let mut child = card.command(std::env::current_exe().expect("the test's own path"));
    child.args([name, "--exact", "--include-ignored", "--nocapture"]).env(CHILD, card.dir.path());
    child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log(card.dir.path()));
    let mut child = child.spawn().expect("the test runs again");
    let (mut hand, told) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
    let mut said = String::new();
    for line in BufReader::new(told).lines() {
        let line = line.expect("text");
        match line.strip_prefix(ASK) {
            Some("pull") => card.pull(),
            Some("plug") => card.plug(),
            Some("restart pcscd") => card.restart_pcscd(),
            _ => {
                said = said + &line + "\n";
                continue;
            }
        }
        hand.write_all(b"done\n").expect("the child waits");
    }
    let status = child.wait().expect("it is our child");
    // A name that is not found runs nothing and succeeds.
    let passed = status.success() && said.contains("1 passed");
    assert!(passed, "{name} in its own process:\n{said}\n{}", card.log());
}

/// A hand at the card, for a child process. See [`own_process`].
pub struct Hand(());

impl Hand {
    /// [`Card::pull`].
    pub fn pull(&mut self) {
        ask("pull");
    }

    /// [`Card::plug`].
    pub fn plug(&mut self) {
        ask("plug");
    }

    /// [`Card::root`].
    pub fn root(&self) -> PathBuf {
        Path::new(&std::env::var_os(CHILD).expect("it is set")).join(ROOT)
    }

    /// [`Card::restart_pcscd`].
    pub fn restart_pcscd(&mut self) {
        ask("restart pcscd");
    }
}

fn ask(what: &str) {
    // On a line of its own: the harness leaves one unfinished.
    println!("\n{ASK}{what}");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).expect("the parent answers");
    assert_eq!(answer, "done\n", "{what}");
}

fn pcscd(dir: &Path) -> Child {
    let mut pcscd = namespaces(dir, r#"exec pcscd --foreground --config "$1/readers""#);
    pcscd.stdin(Stdio::null()).stdout(log(dir)).stderr(log(dir));
    pcscd.spawn().expect("unshare is installed; see scripts/install-deps")
}

/// A shell that runs `script` with `run` in `dir` as its `/run` and in a network where nobody else is.
///
/// pcscd sends a command to the card in two pieces, the second when the first is acknowledged. That would
/// take 40 ms each time, had this network not been told to do it at once.
fn namespaces(dir: &Path, script: &str) -> Command {
    let script = format!(
        r#"PATH=$PATH:/usr/sbin:/sbin && mount --bind "$1/run" /run && ip link set lo up && \
           ip route replace local 127.0.0.1 dev lo table local quickack 1 && {script}"#
    );
    let mut unshare = Command::new("unshare");
    unshare.args(if root() { &[][..] } else { &["--user", "--map-root-user"] });
    unshare.args(["--mount", "--net", "sh", "-c", &script, "sh"]).arg(dir);
    unshare
}

fn root() -> bool {
    run(Command::new("id").arg("-u")).success().stdout.trim() == "0"
}

/// What it said; or, when it failed, its complaint.
fn said(ran: Ran) -> Result<String, String> {
    if ran.code == Some(0) { Ok(ran.stdout) } else { Err(format!("{}{}", ran.stdout, ran.stderr)) }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    child.wait().expect("it is our child");
}

fn log(dir: &Path) -> File {
    File::options().append(true).create(true).open(dir.join("log")).expect("a log file")
}

fn library(name: &str) -> PathBuf {
    format!("/usr/lib/{}-linux-gnu/{name}", std::env::consts::ARCH).into()
}

/// vpcd's reader. Yubico's software wants that name.
const READER: &str = "\
FRIENDLYNAME \"Yubico YubiKey CCID\"
DEVICENAME /dev/null:0x8C7B
LIBPATH /usr/lib/pcsc/drivers/serial/libifdvpcd.so
CHANNELID 0x8C7B
";
/// Written by the card, beside its memory.
const ROOT: &str = "store/root.pem";
/// How long pcscd may take to see a card.
const SEEN: Duration = Duration::from_secs(3);
const PORT: &str = "35963";

const PROGRAMS: &str = "PATH=$PATH:/usr/sbin:/sbin
reader=/usr/lib/pcsc/drivers/serial/libifdvpcd.so
for program in pcscd unshare nsenter ip opensc-tool $reader; do
    command -v $program >/dev/null || [ -e $program ] || {
        echo \"$program is not installed; see scripts/install-deps\"
        exit 1
    }
done";
const BUILD: &str = concat!("'", env!("CARGO_MANIFEST_DIR"), "/scripts/build-vcard'");

/// Names pcscd's socket to libpcsclite.
const SOCKET: &str = "PCSCLITE_CSOCK_NAME";
const CHILD: &str = "TOKENCA_TEST_CARD";
const ASK: &str = "to the hand at the card: ";
