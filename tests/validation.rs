//! Certificates of peers checked against a trustpoint: CRLs that are fetched, kept and fetched again; OCSP;
//! the order of `revocation-check`; certificate maps.

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;
use tokenca::config::Configuration;
use tokenca::node::{How, Invalid, Node, Validated};
use tokenca::pki::archive::pem;
use tokenca::pki::{Certificate, Time};

use support::fileservers::{self, FileServer};
use support::openssl_pki::{CA, DEVICE, OpensslPki};
use support::responder::Responder;
use support::{Ca, run, until};

/// A node without servers that trusts the CA `root` of a PKI as its trustpoint `peers`. Its clock is moved.
struct Judge {
    node: Arc<Node>,
    clock: Arc<AtomicU64>,
    _state: TempDir,
}

impl Judge {
    /// With these lines of the trustpoint, and others of the configuration.
    fn new(pki: &OpensslPki, trustpoint: &str, others: &str) -> Self {
        let state = tempfile::tempdir().unwrap();
        let root = pki.certificate("root");
        fs::write(state.path().join("root.cer"), root.der()).unwrap();
        let text = format!(
            "{others}crypto pki trustpoint peers\n{trustpoint}crypto pki certificate chain peers\n \
             certificate ca {} nvram:root.cer\n",
            tokenca::pki::hex(root.serial().as_be_bytes())
        );
        let clock = Arc::new(AtomicU64::new(Time::now().unix()));
        let time = clock.clone();
        let node = Node::start_by(
            state.path().join("state"),
            Configuration::default(),
            Arc::new(move || Time::from_unix(time.load(Ordering::Acquire))),
        )
        .unwrap();
        fs::copy(state.path().join("root.cer"), state.path().join("state/root.cer")).unwrap();
        node.apply(Configuration::parse(&text).unwrap()).unwrap();
        Self { node, clock, _state: state }
    }

    fn after(&self, duration: Duration) {
        self.clock.fetch_add(duration.as_secs(), Ordering::AcqRel);
    }

    fn check(&self, chain: &[Certificate]) -> Result<Validated, Invalid> {
        self.node.check_peer("peers", chain, self.node.now())
    }

    /// It is accepted; who was asked about it, the CA first.
    #[track_caller]
    fn accepts(&self, chain: &[Certificate]) -> Vec<How> {
        let validated = self.check(chain).unwrap_or_else(|error| panic!("{error}"));
        validated.asked.into_iter().map(|asked| asked.how).collect()
    }

    /// It is not, and this is why.
    #[track_caller]
    fn refuses(&self, chain: &[Certificate], why: &str) -> Invalid {
        let error = self.check(chain).map(|validated| validated.asked).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        error
    }
}

/// A web server with CRLs.
struct Web(FileServer);

impl Web {
    fn new() -> Self {
        Self(fileservers::http("127.0.0.1", None))
    }

    fn url(&self, name: &str) -> String {
        self.0.url("http", &format!("open/{name}"))
    }

    fn put(&self, name: &str, octets: Vec<u8>) {
        fs::write(self.0.root().join("open").join(name), octets).unwrap();
    }

    /// How often it was asked for this file.
    fn asked(&self, name: &str) -> usize {
        let log = fs::read_to_string(self.0.dir.path().join("access")).unwrap_or_default();
        log.lines().filter(|line| line.contains(&format!("GET /open/{name} "))).count()
    }
}

