//! What comes after the CA elsewhere: requests for its next time, and its own word on that, which is handed on.
//!
//! An RA cannot tell which CA comes next: devices believe the CA of now alone (RFC 8894, 4.7.1). So
//! GetNextCACert is answered as the CA has answered it, with this server's next certificate beside the
//! signature. It is fetched anew now and then, and after each start: a CA may take its next certificate back.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::pki::{Certificate, Hash, Time, chain};
use crate::scep::next_ca;
use crate::trustpoint::CaCertificates;

use super::elsewhere::Elsewhere;

/// The time after the CA of now, once this server has a certificate of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coming {
    /// The next CA.
    pub certificates: CaCertificates,
    /// The certificate that it has issued to this server as an RA.
    pub registrar: Certificate,
}

/// The CA's answer to GetNextCACert.
#[derive(Default)]
pub(super) struct HandedOn(Mutex<Fetched>);

#[derive(Clone, Default)]
struct Fetched {
    /// With this server's certificate.
    answer: Option<Bytes>,
    /// When it was asked for last.
    asked: Option<Time>,
    /// Why there is none.
    error: Option<String>,
}

impl Elsewhere {
    /// The time after the CA of now, once this server has a certificate of it.
    pub fn coming(&self) -> Option<&Coming> {
        self.above.next.as_ref()
    }

    /// What GetNextCACert is answered with; nothing while it has not been fetched.
    pub fn next_answer(&self) -> Option<Bytes> {
        self.handed_on.fetched().answer
    }

    /// Why the next CA certificate is not offered to devices although this server has one.
    pub fn next_trouble(&self) -> Option<String> {
        let fetched = self.handed_on.fetched();
        let unasked = || "the CA above has not been asked for it yet".to_owned();
        (self.coming().is_some() && fetched.answer.is_none()).then(|| fetched.error.unwrap_or_else(unasked))
    }

    /// Fetches the CA's answer when it is time to.
    pub(super) fn fetch_next(&self, now: Time) {
        let Some(coming) = self.coming() else { return };
        let known = self.handed_on.fetched();
        let again = if known.error.is_some() { RETRY } else { REFRESH };
        // A clock that went back makes nothing newer.
        if known.asked.is_some_and(|asked| asked <= now && now < asked.plus(again)) {
            return;
        }
        let was_offered = known.answer.is_some();
        let fetched = match self.ask_next(coming) {
            Ok(answer) => Fetched { answer: Some(answer), asked: Some(now), error: None },
            Err(NotFetched::Withdrawn(error)) => {
                Fetched { answer: None, asked: Some(now), error: Some(error) }
            }
            // What was good an hour ago is good for one more.
            Err(NotFetched::Unknown(error)) => {
                Fetched { answer: known.answer, asked: Some(now), error: Some(error) }
            }
        };
        if let Some(error) = &fetched.error
            && known.error.as_ref() != Some(error)
        {
            tracing::warn!(
                server = self.label,
                error,
                "the next certificate of the CA above could not be had"
            );
        }
        if !was_offered && fetched.answer.is_some() {
            tracing::info!(target: "PKI-6-CS_ROLLOVER_AVAILABLE",
                "Rollover CA certificate {} of the CA above {} is available; it takes over on {}.",
                coming.certificates.ca().serial(), self.label, coming.certificates.ca().not_before());
        }
        *self.handed_on.0.lock().unwrap_or_else(PoisonError::into_inner) = fetched;
    }

    fn ask_next(&self, coming: &Coming) -> Result<Bytes, NotFetched> {
        let unknown = |error: &dyn std::error::Error| NotFetched::Unknown(chain(error));
        let withdrawn = |why: &str| NotFetched::Withdrawn(why.to_owned());
        let offered = self.above.upper.next_ca(&self.above.certificates).map_err(|error| unknown(&error))?;
        let (next, answer) = offered.ok_or_else(|| withdrawn("the CA above offers none any more"))?;
        if next.ca() != coming.certificates.ca() {
            return Err(withdrawn(
                "the CA above offers another than the one that this RA has a certificate of",
            ));
        }
        let answer = next_ca::with_certificates(&answer, &[coming.registrar.der()]);
        answer.map(Bytes::from).map_err(|error| unknown(&error))
    }

    /// The CA for which a request is: that with this number, that of now when `None`; `None` of one that is
    /// neither that of now nor the next.
    pub(super) fn asked_of(&self, authority: Option<u64>) -> Option<&CaCertificates> {
        let Some(number) = authority else { return Some(&self.above.certificates) };
        let next = self.coming().map(|coming| &coming.certificates);
        std::iter::once(&self.above.certificates).chain(next).find(|ca| number_of(ca.ca()) == number)
    }
}

/// Why the CA's answer was not fetched.
enum NotFetched {
    /// The CA has said something else.
    Withdrawn(String),
    /// Nobody knows what it says.
    Unknown(String),
}

impl HandedOn {
    fn fetched(&self) -> Fetched {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What stands in requests on record for a CA elsewhere, which is no authority of the store: it goes by its
/// certificate, so that it is the same when the CA that was next acts. 63 bits, as the database has signed
/// numbers.
pub fn number_of(ca: &Certificate) -> u64 {
    let digest = Hash::Sha256.digest(&[ca.der()]);
    let (first, _) = digest.split_first_chunk().expect("SHA-256 has 32 octets");
    u64::from_be_bytes(*first) >> 1
}

/// A next certificate that was taken back is not offered for longer.
const REFRESH: Duration = Duration::from_secs(3600);
/// A CA that did not answer is left alone for so long.
const RETRY: Duration = Duration::from_secs(60);
