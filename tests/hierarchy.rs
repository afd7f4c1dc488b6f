//! A PKI of several servers: a root, a CA below it, an RA, and the devices of other makers behind them.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::certmonger::{Certmonger, ISSUED, WAIT};
use support::device::certificates;
use support::opinion::openssl;
use support::strongswan::Strongswan;
use support::{Ca, http, until};
use tokenca::pki::archive::pem;
use tokenca::pki::{Certificate, Name};
use tokenca::scep;

/// A server on a token of its own, below the root `mycs`, not granted yet.
fn below(root: &Ca, label: &str, trustpoint: &[&str], server: &[&str]) -> Ca {
    let lines = |lines: &[&str]| lines.iter().map(|line| format!(" {line}\n")).collect::<String>();
    let shown = root.json("show crypto pki server mycs");
    let fingerprint = shown[0]["fingerprint_sha256"].as_str().expect("a fingerprint").to_owned();
    Ca::with_configuration(&format!(
        "hostname {label}\nip http server\nip http port 0\nip http bind 127.0.0.1\n\
         crypto pki token usbtoken0\n profile softhsm2\n label tokenca\n user-pin file pin.txt\n\
         crypto pki trustpoint {label}\n enrollment url {}\n fingerprint {fingerprint}\n rsakeypair {label} 2048\n \
         on usbtoken0:\n{}\
         crypto pki server {label}\n database level complete\n{} no shutdown\n",
        root.url(),
        lines(trustpoint),
        lines(server),
    ))
}

/// The root grants what waits; the server below polls a minute later, which is now for it, and is enabled.
fn granted(root: &Ca, server: &mut Ca, label: &str) {
    assert_eq!(status(server, label), "waiting");
    root.grant(root.pending());
    let clock = server.set_clock("+70s");
    server.restart();
    until("its certificate has come", || (status(server, label) == "enabled").then_some(()));
    fs::write(clock, "+0").expect("the time again");
}

fn status(server: &Ca, label: &str) -> String {
    server.json(&format!("show crypto pki server {label}"))[0]["status"]
        .as_str()
        .expect("a status")
        .to_owned()
}

/// Certificates and CRLs in files, for OpenSSL.
struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, text).expect("a file");
        path
    }

    /// `/LABEL.cer`, PEM.
    fn certificate(&self, ca: &Ca, label: &str) -> Certificate {
        let der =
            http::get(ca.address(), &format!("/{label}.cer"), &[]).is(200, "application/pkix-cert").body;
        self.write(&format!("{label}.pem"), &pem::write_certificate(&der));
        Certificate::parse(&der).expect("a certificate")
    }

    /// `/LABEL.crl`, PEM.
    fn crl(&self, ca: &Ca, label: &str) -> String {
        let der = http::get(ca.address(), &format!("/{label}.crl"), &[]).is(200, "application/pkix-crl").body;
        fs::write(self.path("crl.der"), der).expect("a CRL");
        let (from, to) = (self.path("crl.der"), self.path(&format!("{label}.crl.pem")));
        openssl(&["crl", "-in", &from, "-out", &to]).success();
        to
    }

    /// Whether OpenSSL verifies the chain of a certificate, the root at `mycs.pem`, each level with its CRL.
    fn verify(&self, root: &Ca, sub: Option<(&Ca, &str)>, certificate: &Path) -> support::Ran {
        let crls = [Some(self.crl(root, "mycs")), sub.map(|(ca, label)| self.crl(ca, label))];
        let trusted = self.path("mycs.pem");
        let mut args = vec!["verify", "-x509_strict", "-crl_check_all", "-CAfile", &trusted];
        crls.iter().flatten().for_each(|crl| args.extend(["-CRLfile", crl]));
        let above = sub.map(|(_, label)| self.path(&format!("{label}.pem")));
        above.iter().for_each(|above| args.extend(["-untrusted", above]));
        let certificate = certificate.display().to_string();
        // What was issued a minute ahead counts.
        let soon = (tokenca::pki::Time::now().unix() + 120).to_string();
        args.extend(["-attime", &soon, "-purpose", "any", &certificate]);
        openssl(&args)
    }
}

