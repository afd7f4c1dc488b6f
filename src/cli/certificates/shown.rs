//! How certificates and the requests for them are shown: in the words of IOS.

use std::fmt;

use serde::{Serialize, Serializer};

use super::octets;
use crate::cli::CommandError;
use crate::cli::command::groups;
use crate::pki::archive::pem;
use crate::pki::crl::{self, CrlPlace};
use crate::pki::{Certificate, Hash, KeyKind, Name, Serial, SignatureAlgorithm, Time, hex};
use crate::store::TrustedKind;

/// A certificate, as an operator wants it.
#[derive(Serialize)]
pub struct Shown {
    #[serde(skip)]
    title: String,
    trustpoints: Vec<String>,
    #[serde(serialize_with = "text")]
    serial: Serial,
    ca: bool,
    usage: &'static str,
    #[serde(serialize_with = "text")]
    issuer: Name,
    #[serde(serialize_with = "text")]
    subject: Name,
    #[serde(serialize_with = "text")]
    not_before: Time,
    #[serde(serialize_with = "text")]
    not_after: Time,
    // When the next one is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    renews: Option<String>,
    status: &'static str,
    fingerprint_md5: String,
    fingerprint_sha1: String,
    fingerprint_sha256: String,
    key: String,
    signature_algorithm: String,
    // Label of our key, when it is ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_label: Option<String>,
    pub pem: String,
    #[serde(skip)]
    verbose: bool,
    #[serde(skip)]
    certificate: Certificate,
}

impl Shown {
    /// Of a server's or HTTPS's.
    pub fn of(der: &[u8], label: &str, now: Time) -> Result<Self, CommandError> {
        let certificate = Certificate::parse(der)
            .map_err(|error| CommandError::Refused(format!("a certificate of {label}: {error}")))?;
        let ca = certificate.extensions().basic_constraints().is_some_and(|constraints| constraints.ca);
        let digest = |hash: Hash| hex(&hash.digest(&[der]));
        Ok(Self {
            title: if ca { "CA Certificate" } else { "RA Certificate" }.to_owned(),
            trustpoints: vec![label.to_owned()],
            serial: certificate.serial().clone(),
            ca,
            usage: usage(&certificate),
            issuer: Name::from_der(certificate.issuer_raw()),
            subject: Name::from_der(certificate.subject_raw()),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            renews: None,
            status: match () {
                () if now < certificate.not_before() => "Not yet valid",
                () if now > certificate.not_after() => "Expired",
                () => "Available",
            },
            fingerprint_md5: digest(Hash::Md5),
            fingerprint_sha1: digest(Hash::Sha1),
            fingerprint_sha256: digest(Hash::Sha256),
            key: match certificate.public_key().kind() {
                KeyKind::Rsa { bits } => format!("rsaEncryption ({bits} bit)"),
                KeyKind::Ec(curve) => format!("ecPublicKey ({} bit)", curve.bits()),
                kind @ KeyKind::MlDsa(_) => kind.to_string(),
            },
            signature_algorithm: match certificate.signature_algorithm() {
                Some(algorithm) => words(algorithm),
                None => "unknown".to_owned(),
            },
            key_label: None,
            pem: pem::write_certificate(der),
            verbose: false,
            certificate,
        })
    }

    /// Of a trustpoint: what it is there, and with which key.
    pub fn trusted(mut self, kind: TrustedKind, key_label: Option<String>, renews: Option<Time>) -> Self {
        let whose = match kind {
            TrustedKind::Own
            | TrustedKind::OwnEncryption
            | TrustedKind::NextOwn
            | TrustedKind::NextOwnEncryption => "Certificate",
            TrustedKind::Ca | TrustedKind::NextCa => "CA Certificate",
            TrustedKind::Ra | TrustedKind::NextRa => match self.usage {
                "Signature" => "RA Signature Certificate",
                "Encryption" => "RA KeyEncipher Certificate",
                _ => "RA Certificate",
            },
        };
        let next = if kind.is_next() { ROLLOVER } else { "" };
        self.title = format!("{whose}{next}");
        self.key_label = key_label;
        self.renews = renews.map(|renews| renews.to_string());
        self
    }

    /// The self-signed certificate of HTTPS.
    pub fn self_signed(self) -> Self {
        Self { title: "Router Self-Signed Certificate".to_owned(), ..self }
    }

