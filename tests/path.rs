//! Certification paths, CRLs and OCSP responses of a PKI made with OpenSSL: what we make of them, and what
//! OpenSSL does.

mod support;

use tokenca::pki::path::{Legacy, Path, Rules};
use tokenca::pki::{Certificate, Time};

use support::openssl_pki::{CA, DEVICE, OpensslPki};

/// What must come of a certificate: a path of so many, or a fault with these words.
type Verdict = Result<usize, &'static str>;

const DAY: u64 = 86_400;

/// Extensions of a device that do not name the key of its CA.
const NAMELESS: &str = "basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\n";

#[track_caller]
fn judge(pki: &OpensslPki, name: &str, others: &[&str], anchors: &[&str], rules: &Rules, verdict: Verdict) {
    let found =
        Path::find(&pki.certificate(name), &pki.certificates(others), &pki.certificates(anchors), rules);
    match (found, verdict) {
        (Ok(path), Ok(length)) => assert_eq!(path.certificates().len(), length, "{path}"),
        (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{name}: {error}"),
        (found, verdict) => panic!("{name}: {found:?}, not {verdict:?}"),
    }
}

/// The same with the second opinion.
#[track_caller]
fn both(pki: &OpensslPki, name: &str, others: &[&str], anchors: &[&str], now: Time, verdict: Verdict) {
    judge(pki, name, others, anchors, &Rules::at(now), verdict);
    let opinion = pki.verify(name, others, anchors, now.unix(), &["-policy_check"]);
    assert_eq!(opinion.code == Some(0), verdict.is_ok(), "{opinion:?}");
}

fn now() -> Time {
    // The certificates are made in this second.
    Time::now().plus(std::time::Duration::from_secs(60))
}

/// `days` from now.
fn later(days: u64) -> Time {
    Time::from_unix(now().unix() + days * DAY)
}

#[test]
fn paths_are_found_and_checked() {
    let pki = OpensslPki::new();
    pki.root("root", "/C=US/O=Example/CN=root");
    pki.issue("sub", "/C=US/O=Example/CN=sub", "root", CA, &["-days", "200"]);
    pki.issue("low", "/C=US/O=Example/CN=low", "sub", CA, &["-days", "100"]);
    pki.issue("r1", "/CN=r1", "low", DEVICE, &["-days", "50"]);
    pki.issue("r0", "/CN=r0", "root", DEVICE, &["-days", "50"]);
    pki.root("stranger", "/C=US/O=Example/CN=stranger");
    pki.issue("other", "/CN=r1", "stranger", DEVICE, &[]);

    both(&pki, "r0", &[], &["root"], now(), Ok(2));
    both(&pki, "r1", &["sub", "low"], &["root"], now(), Ok(4));
    both(&pki, "r1", &["low", "stranger", "sub", "r0"], &["stranger", "root"], now(), Ok(4));
    // A CA in between may be the one that is trusted.
    both(&pki, "r1", &["low"], &["sub"], now(), Ok(3));
    both(&pki, "root", &[], &["root"], now(), Ok(1));
    both(&pki, "low", &["sub"], &["root"], now(), Ok(3));

    both(&pki, "r1", &["low"], &["root"], now(), Err("certificate of cn=low,o=Example,c=US, serial"));
    judge(
        &pki,
        "r1",
        &["low"],
        &["root"],
        &Rules::at(now()),
        Err("issuer cn=sub,o=Example,c=US is not known"),
    );
    both(&pki, "r1", &["sub", "low"], &[], now(), Err("is not known here"));
    both(&pki, "other", &["sub", "low"], &["root"], now(), Err("issuer cn=stranger"));

    // Each ends in its own time.
    both(&pki, "r1", &["sub", "low"], &["root"], later(60), Err("of cn=r1, serial"));
    both(&pki, "r1", &["sub", "low"], &["root"], later(120), Err("of cn=low"));
    both(&pki, "r1", &["sub", "low"], &["root"], later(250), Err("of cn=sub"));
    both(&pki, "r0", &[], &["root"], later(4000), Err("of cn=root,o=Example,c=US, serial"));
    both(&pki, "r0", &[], &["root"], Time::from_unix(now().unix() - 10 * DAY), Err("is valid from"));
    let expired = |now| Rules { expired: true, ..Rules::at(now) };
    judge(&pki, "r1", &["sub", "low"], &["root"], &expired(later(60)), Ok(4));
    judge(&pki, "r1", &["sub", "low"], &["root"], &expired(later(120)), Err("of cn=low"));
}

#[test]
fn only_a_ca_issues() {
    let pki = OpensslPki::new();
    pki.root("root", "/CN=root");
    let usual = "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n";
    for (name, extensions, why) in [
        ("device", DEVICE.to_owned(), "basicConstraints says so"),
        ("bare", usual.to_owned(), "it has no basicConstraints"),
        (
            "signer",
            format!("basicConstraints=critical,CA:TRUE\nkeyUsage=cRLSign\n{usual}"),
            "lacks keyCertSign",
        ),
    ] {
        pki.issue(name, &format!("/CN={name}"), "root", &extensions, &[]);
        let below = format!("below-{name}");
        pki.issue(&below, &format!("/CN={below}"), name, DEVICE, &[]);
        both(&pki, &below, &[name], &["root"], now(), Err(why));
        // It may be trusted as what it is.
        both(&pki, name, &[], &["root"], now(), Ok(2));
    }
    // Without extensions there is nothing that says so, be it signed by a CA. An anchor may be so.
    pki.issue("old", "/CN=old", "root", "", &[]);
    pki.issue("below-old", "/CN=below-old", "old", NAMELESS, &[]);
    judge(&pki, "below-old", &["old"], &["root"], &Rules::at(now()), Err("it has no extensions"));
    // Nor does the name of the CA that signed it, which looks as if it had signed itself.
    pki.issue("twin", "/CN=root", "root", "", &[]);
    pki.issue("below-twin", "/CN=below-twin", "twin", NAMELESS, &[]);
    judge(&pki, "below-twin", &["twin"], &["root"], &Rules::at(now()), Err("it has no extensions"));
    pki.issue("old-root", "/CN=old root", "old-root", "", &[]);
    pki.issue("under", "/CN=under", "old-root", NAMELESS, &[]);
    both(&pki, "under", &[], &["old-root"], now(), Ok(2));
}

#[test]
fn the_length_of_a_path_is_kept() {
    let pki = OpensslPki::new();
    let limited = |length: u8| CA.replace("CA:TRUE", &format!("CA:TRUE,pathlen:{length}"));
    pki.issue("root", "/CN=root", "root", &limited(1), &[]);
    pki.issue("sub", "/CN=sub", "root", &limited(3), &[]);
    pki.issue("low", "/CN=low", "sub", &limited(0), &[]);
    pki.issue("r1", "/CN=r1", "sub", DEVICE, &[]);
    pki.issue("r2", "/CN=r2", "low", DEVICE, &[]);
    both(&pki, "r1", &["sub"], &["root"], now(), Ok(3));
    judge(&pki, "r2", &["low", "sub"], &["root"], &Rules::at(now()), Err("of cn=root, serial"));
    // A CA that is not above another certificate is one at the end, and counts for nothing.
    both(&pki, "low", &["sub"], &["root"], now(), Ok(3));
    both(&pki, "r2", &["low"], &["sub"], now(), Ok(3));

    // Of itself a CA may issue another: a new key, certified by the old one.
    pki.issue("zero", "/CN=zero", "zero", &limited(0), &[]);
    pki.issue("zero-new", "/CN=zero", "zero", &limited(0), &[]);
    pki.issue("r3", "/CN=r3", "zero-new", DEVICE, &[]);
    both(&pki, "r3", &["zero-new"], &["zero"], now(), Ok(3));
    pki.issue("below", "/CN=below", "zero-new", CA, &[]);
    pki.issue("r4", "/CN=r4", "below", DEVICE, &[]);
    both(&pki, "r4", &["below", "zero-new"], &["zero"], now(), Err("allows 0 further CAs"));
}

#[test]
fn extensions_are_understood_or_the_certificate_is_not_taken() {
    let pki = OpensslPki::new();
    pki.root("root", "/CN=root");
    for (name, line, verdict) in [
        ("known", "subjectAltName=critical,DNS:r1.example.com", Ok(2)),
        ("purpose", "extendedKeyUsage=critical,clientAuth", Ok(2)),
        ("policy", "certificatePolicies=critical,1.2.3.4", Ok(2)),
        ("unknown", "1.2.3.4.5=critical,ASN1:NULL", Err("critical extension 1.2.3.4.5")),
        ("harmless", "1.2.3.4.5=ASN1:NULL", Ok(2)),
        ("demand", "policyConstraints=critical,requireExplicitPolicy:0", Err("critical extension 2.5.29.36")),
    ] {
        pki.issue(name, &format!("/CN={name}"), "root", &format!("{DEVICE}{line}\n"), &[]);
        judge(&pki, name, &[], &["root"], &Rules::at(now()), verdict);
    }
    let broken = DEVICE.replace("critical,digitalSignature", "DER:0400");
    pki.issue("broken", "/CN=broken", "root", &broken, &[]);
    judge(&pki, "broken", &[], &["root"], &Rules::at(now()), Err("its extension 2.5.29.15 is malformed"));
    let twice = format!("{DEVICE}1.2.3.4.5=ASN1:NULL\n1.2.3.4.6=ASN1:NULL\n");
    pki.issue("twice", "/CN=twice", "root", &twice, &[]);
    let twice = repeated(&pki.certificate("twice"));
    let found = Path::find(&twice, &[], std::slice::from_ref(&twice), &Rules::at(now()));
    assert!(found.unwrap_err().to_string().contains("it has the extension 1.2.3.4.5 twice"));
}

/// The same, its extension 1.2.3.4.6 called 1.2.3.4.5. The signature is wrong now; of an anchor it is not asked.
fn repeated(certificate: &Certificate) -> Certificate {
    let mut der = certificate.der().to_vec();
    let at = der.windows(6).position(|window| window == [0x06, 4, 0x2a, 3, 4, 6]).expect("it is there");
    der[at + 5] = 5;
    Certificate::parse(&der).unwrap()
}

#[test]
fn signatures_hold_and_are_not_weak() {
    let pki = OpensslPki::new();
    pki.issue("root", "/CN=root", "root", CA, &["-newkey", "rsa:2048"]);
    pki.issue("md5", "/CN=md5", "root", DEVICE, &["-md5"]);
    pki.issue("sha1", "/CN=sha1", "root", DEVICE, &["-sha1"]);
    pki.issue("sha384", "/CN=sha384", "root", DEVICE, &["-sha384"]);
    pki.issue("pss", "/CN=pss", "root", DEVICE, &["-sigopt", "rsa_padding_mode:pss"]);
    pki.issue("small", "/CN=small", "root", DEVICE, &["-newkey", "rsa:1024"]);
    let strict = Rules::at(now());
    let with = |legacy| Rules { legacy, ..strict };
    judge(&pki, "sha384", &[], &["root"], &strict, Ok(2));
    judge(&pki, "pss", &[], &["root"], &strict, Ok(2));
    let legacy = Legacy::default();
    for (name, why, allowed) in [
        ("md5", "its signature uses md5, which is too weak", Legacy { md5: true, ..legacy }),
        ("sha1", "its signature uses sha1, which is too weak", Legacy { sha1: true, ..legacy }),
        ("small", "its key, RSA 1024, is too small", Legacy { rsa_1024: true, ..legacy }),
    ] {
        judge(&pki, name, &[], &["root"], &strict, Err(why));
        judge(&pki, name, &[], &["root"], &with(allowed), Ok(2));
    }

    // Another with the name of the CA.
    pki.root("false", "/CN=root");
    both(&pki, "sha384", &[], &["false"], now(), Err("its signature is not that of cn=root"));
    both(&pki, "sha384", &["false"], &["root", "false"], now(), Ok(2));
    // Every octet that is signed counts, and the signature does.
    let good = pki.certificate("sha384");
    let root = pki.certificates(&["root"]);
    for at in (5..good.der().len()).step_by(7) {
        let mut der = good.der().to_vec();
        der[at] ^= 1;
        let Ok(bent) = Certificate::parse(&der) else { continue };
        let found = Path::find(&bent, &[], &root, &strict);
        assert!(found.is_err(), "octet {at} of {}: {found:?}", der.len());
    }
}

#[test]
fn names_chain_however_they_are_written() {
    let pki = OpensslPki::new();
    pki.root("root", "/O=Example Inc/CN=root");
    // The same CA, its name written otherwise.
    std::fs::copy(pki.file("root.key"), pki.file("written.key")).unwrap();
    pki.root("written", "/O=example  INC/CN=Root");
    pki.issue("r1", "/CN=r1", "written", NAMELESS, &[]);
    both(&pki, "r1", &[], &["root"], now(), Ok(2));
    std::fs::copy(pki.file("root.key"), pki.file("other.key")).unwrap();
    pki.root("other", "/O=Example Ltd/CN=root");
    pki.issue("r2", "/CN=r2", "other", DEVICE, &[]);
    both(&pki, "r2", &[], &["root"], now(), Err("o=Example Ltd is not known here"));
}

#[test]
fn names_are_those_that_the_ca_may_give() {
    let pki = OpensslPki::new();
    pki.root("root", "/O=Example/CN=root");
    let constraints = format!(
        "{CA}nameConstraints=critical,permitted;DNS:example.com,permitted;IP:192.0.2.0/255.255.255.0,\
         permitted;dirName:dn,excluded;DNS:secret.example.com,permitted;email:.example.com,\
         permitted;URI:.example.com\n[dn]\nO=Example\n"
    );
    pki.issue("sub", "/O=Example/CN=sub", "root", &constraints, &[]);
    for (name, subject, alternative, verdict) in [
        ("a", "/O=Example/CN=a", "DNS:a.example.com", Ok(3)),
        ("b", "/O=EXAMPLE/OU=Lab/CN=b", "IP:192.0.2.7", Ok(3)),
        ("c", "/CN=c", "DNS:c.example.com", Err("does not allow the name cn=c")),
        ("d", "/O=Example/CN=d", "DNS:d.example.org", Err("does not allow the name d.example.org")),
        ("e", "/O=Example/CN=e", "DNS:e.secret.example.com", Err("does not allow the name e.secret")),
        ("f", "/O=Example/CN=f", "IP:198.51.100.7", Err("does not allow the name 198.51.100.7")),
        ("g", "/O=Example/CN=g", "email:g@mail.example.com", Ok(3)),
        ("h", "/O=Example/CN=h", "email:h@example.org", Err("does not allow the name h@example.org")),
        ("i", "/O=Example/CN=i", "URI:https://www.example.com:444/i", Ok(3)),
        ("j", "/O=Example/CN=j", "URI:https://www.example.org/j", Err("does not allow the name https")),
        ("k", "/O=Example/CN=k/emailAddress=k@example.org", "DNS:k.example.com", Err("k@example.org")),
    ] {
        pki.issue(name, subject, "sub", &format!("{DEVICE}subjectAltName={alternative}\n"), &[]);
        both(&pki, name, &["sub"], &["root"], now(), verdict);
    }
    // Other spellings of what is excluded, and what cannot be told to be something else.
    let excluded =
        format!("{CA}nameConstraints=critical,excluded;DNS:secret.example.com,excluded;URI:.example.com\n");
    pki.issue("not", "/O=Example/CN=not", "root", &excluded, &[]);
    for (name, alternative, verdict) in [
        ("m", "DNS:m.secret.example.com.", Err("does not allow the name m.secret.example.com.")),
        ("n", "URI:urn:n", Err("does not allow the name urn:n")),
        ("o", "URI:https://www.example.com./o", Err("does not allow the name https")),
        ("p", "URI:https://www.example.org/p", Ok(3)),
    ] {
        let extensions = format!("{DEVICE}subjectAltName={alternative}\n");
        pki.issue(name, &format!("/O=Example/CN={name}"), "not", &extensions, &[]);
        judge(&pki, name, &["not"], &["root"], &Rules::at(now()), verdict);
    }
    let unknown = format!("{CA}nameConstraints=critical,permitted;RID:1.2.3.4\n");
    pki.issue("odd", "/O=Example/CN=odd", "root", &unknown, &[]);
    pki.issue("l", "/O=Example/CN=l", "odd", DEVICE, &[]);
    judge(&pki, "l", &["odd"], &["root"], &Rules::at(now()), Err("critical extension 2.5.29.30"));
}

#[test]
fn the_search_ends() {
    let pki = OpensslPki::new();
    pki.root("root", "/CN=root");
    // Two that certify each other, and lead nowhere.
    for (name, subject) in [("a", "/CN=a"), ("b", "/CN=b")] {
        pki.root(name, subject);
    }
    for (name, subject, issuer) in [("a-by-b", "/CN=a", "b"), ("b-by-a", "/CN=b", "a")] {
        let key = format!("{}.key", &name[..1]);
        std::fs::copy(pki.file(&key), pki.file(&format!("{name}.key"))).unwrap();
        pki.issue(name, subject, issuer, CA, &[]);
    }
    pki.issue("r1", "/CN=r1", "a", DEVICE, &[]);
    both(&pki, "r1", &["a-by-b", "b-by-a"], &["root"], now(), Err("is not known here"));
    // One way leads up all the same. OpenSSL tries but one.
    std::fs::copy(pki.file("b.key"), pki.file("b-by-root.key")).unwrap();
    pki.issue("b-by-root", "/CN=b", "root", CA, &[]);
    judge(&pki, "r1", &["a-by-b", "b-by-a", "b-by-root"], &["root"], &Rules::at(now()), Ok(4));

    // Many of one name, all of which sign for each other: a peer may send them.
    let mut crowd = Vec::new();
    for n in 0..12 {
        let name = format!("crowd-{n}");
        pki.root(&name, "/CN=crowd");
        crowd.push(name);
    }
    pki.issue("lost", "/CN=lost", "crowd-11", NAMELESS, &[]);
    let crowd: Vec<&str> = crowd.iter().map(String::as_str).collect();
    judge(&pki, "lost", &crowd, &["root"], &Rules::at(now()), Err("the certificate of"));
    judge(&pki, "lost", &crowd, &["crowd-11"], &Rules::at(now()), Ok(2));

    // Longer than any in use.
    let mut above = "root".to_owned();
    let mut deep = Vec::new();
    for n in 0..9 {
        let name = format!("deep-{n}");
        pki.issue(&name, &format!("/CN={name}"), &above, CA, &[]);
        deep.push(name.clone());
        above = name;
    }
    let deep: Vec<&str> = deep.iter().map(String::as_str).collect();
    pki.issue("r9", "/CN=r9", "deep-8", DEVICE, &[]);
    pki.issue("r7", "/CN=r7", "deep-7", DEVICE, &[]);
    judge(&pki, "r7", &deep, &["root"], &Rules::at(now()), Ok(10));
    judge(&pki, "r9", &deep, &["root"], &Rules::at(now()), Err("the path above it is too long"));
}