fn with_cdp(url: &str) -> String {
    format!("{DEVICE}crlDistributionPoints=URI:{url}\n")
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn a_crl_is_fetched_once_while_it_holds() {
    let (pki, web) = (OpensslPki::new(), Web::new());
    pki.root("root", "/CN=root");
    pki.issue("r1", "/CN=r1", "root", &with_cdp(&web.url("root.crl")), &["-set_serial", "200"]);
    let peer = pki.certificates(&["r1"]);
    let old = pki.crl("root", &[], &["-crlhours", "1", "-crl_lastupdate", "20260101000000Z"]);
    web.put("root.crl", old.clone());
    let judge = Judge::new(&pki, "", "");
    for _ in 0..3 {
        assert!(
            matches!(&judge.accepts(&peer)[..], [How::Crl { source, .. }] if *source == web.url("root.crl"))
        );
    }
    assert_eq!(web.asked("root.crl"), 1);
    let shown = judge.node.crls().unwrap();
    assert_eq!((shown.len(), &*shown[0].issuer, &*shown[0].source), (1, "cn=root", &*web.url("root.crl")));

    // It is revoked. Who has a list that holds does not ask for another, but when told to.
    web.put("root.crl", pki.crl("root", &[200], &["-crldays", "30"]));
    judge.accepts(&peer);
    judge.after(2 * HOUR);
    let error = judge.refuses(&peer, "was revoked at 00:00:00 UTC Jan 1 2026 (keyCompromise)");
    assert!(!error.is_temporary());
    assert_eq!(web.asked("root.crl"), 2);

    // What was revoked stays so: nobody goes back to an older list, be it one that holds.
    judge.clock.store(Time::now().unix(), Ordering::Release);
    web.put("root.crl", old);
    let requested = judge.node.request_crls("peers").unwrap();
    assert!(requested[0].error.as_ref().unwrap().contains("older than the one at hand"), "{requested:?}");
    judge.refuses(&peer, "was revoked");
}

#[test]
fn a_crl_outlives_the_process_and_is_fetched_on_request() {
    let (pki, web) = (OpensslPki::new(), Web::new());
    pki.root("root", "/CN=root");
    pki.issue("r1", "/CN=r1", "root", &with_cdp(&web.url("root.crl")), &["-set_serial", "200"]);
    let peer = pki.certificates(&["r1"]);
    // As some servers have it.
    pki.crl("root", &[], &["-crldays", "30"]);
    web.put("root.crl", fs::read(pki.file("root.crl")).unwrap());
    let judge = Judge::new(&pki, "", "");
    judge.accepts(&peer);
    let (state, configuration) = (judge.node.state().to_owned(), judge.node.configuration());
    let Judge { node, _state: directory, .. } = judge;
    drop(node);
    // A program that another test starts has the lock of the directory until it is that program.
    let node = until("the directory is free", || Node::start(state.clone(), configuration.clone()).ok());
    node.check_peer("peers", &peer, node.now()).unwrap();
    assert_eq!(web.asked("root.crl"), 1);

    web.put("root.crl", pki.crl("root", &[200], &["-crldays", "30"]));
    let requested = node.request_crls("peers").unwrap();
    assert_eq!((requested[0].entries, requested[0].error.as_ref()), (Some(1), None), "{requested:?}");
    assert!(node.check_peer("peers", &peer, node.now()).unwrap_err().to_string().contains("was revoked"));
    drop(directory);
}

#[test]
fn what_is_no_crl_of_the_ca_does_not_count() {
    let (pki, web) = (OpensslPki::new(), Web::new());
    pki.root("root", "/CN=root");
    pki.root("false", "/CN=root");
    pki.root("other", "/CN=other");
    pki.issue("r1", "/CN=r1", "root", &with_cdp(&web.url("root.crl")), &["-set_serial", "200"]);
    let peer = pki.certificates(&["r1"]);
    for (crl, why) in [
        (pki.crl("false", &[], &[]), "it is of another key of the CA"),
        (pki.crl("other", &[], &[]), "it is the CRL of cn=other"),
        (pki.crl("root", &[], &["-crlexts", "idp"]), "2.5.29.28"),
        (pki.crl("root", &[], &["-md", "sha1"]), "sha1, which is too weak"),
        (b"<html>404</html>".to_vec(), "the CRL is malformed"),
        (Vec::new(), "the CRL is malformed"),
    ] {
        web.put("root.crl", crl);
        let judge = Judge::new(&pki, "", "");
        let error = judge.refuses(&peer, why);
        assert!(error.to_string().contains("could not be found out") && error.is_temporary(), "{error}");
        assert!(judge.node.crls().unwrap().is_empty());
    }
    let crl = pki.crl("root", &[], &["-crlhours", "1"]);
    web.put("root.crl", crl);
    let judge = Judge::new(&pki, "", "");
    judge.after(DAY);
    judge.refuses(&peer, "it is out of date since");
    web.put("root.crl", pki.crl("root", &[], &["-md", "sha1"]));
    Judge::new(&pki, " crypto legacy sha1\n", "").accepts(&peer);
}

#[test]
fn each_method_is_asked_when_the_one_before_could_not_be_completed() {
    let (pki, web) = (OpensslPki::new(), Web::new());
    pki.root("root", "/CN=root");
    pki.root("stranger", "/CN=stranger");
    let responder = Responder::start(&pki, "root", "root");
    let both =
        format!("{}authorityInfoAccess=OCSP;URI:{}\n", with_cdp(&web.url("root.crl")), responder.url());
    pki.issue("r1", "/CN=r1", "root", &both, &["-set_serial", "200"]);
    // The responder's list goes from 100 to 500.
    pki.issue("r2", "/CN=r2", "root", &both, &["-set_serial", "900"]);
    pki.issue("silent", "/CN=silent", "root", DEVICE, &["-set_serial", "300"]);
    let (r1, r2, silent) =
        (pki.certificates(&["r1"]), pki.certificates(&["r2"]), pki.certificates(&["silent"]));
    pki.index(&[]);
    let by = |methods: &str| Judge::new(&pki, &format!(" revocation-check {methods}\n"), "");

    // No CRL yet.
    by("crl").refuses(&r1, "404 Not Found");
    assert!(matches!(&by("crl none").accepts(&r1)[..], [How::Passed(why)] if why.contains("404")));
    assert!(matches!(&by("none").accepts(&r1)[..], [How::Passed(why)] if why.is_empty()));
    assert!(matches!(&by("crl ocsp").accepts(&r1)[..], [How::Ocsp { url }] if *url == responder.url()));
    assert!(matches!(&by("ocsp").accepts(&r1)[..], [How::Ocsp { .. }]));
    by("crl").refuses(&silent, "the certificate says nothing of a CRL");
    by("ocsp").refuses(&silent, "the certificate says nothing of an OCSP responder");
    let asked = responder.asked();
    assert!(matches!(&by("none").accepts(&r1)[..], [How::Passed(_)]));
    assert_eq!(responder.asked(), asked);

    // Who does not know the certificate has not said that it is good.
    by("ocsp").refuses(&r2, "does not know the certificate");
    by("ocsp none").refuses(&r2, "does not know the certificate");
    web.put("root.crl", pki.crl("root", &[], &[]));
    assert!(matches!(&by("ocsp crl").accepts(&r2)[..], [How::Crl { .. }]));

    // A responder that may not speak, or cannot.
    responder.signed_by(&pki, "root", "stranger");
    by("ocsp").refuses(&r1, "the OCSP responder may not speak for the CA");
    assert!(matches!(&by("ocsp crl").accepts(&r1)[..], [How::Crl { .. }]));
    responder.signed_by(&pki, "root", "root");
    responder.breaks(true);
    by("ocsp").refuses(&r1, "the server answered 503");
    assert!(matches!(&by("ocsp none").accepts(&r1)[..], [How::Passed(why)] if why.contains("503")));
    assert!(matches!(&by("ocsp crl none").accepts(&r1)[..], [How::Crl { .. }]));
    responder.breaks(false);

    // Revoked is revoked: nothing is asked after it.
    pki.index(&[200]);
    for methods in ["ocsp", "ocsp crl", "ocsp none", "ocsp crl none"] {
        by(methods).refuses(&r1, "says the OCSP responder http");
    }
    assert!(matches!(&by("crl ocsp").accepts(&r1)[..], [How::Crl { .. }]));
    web.put("root.crl", pki.crl("root", &[200], &[]));
    by("crl none").refuses(&r1, "was revoked");

    // `ocsp url` wins over what the certificate says.
    let other = Responder::start(&pki, "root", "root");
    let judge = Judge::new(&pki, &format!(" revocation-check ocsp\n ocsp url {}\n", other.url()), "");
    let before = responder.asked();
    judge.refuses(&r1, "was revoked");
    judge.accepts(&silent);
    assert_eq!((responder.asked(), other.asked()), (before, 2));
    let line = format!(" revocation-check ocsp\n ocsp url {}\n ocsp disable-nonce\n", other.url());
    Judge::new(&pki, &line, "").accepts(&silent);
}

#[test]
fn a_responder_that_was_revoked_is_none() {
    let (pki, web) = (OpensslPki::new(), Web::new());
    pki.root("root", "/CN=root");
    let purpose = format!("{DEVICE}extendedKeyUsage=OCSPSigning\n");
    pki.issue("delegate", "/CN=delegate", "root", &purpose, &["-set_serial", "950"]);
    let unasked = format!("{purpose}noCheck=yes\n");
    pki.issue("unasked", "/CN=unasked", "root", &unasked, &["-set_serial", "951"]);
    let responder = Responder::start(&pki, "root", "delegate");
    let both =
        format!("{}authorityInfoAccess=OCSP;URI:{}\n", with_cdp(&web.url("root.crl")), responder.url());
    pki.issue("r1", "/CN=r1", "root", &both, &["-set_serial", "200"]);
    let r1 = pki.certificates(&["r1"]);
    pki.index(&[]);
    Judge::new(&pki, " revocation-check ocsp\n", "").accepts(&r1);

    // Once a CRL is at hand that says so.
    web.put("root.crl", pki.crl("root", &[950, 951], &[]));
    let judge = Judge::new(&pki, " revocation-check crl\n", "");
    judge.accepts(&r1);
    let line = "crypto pki trustpoint peers\n revocation-check ocsp\n";
    judge.node.apply(judge.node.configuration().edited(line).unwrap()).unwrap();
    pki.index(&[]);
    judge.refuses(&r1, "cn=delegate may not speak for the CA: its certificate was revoked");
    responder.signed_by(&pki, "root", "unasked");
    judge.accepts(&r1);
}

#[test]
fn a_server_that_does_not_answer_is_left_alone_for_a_minute() {
    let pki = OpensslPki::new();
    pki.root("root", "/CN=root");
    // Closes every connection.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/root.crl", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicU64::new(0));
    let counted = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            counted.fetch_add(1, Ordering::AcqRel);
            drop(stream);
        }
    });
    pki.issue("r1", "/CN=r1", "root", &with_cdp(&url), &[]);
    pki.issue("r2", "/CN=r2", "root", &with_cdp(&url), &[]);
    let (r1, r2) = (pki.certificates(&["r1"]), pki.certificates(&["r2"]));
    let judge = Judge::new(&pki, "", "");
    let error = judge.refuses(&r1, &url);
    assert!(error.is_temporary());
    let first = asked.load(Ordering::Acquire);
    assert!(first > 0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                judge.refuses(&r1, &url);
                judge.refuses(&r2, &url);
            });
        }
    });
    assert_eq!(asked.load(Ordering::Acquire), first);
    judge.after(Duration::from_secs(61));
    judge.refuses(&r2, &url);
    assert!(asked.load(Ordering::Acquire) > first);
}

