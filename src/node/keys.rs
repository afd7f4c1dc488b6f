//! Key pairs as the operator names them: made, shown, brought, taken away and deleted.

use std::time::Duration;

use crate::pki::{Certificate, KeyKind, Name, PrivateKey, PublicKey, Serial, Time, hex};
use crate::store::{Authority, Phase, Store, TrustedCertificate, TrustedKind};
use crate::token::{KeyInfo, KeyUsage, Problem};

use super::{KeyReport, Node, NodeError};

/// What a key pair is for. One name can stand for two pairs: that for encryption then has a label of its
/// own on the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Whatever its kind can do.
    General,
    /// Signatures.
    Signature,
    /// Decryption.
    Encryption,
}

/// A certificate that loses its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyCertificate {
    /// Subject, in the notation of IOS.
    pub subject: String,
    /// Serial number.
    pub serial: Serial,
    /// Where it is.
    pub place: CertificatePlace,
}

/// Where a certificate is whose key is on a token of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificatePlace {
    /// The own one of a trustpoint of this name; it goes with its key.
    Own(String),
    /// That of the CA that a trustpoint of this name trusts, once ours.
    Ca(String),
    /// Beside its key on the token.
    Token,
}

impl Usage {
    /// The label on the token of the pair that the operator calls `name`: `NAME`, or `NAME.encr` for the
    /// pair for encryption.
    pub fn label(self, name: &str) -> String {
        match self {
            Self::General | Self::Signature => name.to_owned(),
            Self::Encryption => format!("{name}{ENCRYPTION}"),
        }
    }

    /// What its pair on the token may do.
    pub(super) fn on_token(self, kind: KeyKind) -> KeyUsage {
        match self {
            Self::General => KeyUsage::general(kind),
            Self::Signature => KeyUsage::SIGNATURE,
            Self::Encryption => KeyUsage::ENCRYPTION,
        }
    }
}

impl KeyReport {
    /// Whether this pair is meant by `name`: it has that label, or is the pair for encryption beside it.
    pub fn is_named(&self, name: &str) -> bool {
        let beside = self.usage == KeyUsage::ENCRYPTION && self.name.strip_suffix(ENCRYPTION) == Some(name);
        self.name == name || beside
    }
}

impl Node {
    /// Generates a key pair on a token, on the only one when none is named (`crypto key generate`).
    pub fn generate_key(
        &self,
        token: Option<&str>,
        name: &str,
        kind: KeyKind,
        usage: Usage,
        exportable: bool,
    ) -> Result<KeyReport, NodeError> {
        let tokens = self.token_set();
        let token = tokens.get(token)?;
        let key = token.generate(&usage.label(name), kind, usage.on_token(kind), exportable)?;
        note_generated(self.store.as_ref(), key.public_key(), self.now());
        self.report(token.name(), key.info())
    }

    /// Generates a pair for signatures and one for encryption (`usage-keys`): both or none.
    pub fn generate_usage_keys(
        &self,
        token: Option<&str>,
        name: &str,
        kind: KeyKind,
        exportable: bool,
    ) -> Result<[KeyReport; 2], NodeError> {
        let encryption = self.generate_key(token, name, kind, Usage::Encryption, exportable)?;
        match self.generate_key(token, name, kind, Usage::Signature, exportable) {
            Ok(signature) => Ok([signature, encryption]),
            Err(error) => {
                if let Err(error) = self.delete_key(&encryption) {
                    tracing::error!(%error, key = encryption.name, "a key without its other half is left");
                }
                Err(error)
            }
        }
    }

    /// Brings a private key to a token, to the only one when none is named. It is on the token alone when
    /// this returns, and cannot leave it unless it is `exportable`.
    pub fn import_key(
        &self,
        token: Option<&str>,
        name: &str,
        key: &PrivateKey,
        usage: Usage,
        exportable: bool,
    ) -> Result<KeyReport, NodeError> {
        let tokens = self.token_set();
        let token = tokens.get(token)?;
        let key = token.import(&usage.label(name), key, usage.on_token(key.kind()), exportable)?;
        self.report(token.name(), key.info())
    }

