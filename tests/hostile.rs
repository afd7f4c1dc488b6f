//! What no honest client sends: the right refusal, no panic, and no more of the token than needed.

mod support;

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokenca::pki::{Hash, KeyTransport, Name, SigningKey, Time};
use tokenca::scep::client::{self, Message, Parties, Style};
use tokenca::scep::{self, CertRep, Cipher, FailInfo, MessageType, PkiStatus, TransactionId};
use tokenca::store::sqlite::Sqlite;
use tokenca::store::{Class, Cost, NewEnrollment, Password, Reuse, Store, Submission};

use support::Ca;
use support::device::{CaCerts, Device};
use support::http::{self, Response};
use support::keys::{TestKey, self_signed};
use support::wire::{self, Der, Forgery};

/// A server, and what it is asked by.
struct Scene {
    ca: Ca,
    certs: CaCerts,
}

/// Private-key operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spent {
    signatures: u64,
    decryptions: u64,
}

/// What a client learns from a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    status: PkiStatus,
    fail_info: Option<FailInfo>,
    text: Option<String>,
    octets: usize,
}

impl Scene {
    fn new(lines: &[&str]) -> Self {
        Self::of(Ca::new(lines))
    }

    fn of(ca: Ca) -> Self {
        Self { certs: CaCerts::of(&ca), ca }
    }

    fn post(&self, message: &[u8]) -> Response {
        http::post(self.ca.address(), PKI_OPERATION, message)
    }

    /// Sends what gets a CertRep.
    #[track_caller]
    fn told(&self, message: &[u8]) -> Told {
        let response = self.post(message).is(200, scep::PKI_MESSAGE);
        let reply = CertRep::decode(&response.body, &[&self.certs.signer]).expect("a CertRep");
        Told {
            status: reply.status(),
            fail_info: reply.fail_info(),
            text: reply.fail_info_text().map(str::to_owned),
            octets: response.body.len(),
        }
    }

    #[track_caller]
    fn refused(&self, message: &[u8], fail_info: FailInfo, text: &str) {
        let told = self.told(message);
        let got = (told.status, told.fail_info, told.text.as_deref());
        assert_eq!(got, (PkiStatus::Failure, Some(fail_info), Some(text)));
    }

    /// What the token has done since the server started.
    fn spent(&self) -> Spent {
        let tokens = self.ca.json("show crypto pki token");
        let count = |what: &str| tokens[0][what].as_u64().unwrap_or_else(|| panic!("{what} in {tokens}"));
        Spent { signatures: count("signatures"), decryptions: count("decryptions") }
    }

    /// What `ask` costs the token.
    fn cost(&self, ask: impl FnOnce()) -> Spent {
        let before = self.spent();
        ask();
        let after = self.spent();
        Spent {
            signatures: after.signatures - before.signatures,
            decryptions: after.decryptions - before.decryptions,
        }
    }

    /// What the database has, as an operator sees it.
    fn recorded(&self) -> (Value, Value) {
        (self.ca.json("show crypto pki server"), self.requests())
    }

    fn requests(&self) -> Value {
        self.ca.json("crypto pki server mycs info requests")
    }

    /// The serial numbers of the certificates issued to requests.
    fn serials(&self) -> Vec<String> {
        let requests = self.requests();
        let requests = requests.as_array().expect("a list");
        requests.iter().filter_map(|row| row["serial"].as_str().map(str::to_owned)).collect()
    }

    fn request(&self, device: &Device) -> Message {
        device.message(&self.certs, MessageType::PkcsReq, &device.csr(None))
    }

    /// A PKCSReq of `device` with this subject, transactionID and challenge.
    fn request_as(&self, device: &Device, subject: &Name, id: &[u8], challenge: Option<&str>) -> Message {
        let csr = client::csr(subject, &device.key, Hash::Sha256, challenge, &[]).expect("a PKCS#10");
        let parties = Parties { ca: &self.certs.decrypter, signer: &device.signer, key: &device.key };
        let id = TransactionId::new(id);
        client::message(MessageType::PkcsReq, &id, &csr, &parties, Style::default())
            .expect("the key signs")
            .expect("the CA decrypts")
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if !thread::panicking() {
            let log = self.ca.log();
            assert!(!log.contains("panic"), "{log}");
        }
    }
}

