//! Keys and archives that operators bring and take away: what OpenSSL and IOS wrote is read, what we write
//! OpenSSL reads.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use support::Ran;
use support::opinion::openssl;
use tokenca::pki::archive::pem::{self, Encryption};
use tokenca::pki::archive::pkcs12::{self, Form};
use tokenca::pki::archive::{Archive, ArchiveError};
use tokenca::pki::ber;
use tokenca::pki::crl::Crl;
use tokenca::pki::{Certificate, Csr, Curve, Hash, KeyKind, PrivateKey, PrivateKeyError, Serial, hex};

/// A directory of files that openssl and we write and read in turn.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.file(name), content).unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).expect("a text")
    }

    /// Makes `key.pem` and its PKCS#8, which is returned.
    #[track_caller]
    fn key(&self, how: &str) -> Vec<u8> {
        self.openssl(&format!("genpkey -algorithm {how} -out @key.pem")).success();
        self.openssl("pkcs8 -topk8 -nocrypt -in @key.pem -outform DER -out @key.p8").success();
        self.read("key.p8")
    }

    /// Makes `name.pem`, a certificate of the key in `key.pem`, and returns its DER.
    #[track_caller]
    fn certificate(&self, name: &str) -> Vec<u8> {
        self.openssl(&format!("req -x509 -new -key @key.pem -subj /CN={name} -days 9 -out @{name}.pem"))
            .success();
        self.openssl(&format!("x509 -in @{name}.pem -outform DER -out @{name}.der")).success();
        self.read(&format!("{name}.der"))
    }

    /// Runs openssl with these words; `@name` is a file here.
    #[track_caller]
    fn openssl(&self, words: &str) -> Ran {
        let words: Vec<String> = words
            .split_whitespace()
            .map(|word| match word.strip_prefix('@') {
                Some(name) => self.file(name).display().to_string(),
                None => word.to_owned(),
            })
            .collect();
        openssl(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// How openssl makes a key, and what it is then.
const KEYS: [(&str, KeyKind); 5] = [
    ("RSA -pkeyopt rsa_keygen_bits:1024", KeyKind::Rsa { bits: 1024 }),
    ("RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:3", KeyKind::Rsa { bits: 2048 }),
    ("EC -pkeyopt ec_paramgen_curve:P-256", KeyKind::Ec(Curve::P256)),
    ("EC -pkeyopt ec_paramgen_curve:P-384", KeyKind::Ec(Curve::P384)),
    ("EC -pkeyopt ec_paramgen_curve:P-521", KeyKind::Ec(Curve::P521)),
];

#[test]
fn keys_in_every_form() {
    let desk = Desk::new();
    for (how, kind) in KEYS {
        desk.key(how);
        let old = if matches!(kind, KeyKind::Rsa { .. }) { "rsa -traditional" } else { "ec" };
        desk.openssl(&format!("{old} -in @key.pem -outform DER -out @key.old")).success();
        desk.openssl("pkey -in @key.pem -pubout -outform DER -out @key.pub").success();

        let key = PrivateKey::from_pkcs8_der(&desk.read("key.p8")).unwrap();
        assert_eq!(key.kind(), kind, "{how}");
        assert_eq!(key.public_key().unwrap().spki_der(), desk.read("key.pub"), "{how}");
        assert_eq!(*key.to_pkcs8_der(), desk.read("key.p8"), "{how}");
        assert_eq!(*key.to_pkcs1_or_sec1_der(), desk.read("key.old"), "{how}");
        assert_eq!(format!("{key:?}"), format!("PrivateKey({kind})"));

        let read_old = match kind {
            KeyKind::Rsa { .. } => PrivateKey::from_pkcs1_der,
            _ => PrivateKey::from_sec1_der,
        };
        let again = read_old(&desk.read("key.old")).unwrap();
        assert_eq!(*again.to_pkcs8_der(), desk.read("key.p8"), "{how}");
    }
}

#[test]
fn a_spoiled_key_is_refused_or_the_same_key() {
    let desk = Desk::new();
    for (how, _) in [KEYS[0], KEYS[2]] {
        let good = desk.key(how);
        let public = PrivateKey::from_pkcs8_der(&good).unwrap().public_key().unwrap();
        for at in 0..good.len() {
            assert!(PrivateKey::from_pkcs8_der(&good[..at]).is_err(), "{how}: cut at {at}");
            for spoil in [1, 0x80] {
                let mut spoiled = good.clone();
                spoiled[at] ^= spoil;
                if let Ok(key) = PrivateKey::from_pkcs8_der(&spoiled) {
                    assert_eq!(key.public_key().unwrap(), public, "{how}: octet {at}");
                }
            }
        }
    }
}

#[test]
fn keys_that_are_not_for_us_say_why() {
    let desk = Desk::new();
    let refused = |how: &str| PrivateKey::from_pkcs8_der(&desk.key(how)).unwrap_err();
    assert!(matches!(refused("ED25519"), PrivateKeyError::UnknownAlgorithm(_)));
    assert_eq!(refused("EC -pkeyopt ec_paramgen_curve:secp256k1"), PrivateKeyError::UnknownCurve);
    let explicit = "EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit";
    assert_eq!(refused(explicit), PrivateKeyError::UnknownCurve);
    let primes = "RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_primes:3";
    assert_eq!(refused(primes), PrivateKeyError::MultiPrime);
}

fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

/// A text of `tests/vectors/ios`.
fn ios(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/ios").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// As IOS shows it.
fn fingerprint(der: &[u8]) -> String {
    let digits: Vec<char> = hex(&Hash::Md5.digest(&[der])).chars().collect();
    digits.chunks(8).map(String::from_iter).collect::<Vec<_>>().join(" ")
}

#[test]
fn archives_of_ios_open() {
    for name in ["mycs-2004-08-27.pem", "mycs-2004-09-02.pem"] {
        let text = ios(name);
        let archive = pem::archive(&text, Some(&secret("cisco123"))).unwrap();
        let [der] = &archive.certificates[..] else { panic!("{name}: {archive:?}") };
        assert!(text.contains(&format!("MD5 fingerprint: {};", fingerprint(der))), "{}", fingerprint(der));
        let certificate = Certificate::parse(der).unwrap();
        let key = archive.key.unwrap();
        assert_eq!(key.kind(), KeyKind::Rsa { bits: 1024 });
        assert_eq!(key.public_key().unwrap(), *certificate.public_key());
        certificate.verify_signed_by(certificate.public_key()).unwrap();

        assert_eq!(pem::archive(&text, None).unwrap_err(), ArchiveError::PassphraseNeeded);
        let wrong = pem::archive(&text, Some(&secret("cisco124"))).unwrap_err();
        assert!(is_wrong(&wrong), "{wrong:?}");
    }
}

#[test]
fn certificates_of_ios_verify() {
    for (name, kind) in [
        ("mycs-2004-08-27.pem", KeyKind::Rsa { bits: 1024 }),
        ("ese-ios-ca.pem", KeyKind::Rsa { bits: 1024 }),
        ("msca-root.pem", KeyKind::Rsa { bits: 512 }),
    ] {
        let text = ios(name);
        let der = pem::certificates(&text).unwrap().remove(0);
        assert!(text.contains(&format!("MD5 fingerprint: {};", fingerprint(&der))), "{}", fingerprint(&der));
        let certificate = Certificate::parse(&der).unwrap();
        assert_eq!(certificate.public_key().kind(), kind, "{name}");
        certificate.verify_signed_by(certificate.public_key()).unwrap();

        let mut forged = der.clone();
        *forged.last_mut().unwrap() ^= 1;
        let forged = Certificate::parse(&forged).unwrap();
        assert!(forged.verify_signed_by(certificate.public_key()).is_err(), "{name}");
    }
}

#[test]
fn pem_as_it_is_pasted() {
    let good = ios("mycs-2004-09-02.pem");
    let passphrase = secret("cisco123");
    let expected = pem::archive(&good, Some(&passphrase)).unwrap();
    let (certificate, key) = good.split_at(good.find("-----BEGIN RSA").unwrap());
    let indented: String = good.lines().map(|line| format!("  {line} \n")).collect();
    for (how, text) in [
        ("on one line", good.replace('\n', " ")),
        ("with other line ends", good.replace('\n', "\r\n")),
        ("of an old Mac", good.replace('\n', "\r")),
        ("with four dashes", good.replace("-----", "----")),
        ("without line ends at the dashes", good.replace("-----\n", "-----").replace("\n-----", "-----")),
        ("indented", indented),
        ("in the other order", format!("{key}{certificate}")),
        ("with talk between", format!("% Key:\n{key}% Enter BEGIN and END -- lines\n{certificate}quit\n")),
        ("with the certificate of another", format!("{}{good}", ios("ese-ios-ca.pem"))),
    ] {
        let archive = pem::archive(&text, Some(&passphrase)).unwrap_or_else(|error| panic!("{how}: {error}"));
        assert_eq!(archive.certificates[0], expected.certificates[0], "{how}");
        let [found, expected] = [&archive, &expected].map(|archive| archive.key.as_ref().unwrap());
        assert_eq!(found.to_pkcs8_der(), expected.to_pkcs8_der(), "{how}");
    }
    let request = ios("newroot-request.pem");
    let der = pem::der_of(&request, pem::REQUEST).unwrap();
    Csr::parse(&der).unwrap().verify().unwrap();
    let begin = request.find("-----BEGIN").unwrap();
    let bare = request[begin..].lines().filter(|line| !line.starts_with('-')).collect::<Vec<_>>().join("\n");
    for (how, text) in [
        ("without its lines", bare.clone()),
        ("in one line", bare.replace('\n', "")),
        ("without padding", bare.replace('=', "")),
        ("without its first line", format!("{bare}\n-----END CERTIFICATE REQUEST-----\n")),
        ("of Microsoft", request.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")),
    ] {
        assert_eq!(pem::der_of(&text, pem::REQUEST).unwrap(), der, "{how}");
    }
}

#[test]
fn a_request_has_the_fingerprint_that_ios_shows() {
    let request = ios("branch-request.pem");
    let der = pem::der_of(&request, pem::REQUEST).unwrap();
    Csr::parse(&der).unwrap().verify().unwrap();
    let shown = hex(&Csr::fingerprint(&der, Hash::Md5));
    assert!(request.contains(&format!("fingerprint shown there: {shown};")), "{shown}");
    let nonsense = b"no request";
    assert_eq!(Csr::fingerprint(nonsense, Hash::Md5), Hash::Md5.digest(&[nonsense]));
}

#[test]
fn pem_that_is_damaged_says_so() {
    let good = ios("mycs-2004-09-02.pem");
    let read = |text: &str| pem::archive(text, Some(&secret("cisco123"))).unwrap_err();
    let end = good.find("-----END RSA").unwrap();
    assert_eq!(read(&good[..end]), ArchiveError::NoEnd("RSA PRIVATE KEY".into()));
    assert_eq!(read(&good.replace("END RSA", "END EC")), ArchiveError::NoEnd("RSA PRIVATE KEY".into()));
    let no_end = good.replace("-----END CERTIFICATE-----\n", "");
    assert_eq!(read(&no_end), ArchiveError::NoEnd("CERTIFICATE".into()));
    assert_eq!(read(&good.replace("MIIB9zCC", "MI*B9zCC")), ArchiveError::NotBase64("CERTIFICATE".into()));
    let keys = good.replace(" CERTIFICATE", " PUBLIC KEY").replace("RSA PRIVATE", "DSA PRIVATE");
    assert_eq!(read(&keys), ArchiveError::UnknownKey("DSA PRIVATE KEY".into()));
    assert_eq!(read(&good.replace("DES-EDE3-CBC", "IDEA-CBC")), ArchiveError::Unsupported("IDEA-CBC".into()));
    for header in ["5053DC842B04612", "5053DC842B0461", "5053DC842B04612AFF", "5053DC842B0461ZZ"] {
        let text = good.replace("5053DC842B04612A", header);
        assert_eq!(read(&text), ArchiveError::Headers("RSA PRIVATE KEY".into()), "{header}");
    }
    assert_eq!(read(&format!("{good}{good}")), ArchiveError::SeveralKeys);
    assert_eq!(pem::private_key("", None).unwrap_err(), ArchiveError::NoKey);
    assert_eq!(pem::der_of("", pem::REQUEST).unwrap_err(), ArchiveError::NoBlock("CERTIFICATE REQUEST"));
    // The last line of the key is lost: the passphrase is right all the same.
    let lost = good.replace("4QjkuTrwaTcRXVFbtrVioT/puyVUlpA7+k7w+F5TZwUV08mwvUEqDw==\n", "");
    assert_ne!(lost, good);
    assert_eq!(read(&lost), ArchiveError::Damaged("private key"));
    assert_eq!(read(&good.replace("vUEqDw==", "")), ArchiveError::CutOff("private key"));
    // The last octet, thus the padding.
    assert_eq!(read(&good.replace("UEqDw==", "UEqDg==")), ArchiveError::Damaged("private key"));
    // Damage in the middle takes 16 octets of the key with it.
    let middle = good.replace("pGRmj5IlSFw", "pGRmj5IlSGw");
    assert_eq!(read(&middle), ArchiveError::PrivateKey(PrivateKeyError::Inconsistent));
}

/// How openssl encrypts a key in PEM.
const PEM_KEYS: [&str; 14] = [
    "pkey -traditional -des3",
    "pkey -traditional -des -provider legacy -provider default",
    "pkey -traditional -aes128",
    "pkey -traditional -aes192",
    "pkey -traditional -aes256",
    "pkcs8 -topk8",
    "pkcs8 -topk8 -v2 des3 -v2prf hmacWithSHA1",
    "pkcs8 -topk8 -v2 aes-128-cbc -v2prf hmacWithSHA512 -iter 1",
    "pkcs8 -topk8 -v2 aes-192-cbc -v2prf hmacWithSHA384 -iter 100000",
    "pkcs8 -topk8 -v2 rc2-cbc -provider legacy -provider default",
    "pkcs8 -topk8 -v1 PBE-MD5-DES -provider legacy -provider default",
    "pkcs8 -topk8 -v1 PBE-SHA1-RC2-64 -provider legacy -provider default",
    "pkcs8 -topk8 -v1 PBE-SHA1-3DES",
    "pkcs8 -topk8 -v1 PBE-SHA1-RC2-128 -provider legacy -provider default",
];

#[test]
fn pem_keys_of_openssl_open() {
    let desk = Desk::new();
    for (how, _) in [KEYS[0], KEYS[4]] {
        let plain = desk.key(how);
        for words in PEM_KEYS {
            desk.openssl(&format!("{words} -in @key.pem -out @sealed.pem -passout pass:süßholz")).success();
            let text = desk.text("sealed.pem");
            let key = pem::private_key(&text, Some(&secret("süßholz")));
            let key = key.unwrap_or_else(|error| panic!("{words}: {error}\n{text}"));
            assert_eq!(*key.to_pkcs8_der(), plain, "{words}");

            let wrong = pem::private_key(&text, Some(&secret("süssholz"))).unwrap_err();
            assert!(is_wrong(&wrong), "{words}: {wrong:?}");
            assert_eq!(pem::private_key(&text, None).unwrap_err(), ArchiveError::PassphraseNeeded, "{words}");
        }
        for words in ["pkey", "pkey -traditional"] {
            desk.openssl(&format!("{words} -in @key.pem -out @plain.pem")).success();
            let key = pem::private_key(&desk.text("plain.pem"), None).unwrap();
            assert_eq!(*key.to_pkcs8_der(), plain, "{words}");
        }
    }
}

/// Of some hundred wrong keys one yields octets that begin as a SEQUENCE does: it passes for damage.
fn is_wrong(error: &ArchiveError) -> bool {
    matches!(error, ArchiveError::WrongPassphrase | ArchiveError::Damaged(_))
}

#[test]
fn openssl_opens_our_pem() {
    let desk = Desk::new();
    for (how, _) in [KEYS[1], KEYS[2]] {
        let plain = desk.key(how);
        let key = PrivateKey::from_pkcs8_der(&plain).unwrap();
        for (encryption, header) in
            [(Encryption::Des3, "\nDEK-Info: DES-EDE3-CBC,"), (Encryption::Aes, "\nDEK-Info: AES-256-CBC,")]
        {
            let text = pem::write_private_key(&key, encryption, &secret("cisco123"));
            assert!(text.contains("-----\nProc-Type: 4,ENCRYPTED\n") && text.contains(header), "{text}");
            desk.write("sealed.pem", &text);
            desk.openssl(
                "pkcs8 -topk8 -nocrypt -in @sealed.pem -passin pass:cisco123 -outform DER -out @opened",
            )
            .success();
            assert_eq!(desk.read("opened"), plain);
            let again = pem::private_key(&text, Some(&secret("cisco123"))).unwrap();
            assert_eq!(*again.to_pkcs8_der(), plain);
        }
        let public = pem::write_public_key(&key.public_key().unwrap());
        assert_eq!(public, desk.openssl("pkey -in @key.pem -pubout").success().stdout);
        let certificate = desk.certificate("mycs");
        assert_eq!(pem::write_certificate(&certificate), desk.text("mycs.pem"));

        let archive = Archive { key: Some(key), certificates: vec![certificate], ..Archive::default() };
        let text = pem::write_archive(&archive, Encryption::Des3, &secret("cisco123"));
        let again = pem::archive(&text, Some(&secret("cisco123"))).unwrap();
        assert_eq!(again.certificates, archive.certificates);
        assert_eq!(again.key.unwrap().to_pkcs8_der(), archive.key.unwrap().to_pkcs8_der());
        assert!(text.starts_with("-----BEGIN CERTIFICATE-----\n"), "the certificate first, as on IOS");
    }
}

/// How openssl makes PKCS#12 archives.
const ARCHIVES: [&str; 10] = [
    "",
    "-legacy",
    "-legacy -descert",
    "-legacy -keypbe PBE-SHA1-RC2-128 -certpbe PBE-SHA1-RC2-128 -macalg md5",
    "-legacy -keypbe PBE-SHA1-2DES -certpbe PBE-SHA1-2DES",
    "-keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -iter 1 -macalg sha1",
    "-keypbe AES-128-CBC -certpbe AES-192-CBC -macalg sha512 -iter 10000",
    "-keypbe NONE -certpbe NONE",
    "-certpbe NONE -macalg sha384",
    "-nomac",
];

#[test]
fn archives_of_openssl_open() {
    let desk = Desk::new();
    for (how, _) in [KEYS[0], KEYS[3]] {
        desk.key(KEYS[2].0);
        let upper = desk.certificate("upper");
        let plain = desk.key(how);
        let own = desk.certificate("mycs");
        for words in ARCHIVES {
            desk.openssl(&format!(
                "pkcs12 -export {words} -inkey @key.pem -in @mycs.pem -certfile @upper.pem -name mycs -out @mycs.p12 \
                 -passout pass:süß☃𝄞"
            ))
            .success();
            let bytes = desk.read("mycs.p12");
            let archive = Archive::read(&bytes, Some(&secret("süß☃𝄞")));
            let archive = archive.unwrap_or_else(|error| panic!("{words}: {error}"));
            assert_eq!(*archive.key.unwrap().to_pkcs8_der(), plain, "{words}");
            assert_eq!(archive.certificates, [own.clone(), upper.clone()], "{words}");
            assert_eq!(archive.label.as_deref(), Some("mycs"), "{words}");
            assert_eq!(archive.authenticated, words != "-nomac", "{words}");

            let wrong = Archive::read(&bytes, Some(&secret("suess"))).unwrap_err();
            assert!(is_wrong(&wrong), "{words}: {wrong:?}");
            assert_eq!(Archive::read(&bytes, None).unwrap_err(), ArchiveError::PassphraseNeeded, "{words}");
        }
    }
}

#[test]
fn archives_with_less_in_them_open() {
    let desk = Desk::new();
    let plain = desk.key(KEYS[0].0);
    let own = desk.certificate("mycs");
    desk.openssl("pkcs12 -export -nokeys -in @mycs.pem -out @mycs.p12 -passout pass:cisco123").success();
    let archive = pkcs12::read(&desk.read("mycs.p12"), Some(&secret("cisco123"))).unwrap();
    assert!(archive.key.is_none() && archive.certificates == [own], "{archive:?}");

    desk.openssl("pkcs12 -export -nocerts -inkey @key.pem -out @mycs.p12 -passout pass:cisco123").success();
    let archive = pkcs12::read(&desk.read("mycs.p12"), Some(&secret("cisco123"))).unwrap();
    assert!(archive.certificates.is_empty(), "{archive:?}");
    assert_eq!(*archive.key.unwrap().to_pkcs8_der(), plain);

    desk.openssl("pkcs12 -export -inkey @key.pem -in @mycs.pem -out @mycs.p12 -passout pass:").success();
    for passphrase in [Some(secret("")), None] {
        let archive = pkcs12::read(&desk.read("mycs.p12"), passphrase.as_ref()).unwrap();
        assert_eq!(*archive.key.unwrap().to_pkcs8_der(), plain);
    }

    // As `crypto pki export L pkcs12 terminal` shows it.
    desk.openssl("base64 -in @mycs.p12 -out @mycs.txt").success();
    assert!(Archive::read(&desk.read("mycs.txt"), None).unwrap().key.is_some());
    let pem = pem::write("PKCS12", &desk.read("mycs.p12"));
    assert!(Archive::read(pem.as_bytes(), None).unwrap().key.is_some());
    assert_eq!(Archive::read(&[0xff, 0xfe], None).unwrap_err(), ArchiveError::NotAnArchive);
}

#[test]
fn openssl_opens_our_archives() {
    let desk = Desk::new();
    for (how, _) in [KEYS[0], KEYS[3]] {
        let plain = desk.key(how);
        let own = desk.certificate("mycs");
        let upper = pem::certificates(&ios("ese-ios-ca.pem")).unwrap().remove(0);
        let key = Some(PrivateKey::from_pkcs8_der(&plain).unwrap());
        let certificates = vec![own, upper];
        let archive = Archive { key, certificates, label: Some("mycs ☃".into()), authenticated: false };
        for (form, words) in [(Form::Modern, ""), (Form::Legacy, "-legacy")] {
            let bytes = pkcs12::write(&archive, form, &secret("süßholz"));
            desk.write("mycs.p12", &bytes);
            let p12 = format!("pkcs12 {words} -in @mycs.p12 -passin pass:süßholz");
            let info = desk.openssl(&format!("{p12} -info -nokeys -nocerts")).success().stderr;
            let expected: &[&str] = match form {
                Form::Modern => &["MAC: sha256", "PBKDF2, AES-256-CBC", "hmacWithSHA256"],
                Form::Legacy => &["MAC: sha1", "pbeWithSHA1And3-KeyTripleDES-CBC, Iteration 2048"],
            };
            expected.iter().for_each(|text| assert!(info.contains(text), "{text}:\n{info}"));
            desk.openssl(&format!("{p12} -nocerts -nodes -out @again.pem")).success();
            desk.openssl("pkcs8 -topk8 -nocrypt -in @again.pem -outform DER -out @again.p8").success();
            assert_eq!(desk.read("again.p8"), plain);
            let own = desk.openssl(&format!("{p12} -nokeys -clcerts")).success().stdout;
            assert_eq!(pem::certificates(&own).unwrap(), archive.certificates[..1]);
            let others = desk.openssl(&format!("{p12} -nokeys -cacerts")).success().stdout;
            assert_eq!(pem::certificates(&others).unwrap(), archive.certificates[1..]);

            let again = pkcs12::read(&bytes, Some(&secret("süßholz"))).unwrap();
            assert_eq!(*again.key.unwrap().to_pkcs8_der(), plain);
            assert_eq!(
                (again.certificates, again.label),
                (archive.certificates.clone(), archive.label.clone())
            );
            assert!(again.authenticated);
        }
    }
    // Of a key that stays on its token, there are the certificates.
    let certificates = pem::certificates(&ios("ese-ios-ca.pem")).unwrap();
    let archive = Archive { certificates, ..Archive::default() };
    desk.write("mycs.p12", pkcs12::write(&archive, Form::Modern, &secret("cisco123")));
    let text = desk.openssl("pkcs12 -in @mycs.p12 -passin pass:cisco123").success().stdout;
    assert_eq!(pem::certificates(&text).unwrap(), archive.certificates);
}

#[test]
fn a_spoiled_archive_is_refused() {
    let desk = Desk::new();
    desk.key(KEYS[2].0);
    desk.certificate("mycs");
    let read = |bytes: &[u8]| pkcs12::read(bytes, Some(&secret("cisco123")));
    for words in ["-iter 1", "-nomac -iter 1", "-legacy -nomaciter -noiter"] {
        desk.openssl(&format!(
            "pkcs12 -export {words} -inkey @key.pem -in @mycs.pem -out @mycs.p12 -passout pass:cisco123"
        ))
        .success();
        let good = desk.read("mycs.p12");
        let expected = read(&good).unwrap();
        let [mut damaged, mut wrong] = [0, 0];
        for at in 0..good.len() {
            assert!(read(&good[..at]).is_err(), "{words}: cut at {at}");
            let mut spoiled = good.clone();
            spoiled[at] ^= 0x20;
            match read(&spoiled) {
                Err(ArchiveError::WrongPassphrase) => wrong += 1,
                Err(_) => damaged += 1,
                // Versions, names and attributes mean nothing to us; without a MAC nothing guards them.
                Ok(found) if found.authenticated => assert_eq!(found.certificates, expected.certificates),
                Ok(_) => {}
            }
        }
        assert!(damaged > wrong, "{words}: {damaged} told as damaged, {wrong} as a wrong passphrase");
    }
}

#[test]
fn an_archive_that_asks_for_hours_is_refused_at_once() {
    let desk = Desk::new();
    desk.key(KEYS[2].0);
    desk.certificate("mycs");
    for words in ["-legacy", "", "-nomac"] {
        desk.openssl(&format!(
            "pkcs12 -export {words} -iter 123456 -inkey @key.pem -in @mycs.pem -out @mycs.p12 -passout pass:a"
        ))
        .success();
        let mut bytes = desk.read("mycs.p12");
        // 123456 in the MAC, or where a key is derived, becomes eight million.
        let count = [0x02, 0x03, 0x01, 0xe2, 0x40];
        let found = bytes.windows(5).rposition(|window| window == count).expect("the iteration count");
        bytes[found + 2] = 0x7f;
        let error = pkcs12::read(&bytes, Some(&secret("a"))).unwrap_err();
        assert!(matches!(error, ArchiveError::TooManyIterations(_)), "{words}: {error}");
    }
}

/// The document says that the CRL of this CA has 214 octets: of version 1, signed with MD5.
#[test]
fn a_crl_as_ios_signs_it_verifies() {
    let desk = Desk::new();
    desk.write("mycs.pem", ios("mycs-2004-09-02.pem"));
    desk.openssl("pkey -in @mycs.pem -passin pass:cisco123 -out @key.pem").success();
    let index = desk.file("index").display().to_string();
    desk.write("ca.conf", format!("[ca]\ndefault_ca = mycs\n[mycs]\ndatabase = {index}\ndefault_md = md5\n"));
    let certificate = pem::certificates(&ios("mycs-2004-09-02.pem")).unwrap().remove(0);
    let certificate = Certificate::parse(&certificate).unwrap();
    for (entries, len, serials) in [
        ("", 214, vec![]),
        ("R\t070902210256Z\t040903201934Z\t02\tunknown\t/CN=r1\n", 236, vec![Serial::from(2)]),
    ] {
        desk.write("index", entries);
        desk.openssl(
            "ca -gencrl -config @ca.conf -keyfile @key.pem -cert @mycs.pem -crldays 7 -out @crl.pem",
        )
        .success();
        let der = pem::der_of(&desk.text("crl.pem"), "X509 CRL").unwrap();
        assert_eq!(der.len(), len);
        let crl = Crl::parse(der.to_vec()).unwrap();
        assert_eq!(crl.issuer_raw(), certificate.subject_raw());
        assert_eq!(crl.entries().map(|entry| entry.serial).collect::<Vec<_>>(), serials);
        crl.verify_signed_by(certificate.public_key()).unwrap();
    }
}

/// The same values as BER of the loosest kind: indefinite lengths, strings in pieces. `depth` is how many
/// layers of octet strings are done, too.
fn loosened(element: &ber::Element<'_>, depth: usize, out: &mut Vec<u8>) {
    let tag = element.raw()[0];
    let pieces = |content: &[u8], out: &mut Vec<u8>| {
        for piece in content.chunks(100) {
            out.extend([&[0x04, piece.len() as u8], piece].concat());
        }
    };
    if element.is_constructed() {
        out.extend([tag, 0x80]);
        let mut reader = element.reader("").unwrap();
        while let Some(inner) = reader.next("").unwrap() {
            loosened(&inner, depth, out);
        }
        return out.extend([0, 0]);
    }
    // OCTET STRING, and [0] IMPLICIT OCTET STRING.
    if !matches!(tag, 0x04 | 0x80) {
        return out.extend(element.raw());
    }
    out.extend([tag | 0x20, 0x80]);
    match ber::parse(element.content(), &ber::Limits::MESSAGE) {
        Ok(inner) if inner.tag() == ber::Tag::SEQUENCE && depth > 0 => {
            let mut content = Vec::new();
            loosened(&inner, depth - 1, &mut content);
            pieces(&content, out);
        }
        _ => pieces(element.content(), out),
    }
    out.extend([0, 0]);
}

#[test]
fn archives_in_loose_ber_open() {
    let desk = Desk::new();
    let plain = desk.key(KEYS[0].0);
    let own = desk.certificate("mycs");
    // The MAC is over the first layer of octets.
    for (words, depth) in [("", 0), ("-legacy", 0), ("-nomac", 2), ("-nomac -legacy", 2)] {
        desk.openssl(&format!(
            "pkcs12 -export {words} -inkey @key.pem -in @mycs.pem -out @mycs.p12 -passout pass:cisco123"
        ))
        .success();
        let strict = desk.read("mycs.p12");
        let mut loose = Vec::new();
        loosened(&ber::parse(&strict, &ber::Limits::MESSAGE).unwrap(), depth, &mut loose);
        // As a file transfer in text mode may end it.
        loose.extend(b"\r\n");
        let archive = Archive::read(&loose, Some(&secret("cisco123")));
        let archive = archive.unwrap_or_else(|error| panic!("{words}: {error}"));
        assert_eq!(*archive.key.unwrap().to_pkcs8_der(), plain, "{words}");
        assert_eq!(archive.certificates, std::slice::from_ref(&own), "{words}");
    }
}
