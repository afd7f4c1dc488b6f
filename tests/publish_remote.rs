//! Files of a certificate server on other machines: by FTP, TFTP, HTTP and S3, and an outage of one of them.

mod support;

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use support::device::Device;
use support::fileservers::{self, BUCKET, PASSWORD, USER};
use support::{Ca, run, until};

#[test]
fn files_go_to_servers_of_every_kind() {
    let ftp = fileservers::ftp("127.0.0.1", "");
    let tftp = fileservers::tftp("127.0.0.1", &[]);
    let http = fileservers::http("127.0.0.1", None);
    let s3 = fileservers::s3();
    let lines = [
        "grant auto".to_owned(),
        "database level names".to_owned(),
        format!("database url {}", ftp.url("ftp", "")),
        format!("database username {USER} password {PASSWORD}"),
        format!("database url cnm {}", tftp.url("tftp", "")),
        format!("database url crl publish {}", http.url("http", "open/")),
        format!(
            "database url crl publish {} username {USER} password {PASSWORD}",
            http.url("http", "closed/")
        ),
        format!(
            "database url crt publish s3://{BUCKET}/issued?endpoint={} username {USER} password {PASSWORD}",
            s3.url("http", "").trim_end_matches('/')
        ),
    ];
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let ca = Ca::with_configuration(&Ca::configuration("rsakeypair mycs 2048", &lines));
    Device::new("CN=dev1, O=Example").enrol(&ca, None).certificate();

    until("the serial number is on the FTP server", || {
        fs::read_to_string(ftp.root().join("mycs.ser")).ok().filter(|text| text.ends_with("0x2"))
    });
    until("the name is on the TFTP server", || {
        fs::read_to_string(tftp.root().join("2.cnm")).ok().filter(|text| text.contains("cn=dev1"))
    });
    for file in
        [ftp.root().join("mycs.crl"), http.root().join("open/mycs.crl"), http.root().join("closed/mycs.crl")]
    {
        until(&format!("{} is a CRL", file.display()), || revoked(&file));
    }
    let shown = ca.exec("show crypto pki server mycs");
    assert!(shown.contains("Status: enabled"), "{shown}");
    // The bucket is read back by the command language.
    let url = format!("s3://{BUCKET}/issued/2.crt?endpoint={}", s3.url("http", "").trim_end_matches('/'));
    assert!(!shown.contains(PASSWORD) && !ca.exec("show running-config").contains(PASSWORD), "{shown}");
    assert!(shown.contains(&url[..url.find("/2.crt").expect("a name")]), "{shown}");
}

#[test]
fn an_outage_is_survived() {
    let ftp = fileservers::ftp("127.0.0.1", "");
    let publish =
        format!("database url crl publish {} username {USER} password {PASSWORD}", ftp.url("ftp", ""));
    let ca = Ca::with_configuration(&Ca::configuration("rsakeypair mycs 2048", &["grant auto", &publish]));
    until("the CRL is published", || revoked(&ftp.root().join("mycs.crl")));
    let certificate = Device::new("CN=dev1, O=Example").enrol(&ca, None).certificate();

    // The directory is gone from the server: it refuses what it is sent.
    let away = ftp.dir.path().join("away");
    fs::rename(ftp.root(), &away).expect("a rename");
    ca.exec(&format!("crypto pki server mycs revoke {}", certificate.serial()));
    let shown = until("the server is disabled", || {
        let shown = ca.exec("show crypto pki server mycs");
        shown.contains("Status: disabled").then_some(shown)
    });
    assert!(shown.contains("Last error:") && shown.contains("ftp://127.0.0.1"), "{shown}");
    assert!(!shown.contains(PASSWORD), "{shown}");
    assert_eq!(Device::new("CN=dev2, O=Example").enrol_raw(&ca).status, 503);

    fs::rename(&away, ftp.root()).expect("a rename");
    until("the server is enabled", || {
        ca.exec("show crypto pki server mycs").contains("Status: enabled").then_some(())
    });
    let list = revoked(&ftp.root().join("mycs.crl")).expect("a CRL");
    assert!(list.contains("Serial Number: 02"), "{list}");
    Device::new("CN=dev3, O=Example").enrol(&ca, None).certificate();
}

#[test]
fn a_server_that_never_comes_to_an_end_holds_nothing_up() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    // Never silent for long, and never done.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            counted.fetch_add(1, Ordering::SeqCst);
            thread::spawn(move || {
                while stream.write_all(b"220-wait\r\n").is_ok() {
                    thread::sleep(Duration::from_secs(1));
                }
            });
        }
    });
    let publish = format!("database url crl publish ftp://127.0.0.1:{port}/");
    // It is ready, and stops, in the time that every server has for that.
    let mut ca =
        Ca::with_configuration(&Ca::configuration("rsakeypair mycs 2048", &["grant auto", &publish]));
    Device::new("CN=dev1, O=Example").enrol(&ca, None).certificate();
    let told = ca.configure("crypto pki server mycs\n lifetime crl 24");
    assert!(told.contains("still being written"), "{told}");
    let mut waiting =
        ca.program().args(["more", &format!("ftp://127.0.0.1:{port}/f")]).spawn().expect("a command");
    until("the command waits", || (connections.load(Ordering::SeqCst) > 1).then_some(()));
    ca.stop();
    waiting.wait().expect("an end");
}

/// What openssl says of a CRL, when it is one.
fn revoked(file: &Path) -> Option<String> {
    let ran =
        run(Command::new("openssl").args(["crl", "-inform", "DER", "-noout", "-text", "-in"]).arg(file));
    (ran.code == Some(0)).then_some(ran.stdout)
}
