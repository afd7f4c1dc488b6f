//! HTTP as its clients see it: what caches are told, HEAD, IPv6, and how much one source may ask for.

mod support;

use std::net::TcpListener;

use support::device::{CaCerts, Device};
use support::http;
use support::opinion::Opinion;
use support::scepclient::Scepclient;
use support::strongswan::Strongswan;
use support::{Ca, run};
use tokenca::scep::MessageType;

#[test]
fn caches_are_told_how_long_and_ask_whether() {
    let ca = Ca::new(&["grant auto", "lifetime crl 24"]);
    let get = |headers: &[&str]| http::get(ca.address(), "/mycs.crl", headers);
    let crl = get(&[]).is(200, "application/pkix-crl");
    let header = |name: &str| crl.header(name).unwrap_or_else(|| panic!("no {name}")).to_owned();
    assert_eq!(header("server"), "tokenca");
    assert_eq!(header("content-length"), crl.body.len().to_string());
    // RFC 9110, 6.6.1: a date in the one form that is written.
    assert!(header("date").ends_with(" GMT") && header("date").len() == 29, "{}", header("date"));

    // Last-Modified and Expires are thisUpdate and nextUpdate.
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("crl.der").display().to_string();
    std::fs::write(&file, &crl.body).expect("a file");
    let said = support::opinion::openssl(&["crl", "-in", &file, "-noout", "-lastupdate", "-nextupdate"]);
    let said = said.success().stdout;
    for (field, name) in [("lastUpdate", "last-modified"), ("nextUpdate", "expires")] {
        let line = said.lines().find_map(|line| line.strip_prefix(&format!("{field}=")));
        assert_eq!(date_words(&header(name)), date_words(line.expect("openssl shows it")), "{name}");
    }

    // By tag, by date, and by a tag that is what counts beside a date.
    let (tag, date) = (header("etag"), header("last-modified"));
    for known in [format!("If-None-Match: {tag}"), format!("If-Modified-Since: {date}")] {
        let response = get(&[&known]);
        assert_eq!((response.status, response.body.len()), (304, 0), "{known}");
        assert_eq!(response.header("etag"), Some(tag.as_str()));
        assert!(response.header("expires").is_some() && response.header("cache-control").is_some());
    }
    for unknown in [
        &["If-None-Match: \"other\"", &format!("If-Modified-Since: {date}")][..],
        &["If-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT"],
        &["If-Modified-Since: yesterday"],
    ] {
        assert_eq!(get(unknown).body, crl.body, "{unknown:?}");
    }

    // What is made for one client alone is nobody's to keep.
    let caps = http::get(ca.address(), "/scep?operation=GetCACaps", &["If-None-Match: *"]);
    assert_eq!((caps.status, caps.header("etag"), caps.header("expires")), (200, None, None));
    assert!(caps.header("cache-control").is_some_and(|value| value.contains("no-store")));
}

#[test]
fn head_is_get_without_the_content() {
    let ca = Ca::new(&["grant auto"]);
    for target in ["/mycs.crl", "/mycs.cer", "/scep?operation=GetCACert"] {
        let whole = http::get(ca.address(), target, &[]);
        for version in ["1.0", "1.1"] {
            let request = format!("HEAD {target} HTTP/{version}\r\nHost: ca1\r\nConnection: close\r\n\r\n");
            let head = http::raw(ca.address(), request.as_bytes());
            assert_eq!((head.status, head.body.len()), (200, 0), "{target}");
            for name in ["content-type", "content-length", "etag", "last-modified", "server"] {
                assert_eq!(head.header(name), whole.header(name), "{target} {name}");
            }
        }
    }
    let request = "DELETE /mycs.crl HTTP/1.1\r\nHost: ca1\r\nConnection: close\r\n\r\n";
    let response = http::raw(ca.address(), request.as_bytes());
    assert_eq!((response.status, response.header("allow")), (405, Some("GET, HEAD, POST")));
}

