//! What of a configuration may not change once a certificate server has its certificate.

use crate::config::{ServerMode, ServerSection, TrustpointSection};
use crate::pki::Name;
use crate::store::Role;

use super::NodeError;
use super::server::{CertServer, parse};
use super::start::issuer_name;
use super::{below, takeover};

impl CertServer {
    /// Refuses what may not change once there is a CA certificate.
    pub(super) fn check_change(
        &self,
        section: &ServerSection,
        trustpoint: Option<&TrustpointSection>,
    ) -> Result<(), NodeError> {
        let name = issuer_name(&self.label, section)?;
        self.check_mode(section)?;
        if matches!(section.mode, ServerMode::Ra { .. }) {
            return Ok(());
        }
        let Some(authority) = self.authority()? else { return Ok(()) };
        let certificate = parse(&authority.certificate)?;
        let fixed = |what: &str, is: &str| {
            NodeError::Refused(format!(
                "{what} cannot be changed after the CA certificate was made: it is {is}; \
                 delete the server (\"no crypto pki server {}\") to start anew",
                self.label
            ))
        };
        let old_name = Name::from_der(certificate.subject_raw());
        // That of a CA taken over was written by others.
        let taken_over = || takeover::report(self.store.as_ref(), &self.label).map(|report| report.is_some());
        if name != old_name && !(taken_over()? && takeover::agrees(&self.label, section, &old_name)) {
            return Err(fixed("the issuer name", &old_name.to_string()));
        }
        let Some(trustpoint) = trustpoint else { return Ok(()) };
        // It names the first key; those that followed go by it, and where they are made is said elsewhere.
        let first = self.store.authorities(&self.label)?.into_iter().find(|a| a.role == Role::Ca);
        let first = first.unwrap_or(authority);
        if trustpoint.key.as_ref().is_some_and(|key| key.label() != first.key_label) {
            return Err(fixed("the key", &first.key_label));
        }
        if trustpoint.on.as_ref().is_some_and(|on| *on != first.token) {
            return Err(fixed("the token of the key", &first.token));
        }
        Ok(())
    }

    /// Refuses another mode than that in which the server got its certificate.
    fn check_mode(&self, section: &ServerSection) -> Result<(), NodeError> {
        let is = match self.authority()? {
            Some(authority) if parse(&authority.certificate)?.is_self_issued() => ServerMode::Root,
            Some(_) => ServerMode::SubCs,
            None if below::registrar(self.store.as_ref(), &self.label)?.is_none()
                && self.store.requests(&self.label)?.is_empty() =>
            {
                return Ok(());
            }
            // It has one as an RA, or one that does not act as a CA's yet, or has asked for one.
            None => match self.status().section.mode {
                ServerMode::Root => return Ok(()),
                mode => mode,
            },
        };
        let of_ra = |mode| matches!(mode, ServerMode::Ra { .. });
        // A CA that was taken over may be below another, and acts as a root does.
        let taken_over = takeover::report(self.store.as_ref(), &self.label)?.is_some();
        if section.mode == is || of_ra(section.mode) && of_ra(is) || taken_over && !of_ra(section.mode) {
            return Ok(());
        }
        Err(NodeError::Refused(format!(
            "the mode of a server cannot be changed once it has a certificate or has asked for one: it is {}; delete \
             the server (\"no crypto pki server {}\") to start anew",
            below::mode_in_words(is),
            self.label
        )))
    }

    /// Refuses to lose the trustpoint that says where the key of the CA is.
    pub(super) fn check_without_trustpoint(&self) -> Result<(), NodeError> {
        let Some(authority) = self.authority()? else { return Ok(()) };
        Err(NodeError::Refused(format!(
            "trustpoint {label} is that of certificate server {label}, whose key it names ({} on {}:); delete the \
             server first (\"no crypto pki server {label}\")",
            authority.key_label,
            authority.token,
            label = self.label
        )))
    }
}
