//! The files that a certificate server writes for its operator, and what it does when it cannot.

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::device::{CaCerts, Device};
use support::{Ca, Ran, run, until};

#[test]
fn files_are_written_as_the_level_says() {
    let ca = Ca::with_configuration(&Ca::configuration(
        "rsakeypair mycs 2048",
        &["database level names", "grant auto"],
    ));
    let nvram = ca.state();
    let ser = |last: &str| format!("db_version = 1\nlast_serial = {last}");
    until("the serial file is there", || is(&nvram.join("mycs.ser"), ser("0x1").as_bytes()));
    until("the CA is named", || {
        text(&nvram.join("1.cnm"))
            .filter(|text| text.starts_with("subjectname_str = cn=mycs,o=Example,c=US\nexpiration = "))
    });
    until("the CRL is there", || is_crl(&nvram.join("mycs.crl")));
    assert!(!nvram.join("1.crt").exists());

    Device::new("CN=dev1, O=Example").enrol(&ca, None).certificate();
    until("the device is named", || text(&nvram.join("2.cnm")).filter(|text| text.contains("cn=dev1")));
    until("the serial number is written", || is(&nvram.join("mycs.ser"), ser("0x2").as_bytes()));

    ca.configure_server(&["database level complete"]);
    let issued = Device::new("CN=dev2, O=Example").enrol(&ca, None).certificate();
    until("the certificate is written", || is(&nvram.join("3.crt"), issued.der()));
    until("and named", || text(&nvram.join("3.cnm")));
    // Of what was issued before, only what the level said then.
    assert!(!nvram.join("2.crt").exists());
    let shown = ca.exec("show crypto pki server mycs");
    assert!(
        shown.contains("Database Level: Complete - all issued certs written as <serialnum>.crt"),
        "{shown}"
    );

    // The CA certificate is saved with the configuration, as on IOS.
    ca.exec("write memory");
    assert_eq!(fs::read(nvram.join("mycs#6101CA.cer")).expect("a file"), CaCerts::of(&ca).ca.der());

    // The operator wants them all.
    ca.exec("crypto pki server mycs database write");
    until("older ones are written", || nvram.join("2.crt").exists().then_some(()));
    for name in ["mycs.ser", "mycs.crl", "1.cnm", "3.crt", "config-key", "tokenca.db"] {
        let mode = fs::metadata(nvram.join(name)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}: {mode:o}");
    }
}

#[test]
fn more_specific_places_win_and_copies_are_published() {
    let places = Places::new(["all", "ser", "copies"]);
    let lines = [
        "database level names".to_owned(),
        format!("database url {}", places.url("all")),
        format!("database url ser {}", places.url("ser")),
        format!("database url crl publish {}", places.url("copies")),
        format!("database url crt publish {}", places.url("copies")),
    ];
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let ca = Ca::with_configuration(&Ca::configuration("rsakeypair mycs 2048", &lines));
    for file in ["ser/mycs.ser", "all/mycs.crl", "all/1.cnm", "copies/mycs.crl", "copies/1.crt"] {
        until(file, || places.path(file).exists().then_some(()));
    }
    for file in ["all/mycs.ser", "all/1.crt", "copies/1.cnm"] {
        assert!(!places.path(file).exists(), "{file}");
    }
    assert!(!ca.state().join("mycs.crl").exists());
    let shown = ca.exec("show crypto pki server mycs");
    for line in [
        format!("  Current primary storage dir: {}", places.url("all")),
        format!("  Current storage dir for .ser files: {}", places.url("ser")),
        format!("  Current publish dir for .crl files: {}", places.url("copies")),
        format!("  Current publish dir for .crt files: {}", places.url("copies")),
    ] {
        assert!(shown.contains(&line), "{line} in {shown}");
    }
}

