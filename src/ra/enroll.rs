//! A request, decided and recorded; and requests that an operator brings by hand (S17).

use super::Ra;
use super::challenge::look_up;
use super::told::Refused;
use crate::ca::{Application, CaError, Meter, Outcome, identity};
use crate::pki::{Csr, Hash, Name, Time, VerifiedCsr, chain, hex};
use crate::policy::{self, Decision, Intention, Requester};

/// What became of a request brought by hand.
#[derive(Clone, Debug)]
pub enum ByHand {
    /// It was taken as any other.
    Taken(Outcome),
    /// It is kept under this ReqID, as malformed.
    Malformed {
        /// ReqID.
        id: u64,
        /// What is wrong with it.
        reason: String,
    },
}

impl Ra {
    /// Brings a PKCS#10 that an operator pasted or had fetched: decided as one that came by SCEP, signed by
    /// its own key. One that does not prove possession of its key, or is none, is kept as malformed for the
    /// operator to see.
    ///
    /// With `next`, a certificate of the next CA is asked for; there must be one.
    pub fn enroll_by_hand(&self, der: &[u8], source: &str, next: bool, now: Time) -> Result<ByHand, Refused> {
        let authority = match (next, &self.next) {
            (false, _) => None,
            (true, Some(next)) => Some(next.authority),
            (true, None) => return Err(CaError::Gone.into()),
        };
        let csr = match Csr::parse(der).and_then(Csr::verify) {
            Ok(csr) => csr,
            Err(error) => {
                let reason = chain(&error);
                let id = self.certifier.keep_malformed(der, source, &reason, now)?;
                return Ok(ByHand::Malformed { id, reason });
            }
        };
        let key = csr.public_key().fingerprint();
        let application = Application {
            // As an IOS device names its transactions: the MD5 of its key.
            transaction: hex(&Hash::Md5.digest(&[csr.public_key().spki_der()])).into_bytes(),
            signer_key: key,
            signed_with: None,
            source: source.to_owned(),
            authority,
        };
        let meter = Meter::new();
        let outcome = self.decided(csr, Intention::Enroll, &Requester::Itself, application, &meter, now)?;
        Ok(ByHand::Taken(outcome))
    }

    /// Asks policy and does what it says.
    pub(super) fn decided(
        &self,
        csr: VerifiedCsr,
        intention: Intention,
        requester: &Requester<'_>,
        application: Application,
        meter: &Meter,
        now: Time,
    ) -> Result<Outcome, Refused> {
        let identity = identity(csr.der(), &application);
        let subject = Name::from_der(csr.subject_raw());
        let challenge =
            look_up(self.store.as_ref(), self.certifier.label(), csr.challenge(), &subject, &identity, now)
                .map_err(CaError::from)?;
        let rules = self.certifier.rules(application.authority)?;
        match policy::decide(csr, intention, requester, challenge, &rules, now) {
            Decision::Issue(approved) => Ok(self.certifier.issue(approved, application, meter, now)?),
            Decision::Pend(examined) => Ok(self.certifier.pend(&examined, application, meter, now)?),
            Decision::Reject(refusal) => Err(refusal.into()),
        }
    }
}
