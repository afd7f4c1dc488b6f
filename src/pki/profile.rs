//! From what a request asks for to what a certificate will say.

use const_oid::db::rfc5912;
use der::asn1::ObjectIdentifier;
use serde::Serialize;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::KeyUsages;

use super::algorithm::SignatureAlgorithm;
use super::csr::VerifiedCsr;
use super::extension::{self, Purpose, Usages};
use super::key::{KeyKind, PublicKey};
use super::name::Name;
use super::tbs::Template;
use super::time::Time;

/// The group under which `info requests` lists an enrollment (S13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Asks for a certificate that issues: basicConstraints CA or keyCertSign.
    SubordinateCa,
    /// Calls itself `ioscs RA`.
    Ra,
    /// Everything else.
    Router,
}

/// What a verified request asks for, reduced to what a CA may decide about. Extensions that are not
/// named here are dropped.
#[derive(Clone, Debug)]
pub struct Requested {
    /// Subject, as asked.
    pub subject: Name,
    /// The key whose possession the request proves.
    pub key: PublicKey,
    /// Whether it asks for a certificate that issues, and the pathLenConstraint it asks for.
    pub authority: Option<Option<u8>>,
    /// Key usages asked for.
    pub usages: Option<Usages>,
    /// Extended key usages asked for that a device may have.
    pub purposes: Vec<ObjectIdentifier>,
    /// subjectAltName asked for: DER GeneralNames.
    pub alt_names: Option<Vec<u8>>,
}

impl Requested {
    /// Reads what `csr` asks for. A known extension that is malformed is an error; better no certificate
    /// than another one than was asked for.
    pub fn of(csr: &VerifiedCsr) -> Result<Self, RequestedError> {
        let mut requested = Self {
            subject: Name::from_der(csr.subject_raw()),
            key: csr.public_key().clone(),
            authority: None,
            usages: None,
            purposes: Vec::new(),
            alt_names: None,
        };
        for asked in csr.extensions() {
            let value = asked.value.as_slice();
            let malformed = |_| RequestedError::Malformed(asked.oid);
            match asked.oid {
                rfc5912::ID_CE_BASIC_CONSTRAINTS => {
                    let constraints = csr.extensions().basic_constraints();
                    let constraints = constraints.ok_or(RequestedError::Malformed(asked.oid))?;
                    if constraints.ca {
                        // No chain has 255 CAs; a longer limit is none.
                        requested.authority = Some(constraints.path_len.and_then(|len| len.try_into().ok()));
                    }
                }
                rfc5912::ID_CE_KEY_USAGE => {
                    requested.usages = Some(extension::usages_from_der(value).map_err(malformed)?);
                }
                rfc5912::ID_CE_EXT_KEY_USAGE => {
                    requested.purposes = extension::device_purposes(value).map_err(malformed)?;
                }
                rfc5912::ID_CE_SUBJECT_ALT_NAME => {
                    extension::device_names(value).map_err(malformed)?;
                    requested.alt_names = Some(value.to_vec());
                }
                _ => {}
            }
        }
        if requested.usages.is_some_and(|u| u.contains(KeyUsages::KeyCertSign)) {
            requested.authority.get_or_insert(None);
        }
        Ok(requested)
    }

    /// Its group.
    pub fn class(&self) -> Class {
        match self.authority {
            Some(_) => Class::SubordinateCa,
            None if self.subject.is_ios_ra() => Class::Ra,
            None => Class::Router,
        }
    }

    /// Its alternative names that a device may have, each as its DER, sorted.
    pub fn names(&self) -> Vec<Vec<u8>> {
        let mut names =
            self.alt_names.as_deref().and_then(|der| extension::device_names(der).ok()).unwrap_or_default();
        names.sort();
        names
    }

    /// Whether neither the subject nor an alternative name tells who it is.
    pub fn is_nameless(&self) -> bool {
        self.subject.is_empty() && self.names().is_empty()
    }

    /// The certificate that answers it. Whether the issuer may have a CA below it is asked before.
    pub fn template(&self, issuer: &IssuerFacts<'_>, not_before: Time, not_after: Time) -> Template {
        let purpose = match self.authority {
            Some(asked) => Purpose::Authority {
                path_len: path_len_below(issuer.path_len, asked).unwrap_or(Some(0)),
                // Its key serves SCEP, too, where it says so and can.
                scep: self.key.kind().encrypts()
                    && self.usages.is_some_and(|usages| usages.contains(KeyUsages::KeyEncipherment)),
            },
            None => Purpose::Device,
        };
        let mut extensions = vec![
            extension::basic_constraints(purpose),
            extension::key_usage(purpose.usages(self.key.kind(), self.usages)),
        ];
        let mut purposes = self.purposes.clone();
        if self.class() == Class::Ra {
            // Who reads it need not go by the name.
            purposes.push(extension::CMC_RA);
        }
        extensions.extend(extension::extended_key_usage(&purposes));
        if let Some(names) = &self.alt_names {
            // Critical when it is all there is: RFC 5280, 4.1.2.6. Parsed once already, in `of`.
            extensions.extend(extension::subject_alt_name(names, self.subject.is_empty()).ok().flatten());
        }
        extensions.extend(issuer.links(&self.key));
        Template {
            algorithm: issuer.algorithm,
            issuer: issuer.name.clone(),
            not_before,
            not_after,
            subject: self.subject.clone(),
            key: self.key.clone(),
            extensions,
        }
    }
}

