//! An RA before a CA of another maker that knows no RAs: micromdm's `scepserver`.

mod support;

use std::fs;

use support::netns::own_network;
use support::opinion::openssl;
use support::scepserver::ScepServer;
use support::strongswan::Strongswan;
use support::{Ca, until};
use tokenca::pki::archive::pem;
use tokenca::pki::{Hash, hex};

#[test]
fn devices_enrol_with_scepserver_through_a_transparent_ra() {
    own_network("devices_enrol_with_scepserver_through_a_transparent_ra", |_| story());
}

fn story() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut server = ScepServer::start(dir.path(), "secret");
    let above = fs::read_to_string(server.ca()).expect("its certificate");
    let der = pem::der_of(&above, pem::CERTIFICATE).expect("a certificate");
    let fingerprint = hex(&Hash::Sha256.digest(&[&der]));
    let ra = Ca::with_configuration(&format!(
        "hostname myra\nip http server\nip http port 0\nip http bind 127.0.0.1\n\
         crypto pki token usbtoken0\n profile softhsm2\n label tokenca\n user-pin file pin.txt\n\
         crypto pki trustpoint myra\n enrollment url {}\n fingerprint {fingerprint}\n crypto legacy des\n \
         subject-name cn=ioscs RA, o=Example\n fqdn none\n password secret\n revocation-check none\n \
         rsakeypair myra 2048\n\
         crypto pki server myra\n mode ra transparent\n grant auto\n no shutdown\n",
        server.url()
    ));
    let status = || ra.json("show crypto pki server myra")[0]["status"].as_str().map(str::to_owned);
    until("the RA has its certificate", || (status()? == "enabled").then_some(()));

    // The device's challenge goes on inside of its PKCS#10, which is unchanged.
    let device = Strongswan::new(&ra);
    device.enrol("gate", &["--password", "secret"]).success();
    let verify = |name: &str| {
        let (ca, file) = (server.ca().display().to_string(), device.file(name).display().to_string());
        openssl(&["verify", "-CAfile", &ca, &file]).success().says(": OK");
    };
    verify("gate.pem");
    device.enrol("guess", &["--password", "wrong"]).exited(1).says("badRequest");
    let requests = ra.json("crypto pki server myra info requests");
    let reason = requests[1]["reason"].as_str().expect("why it was denied");
    assert!(reason.starts_with("the CA above has refused it"), "{reason}");

    // Granted by the RA's operator while the CA is away, it is fetched when that is back.
    ra.configure("crypto pki server myra\n no grant auto\n");
    let waiting = {
        server.stop();
        device.key("late");
        let csr = ["--interval", "1", "--maxpolltime", "60", "--password", "secret"];
        let waiting = device.start_with("late", &csr);
        let id = until("it waits at the RA", || {
            let requests = ra.json("crypto pki server myra info requests");
            requests.as_array()?.iter().find(|row| row["state"] == "pending")?["id"].as_u64()
        });
        ra.exec(&format!("crypto pki server myra grant {id}"));
        waiting
    };
    let state = || ra.json("crypto pki server myra info requests")[2]["state"].as_str().map(str::to_owned);
    assert_eq!(state().as_deref(), Some("authorized"));
    server.again("secret");
    waiting.end().success();
    openssl(&[
        "verify",
        "-CAfile",
        &server.ca().display().to_string(),
        &device.file("late.pem").display().to_string(),
    ])
    .success();
}
