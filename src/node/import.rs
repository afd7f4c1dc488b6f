//! Keys and certificates that an operator brings to a trustpoint (`crypto pki import`), and certificates alone
//! (`crypto pki certificate chain`).
//!
//! Nothing is half done: what cannot be kept whole is taken back.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::config::{self, CertificateSource, Configuration, KeyPair, TrustpointSection};
use crate::files::{FileUrl, Files};
use crate::pki::{Certificate, Hash, KeyKind, Name, PrivateKey, Serial};
use crate::store::{Authority, Role, Store, TrustedCertificate, TrustedKind};
use crate::token::{Token, TokenKey};

use super::{KeyReport, Node, NodeError, Usage, takeover};

/// Keys and certificates for a trustpoint.
pub struct Import {
    /// Its name. The trustpoint is made when there is none.
    pub trustpoint: String,
    /// Certificates of CAs, DER.
    pub authorities: Vec<Vec<u8>>,
    /// Its keys, with their certificates.
    pub pairs: Vec<Pair>,
    /// The token; that of the trustpoint, or the only one, when absent.
    pub token: Option<String>,
    /// Whether the keys may leave again.
    pub exportable: bool,
    /// The file they come from, to be destroyed when they are no longer needed there.
    pub source: Option<String>,
}

/// A key and its certificate.
pub struct Pair {
    /// The key.
    pub key: PrivateKey,
    /// What it is for.
    pub usage: Usage,
    /// Its certificate, DER; among those of CAs when absent.
    pub certificate: Option<Vec<u8>>,
}

/// What was imported.
#[derive(Clone, Debug, Serialize)]
pub struct Imported {
    /// The keys on their token.
    pub keys: Vec<KeyReport>,
    /// Subjects of the certificates.
    pub certificates: Vec<String>,
    /// What is weak about them.
    pub warnings: Vec<String>,
}

/// The certificates and keys of a trustpoint.
pub struct Holdings {
    /// Certificates of CAs, DER.
    pub authorities: Vec<Vec<u8>>,
    /// Its keys, that for signatures first.
    pub pairs: Vec<Held>,
}

/// A key of a trustpoint.
pub struct Held {
    /// What the operator calls it.
    pub name: String,
    /// Its label on the token.
    pub key: String,
    /// Its certificate, DER; among those of CAs when absent.
    pub certificate: Option<Vec<u8>>,
    usage: Usage,
}

impl Held {
    /// As IOS has it: `General Purpose Key`.
    pub fn usage_in_words(&self) -> &'static str {
        match self.usage {
            Usage::General => "General Purpose Key",
            Usage::Signature => "Signature Key",
            Usage::Encryption => "Encryption Key",
        }
    }

    /// What stands after the name in the names of its files.
    pub fn suffix(&self) -> &'static str {
        match self.usage {
            Usage::General => "",
            Usage::Signature => "-sign",
            Usage::Encryption => "-encr",
        }
    }
}

impl Node {
    /// What a trustpoint has (`crypto pki export`), that of a certificate server too.
    pub fn holdings(&self, trustpoint: &str) -> Result<Holdings, NodeError> {
        let authorities = self.store.authorities(trustpoint)?;
        let ca =
            authorities.into_iter().find(|authority| authority.role == Role::Ca && authority.is_active());
        if let Some(ca) = ca {
            let name = ca.key_label.clone();
            let pair = Held { name, key: ca.key_label, certificate: None, usage: Usage::General };
            return Ok(Holdings { authorities: vec![ca.certificate], pairs: vec![pair] });
        }
        let mut trusted = self.store.trusted(trustpoint)?;
        trusted.retain(|trusted| !trusted.kind.is_next());
        if trusted.is_empty() {
            let known = self.configuration().trustpoints.contains_key(trustpoint);
            return Err(NodeError::NotFound(match known {
                true => format!("the trustpoint \"{trustpoint}\" has no certificates"),
                false => format!("there is no trustpoint \"{trustpoint}\""),
            }));
        }
        let (own, authorities): (Vec<_>, Vec<_>) =
            trusted.into_iter().partition(|trusted| trusted.kind.is_own());
        let keys = own.iter().chain(&authorities).filter_map(|trusted| trusted.key_label.clone());
        let encryption =
            |key: &str| own.iter().any(|o| o.key_label.as_deref() == Some(&*Usage::Encryption.label(key)));
        let mut pairs = Vec::new();
        for key in keys {
            let mut certificates = own.iter().filter(|own| own.key_label.as_deref() == Some(&*key));
            let name = key.strip_suffix(&Usage::Encryption.label("")).unwrap_or(&key).to_owned();
            let usage = match () {
                () if name != key => Usage::Encryption,
                () if encryption(&key) => Usage::Signature,
                () => Usage::General,
            };
            let certificate = certificates.next().map(|own| own.der.clone());
            pairs.push(Held { name, key, certificate, usage });
        }
        pairs.sort_by_key(|pair| pair.usage == Usage::Encryption);
        Ok(Holdings { authorities: authorities.into_iter().map(|ca| ca.der).collect(), pairs })
    }

