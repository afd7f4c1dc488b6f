//! A `tokenca` that is a device of another `tokenca`: two processes, commands as they are typed.

mod support;

use support::{Ca, until};

/// A process with a trustpoint `upper` for `ca`, and these lines in its section.
fn device(ca: &Ca, lines: &[&str]) -> Ca {
    let lines: String = lines.iter().map(|line| format!(" {line}\n")).collect();
    Ca::with_configuration(&format!(
        "hostname gate\nip domain name example.com\nip http server\nip http port 0\nip http bind 127.0.0.1\n\
         crypto pki token usbtoken0\n profile softhsm2\n label tokenca\n user-pin file pin.txt\n\
         crypto pki trustpoint upper\n enrollment url {}\n rsakeypair upper 2048\n{lines}",
        ca.scep_url()
    ))
}

fn fingerprint(ca: &Ca) -> String {
    let server = ca.json("show crypto pki server mycs");
    format!("fingerprint {}", server[0]["fingerprint_sha1"].as_str().expect("a CA certificate"))
}

/// The state of the one request, or `granted`.
fn state(device: &Ca) -> String {
    let report = &device.json("show crypto pki trustpoints upper")[0];
    match report["requests"].as_array().and_then(|requests| requests.first()) {
        Some(request) => request["phase"].as_str().expect("a phase").to_owned(),
        None if report["own"].as_array().is_some_and(|own| !own.is_empty()) => "granted".to_owned(),
        None => "none".to_owned(),
    }
}

/// Killed between the request and the grant: the certificate comes all the same, for the same key, and the CA has
/// one request.
#[test]
fn a_certificate_comes_after_a_kill() {
    let ca = Ca::new(&[]);
    let mut device = device(&ca, &[&fingerprint(&ca), "subject-name cn=gate, o=Example", "password s3cret"]);
    device.cli(&["--yes", "crypto", "pki", "authenticate", "upper"]);
    device.cli(&["--yes", "crypto", "pki", "enroll", "upper"]);
    let id = ca.pending();
    assert_eq!(state(&device), "pending");
    device.kill();
    ca.grant(id);
    device.start();
    assert!(["pending", "granted"].contains(&state(&device).as_str()));
    // Sooner than the minute of the configuration.
    let clock = device.set_clock("+2m");
    assert!(clock.exists());
    device.restart();
    until("the certificate has come", || (state(&device) == "granted").then_some(()));
    let requests = ca.json("crypto pki server mycs info requests");
    assert_eq!(requests.as_array().unwrap().len(), 1, "{requests}");
    let shown = device.exec("show crypto pki certificates upper");
    assert!(shown.contains("cn=gate") && shown.contains("Status: Available"), "{shown}");
}

/// `auto-enroll` needs nobody at all where the fingerprint is configured and the CA grants.
#[test]
fn a_device_enrols_by_itself() {
    let mut ca = Ca::new(&["grant auto"]);
    let device = device(&ca, &[&fingerprint(&ca), "auto-enroll 80 regenerate"]);
    until("the certificate has come", || (state(&device) == "granted").then_some(()));
    // The CA is away, and is back.
    device.configure("crypto pki trustpoint upper\n enrollment retry period 1\n");
    ca.stop();
    device.cli(&["--yes", "crypto", "pki", "enroll", "upper"]);
    assert_eq!(state(&device), "sending");
    let report = &device.json("show crypto pki trustpoints upper")[0];
    let error = report["requests"][0]["error"].as_str().unwrap_or_default();
    assert!(error.contains("the server cannot be reached"), "{error}");
}