    /// The private key with this label, from the token on which it is. Refused, in the words of IOS, unless
    /// it was made exportable and its token gives keys away.
    pub fn export_key(&self, label: &str) -> Result<PrivateKey, NodeError> {
        let key = self.token_set().key(label)?;
        let algorithm = match key.info().kind {
            KeyKind::Rsa { .. } => "RSA",
            KeyKind::Ec(_) => "EC",
            KeyKind::MlDsa(_) => "ML-DSA",
        };
        let exported = key.token().export(label).map_err(|error| match error.problem() {
            Problem::NotExportable { .. } | Problem::NotOffered { .. } => {
                NodeError::Refused(format!("{algorithm} keypair '{label}' is not exportable."))
            }
            _ => error.into(),
        })?;
        self.store.set_mark(EXPORTED, &mark(key.public_key()), Some(&self.now().unix().to_string()))?;
        Ok(exported)
    }

    /// Key pairs on the configured tokens, by token and name (`show crypto key mypubkey`).
    pub fn keys(&self) -> Result<Vec<KeyReport>, NodeError> {
        let mut reports = Vec::new();
        for token in self.token_set().all()? {
            let mut keys = token.keys()?;
            keys.sort_by(|a, b| a.label.cmp(&b.label));
            for key in &keys {
                reports.push(self.report(token.name(), key)?);
            }
        }
        Ok(reports)
    }

    /// The certificates that lose their key when this one is deleted.
    pub fn certificates_of(&self, key: &KeyReport) -> Result<Vec<KeyCertificate>, NodeError> {
        let mut found = Vec::new();
        let mut look = |der: &[u8], place: CertificatePlace| {
            let Ok(certificate) = Certificate::parse(der) else { return };
            if *certificate.public_key() == key.public_key {
                let subject = Name::from_der(certificate.subject_raw()).to_string();
                found.push(KeyCertificate { subject, serial: certificate.serial().clone(), place });
            }
        };
        for trustpoint in self.configuration().trustpoints.into_keys() {
            for trusted in self.store.trusted(&trustpoint)? {
                let place = match trusted.kind {
                    kind if kind.is_own() => CertificatePlace::Own(trustpoint.clone()),
                    _ => CertificatePlace::Ca(trustpoint.clone()),
                };
                look(&trusted.der, place);
            }
        }
        for certificate in self.token_set().get(Some(&key.token))?.certificates()? {
            look(&certificate.der, CertificatePlace::Token);
        }
        Ok(found)
    }

    /// Refuses when a certificate server or HTTPS needs one of these keys.
    pub fn check_unneeded(&self, keys: &[KeyReport]) -> Result<(), NodeError> {
        if let Some(identity) = self.tls_identity()
            && let Some(key) = keys.iter().find(|key| key.public_key == *identity.certificate.public_key())
        {
            return Err(NodeError::Refused(format!(
                "the key \"{}\" is that of HTTPS; say \"no ip http secure-server\" first",
                key.name
            )));
        }
        for server in self.servers() {
            for authority in self.store.authorities(&server)? {
                if self.is_over(&server, &authority)? {
                    continue;
                }
                let is_its =
                    |key: &&KeyReport| key.name == authority.key_label && key.token == authority.token;
                if let Some(key) = keys.iter().find(is_its) {
                    return Err(NodeError::Refused(format!(
                        "the key \"{}\" is that of certificate server \"{server}\"; delete the server first",
                        key.name
                    )));
                }
            }
        }
        Ok(())
    }

    /// Whether an authority has nothing to sign any more: it was taken back, or another has its place and the
    /// last CRL that it owes has ended.
    fn is_over(&self, server: &str, authority: &Authority) -> Result<bool, NodeError> {
        match authority.phase {
            Phase::Next | Phase::Active => Ok(false),
            Phase::Discarded => Ok(true),
            Phase::Retired => {
                let own = super::server::parse(&authority.certificate)?.not_after();
                let end =
                    self.store.issued_by(server, authority.id)?.last_end.map_or(own, |end| end.max(own));
                Ok(self.now() > end.plus(LONGEST_CRL * 2))
            }
        }
    }