#[test]
fn every_ca_of_the_path_is_asked_about() {
    let (pki, web) = (OpensslPki::new(), Web::new());
    pki.root("root", "/CN=root");
    let sub = format!("{CA}crlDistributionPoints=URI:{}\n", web.url("root.crl"));
    pki.issue("sub", "/CN=sub", "root", &sub, &["-set_serial", "201"]);
    pki.issue("r1", "/CN=r1", "sub", &with_cdp(&web.url("sub.crl")), &["-set_serial", "202"]);
    let chain = pki.certificates(&["r1", "sub"]);
    web.put("sub.crl", pki.crl("sub", &[], &[]));
    let judge = Judge::new(&pki, "", "");
    judge.refuses(&chain, "the certificate of cn=sub, serial number 0xC9, is revoked could not be found out");
    web.put("root.crl", pki.crl("root", &[], &[]));
    let asked = judge.accepts(&chain);
    let sources = asked.iter().map(|how| match how {
        How::Crl { source, .. } => source.clone(),
        how => panic!("{how}"),
    });
    assert_eq!(sources.collect::<Vec<_>>(), [web.url("root.crl"), web.url("sub.crl")]);
    judge.refuses(&chain[..1], "its issuer cn=sub is not known here");

    web.put("root.crl", pki.crl("root", &[201], &[]));
    Judge::new(&pki, "", "").refuses(&chain, "the certificate of cn=sub, serial number 0xC9, was revoked");
}