const PKI_OPERATION: &str = "/scep?operation=PKIOperation";
const FREE: Spent = Spent { signatures: 0, decryptions: 0 };
/// A reply.
const SIGNED: Spent = Spent { signatures: 1, decryptions: 0 };

#[test]
fn octets_that_are_no_message() {
    let scene = Scene::new(&["grant auto"]);
    let device = Device::new("CN=device");
    let message = scene.request(&device).octets;
    let before = scene.recorded();
    let mut refused = Vec::new();
    // Every length near the ends, where a length octet or a signature is cut, and some between.
    let lengths = (0..40).chain((40..message.len()).step_by(17)).chain(message.len() - 20..message.len());
    refused.extend(lengths.map(|length| message[..length].to_vec()));
    refused.push(message.iter().rev().copied().collect());
    // Nested as deep as fits, with and without lengths, and without an end.
    refused.push(b"\x30\x80".repeat(30_000));
    refused.push(b"\x24\x80".repeat(30_000));
    refused.push(nested(0x30, 12_000));
    refused.push([&b"\x30\x80"[..], &b"\x04\x01a".repeat(20_000)].concat());
    // Lengths that promise more than there is, or than there could be.
    refused.push(b"\x30\x84\x7f\xff\xff\xff\x06\x09".to_vec());
    refused.push(b"\x30\x88\xff\xff\xff\xff\xff\xff\xff\xff\x06".to_vec());
    refused.push([&b"\x30\xff"[..], &[0xff; 200]].concat());
    refused.push(vec![0; 60_000]);
    refused.push(b"<html>no</html>".to_vec());
    // Many small elements.
    refused.push([wire::header(0x30, 60_000), b"\x05\x00".repeat(30_000)].concat());
    let cost = scene.cost(|| {
        for octets in &refused {
            let response = scene.post(octets);
            assert_eq!(response.status, 400, "{} octets", octets.len());
            assert!(response.body.len() < 200, "{}", response.text());
        }
    });
    assert_eq!(cost, FREE);
    assert_eq!(scene.recorded(), before);
    assert_eq!(device.enrol(&scene.ca, None).status, PkiStatus::Success);
}

fn nested(tag: u8, depth: usize) -> Vec<u8> {
    (0..depth).fold(Vec::new(), |inner, _| {
        let mut outer = wire::header(tag, inner.len());
        outer.extend(inner);
        outer
    })
}

