//! A headend and its branches authenticate with our certificates by IKEv2, each on a host of its own: one branch
//! is revoked and refused, the CA is lost and restored from its backup, and goes on.

mod support;

use std::fs;
use std::path::Path;

use support::charon::Gateway;
use support::device::Device;
use support::ios::shell;
use support::keys::{TestKey, name};
use support::netns::{Host, Network, own_network};
use support::opinion::{der_of, openssl, serial_of};
use support::strongswan::Strongswan;
use support::{Ca, until};
use tokenca::pki::{Certificate, crl};
use tokenca::scep::{MessageType, client};

/// Everybody has an RSA key and enrols over SCEP.
#[test]
fn with_rsa_certificates() {
    own_network("with_rsa_certificates", |network| {
        story(
            network,
            &Keys { of_the_ca: "rsa", first: by_scep, later: by_scep, proof: "RSA_EMSA_PKCS1_SHA2_256" },
        );
    });
}

/// Everybody has an EC key, the CA as well. SCEP needs RSA: some enrol by hand, the others begin with RSA.
#[test]
fn with_ecdsa_certificates() {
    own_network("with_ecdsa_certificates", |network| {
        story(network, &Keys { of_the_ca: "ec", first: by_hand, later: from_rsa_to_ec, proof: "ECDSA" });
    });
}

/// What differs.
struct Keys {
    of_the_ca: &'static str,
    /// How the headend and the first branch enrol.
    first: Enrol,
    /// How the others do.
    later: Enrol,
    /// What IKE calls the signatures.
    proof: &'static str,
}

type Enrol = fn(&Ca, &Host) -> Strongswan;

fn story(network: &Network, keys: &Keys) {
    let at = network.host("ca", CA);
    let ca = found(&at, keys.of_the_ca);
    let backup = tempfile::tempdir().unwrap();
    // The key is moved away at once.
    fs::rename(ca.state().join("mycs.p12"), backup.path().join("mycs.p12")).unwrap();

    // A headend and two branches enrol, and nothing is between them yet.
    let headend = headend(network, &ca, keys.first);
    let (one, one_has) = branch(network, &ca, 1, keys.first);
    let (two, two_has) = branch(network, &ca, 2, keys.later);
    assert!(!reaches(&one, 1));

    // Tunnels are established, each side having checked the other's certificate against the CRL.
    let good = format!("authentication of 'branch1.example.com' with {}", keys.proof);
    headend.logs(&good, || connect(&one)).says("crl is valid").says("certificate status is good");
    connect(&two);
    passes(&one, 1);
    passes(&two, 2);
    assert!(headend.packets_from("branch1.example.com") > 0);
    assert!(headend.packets_from("branch2.example.com") > 0);

    // A branch is revoked. While the headend has a CRL that is valid it asks for no other.
    ca.exec(&format!("crypto pki server mycs revoke {}", serial_of(&two_has.file("own.pem"))));
    two.disconnect("headend");
    connect(&two);
    two.disconnect("headend");
    headend.flush_crls();
    is_refused_as_revoked(&headend, &two, 2);
    one.disconnect("headend");
    connect(&one);
    passes(&one, 1);

    // The CA is lost with its token, all but the backup. No CRL, no connection.
    back_up(&ca, backup.path());
    let number = crl_of(&ca).number();
    drop(ca);
    one.disconnect("headend");
    headend.flush_crls();
    one.flush_crls();
    headend.logs("crl fetching failed", || is_refused(&one, 1));

    // It is restored, and old certificates are what they were: the headend's, the branch's, the revoked one.
    let ca = restore(&at, backup.path());
    connect(&one).says("certificate status is good");
    passes(&one, 1);
    is_refused_as_revoked(&headend, &two, 2);

    // It goes on: another branch enrols, and one of the old certificates is revoked.
    let (three, _) = branch(network, &ca, 3, keys.later);
    connect(&three);
    passes(&three, 3);
    ca.exec(&format!("crypto pki server mycs revoke {}", serial_of(&one_has.file("own.pem"))));
    let list = crl_of(&ca);
    assert!(list.number() > number && list.len() == 2, "{:?} after {number:?}", list.number());
    one.disconnect("headend");
    headend.flush_crls();
    is_refused_as_revoked(&headend, &one, 1);
    is_refused_as_revoked(&headend, &two, 2);
    passes(&three, 3);
}

