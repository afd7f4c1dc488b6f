//! strongSwan's charon: an IPsec gateway on a host of its own, in the form that the operator's guide shows.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::netns::Host;
use super::strongswan::Strongswan;
use super::{Ran, run, until};

/// A gateway that runs. Stopped when it is dropped; its log is shown when that happens because a test fails.
pub struct Gateway {
    host: Host,
    /// What is in `/etc/swanctl` elsewhere, charon's socket and its log.
    dir: tempfile::TempDir,
    charon: Child,
}

impl Gateway {
    /// Starts charon with the key `own` and the certificate of this device, which trusts the CA that issued it,
    /// and these connections.
    pub fn start(host: &Host, device: &Strongswan, connections: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().display();
        for (from, to) in
            [("own.key", "private/own.key"), ("own.pem", "x509/own.pem"), ("ca.pem", "x509ca/ca.pem")]
        {
            let to = dir.path().join(to);
            fs::create_dir_all(to.parent().expect("it is in one")).expect("a directory");
            fs::copy(device.file(from), to).expect("the device is enrolled");
        }
        fs::write(dir.path().join("swanctl.conf"), connections).expect("a configuration");
        let configuration = CONFIGURATION.replace("{DIR}", &path.to_string());
        fs::write(dir.path().join("strongswan.conf"), configuration).expect("a configuration");
        let mut program = host.command("/usr/sbin/charon-systemd");
        let output = File::create(dir.path().join("output")).expect("a file");
        program.env("STRONGSWAN_CONF", dir.path().join("strongswan.conf"));
        program.stdin(Stdio::null()).stdout(output.try_clone().expect("a file")).stderr(output);
        let charon = program.spawn().expect("ip is installed; see scripts/install-deps");
        let mut gateway = Self { host: host.clone(), dir, charon };
        until("charon answers", || {
            let ended = gateway.charon.try_wait().expect("it is our child");
            assert!(ended.is_none(), "charon has ended: {ended:?}");
            (gateway.swanctl(&["--stats"]).code == Some(0)).then_some(())
        });
        gateway.swanctl(&["--load-all"]).success();
        gateway
    }

    /// Its host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Establishes the tunnel `net`, or says why not.
    pub fn connect(&self) -> Ran {
        self.swanctl(&["--initiate", "--child", "net", "--timeout", "20"])
    }

    /// Closes the connection of this name, with its tunnels.
    pub fn disconnect(&self, connection: &str) {
        self.swanctl(&["--terminate", "--ike", connection, "--timeout", "20"]).success();
    }

    /// The connection that is established with this peer, if there is one, with its tunnels: `key=value` and
    /// braces.
    pub fn connection_with(&self, peer: &str) -> Option<String> {
        let (state, id) = (" state=ESTABLISHED ", format!(" remote-id={peer} "));
        let list = self.swanctl(&["--list-sas", "--raw"]).success().stdout;
        list.lines().find(|line| line.contains(state) && line.contains(&id)).map(str::to_owned)
    }

    /// How many packets have come through the tunnel from this peer.
    pub fn packets_from(&self, peer: &str) -> u64 {
        let connection = self.connection_with(peer).unwrap_or_else(|| panic!("no connection with {peer}"));
        let count = connection.split(' ').find_map(|word| word.strip_prefix("packets-in="));
        count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no count in {connection}"))
    }

    /// Forgets the CRLs that were fetched: the next peer is checked against a new one.
    pub fn flush_crls(&self) {
        self.swanctl(&["--flush-certs", "--type", "x509_crl"]).success();
    }

    /// What charon has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    /// What it logs from now on has this text at some time.
    pub fn logs<T>(&self, text: &str, act: impl FnOnce() -> T) -> T {
        let before = self.log().len();
        let done = act();
        until(&format!("{} logs {text:?}", self.host.name()), || {
            self.log()[before..].contains(text).then_some(())
        });
        done
    }

    fn swanctl(&self, args: &[&str]) -> Ran {
        let mut swanctl = Command::new("/usr/sbin/swanctl");
        swanctl.env("STRONGSWAN_CONF", self.file("strongswan.conf")).env("SWANCTL_DIR", self.dir.path());
        run(swanctl.args(args).args(["--uri", &format!("unix://{}", self.file("vici").display())]))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.charon.kill();
        let _ = self.charon.wait();
        if std::thread::panicking() {
            let output = fs::read_to_string(self.file("output")).unwrap_or_default();
            eprintln!("the log of {}:\n{output}{}", self.host.name(), self.log());
        }
    }
}

// kernel-libipsec comes before kernel-netlink: packets are then encrypted in the process, which asks the
// kernel for no more than a TUN device; many have no ESP. Addresses and routes are kernel-netlink's.
const CONFIGURATION: &str = "\
charon-systemd {
  load = random nonce kdf openssl pem pkcs1 pkcs8 x509 pubkey constraints revocation curl kernel-libipsec \
         kernel-netlink socket-default vici
  plugins {
    vici {
      socket = unix://{DIR}/vici
    }
  }
  filelog {
    log {
      path = {DIR}/log
      flush_line = yes
    }
  }
}
swanctl {
  load = random openssl pem pkcs1 pkcs8 x509 pubkey
}
";
