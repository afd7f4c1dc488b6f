//! Enrollments that were granted here and are asked for at another CA: those of an RA.

use crate::pki::Time;

use super::Enrollment;

/// An enrollment in state Authorized that has no intent, since another CA issues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The enrollment.
    pub enrollment: Enrollment,
    /// How far it has come.
    pub stage: Stage,
    /// Tries since it came to this stage.
    pub tries: u32,
    /// Before this time it is left alone.
    pub next_try: Time,
    /// Why the last try did not bring it further.
    pub error: Option<String>,
}

/// How far an enrollment has come at the other CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is to be sent, or was and the answer is not known: it is sent again, the same octets under the same
    /// transaction.
    Asking,
    /// The other CA has said that it waits there: it is polled.
    Waiting,
}
