//! A server is founded with an archive, issues and revokes, loses its machine and its token, and is restored
//! from the archive and the files beside it.

mod support;

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::device::Device;
use support::ios::{bare, shell};
use support::opinion::{Opinion, key_on_token, openssl, serial_of};
use support::strongswan::Strongswan;
use support::{Ca, until};
use tokenca::pki::{Certificate, crl};

#[test]
fn restored_from_pkcs12() {
    story(
        "crypto key generate rsa general-keys label mycs exportable",
        "database archive pkcs12 password cisco123",
        "crypto pki import mycs pkcs12 nvram:mycs.p12 cisco123\n\n",
    );
}

#[test]
fn restored_from_pem() {
    story(
        "crypto key generate rsa general-keys label mycs exportable",
        "database archive pem password cisco123",
        "crypto pki import mycs pem url nvram:mycs.pem cisco123\n\n",
    );
}

#[test]
fn restored_with_an_ec_key() {
    story(
        "crypto key generate ec keysize 256 label mycs exportable",
        "database archive pkcs12 password cisco123",
        "crypto pki import mycs pkcs12 nvram:mycs.p12 cisco123\n\n",
    );
}

fn story(key: &str, archive: &str, import: &str) {
    let first = bare();
    let kind = if key.contains(" ec ") { "eckeypair" } else { "rsakeypair" };
    let said = shell(
        &first,
        &format!(
            "{key}\nconfigure terminal\ncrypto pki trustpoint mycs\n {kind} mycs\ncrypto pki server mycs\n \
             issuer-name CN=mycs, O=Example, C=US\n database level names\n {archive}\n grant auto\nyes\nno \
             shutdown\nyes\nend\n"
        ),
    );
    for line in [
        "% Exporting Certificate Server signing certificate and keys...",
        "holds the private key: move it to a safe place now.",
        "% Certificate Server enabled.",
    ] {
        assert!(said.contains(line), "{line} is missing:\n{said}");
    }

    // Before: a device enrols, another one is revoked.
    let client = Strongswan::new(&first);
    client.enrol("kept", &[]).success();
    client.enrol("gone", &[]).success();
    let (kept, gone) = (client.file("kept.pem"), client.file("gone.pem"));
    first.exec(&format!("crypto pki server mycs revoke {}", serial_of(&gone)));
    let last = first.json("show crypto pki server")[0]["last_serial"].as_str().unwrap().to_owned();
    until("the files are written", || {
        let ser = fs::read_to_string(first.state().join("mycs.ser")).ok()?;
        let crl = crl::Crl::parse(fs::read(first.state().join("mycs.crl")).ok()?).ok()?;
        (ser.ends_with(&last) && crl.len() == 1).then_some(())
    });
    let number = crl_of(&first).number();

    // Machine and token are lost; the backup is not.
    let second = bare();
    for name in ["mycs.ser", "mycs.crl", "mycs.p12", "mycs.pem"] {
        let _ = fs::copy(first.state().join(name), second.state().join(name));
    }
    for entry in fs::read_dir(first.state()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "cnm") {
            fs::copy(&path, second.state().join(path.file_name().unwrap())).unwrap();
        }
    }
    let authority = fetch_ca(&first);
    drop(first);
    let said = shell(
        &second,
        &format!(
            "configure terminal\n{import}crypto pki server mycs\n issuer-name CN=mycs, O=Example, C=US\n database \
             level names\n grant auto\nyes\nno shutdown\nend\n"
        ),
    );
    assert!(said.contains("% Certificate Server enabled."), "{said}");
    assert!(!said.contains("Exporting"), "it was archived once:\n{said}");
    assert_eq!(fetch_ca(&second).der(), authority.der());
    let key = key_on_token(&second, Some("mycs"));
    assert!(key.contains("sensitive"), "{key}");

    // After: numbers and revocations go on, the old certificate is as good as it was.
    let number_of = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
    let shown = second.json("show crypto pki server");
    let restored = number_of(shown[0]["last_serial"].as_str().unwrap());
    // Separate SCEP keys, which an EC key needs, have new certificates.
    let more = if kind == "eckeypair" { 2 } else { 0 };
    assert_eq!(restored, number_of(&last) + more);
    let opinion = Opinion::about(&second);
    opinion.verifies(&second, &kept);
    opinion.says_revoked(&second, &gone);
    let client = Strongswan::new(&second);
    client.enrol("new", &[]).success();
    opinion.approves(&second, &client.file("new.pem"));
    assert_eq!(number_of(&serial_of(&client.file("new.pem"))), restored + 1);
    second.exec(&format!("crypto pki server mycs revoke {}", serial_of(&kept)));
    opinion.says_revoked(&second, &kept);
    let list = crl_of(&second);
    assert!(list.number() > number, "{:?} after {number:?}", list.number());
    assert_eq!(list.len(), 2);
}