#[test]
fn nothing_is_issued_while_a_file_cannot_be_written() {
    let places = Places::new(["copies"]);
    let publish = format!("database url crl publish {}", places.url("copies"));
    let mut ca =
        Ca::with_configuration(&Ca::configuration("rsakeypair mycs 2048", &[&publish, "grant auto"]));
    until("the CRL is published", || is_crl(&places.path("copies/mycs.crl")));
    let first = Device::new("CN=dev1, O=Example");
    let certificate = first.enrol(&ca, None).certificate();

    // The place goes away, and a CRL must be published.
    fs::rename(places.path("copies"), places.path("away")).expect("a rename");
    ca.exec(&format!("crypto pki server mycs revoke {}", certificate.serial()));
    let shown = until("the server is disabled", || {
        let shown = ca.exec("show crypto pki server mycs");
        shown.contains("Status: disabled").then_some(shown)
    });
    assert!(shown.contains("copies"), "the place is named: {shown}");
    let second = Device::new("CN=dev2, O=Example");
    assert_eq!(second.enrol_raw(&ca).status, 503);
    let refused = ca.try_cli(&["crypto", "pki", "server", "mycs", "grant", "all"]);
    assert!(!refused.stdout.contains("granted"), "{}", refused.stdout);

    // It holds over a restart.
    ca.restart();
    until("the server is disabled again", || {
        ca.exec("show crypto pki server mycs").contains("Status: disabled").then_some(())
    });

    // The place is back: everything goes on by itself, and nothing is missing there.
    fs::rename(places.path("away"), places.path("copies")).expect("a rename");
    until("the server is enabled", || {
        ca.exec("show crypto pki server mycs").contains("Status: enabled").then_some(())
    });
    let listed = run(Command::new("openssl")
        .args(["crl", "-inform", "DER", "-noout", "-text", "-in"])
        .arg(places.path("copies/mycs.crl")))
    .success();
    assert!(listed.stdout.contains("Serial Number: 02"), "{}", listed.stdout);
    second.enrol(&ca, None).certificate();
}

#[test]
fn a_server_without_its_place_says_so_at_its_start() {
    let places = Places::new([]);
    let ca = Ca::with_configuration(&Ca::configuration(
        "rsakeypair mycs 2048",
        &[&format!("database url {}", places.url("later")), "grant auto"],
    ));
    let shown = until("the server is disabled", || {
        let shown = ca.exec("show crypto pki server mycs");
        shown.contains("Status: disabled").then_some(shown)
    });
    assert!(shown.contains("Last error:") && shown.contains("later"), "{shown}");
    fs::create_dir(places.path("later")).expect("a directory");
    until("the server is enabled", || {
        ca.exec("show crypto pki server mycs").contains("Status: enabled").then_some(())
    });
    Device::new("CN=dev1, O=Example").enrol(&ca, None).certificate();
    until("the serial number is written", || {
        text(&places.path("later/mycs.ser")).filter(|text| text.ends_with("0x2"))
    });
}

#[test]
fn a_single_command_leaves_its_files_behind() {
    let mut ca = Ca::new(&["grant auto"]);
    let certificate = Device::new("CN=dev1, O=Example").enrol(&ca, None).certificate();
    ca.stop();
    // No server runs: what the command did is in the files when the program has ended.
    ca.exec(&format!("crypto pki server mycs revoke {}", certificate.serial()));
    assert_eq!(revoked(&ca.state().join("mycs.crl")), ["02"]);
    let request = run(Command::new("openssl")
        .args(["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=r1", "-keyout"])
        .arg(ca.state().join("r1.key")))
    .success();
    fs::write(ca.state().join("r1.req"), request.stdout).expect("a file");
    ca.exec("crypto pki server mycs request pkcs10 url nvram:r1.req pem");
    assert!(ca.state().join("3.crt").exists());
    assert!(text(&ca.state().join("mycs.ser")).is_some_and(|text| text.ends_with("0x3")));
}

