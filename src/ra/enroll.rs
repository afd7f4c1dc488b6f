//! A request, decided and recorded; and requests that an operator brings by hand (S17).

use super::Ra;
use super::challenge::look_up;
use super::told::Refused;
use crate::ca::{Application, CaError, Meter, Outcome, identity};
use crate::pki::{Csr, Hash, Name, Time, VerifiedCsr, hex};
use crate::policy::{self, Decision, Intention, Requester};

impl Ra {
    /// Brings a PKCS#10 that an operator pasted or had fetched: decided as one that came by SCEP, signed by
    /// its own key.
    pub fn enroll_by_hand(&self, der: &[u8], source: &str, now: Time) -> Result<Outcome, Refused> {
        let csr = Csr::parse(der).and_then(Csr::verify)?;
        let key = csr.public_key().fingerprint();
        let application = Application {
            // As an IOS device names its transactions: the MD5 of its key.
            transaction: hex(&Hash::Md5.digest(&[csr.public_key().spki_der()])).into_bytes(),
            signer_key: key,
            signed_with: None,
            source: source.to_owned(),
        };
        self.decided(csr, Intention::Enroll, &Requester::Itself, application, &Meter::new(), now)
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
            look_up(self.store.as_ref(), self.ca.label(), csr.challenge(), &subject, &identity, now)
                .map_err(CaError::from)?;
        match policy::decide(csr, intention, requester, challenge, &self.ca.settings().rules, now) {
            Decision::Issue(approved) => Ok(self.ca.issue(approved, application, meter, now)?),
            Decision::Pend(examined) => Ok(self.ca.pend(&examined, application, meter, now)?),
            Decision::Reject(refusal) => Err(refusal.into()),
        }
    }
}