    /// What a certificate server will have when it has rolled over (`crypto pki export … rollover`).
    pub fn next_holdings(&self, label: &str) -> Result<Holdings, NodeError> {
        let Some(next) = self.server(label)?.next_authority()? else {
            return Err(NodeError::NotFound(format!("\"{label}\" has no next CA certificate")));
        };
        let name = next.key_label.clone();
        let pair = Held { name, key: next.key_label, certificate: None, usage: Usage::General };
        Ok(Holdings { authorities: vec![next.certificate], pairs: vec![pair] })
    }

    /// Brings keys to a token and keeps their certificates (`crypto pki import`).
    pub fn import(&self, import: Import) -> Result<Imported, NodeError> {
        let name = import.trustpoint.clone();
        let configuration = self.configuration();
        let trustpoint = configuration.trustpoints.get(&name);
        self.check_free(&name)?;
        let certificates = Certificates::of(&import)?;
        let on = import.token.as_deref().or(trustpoint.and_then(|section| section.on.as_deref()));
        let token = self.token_set().get(on)?;
        let key_name = trustpoint.and_then(|section| section.key.as_ref()).map_or(&*name, KeyPair::label);

        let before = self.store.trusted(&name)?;
        let mut new = Vec::new();
        let done = bring_keys(&token, key_name, &import, &certificates, &mut new).and_then(|keys| {
            certificates.keep(self, &name, &token, key_name)?;
            let mut changed = self.configuration();
            let section = changed.trustpoints.entry(name.clone()).or_default();
            add_key(section, key_name, &import);
            self.apply(changed)?;
            Ok(keys)
        });
        let keys = match done {
            Ok(keys) => keys,
            Err(error) => {
                self.take_back(&name, &token, &new, before);
                return Err(error);
            }
        };
        if let Some(source) = &import.source {
            self.store.set_mark(&format!("trustpoint {name}"), KEY_FROM, Some(source))?;
        }
        Ok(Imported {
            keys: keys.iter().map(|key| self.report(token.name(), key.info())).collect::<Result<_, _>>()?,
            certificates: certificates.subjects(),
            warnings: certificates.authorities.iter().flat_map(weaknesses).collect(),
        })
    }

    /// Does what chains say.
    pub(super) fn keep_chains(&self, chains: Vec<Chain>) -> Result<(), NodeError> {
        for Chain { trustpoint, removed, certificates } in chains {
            for entry in &removed {
                let gone = self.distrust_numbered(&trustpoint, kind(entry.ca), &entry.serial)?;
                if gone == 0 && !entry.ca {
                    self.distrust_numbered(&trustpoint, TrustedKind::Ca, &entry.serial)?;
                }
            }
            for (kind, certificate) in certificates {
                // A chain names one certificate for each number.
                self.distrust_numbered(&trustpoint, kind, certificate.serial())?;
                self.store.trust(trusted(&trustpoint, kind, &certificate, None))?;
            }
        }
        Ok(())
    }

    /// Removes what a trustpoint has of this kind under this serial number. How many that were.
    pub(super) fn distrust_numbered(
        &self,
        trustpoint: &str,
        kind: TrustedKind,
        serial: &Serial,
    ) -> Result<u64, NodeError> {
        let trusted = self.store.trusted(trustpoint)?;
        let mut gone = 0;
        for one in trusted.iter().filter(|one| one.kind == kind && one.serial == *serial) {
            gone += self.store.distrust(trustpoint, Some(one))?;
        }
        Ok(gone)
    }

    /// The certificates of a trustpoint go with it.
    pub(super) fn forget_trustpoint(&self, label: &str) -> Result<(), NodeError> {
        self.store.distrust(label, None)?;
        Ok(self.store.set_mark(&format!("trustpoint {label}"), KEY_FROM, None)?)
    }

    /// Trustpoints of servers that have a CA are not for others.
    fn check_free(&self, name: &str) -> Result<(), NodeError> {
        let taken = self.store.authorities(name)?.iter().any(|authority| authority.role == Role::Ca);
        match taken {
            false => Ok(()),
            true => Err(NodeError::Refused(format!(
                "the trustpoint \"{name}\" is that of certificate server \"{name}\", which has a CA already; delete \
                 the server first (\"no crypto pki server {name}\")"
            ))),
        }
    }

