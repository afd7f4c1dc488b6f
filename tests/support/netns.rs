//! A network of this test's own: hosts with addresses, fixed ports and routes, on one machine.
//!
//! The test runs itself again in a child that has network, mounts and process numbers of its own
//! ([`own_network`]). Whatever is made there, namespaces, devices, processes, is seen by nobody else and ends
//! with the child, however that ends. Root is not needed where users may make namespaces.

use std::process::Command;

use super::{run, skipped};

/// The wire that the hosts are on. The test itself is there too, at [`Network::TEST`].
pub struct Network(());

/// A host with a network namespace of its own.
#[derive(Clone, Debug)]
pub struct Host {
    name: String,
}

/// Runs `#[test] fn name` again in a child with a network of its own, and `story` there. Where the kernel, or
/// whoever guards it, does not allow that, the test is [`skipped`].
pub fn own_network(name: &str, story: impl FnOnce(&Network)) {
    if std::env::var_os(CHILD).is_some() {
        return story(&Network::new());
    }
    if let Err(why) = allowed() {
        return skipped(name, &why);
    }
    let test = std::env::current_exe().expect("the test's own path");
    // Not by `exec`: the first process of such a child takes no signal from outside, Ctrl-C among them.
    let mut child = unshare(r#"mount -t tmpfs none /run && "$@"; exit $?"#);
    child.arg("sh").arg(test).args([name, "--exact", "--include-ignored", "--nocapture"]).env(CHILD, "1");
    let ran = run(&mut child);
    // A name that is not found runs nothing and succeeds.
    assert!(
        ran.code == Some(0) && ran.stdout.contains("1 passed"),
        "{name} in a network of its own:\n{}\n{}",
        ran.stdout,
        ran.stderr
    );
}

impl Network {
    /// The address of the test's own process.
    pub const TEST: &str = "203.0.113.254";

    fn new() -> Self {
        ip("link set lo up");
        ip("link add wan type bridge");
        ip("link set wan up");
        ip(&format!("addr add {}/24 dev wan", Self::TEST));
        Self(())
    }

    /// A new host of this name on the wire, with an address in 203.0.113.0/24.
    pub fn host(&self, name: &str, address: &str) -> Host {
        ip(&format!("netns add {name}"));
        ip(&format!("link add {name} type veth peer name eth0 netns {name}"));
        ip(&format!("link set {name} master wan up"));
        ip(&format!("-n {name} link set lo up"));
        ip(&format!("-n {name} link set eth0 up"));
        ip(&format!("-n {name} addr add {address}/24 dev eth0"));
        Host { name: name.to_owned() }
    }
}

impl Host {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A program on this host; it becomes the process itself, so that its number is known.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("/usr/sbin/ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Gives it another address: that of a network behind it.
    pub fn has(&self, address: &str) {
        ip(&format!("-n {} addr add {address}/32 dev lo", self.name));
    }

    /// Whether an echo comes back to `from`, an address of its own, from `to` within two seconds.
    pub fn reaches(&self, from: &str, to: &str) -> bool {
        let mut ping = self.command("ping");
        // One answer will do: it asks again after a second.
        run(ping.args(["-c", "1", "-w", "2", "-I", from, to])).code == Some(0)
    }
}

/// Whether everything that a network needs can be had here; if not, what is in the way.
fn allowed() -> Result<(), String> {
    let ran = run(unshare(
        "mount -t tmpfs none /run && PATH=$PATH:/usr/sbin && ip link add wan type bridge && ip netns add probe && \
         ip link add probe type veth peer name eth0 netns probe && ip tuntap add mode tun name tun9",
    )
    .arg("sh"));
    let reason = ran.stderr.lines().next().unwrap_or("no namespaces, and nobody says why");
    if ran.code == Some(0) { Ok(()) } else { Err(reason.to_owned()) }
}

/// A shell that runs `script` with `$0` and `$@` being what is added, all by itself.
fn unshare(script: &str) -> Command {
    let mut unshare = Command::new("/usr/bin/unshare");
    let root = run(Command::new("id").arg("-u")).success().stdout.trim() == "0";
    unshare.args(if root { &[][..] } else { &["--user", "--map-root-user"] });
    unshare.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script]);
    unshare
}

#[track_caller]
fn ip(line: &str) {
    run(Command::new("/usr/sbin/ip").args(line.split(' '))).success();
}

const CHILD: &str = "TOKENCA_TEST_NETWORK";
