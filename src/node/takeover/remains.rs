//! What a certificate server has left in its files: `.ser`, `.crl`, `.cnm`, `.crt`.

use std::collections::BTreeSet;

use crate::config::{Database, DatabaseLevel, FileType};
use crate::files::{Entry, Fault, FileError, FileUrl, Files, Login};
use crate::node::NodeError;
use crate::pki::archive::ios::{self, Cnm, FileName};
use crate::pki::archive::pem;
use crate::pki::{Certificate, Name, Serial, crl};

/// What was found, checked against the CA certificate as far as it can be.
pub struct Remains {
    /// The last serial number, by the `.ser` file.
    pub serial: Option<Serial>,
    /// The CRL.
    pub crl: Option<crl::Crl>,
    /// Names and ends of validity, by serial number.
    pub names: Vec<(Serial, Cnm)>,
    /// Certificates, each signed by the CA.
    pub certificates: Vec<Certificate>,
    /// Files that were found and not used, each with the reason.
    pub passed_over: Vec<String>,
    /// Whether the places of `.cnm` and `.crt` files could be listed or probed.
    pub searched: bool,
}

/// Where the files are, and whose they are.
pub struct Search<'a> {
    /// Label of the server.
    pub label: &'a str,
    /// Where the configuration has them.
    pub database: &'a Database,
    /// The file systems.
    pub files: &'a Files,
    /// Who may read there.
    pub login: Option<&'a Login>,
    /// The CA.
    pub ca: &'a Certificate,
}

impl Search<'_> {
    /// Reads everything. Fails when a file that must be right is not, or cannot be read.
    pub fn run(&self) -> Result<Remains, NodeError> {
        let mut remains = Remains {
            serial: self.serial()?,
            crl: self.crl()?,
            names: Vec::new(),
            certificates: Vec::new(),
            passed_over: Vec::new(),
            searched: true,
        };
        // What may be there: up to the last number, when nothing can be listed.
        let last = remains.serial.clone().into_iter().chain(remains.highest_revoked()).max();
        for (serial, url) in self.numbered(FileType::Cnm, last.as_ref(), &mut remains)? {
            match self.optional(&url)?.map(|octets| Cnm::read(&octets)) {
                None => {}
                Some(Ok(name)) => remains.names.push((serial, name)),
                Some(Err(error)) => remains.passed_over.push(format!("{url}: {error}")),
            }
        }
        remains.leave_names_of_others(self.ca);
        for (serial, url) in self.numbered(FileType::Crt, last.as_ref(), &mut remains)? {
            match self.optional(&url)?.map(|octets| self.issued(&serial, &octets)) {
                None => {}
                Some(Ok(certificate)) => remains.certificates.push(certificate),
                Some(Err(why)) => remains.passed_over.push(format!("{url}: {why}")),
            }
        }
        Ok(remains)
    }

    /// The file with the last serial number.
    pub fn serial_url(&self) -> Result<FileUrl, NodeError> {
        Ok(self.place(FileType::Ser)?.join(&FileName::Ser(self.label.to_owned()).to_string()))
    }

    /// The file with the CRL.
    pub fn crl_url(&self) -> Result<FileUrl, NodeError> {
        Ok(self.place(FileType::Crl)?.join(&FileName::Crl(self.label.to_owned()).to_string()))
    }

    fn serial(&self) -> Result<Option<Serial>, NodeError> {
        let url = self.serial_url()?;
        let Some(octets) = self.optional(&url)? else { return Ok(None) };
        tracing::debug!(target: "CRYPTO_CS", "found existing serial file.");
        let last = ios::read_ser(&octets).map_err(|error| refused(&url, error))?;
        tracing::debug!(target: "CRYPTO_CS", "DB version 1");
        tracing::debug!(target: "CRYPTO_CS", "last issued serial number is {last}");
        Ok(Some(last))
    }

    fn crl(&self) -> Result<Option<crl::Crl>, NodeError> {
        let url = self.crl_url()?;
        let Some(octets) = self.optional(&url)? else { return Ok(None) };
        let name = FileName::Crl(self.label.to_owned());
        tracing::debug!(target: "CRYPTO_CS", "CRL file {name} exists.");
        tracing::debug!(target: "CRYPTO_CS", "Read {} bytes from crl file {name}.", octets.len());
        let crl = crl::Crl::parse(octets).map_err(|error| refused(&url, error))?;
        if crl.issuer_raw() != self.ca.subject_raw() {
            let issuer = Name::from_der(crl.issuer_raw());
            return Err(refused(&url, format!("it is the CRL of {issuer}, another CA")));
        }
        if crl.verify_signed_by(self.ca.public_key()).is_err() {
            return Err(refused(&url, "its signature is not that of the CA's key"));
        }
        Ok(Some(crl))
    }

    /// A certificate of this number signed by the CA, in DER or PEM.
    fn issued(&self, serial: &Serial, octets: &[u8]) -> Result<Certificate, String> {
        let certificate = certificate(octets)?;
        if certificate.issuer_raw() != self.ca.subject_raw() {
            return Err("it is of another CA".into());
        }
        if certificate.verify_signed_by(self.ca.public_key()).is_err() {
            return Err("its signature is not that of the CA's key".into());
        }
        if certificate.serial() != serial {
            return Err(format!("its serial number is {}", certificate.serial()));
        }
        Ok(certificate)
    }

    /// Files named by a serial number. Where nothing can be listed, those that could be there at the
    /// configured level.
    fn numbered(
        &self,
        what: FileType,
        last: Option<&Serial>,
        remains: &mut Remains,
    ) -> Result<Vec<(Serial, FileUrl)>, NodeError> {
        let place = self.place(what)?;
        let names: BTreeSet<_> = match self.files.list(&place, self.login) {
            Ok(listing) => {
                let numbered = |entry: Entry| Some((serial_of(what, &entry.name)?, entry.name));
                listing.entries.into_iter().filter_map(numbered).collect()
            }
            Err(error) if error.is_not_found() => BTreeSet::new(),
            Err(FileError { fault: Fault::Unsupported(_), .. }) => {
                let Some(last) = self.worth_probing(what, last) else {
                    remains.searched = false;
                    return Ok(Vec::new());
                };
                let name = |serial: Serial| match what {
                    FileType::Cnm => (serial.clone(), FileName::Cnm(serial).to_string()),
                    _ => (serial.clone(), FileName::Crt(serial).to_string()),
                };
                (1..=last).map(|serial| name(Serial::from(serial))).collect()
            }
            Err(error) => return Err(unreadable(&error)),
        };
        Ok(names.into_iter().map(|(serial, name)| (serial, place.join(&name))).collect())
    }

    /// The last number to ask for, at a level at which there are such files.
    fn worth_probing(&self, what: FileType, last: Option<&Serial>) -> Option<u64> {
        let level = self.database.level;
        let written = match what {
            FileType::Cnm => level != DatabaseLevel::Minimum,
            _ => level == DatabaseLevel::Complete,
        };
        last.filter(|_| written).and_then(Serial::to_u64).filter(|last| *last <= MOST_PROBED)
    }

    fn place(&self, what: FileType) -> Result<FileUrl, NodeError> {
        FileUrl::parse(self.database.place(what)).map_err(|error| NodeError::Refused(error.to_string()))
    }

    fn optional(&self, url: &FileUrl) -> Result<Option<Vec<u8>>, NodeError> {
        match self.files.read(url, self.login) {
            Ok(octets) => Ok(Some(octets)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(unreadable(&error)),
        }
    }
}

