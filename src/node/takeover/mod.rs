//! Taking over a CA that was another server's: a router's, or one of ours whose state was lost (S10).
//!
//! It begins when a server is enabled whose trustpoint has a CA certificate with its key on a token and that
//! has no CA in the database. What the old server has left in its files is read and checked; then the
//! database takes all of it in one transaction. Until that everything can be repeated, and after it nothing
//! of this runs again.

mod remains;
mod report;

use std::sync::Arc;
use std::time::Duration;

use crate::config::{Configuration, FileType, ServerSection, TrustpointSection};
use crate::files::{FileUrl, Files, Login};
use crate::pki::archive::ios::FileName;
use crate::pki::{Certificate, Name, Serial, Time, crl};
use crate::store::{Adopted, Adoption, Authority, Crl, NewAuthority, Revocation, Role, Store, TrustedKind};
use crate::token::{Token, TokenKey};

use super::keys::was_generated;
use super::tokens::Tokens;
use super::{Node, NodeError};

pub use remains::certificate;
pub use report::{TakeoverReport, out_of_date};

use remains::{Remains, Search};

/// A take-over, if there is one.
pub struct Takeover<'a> {
    /// Label of the server.
    pub label: &'a str,
    /// What is configured for it.
    pub section: &'a ServerSection,
    /// The trustpoint of the same name.
    pub trustpoint: &'a TrustpointSection,
    /// The tokens.
    pub tokens: &'a Tokens,
    /// The file systems.
    pub files: &'a Files,
    /// Who may read the server's files.
    pub login: Option<&'a Login>,
    /// The database.
    pub store: &'a Arc<dyn Store>,
    /// Now.
    pub now: Time,
}

/// What the operator has to say before a take-over.
pub struct Preview {
    /// Whether the certificate was given by hand and not with its key, as an archive.
    pub by_hand: bool,
    /// What is missing, in words; empty when nothing is.
    pub missing: String,
}

/// The CA to be taken over.
struct Old {
    certificate: Certificate,
    token: Token,
    key: TokenKey,
    by_hand: bool,
}

