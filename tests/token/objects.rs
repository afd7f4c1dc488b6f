//! Certificates and files on a token, as this product and other programs see them.

use tokenca::pki::Certificate;
use tokenca::token::TokenCertificate;

use super::*;

stories! {

/// Certificates are stored beside their keys, where other programs find them.
fn certificates_are_kept(dir: &Path) {
    let token = Token::open(&config(dir)).unwrap();
    let before = token.certificates().unwrap();
    let key = token.generate("device", easy(), SIGN, false).unwrap();
    let (mine, another) = (certificate(dir, "/CN=mine"), certificate(dir, "/CN=another"));
    let id = key.info().id.clone();
    token.store_certificate("device", &id, &mine).unwrap();
    let stored = token.store_certificate("device", &[], &another);
    if may("store certificates of two subjects under one label", stored).is_none() {
        token.delete("device").unwrap();
        assert!(token.delete_certificate(&mine).unwrap());
        return assert_eq!(token.certificates().unwrap(), before);
    }
    // Once more changes nothing.
    token.store_certificate("device", &id, &mine).unwrap();

    let mut found = token.certificates().unwrap();
    found.retain(|certificate| !before.contains(certificate));
    assert_eq!(found.len(), 2);
    let wanted = TokenCertificate { label: "device".into(), id: id.clone(), der: mine.clone() };
    assert!(found.contains(&wanted));
    assert!(found.contains(&TokenCertificate { id: Vec::new(), der: another.clone(), ..wanted.clone() }));
    if is_softhsm() {
        // Without a PIN: certificates are public.
        let shown = pkcs11_tool(&["-O", "--type", "cert"]);
        let hex: String = id.iter().map(|octet| format!("{octet:02x}")).collect();
        assert!(shown.contains("subject:    DN: CN=mine\n"), "{shown}");
        assert!(shown.contains(&format!("ID:         {hex}\n")), "{shown}");
        let serial = Certificate::parse(&mine).unwrap().serial().clone();
        let serial: String = serial.as_be_bytes().iter().map(|octet| format!("{octet:02X}")).collect();
        assert!(shown.contains(&format!("serial:     {serial}\n")), "{shown}");
        assert_eq!(only_softhsm::read_by_another(dir, &["--type", "cert", "--id", &hex]), mine);
    }

    // Keys and certificates go one by one.
    token.delete("device").unwrap();
    assert!(token.delete_certificate(&mine).unwrap());
    assert!(!token.delete_certificate(&mine).unwrap());
    let left = token.certificates().unwrap();
    assert!(!left.contains(&wanted) && left.iter().any(|certificate| certificate.der == another));
    assert!(token.delete_certificate(&another).unwrap());
    assert_eq!(token.certificates().unwrap(), before);

    let error = token.store_certificate("device", &[], b"no certificate").unwrap_err();
    assert_eq!(error.to_string(), "token \"usbtoken0\": the certificate for \"device\" cannot be read");
}

/// Files are written, listed, replaced, read and deleted, also after the token was opened again.
fn files_are_kept(dir: &Path) {
    let token = Token::open(&config(dir)).unwrap();
    assert_eq!(token.files().unwrap(), []);
    let large: Vec<u8> = (0..100_000_u32).map(|number| (number % 251) as u8).collect();
    let public = may("keep a public file", token.write_file("ca.crl", b"a list", false)).is_some();
    if may("keep a private file", token.write_file("ca.p12", &large, true)).is_none() {
        return;
    }
    // One octet, where none is too few.
    let empty = may("keep an empty file", token.write_file("empty", b"", !public)).map_or(1, |()| 0);
    token.write_file("empty", &b"."[..empty], !public).unwrap();
    // Grown and shrunk; then another kind of file.
    token.write_file("ca.crl", b"a longer list", !public).unwrap();
    token.write_file("ca.crl", b"list", true).unwrap();
    token.write_file("ca.crl", b"a list", !public).unwrap();
    drop(token);

    let token = Token::open(&config(dir)).unwrap();
    let listed: Vec<_> =
        token.files().unwrap().into_iter().map(|file| (file.name, file.size, file.private)).collect();
    let wanted = [("ca.crl", 6, !public), ("ca.p12", 100_000, true), ("empty", empty, !public)];
    assert_eq!(listed, wanted.map(|(name, size, private)| (name.to_owned(), size, private)));
    assert_eq!(token.read_file("ca.crl").unwrap(), b"a list");
    assert_eq!(token.read_file("ca.p12").unwrap(), large);
    assert_eq!(token.read_file("empty").unwrap().len(), empty);

    token.delete_file("ca.crl").unwrap();
    for error in [token.read_file("ca.crl").unwrap_err(), token.delete_file("ca.crl").unwrap_err()] {
        assert_eq!(
            error.to_string(),
            "token \"usbtoken0\": no file \"ca.crl\"\nhint: `dir usbtoken0:` lists the files"
        );
        assert_eq!(error.kind(), KeyErrorKind::Refused);
    }
    for name in ["", "a\nb", &"long".repeat(64)] {
        let error = token.write_file(name, b"", false).unwrap_err();
        assert!(matches!(error.problem(), Problem::BadName { .. }), "{error}");
    }
    token.delete_file("ca.p12").unwrap();
    token.delete_file("empty").unwrap();
    assert_eq!(token.files().unwrap(), []);
}

}

/// A self-signed certificate, DER.
fn certificate(dir: &Path, subject: &str) -> Vec<u8> {
    let key = dir.join("key.pem");
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-subj", subject, "-outform", "DER", "-keyout", key.to_str().unwrap()])
        .output()
        .expect("openssl is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