/// A key that cannot leave its token: the archive has the certificate, and says so.
#[test]
fn an_archive_without_the_key_says_so() {
    let ca = Ca::new(&[]);
    let text = fs::read_to_string(ca.state().join("mycs.pem")).unwrap();
    assert!(
        text.contains("The private key is not in this file: it is \"mycs\" on the token usbtoken0"),
        "{text}"
    );
    assert!(text.contains("and cannot leave it.") && !text.contains("PRIVATE KEY-----"), "{text}");
    let shown = openssl(&["x509", "-in", &path(&ca.state().join("mycs.pem")), "-noout", "-subject"]);
    shown.success().says("CN = mycs");
    // Once only.
    fs::remove_file(ca.state().join("mycs.pem")).unwrap();
    ca.configure_server(&["shutdown"]);
    ca.configure_server(&["no shutdown"]);
    assert!(!ca.state().join("mycs.pem").exists());
}

/// The passphrase is asked for; an archive that cannot be written means that there is no CA yet.
#[test]
fn nothing_is_founded_without_its_archive() {
    let ca = bare();
    let flash = ca.token().dir.path().join("flash");
    let lines = format!(
        "crypto key generate rsa general-keys label mycs exportable\n\
         configure terminal\nfile system flash: {}\ncrypto pki server mycs\n database url p12 flash:\n",
        flash.display()
    );
    shell(&ca, &lines);
    let enable = "configure terminal\ncrypto pki server mycs\nno shutdown\nyes\n";
    let said = shell(&ca, &format!("{enable}short\nend\n"));
    assert!(said.contains("% Please enter a passphrase to protect the private key."), "{said}");
    assert!(said.contains("a passphrase has 8 characters at least"), "{said}");
    let said = shell(&ca, &format!("{enable}cisco123\nend\n"));
    assert!(said.contains("the archive of the CA cannot be written: flash:mycs.p12: no such"), "{said}");
    let report = &ca.json("show crypto pki server")[0];
    assert_eq!(report["status"], "check-failed");
    assert!(report["fingerprint_sha256"].is_null(), "{report}");

    // Once it can be written, the server goes on by itself.
    fs::create_dir(&flash).unwrap();
    until("the CA is founded", || {
        (ca.json("show crypto pki server")[0]["status"] == "enabled").then_some(())
    });
    let archive = path(&flash.join("mycs.p12"));
    let info = openssl(&["pkcs12", "-in", &archive, "-passin", "pass:cisco123", "-info", "-noout"]);
    info.success().says("PBES2");
    assert_eq!(fetch_ca(&ca).serial().to_u64(), Some(1));
}

