//! `grant auto trustpoint`: devices that hold a certificate of another CA come over without an operator.

mod support;

use support::device::Device;
use support::keys::TestKey;
use support::{Ca, until};
use tokenca::pki::Hash;
use tokenca::scep::{FailInfo, MessageType, client};

#[test]
fn devices_of_another_ca_come_over() {
    let vendor = Ca::new(&["grant auto"]);
    vendor.configure_server(&[&format!("cdp-url {}/mycs.crl", vendor.url())]);
    let shown = vendor.json("show crypto pki server mycs");
    let fingerprint = shown[0]["fingerprint_sha256"].as_str().expect("a fingerprint");
    let ours = Ca::with_configuration(&format!(
        "hostname ours\nip http server\nip http port 0\nip http bind 127.0.0.1\n\
         crypto pki token usbtoken0\n profile softhsm2\n label tokenca\n user-pin file pin.txt\n\
         crypto pki trustpoint vendor\n enrollment url {}\n fingerprint {fingerprint}\n revocation-check crl\n\
         crypto pki server mycs\n issuer-name CN=ours\n grant auto trustpoint vendor\n no shutdown\n",
        vendor.url()
    ));
    let authenticated = || {
        // What is asked for by nobody is authenticated by its operator.
        let ran = ours.try_cli(&["crypto", "pki", "authenticate", "vendor"]);
        (ran.code == Some(0)).then_some(())
    };
    until("the vendor's CA is trusted", authenticated);

    // A new key, in a message signed with the vendor's certificate; as the drafts and as the RFC have it.
    for (subject, kind) in [("CN=r1", MessageType::PkcsReq), ("CN=r2", MessageType::RenewalReq)] {
        let device = Device::new(subject);
        let held = device.enrol(&vendor, None).certificate();
        let device = Device { signer: held.clone(), ..device };
        let new = TestKey::new();
        let csr = client::csr(&device.subject, &new, Hash::Sha256, None, &[]).expect("a PKCS#10");
        let issued = device.ask(&ours, kind, &csr).certificate();
        assert_eq!(issued.subject_raw(), held.subject_raw());
        assert_ne!(issued.issuer_raw(), held.issuer_raw());
        // From now on it is ours, and renews as such.
        let device = Device { key: new, signer: issued, ..device };
        device.renew(&ours, MessageType::RenewalReq, &TestKey::new()).certificate();
    }

    // Another name than the vendor's certificate has is nothing that it vouches for.
    let device = Device::new("CN=r3");
    let held = device.enrol(&vendor, None).certificate();
    let device = Device { signer: held.clone(), ..device };
    let other = Device::new("CN=admin");
    device.ask(&ours, MessageType::PkcsReq, &other.csr(None)).is_pending();
    device.ask(&ours, MessageType::RenewalReq, &other.csr(None)).is_failure(FailInfo::BadRequest);

    // Revoked by the vendor it counts for nothing: with its own key it is a stranger who may wait.
    vendor.exec(&format!("crypto pki server mycs revoke {}", held.serial()));
    ours.exec("crypto pki crl request vendor");
    device.ask(&ours, MessageType::PkcsReq, &device.csr(None)).is_pending();
    let another_key = client::csr(&device.subject, &TestKey::new(), Hash::Sha256, None, &[]);
    device
        .ask(&ours, MessageType::PkcsReq, &another_key.expect("a PKCS#10"))
        .is_failure(FailInfo::BadMessageCheck);

    // Nor does a certificate of whoever has the vendor's name.
    let impostor = Ca::new(&["grant auto"]);
    let device = Device::new("CN=r4");
    let held = device.enrol(&impostor, None).certificate();
    let device = Device { signer: held, ..device };
    device.ask(&ours, MessageType::PkcsReq, &device.csr(None)).is_pending();
    device.ask(&ours, MessageType::RenewalReq, &device.csr(None)).is_failure(FailInfo::BadMessageCheck);
}
