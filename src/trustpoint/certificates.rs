//! What a CA shows of itself: its certificate, those above it, and those of its RAs (RFC 8894, 4.2.1).

use der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::KeyUsages;

use crate::pki::archive::pem;
use crate::pki::ber::Limits;
use crate::pki::extension::CMC_RA;
use crate::pki::{Certificate, Name, path};
use crate::scep::{DecodeError, SignedData};

use super::ClientError;

/// The certificates of a CA, sorted out. Nothing says yet that it is the CA that is meant: that is what
/// fingerprints are for, and they are those of [`ca`](Self::ca).
///
/// Fingerprints say nothing of RAs, and whoever stands between may add a certificate to an answer: that of
/// any device of the CA, his own. So the CA must have said of an RA that it is one: by a purpose in its
/// certificate (id-kp-cmcRA of RFC 6402, or the Certificate Request Agent of Microsoft's NDES), or by the
/// name `ioscs RA`, which CAs of IOS and of this program grant by hand alone. Others count once somebody says
/// so: [`with_unmarked`](Self::with_unmarked).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaCertificates {
    ca: Certificate,
    chain: Vec<Certificate>,
    registrars: Vec<Certificate>,
    unmarked: Vec<Certificate>,
}

impl CaCertificates {
    /// Reads what GetCACert answers or an operator brings: a certificate, or a PKCS#7 of several; DER, PEM or
    /// bare base64. Content types are not asked: servers mix them up.
    pub fn read(octets: &[u8]) -> Result<Self, ClientError> {
        Self::sorted(certificates(octets).map_err(unreadable)?)
    }

    /// Sorts certificates: the CA is the one that the RAs are from, else the one that no other CA is below. The
    /// chain is what leads up from it. RA certificates that the CA has not signed are nobody's and left out.
    pub fn sorted(certificates: Vec<Certificate>) -> Result<Self, ClientError> {
        let (cas, others): (Vec<_>, Vec<_>) = certificates.into_iter().partition(is_ca);
        let registers = |ca: &&Certificate| others.iter().any(|other| is_from(other, ca));
        let is_lowest = |ca: &&Certificate| {
            !cas.iter().any(|other| other != *ca && !other.is_self_issued() && is_from(other, ca))
        };
        let found = cas.iter().filter(registers).find(is_lowest);
        let found = found.or_else(|| cas.iter().find(registers)).or_else(|| cas.iter().find(is_lowest));
        let ca = found.or(cas.first()).ok_or(ClientError::NoCa)?.clone();
        let mut chain: Vec<Certificate> = Vec::new();
        while let Some(above) = above(chain.last().unwrap_or(&ca), &cas)
            && *above != ca
            && !chain.contains(above)
        {
            chain.push(above.clone());
        }
        let below = others.into_iter().filter(|other| is_from(other, &ca));
        let (registrars, unmarked) = below.partition(is_marked);
        Ok(Self { ca, chain, registrars, unmarked })
    }

    /// The same with everything that the CA has signed as that of an RA: the operator has said that one
    /// stands before the CA (`enrollment mode ra`), or whoever may say so has sorted the certificates before.
    #[must_use]
    pub fn with_unmarked(mut self) -> Self {
        self.registrars.append(&mut self.unmarked);
        self
    }

    /// The same with the next certificates of an RA, of those that nobody has vouched for: issued by this CA,
    /// marked as an RA's, and with the name of an RA of `current`. Where there are such, they take the place
    /// of what was there: an RA stands before the RAs of its CA.
    #[must_use]
    pub fn registered_by(mut self, offered: Vec<Certificate>, current: &Self) -> Self {
        let is_known =
            |c: &Certificate| current.registrars.iter().any(|known| known.subject_raw() == c.subject_raw());
        let counts = |c: &Certificate| !is_ca(c) && is_marked(c) && is_known(c) && is_from(c, &self.ca);
        let counted: Vec<_> = offered.into_iter().filter(counts).collect();
        if !counted.is_empty() {
            self.registrars = counted;
        }
        self
    }

    /// Every certificate in any of these forms, in its order; one at least. Nothing is sorted.
    pub fn every(octets: &[u8]) -> Result<Vec<Certificate>, ClientError> {
        certificates(octets).map_err(unreadable)
    }

    /// The CA's: what it issues is signed with this key.
    pub fn ca(&self) -> &Certificate {
        &self.ca
    }

    /// Those above the CA, the next one first; empty for a root, and where the server did not send them.
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// Certificates that the CA has signed and that may be an RA's, though nothing in them says so. Nobody
    /// trusts them.
    pub fn unmarked(&self) -> &[Certificate] {
        &self.unmarked
    }

    /// Those of RAs, in the order in which they came, marked ones first.
    pub fn registrars(&self) -> &[Certificate] {
        &self.registrars
    }

    /// Those of CAs: the CA's, then the chain.
    pub fn cas(&self) -> impl Iterator<Item = &Certificate> {
        std::iter::once(&self.ca).chain(&self.chain)
    }