impl Takeover<'_> {
    /// Takes the CA over. `None` when there is none.
    pub fn run(&self) -> Result<Option<Authority>, NodeError> {
        let Some(old) = self.old()? else { return Ok(None) };
        self.check(&old)?;
        let search = self.search(&old);
        let remains = search.run()?;
        let last_serial = self.last_serial(&search, &old, &remains)?;
        let report = TakeoverReport::of(self, &old, &remains, &last_serial)?;
        // Before the CA, which is not there without its report then.
        self.set_mark(REPORT, Some(&report.to_json()))?;
        let authority = self.store.adopt(Adoption {
            authority: NewAuthority {
                server: self.label.to_owned(),
                role: Role::Ca,
                token: old.token.name().to_owned(),
                key_label: old.key.info().label.clone(),
                certificate: old.certificate.der().to_vec(),
            },
            certificates: certificates(&old.certificate, &remains),
            last_serial,
            crl: remains.crl.map(last_crl),
            now: self.now,
        })?;
        tracing::info!(server = self.label, "the CA {} was taken over", report.issuer);
        self.set_mark(ACCEPTED, None)?;
        Ok(Some(authority))
    }

    /// What would have to be asked. `None` when no CA is to be taken over.
    pub fn preview(&self) -> Result<Option<Preview>, NodeError> {
        let Some(old) = self.old()? else { return Ok(None) };
        let search = self.search(&old);
        let missing = missing(&search, &old, &search.run()?)?;
        Ok(Some(Preview { by_hand: old.by_hand, missing }))
    }

    /// Refuses to make a new CA where an old one seems to be meant: its key is older than the database, its
    /// files are there, and only its certificate is not.
    pub fn check_new(&self, key: &TokenKey) -> Result<(), NodeError> {
        if was_generated(self.store.as_ref(), key.public_key())? {
            return Ok(());
        }
        let place = FileUrl::parse(self.section.database.place(FileType::Ser));
        let place = place.map_err(|error| NodeError::Refused(error.to_string()))?;
        let url = place.join(&FileName::Ser(self.label.to_owned()).to_string());
        match self.files.read(&url, self.login) {
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(NodeError::Refused(error.to_string())),
            Ok(_) => Err(NodeError::Refused(format!(
                "the key \"{}\" was not generated here and {url} is there, so the CA exists already; its certificate \
                 is missing\nhint: give it with \"certificate ca 01 URL\" in \"crypto pki certificate chain {}\"; or, \
                 to make a new CA with this key, delete {url}",
                key.info().label,
                self.label
            ))),
        }
    }

    /// The CA certificate of the trustpoint, with its key.
    fn old(&self) -> Result<Option<Old>, NodeError> {
        let mut trusted = self.store.trusted(self.label)?;
        trusted.retain(|trusted| trusted.kind == TrustedKind::Ca);
        let mut reason = None;
        for trusted in trusted {
            let certificate = super::server::parse(&trusted.der)?;
            let label = trusted.key_label.as_deref().unwrap_or_else(|| self.key_label());
            let token = trusted.token.as_deref().or(self.trustpoint.on.as_deref());
            match self.tokens.find_key(token, label)? {
                Some((token, key)) if key.public_key() == certificate.public_key() => {
                    return Ok(Some(Old { certificate, token, key, by_hand: trusted.key_label.is_none() }));
                }
                found => reason = reason.or_else(|| Some(self.no_key(label, &certificate, found))),
            }
        }
        reason.map_or(Ok(None), Err)
    }

    fn no_key(&self, label: &str, ca: &Certificate, found: Option<(Token, TokenKey)>) -> NodeError {
        let (name, serial) = (Name::from_der(ca.subject_raw()), ca.serial());
        let what = match found {
            Some((token, _)) => format!("the key \"{label}\" on {}: is not its key", token.name()),
            None => format!("its key \"{label}\" is on no configured token"),
        };
        NodeError::Refused(format!(
            "the trustpoint has the certificate {serial} of the CA {name}, but {what}\nhint: import the key with \
             \"crypto key import rsa {label} pem …\"; or, to make a new CA, take the certificate away with \"no \
             certificate ca {}\" in \"crypto pki certificate chain {}\"",
            serial.to_string().trim_start_matches("0x"),
            self.label
        ))
    }

    fn key_label(&self) -> &str {
        self.trustpoint.key.as_ref().map_or(self.label, |key| key.label())
    }

    /// Whether this is a root CA that the configuration means.
    fn check(&self, old: &Old) -> Result<(), NodeError> {
        let ca = &old.certificate;
        let name = Name::from_der(ca.subject_raw());
        let refused = |why: String| Err(NodeError::Refused(format!("the CA cannot be taken over: {why}")));
        if !may_issue(ca) {
            return refused(format!("the certificate of {name} is not a CA's"));
        }
        if !ca.is_self_issued() {
            let issuer = Name::from_der(ca.issuer_raw());
            return refused(format!("{name} is below {issuer}, and subordinate CAs are not served"));
        }
        if ca.verify_signed_by(ca.public_key()).is_err() {
            return refused(format!("the signature of the certificate of {name} is wrong"));
        }
        if !old.key.info().usage.sign {
            return refused(format!("the key \"{}\" may not sign", old.key.info().label));
        }
        match agrees(self.label, self.section, &name) {
            true => Ok(()),
            false => refused(format!(
                "its name is {name}, and {} is configured; make \"issuer-name\" the same or leave it out",
                self.section.issuer_name(self.label)
            )),
        }
    }

    /// The number that the next certificate comes after.
    fn last_serial(&self, search: &Search<'_>, old: &Old, remains: &Remains) -> Result<Serial, NodeError> {
        let missing = missing(search, old, remains)?;
        if !missing.is_empty() && self.store.mark(&scope(self.label), ACCEPTED)?.as_ref() != Some(&missing) {
            return Err(NodeError::Refused(format!(
                "the CA is not taken over before you agree:\n{missing}hint: copy the files there, or type \"shutdown\" and \
                 \"no shutdown\" and answer the question"
            )));
        }
        let known = highest(old, remains);
        Ok(match &remains.serial {
            Some(serial) => serial.clone().max(known),
            None => after_gap(&known),
        })
    }

    fn search<'s>(&'s self, old: &'s Old) -> Search<'s> {
        Search {
            label: self.label,
            database: &self.section.database,
            files: self.files,
            login: self.login,
            ca: &old.certificate,
        }
    }

    fn set_mark(&self, name: &str, value: Option<&str>) -> Result<(), NodeError> {
        Ok(self.store.set_mark(&scope(self.label), name, value)?)
    }
}

impl Node {
    /// What has to be asked before the server is enabled by this configuration, when it takes a CA over.
    pub fn takeover_preview(
        &self,
        label: &str,
        configuration: &Configuration,
    ) -> Result<Option<Preview>, NodeError> {
        let Some(section) = configuration.servers.get(label) else { return Ok(None) };
        if self.store.authorities(label)?.iter().any(|authority| authority.role == Role::Ca) {
            return Ok(None);
        }
        let around = self.surroundings(configuration);
        let login = around.login(section.database.login.as_ref())?;
        let trustpoint = configuration.trustpoints.get(label).cloned().unwrap_or_default();
        let takeover = Takeover {
            label,
            section,
            trustpoint: &trustpoint,
            tokens: &around.tokens,
            files: &around.files,
            login: login.as_ref(),
            store: &self.store,
            now: self.now(),
        };
        takeover.preview()
    }

    /// The operator wants the CA taken over although what a preview says is missing.
    pub fn accept_takeover(&self, label: &str, preview: &Preview) -> Result<(), NodeError> {
        Ok(self.store.set_mark(&scope(label), ACCEPTED, Some(&preview.missing))?)
    }
}