impl Remains {
    /// The highest serial number that the files tell of, the `.ser` file apart.
    pub fn highest(&self) -> Option<Serial> {
        let names = self.names.iter().map(|(serial, _)| serial.clone());
        let certificates = self.certificates.iter().map(|certificate| certificate.serial().clone());
        names.chain(certificates).chain(self.highest_revoked()).max()
    }

    /// Files of names do not say whose they are. When that of the CA certificate names another, all are.
    fn leave_names_of_others(&mut self, ca: &Certificate) {
        let own = self.names.iter().find(|(serial, _)| serial == ca.serial());
        let Some((serial, cnm)) = own else { return };
        let name = Name::from_der(ca.subject_raw());
        if Name::parse(&cnm.subject).is_ok_and(|subject| name.is_within(&subject)) {
            return;
        }
        let file = FileName::Cnm(serial.clone());
        self.passed_over.push(format!(
            "{} .cnm files: by {file} they are of the CA {}",
            self.names.len(),
            cnm.subject
        ));
        self.names.clear();
    }

    fn highest_revoked(&self) -> Option<Serial> {
        self.crl.iter().flat_map(|crl| crl.entries().map(|entry| entry.serial)).max()
    }
}

/// A certificate in DER or PEM.
pub fn certificate(octets: &[u8]) -> Result<Certificate, String> {
    let der = match octets.first() {
        Some(0x30) => octets.to_vec(),
        _ => {
            let text = std::str::from_utf8(octets).map_err(|_| "this is not a certificate")?;
            let all = pem::certificates(text).map_err(|error| error.to_string())?;
            all.into_iter().next().ok_or("there is no certificate in it")?
        }
    };
    Certificate::parse(&der).map_err(|error| error.to_string())
}

/// The serial number that a file is named by. Older releases call certificates `.cer`.
fn serial_of(what: FileType, name: &str) -> Option<Serial> {
    match (what, FileName::parse(name)) {
        (FileType::Cnm, Some(FileName::Cnm(serial))) | (FileType::Crt, Some(FileName::Crt(serial))) => {
            Some(serial)
        }
        (FileType::Crt, None) => match FileName::parse(&(name.strip_suffix(".cer")?.to_owned() + ".crt")) {
            Some(FileName::Crt(serial)) => Some(serial),
            _ => None,
        },
        _ => None,
    }
}

fn refused(url: &FileUrl, why: impl std::fmt::Display) -> NodeError {
    NodeError::Refused(format!(
        "the CA cannot be taken over: {url}: {why}\nhint: copy the right file there, or delete it"
    ))
}

fn unreadable(error: &FileError) -> NodeError {
    NodeError::Refused(format!("the CA cannot be taken over: {error}"))
}

/// Files asked for one by one where nothing can be listed: a request each.
const MOST_PROBED: u64 = 4096;