/// What an issuer puts into every certificate.
#[derive(Clone, Debug)]
pub struct IssuerFacts<'a> {
    /// Its name.
    pub name: &'a Name,
    /// keyIdentifier of its key.
    pub key_id: &'a [u8],
    /// With which algorithm it signs.
    pub algorithm: SignatureAlgorithm,
    /// Where its CRL is, when that is told.
    pub cdp: Option<&'a str>,
    /// pathLenConstraint of its own certificate.
    pub path_len: Option<u8>,
}

/// The pathLenConstraint of a CA that asks for this one below a CA with its `own`: less than that (RFC 5280,
/// 4.2.1.9). `Err` when no CA may stand below.
pub fn path_len_below(own: Option<u8>, asked: Option<u8>) -> Result<Option<u8>, NoneBelow> {
    let longest = own.map(|own| own.checked_sub(1).ok_or(NoneBelow)).transpose()?;
    Ok(match (asked, longest) {
        (Some(asked), Some(longest)) => Some(asked.min(longest)),
        (asked, longest) => asked.or(longest),
    })
}

/// A CA whose pathLenConstraint is 0 certifies no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoneBelow;

impl IssuerFacts<'_> {
    /// subjectKeyIdentifier, authorityKeyIdentifier, cRLDistributionPoints.
    fn links(&self, key: &PublicKey) -> Vec<Extension> {
        let mut links =
            vec![extension::subject_key_identifier(key), extension::authority_key_identifier(self.key_id)];
        links.extend(self.cdp.and_then(extension::crl_distribution_point));
        links
    }
}

/// The self-signed certificate of a CA (S2). `scep` when its key also serves SCEP.
pub fn root(
    name: &Name,
    key: &PublicKey,
    scep: bool,
    algorithm: SignatureAlgorithm,
    validity: (Time, Time),
) -> Template {
    let purpose = Purpose::Authority { path_len: None, scep };
    let key_id = key.key_identifier();
    Template {
        algorithm,
        issuer: name.clone(),
        not_before: validity.0,
        not_after: validity.1,
        subject: name.clone(),
        key: key.clone(),
        extensions: vec![
            extension::basic_constraints(purpose),
            extension::key_usage(purpose.usages(key.kind(), None)),
            extension::subject_key_identifier(key),
            extension::authority_key_identifier(&key_id),
        ],
    }
}

/// The certificate of a key that serves SCEP in place of the CA's: `purpose` is one of the two for that.
pub fn scep_key(
    subject: &Name,
    key: &PublicKey,
    purpose: Purpose,
    issuer: &IssuerFacts<'_>,
    validity: (Time, Time),
) -> Template {
    let mut extensions =
        vec![extension::basic_constraints(purpose), extension::key_usage(purpose.usages(key.kind(), None))];
    // By this, and not by their names, clients tell them from a device's.
    extensions.extend(extension::extended_key_usage(&[extension::CMC_RA]));
    extensions.extend(issuer.links(key));
    Template {
        algorithm: issuer.algorithm,
        issuer: issuer.name.clone(),
        not_before: validity.0,
        not_after: validity.1,
        subject: subject.clone(),
        key: key.clone(),
        extensions,
    }
}

/// The self-signed certificate of a TLS server (T8) with this subjectAltName.
pub fn tls_server(
    name: &Name,
    key: &PublicKey,
    names: Option<Extension>,
    algorithm: SignatureAlgorithm,
    validity: (Time, Time),
) -> Template {
    // No keyUsage: one without keyCertSign keeps OpenSSL before 3.0 from finding the certificate self-signed,
    // and one with it makes a CA of a server.
    let mut extensions = vec![extension::basic_constraints(Purpose::Device)];
    extensions.extend(extension::extended_key_usage(&[rfc5912::ID_KP_SERVER_AUTH]));
    extensions.extend(names);
    extensions.push(extension::subject_key_identifier(key));
    Template {
        algorithm,
        issuer: name.clone(),
        not_before: validity.0,
        not_after: validity.1,
        subject: name.clone(),
        key: key.clone(),
        extensions,
    }
}

/// Why a key is too weak to certify, if it is.
pub fn weakness(key: &PublicKey, rsa_1024: bool) -> Option<String> {
    match key.kind() {
        KeyKind::Rsa { bits } if bits >= 2048 || rsa_1024 && bits >= 1024 => None,
        KeyKind::Rsa { bits } if bits >= 1024 => {
            Some(format!("an RSA key of {bits} bits, which needs \"crypto legacy rsa-1024\""))
        }
        KeyKind::Rsa { bits } => Some(format!("an RSA key of {bits} bits; at least 2048 are needed")),
        KeyKind::Ec(_) | KeyKind::MlDsa(_) => None,
    }
}

/// Why a request cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestedError {
    /// A requested extension is not what its OID says.
    #[error("the requested extension {0} is malformed")]
    Malformed(ObjectIdentifier),
}