/// Only the CA itself is known by its fingerprint: whoever stands between may put another above it.
#[test]
fn a_ca_above_the_authenticated_one_is_trusted_with_nothing() {
    let pki = OpensslPki::new();
    pki.root("root", "/CN=root");
    pki.issue("sub", "/CN=sub", "root", CA, &[]);
    for (name, issuer) in [("r1", "sub"), ("r2", "root")] {
        pki.issue(name, &format!("/CN={name}"), issuer, DEVICE, &[]);
    }
    let judge =
        Judge::new(&pki, "", "crypto pki trustpoint below\n enrollment terminal\n revocation-check none\n");
    let pem: String =
        ["sub", "root"].map(|name| pem::write_certificate(pki.certificate(name).der())).concat();
    let offered = judge.node.authenticate("below", Some(pem.as_bytes())).unwrap();
    assert_eq!(offered.certificates.chain(), [pki.certificate("root")]);
    judge.node.accept(offered).unwrap();
    let check = |name: &str| judge.node.check_peer("below", &pki.certificates(&[name]), judge.node.now());
    assert_eq!(check("r1").unwrap().path.certificates().len(), 2);
    let refused = check("r2").unwrap_err().to_string();
    assert!(refused.contains("its issuer cn=root is not known here"), "{refused}");
}