#[test]
fn requests_that_are_too_large() {
    let scene = Scene::new(&["grant auto"]);
    let zeros = vec![0; 1 << 20];
    let chunked = |length: usize| {
        let head = format!(
            "POST {PKI_OPERATION} HTTP/1.1\r\nHost: ca\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        let chunk = [format!("{length:x}\r\n").as_bytes(), &zeros[..length], b"\r\n0\r\n\r\n"].concat();
        http::raw(scene.ca.address(), &[head.as_bytes(), &chunk].concat())
    };
    let cost = scene.cost(|| {
        // 64 KiB by default; what is announced as larger is not read.
        assert_eq!(scene.post(&zeros[..64 << 10]).status, 400);
        assert_eq!(scene.post(&zeros[..(64 << 10) + 1]).status, 413);
        assert_eq!(chunked(64 << 10).status, 400);
        assert_eq!(chunked(70 << 10).status, 413);
        // In a request line too.
        let target = format!("{PKI_OPERATION}&message={}", "A".repeat(200_000));
        assert!(matches!(http::get(scene.ca.address(), &target, &[]).status, 400 | 414 | 431));
    });
    assert_eq!(cost, FREE);
    // A new size makes a new listener.
    let message = scene.request(&Device::new("CN=device")).octets;
    scene.ca.configure("ip http bind 127.0.0.1\nip http max-request-size 1048576\n");
    let address = support::until("HTTP is served again", || listening(&scene.ca));
    assert_eq!(http::post(&address, PKI_OPERATION, &zeros).status, 400);
    assert_eq!(http::post(&address, PKI_OPERATION, &message).status, 200);
}

/// Where the server listens, when it does by its present configuration.
fn listening(ca: &Ca) -> Option<String> {
    let status = ca.json("show ip http server status");
    let address = status["listening"].as_str()?;
    TcpStream::connect(address).ok().map(|_| address.to_owned())
}

#[test]
fn messages_that_their_signer_has_not_signed() {
    let scene = Scene::new(&["grant auto"]);
    let (device, other) = (Device::new("CN=device"), Device::new("CN=other"));
    let message = scene.request(&device).octets;
    let before = scene.recorded();
    let forge = |bend: &dyn Fn(&mut Forgery) -> Vec<u8>| bend(&mut Forgery::of(&message));
    let forgeries = [
        forge(&|f| {
            f.signature()[100] ^= 1;
            f.octets()
        }),
        forge(&|f| {
            f.signature().clear();
            f.octets()
        }),
        // Another's key, and another's certificate.
        forge(&|f| f.signed(&other.key)),
        forge(&|f| {
            let theirs = Forgery::of(&scene.request(&other).octets).message.at(&[1, 0, 3]).clone();
            *f.message.at(&[1, 0, 3]) = theirs;
            f.octets()
        }),
        // No certificate at all.
        forge(&|f| {
            f.message.at(&[1, 0, 3]).parts().clear();
            f.octets()
        }),
        // The content, the digest and the attributes changed after signing.
        forge(&|f| {
            f.encrypted_content()[0] ^= 1;
            f.octets()
        }),
        forge(&|f| {
            f.encrypted_content()[0] ^= 1;
            f.signed_as_is(&device.key)
        }),
        forge(&|f| {
            f.attribute(wire::MESSAGE_DIGEST).value()[0] ^= 1;
            f.signed_as_is(&device.key)
        }),
        forge(&|f| {
            f.attribute(wire::TRANSACTION_ID).value()[0] ^= 1;
            f.octets()
        }),
        forge(&|f| {
            *f.attribute(wire::MESSAGE_TYPE).value() = b"17".to_vec();
            f.octets()
        }),
    ];
    for (n, forgery) in forgeries.iter().enumerate() {
        let cost = scene.cost(|| {
            scene.refused(forgery, FailInfo::BadMessageCheck, "the message cannot be verified");
        });
        assert_eq!(cost, SIGNED, "forgery {n}");
    }
    assert_eq!(scene.recorded(), before);
    assert_eq!(scene.told(&forge(&|f| f.signed(&device.key))).status, PkiStatus::Success);
}

#[test]
fn message_types_that_there_are_not() {
    let scene = Scene::new(&["grant auto"]);
    let device = Device::new("CN=device");
    let message = scene.request(&device).octets;
    let before = scene.recorded();
    let cost = scene.cost(|| {
        for kind in
            ["0", "1", "2", "4", "16", "18", "23", "99", "019", "19 ", " 19", "19\0", "+19", "", "PKCSReq"]
        {
            let mut forgery = Forgery::of(&message);
            *forgery.attribute(wire::MESSAGE_TYPE).value() = kind.as_bytes().to_vec();
            let response = scene.post(&forgery.signed(&device.key));
            assert_eq!(response.status, 400, "{kind:?}: {}", response.text());
        }
        // An INTEGER 19, and no messageType.
        let mut forgery = Forgery::of(&message);
        *forgery.attribute(wire::MESSAGE_TYPE) = Der::primitive(0x02, &[19]);
        assert_eq!(scene.post(&forgery.signed(&device.key)).status, 400);
        let mut forgery = Forgery::of(&message);
        *forgery.whole_attribute(wire::MESSAGE_TYPE) = Der::parse(b"\x30\x07\x06\x03\x2a\x03\x04\x31\x00");
        assert_eq!(scene.post(&forgery.signed(&device.key)).status, 400);
    });
    assert_eq!(cost, FREE);
    // A reply is known, but no request.
    let mut forgery = Forgery::of(&message);
    *forgery.attribute(wire::MESSAGE_TYPE).value() = b"3".to_vec();
    let cost = scene.cost(|| {
        scene.refused(&forgery.signed(&device.key), FailInfo::BadRequest, "not a request");
    });
    assert_eq!(cost, SIGNED);
    assert_eq!(scene.recorded(), before);
}

/// Whatever is wrong inside an envelope, a client learns the same and the token works the same.
#[test]
fn envelopes_that_are_bent() {
    let scene = Scene::new(&["grant auto"]);
    let device = Device::new("CN=device");
    let message = scene.request(&device).octets;
    let before = scene.recorded();
    let forge = |bend: &dyn Fn(&mut Forgery)| {
        let mut forgery = Forgery::of(&message);
        bend(&mut forgery);
        forgery.signed(&device.key)
    };
    let key_of = |octets: &[u8]| {
        let key = scene.certs.decrypter.public_key();
        key.encrypt(KeyTransport::Pkcs1v15, octets).expect("an RSA key")
    };
    let other_csr = |bend: &dyn Fn(&mut Vec<u8>)| {
        let mut csr = device.csr(None);
        bend(&mut csr);
        device.message(&scene.certs, MessageType::PkcsReq, &csr).octets
    };
    let forgeries = [
        // The encrypted key: a bit, all of it, its length, its range.
        forge(&|f| f.encrypted_key()[200] ^= 1),
        forge(&|f| f.encrypted_key().fill(0x55)),
        forge(&|f| f.encrypted_key().fill(0)),
        forge(&|f| f.encrypted_key().fill(0xff)),
        forge(&|f| f.encrypted_key().truncate(128)),
        forge(&|f| f.encrypted_key().push(0)),
        forge(&|f| f.encrypted_key().clear()),
        // Well padded, but not a key of this cipher.
        forge(&|f| *f.encrypted_key() = key_of(&[7; 16])),
        forge(&|f| *f.encrypted_key() = key_of(&[7; 8])),
        forge(&|f| *f.encrypted_key() = key_of(&[7; 32])),
        forge(&|f| *f.encrypted_key() = key_of(&[])),
        // The content: its padding, its length, its beginning.
        forge(&|f| *f.encrypted_content().last_mut().expect("octets") ^= 1),
        forge(&|f| {
            let length = f.encrypted_content().len();
            f.encrypted_content()[length - 17] ^= 0x80;
        }),
        forge(&|f| {
            let length = f.encrypted_content().len();
            f.encrypted_content().truncate(length - 16);
        }),
        forge(&|f| {
            f.encrypted_content().pop();
        }),
        forge(&|f| f.encrypted_content().clear()),
        forge(&|f| f.iv()[0] ^= 1),
        // What is in it: no PKCS#10, nothing, and one whose own signature is wrong.
        device.message(&scene.certs, MessageType::PkcsReq, b"not DER").octets,
        device.message(&scene.certs, MessageType::PkcsReq, b"").octets,
        other_csr(&|csr| *csr.last_mut().expect("octets") ^= 1),
        other_csr(&|csr| csr.truncate(200)),
    ];
    let told: Vec<(Told, Spent)> = forgeries
        .iter()
        .map(|forgery| {
            let mut told = None;
            let cost = scene.cost(|| told = Some(scene.told(forgery)));
            (told.expect("an answer"), cost)
        })
        .collect();
    let (first, cost) = &told[0];
    assert_eq!((first.status, first.fail_info), (PkiStatus::Failure, Some(FailInfo::BadMessageCheck)));
    assert_eq!(*cost, Spent { signatures: 1, decryptions: 1 });
    for (n, other) in told.iter().enumerate() {
        assert_eq!(*other, told[0], "forgery {n}");
    }
    // For another recipient: that is no secret, and nothing is decrypted.
    let cost = scene.cost(|| {
        let octets = forge(&|f| f.recipient_serial().push(1));
        scene.refused(&octets, FailInfo::BadMessageCheck, "the message is for another recipient");
    });
    assert_eq!(cost, SIGNED);
    assert_eq!(scene.recorded(), before);
    assert_eq!(scene.told(&message).status, PkiStatus::Success);
}

#[test]
fn challenges_that_are_not_valid() {
    let scene = Scene::new(&[]);
    let device = Device::new("CN=device");
    let ask = |n: u32, challenge: &str| {
        let subject = support::keys::name(&format!("CN=device {n}"));
        scene.request_as(&device, &subject, format!("t{n}").as_bytes(), Some(challenge)).octets
    };
    let refused = |octets: &[u8]| {
        scene.refused(octets, FailInfo::BadRequest, "the challenge password is not valid");
    };
    let password = scene.ca.password();
    refused(&ask(1, "wrong"));
    refused(&ask(1, &password.to_ascii_uppercase().repeat(2)));
    assert_eq!(scene.told(&ask(2, &password)).status, PkiStatus::Success);
    // Used, also by the same key for another request.
    refused(&ask(3, &password));
    // Expired a minute ago.
    let store = Sqlite::open(&scene.ca.state().join("tokenca.db")).expect("the database");
    let now = Time::now();
    let expired = Password {
        digest: tokenca::ra::challenge_digest(&store, "expired").expect("a digest"),
        subject: None,
        created: now.minus(Duration::from_secs(120)),
        expires: now.minus(Duration::from_secs(60)),
        used_by: None,
    };
    store.add_password("mycs", expired).expect("recorded");
    refused(&ask(4, "expired"));
    // For another subject.
    let words = ["crypto", "pki", "server", "mycs", "password", "generate", "5", "subject", "CN=b"];
    let bound: Value =
        serde_json::from_str(&scene.ca.cli(&[&["--json"], &words[..]].concat())).expect("JSON");
    refused(&ask(5, bound["password"].as_str().expect("a password")));
    assert_eq!(scene.serials().len(), 1);
    // Nobody who has a challenge that is not valid gets into the queue of the operator.
    assert_eq!(scene.requests().as_array().map(Vec::len), Some(1));
}

#[test]
fn fifty_at_once_on_one_password() {
    let scene = Scene::new(&[]);
    let device = Device::new("CN=device");
    let password = scene.ca.password();
    let ask = |n: usize| {
        let subject = support::keys::name(&format!("CN=device {n}"));
        scene.request_as(&device, &subject, format!("t{n}").as_bytes(), Some(&password)).octets
    };
    let requests: Vec<_> = (0..50).map(ask).collect();
    let start = Barrier::new(requests.len());
    let told: Vec<Told> = thread::scope(|scope| {
        let send = |octets| {
            start.wait();
            scene.told(octets)
        };
        let threads: Vec<_> = requests.iter().map(|octets| scope.spawn(move || send(octets))).collect();
        threads.into_iter().map(|thread| thread.join().expect("an answer")).collect()
    });
    let granted = told.iter().filter(|told| told.status == PkiStatus::Success).count();
    assert_eq!(granted, 1);
    let refused = told.iter().filter(|told| told.fail_info == Some(FailInfo::BadRequest)).count();
    assert_eq!(refused, 49);
    assert_eq!(scene.serials().len(), 1);
    assert_eq!(scene.requests().as_array().map(Vec::len), Some(1));
}

#[test]
fn replays() {
    let scene = Scene::new(&["grant auto"]);
    let device = Device::new("CN=device");
    let message = scene.request(&device).octets;
    let first = scene.post(&message).is(200, scep::PKI_MESSAGE).body;
    let cost = scene.cost(|| (0..10).for_each(|_| assert_eq!(scene.post(&message).body, first)));
    assert_eq!(cost, FREE);
    // The same request in new messages: the same certificate.
    let csr = device.csr(None);
    let certificate = |csr: &[u8]| device.ask(&scene.ca, MessageType::PkcsReq, csr).certificate();
    let serials: BTreeSet<_> = (0..5).map(|_| certificate(&csr).serial().to_string()).collect();
    assert_eq!(serials.len(), 1);
    assert_eq!(scene.serials().len(), 1);
}

#[test]
fn polls_with_another_key() {
    let scene = Scene::new(&[]);
    let (device, mut thief) = (Device::new("CN=device"), Device::new("CN=device"));
    device.enrol(&scene.ca, None).is_pending();
    thief.transaction = device.transaction.clone();
    thief.poll(&scene.ca).is_failure(FailInfo::BadCertId);
    device.poll(&scene.ca).is_pending();
    scene.ca.grant(scene.ca.pending());
    thief.poll(&scene.ca).is_failure(FailInfo::BadCertId);
    // The right key under another transactionID.
    let id = std::mem::replace(&mut thief.transaction, TransactionId::new(b"another"));
    thief.poll(&scene.ca).is_failure(FailInfo::BadCertId);
    assert_eq!(id, device.transaction);
    let certificate = device.poll(&scene.ca).certificate();
    assert_eq!(certificate.public_key(), device.key.public_key());
}

/// `grant auto` is for devices: who wants to issue certificates waits for the operator.
#[test]
fn requests_for_more_than_a_device_needs() {
    let scene = Scene::new(&["grant auto"]);
    let ask = |subject: &str, extensions: &[&[u8]]| {
        let device = Device::new(subject);
        let extensions: Vec<Vec<u8>> = extensions.iter().map(|octets| octets.to_vec()).collect();
        let csr = client::csr(&device.subject, &device.key, Hash::Sha256, None, &extensions);
        device.ask(&scene.ca, MessageType::PkcsReq, &csr.expect("a PKCS#10"))
    };
    let class = |n: usize| scene.requests()[n]["class"].as_str().map(str::to_owned);
    // basicConstraints with CA:TRUE, and keyUsage with keyCertSign.
    ask("CN=sub", &[b"\x30\x0f\x06\x03\x55\x1d\x13\x01\x01\xff\x04\x05\x30\x03\x01\x01\xff"]).is_pending();
    assert_eq!(class(0).as_deref(), Some("subordinate-ca"));
    ask("CN=sign", &[b"\x30\x0e\x06\x03\x55\x1d\x0f\x01\x01\xff\x04\x04\x03\x02\x02\x04"]).is_pending();
    assert_eq!(class(1).as_deref(), Some("subordinate-ca"));
    ask("CN=ra, OU=ioscs RA", &[]).is_pending();
    assert_eq!(class(2).as_deref(), Some("ra"));
    // An extendedKeyUsage that ends too early.
    ask("CN=device", &[b"\x30\x0c\x06\x03\x55\x1d\x25\x04\x05\x30\x05\x06\x03\x2a"])
        .is_failure(FailInfo::BadRequest);
    // One with OCSPSigning and anyExtendedKeyUsage, and a UPN: dropped.
    let certificate = ask(
        "CN=device",
        &[
            b"\x30\x19\x06\x03\x55\x1d\x25\x04\x12\x30\x10\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x09\x06\x04\x55\x1d\x25\x00",
            b"\x30\x20\x06\x03\x55\x1d\x11\x04\x19\x30\x17\xa0\x15\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x14\x02\x03\xa0\x07\x0c\x05admin",
        ],
    )
    .certificate();
    assert!(!certificate.der().windows(5).any(|five| five == b"admin"));
    assert!(!certificate.der().windows(8).any(|eight| eight == b"\x2b\x06\x01\x05\x05\x07\x03\x09"));
    assert!(certificate.extensions().basic_constraints().is_none_or(|constraints| !constraints.ca));
    assert_eq!(scene.serials().len(), 1);
}

#[test]
fn weak_keys_and_old_algorithms() {
    let scene = Scene::new(&["grant auto"]);
    let before = scene.recorded();
    for key in [TestKey::from_pem(RSA_512), TestKey::rsa(1024)] {
        let mut device = Device::new("CN=weak");
        device.signer = self_signed(&key, "CN=weak", Hash::Sha256, true);
        device.key = key;
        scene.refused(&scene.request(&device).octets, FailInfo::BadAlg, "the key is too weak");
    }
    let mut device = Device::new("CN=old");
    let styles = [
        Style { cipher: Cipher::Des, ..Style::default() },
        Style { digest: Hash::Md5, ..Style::default() },
        Style { digest: Hash::Md5, cipher: Cipher::Des, ..Style::default() },
    ];
    let csr = device.csr(None);
    for style in styles {
        device.style = style;
        let octets = device.message(&scene.certs, MessageType::PkcsReq, &csr).octets;
        let cost = scene.cost(|| {
            scene.refused(&octets, FailInfo::BadAlg, "the algorithm is not allowed");
        });
        assert_eq!(cost, SIGNED, "{style:?}");
    }
    // A PKCS#10 signed with MD5 in a message that is not.
    device.style.digest = Hash::Md5;
    let csr = device.csr(None);
    device.style = Style::default();
    let octets = device.message(&scene.certs, MessageType::PkcsReq, &csr).octets;
    scene.refused(&octets, FailInfo::BadAlg, "the digest is not allowed");
    assert_eq!(scene.recorded(), before);
}

/// Made with `openssl genrsa -traditional 512`.
const RSA_512: &str = "-----BEGIN RSA PRIVATE KEY-----
MIIBOwIBAAJBANPyYjHokbclI3f9Ie64JeM8IYlm0bVQR3YB9jnQAwieLMwnrqZE
7lI4qp/MsFUJTPUdBBxcKwmSy+s12GnpN78CAwEAAQJBAJ4evU1YoaVN6rkwuyj6
byGpEagNcjRfkQCkFAsreafp5Sw5/4ZtBO75spxAlDeuXwmp/LMYGT7YtUqvUoso
TUECIQD6ibf3S1CLq94pqtDAcwk8F4NhGQjcJpCLvae3dfIenwIhANiRSIQj+CdA
53pYIW3U4uyYoI/eujU90iXFaNJSlvLhAiEA3+9M4dsNqWn7b17gq8Om03Fo2tcX
lj9aH61rRY5E1Z0CIFkm/cZAFHD8XA5WZ3SSVdR2RGrVkqxGRdN8v9kNXMyhAiA7
pcStWq5eEeuD5DFkb+U5GrKG2iqNsLdawMI+ciy2CQ==
-----END RSA PRIVATE KEY-----
";

/// Clients that send a head or a body octet by octet are cut off, and others are served meanwhile.
#[test]
fn slow_clients() {
    let scene = Scene::new(&["grant auto"]);
    let head = format!("POST {PKI_OPERATION} HTTP/1.1\r\nHost: ca\r\nContent-Length: 3000\r\n");
    let starts = [head.clone(), format!("{head}\r\n"), String::new(), "G".to_owned()];
    let address = scene.ca.address().to_owned();
    let cut_off = thread::scope(|scope| {
        let threads: Vec<_> = (0..100)
            .map(|n| {
                let (start, address) = (&starts[n % starts.len()], &address);
                scope.spawn(move || time_until_cut_off(address, start))
            })
            .collect();
        for n in 0..5 {
            let began = Instant::now();
            let device = Device::new(&format!("CN=device {n}"));
            assert_eq!(device.enrol(&scene.ca, None).status, PkiStatus::Success);
            assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        }
        threads.into_iter().map(|thread| thread.join().expect("a time")).collect::<Vec<_>>()
    });
    // 10 seconds are given; a machine under load may need more to notice.
    let longest = cut_off.iter().max().expect("a hundred times");
    assert!(*longest < Duration::from_secs(20), "{longest:?}");
    assert_eq!(Device::new("CN=after").enrol(&scene.ca, None).status, PkiStatus::Success);
}

/// Sends `start` and then an octet now and then, until the server has closed the connection.
fn time_until_cut_off(address: &str, start: &str) -> Duration {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_millis(500))).expect("a time-out");
    let began = Instant::now();
    stream.write_all(start.as_bytes()).expect("sent");
    let mut answer = [0; 1024];
    while began.elapsed() < Duration::from_secs(60) {
        match stream.read(&mut answer) {
            Ok(0) => return began.elapsed(),
            // Some answer before closing.
            Ok(_) => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return began.elapsed(),
        }
        // An empty start is a client that never sends anything.
        if !start.is_empty() && stream.write_all(b"a").is_err() {
            return began.elapsed();
        }
    }
    panic!("a client of {start:?} was not cut off");
}

