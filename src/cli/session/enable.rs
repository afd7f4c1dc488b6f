//! What `no shutdown` asks of a server below another CA: whether that is the CA that is meant (S20, S21).

use crate::cli::trustpoints::{QUESTION, attributes};
use crate::cli::{CommandError, Console};
use crate::config::{Configuration, EnrollmentMethod, ServerMode};
use crate::node::{Node, NodeError, Verdict};
use crate::pki::chain;

/// Whether this server is, or is to be, below another CA.
pub fn is_below(configuration: &Configuration, label: &str) -> bool {
    configuration.servers.get(label).is_some_and(|server| server.mode != ServerMode::Root)
}

/// Whether the trustpoint of a server below another CA knows that CA already. One that the node does not have yet
/// knows nobody.
pub fn is_authenticated(node: &Node, label: &str) -> Result<bool, NodeError> {
    match node.trustpoint_reports(Some(label)) {
        Ok(reports) => Ok(reports.iter().any(|report| report.authenticated)),
        Err(NodeError::NotFound(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gets the certificate of the CA above, shows its fingerprints and asks whether it is the right one. What cannot
/// be asked now is left for `crypto pki authenticate`: the server waits, and says so.
pub fn authenticate(
    node: &Node,
    configuration: &Configuration,
    label: &str,
    console: &mut dyn Console,
) -> Result<(), CommandError> {
    let trustpoint = configuration.trustpoints.get(label);
    let Some(trustpoint) = trustpoint.filter(|_| node.trustpoint_reports(Some(label)).is_ok()) else {
        // One that the node does not know yet, as in a script, cannot be asked for.
        return Ok(());
    };
    let asks = matches!(trustpoint.enrollment.method, Some(EnrollmentMethod::Url { .. }));
    if !asks || trustpoint.fingerprint.is_some() || is_authenticated(node, label)? {
        return Ok(());
    }
    let offered = match node.authenticate(label, None) {
        Ok(offered) => offered,
        Err(error) => {
            console
                .say(&format!("% Failed to authenticate the Certificate Authority: {}\n", chain(&error)))?;
            return Ok(());
        }
    };
    console.say(&attributes(&offered))?;
    // `--yes` is no answer: nobody has looked.
    let accepted = offered.verdict == Verdict::Matches
        || offered.verdict == Verdict::Unasked && console.confirm(QUESTION, false)?;
    if !accepted {
        return Err(CommandError::Refused(NOT_ACCEPTED.into()));
    }
    node.accept(offered)?;
    console.say("Trustpoint CA certificate accepted.\n")?;
    Ok(())
}

const NOT_ACCEPTED: &str = "the CA certificate was not accepted, and the server stays shut\n\
                            hint: compare the fingerprint with what the operator of the CA says, and answer yes, or \
                            type it as `fingerprint` in the trustpoint; --yes does not answer this question";