#[test]
fn directories_have_crls() {
    let pki = OpensslPki::new();
    pki.root("root", "/O=Example/CN=root");
    pki.root("other", "/O=Example/CN=other");
    let crl = STANDARD.encode(pki.crl("root", &[202], &[]));
    let wrong = STANDARD.encode(pki.crl("other", &[], &[]));
    let entry = |name: &str, crl: &str| {
        format!(
            "dn: cn={name},o=Example\nobjectClass: cRLDistributionPoint\ncn: {name}\n\
             certificateRevocationList;binary:: {crl}\n\n"
        )
    };
    let ldif = format!(
        "dn: o=Example\nobjectClass: organization\no: Example\n\n{}{}",
        entry("root", &crl),
        entry("wrong", &wrong)
    );
    let directory = fileservers::ldap("127.0.0.1", &ldif);
    let server = directory.url("ldap", "");
    let server = server.trim_end_matches('/');

    let full = format!("{server}/cn=root,o=Example?certificateRevocationList;binary?base?objectClass=*");
    let escaped = |url: &str| {
        format!("{DEVICE}crlDistributionPoints=point\n[point]\nfullname=@names\n[names]\nURI={url}\n")
    };
    pki.issue("whole", "/CN=whole", "root", &escaped(&full), &["-set_serial", "200"]);
    pki.issue(
        "hostless",
        "/CN=hostless",
        "root",
        &escaped("ldap:///cn=root,o=Example"),
        &["-set_serial", "201"],
    );
    pki.issue("bare", "/CN=bare", "root", DEVICE, &["-set_serial", "202"]);
    pki.issue("lost", "/CN=lost", "root", &escaped(&format!("{server}/cn=none,o=Example")), &[]);
    pki.issue("wrong", "/CN=wrong", "root", &escaped(&format!("{server}/cn=wrong,o=Example")), &[]);
    let named = format!(
        "{DEVICE}crlDistributionPoints=point\n[point]\nfullname=dirName:dn\n[dn]\nO=Example\nCN=root\n"
    );
    pki.issue("named", "/CN=named", "root", &named, &["-set_serial", "203"]);
    let one = |name: &str| pki.certificates(&[name]);

    assert!(
        matches!(&Judge::new(&pki, "", "").accepts(&one("whole"))[..], [How::Crl { source, .. }] if *source == full)
    );
    Judge::new(&pki, "", "").refuses(&one("hostless"), "the certificate says nothing of a CRL");
    let query = format!(" crl query {server}\n");
    Judge::new(&pki, &query, "").accepts(&one("hostless"));
    Judge::new(&pki, &query, "").accepts(&one("named"));
    Judge::new(&pki, &query, "").refuses(&one("bare"), "was revoked");
    Judge::new(&pki, "", "").refuses(&one("lost"), "no such file");
    Judge::new(&pki, "", "").refuses(&one("wrong"), "it is the CRL of cn=other,o=Example");
    // What the certificate says in vain, `crl query` has.
    Judge::new(&pki, &query, "").accepts(&one("lost"));
}

