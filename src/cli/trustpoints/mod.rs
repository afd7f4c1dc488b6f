//! Commands for trustpoints: is this the CA, get me a certificate, what is there.

mod authenticate;
mod enroll;
mod questions;
mod show;
mod timers;

use super::{Call, Command, CommandError};
use crate::config::{Configuration, EnrollmentMethod, ProfileSection, TrustpointSection};

pub use authenticate::{QUESTION, attributes};

/// All of them.
pub fn commands() -> impl Iterator<Item = &'static Command> {
    [authenticate::COMMANDS, enroll::COMMANDS, show::COMMANDS, timers::COMMANDS].into_iter().flatten()
}

/// The trustpoint that is named.
fn section<'c>(
    configuration: &'c Configuration,
    call: &Call<'_>,
) -> Result<&'c TrustpointSection, CommandError> {
    let label = call.args.text("label");
    configuration.trustpoints.get(label).ok_or_else(|| {
        call.refuse(
            "label",
            format!("there is no trustpoint \"{label}\"; `crypto pki trustpoint {label}` makes one"),
        )
    })
}

/// The profile of a trustpoint, when it has one; an error when that is not configured.
fn profile<'c>(
    section: &TrustpointSection,
    configuration: &'c Configuration,
) -> Result<Option<&'c ProfileSection>, CommandError> {
    let Some(EnrollmentMethod::Profile(label)) = &section.enrollment.method else { return Ok(None) };
    match configuration.profiles.get(label) {
        Some(profile) => Ok(Some(profile)),
        None => Err(CommandError::Refused(format!(
            "there is no enrolment profile \"{label}\"; `crypto pki profile enrollment {label}` makes one"
        ))),
    }
}
