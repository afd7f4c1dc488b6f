//! Enrolment with an operator in between: requests are shown or written into files, certificates are pasted or
//! read from files.

use crate::pki::archive::pem;
use crate::pki::{Certificate, Csr, Name};
use crate::store::{TrustedKind, UpperRequest};
use crate::trustpoint::{CaCertificates, ClientError};

use super::super::NodeError;
use super::held::Held;
use super::wanted::Method;
use super::work::Work;

impl Work {
    /// Writes a request where the configuration says. The file's name, when there is one.
    pub fn hand_out(&self, request: &UpperRequest) -> Result<Option<String>, NodeError> {
        let held = self.held()?;
        let Method::Files { url, pem: bounded } = self.method(&held, request.kind) else { return Ok(None) };
        let file = self.file(url, &self.ending(request.kind, "req"))?;
        let text = pem::write(pem::REQUEST, &self.csr(request)?);
        let text = match bounded {
            true => text,
            false => {
                text.lines().filter(|line| !line.starts_with('-')).map(|line| format!("{line}\n")).collect()
            }
        };
        let written = self.files.write(&file, text.as_bytes(), None);
        written.map_err(|error| NodeError::Refused(crate::pki::chain(&error)))?;
        Ok(Some(file.to_string()))
    }

    /// Takes certificates that were brought, `given` or in the files where the configuration says. Each must be
    /// for a key that was asked for, and from the CA of the trustpoint. What was taken, one at least.
    pub fn import(&self, given: Option<&[u8]>) -> Result<Vec<Certificate>, NodeError> {
        let held = self.held()?;
        let waiting: Vec<_> = held.requests.iter().filter(|r| !r.csr.is_empty()).cloned().collect();
        if waiting.is_empty() {
            return Err(NodeError::Refused(format!(
                "trustpoint {label} has asked for no certificate\nhint: `crypto pki enroll {label}` comes first",
                label = self.label()
            )));
        }
        let mut brought = Vec::new();
        match given {
            Some(octets) => brought.extend(read(octets)?),
            None => {
                for request in &waiting {
                    brought.extend(read(&self.read_back(&held, request)?)?);
                }
            }
        }
        let mut taken = Vec::new();
        for request in waiting {
            let csr =
                Csr::parse(&self.csr(&request)?).map_err(|error| NodeError::Refused(error.to_string()))?;
            let its = brought.iter().find(|certificate| certificate.public_key() == csr.public_key());
            let Some(certificate) = its else { continue };
            self.check_issued(&held, request.kind, certificate)?;
            self.keep(&held, &request, certificate)?;
            taken.push(certificate.clone());
        }
        match taken.is_empty() {
            false => Ok(taken),
            true => Err(NodeError::Refused(
                "the certificate is not for a key that this trustpoint has asked for".into(),
            )),
        }
    }

    /// The endings of the files of this kind of certificate: as IOS has them.
    fn ending(&self, kind: TrustedKind, extension: &str) -> String {
        let usage = match (self.wanted.key.encryption.is_some(), kind.next()) {
            (false, _) => "",
            (true, TrustedKind::NextOwnEncryption) => "-encr",
            (true, _) => "-sign",
        };
        format!("{usage}.{extension}")
    }

    fn read_back(&self, held: &Held, request: &UpperRequest) -> Result<Vec<u8>, NodeError> {
        let Method::Files { url, .. } = self.method(held, request.kind) else {
            return Err(NodeError::Refused(format!(
                "the certificate is pasted: give it, as trustpoint {} has no files",
                self.label()
            )));
        };
        let file = self.file(url, &self.ending(request.kind, "crt"))?;
        self.files.read(&file, None).map_err(|error| NodeError::Refused(crate::pki::chain(&error)))
    }

    /// Whether a certificate is from the CA of the trustpoint, or from the next one.
    fn check_issued(
        &self,
        held: &Held,
        kind: TrustedKind,
        certificate: &Certificate,
    ) -> Result<(), NodeError> {
        let ca: &CaCertificates = held.ca_for(kind).ok_or_else(|| {
            NodeError::Refused("You must authenticate the Certificate Authority before you import.".into())
        })?;
        ca.check_issued(certificate).map_err(|error| {
            let subject = Name::from_der(certificate.subject_raw());
            NodeError::Refused(format!("the certificate of {subject}: {error}"))
        })
    }
}

fn read(octets: &[u8]) -> Result<Vec<Certificate>, NodeError> {
    crate::trustpoint::certificates(octets)
        .map_err(|error| NodeError::Refused(ClientError::NoCertificates(error).to_string()))
}