#[test]
fn directories_that_lie_are_seen_through() {
    let pki = OpensslPki::new();
    pki.root("root", "/CN=root");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ldap://{}/cn=root", listener.local_addr().unwrap());
    let escaped = format!("{DEVICE}crlDistributionPoints=URI:{url}\n");
    pki.issue("r1", "/CN=r1", "root", &escaped, &[]);
    let peer = pki.certificates(&["r1"]);
    let done = |code: u8, said: &str| {
        let length = said.len() as u8;
        let result = [&[0x0a, 1, code, 4, 0, 4, length], said.as_bytes()].concat();
        let result = [&[0x65, result.len() as u8], &result[..]].concat();
        [&[0x30, result.len() as u8 + 3, 2, 1, 1], &result[..]].concat()
    };
    // objectName, then an attribute with a value.
    let entry = |kind: &str, value: &[u8]| {
        let tlv = |tag: u8, content: &[u8]| [&[tag, content.len() as u8], content].concat();
        let value = tlv(0x31, &tlv(4, value));
        let attribute = tlv(0x30, &[tlv(4, kind.as_bytes()), value].concat());
        let entry = tlv(0x64, &[tlv(4, b"cn=root"), tlv(0x30, &attribute)].concat());
        tlv(0x30, &[&[2, 1, 1], &entry[..]].concat())
    };
    for (answer, why) in [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "this is not a message"),
        (vec![], "the connection broke"),
        (vec![0x30, 0x84, 0, 0, 1, 0, 2], "the connection broke"),
        (vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 2, 1, 1], "more than 67108864 bytes"),
        (vec![0x30, 0x80, 2, 1, 1, 0, 0], "this is not a message"),
        (vec![0x30, 3, 2, 1, 1], "protocolOp"),
        (vec![0x30, 5, 2, 1, 1, 0x61, 0], "protocolOp"),
        (done(0, ""), "no such file"),
        (done(32, ""), "no such file"),
        (done(50, "not for you"), "access refused: result 50, not for you"),
        (done(52, "\u{1b}[31m"), "the server answered: result 52, \\u{1b}[31m"),
        ([entry("description", b"x"), done(0, "")].concat(), "the entry has no CRL"),
        ([entry("certificateRevocationList", b"x"), done(0, "")].concat(), "the CRL is malformed"),
        ([entry("CERTIFICATErevocationlist;BINARY", b"x"), done(0, "")].concat(), "the CRL is malformed"),
        (entry("certificateRevocationList", b"x"), "the connection broke"),
    ] {
        let answered = std::thread::scope(|scope| {
            let server = scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut asked = [0; 256];
                let length = std::io::Read::read(&mut stream, &mut asked).unwrap();
                std::io::Write::write_all(&mut stream, &answer).unwrap();
                asked[..length].to_vec()
            });
            Judge::new(&pki, "", "").refuses(&peer, why);
            server.join().unwrap()
        });
        assert!(answered.windows(7).any(|window| window == b"cn=root"), "{}", answered.escape_ascii());
    }
}

