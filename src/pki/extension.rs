//! Certificate extensions: the closed set that we write, and the values that requests bring.

use const_oid::AssociatedOid;
use const_oid::db::rfc5912;
use der::asn1::{AnyRef, BitString, Ia5String, ObjectIdentifier, OctetString};
use der::flagset::FlagSet;
use der::{Decode, Encode};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, CrlDistributionPoints, ExtendedKeyUsage, KeyUsage, KeyUsages,
    SubjectAltName, SubjectKeyIdentifier, crl::dp::DistributionPoint,
};

use super::key::{KeyKind, PublicKey};

/// id-kp-cmcRA (RFC 6402, 2.10): the purpose of a registration authority, also of one that speaks SCEP.
pub const CMC_RA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.28");

/// Key usage bits (RFC 5280, 4.2.1.3).
pub type Usages = FlagSet<KeyUsages>;

/// What a certificate is for; decides basicConstraints and the key usages possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Signs certificates and CRLs; `scep` when its key signs and opens SCEP messages, too.
    Authority {
        /// pathLenConstraint.
        path_len: Option<u8>,
        /// Whether its key serves SCEP.
        scep: bool,
    },
    /// Signs SCEP replies in place of the CA key.
    ScepSigner,
    /// Opens SCEP requests in place of the CA key.
    ScepDecrypter,
    /// A device's.
    Device,
}

impl Purpose {
    /// The key usages of a certificate of this purpose: those asked for that its key can do and a
    /// device may have, or the usual ones when none were asked for.
    pub fn usages(self, key: KeyKind, asked: Option<Usages>) -> Usages {
        use KeyUsages as U;
        match self {
            Self::Authority { scep: true, .. } => {
                U::DigitalSignature | U::KeyEncipherment | U::KeyCertSign | U::CRLSign
            }
            Self::Authority { scep: false, .. } => U::DigitalSignature | U::KeyCertSign | U::CRLSign,
            Self::ScepSigner => U::DigitalSignature.into(),
            Self::ScepDecrypter => U::KeyEncipherment.into(),
            Self::Device => {
                let possible = match key {
                    KeyKind::Rsa { .. } => {
                        U::DigitalSignature | U::NonRepudiation | U::KeyEncipherment | U::DataEncipherment
                    }
                    KeyKind::Ec(_) => U::DigitalSignature | U::NonRepudiation | U::KeyAgreement,
                    // RFC 9881, 5.
                    KeyKind::MlDsa(_) => U::DigitalSignature | U::NonRepudiation,
                };
                let usual = match key {
                    KeyKind::Rsa { .. } => U::DigitalSignature | U::KeyEncipherment,
                    KeyKind::Ec(_) | KeyKind::MlDsa(_) => U::DigitalSignature.into(),
                };
                match asked.map(|asked| asked & possible) {
                    Some(granted) if !granted.is_empty() => granted,
                    _ => usual,
                }
            }
        }
    }
}

/// basicConstraints: critical for a CA (RFC 5280, 4.2.1.9), not for a device.
pub fn basic_constraints(purpose: Purpose) -> Extension {
    match purpose {
        Purpose::Authority { path_len, .. } => {
            extension(true, &BasicConstraints { ca: true, path_len_constraint: path_len })
        }
        _ => extension(false, &BasicConstraints { ca: false, path_len_constraint: None }),
    }
}

/// keyUsage, critical.
pub fn key_usage(usages: Usages) -> Extension {
    extension(true, &KeyUsage(usages))
}

/// extendedKeyUsage, not critical; `None` for none.
pub fn extended_key_usage(purposes: &[ObjectIdentifier]) -> Option<Extension> {
    (!purposes.is_empty()).then(|| extension(false, &ExtendedKeyUsage(purposes.to_vec())))
}

/// subjectKeyIdentifier: SHA-1 over the key's bits.
pub fn subject_key_identifier(key: &PublicKey) -> Extension {
    extension(false, &SubjectKeyIdentifier(octets(&key.key_identifier())))
}

/// authorityKeyIdentifier, the keyIdentifier form.
pub fn authority_key_identifier(issuer_key: &[u8]) -> Extension {
    let key_identifier = Some(octets(issuer_key));
    extension(
        false,
        &AuthorityKeyIdentifier {
            key_identifier,
            authority_cert_issuer: None,
            authority_cert_serial_number: None,
        },
    )
}

/// cRLDistributionPoints with one URI; `None` when the URI is not ASCII.
pub fn crl_distribution_point(uri: &str) -> Option<Extension> {
    let name = GeneralName::UniformResourceIdentifier(Ia5String::new(uri).ok()?);
    let point = DistributionPoint {
        distribution_point: Some(DistributionPointName::FullName(vec![name])),
        reasons: None,
        crl_issuer: None,
    };
    Some(extension(false, &CrlDistributionPoints(vec![point])))
}

