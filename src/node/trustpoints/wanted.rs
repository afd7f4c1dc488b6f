//! What a trustpoint is to do, by the configuration.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use der::Encode;
use secrecy::SecretString;
use x509_cert::ext::pkix::KeyUsages;

use crate::config::{
    CertificateUse, Configuration, EnrollmentMethod, EnrollmentUrl, Fingerprint, Fqdn, KeyPair, Parameter,
    Password, ProfileStep, ProfileWay, RequestAddress, ServerMode, TrustpointSection, Vault,
};
use crate::pki::extension::{self, Purpose as CertificatePurpose};
use crate::pki::path::Legacy;
use crate::pki::{Hash, KeyKind, Name};
use crate::scep::AlgorithmPolicy;
use crate::store::TrustedKind;

use super::super::NodeError;

/// What a trustpoint is to do.
#[derive(Clone)]
pub struct Wanted {
    /// Its name.
    pub label: String,
    /// How the CA certificate is got.
    pub authentication: Method,
    /// How the first certificates are got.
    pub method: Method,
    /// How the next ones are got.
    pub again: Method,
    /// The trustpoint whose certificate signs the first request.
    pub credential: Option<String>,
    /// Host and port of the proxy on the way to the CA.
    pub proxy: Option<(String, u16)>,
    /// Time between two tries.
    pub retry_period: Duration,
    /// How often it is tried.
    pub retry_count: u32,
    /// For whom the certificates are.
    pub purpose: Purpose,
    /// What is asked for.
    pub request: Subject,
    /// The key pair or pairs.
    pub key: WantedKey,
    /// The token that keeps the certificates as well.
    pub storage: Option<String>,
    /// The challenge password.
    pub challenge: Option<Password>,
    /// That of the CA.
    pub fingerprint: Option<Fingerprint>,
    /// Where the CA certificate is read from, when not where requests go.
    pub root: Option<String>,
    /// Whether an RA stands before the CA that its certificate does not mark as one (`enrollment mode ra`).
    pub registrar: bool,
    /// Of requests.
    pub hash: Hash,
    /// What replies may use.
    pub allowed: AlgorithmPolicy,
    /// What the signatures of certificates that come may use.
    pub weak: Legacy,
    /// Whether certificates are asked for without the operator, and when the next one is.
    pub lead: Option<Lead>,
    /// Whether each certificate has a new key.
    pub regenerate: bool,
}

/// How certificates are got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// From this URL, by SCEP.
    Scep(String),
    /// By files whose names begin with this URL.
    Files {
        /// The beginning of their names.
        url: String,
        /// Whether requests have PEM boundaries.
        pem: bool,
    },
    /// By paste.
    Terminal,
    /// By a command of an enrolment profile.
    Command {
        /// The server.
        url: String,
        /// What is sent there.
        command: String,
        /// What `$P1` and the like stand for.
        parameters: BTreeMap<u8, Parameter>,
    },
    /// Nobody has said.
    None,
}

/// For whom the certificates of a trustpoint are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// For this host or what is behind it.
    Device,
    /// For the certificate server of the same name, which is a CA below another.
    Authority,
    /// For the certificate server of the same name, which is an RA.
    Registrar,
}

/// When the next certificate is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lead {
    /// After so many percent of the life of the one before.
    Percent(u8),
    /// So long before its end.
    Before(Duration),
    /// Never: only the first one is.
    Never,
}

/// Of what a subject is made.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// As typed.
    pub name: Option<String>,
    /// unstructuredName.
    pub fqdn: Option<String>,
    /// unstructuredAddress.
    pub address: Option<IpAddr>,
    /// serialNumber.
    pub serial: Option<String>,
    /// DNS names of subjectAltName.
    pub alt_names: Vec<String>,
    /// What the certificate is for.
    pub usage: Vec<CertificateUse>,
}

/// A key pair to be used, or generated when it is missing.
#[derive(Clone, Debug)]
pub struct WantedKey {
    /// Its label.
    pub label: String,
    /// Its kind when it has to be generated.
    pub kind: KeyKind,
    /// The kind of a separate pair for encryption.
    pub encryption: Option<KeyKind>,
    /// Its token.
    pub token: Option<String>,
}