/// What was told about the take-over of the server's CA, if it was taken over.
pub fn report(store: &dyn Store, label: &str) -> Result<Option<TakeoverReport>, NodeError> {
    let Some(authority) = store.authorities(label)?.into_iter().find(|a| a.role == Role::Ca) else {
        return Ok(None);
    };
    let report = store.mark(&scope(label), REPORT)?.and_then(|json| TakeoverReport::from_json(&json));
    // A report of an attempt that came to nothing is of another certificate, or the CA was made here.
    Ok(report.filter(|report| report.is_of(&authority.certificate)))
}

/// Whether the name configured for a server can be that of the CA: every attribute of it is configured. More
/// may be, which IOS left out of the certificate; nothing need be.
pub fn agrees(label: &str, section: &ServerSection, name: &Name) -> bool {
    let typed = section.issuer_name(label);
    is_default(label, &typed) || Name::parse(&typed).is_ok_and(|typed| name.is_within(&typed))
}

/// The name of a server for which none was typed.
fn is_default(label: &str, issuer_name: &str) -> bool {
    issuer_name.eq_ignore_ascii_case(&format!("cn={label}"))
}

/// What an operator has to know is missing; empty when nothing is.
fn missing(search: &Search<'_>, old: &Old, remains: &Remains) -> Result<String, NodeError> {
    let mut missing = String::new();
    if remains.serial.is_none() {
        let known = highest(old, remains);
        missing += &format!(
            "% {} was not found: the last serial number is not known. The highest one seen is {known};\n\
             % to be safe, numbers would go on after {}.\n",
            search.serial_url()?,
            after_gap(&known)
        );
    }
    if remains.crl.is_none() {
        missing += &format!(
            "% {} was not found: every certificate that was revoked would be valid again.\n",
            search.crl_url()?
        );
    }
    Ok(missing)
}

fn highest(old: &Old, remains: &Remains) -> Serial {
    let own = old.certificate.serial().clone();
    remains.highest().map_or(own.clone(), |highest| highest.max(own))
}

/// Far above what a router can have issued since. Of random numbers there is no next one: those stay.
fn after_gap(serial: &Serial) -> Serial {
    match serial.to_u64().and_then(|serial| serial.checked_add(GAP)) {
        Some(serial) => Serial::from(serial),
        None => serial.clone(),
    }
}

fn may_issue(ca: &Certificate) -> bool {
    let extensions = ca.extensions();
    match extensions.basic_constraints() {
        Some(constraints) => constraints.ca,
        // Version 1 has no extensions to say so; else who signs certificates is a CA.
        None => ca.version() == 1 || extensions.key_usage().is_some_and(|usage| usage.key_cert_sign()),
    }
}

/// What is known of the certificates that the CA has issued, its own first.
fn certificates(ca: &Certificate, remains: &Remains) -> Vec<Adopted> {
    let whole = |certificate: &Certificate| Adopted {
        serial: certificate.serial().clone(),
        der: Some(certificate.der().to_vec()),
        subject: Some(Name::from_der(certificate.subject_raw()).to_string()),
        key: Some(certificate.public_key().fingerprint()),
        not_before: Some(certificate.not_before()),
        not_after: Some(certificate.not_after()),
        revocation: None,
    };
    let number = |serial: &Serial| Adopted {
        serial: serial.clone(),
        der: None,
        subject: None,
        key: None,
        not_before: None,
        not_after: None,
        revocation: None,
    };
    let named = remains.names.iter().map(|(serial, name)| Adopted {
        subject: Some(name.subject.clone()),
        // Of a zone that is not known, the latest that it can be: an entry must not leave the CRL too early.
        not_after: Some(match name.expiration.unknown_zone {
            Some(_) => name.expiration.time.plus(WESTERNMOST),
            None => name.expiration.time,
        }),
        ..number(serial)
    });
    let entries = remains.crl.iter().flat_map(|crl| crl.entries());
    let revoked = entries.map(|entry| Adopted {
        revocation: Some(Revocation { at: entry.at, reason: entry.reason }),
        ..number(&entry.serial)
    });
    let own = std::iter::once(whole(ca));
    own.chain(remains.certificates.iter().map(whole)).chain(named).chain(revoked).collect()
}

/// As the database keeps it. Routers number no CRLs: theirs is number 0, and ours begin with 1.
fn last_crl(crl: crl::Crl) -> Crl {
    Crl {
        authority: 0,
        number: crl.number().unwrap_or(0),
        this_update: crl.this_update(),
        // Without a nextUpdate a new one is due.
        next_update: crl.next_update().unwrap_or(crl.this_update()),
        revision: 0,
        der: crl.der().clone(),
    }
}

fn scope(label: &str) -> String {
    format!("server {label}")
}

/// Mark of a server: [`TakeoverReport`], JSON.
const REPORT: &str = "takeover";
/// Mark of a server: what is missing, in words, that the operator has agreed to do without.
const ACCEPTED: &str = "takeover without";
/// How far behind UTC a clock can be.
const WESTERNMOST: Duration = Duration::from_secs(12 * 3600);
/// Serial numbers left out when nobody knows the last one.
const GAP: u64 = 0x1_0000;
