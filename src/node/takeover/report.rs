//! What an operator should know after a take-over (`info takeover`).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::config::FileType;
use crate::files::FileUrl;
use crate::node::NodeError;
use crate::node::import::KEY_FROM;
use crate::pki::{Certificate, Hash, KeyKind, Name, Serial, Time, hex};

use super::super::archive;
use super::remains::Remains;
use super::{Old, Takeover, highest, is_default};

/// What was taken, what cannot be known, what is weak, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeoverReport {
    /// When.
    pub at: String,
    /// Name of the CA, in the notation of IOS.
    pub issuer: String,
    /// MD5 of the CA certificate, hex.
    pub fingerprint_md5: String,
    /// SHA-1 of the CA certificate, hex.
    pub fingerprint_sha1: String,
    /// SHA-256 of the CA certificate, hex.
    pub fingerprint_sha256: String,
    /// Kind and size of its key, and where it is.
    pub key: String,
    /// The digest of its signature: `md5`.
    pub digest: Option<String>,
    /// notBefore.
    pub valid_from: String,
    /// notAfter.
    pub valid_to: String,
    /// The number that new ones come after.
    pub last_serial: String,
    /// The CRL.
    pub crl: Option<CrlTaken>,
    /// Certificates of which subject and end of validity are known.
    pub names: usize,
    /// Certificates known whole.
    pub certificates: usize,
    /// What there is to say about files.
    pub files: Vec<String>,
    /// What cannot be known.
    pub unknown: Vec<String>,
    /// Lines of the configuration without which old devices may fail.
    pub legacy: Vec<LegacyLine>,
    /// What is to be done.
    pub next: Vec<String>,
}

/// The CRL that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrlTaken {
    /// thisUpdate.
    pub this_update: String,
    /// nextUpdate.
    pub next_update: Option<String>,
    /// How many certificates are on it.
    pub entries: u64,
}

/// A line of the configuration, and what needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegacyLine {
    /// The line.
    pub line: String,
    /// What old devices do with it.
    pub why: String,
}

impl TakeoverReport {
    pub(super) fn of(
        takeover: &Takeover<'_>,
        old: &Old,
        remains: &Remains,
        last_serial: &Serial,
    ) -> Result<Self, NodeError> {
        let ca = &old.certificate;
        let fingerprint = |hash: Hash| hex(&hash.digest(&[ca.der()]));
        Ok(Self {
            at: takeover.now.to_string(),
            issuer: Name::from_der(ca.subject_raw()).to_string(),
            fingerprint_md5: fingerprint(Hash::Md5),
            fingerprint_sha1: fingerprint(Hash::Sha1),
            fingerprint_sha256: fingerprint(Hash::Sha256),
            key: format!("{}, {} on {}:", old.key.info().kind, old.key.info().label, old.token.name()),
            digest: digest(ca).map(|hash| hash.name().to_owned()),
            valid_from: ca.not_before().to_string(),
            valid_to: ca.not_after().to_string(),
            last_serial: last_serial.to_string(),
            crl: remains.crl.as_ref().map(|crl| CrlTaken {
                this_update: crl.this_update().to_string(),
                next_update: crl.next_update().map(|time| time.to_string()),
                entries: crl.len(),
            }),
            names: remains.names.len(),
            certificates: remains.certificates.len(),
            files: files(takeover, old, remains)?,
            unknown: unknown(ca, remains, last_serial),
            legacy: legacy(ca),
            next: next(takeover, ca)?,
        })
    }

    /// Whether it is about this CA certificate, DER.
    pub fn is_of(&self, ca: &[u8]) -> bool {
        self.fingerprint_sha256 == hex(&Hash::Sha256.digest(&[ca]))
    }

    pub(super) fn to_json(&self) -> String {
        // Texts and numbers.
        serde_json::to_string(self).expect("a report is JSON")
    }

    pub(super) fn from_json(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }
}

fn files(takeover: &Takeover<'_>, old: &Old, remains: &Remains) -> Result<Vec<String>, NodeError> {
    let search = takeover.search(old);
    let mut notes = Vec::new();
    let known = highest(old, remains);
    match &remains.serial {
        None => notes.push(format!(
            "{} was not found; numbers go on far above {known}, the highest one seen",
            search.serial_url()?
        )),
        Some(serial) if *serial < known => notes.push(format!(
            "{} says {serial}, but {known} was issued: it is older than the other files",
            search.serial_url()?
        )),
        Some(_) => {}
    }
    if remains.crl.is_none() {
        notes.push(format!("{} was not found; nothing is revoked", search.crl_url()?));
    }
    if !remains.searched {
        notes.push("the places of .cnm and .crt files cannot be listed; none were read".to_owned());
    }
    let zones: BTreeSet<_> =
        remains.names.iter().filter_map(|(_, cnm)| cnm.expiration.unknown_zone.as_ref()).collect();
    for zone in zones {
        notes.push(format!("times of the zone \"{zone}\", which is not known, are taken for UTC"));
    }
    notes.extend(remains.passed_over.iter().map(|why| format!("not used: {why}")));
    let typed = takeover.section.issuer_name(takeover.label);
    let name = Name::from_der(old.certificate.subject_raw());
    let more = Name::parse(&typed).is_ok_and(|typed| !typed.is_within(&name));
    if more && !is_default(takeover.label, &typed) {
        notes.push(format!("\"issuer-name {typed}\" says more than the CA certificate, whose name counts"));
    }
    Ok(notes)
}