impl Wanted {
    /// What this trustpoint of a configuration is to do; none for those that get certificates from nobody: that
    /// of HTTPS, and those of CAs that sign their own.
    pub fn of(configuration: &Configuration, label: &str, section: &TrustpointSection) -> Option<Self> {
        let server = configuration.servers.get(label);
        let purpose = match server.map(|server| server.mode) {
            None => Purpose::Device,
            Some(ServerMode::Root) => return None,
            Some(ServerMode::SubCs) => Purpose::Authority,
            Some(ServerMode::Ra { .. }) => Purpose::Registrar,
        };
        let profile = match &section.enrollment.method {
            Some(EnrollmentMethod::SelfSigned) => return None,
            Some(EnrollmentMethod::Profile(name)) => configuration.profiles.get(name),
            _ => None,
        };
        let [authentication, method, again] = match (&section.enrollment.method, profile) {
            (_, Some(profile)) => [&profile.authentication, &profile.enrollment, &profile.again()]
                .map(|step| Method::of_profile(step, &profile.parameters)),
            (Some(EnrollmentMethod::Url { url: EnrollmentUrl::Scep(url), .. }), _) => {
                [const { Method::None }; 3].map(|_| Method::Scep(url.clone()))
            }
            (Some(EnrollmentMethod::Url { url: EnrollmentUrl::Files(url), pem }), _) => {
                [const { Method::None }; 3].map(|_| Method::Files { url: url.clone(), pem: *pem })
            }
            (Some(EnrollmentMethod::Terminal { .. }), _) => {
                [Method::Terminal, Method::Terminal, Method::Terminal]
            }
            _ => [Method::None, Method::None, Method::None],
        };
        let credential = section.enrollment.credential.clone();
        let credential = credential.or_else(|| profile.and_then(|profile| profile.credential.clone()));
        let mut request = Subject::of(configuration, section);
        if let (Purpose::Authority, Some(server)) = (purpose, server) {
            // The issuer's name and nothing else: it stands in every certificate below.
            request = Subject { name: Some(server.issuer_name(label)), ..Subject::default() };
        }
        let lead = match (purpose, server.and_then(|server| server.auto_rollover)) {
            (Purpose::Device, _) => {
                section.auto_enroll.map(|auto| Lead::Percent(auto.percent.unwrap_or(DEFAULT_PERCENT)))
            }
            // One that is shut asks for nothing.
            _ if server.is_some_and(|server| server.shutdown) => None,
            (_, Some(before)) => Some(Lead::Before(before.duration())),
            (_, None) => Some(Lead::Never),
        };
        let legacy = section.legacy;
        Some(Self {
            label: label.to_owned(),
            authentication,
            method,
            again,
            credential,
            proxy: section.enrollment.proxy.as_ref().map(|proxy| (proxy.host.clone(), proxy.port)),
            retry_period: section.enrollment.retry_after(),
            retry_count: section.enrollment.retry_count,
            purpose,
            request,
            key: WantedKey::of(configuration, label, section, purpose),
            storage: section.storage.clone(),
            challenge: section.request.password.clone(),
            fingerprint: section.fingerprint.clone(),
            root: section.root.clone(),
            registrar: section.enrollment.registrar,
            hash: section.hash(),
            allowed: AlgorithmPolicy { legacy_des: legacy.des, legacy_md5: legacy.md5 },
            weak: Legacy { md5: legacy.md5, sha1: legacy.sha1, rsa_1024: legacy.rsa_1024 },
            lead,
            // The key of a CA is never certified twice: its CRLs tell one CA from the other by it.
            regenerate: purpose == Purpose::Authority
                || section.regenerate
                || section.auto_enroll.is_some_and(|auto| auto.regenerate),
        })
    }

    /// What its requests become: a certificate, or one for signatures and one for encryption.
    pub fn kinds(&self) -> &'static [TrustedKind] {
        match self.key.encryption {
            None => &[TrustedKind::Own],
            Some(_) => &[TrustedKind::Own, TrustedKind::OwnEncryption],
        }
    }

    /// Whether the next certificate waits until the server of the same name takes it: a CA changes its key only
    /// when its certificate ends.
    pub fn keeps_next(&self) -> bool {
        self.purpose == Purpose::Authority
    }

    /// The challenge password, opened.
    pub fn challenge(&self, vault: &Vault) -> Result<Option<SecretString>, NodeError> {
        let opened = self.challenge.as_ref().map(|password| password.open(vault)).transpose();
        opened.map_err(|error| NodeError::Refused(error.to_string()))
    }

    /// Extensions that a request for this kind of certificate asks for, each encoded.
    pub fn extensions(&self, kind: TrustedKind, key: KeyKind) -> Result<Vec<Vec<u8>>, NodeError> {
        use KeyUsages as U;
        let mut all = Vec::new();
        match self.purpose {
            Purpose::Authority => {
                let purpose = CertificatePurpose::Authority { path_len: None, scep: key.encrypts() };
                all.push(extension::basic_constraints(purpose));
                all.push(extension::key_usage(purpose.usages(key, None)));
            }
            Purpose::Device | Purpose::Registrar => {
                let usages = match (kind, self.key.encryption, key) {
                    (TrustedKind::OwnEncryption | TrustedKind::NextOwnEncryption, ..) => {
                        U::KeyEncipherment.into()
                    }
                    (_, Some(_), _) | (_, _, KeyKind::Ec(_) | KeyKind::MlDsa(_)) => {
                        U::DigitalSignature.into()
                    }
                    _ => U::DigitalSignature | U::KeyEncipherment,
                };
                all.push(extension::key_usage(usages));
            }
        }
        use const_oid::db::rfc5912::{ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH};
        let purposes: Vec<_> = self
            .request
            .usage
            .iter()
            .filter_map(|usage| match usage {
                // IKE asks for none: RFC 4945, 5.1.3.12 has peers refuse certificates that are for something
                // else.
                CertificateUse::Ike => None,
                CertificateUse::SslClient => Some(ID_KP_CLIENT_AUTH),
                CertificateUse::SslServer => Some(ID_KP_SERVER_AUTH),
            })
            .collect();
        all.extend(extension::extended_key_usage(&purposes));
        let refused = |error: der::Error| NodeError::Refused(format!("subject-alt-name: {error}"));
        all.extend(extension::host_names(&self.request.alt_names, &[]).map_err(refused)?);
        all.iter().map(|extension| extension.to_der().map_err(refused)).collect()
    }
}