    /// Every one: the CA's, the chain, the RAs'.
    pub fn all(&self) -> impl Iterator<Item = &Certificate> {
        self.cas().chain(&self.registrars)
    }

    /// What messages are encrypted to: the RA's certificate for that when there is one, else the CA's.
    pub fn recipient(&self) -> Result<&Certificate, ClientError> {
        let decrypts = |c: &&Certificate| c.public_key().kind().encrypts();
        let may = |c: &&Certificate| path::allows(c, KeyUsages::KeyEncipherment);
        let registrar = self.registrars.iter().filter(decrypts).find(may);
        // A CA certificate rarely says that its key decrypts, and its key does.
        let found = registrar.or(Some(&self.ca).filter(decrypts));
        found.ok_or(ClientError::CannotEncrypt)
    }

    /// Who may sign replies: the CA, and RAs whose certificates do not say that they only decrypt.
    pub fn signers(&self) -> impl Iterator<Item = &Certificate> {
        let may = |c: &&Certificate| {
            path::allows(c, KeyUsages::DigitalSignature) || path::allows(c, KeyUsages::NonRepudiation)
        };
        std::iter::once(&self.ca).chain(self.registrars.iter().filter(may))
    }

    /// Whether the CA issued this certificate.
    pub fn check_issued(&self, certificate: &Certificate) -> Result<(), ClientError> {
        certificate.verify_signed_by(self.ca.public_key()).map_err(ClientError::NotIssued)?;
        let named = certificate.issuer_raw() == self.ca.subject_raw();
        named.then_some(()).ok_or(ClientError::OtherIssuer)
    }
}

/// Certificates in any of the forms in which they are carried; one at least.
pub fn certificates(octets: &[u8]) -> Result<Vec<Certificate>, DecodeError> {
    const SEQUENCE: u8 = 0x30;
    if octets.first() == Some(&SEQUENCE) {
        return binary(octets);
    }
    let text = String::from_utf8_lossy(octets);
    let blocks = pem::blocks(&text).unwrap_or_default();
    let blocks: Vec<_> = blocks.iter().map(pem::Block::der).collect();
    let bare = match blocks.is_empty() {
        true => pem::der_of(&text, pem::CERTIFICATE).ok(),
        false => None,
    };
    let mut found = Vec::new();
    for der in blocks.into_iter().chain(bare.as_ref().map(|der| der.as_slice())) {
        found.extend(binary(der).unwrap_or_default());
        if found.len() > SignedData::MAX_CERTIFICATES {
            return Err(DecodeError::TooMany("certificates"));
        }
    }
    (!found.is_empty()).then_some(found).ok_or(DecodeError::NoCertificate)
}

/// One certificate, or a PKCS#7. What follows is passed over: a line feed, most often.
fn binary(octets: &[u8]) -> Result<Vec<Certificate>, DecodeError> {
    let (element, _) = crate::pki::ber::parse_prefix(octets, &Limits::REPLY)?;
    if let Ok(certificate) = Certificate::parse(element.raw()) {
        return Ok(vec![certificate]);
    }
    let data = SignedData::parse(octets, &Limits::REPLY)?;
    (!data.certificates.is_empty()).then_some(data.certificates).ok_or(DecodeError::NoCertificate)
}

fn unreadable(error: DecodeError) -> ClientError {
    match error {
        DecodeError::TooMany(_) => error.into(),
        error => ClientError::NoCertificates(error),
    }
}

/// By basicConstraints; of what has none, as certificates of version 1 have not, those that are self-signed.
fn is_ca(certificate: &Certificate) -> bool {
    match certificate.extensions().basic_constraints() {
        Some(constraints) => constraints.ca,
        None => certificate.is_self_issued(),
    }
}

/// Whether the CA says of this certificate that it is an RA's. Over a weak digest it may have said something
/// else: two certificates can have one signature then.
fn is_marked(certificate: &Certificate) -> bool {
    let counts = |hash| path::Legacy::default().allows(hash);
    if !certificate.signature_algorithm().is_some_and(|algorithm| algorithm.hash().is_none_or(counts)) {
        return false;
    }
    let purposes = certificate.extensions().purposes();
    let registers = purposes.iter().any(|purpose| [CMC_RA, CERTIFICATE_REQUEST_AGENT].contains(purpose));
    registers || Name::from_der(certificate.subject_raw()).is_ios_ra()
}

fn is_from(certificate: &Certificate, issuer: &Certificate) -> bool {
    certificate.issuer_raw() == issuer.subject_raw()
        && certificate.verify_signed_by(issuer.public_key()).is_ok()
}

fn above<'c>(certificate: &Certificate, cas: &'c [Certificate]) -> Option<&'c Certificate> {
    cas.iter().filter(|_| !certificate.is_self_issued()).find(|ca| is_from(certificate, ca))
}

/// szOID_ENROLLMENT_AGENT of Microsoft, in both RA certificates of NDES.
const CERTIFICATE_REQUEST_AGENT: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.20.2.1");