    /// Whether HTTPS or one of these servers has this key, under whatever label.
    pub(super) fn is_needed<'s>(
        &self,
        key: &PublicKey,
        mut servers: impl Iterator<Item = &'s String>,
    ) -> Result<bool, NodeError> {
        let is_its = |der: &[u8]| Certificate::parse(der).is_ok_and(|its| its.public_key() == key);
        if self.tls_identity().is_some_and(|identity| identity.certificate.public_key() == key) {
            return Ok(true);
        }
        servers.try_fold(false, |found, server| {
            let authorities = self.store.authorities(server)?;
            Ok(found || authorities.iter().any(|authority| is_its(&authority.certificate)))
        })
    }

    /// Deletes key pairs and the certificates of trustpoints that lose their key with them
    /// (`crypto key zeroize`); nothing when a certificate server or HTTPS needs one of them.
    pub fn zeroize_keys(&self, keys: &[KeyReport]) -> Result<(), NodeError> {
        self.check_unneeded(keys)?;
        for key in keys {
            let certificates = self.certificates_of(key)?;
            self.delete_key(key)?;
            for KeyCertificate { serial, place, .. } in certificates {
                match place {
                    CertificatePlace::Own(trustpoint) => {
                        for kind in TrustedKind::OWN {
                            self.distrust_numbered(&trustpoint, kind, &serial)?;
                        }
                    }
                    CertificatePlace::Ca(trustpoint) => self.forget_place(&trustpoint, &serial)?,
                    CertificatePlace::Token => {}
                }
            }
        }
        Ok(())
    }

    /// A CA certificate without its key is trusted as before, and no CA of ours any more.
    fn forget_place(&self, trustpoint: &str, serial: &Serial) -> Result<(), NodeError> {
        let mut trusted = self.store.trusted(trustpoint)?;
        trusted.retain(|trusted| trusted.kind == TrustedKind::Ca && trusted.serial == *serial);
        for certificate in trusted {
            self.store.trust(TrustedCertificate { token: None, key_label: None, ..certificate })?;
        }
        Ok(())
    }

    fn delete_key(&self, key: &KeyReport) -> Result<(), NodeError> {
        self.token_set().get(Some(&key.token))?.delete(&key.name)?;
        Ok(self.store.set_mark(GENERATED, &mark(&key.public_key), None)?)
    }

    pub(super) fn report(&self, token: &str, key: &KeyInfo) -> Result<KeyReport, NodeError> {
        let noted = self.store.mark(GENERATED, &mark(&key.public_key))?;
        Ok(KeyReport {
            name: key.label.clone(),
            kind: key.kind,
            usage: key.usage,
            exportable: key.extractable.unwrap_or(true),
            token: token.to_owned(),
            generated: noted.and_then(|seconds| seconds.parse().ok()).map(Time::from_unix),
            public_key: key.public_key.clone(),
        })
    }
}

/// Notes when a key was generated: tokens do not know the time. Not noting it costs a line of
/// `show crypto key mypubkey`, so nothing fails for it.
pub(super) fn note_generated(store: &dyn Store, key: &PublicKey, now: Time) {
    if let Err(error) = store.set_mark(GENERATED, &mark(key), Some(&now.unix().to_string())) {
        tracing::warn!(%error, "when a key was generated is not noted");
    }
}

/// Whether a key was generated since the database began.
pub(super) fn was_generated(store: &dyn Store, key: &PublicKey) -> Result<bool, NodeError> {
    Ok(store.mark(GENERATED, &mark(key))?.is_some())
}

/// Whether the operator has taken a copy of a key.
pub(super) fn was_exported(store: &dyn Store, key: &PublicKey) -> Result<bool, NodeError> {
    Ok(store.mark(EXPORTED, &mark(key))?.is_some())
}

fn mark(key: &PublicKey) -> String {
    hex(&key.fingerprint())
}

/// `lifetime crl` at most. One is issued for the last time within one life after the last certificate has ended.
const LONGEST_CRL: Duration = Duration::from_secs(336 * 3600);
/// After the name, in the label of a pair that is for encryption alone.
const ENCRYPTION: &str = ".encr";
/// Scope of the marks of keys that were exported, by their SHA-256.
const EXPORTED: &str = "key exported";
/// Scope of the marks that say when a key was generated, by its SHA-256.
const GENERATED: &str = "key generated";