/// Whatever is in a name or a transactionID, terminals, files and the database only see text.
#[test]
fn names_that_do_harm() {
    let scene = Scene::new(&[]);
    let device = Device::new("CN=device");
    let harm = [
        "\u{1b}[2J\u{1b}]0;owned\u{7}",
        "line\r\n2      granted   AAAA",
        "\u{202e}moc.elpmaxe\u{202c}\u{2066}\u{200b}",
        "'); DROP TABLE enrollments; --",
        "<script>alert(1)</script>",
        "../../../../etc/passwd",
        "a\0b",
        "a, CN=admin + OU=x",
        "%n%s${HOME}`id`$(id)",
    ];
    for (n, harm) in harm.iter().enumerate() {
        let request = scene.request_as(&device, &common_name(harm), format!("{harm}{n}").as_bytes(), None);
        assert_eq!(scene.told(&request.octets).status, PkiStatus::Pending, "{harm:?}");
    }
    // No text at all: a BMPString with half a character, a UTF8String that is not UTF-8.
    for value in [b"\x1e\x03\xd8\x00a".as_slice(), b"\x0c\x02\xff\xfe"] {
        let request = scene.request_as(&device, &name_with(value), b"\xff\xfe\x00", None);
        assert_eq!(scene.told(&request.octets).status, PkiStatus::Pending, "{value:?}");
    }
    let requests = scene.requests();
    assert_eq!(requests.as_array().map(Vec::len), Some(harm.len() + 2));
    for row in requests.as_array().expect("a list") {
        for field in ["subject", "transaction", "source"] {
            let text = row[field].as_str().expect("a text");
            assert!(!text.chars().any(is_harmful), "{field}: {text:?}");
        }
    }
    let list = "crypto pki server mycs info requests";
    assert!(!scene.ca.exec(list).replace('\n', "").chars().any(is_harmful));
    assert_eq!(scene.ca.exec(list).lines().filter(|line| line.contains("pending")).count(), harm.len() + 2);
    // Granted, with a file for each certificate.
    scene.ca.exec("crypto pki server mycs grant all");
    let serials: BTreeSet<_> = scene.serials().into_iter().collect();
    assert_eq!(serials.len(), harm.len() + 2);
    assert!(!scene.ca.log().replace('\n', "").chars().any(is_harmful));
    assert_eq!(device.enrol(&scene.ca, None).status, PkiStatus::Pending);
}