impl Method {
    /// What a task of a profile says.
    fn of_profile(step: &ProfileStep, parameters: &BTreeMap<u8, Parameter>) -> Self {
        match (&step.way, &step.command) {
            (Some(ProfileWay::Terminal { .. }), _) => Self::Terminal,
            (Some(ProfileWay::Url(url)), Some(command)) => {
                let (url, command) = (url.clone(), command.clone());
                Self::Command { url, command, parameters: parameters.clone() }
            }
            (Some(ProfileWay::Url(url)), None) if url.starts_with("http") => Self::Scep(url.clone()),
            (Some(ProfileWay::Url(url)), None) => Self::Files { url: url.clone(), pem: false },
            (None, _) => Self::None,
        }
    }

    /// Whether it needs nobody: SCEP, and commands that ask for no parameter.
    pub fn is_automatic(&self) -> bool {
        match self {
            Self::Scep(_) => true,
            Self::Command { parameters, .. } => {
                parameters.values().all(|parameter| matches!(parameter, Parameter::Value(_)))
            }
            Self::Files { .. } | Self::Terminal | Self::None => false,
        }
    }
}

impl Subject {
    fn of(configuration: &Configuration, section: &TrustpointSection) -> Self {
        let request = &section.request;
        Self {
            name: request.subject_name.clone(),
            fqdn: match &request.fqdn {
                Some(Fqdn::None) => None,
                Some(Fqdn::Name(name)) => Some(name.clone()),
                None => Some(configuration.fqdn()),
            },
            address: match request.ip_address {
                Some(RequestAddress::Address(address)) => Some(address),
                _ => None,
            },
            // The number of the host is filled in by whoever knows it.
            serial: (request.serial_number == Some(true)).then(String::new),
            alt_names: request.subject_alt_names.iter().cloned().collect(),
            usage: request.usage.iter().copied().collect(),
        }
    }

    /// As IOS has it: host name, address and serial number in one part of the name, before what was typed.
    pub fn name(&self) -> Result<Name, NodeError> {
        let quoted = |value: &str| format!("\"{}\"", value.replace(['"', '\\'], ""));
        let host = [
            self.fqdn.as_deref().map(|fqdn| format!("hostname={}", quoted(fqdn))),
            self.address.map(|address| format!("ipaddress={address}")),
            self.serial.as_deref().map(|serial| format!("serialNumber={}", quoted(serial))),
        ];
        let host = host.into_iter().flatten().collect::<Vec<_>>().join("+");
        let parts = [host, self.name.clone().unwrap_or_default()];
        let text = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(",");
        if text.is_empty() {
            return Err(NodeError::Refused(
                "the request would name nobody\nhint: `subject-name` or `fqdn` says who it is".into(),
            ));
        }
        Name::parse(&text).map_err(|error| NodeError::Refused(format!("the subject {text}: {error}")))
    }
}

impl WantedKey {
    fn of(configuration: &Configuration, label: &str, section: &TrustpointSection, purpose: Purpose) -> Self {
        let rsa = |bits: u32| KeyKind::Rsa { bits: bits as usize };
        let token = section.on.clone();
        match &section.key {
            Some(key) => Self {
                label: key.label().to_owned(),
                kind: key.kind(),
                encryption: match key {
                    KeyPair::Rsa { encryption_bits, .. } => {
                        encryption_bits.filter(|_| purpose == Purpose::Device).map(rsa)
                    }
                    KeyPair::Ec { .. } | KeyPair::MlDsa { .. } => None,
                },
                token,
            },
            None => {
                // IOS takes the key of the host for devices, and one of the server's name for servers.
                let name = match purpose {
                    Purpose::Device => configuration.fqdn(),
                    Purpose::Authority | Purpose::Registrar => label.to_owned(),
                };
                Self { label: name, kind: rsa(DEFAULT_BITS), encryption: None, token }
            }
        }
    }

    /// The kind of the pair for this kind of certificate.
    pub fn kind_for(&self, kind: TrustedKind) -> KeyKind {
        match (kind, self.encryption) {
            (TrustedKind::OwnEncryption | TrustedKind::NextOwnEncryption, Some(encryption)) => encryption,
            _ => self.kind,
        }
    }
}

const DEFAULT_BITS: u32 = 2048;
/// IOS without a percentage renews when the certificate has ended, and so is without one for a while.
const DEFAULT_PERCENT: u8 = 90;