#[test]
fn a_deleted_server_is_gone_and_its_successor_begins_anew() {
    let ca = Ca::new(&["grant auto"]);
    Device::new("CN=dev1, O=Example").enrol(&ca, None).certificate();
    let nvram = ca.state();
    let second = until("the device's certificate is written", || fs::read(nvram.join("2.crt")).ok());
    let fingerprint = ca.json("show crypto pki server mycs")[0]["fingerprint_sha256"].clone();

    // A line that cannot be done: nothing is deleted for it.
    fs::write(
        nvram.join("wrong.cfg"),
        "no crypto pki server mycs\ncrypto pki certificate chain other\n certificate ca 01 nvram:missing.crt\n",
    )
    .expect("a file");
    let file = nvram.join("wrong.cfg");
    let refused = ca.try_cli(&["--yes", "configure", file.to_str().expect("UTF-8")]);
    refused.exited(1).says("missing.crt");
    assert_eq!(ca.json("show crypto pki server mycs")[0]["fingerprint_sha256"], fingerprint);

    // Nor is the trustpoint of a server taken from it.
    fs::write(&file, "no crypto pki trustpoint mycs\n").expect("a file");
    let refused = ca.try_cli(&["--yes", "configure", file.to_str().expect("UTF-8")]);
    refused.exited(1).says("trustpoint mycs is that of certificate server mycs");

    ca.configure("no crypto pki server mycs\n");
    let mut again = String::from("crypto pki trustpoint mycs\n rsakeypair mycs 2048\n on usbtoken0:\n");
    again += "crypto pki server mycs\n database level complete\n grant auto\n no shutdown\n";
    ca.configure(&again);
    assert_ne!(ca.json("show crypto pki server mycs")[0]["fingerprint_sha256"], fingerprint);
    assert_eq!(text(&nvram.join("mycs.ser")).as_deref(), Some("db_version = 1\nlast_serial = 0x1"));
    assert_eq!(fs::read(nvram.join("1.crt")).expect("a file"), CaCerts::of(&ca).ca.der());
    Device::new("CN=dev2, O=Example").enrol(&ca, None).certificate();
    until("the certificate is written over", || {
        (fs::read(nvram.join("2.crt")).ok()? != second).then_some(())
    });
}

#[test]
fn a_key_stays_behind_with_files_that_are_complete() {
    let places = Places::new(["db"]);
    let mut ca = Ca::with_configuration(&Ca::configuration(
        "rsakeypair mycs 2048",
        &[&format!("database url {}", places.url("db")), "grant auto"],
    ));
    let certificate = Device::new("CN=dev1, O=Example").enrol(&ca, None).certificate();
    fs::rename(places.path("db"), places.path("away")).expect("a rename");
    ca.exec(&format!("crypto pki server mycs revoke {}", certificate.serial()));
    // The answers: delete the server; not its key.
    let delete = "configure terminal\nno crypto pki server mycs\nyes\nno\nend\n";
    typed(&ca, delete).says("its key stays, and its files are not complete");
    ca.restart();
    fs::rename(places.path("away"), places.path("db")).expect("a rename");
    typed(&ca, delete).says("% Certificate Server Process stopped");
    assert_eq!(revoked(&places.path("db/mycs.crl")), ["02"]);

    let again = format!("crypto pki server mycs\n database url {}\n no shutdown\n", places.url("db"));
    ca.configure(&again);
    let crl = ca.json("crypto pki server mycs info crl");
    assert_eq!((&crl["entries"], &crl["number"]), (&1.into(), &2.into()), "{crl}");
    let shown = ca.exec("crypto pki server mycs info takeover");
    assert!(shown.contains("Last serial number: 0x2") && !shown.contains("destroy its copies"), "{shown}");
}

#[test]
fn a_key_that_two_servers_have_goes_with_the_last() {
    let ca = Ca::new(&["grant auto"]);
    let other = "crypto pki trustpoint other\n rsakeypair mycs\n on usbtoken0:\ncrypto pki server other\n no shutdown\n";
    ca.configure(other);
    assert!(ca.exec("show crypto pki server other").contains("Status: enabled"));
    ca.configure("no crypto pki server other\n");
    Device::new("CN=dev1, O=Example").enrol(&ca, None).certificate();
    ca.configure(other);
    ca.configure("no crypto pki server mycs\nno crypto pki server other\n");
    assert!(ca.exec("show crypto key mypubkey all").contains("No key pair was found"));
}

