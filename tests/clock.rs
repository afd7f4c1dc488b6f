//! A server whose host has no right time.

mod support;

use std::fs;

use support::device::Device;
use support::{Ca, http, until};

#[test]
fn a_server_waits_for_the_time() {
    let mut ca = Ca::new(&["grant auto"]);
    Device::new("CN=dev1, O=Example").enrol(&ca, None).certificate();
    ca.stop();

    // A clock without a battery.
    let clock = ca.set_clock("@2010-01-01 00:00:00");
    ca.start();
    let shown = ca.exec("show crypto pki server mycs");
    assert!(shown.contains("Status: check failed"), "{shown}");
    assert!(
        shown.contains("Last error: Time has not been set. Cannot start the Certificate server."),
        "{shown}"
    );
    assert_eq!(http::get(ca.address(), "/scep?operation=GetCACert", &[]).status, 503);

    // It is set, and the server starts by itself.
    fs::write(clock, "+0").expect("the clock");
    until("the server has started", || {
        ca.exec("show crypto pki server mycs").contains("Status: enabled").then_some(())
    });
    Device::new("CN=dev3, O=Example").enrol(&ca, None).certificate();
}

#[test]
fn nothing_is_dated_by_a_clock_that_goes_back() {
    let mut ca = Ca::new(&["grant auto"]);
    ca.stop();
    let clock = ca.set_clock("+0");
    ca.start();
    Device::new("CN=dev1, O=Example").enrol(&ca, None).certificate();
    fs::write(&clock, "-2d").expect("the clock");
    assert_eq!(Device::new("CN=dev2, O=Example").enrol_raw(&ca).status, 503);
    fs::write(&clock, "+0").expect("the clock");
    Device::new("CN=dev3, O=Example").enrol(&ca, None).certificate();
}

#[test]
fn a_time_that_is_yet_to_come_can_be_forgotten() {
    let mut ca = Ca::new(&[]);
    ca.stop();
    let clock = ca.set_clock("+400d");
    ca.start();
    until("the time is on record", || {
        ca.exec("show crypto pki server mycs").contains("Status: enabled").then_some(())
    });
    ca.stop();
    fs::write(&clock, "+0").expect("the clock");
    ca.start();
    let shown = ca.exec("show crypto pki server mycs");
    assert!(shown.contains("Time has not been set"), "{shown}");
    ca.cli(&["--yes", "clear", "clock", "history"]);
    until("the server has started", || {
        ca.exec("show crypto pki server mycs").contains("Status: enabled").then_some(())
    });
}