#[test]
fn maps_say_who_is_meant_and_who_is_excused() {
    let (pki, web) = (OpensslPki::new(), Web::new());
    pki.root("root", "/O=Example/CN=root");
    let extensions =
        |name: &str| format!("{}subjectAltName=DNS:{name}.example.com\n", with_cdp(&web.url("root.crl")));
    pki.issue("r1", "/O=Example/OU=Branch/CN=r1", "root", &extensions("r1"), &["-set_serial", "200"]);
    pki.issue(
        "r2",
        "/O=Example/OU=Lab/CN=r2",
        "root",
        &extensions("r2"),
        &["-set_serial", "201", "-days", "5"],
    );
    let (r1, r2) = (pki.certificates(&["r1"]), pki.certificates(&["r2"]));
    let map = |lines: &str| format!("crypto pki certificate map m 10\n{lines}");
    let bound = " revocation-check none\n match certificate m\n";
    for (lines, meant) in [
        (" subject-name co OU = Branch\n", [true, false]),
        (" subject-name co ou=branch\n issuer-name eq CN=root, O=Example\n", [true, false]),
        (" subject-name nc ou=branch\n", [false, true]),
        (" alt-subject-name eq R2.example.COM\n", [false, true]),
        (" alt-subject-name co example.com\n", [true, true]),
        (" alt-subject-name ne r2.example.com\n", [true, false]),
        (" name co r1.example\n", [true, false]),
        (" serial-number eq C8\n", [true, false]),
        (" unstructured-subject-name co r\n", [false, false]),
        (" expires-on lt Jan 1 2020\n", [false, false]),
        (" expires-on ge Jan 1 2020\n subject-name co cn=r2\n", [false, true]),
        (" subject-name co cn=r1\n subject-name co cn=r2\n", [false, false]),
        (" subject-name co cn=r1\ncrypto pki certificate map m 20\n subject-name co cn=r2\n", [true, true]),
    ] {
        let judge = Judge::new(&pki, bound, &map(lines));
        assert_eq!([&r1, &r2].map(|peer| judge.check(peer).is_ok()), meant, "{lines}");
    }
    Judge::new(&pki, bound, "").refuses(&r1, "no certificate map of the trustpoint means it");

    // Without a CRL only those pass that need none; the others are not turned away for not being meant.
    let branch = map(" subject-name co ou=branch\n");
    let judge = Judge::new(&pki, " match certificate m skip revocation-check\n", &branch);
    assert_eq!(judge.accepts(&r1), [How::Excused]);
    judge.refuses(&r2, "could not be found out");
    web.put("root.crl", pki.crl("root", &[200], &["-crldays", "60"]));
    assert_eq!(judge.accepts(&r1), [How::Excused]);
    judge.after(Duration::from_secs(61));
    judge.accepts(&r2);

    let lab = map(" subject-name co ou=lab\n");
    let judge = Judge::new(&pki, " match certificate m allow expired-certificate\n", &lab);
    judge.after(10 * DAY);
    judge.accepts(&r2);
    let judge = Judge::new(&pki, "", &lab);
    judge.after(10 * DAY);
    judge.refuses(&r2, "it expired at");
}

#[test]
fn trustpoints_without_a_ca_accept_nothing() {
    let pki = OpensslPki::new();
    pki.root("root", "/CN=root");
    let peer = pki.certificates(&["root"]);
    let judge = Judge::new(&pki, "", "crypto pki trustpoint empty\n enrollment terminal\n");
    let refused = |trustpoint: &str, chain: &[Certificate]| {
        judge.node.check_peer(trustpoint, chain, judge.node.now()).unwrap_err().to_string()
    };
    assert!(refused("empty", &peer).contains("has no CA certificate"));
    assert!(refused("nobody", &peer).contains("there is no trustpoint \"nobody\""));
    assert!(refused("peers", &[]).contains("there is no certificate"));
}

/// A certificate that the CA issues for a new key: both as PEM files in its state directory.
fn device(ca: &Ca, name: &str) -> PathBuf {
    let file = |suffix: &str| ca.state().join(format!("{name}.{suffix}"));
    run(std::process::Command::new("openssl")
        .args(["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", &format!("/CN={name}"), "-keyout"])
        .arg(file("key"))
        .arg("-out")
        .arg(file("csr")))
    .success();
    let request = format!("crypto pki server mycs request pkcs10 url nvram:{name}.csr pem");
    ca.exec(&request);
    let granted = ca.exec(&format!("crypto pki server mycs grant {}", ca.pending()));
    let start = granted.find("-----BEGIN CERTIFICATE-----").expect("the certificate is shown");
    fs::write(file("pem"), &granted[start..]).unwrap();
    file("pem")
}