#[test]
fn a_subordinate_ca_between_a_root_and_its_devices() {
    let root = Ca::new(&["grant auto"]);
    root.configure_server(&[&format!("cdp-url {}/mycs.crl", root.url())]);
    let name = "issuer-name CN=sub CA, O=Example, C=US";
    let mut sub = below(&root, "sub", &[], &[name, "grant auto", "mode sub-cs", "scep include-chain"]);

    // It waits, also with `grant auto` at the root, and says for what.
    let id = root.pending();
    let requests = root.json("crypto pki server mycs info requests");
    assert_eq!(requests[0]["class"], "subordinate-ca");
    assert_eq!(requests[0]["subject"], "cn=sub CA,o=Example,c=US");
    assert_eq!(id, 1);
    let waits = || {
        let shown = sub.exec("show crypto pki server");
        shown.contains("the operator of the CA above has to grant its certificate").then_some(shown)
    };
    let shown = until("it tells what it waits for", waits);
    assert!(shown.contains("Status: waiting for its certificate"), "{shown}");
    assert!(shown.contains("Server configured in subordinate server mode"), "{shown}");
    assert_eq!(http::get(sub.address(), "/sub.cer", &[]).status, 503);
    granted(&root, &mut sub, "sub");

    // Its certificate is a CA's, made by the root, and its key serves SCEP.
    let files = Files::new();
    let above = files.certificate(&root, "mycs");
    let own = files.certificate(&sub, "sub");
    assert_eq!(own.issuer_raw(), above.subject_raw());
    assert_eq!(Name::from_der(own.subject_raw()).to_string(), requests[0]["subject"].as_str().unwrap());
    assert!(own.not_after() <= above.not_after());
    let text = openssl(&["x509", "-in", &files.path("sub.pem"), "-noout", "-text"]).success().stdout;
    for part in ["CA:TRUE", "Certificate Sign, CRL Sign", "Key Encipherment", "URI:http://"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    files.verify(&root, None, Path::new(&files.path("sub.pem"))).success().says(": OK");
    let shown = sub.json("show crypto pki server sub");
    assert_eq!(shown[0]["mode"], "sub-cs");
    assert_eq!(
        shown[0]["upper_fingerprint_md5"],
        root.json("show crypto pki server mycs")[0]["fingerprint_md5"]
    );

    // Clients get the chain.
    let chain = http::get(sub.address(), "/scep?operation=GetCACert&message=sub", &[]);
    assert_eq!(certificates(&chain.is(200, scep::CA_RA_CERT).body), [own.clone(), above.clone()]);
    sub.configure("crypto pki server sub\n scep ca-certificate alone\n");
    let alone = http::get(sub.address(), "/scep?operation=GetCACert&message=sub", &[]);
    assert_eq!(alone.is(200, scep::CA_CERT).body, own.der());
    sub.configure("crypto pki server sub\n no scep ca-certificate\n");

    // A device enrols with the chain in hand, and is revoked.
    let device = Strongswan::new(&sub);
    device.enrol("device", &[]).success();
    let certificate = device.file("device.pem");
    files.verify(&root, Some((&sub, "sub")), &certificate).success().says(": OK");
    let serial = support::opinion::serial_of(&certificate);
    sub.exec(&format!("crypto pki server sub revoke {serial}"));
    files.verify(&root, Some((&sub, "sub")), &certificate).says("certificate revoked");

    // The second level ends with the root's say, too; a restart changes nothing.
    sub.restart();
    assert_eq!(status(&sub, "sub"), "enabled");
    let own_serial = own.serial().to_string();
    root.exec(&format!("crypto pki server mycs revoke {own_serial}"));
    files.verify(&root, None, Path::new(&files.path("sub.pem"))).says("certificate revoked");
}

#[test]
fn an_ra_registers_for_the_root() {
    let root = Ca::new(&[]);
    let mut ra = below(&root, "myra", &["subject-name cn=myra, ou=ioscs RA, o=company, c=us"], &["mode ra"]);
    let requests = until("the root has its request", || {
        let requests = root.json("crypto pki server mycs info requests");
        (requests[0]["state"] == "pending").then_some(requests)
    });
    assert_eq!(requests[0]["class"], "ra");
    granted(&root, &mut ra, "myra");
    root.configure_server(&["grant ra-auto"]);
    let shown = ra.exec("show crypto pki server");
    assert!(
        shown.contains("Server configured in RA mode") && shown.contains("RA cert fingerprint:"),
        "{shown}"
    );
    assert_eq!(
        ra.json("show crypto pki server")[0]["fingerprint_md5"],
        root.json("show crypto pki server")[0]["fingerprint_md5"]
    );

    let files = Files::new();
    files.certificate(&root, "mycs");
    // strongSwan waits at the RA, whose operator grants.
    let device = Strongswan::new(&ra);
    let waiting = device.start("waiting");
    let id = until("it waits at the RA", || {
        let requests = ra.json("crypto pki server myra info requests");
        requests.as_array()?.iter().find(|row| row["state"] == "pending")?["id"].as_u64()
    });
    assert_eq!(root.json("crypto pki server mycs info requests").as_array().unwrap().len(), 1);
    let said = ra.exec(&format!("crypto pki server myra grant {id}"));
    waiting.end().success();
    files.verify(&root, None, &device.file("waiting.pem")).success().says(": OK");
    let at_root = root.json("crypto pki server mycs info requests");
    assert_eq!(at_root[1]["class"], "router", "{said}");
    assert_eq!(at_root[1]["state"], "granted");

    // certmonger asks, is told to wait, and gets it.
    let client = Certmonger::new(&ra);
    client.enrol().exited(WAIT);
    ra.exec("crypto pki server myra grant all");
    let issued = client.poll().exited(ISSUED);
    files.verify(&root, None, &client.keep(&issued, "certmonger")).success().says(": OK");

    // What the RA grants by itself comes at once, also while the root waits for nobody.
    ra.configure("crypto pki server myra\n grant auto\n");
    device.enrol("auto", &[]).success();
    files.verify(&root, None, &device.file("auto.pem")).success().says(": OK");
    device.renew("auto", "renewed", &[]).success();

    // An RA has neither CRL nor certificates of its own to revoke.
    ra.try_cli(&["crypto", "pki", "server", "myra", "revoke", "0x2"]).exited(1).says("is an RA");

    // Revoked, it is refused, and so are its devices.
    let own = ra.json("show crypto pki server")[0]["ra_fingerprint_md5"].clone();
    assert!(own.is_string());
    root.exec("crypto pki server mycs revoke 0x2");
    device.enrol("late", &[]).exited(1).says("badRequest");
}

#[test]
fn an_ra_without_its_name_says_what_is_missing() {
    let root = Ca::new(&[]);
    let ra = below(&root, "myra", &["subject-name cn=myra"], &["mode ra"]);
    let shown = ra.exec("show crypto pki server");
    assert!(shown.contains("an RA needs \"cn=ioscs RA\" or \"ou=ioscs RA\" in its name"), "{shown}");
}