fn unknown(ca: &Certificate, remains: &Remains, last_serial: &Serial) -> Vec<String> {
    let whole: BTreeSet<_> =
        remains.certificates.iter().map(Certificate::serial).chain([ca.serial()]).collect();
    let named: BTreeSet<_> = remains.names.iter().map(|(serial, _)| serial).collect();
    let only_named = named.difference(&whole).count() as u64;
    let known = whole.union(&named).count() as u64;
    let mut unknown = Vec::new();
    match last_serial.to_u64().map(|last| last.saturating_sub(known)) {
        Some(0) => {}
        Some(count) => unknown.push(format!(
            "who holds {count} of the {last_serial} serial numbers, and whether they were issued at all: \
             nothing but the number is known, by which they can be revoked; such an entry never leaves the CRL"
        )),
        None => unknown.push(
            "which serial numbers were issued: they were random, and any can be revoked by its number".to_owned(),
        ),
    }
    if only_named > 0 {
        unknown
            .push(format!("the keys of {only_named} certificates of which subject and expiration are known"));
    }
    if remains.crl.is_none() {
        unknown.push("which certificates were revoked".to_owned());
    }
    unknown.push(
        "requests that were pending, and what was issued or revoked after the files were copied".to_owned(),
    );
    unknown
}

fn legacy(ca: &Certificate) -> Vec<LegacyLine> {
    let line = |line: &str, why: &str| LegacyLine { line: line.to_owned(), why: why.to_owned() };
    let mut lines = Vec::new();
    let weak_digest = match digest(ca) {
        Some(Hash::Md5) => Some("md5"),
        Some(Hash::Sha1) => Some("sha1"),
        _ => None,
    };
    if let Some(hash) = weak_digest {
        lines.push(line(
            &format!("crypto legacy {hash}"),
            &format!("before \"hash {hash}\": certificates and CRLs are signed with {hash} as before, for devices that know no sha256"),
        ));
        if hash != "md5" {
            lines.push(line(
                "crypto legacy md5",
                "certificates signed with sha1 or md5 count when they are renewed",
            ));
        }
        lines.push(line("crypto legacy des", "requests encrypted with single DES are read"));
    }
    if weak_key(ca).is_some() {
        lines.push(line("crypto legacy rsa-1024", "keys of 1024 bits are certified, new and again"));
    }
    lines
}

fn next(takeover: &Takeover<'_>, ca: &Certificate) -> Result<Vec<String>, NodeError> {
    let mut next = Vec::new();
    let left = ca.not_after().since(takeover.now).as_secs() / 86_400;
    match ca.is_valid_at(takeover.now) {
        true => next.push(format!(
            "the CA certificate is valid for {left} days more: start a new CA and enrol the devices with it before"
        )),
        false => next.push(format!(
            "the CA certificate was valid until {}: start a new CA and enrol the devices with it",
            ca.not_after()
        )),
    }
    if let Some(key) = weak_key(ca) {
        next.push(format!("{key} can be broken by those who try hard: do not wait for that day"));
    }
    next.push(format!(
        "revoke what should not be valid any more: \"crypto pki server {} revoke SERIAL\"",
        takeover.label
    ));
    if ca.extensions().key_usage().is_some_and(|usage| !usage.key_encipherment()) {
        next.push(
            "the CA certificate does not allow keyEncipherment, as is usual with routers, and serves SCEP all the \
             same; for clients that insist on it there is \"scep key separate\""
                .to_owned(),
        );
    }
    next.push("take the old server out of service: two that issue give the same numbers twice".to_owned());
    let copies = copies_of_key(takeover)?;
    if !copies.is_empty() {
        next.push(format!(
            "the key is on the token now; destroy its copies: {}, and those elsewhere",
            copies.join(", ")
        ));
    }
    Ok(next)
}

/// Files with the private key, where such files usually are and where it was imported from.
fn copies_of_key(takeover: &Takeover<'_>) -> Result<Vec<String>, NodeError> {
    let (label, database) = (takeover.label, &takeover.section.database);
    let mut copies = BTreeSet::new();
    copies.extend(takeover.store.mark(&format!("trustpoint {label}"), KEY_FROM)?);
    let places = [FileType::P12, FileType::Pem].map(|what| database.place(what));
    for place in places.into_iter().chain(["nvram:"]) {
        let Ok(place) = FileUrl::parse(place) else { continue };
        // Of a place that cannot be listed there is nothing to say.
        let Ok(listing) = takeover.files.list(&place, takeover.login) else { continue };
        let names =
            listing.entries.into_iter().map(|entry| entry.name).filter(|name| is_key_file(label, name));
        let urls = names.map(|name| place.join(&name));
        // The archive of a key that cannot leave its token holds none.
        let holds_key = |url: &FileUrl| {
            takeover.files.read(url, takeover.login).map_or(true, |octets| archive::holds_key(&octets))
        };
        copies.extend(urls.filter(holds_key).map(|url| url.to_string()));
    }
    Ok(copies.into_iter().collect())
}

fn is_key_file(label: &str, name: &str) -> bool {
    let rest = name.strip_prefix(label);
    rest.is_some_and(|rest| [".prv", "-sign.prv", "-encr.prv", ".p12", ".pem"].contains(&rest))
}

fn digest(ca: &Certificate) -> Option<Hash> {
    ca.signature_algorithm().and_then(|algorithm| algorithm.hash())
}

fn weak_key(ca: &Certificate) -> Option<KeyKind> {
    let kind = ca.public_key().kind();
    matches!(kind, KeyKind::Rsa { bits } if bits < 2048).then_some(kind)
}

/// Why a server whose CA was taken over does not serve now.
pub fn out_of_date(ca: &Certificate, now: Time) -> Option<String> {
    (!ca.is_valid_at(now)).then(|| {
        format!(
            "the CA certificate is valid from {} to {}, not now; nothing can be issued with it, only looked at",
            ca.not_before(),
            ca.not_after()
        )
    })
}