    fn take_back(&self, name: &str, token: &Token, keys: &[String], before: Vec<TrustedCertificate>) {
        for label in keys {
            if let Err(error) = token.delete(label) {
                tracing::error!(label, %error, "a key whose import failed is still there");
            }
        }
        let kept = self
            .store
            .distrust(name, None)
            .and_then(|_| before.into_iter().try_for_each(|certificate| self.store.trust(certificate)));
        if let Err(error) = kept {
            tracing::error!(trustpoint = name, %error, "certificates of an import that failed may still be there");
        }
    }
}

/// What the chain of a trustpoint says, its certificates read.
pub(super) struct Chain {
    trustpoint: String,
    removed: BTreeSet<config::Entry>,
    certificates: Vec<(TrustedKind, Certificate)>,
}

/// Reads what the chains of a configuration name, and takes them out of it: what they say is for the database.
pub(super) fn read_chains(new: &mut Configuration, files: &Files) -> Result<Vec<Chain>, NodeError> {
    let mut chains = Vec::new();
    for (trustpoint, chain) in std::mem::take(&mut new.chains) {
        let mut certificates = Vec::new();
        for (entry, source) in chain.certificates {
            let certificate = match source {
                CertificateSource::Typed(certificate) => *certificate,
                CertificateSource::File(url) => read_certificate(files, &url)?,
            };
            if *certificate.serial() != entry.serial {
                return Err(NodeError::Refused(format!(
                    "the certificate has the serial number {}, not {}",
                    certificate.serial(),
                    entry.serial
                )));
            }
            certificates.push((kind(entry.ca), certificate));
        }
        chains.push(Chain { trustpoint, removed: chain.removed, certificates });
    }
    Ok(chains)
}

/// Leaves the certificate of a CA, whose key stays, to the trustpoint of its server: the server can be made
/// again and go on.
pub(super) fn keep_authority(store: &dyn Store, label: &str, authority: Authority) -> Result<(), NodeError> {
    if authority.role != Role::Ca || !authority.is_active() {
        return Ok(());
    }
    let certificate = super::server::parse(&authority.certificate)?;
    let place = Some((authority.token.as_str(), authority.key_label));
    Ok(store.trust(trusted(label, TrustedKind::Ca, &certificate, place))?)
}

/// The certificates of an import, each where it belongs.
struct Certificates {
    authorities: Vec<Certificate>,
    own: Vec<(Certificate, Usage)>,
}

impl Certificates {
    /// Reads them; each key must have one.
    fn of(import: &Import) -> Result<Self, NodeError> {
        let read =
            |der: &Vec<u8>| Certificate::parse(der).map_err(|error| NodeError::Refused(error.to_string()));
        let authorities = import.authorities.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let mut own = Vec::new();
        for pair in &import.pairs {
            let public = pair.key.public_key().map_err(|error| NodeError::Refused(error.to_string()))?;
            let is_its = |certificate: &Certificate| *certificate.public_key() == public;
            match pair.certificate.as_ref().map(read).transpose()? {
                // A CA's own stands among those of CAs.
                Some(certificate) if is_its(&certificate) && authorities.contains(&certificate) => {}
                Some(certificate) if is_its(&certificate) => own.push((certificate, pair.usage)),
                None if authorities.iter().any(is_its) => {}
                Some(certificate) => {
                    let subject = Name::from_der(certificate.subject_raw());
                    return Err(NodeError::Refused(format!(
                        "the private key is not that of the certificate of {subject}"
                    )));
                }
                None => return Err(NodeError::Refused("there is no certificate for the private key".into())),
            }
        }
        for (certificate, _) in own.iter().filter(|_| !authorities.is_empty()) {
            if !authorities.iter().any(|ca| certificate.verify_signed_by(ca.public_key()).is_ok()) {
                let subject = Name::from_der(certificate.subject_raw());
                return Err(NodeError::Refused(format!(
                    "the certificate of {subject} is not signed by the CA"
                )));
            }
        }
        Ok(Self { authorities, own })
    }

    fn is_of_ca(&self, key: &PrivateKey) -> bool {
        let public = key.public_key().ok();
        self.authorities.iter().any(|ca| Some(ca.public_key()) == public.as_ref())
    }

