//! Taking another CA over.

use rusqlite::Connection;

use crate::pki::{Serial, Time};
use crate::store::{Adopted, Adoption, Authority, Crl, Role, StoreError};

use super::rows::{Count, Fail, change, first, int};
use super::{authorities, certificates, crls};

pub(super) fn adopt(db: &Connection, adoption: Adoption) -> Result<Authority, Fail> {
    let Adoption { authority: new, certificates, last_serial, crl, now } = adoption;
    let server = new.server.clone();
    let sql = "SELECT 1 FROM authorities WHERE server = ?1 LIMIT 1";
    if new.role != Role::Ca || first(db, sql, [&server], |_| Ok(()))?.is_some() {
        return Err(StoreError::Conflict.into());
    }
    // Without an authority nothing was told to anybody: what there is was to be the certificate of one.
    change(db, "DELETE FROM certificates WHERE server = ?1", [&server])?;

    let certificates = merged(certificates);
    let highest = certificates.last().map_or(&last_serial, |last| (&last_serial).max(&last.serial));
    let authority = authorities::install(db, new, None)?;
    change(db, "UPDATE authorities SET adopted = ?2 WHERE id = ?1", (int(authority.id), highest))?;

    let mut revision = certificates::revision(db, &server)?;
    for adopted in &certificates {
        revision += u64::from(adopted.revocation.is_some());
        // Its own certificate was signed by none.
        let own = adopted.der.as_ref() == Some(&authority.certificate);
        insert(db, &server, (!own).then_some(authority.id), adopted, revision, now)?;
    }
    let sql = "INSERT INTO counters (server, sequential, serial, revision) VALUES (?1, ?2, ?2, ?3)
               ON CONFLICT (server) DO UPDATE SET sequential = ?2, serial = ?2, revision = ?3";
    change(db, sql, (&server, highest, int(revision)))?;

    if let Some(crl) = crl {
        crls::keep(db, &server, &Crl { authority: authority.id, revision, ..crl })?;
    }
    Ok(authority)
}

/// One for each serial number, ascending.
fn merged(mut certificates: Vec<Adopted>) -> Vec<Adopted> {
    // Stable: of equal ones the first stays the first.
    certificates.sort_by(|a, b| a.serial.cmp(&b.serial));
    certificates.dedup_by(|next, first| {
        let same = next.serial == first.serial;
        if same {
            merge(first, next);
        }
        same
    });
    certificates
}

fn merge(first: &mut Adopted, next: &mut Adopted) {
    if first.der.is_none() && next.der.is_some() {
        std::mem::swap(first, next);
    }
    first.subject = first.subject.take().or(next.subject.take());
    first.key = first.key.or(next.key);
    first.not_before = first.not_before.or(next.not_before);
    first.not_after = first.not_after.or(next.not_after);
    first.revocation = first.revocation.or(next.revocation);
}

fn insert(
    db: &Connection,
    server: &str,
    authority: Option<u64>,
    new: &Adopted,
    revision: u64,
    now: Time,
) -> Result<(), Fail> {
    let facts = new.subject.is_some() && new.key.is_some();
    let validity = new.not_before.is_some() && new.not_after.is_some();
    if new.der.is_some() && !(facts && validity) {
        let what = format!("certificate {} without subject, key or validity", new.serial);
        return Err(StoreError::Corrupt(what).into());
    }
    let sql = "INSERT INTO certificates (server, serial, authority, adopted, kept, revoked, reason, revision,
                   not_before, not_after, key, subject, der)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
    let row = rusqlite::params![
        server,
        new.serial,
        authority.map(int),
        now,
        new.der.as_ref().map(|_| now),
        new.revocation.map(|revocation| revocation.at),
        new.revocation.map(|revocation| revocation.reason),
        new.revocation.map(|_| int(revision)),
        new.not_before,
        new.not_after,
        new.key,
        new.subject,
        new.der
    ];
    change(db, sql, row)?;
    Ok(())
}

/// The CA that gave a serial number out before it was taken over, as far as can be known.
pub(super) fn issuer_of(db: &Connection, server: &str, serial: &Serial) -> Result<Option<u64>, Fail> {
    let found = first(db, ADOPTED, [server], |row| {
        Ok((row.get::<_, Count>("id")?.0, row.get::<_, Serial>("adopted")?))
    })?;
    Ok(found.and_then(|(id, last)| (*serial <= last || last.to_u64().is_none()).then_some(id)))
}

const ADOPTED: &str = "SELECT id, adopted FROM authorities WHERE server = ?1 AND adopted IS NOT NULL LIMIT 1";

#[cfg(test)]
pub(super) const PER_REQUEST: &[&str] = &[ADOPTED];
