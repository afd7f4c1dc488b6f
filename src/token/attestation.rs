//! What a device itself says of a key: a certificate by which it attests that the key was made on it, where its
//! module shows one.
//!
//! How that is found among the token's objects stands in the profile (`[attestation]`); what stands in it is read
//! as Yubico defines it, by the extensions of [PIV attestation]. What a key's own attributes say is the word of
//! the module ([`KeyInfo`]), and anybody's who can replace that; an attestation is as good as the root to which its
//! certificates lead, which nobody here judges.
//!
//! [PIV attestation]: https://developers.yubico.com/PIV/Introduction/PIV_attestation.html

use std::fmt;

use const_oid::ObjectIdentifier;
use cryptoki::object::{Attribute, CertificateType, ObjectClass};
use der::Decode;

use crate::pki::{Certificate, Extensions, PublicKey};

use super::certificate::matching;
use super::error::Problem;
use super::object::KeyInfo;
use super::profile::Attested;
use super::session::Open;
use super::{Priority, Token, TokenError};

/// A device's statement that it has made a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// The statement: a certificate for the key, DER.
    pub certificate: Vec<u8>,
    /// The certificates of who signed it, as far as the token has them, DER.
    pub chain: Vec<Vec<u8>>,
    /// What it says.
    pub statement: Statement,
    /// What does not hold; empty when everything that can be checked here does.
    pub doubts: Vec<Doubt>,
}

/// Why an attestation proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// Not a certificate.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// The public key in it is not that of the key.
    #[error("it is about another key")]
    OtherKey,
    /// Whose signature it has cannot be seen.
    #[error("the token does not show the certificate of the key that attests")]
    NoIssuer,
    /// Issuer or signature do not fit that certificate.
    #[error("the key that attests has not signed it")]
    NotSigned,
    /// basicConstraints: programs refuse a chain with such a certificate.
    #[error("the certificate of the key that attests is not a CA's")]
    NoCa,
}

/// What an attestation says of a YubiKey and the key on it, in [these extensions]. `None` where it does not say.
///
/// [these extensions]: https://docs.yubico.com/hardware/oid/oid-piv-arc.html
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statement {
    /// Its firmware, `5.7.1`.
    pub firmware: Option<String>,
    /// Its serial number, as printed on it.
    pub serial: Option<u64>,
    /// When the key wants the PIN.
    pub pin: Option<PinPolicy>,
    /// When the key wants the device to be touched.
    pub touch: Option<TouchPolicy>,
    /// What the device looks like, in words.
    pub form_factor: Option<String>,
    /// Whether it is of the series that is certified by FIPS 140.
    pub fips: bool,
}

/// When a key wants the PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinPolicy(u8);

/// When a key wants the device to be touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TouchPolicy(u8);

impl Token {
    /// What the device says of the key with this label, checked as far as can be here; `None` where the token shows
    /// no such statement: it makes none, or the key was brought to it. [`Problem::NoKey`] when there is no key.
    pub fn attestation(&self, label: &str) -> Result<Option<Attestation>, TokenError> {
        self.attestation_of(self.key(label)?.info())
    }

    /// The same of a key that was found.
    pub fn attestation_of(&self, key: &KeyInfo) -> Result<Option<Attestation>, TokenError> {
        if !self.profile().attests() {
            return Ok(None);
        }
        let key = key.clone();
        self.ask(Priority::Operator, self.timeout(), move |connection| {
            connection.run(|link, open| {
                let _guard = link.read_objects(open)?;
                find(open, link.profile.attested(), &key)
            })
        })
    }
}

fn find(open: &Open, attested: &Attested, key: &KeyInfo) -> Result<Option<Attestation>, Problem> {
    let Some(pattern) = &attested.certificate else { return Ok(None) };
    // Without CKA_TOKEN: such a certificate may be made when it is asked for, and is on no token then.
    let x509 =
        [Attribute::Class(ObjectClass::CERTIFICATE), Attribute::CertificateType(CertificateType::X_509)];
    let of_key = matching(open, &[&x509[..], &[Attribute::Id(key.id.clone())]].concat())?;
    let Some((_, statement)) = of_key.into_iter().find(|(_, found)| pattern.fits(&found.label)) else {
        return Ok(None);
    };
    let chain = match &attested.issuer {
        Some(label) => {
            let label = Attribute::Label(label.as_bytes().to_vec());
            matching(open, &[&x509[..], &[label]].concat())?.into_iter().map(|(_, found)| found.der).collect()
        }
        None => Vec::new(),
    };
    Ok(Some(Attestation::read(statement.der, chain, &key.public_key)))
}

impl Attestation {
    /// The statement of this certificate, which should be about `key`.
    fn read(certificate: Vec<u8>, chain: Vec<Vec<u8>>, key: &PublicKey) -> Self {
        let mut doubts = Vec::new();
        let parsed = Certificate::parse(&certificate).ok();
        let issuer = chain.first().and_then(|der| Certificate::parse(der).ok());
        match (&parsed, issuer) {
            (None, _) => doubts.push(Doubt::Unreadable),
            (Some(certificate), issuer) => {
                if certificate.public_key() != key {
                    doubts.push(Doubt::OtherKey);
                }
                doubts.extend(doubts_of_issuer(certificate, issuer.as_ref()));
            }
        }
        let statement = parsed.map(|parsed| Statement::read(parsed.extensions())).unwrap_or_default();
        Self { certificate, chain, statement, doubts }
    }
}