/// The archive of one CA is not overwritten by that of the next.
#[test]
fn archives_of_others_stay() {
    let ca = bare();
    fs::write(ca.state().join("mycs.p12"), b"0 the only copy of another CA").unwrap();
    ca.exec("crypto key generate rsa general-keys label mycs exportable");
    let lines = "crypto pki server mycs\n database archive pkcs12 password cisco123\n no shutdown\n";
    let said = ca.configure(lines);
    assert!(said.contains("nvram:mycs.p12 is the archive of another CA and is not overwritten"), "{said}");
    assert_eq!(fs::read(ca.state().join("mycs.p12")).unwrap(), b"0 the only copy of another CA");

    // Nor is a key asked for twice: what was exported by hand is not archived again.
    ca.configure("crypto pki server mycs\n shutdown\n no database archive\n");
    let export =
        ["--yes", "crypto", "key", "export", "rsa", "mycs", "pem", "url", "nvram:", "3des", "cisco123"];
    ca.cli(&export);
    let said = ca.configure("crypto pki server mycs\n no shutdown\n");
    assert!(
        said.contains("% The key \"mycs\" was exported before; nvram:mycs.pem has the certificate only."),
        "{said}"
    );
    assert!(said.contains("% Certificate Server enabled."), "{said}");
    Device::new("CN=dev").enrol(&ca, None).is_pending();
}

/// What leaves as PEM and PKCS#12 comes in again, elsewhere and under the same name.
#[test]
fn keys_and_trustpoints_move() {
    let (here, there) = (bare(), bare());
    here.exec("crypto key generate rsa usage-keys label branch exportable");
    here.exec("crypto key generate rsa label fixed");
    let export = |label: &str, cipher: &str| {
        here.try_cli(&[
            "--yes", "crypto", "key", "export", "rsa", label, "pem", "url", "nvram:", cipher, "cisco123",
        ])
    };
    export("fixed", "3des").exited(1).says("% RSA keypair 'fixed' is not exportable.");
    export("branch", "des").exited(1).says("use 3des or aes");
    export("branch", "aes").success().says("Writing file to nvram:branch-encr.prv");
    for name in ["branch-sign.pub", "branch-sign.prv", "branch-encr.pub", "branch-encr.prv"] {
        fs::copy(here.state().join(name), there.state().join(name)).unwrap();
    }
    let prv = path(&there.state().join("branch-sign.prv"));
    openssl(&["rsa", "-in", &prv, "-passin", "pass:cisco123", "-check", "-noout"]).success();

    // As the document prints it, the name being that of the file.
    let shown = shell(
        &there,
        "configure terminal\ncrypto key import rsa encryption on usbtoken0 url nvram:branch cisco123\n\n\nend\n",
    );
    for line in [
        "% Importing public Encryption key or certificate PEM file...",
        "Reading file from nvram:branch-encr.pub",
        "% Importing private Encryption key PEM file...",
        "% Key pair import succeeded.",
    ] {
        assert!(shown.contains(line), "{line} is missing:\n{shown}");
    }
    // Both or none: there is one of them already.
    let import = [
        "--yes",
        "crypto",
        "key",
        "import",
        "rsa",
        "branch",
        "pem",
        "usage-keys",
        "url",
        "nvram:",
        "cisco123",
    ];
    there.try_cli(&import).exited(1).says("branch.encr");
    assert!(key_on_token(&there, None).matches("Private Key Object").count() == 1);
    there.cli(&["--yes", "crypto", "key", "zeroize", "rsa", "branch"]);
    there.cli(&import);
    let keys = there.json("show crypto key mypubkey rsa branch");
    let before = here.json("show crypto key mypubkey rsa branch");
    let data = |keys: &Value| -> Vec<Value> {
        keys.as_array().unwrap().iter().map(|key| key["public_key"].clone()).collect()
    };
    assert_eq!((data(&keys).len(), data(&keys)), (2, data(&before)));
}

fn crl_of(ca: &Ca) -> crl::Crl {
    crl::Crl::parse(support::http::get(ca.address(), "/mycs.crl", &[]).body).unwrap()
}

fn fetch_ca(ca: &Ca) -> Certificate {
    Certificate::parse(&support::http::get(ca.address(), "/mycs.cer", &[]).body).unwrap()
}

fn path(path: &Path) -> String {
    path.display().to_string()
}