#[test]
fn operators_ask_a_server_about_certificates() {
    let ca = Ca::new(&[]);
    let pem = device(&ca, "r1");
    let validate = |words: &str| {
        ca.try_cli(
            &[&["crypto", "pki", "certificate", "validate"][..], &words.split(' ').collect::<Vec<_>>()]
                .concat(),
        )
    };
    validate("mycs").success().says("Chain has 1 certificate\n").says("Certificate chain for mycs is valid");
    validate("mycs nvram:r1.pem")
        .success()
        .says("Chain has 2 certificates\n  cn=r1\n  cn=mycs,o=Example,c=US\n")
        .says("cn=r1 was asked about: the certificate server \"mycs\"");
    validate("mycs nvram:r2.pem").exited(1).says("no such file");
    validate("other").exited(1).says("% there is no trustpoint \"other\"");

    // Whoever has used the key of the CA has not put the certificate on record.
    device(&ca, "r2");
    validate("mycs nvram:r2.pem").success();
    for (change, number) in [("UPDATE certificates SET der = x'3000'", 2), ("DELETE FROM certificates", 3)] {
        let file = if number == 2 { "r1" } else { "r2" };
        let database = rusqlite::Connection::open(ca.state().join("tokenca.db")).unwrap();
        let saved = format!("CREATE TABLE saved AS SELECT * FROM certificates WHERE serial = x'010{number}'");
        database.execute_batch(&format!("{saved}; {change} WHERE serial = x'010{number}'")).unwrap();
        validate(&format!("mycs nvram:{file}.pem"))
            .exited(1)
            .says("the certificate server \"mycs\" has not issued this certificate");
        let restore = "INSERT OR REPLACE INTO certificates SELECT * FROM saved; DROP TABLE saved";
        database.execute_batch(restore).unwrap();
        validate(&format!("mycs nvram:{file}.pem")).success();
    }

    // The server's own database knows at once.
    ca.exec("crypto pki server mycs revoke 0x2");
    validate("mycs nvram:r1.pem")
        .exited(1)
        .says("% Validation Failed: the certificate of cn=r1, serial number 0x2");
    assert_eq!(ca.json("show crypto pki crls").as_array().unwrap().len(), 0);
    ca.try_cli(&["crypto", "ca", "crl", "request", "mycs"]).exited(1).says("is issued here");
    fs::write(&pem, "x").unwrap();
    validate("mycs nvram:r1.pem").exited(1).says("nvram:r1.pem: there is no certificate in it");
}

#[test]
fn a_ca_gives_its_crl_by_scep() {
    let ca = Ca::new(&[]);
    device(&ca, "r1");
    device(&ca, "r2");
    // Another host, to which r2 and its key belong.
    let there = Ca::with_configuration(&format!(
        "ip http server\nip http port 0\nip http bind 127.0.0.1\n\
         crypto pki token usbtoken0\n profile softhsm2\n label tokenca\n user-pin file pin.txt\n\
         crypto pki trustpoint upper\n enrollment url {}\n on usbtoken0:\n",
        ca.url()
    ));
    let state = there.state();
    fs::copy(ca.state().join("r1.pem"), state.join("r1.pem")).unwrap();
    let authority = support::http::get(ca.address(), "/mycs.cer", &[]);
    fs::write(state.join("ca.der"), authority.body).unwrap();
    let openssl = |line: &str| {
        run(std::process::Command::new("openssl").current_dir(&state).args(line.split(' '))).success();
    };
    openssl("x509 -in ca.der -inform DER -out ca.pem");
    let from = ca.state();
    openssl(&format!(
        "pkcs12 -export -inkey {0}/r2.key -in {0}/r2.pem -certfile ca.pem -out r2.p12 -passout pass:cisco123",
        from.display()
    ));
    there.exec("crypto pki import upper pkcs12 nvram:r2.p12 cisco123");

    let validate = |words: &str| {
        let words = format!("crypto pki certificate validate upper{words}");
        there.try_cli(&words.split(' ').collect::<Vec<_>>())
    };
    let source = format!("the CRL from SCEP {}", ca.url());
    validate(" nvram:r1.pem").success().says(&source).says("Certificate chain for upper is valid");
    validate("").success().says("Chain has 2 certificates\n  cn=r2\n").says(&source);
    let shown = there.exec("show crypto pki crls");
    assert!(shown.starts_with("CRL Issuer Name:\n    cn=mycs,o=Example,c=US\n    LastUpdate: "), "{shown}");
    let end = "    Retrieved from CRL Distribution Point:\n      ** CDP Not Published - Retrieved via SCEP\n";
    assert!(shown.ends_with(end), "{shown}");

    // As the documents have it: revoked there, fetched here.
    ca.exec("crypto pki server mycs revoke 0x2 reason keyCompromise");
    validate(" nvram:r1.pem").success();
    let fetched = there.exec("crypto ca crl request upper");
    assert!(fetched.contains("% The CRL of cn=mycs,o=Example,c=US was fetched."), "{fetched}");
    assert!(fetched.contains("Number of CRL entries: 1"), "{fetched}");
    validate(" nvram:r1.pem").exited(1).says("was revoked at").says("(keyCompromise)");
    validate("").success();
}