fn common_name(value: &str) -> Name {
    name_with(&[&wire::header(0x0c, value.len()), value.as_bytes()].concat())
}

/// A name with one commonName, its value given with tag and length.
fn name_with(value: &[u8]) -> Name {
    let wrap = |tag, octets: &[u8]| [&wire::header(tag, octets.len()), octets].concat();
    let pair = wrap(0x30, &[b"\x06\x03\x55\x04\x03", value].concat());
    Name::from_der(&wrap(0x30, &wrap(0x31, &pair)))
}

fn is_harmful(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
}

/// As if a hundred thousand devices had asked and nobody had granted.
#[test]
fn a_hundred_thousand_requests_wait() {
    const COUNT: u64 = 100_000;
    let mut scene = Scene::new(&["scep max-pending 100001"]);
    let device = Device::new("CN=device");
    let csr = device.csr(None);
    scene.ca.stop();
    fill(&scene.ca, &csr, COUNT);
    let began = Instant::now();
    scene.ca.start();
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?} to start", began.elapsed());
    let status = scene.ca.json("show crypto pki server");
    assert_eq!(status[0]["pending"].as_u64(), Some(COUNT), "{status}");
    let before = memory(&scene.ca);
    // One more is taken, and none beyond that; a password passes by.
    let began = Instant::now();
    device.enrol(&scene.ca, None).is_pending();
    device.poll(&scene.ca).is_pending();
    let late = Device::new("CN=late");
    assert_eq!(scene.post(&scene.request(&late).octets).status, 503);
    let password = scene.ca.password();
    assert_eq!(late.enrol(&scene.ca, Some(&password)).status, PkiStatus::Success);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let after = memory(&scene.ca);
    assert!(after < before + (16 << 20), "{before} octets before, {after} after");
    let list = scene.ca.exec("crypto pki server mycs info requests");
    assert_eq!(list.lines().filter(|line| line.contains("pending")).count() as u64, COUNT + 1);
    // Listing costs memory while it lasts, and leaves none behind worth speaking of.
    let listed = memory(&scene.ca);
    assert!(listed < before + (128 << 20), "{before} octets before, {listed} after the list");
}

/// Puts requests that wait into the database.
fn fill(ca: &Ca, csr: &[u8], count: u64) {
    let store = Sqlite::open(&ca.state().join("tokenca.db")).expect("the database");
    // As many as share a commit.
    let threads = 64;
    thread::scope(|scope| {
        for thread in 0..threads {
            let store = &store;
            scope.spawn(move || {
                for n in (thread..count).step_by(threads as usize) {
                    let identity = Hash::Sha256.digest(&[&n.to_be_bytes()]).try_into().expect("32 octets");
                    let new = NewEnrollment {
                        server: "mycs".into(),
                        class: Class::Router,
                        authority: None,
                        transaction: format!("t{n}").into_bytes(),
                        identity,
                        csr: csr.to_vec(),
                        signer_key: identity,
                        subject: format!("CN=device {n}"),
                        source: "192.0.2.1".into(),
                        now: Time::now(),
                        reuse: Reuse::Never,
                        claim: None,
                        max_pending: count,
                        submission: Submission::Pend,
                        cost: Cost::default(),
                    };
                    store.submit(new).expect("recorded");
                }
            });
        }
    });
}

/// Octets of memory that the server has now.
fn memory(ca: &Ca) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", ca.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a VmRSS");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}