/// subjectAltName with the names of `requested` (a DER GeneralNames) that a device may have: DNS names,
/// IP addresses, e-mail addresses and URIs. `Ok(None)` when none is left.
pub fn subject_alt_name(requested: &[u8], critical: bool) -> Result<Option<Extension>, der::Error> {
    let kept: Vec<AnyRef<'_>> =
        Vec::<AnyRef<'_>>::from_der(requested)?.into_iter().filter(is_device_name).collect();
    if kept.is_empty() {
        return Ok(None);
    }
    let extn_value = OctetString::new(kept.to_der()?)?;
    Ok(Some(Extension { extn_id: rfc5912::ID_CE_SUBJECT_ALT_NAME, critical, extn_value }))
}

/// subjectAltName of a host: DNS names and addresses, the latter of 4 or 16 octets. `None` for neither.
pub fn host_names(dns: &[String], addresses: &[Vec<u8>]) -> Result<Option<Extension>, der::Error> {
    let mut names = Vec::new();
    for name in dns {
        names.push(GeneralName::DnsName(Ia5String::new(name)?));
    }
    for address in addresses {
        names.push(GeneralName::IpAddress(OctetString::new(address.as_slice())?));
    }
    Ok((!names.is_empty()).then(|| extension(false, &SubjectAltName(names))))
}

/// The DNS names and addresses in a DER GeneralNames.
pub fn hosts(general_names: &[u8]) -> Result<(Vec<String>, Vec<Vec<u8>>), der::Error> {
    let (mut dns, mut addresses) = (Vec::new(), Vec::new());
    for name in SubjectAltName::from_der(general_names)?.0 {
        match name {
            GeneralName::DnsName(name) => dns.push(name.to_string()),
            GeneralName::IpAddress(address) => addresses.push(address.as_bytes().to_vec()),
            _ => {}
        }
    }
    Ok((dns, addresses))
}

/// The names in a DER GeneralNames that a device may have, each as its DER.
pub fn device_names(general_names: &[u8]) -> Result<Vec<Vec<u8>>, der::Error> {
    Vec::<AnyRef<'_>>::from_der(general_names)?
        .iter()
        .filter(|name| is_device_name(name))
        .map(Encode::to_der)
        .collect()
}

/// Which of these purposes a device may be given: TLS, e-mail and IPsec ones. Purposes that speak for
/// a CA or for anything at all (OCSP signing, time stamping, any) are left out.
pub fn device_purposes(requested: &[u8]) -> Result<Vec<ObjectIdentifier>, der::Error> {
    Ok(ExtendedKeyUsage::from_der(requested)?
        .0
        .into_iter()
        .filter(|oid| DEVICE_PURPOSES.contains(oid))
        .collect())
}

/// The key usages in a DER KeyUsage.
pub fn usages_from_der(requested: &[u8]) -> Result<Usages, der::Error> {
    // Requests carry trailing zero bits that DER forbids in named bit lists; the bits are what counts.
    let bits = BitString::from_der(requested)?;
    let mut usages = Usages::default();
    for (i, set) in bits.bits().enumerate() {
        if let (true, Some(usage)) = (set, ALL_USAGES.get(i)) {
            usages |= *usage;
        }
    }
    Ok(usages)
}

fn is_device_name(name: &AnyRef<'_>) -> bool {
    use der::Tagged;
    let tag = name.tag();
    // rfc822Name [1], dNSName [2], uniformResourceIdentifier [6], iPAddress [7]; RFC 5280, 4.2.1.6.
    let text = [1, 2, 6].iter().any(|n| is_context(tag, *n))
        && !name.value().is_empty()
        && name.value().iter().all(|b| (0x20..0x7f).contains(b));
    text || is_context(tag, 7) && matches!(name.value().len(), 4 | 16)
}

fn is_context(tag: der::Tag, number: u32) -> bool {
    matches!(tag, der::Tag::ContextSpecific { number: n, .. } if n.value() == number)
}

fn extension<T: Encode + AssociatedOid>(critical: bool, value: &T) -> Extension {
    // These values are short and of our own making; DER has a form for each of them.
    let der = value.to_der().expect("an extension of ours encodes");
    Extension { extn_id: T::OID, critical, extn_value: octets(&der) }
}

fn octets(bytes: &[u8]) -> OctetString {
    OctetString::new(bytes).expect("shorter than 256 MiB")
}

const ALL_USAGES: [KeyUsages; 9] = [
    KeyUsages::DigitalSignature,
    KeyUsages::NonRepudiation,
    KeyUsages::KeyEncipherment,
    KeyUsages::DataEncipherment,
    KeyUsages::KeyAgreement,
    KeyUsages::KeyCertSign,
    KeyUsages::CRLSign,
    KeyUsages::EncipherOnly,
    KeyUsages::DecipherOnly,
];

const DEVICE_PURPOSES: [ObjectIdentifier; 8] = [
    rfc5912::ID_KP_SERVER_AUTH,
    rfc5912::ID_KP_CLIENT_AUTH,
    rfc5912::ID_KP_EMAIL_PROTECTION,
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.5"), // ipsecEndSystem
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.6"), // ipsecTunnel
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.7"), // ipsecUser
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.17"), // ipsecIKE
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.8.2.2"), // iKEIntermediate
];