    fn keep(&self, node: &Node, name: &str, token: &Token, key_name: &str) -> Result<(), NodeError> {
        let key = token.find(key_name)?;
        for ca in &self.authorities {
            let its = key.as_ref().filter(|key| key.public_key() == ca.public_key());
            let place = its.map(|_| (token.name(), key_name.to_owned()));
            node.store.trust(trusted(name, TrustedKind::Ca, ca, place))?;
        }
        for (certificate, usage) in &self.own {
            let place = (token.name(), usage.label(key_name));
            let kind = match usage {
                Usage::Encryption => TrustedKind::OwnEncryption,
                Usage::General | Usage::Signature => TrustedKind::Own,
            };
            node.store.trust(trusted(name, kind, certificate, Some(place)))?;
        }
        Ok(())
    }

    fn subjects(&self) -> Vec<String> {
        let all = self.authorities.iter().chain(self.own.iter().map(|(certificate, _)| certificate));
        all.map(|certificate| Name::from_der(certificate.subject_raw()).to_string()).collect()
    }
}

/// Imports the keys. `new` has the labels of those that were not there before.
fn bring_keys(
    token: &Token,
    key_name: &str,
    import: &Import,
    certificates: &Certificates,
    new: &mut Vec<String>,
) -> Result<Vec<TokenKey>, NodeError> {
    let mut keys = Vec::new();
    for pair in &import.pairs {
        let label = pair.usage.label(key_name);
        if let Some(key) = token.find(&label)? {
            // The same key: a crash may have come before its certificates were kept.
            if pair.key.public_key().is_ok_and(|public| public == *key.public_key()) {
                keys.push(key);
                continue;
            }
            return Err(exists(token, &label, pair.key.kind()));
        }
        // The CA of a router signs and decrypts with one key, whatever its certificate calls it.
        let usage = match pair.usage {
            Usage::Signature if certificates.is_of_ca(&pair.key) => Usage::General,
            usage => usage,
        };
        keys.push(token.import(&label, &pair.key, usage.on_token(pair.key.kind()), import.exportable)?);
        new.push(label);
    }
    Ok(keys)
}

fn add_key(section: &mut TrustpointSection, key_name: &str, import: &Import) {
    let ec = import.pairs.iter().any(|pair| matches!(pair.key, PrivateKey::Ec(_)));
    let label = key_name.to_owned();
    section.key.get_or_insert(match ec {
        true => KeyPair::Ec { label },
        false => KeyPair::Rsa { label, bits: None, encryption_bits: None },
    });
    section.on = section.on.take().or_else(|| import.token.clone());
}

fn exists(token: &Token, label: &str, kind: KeyKind) -> NodeError {
    let command = match kind {
        KeyKind::Rsa { .. } => "rsa",
        KeyKind::Ec(_) => "ec",
        KeyKind::MlDsa(_) => "mldsa",
    };
    NodeError::Refused(format!(
        "the key \"{label}\" exists already on {}:; choose another name, or delete it first (\"crypto key zeroize \
         {command} {label}\")",
        token.name()
    ))
}

/// What is weak about a CA that was brought; it is taken all the same, for it exists.
fn weaknesses(ca: &Certificate) -> Vec<String> {
    let name = Name::from_der(ca.subject_raw());
    let mut weak = Vec::new();
    if let KeyKind::Rsa { bits } = ca.public_key().kind()
        && bits < 2048
    {
        weak.push(format!("% Warning: the key of {name} has {bits} bits only"));
    }
    if let Some(hash @ (Hash::Md5 | Hash::Sha1)) =
        ca.signature_algorithm().and_then(|algorithm| algorithm.hash())
    {
        weak.push(format!("% Warning: the certificate of {name} is signed with {}", hash.name()));
    }
    weak
}

fn read_certificate(files: &Files, url: &str) -> Result<Certificate, NodeError> {
    let url = FileUrl::parse(url).map_err(|error| NodeError::Refused(error.to_string()))?;
    let octets = files.read(&url, None).map_err(|error| NodeError::Refused(error.to_string()))?;
    takeover::certificate(&octets).map_err(|error| NodeError::Refused(format!("{url}: {error}")))
}

fn trusted(
    trustpoint: &str,
    kind: TrustedKind,
    certificate: &Certificate,
    place: Option<(&str, String)>,
) -> TrustedCertificate {
    let (token, key_label) = place.map(|(token, label)| (token.to_owned(), label)).unzip();
    TrustedCertificate {
        trustpoint: trustpoint.to_owned(),
        kind,
        serial: certificate.serial().clone(),
        der: certificate.der().to_vec(),
        token,
        key_label,
    }
}

const fn kind(ca: bool) -> TrustedKind {
    if ca { TrustedKind::Ca } else { TrustedKind::Own }
}

/// Mark of a trustpoint: the file its private key was imported from.
pub(super) const KEY_FROM: &str = "key from";