#[test]
fn a_ca_whose_database_is_lost_is_not_made_anew_with_its_key() {
    let mut ca = Ca::new(&["grant auto"]);
    Device::new("CN=dev1, O=Example").enrol(&ca, None).certificate();
    ca.exec("crypto pki server mycs database write");
    ca.exec("write memory");
    let issuer = CaCerts::of(&ca).ca;
    ca.stop();
    fs::remove_file(ca.state().join("tokenca.db")).expect("it is there");
    // It would give the same numbers out again.
    ca.start();
    let shown = ca.exec("show crypto pki server mycs");
    assert!(shown.contains("so the CA exists already; its certificate is missing"), "{shown}");
    ca.configure_server(&["shutdown"]);
    ca.configure("crypto pki certificate chain mycs\n certificate ca 01 nvram:1.crt\n");
    ca.configure_server(&["no shutdown"]);
    assert_eq!(CaCerts::of(&ca).ca, issuer);
    let next = Device::new("CN=dev2, O=Example").enrol(&ca, None).certificate();
    assert_eq!(next.serial().to_string(), "0x3");
}

#[test]
fn a_database_that_is_older_than_its_files_issues_nothing() {
    let mut ca = Ca::new(&["grant auto"]);
    let database = ["tokenca.db", "tokenca.db-wal"].map(|name| ca.state().join(name));
    ca.stop();
    let old = database.clone().map(|file| fs::read(file).ok());
    ca.start();
    Device::new("CN=dev1, O=Example").enrol(&ca, None).certificate();
    let ser = ca.state().join("mycs.ser");
    until("the serial number is written", || is(&ser, b"db_version = 1\nlast_serial = 0x2"));
    ca.stop();
    for (file, octets) in database.iter().zip(old) {
        let _ = fs::remove_file(file);
        octets.iter().for_each(|octets| fs::write(file, octets).expect("a copy put back"));
    }
    ca.start();
    let shown = ca.exec("show crypto pki server mycs");
    assert!(
        shown.contains("Status: check failed") && shown.contains("it is older than its files"),
        "{shown}"
    );
    // The operator knows better.
    ca.exec("--yes delete nvram:mycs.ser");
    until("the server is enabled", || {
        ca.exec("show crypto pki server mycs").contains("Status: enabled").then_some(())
    });
}

/// Directories for files.
struct Places(tempfile::TempDir);

impl Places {
    fn new<const N: usize>(names: [&str; N]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        names.iter().for_each(|name| fs::create_dir(dir.path().join(name)).expect("a directory"));
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn url(&self, name: &str) -> String {
        format!("file:{}", self.path(name).display())
    }
}

fn is(file: &Path, octets: &[u8]) -> Option<()> {
    (fs::read(file).ok()? == octets).then_some(())
}

fn text(file: &Path) -> Option<String> {
    fs::read_to_string(file).ok()
}

fn is_crl(file: &Path) -> Option<()> {
    let read = Command::new("openssl").args(["crl", "-inform", "DER", "-noout", "-in"]).arg(file).output();
    read.expect("openssl is installed").status.success().then_some(())
}

/// What the shell says to lines.
fn typed(ca: &Ca, lines: &str) -> Ran {
    let mut shell = ca.program();
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut shell = shell.spawn().expect("it starts");
    shell.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("it reads");
    Ran::of(lines, shell.wait_with_output().expect("it ends"))
}

/// Serial numbers in a CRL.
fn revoked(crl: &Path) -> Vec<String> {
    let listed =
        run(Command::new("openssl").args(["crl", "-inform", "DER", "-noout", "-text", "-in"]).arg(crl));
    let listed = listed.success().stdout;
    listed.lines().filter_map(|line| Some(line.trim().strip_prefix("Serial Number: ")?.to_owned())).collect()
}