    /// Of the time after the rollover.
    pub fn next(self) -> Self {
        Self { title: format!("{}{ROLLOVER}", self.title), ..self }
    }

    /// With everything that `verbose` shows.
    pub fn verbose(self, verbose: bool) -> Self {
        Self { verbose, ..self }
    }
}

/// A request for a certificate that is not there yet.
#[derive(Serialize)]
pub struct Pending {
    /// Name of the trustpoint.
    pub trustpoint: String,
    /// Its subject, in the notation of IOS.
    pub subject: String,
    /// What the certificate will be for.
    pub usage: &'static str,
    /// Whether it is for the time after the CA's rollover.
    pub next: bool,
    /// `pending` and so on.
    pub status: &'static str,
    /// Over its CertificationRequestInfo, as IOS computes it; absent while it is being made.
    pub fingerprint_md5: Option<String>,
    /// The same.
    pub fingerprint_sha1: Option<String>,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Certificates, and requests for further ones.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Entry {
    /// One that is there.
    There(Box<Shown>),
    /// One that is not.
    Pending(Pending),
}

/// What `show crypto pki certificates` shows.
#[derive(Serialize)]
pub struct List(Vec<Entry>);

impl List {
    /// These; a certificate of several trustpoints is shown once.
    pub fn of(entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut list: Vec<Entry> = Vec::new();
        for entry in entries {
            let same = |known: &&mut Entry| match (known, &entry) {
                (Entry::There(known), Entry::There(new)) => {
                    known.title == new.title && known.certificate.der() == new.certificate.der()
                }
                _ => false,
            };
            match (list.iter_mut().find(same), entry) {
                (Some(Entry::There(known)), Entry::There(mut new)) => {
                    known.trustpoints.append(&mut new.trustpoints);
                }
                (_, entry) => list.push(entry),
            }
        }
        Self(list)
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            writeln!(f, "% There is no certificate yet.")?;
        }
        for (i, entry) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            match entry {
                Entry::There(shown) => shown.fmt(f)?,
                Entry::Pending(pending) => pending.fmt(f)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        writeln!(f, "  Status: {}", self.status)?;
        if self.verbose {
            writeln!(f, "  Version: {}", self.certificate.version())?;
        }
        writeln!(f, "  Certificate Serial Number: {}", octets(&self.serial))?;
        writeln!(f, "  Certificate Usage: {}", self.usage)?;
        name(f, "Issuer", &self.issuer)?;
        name(f, "Subject", &self.subject)?;
        let places = crl::places(&self.certificate);
        if !places.is_empty() {
            writeln!(f, "  CRL Distribution Points:")?;
        }
        for place in places {
            match place {
                // What another CA has written.
                CrlPlace::Uri(uri) => writeln!(f, "    {}", uri.replace(char::is_control, "?"))?,
                CrlPlace::Entry(name) => writeln!(f, "    {name}")?,
            }
        }
        writeln!(f, "  Validity Date:")?;
        writeln!(f, "    start date: {}", self.not_before)?;
        writeln!(f, "    end   date: {}", self.not_after)?;
        self.renews.iter().try_for_each(|renews| writeln!(f, "    renew date: {renews}"))?;
        if self.verbose {
            self.details(f)?;
        }
        writeln!(f, "  Associated Trustpoints: {}", self.trustpoints.join(" "))?;
        if self.verbose {
            writeln!(f, "  Fingerprint MD5: {}", groups(&self.fingerprint_md5))?;
            writeln!(f, "  Fingerprint SHA1: {}", groups(&self.fingerprint_sha1))?;
        }
        writeln!(f, "  Fingerprint SHA256: {}", groups(&self.fingerprint_sha256))?;
        match &self.key_label {
            Some(label) if self.verbose => writeln!(f, "  Key Label: {label}"),
            _ => Ok(()),
        }
    }
}

impl Shown {
    fn details(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  Subject Key Info:\n    Public Key Algorithm: {}", self.key)?;
        writeln!(f, "  Signature Algorithm: {}", self.signature_algorithm)?;
        let extensions = self.certificate.extensions();
        if extensions.is_empty() {
            return Ok(());
        }
        writeln!(f, "  X509v3 extensions:")?;
        if let Some(usage) = extensions.key_usage() {
            let words = [
                ("Digital Signature", usage.digital_signature()),
                ("Non Repudiation", usage.non_repudiation()),
                ("Key Encipherment", usage.key_encipherment()),
                ("Key Cert Sign", usage.key_cert_sign()),
                ("CRL Signature", usage.crl_sign()),
            ];
            writeln!(f, "    X509v3 Key Usage:")?;
            let mut said = words.into_iter().filter(|(_, set)| *set);
            said.try_for_each(|(word, _)| writeln!(f, "      {word}"))?;
        }
        if let Some(key) = extensions.subject_key_identifier() {
            writeln!(f, "    X509v3 Subject Key ID: {}", groups(&hex(key)))?;
        }
        if let Some(constraints) = extensions.basic_constraints() {
            let ca = if constraints.ca { "TRUE" } else { "FALSE" };
            writeln!(f, "    X509v3 Basic Constraints:\n        CA: {ca}")?;
        }
        match extensions.authority_key_identifier() {
            Some(key) => writeln!(f, "    X509v3 Authority Key ID: {}", groups(&hex(key))),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Certificate{}", if self.next { ROLLOVER } else { "" })?;
        writeln!(f, "  Subject:")?;
        rdns(&self.subject).try_for_each(|rdn| writeln!(f, "    {rdn}"))?;
        writeln!(f, "   Status: {}", self.status)?;
        writeln!(f, "   Key Usage: {}", self.usage)?;
        let fingerprints = [("MD5", &self.fingerprint_md5), ("SHA1", &self.fingerprint_sha1)];
        for (kind, digits) in fingerprints {
            if let Some(digits) = digits {
                writeln!(f, "   Certificate Request Fingerprint {kind}: {}", groups(digits))?;
            }
        }
        self.error.iter().try_for_each(|error| writeln!(f, "   Last error: {error}"))?;
        writeln!(f, "   Associated Trustpoint: {}", self.trustpoint)
    }
}

/// In the words of IOS: `SHA256 with RSA Encryption`.
fn words(algorithm: SignatureAlgorithm) -> String {
    let (hash, key) = match algorithm {
        SignatureAlgorithm::RsaPkcs1(hash) => (hash, "RSA Encryption"),
        SignatureAlgorithm::RsaPss(hash) => (hash, "RSA PSS"),
        SignatureAlgorithm::Ecdsa(hash) => (hash, "ECDSA"),
        SignatureAlgorithm::MlDsa(set) => return KeyKind::MlDsa(set).to_string(),
    };
    format!("{} with {key}", hash.name().to_ascii_uppercase())
}

/// In the words of IOS.
pub fn usage(certificate: &Certificate) -> &'static str {
    let Some(usage) = certificate.extensions().key_usage() else { return "General Purpose" };
    let signs = usage.digital_signature() || usage.key_cert_sign();
    match (signs, usage.key_encipherment()) {
        (true, true) => "General Purpose",
        (false, true) => "Encryption",
        _ => "Signature",
    }
}

fn text<T: fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// A name, one RDN a line.
fn name(f: &mut fmt::Formatter<'_>, title: &str, name: &Name) -> fmt::Result {
    writeln!(f, "  {title}:")?;
    let text = name.to_string();
    rdns(&text).try_for_each(|rdn| writeln!(f, "    {rdn}"))
}

/// The RDNs of a name in the notation of IOS.
pub fn rdns(text: &str) -> impl Iterator<Item = &str> {
    let mut start = 0;
    // A comma in a value is escaped.
    let ends = text.match_indices(',').map(|(at, _)| at).filter(|at| !text[..*at].ends_with('\\'));
    ends.chain([text.len()]).map(move |end| {
        let rdn = &text[start..end];
        start = end + 1;
        rdn
    })
}

const ROLLOVER: &str = " (Rollover)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shown_by_rdn() {
        struct Shown(Name);
        impl fmt::Display for Shown {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                name(f, "Issuer", &self.0)
            }
        }
        let shown = Shown(Name::parse("CN=a, O=\"b, c\", C=US").unwrap());
        assert_eq!(shown.to_string().lines().count(), 4, "{shown}");
        assert!(shown.to_string().starts_with("  Issuer:\n    cn=a\n    o=b"), "{shown}");
    }
}