/// A new CA on this host, with an archive of its key.
fn found(host: &Host, kind: &str) -> Ca {
    let ca = Ca::at(Some(host), &bare());
    let key = match kind {
        "rsa" => "crypto key generate rsa general-keys label mycs exportable",
        _ => "crypto key generate ec keysize 256 label mycs exportable",
    };
    let lines = format!(
        "{key}\nconfigure terminal\ncrypto pki trustpoint mycs\n {kind}keypair mycs\n{SERVER} database archive pkcs12 \
         password cisco123\n grant auto\nyes\nno shutdown\nyes\nend\n"
    );
    let said = shell(&ca, &lines);
    assert!(said.contains("% Certificate Server enabled."), "{said}");
    ca
}

/// The CA of this backup on a new machine with an empty token.
fn restore(host: &Host, backup: &Path) -> Ca {
    let ca = Ca::at(Some(host), &bare());
    for entry in fs::read_dir(backup).unwrap() {
        let file = entry.unwrap();
        fs::copy(file.path(), ca.state().join(file.file_name())).unwrap();
    }
    let import = "crypto pki import mycs pkcs12 nvram:mycs.p12 cisco123\n\n";
    let said =
        shell(&ca, &format!("configure terminal\n{import}{SERVER} grant auto\nyes\nno shutdown\nend\n"));
    assert!(said.contains("% Certificate Server enabled."), "{said}");
    ca
}

/// Copies the files of the CA once they are up to date.
fn back_up(ca: &Ca, backup: &Path) {
    let last = ca.json("show crypto pki server")[0]["last_serial"].as_str().unwrap().to_owned();
    let number = crl_of(ca).number();
    until("the files are written", || {
        let serial = fs::read_to_string(ca.state().join("mycs.ser")).ok()?;
        let list = crl::Crl::parse(fs::read(ca.state().join("mycs.crl")).ok()?).ok()?;
        (serial.ends_with(&last) && list.number() == number).then_some(())
    });
    for entry in fs::read_dir(ca.state()).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_some_and(|end| ["ser", "crl", "cnm"].iter().any(|kept| end == *kept)) {
            fs::copy(&file, backup.join(file.file_name().unwrap())).unwrap();
        }
    }
}

fn headend(network: &Network, ca: &Ca, enrol: Enrol) -> Gateway {
    let host = network.host("headend", HEADEND);
    host.has("10.0.0.1");
    let connections = format!(
        "connections {{\n branches {{\n version = 2\n local_addrs = {HEADEND}\n \
         local {{\n certs = own.pem\n id = headend.example.com\n }}\n \
         remote {{\n cacerts = ca.pem\n revocation = strict\n }}\n \
         children {{\n net {{\n local_ts = 10.0.0.0/24\n remote_ts = 10.0.0.0/16\n }}\n }}\n }}\n}}\n"
    );
    Gateway::start(&host, &enrol(ca, &host), &connections)
}

/// Branch `n` and what it has enrolled; its network is 10.0.`n`.0/24.
fn branch(network: &Network, ca: &Ca, n: u8, enrol: Enrol) -> (Gateway, Strongswan) {
    let host = network.host(&format!("branch{n}"), &format!("203.0.113.{}", 100 + n));
    host.has(&format!("10.0.{n}.1"));
    let connections = format!(
        "connections {{\n headend {{\n version = 2\n remote_addrs = {HEADEND}\n \
         local {{\n certs = own.pem\n id = branch{n}.example.com\n }}\n \
         remote {{\n cacerts = ca.pem\n id = headend.example.com\n revocation = strict\n }}\n \
         children {{\n net {{\n local_ts = 10.0.{n}.0/24\n remote_ts = 10.0.0.0/24\n }}\n }}\n }}\n}}\n"
    );
    let device = enrol(ca, &host);
    (Gateway::start(&host, &device, &connections), device)
}