#[test]
fn one_source_does_not_take_the_token_from_the_others() {
    let ca = Ca::new(&["grant auto"]);
    let device = Device::new("CN=r1, O=Example");
    let message = device.message(&CaCerts::of(&ca), MessageType::PkcsReq, &device.csr(None)).octets;
    let post = || http::post(ca.address(), "/scep?operation=PKIOperation", &message);

    // This host is not limited by default: a proxy may stand here.
    assert!((0..250).map(|_| post()).all(|response| response.status == 200));

    // One in a second, four at once; what costs the token nothing is always answered.
    // It holds from now on, and closes no connection.
    ca.configure("ip http rate-limit 1\n");
    assert_eq!(ca.json("show ip http server status")["rate_limit"], 1);
    let mut served = 0;
    let refused = support::until("a message is refused", || {
        let response = post();
        served += u32::from(response.status == 200);
        (response.status != 200).then_some(response)
    });
    assert!(served >= 4, "{served} were served");
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    assert_eq!(http::get(ca.address(), "/mycs.crl", &[]).status, 200);
    assert_eq!(http::get(ca.address(), "/scep?operation=GetCACert", &[]).status, 200);
    // Later it is.
    support::until("the bucket holds a token again", || (post().status == 200).then_some(()));
}

#[test]
fn over_ipv6() {
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("SKIPPED: this kernel has no IPv6 loopback address; S24 is not tested here");
        return;
    }
    let lines = ["grant auto", "crypto legacy des", "cdp-url http://[2001:db8::1]:8080/mycs.crl"];
    let text = Ca::configuration("rsakeypair mycs 2048", &lines);
    let ca = Ca::with_configuration(&text.replace("ip http bind 127.0.0.1", "ip http bind ::1"));
    assert!(ca.url().starts_with("http://[::1]:"), "{}", ca.url());
    let opinion = Opinion::about(&ca);

    // Other makers' clients by a URL with an IPv6 literal.
    let client = Strongswan::new(&ca);
    client.enrol("r1", &[]).success();
    let text = opinion.approves(&ca, &client.file("r1.pem"));
    assert!(text.contains("URI:http://[2001:db8::1]:8080/mycs.crl"), "{text}");
    let client = Scepclient::new(&ca);
    client.enrol(&[]).success();
    opinion.approves(&ca, &client.file("cert.pem"));
    let mut curl = std::process::Command::new("curl");
    run(curl.args(["-sSfg", "-o", "/dev/null", &format!("{}/mycs.crl", ca.url())])).success();

    // Where it came from.
    ca.configure_server(&["no grant auto"]);
    Device::new("CN=r3, O=Example").enrol(&ca, None).is_pending();
    let rows = ca.json("crypto pki server mycs info requests");
    let sources: Vec<_> = rows.as_array().expect("a list").iter().map(|row| &row["source"]).collect();
    assert_eq!(sources.len(), 3, "{rows}");
    assert!(sources.iter().all(|source| *source == "::1"), "{rows}");
}

#[test]
fn over_both_when_no_address_is_configured() {
    let text = Ca::configuration("rsakeypair mycs 2048", &["no grant auto"]);
    let ca = Ca::with_configuration(&text.replace("ip http bind 127.0.0.1\n", ""));
    let port = ca.url().rsplit_once(':').expect("a port").1;
    let certs = http::get(&format!("127.0.0.1:{port}"), "/scep?operation=GetCACert", &[]).body;
    let certs = tokenca::pki::Certificate::parse(&certs).expect("a certificate");
    let certs = CaCerts { decrypter: certs.clone(), signer: certs.clone(), ca: certs };
    let device = Device::new("CN=r4, O=Example");
    let message = device.message(&certs, MessageType::PkcsReq, &device.csr(None));
    http::post(&format!("127.0.0.1:{port}"), "/scep?operation=PKIOperation", &message.octets);
    // Not ::ffff:127.0.0.1, which is how the socket sees it.
    let rows = ca.json("crypto pki server mycs info requests");
    assert_eq!(rows[0]["source"], "127.0.0.1", "{rows}");
}

/// The words of a date of HTTP or OpenSSL that both have: month, day, time, year; sorted.
fn date_words(date: &str) -> Vec<String> {
    let words = date.split([' ', ',']).filter(|word| !word.is_empty());
    let mut words: Vec<String> = words
        .filter(|word| !["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun", "GMT"].contains(word))
        .map(|word| word.trim_start_matches('0').to_owned())
        .collect();
    words.sort();
    words
}
