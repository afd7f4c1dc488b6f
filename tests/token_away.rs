//! A server whose token is not there, or locked to it, when it starts: it gives what is stored and needs no key,
//! and goes on by itself.

mod support;

use std::fs;
use std::time::{Duration, Instant};

use support::Ca;
use support::device::Device;
use support::modules::TestModule;
use support::modules::server::ModuleServer;
use support::{http, skipped, softhsm};

const GIVEN: [&str; 5] = [
    "/mycs.crl",
    "/mycs.cer",
    "/scep?operation=GetCACert&message=mycs",
    "/scep?operation=GetCACertChain&message=mycs",
    "/scep?operation=GetCACaps&message=mycs",
];

#[test]
fn a_server_waits_for_a_token_that_is_away() {
    for scep in [&["grant auto"][..], &["grant auto", "scep key separate"]] {
        let mut ca = Ca::new(scep);
        Device::new("CN=before").enrol(&ca, None).certificate();
        ca.exec("crypto pki server mycs revoke 2");
        let get = |ca: &Ca, path| http::get(ca.address(), path, &[]);
        let before = GIVEN.map(|path| get(&ca, path));
        assert!(before.iter().all(|answer| answer.status == 200));
        ca.kill();
        softhsm::unplug(ca.token().dir.path());
        ca.start();

        for (path, before) in GIVEN.into_iter().zip(&before) {
            let now = get(&ca, path);
            assert_eq!(now.status, 200, "{path}");
            assert_eq!(now.header("content-type"), before.header("content-type"), "{path}");
            assert_eq!(now.header("etag"), before.header("etag"), "{path}");
            assert!(now.body == before.body, "{path}");
        }
        assert_eq!(get(&ca, "/scep?operation=PKIOperation&message=MAA%3D").status, 503);
        let shown = ca.exec("show crypto pki server");
        assert!(shown.contains("  Status: waiting for its token\n"), "{shown}");
        let shown = ca.exec("show logging");
        assert!(shown.contains("%PKI-4-CS_WAITING: Certificate server mycs waits for its token"), "{shown}");
        let shown = ca.exec("show crypto pki token");
        assert!(shown.contains("Status: not available"), "{shown}");

        softhsm::plug(ca.token().dir.path());
        until("it has started", || ca.json("show crypto pki server")[0]["status"] == "enabled");
        Device::new("CN=after").enrol(&ca, None).certificate();
    }
}

#[test]
fn a_server_waits_for_the_right_pin() {
    let mut ca = Ca::new(&["grant auto"]);
    let pin = ca.state().join("pin.txt");
    let right = fs::read_to_string(&pin).expect("the PIN");
    ca.kill();
    fs::write(&pin, "13579\n").expect("a file");
    ca.start();
    let report = ca.json("show crypto pki server")[0].clone();
    assert_eq!(report["status"], "waiting-for-token", "{report}");
    assert_eq!(http::get(ca.address(), "/mycs.crl", &[]).status, 200);
    fs::write(&pin, right).expect("a file");
    assert!(ca.exec("crypto pki token usbtoken0 login").contains("Login Successful"));
    // At once, not at the next round.
    assert_eq!(ca.json("show crypto pki server")[0]["status"], "enabled");
    Device::new("CN=after").enrol(&ca, None).certificate();
}

/// Away for longer than `removal timeout`: it waits for an operator.
#[test]
fn a_token_that_was_away_for_long_waits_for_a_login() {
    let ca = Ca::new(&["grant auto"]);
    ca.configure("crypto pki token usbtoken0\n removal timeout 0\n");
    let enabled = || ca.json("show crypto pki server")[0]["status"] == "enabled";
    until("it runs with the new section", enabled);
    softhsm::unplug(ca.token().dir.path());
    let token = |field: &str| ca.json("show crypto pki token")[0][field].clone();
    until("it is seen", || !token("offline_since").is_null());
    softhsm::plug(ca.token().dir.path());
    until("it waits", || token("logged_out") == true);
    let events = token("events").to_string();
    assert!(events.contains("waits for a login"), "{events}");
    let shown = ca.exec("show crypto pki token");
    assert!(shown.contains("Status: logged out") && shown.contains("Offline since: "), "{shown}");
    let shown = ca.exec("show logging");
    for line in ["%PKI-3-TOKEN_OFFLINE: Token usbtoken0", "%PKI-4-TOKEN_REMOVED: Token usbtoken0"] {
        assert!(shown.contains(line), "{line} is missing:\n{shown}");
    }
    assert!(ca.exec("crypto pki token usbtoken0 login").contains("Login Successful"));
    assert!(token("offline_since").is_null() && token("logged_out") == false);
    Device::new("CN=after").enrol(&ca, None).certificate();
}

/// A module that says something else of itself before it has reached its token is recognised when it has.
#[test]
fn a_module_is_recognised_when_its_token_is_there() {
    for lines in ["", " module isolated\n"] {
        let mut module = match TestModule::start("p11-kit-client") {
            Ok(module) => module,
            Err(why) => return skipped("a_module_is_recognised_when_its_token_is_there", &why),
        };
        module.leaves();
        let server = ModuleServer::start(&module, lines, &[("mycs", "rsakeypair mycs 2048")]);
        let status = || server.json("show crypto pki server")[0]["status"].clone();
        assert_ne!(status(), "enabled");
        module.comes_back();
        until("it has started", || status() == "enabled");
        let token = server.json("show crypto pki token")[0].clone();
        assert_eq!(token["profile"], "p11-kit-client", "{token}");
        assert_eq!(http::get(server.address(), "/mycs.cer", &[]).status, 200);
    }
}

fn until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(100));
    }
}