/// What is sent from the network behind branch `n` to that behind the headend comes back.
#[track_caller]
fn passes(branch: &Gateway, n: u8) {
    until("an echo comes through the tunnel", || reaches(branch, n).then_some(()));
}

fn reaches(branch: &Gateway, n: u8) -> bool {
    branch.host().reaches(&format!("10.0.{n}.1"), "10.0.0.1")
}

#[track_caller]
fn connect(branch: &Gateway) -> support::Ran {
    let ran = branch.connect().success();
    assert!(branch.connection_with("headend.example.com").is_some(), "{}", ran.stdout);
    ran
}

/// The headend does not believe that branch `n` is what it says.
#[track_caller]
fn is_refused(branch: &Gateway, n: u8) {
    let ran = branch.connect().says("received AUTHENTICATION_FAILED notify error");
    assert_ne!(ran.code, Some(0));
    assert!(branch.connection_with("headend.example.com").is_none() && !reaches(branch, n));
}

#[track_caller]
fn is_refused_as_revoked(headend: &Gateway, branch: &Gateway, n: u8) {
    headend.logs("certificate was revoked on", || is_refused(branch, n));
    assert!(headend.connection_with(&format!("branch{n}.example.com")).is_none());
}

fn by_scep(ca: &Ca, host: &Host) -> Strongswan {
    let device = device(ca, host);
    device.enrol("own", &[]).success();
    device
}

fn by_hand(ca: &Ca, host: &Host) -> Strongswan {
    let device = device(ca, host);
    device.ec_request("own");
    fs::copy(device.file("own.req"), ca.state().join("own.req")).unwrap();
    let shown = ca.exec("crypto pki server mycs request pkcs10 url nvram:own.req pem");
    fs::write(device.file("own.pem"), shown.strip_prefix("% Granted certificate:\n").unwrap()).unwrap();
    device
}

/// A renewal is signed with the old key, and the new one may be of any kind.
fn from_rsa_to_ec(ca: &Ca, host: &Host) -> Strongswan {
    let device = by_scep(ca, host);
    let key = TestKey::from_pem(&fs::read_to_string(device.file("own.key")).unwrap());
    let signer = Certificate::parse(&der_of(&device.file("own.pem"))).unwrap();
    let transaction = client::transaction_id(&key);
    let old = Device { key, subject: name("cn=unused"), signer, transaction, style: Default::default() };
    device.ec_request("own");
    let new = old.ask(ca, MessageType::RenewalReq, &fs::read(device.file("own.req")).unwrap()).certificate();
    fs::write(device.file("own.der"), new.der()).unwrap();
    let path = |name: &str| device.file(name).display().to_string();
    openssl(&["x509", "-in", &path("own.der"), "-out", &path("own.pem")]).success();
    device
}

fn device(ca: &Ca, host: &Host) -> Strongswan {
    let fqdn = format!("{}.example.com", host.name());
    Strongswan::named(ca, &format!("C=US, O=Example, CN={fqdn}"), &fqdn, Some(host))
}

fn crl_of(ca: &Ca) -> crl::Crl {
    crl::Crl::parse(support::http::get(ca.address(), "/mycs.crl", &[]).body).unwrap()
}

/// A server process with a token and without a certificate server.
fn bare() -> String {
    format!(
        "hostname ca1\nip http server\nip http port 80\nip http bind {CA}\n\
         crypto pki token usbtoken0\n profile softhsm2\n label tokenca\n user-pin file pin.txt\n"
    )
}

const CA: &str = "203.0.113.10";
const HEADEND: &str = "203.0.113.1";
const SERVER: &str = "crypto pki server mycs\n issuer-name CN=mycs, O=Example, C=US\n database level names\n \
                      cdp-url http://203.0.113.10/mycs.crl\n lifetime crl 24\n";