fn doubts_of_issuer(certificate: &Certificate, issuer: Option<&Certificate>) -> Vec<Doubt> {
    let Some(issuer) = issuer else { return vec![Doubt::NoIssuer] };
    let named = certificate.issuer_raw() == issuer.subject_raw();
    let signed = named && certificate.verify_signed_by(issuer.public_key()).is_ok();
    let ca = issuer.extensions().basic_constraints().is_some_and(|constraints| constraints.ca);
    let found = [(!signed, Doubt::NotSigned), (!ca, Doubt::NoCa)];
    found.into_iter().filter_map(|(is_so, doubt)| is_so.then_some(doubt)).collect()
}

impl Statement {
    fn read(extensions: &Extensions) -> Self {
        let value = |oid| extensions.find(&oid).map(|extension| extension.value.as_slice());
        let policies = value(POLICIES).and_then(|octets| <[u8; 2]>::try_from(octets).ok());
        // 128 marks the FIPS series.
        let form = value(FORM_FACTOR).and_then(|octets| octets.first().copied());
        Self {
            firmware: match value(FIRMWARE) {
                Some([major, minor, patch]) => Some(format!("{major}.{minor}.{patch}")),
                _ => None,
            },
            serial: value(SERIAL).and_then(|integer| u64::from_der(integer).ok()),
            pin: policies.map(|[pin, _]| PinPolicy(pin)),
            touch: policies.map(|[_, touch]| TouchPolicy(touch)),
            form_factor: form.map(form_factor),
            fips: form.is_some_and(|form| form & 0x80 != 0),
        }
    }
}

fn form_factor(octet: u8) -> String {
    let known = match octet & 0x1f {
        1 => "USB-A keychain",
        2 => "USB-A nano",
        3 => "USB-C keychain",
        4 => "USB-C nano",
        5 => "USB-C and Lightning",
        6 => "USB-A keychain with fingerprints",
        7 => "USB-C keychain with fingerprints",
        other => return format!("number {other}"),
    };
    known.to_owned()
}

impl fmt::Display for PinPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            1 => "never asked for",
            2 => "asked for once in a session",
            3 => "asked for at each use",
            4 => "PIN or fingerprint, once in a session",
            5 => "PIN or fingerprint, at each use",
            other => return write!(f, "number {other}"),
        })
    }
}

impl fmt::Display for TouchPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            1 => "never",
            2 => "at each use",
            3 => "at each use, but for 15 seconds after the last",
            other => return write!(f, "number {other}"),
        })
    }
}

const FIRMWARE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.3");
const SERIAL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.7");
/// One octet each, for the PIN and for the touch.
const POLICIES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.8");
const FORM_FACTOR: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.9");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::archive::pem;

    /// A YubiKey 5 NFC, one with USB-C, and one of the FIPS series: each attests a key and shows the certificate of
    /// its slot f9.
    const YUBIKEYS: &str = include_str!("../../tests/vectors/yubikey/attestations.pem");

    fn yubikeys() -> Vec<Vec<Vec<u8>>> {
        pem::certificates(YUBIKEYS).unwrap().chunks(2).map(<[_]>::to_vec).collect()
    }

    fn read(attested: &[u8], issuer: &[u8], key: &PublicKey) -> Attestation {
        Attestation::read(attested.to_vec(), vec![issuer.to_vec()], key)
    }

    #[test]
    fn yubikeys_say_what_they_are() {
        let said = yubikeys().into_iter().map(|pair| {
            let key = Certificate::parse(&pair[0]).unwrap().public_key().clone();
            let read = read(&pair[0], &pair[1], &key);
            assert_eq!(read.doubts, []);
            let Statement { firmware, serial, pin, touch, form_factor, fips } = read.statement;
            let text = |option: Option<String>| option.unwrap();
            (text(firmware), serial.unwrap(), pin.unwrap().0, touch.unwrap().0, text(form_factor), fips)
        });
        let expected = [
            ("5.4.3", 19_661_687, 2, 1, "USB-A keychain", false),
            ("5.7.1", 30_041_834, 3, 2, "USB-C keychain", false),
            ("5.4.3", 28_989_702, 2, 3, "USB-A keychain", true),
        ];
        let expected = expected.map(|(firmware, serial, pin, touch, form, fips)| {
            (firmware.into(), serial, pin, touch, form.into(), fips)
        });
        assert_eq!(said.collect::<Vec<(String, u64, u8, u8, String, bool)>>(), expected);
    }

    #[test]
    fn what_does_not_hold_is_told() {
        let all = yubikeys();
        let (mine, others) = (&all[0], &all[1]);
        let key = |der: &[u8]| Certificate::parse(der).unwrap().public_key().clone();
        assert_eq!(read(&mine[0], &mine[1], &key(&others[0])).doubts, [Doubt::OtherKey]);
        // The same names and another key.
        assert_eq!(read(&mine[0], &others[1], &key(&mine[0])).doubts, [Doubt::NotSigned]);
        assert_eq!(read(&mine[0], &mine[0], &key(&mine[0])).doubts, [Doubt::NotSigned, Doubt::NoCa]);
        let alone = Attestation::read(mine[0].clone(), Vec::new(), &key(&mine[0]));
        assert_eq!(alone.doubts, [Doubt::NoIssuer]);
        assert_eq!(read(b"no certificate", &mine[1], &key(&mine[0])).doubts, [Doubt::Unreadable]);
        let mut forged = mine[0].clone();
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(read(&forged, &mine[1], &key(&mine[0])).doubts, [Doubt::NotSigned]);
    }

    #[test]
    fn numbers_that_are_not_known_are_shown() {
        assert_eq!(PinPolicy(9).to_string(), "number 9");
        assert_eq!(TouchPolicy(9).to_string(), "number 9");
        assert_eq!(form_factor(0x1f), "number 31");
        assert_eq!(form_factor(0x81), "USB-A keychain");
    }
}
