//! Serial numbers, intents, certificates and their revocation.

use rusqlite::{Connection, Row};

use crate::pki::{Serial, Time};
use crate::store::{
    Certificate, Class, Intent, Issued, IssuedBy, LeftBehind, NewIntent, Omit, Record, Revocation,
    SerialRule, StoreError,
};

use super::rows::{Count, Fail, change, every, first, int};
use super::{adoption, authorities, enrollments, passwords};

/// Fixes serial number and bytes. The state of the enrollment is its caller's.
pub(super) fn intend(
    db: &Connection,
    new: NewIntent,
    enrollment: Option<(u64, Class)>,
) -> Result<Intent, Fail> {
    if let Some(authority) = new.authority
        && authorities::is_discarded(db, &new.server, authority)?
    {
        return Err(StoreError::Conflict.into());
    }
    let (enrollment, class) = enrollment.unzip();
    let serial = match new.serial {
        SerialRule::Sequential => sequential(db, &new.server)?,
        SerialRule::Random => random(db, &new.server)?,
    };
    let tbs = (new.tbs)(&serial);
    let sql = "INSERT INTO certificates (server, serial, authority, enrollment, class, intended, tbs)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let row = (&new.server, &serial, new.authority.map(int), enrollment.map(int), class, new.now, &tbs);
    change(db, sql, row)?;
    Ok(Intent { serial, authority: new.authority, enrollment, tbs })
}

pub(super) fn keep(db: &Connection, server: &str, new: Issued) -> Result<Certificate, Fail> {
    // `tbs` goes: the certificate contains it.
    let sql = "UPDATE certificates SET kept = ?3, not_before = ?4, not_after = ?5, key = ?6, subject = ?7,
                   der = ?8, tbs = NULL,
                   kept_order = 1 + (SELECT coalesce(max(kept_order), 0) FROM certificates
                                     WHERE server = ?1 AND kept_order IS NOT NULL)
               WHERE server = ?1 AND serial = ?2 AND tbs IS NOT NULL AND abandoned IS NULL";
    let row = (server, &new.serial, new.now, new.not_before, new.not_after, new.key, &new.subject, &new.der);
    let first_to_keep = change(db, sql, row)? == 1;
    let kept = match first(db, FIND, (server, &new.serial), record)?.map(Record::whole) {
        Some(Some(kept)) => kept,
        Some(None) => return Err(StoreError::Conflict.into()),
        None if exists(db, server, &new.serial)? => return Err(StoreError::Conflict.into()),
        None => return Err(StoreError::NotFound.into()),
    };
    if let Some(id) = kept.enrollment {
        if first_to_keep {
            enrollments::granted(db, server, id, &new.serial, new.now)?;
        }
        // Signing for nothing has cost the same.
        enrollments::add_cost(db, server, id, new.cost)?;
    }
    Ok(kept)
}

pub(super) fn unfinished(db: &Connection, server: &str) -> Result<Vec<Intent>, Fail> {
    every(db, UNFINISHED, [server], to_intent)
}

/// The intent with this serial number, which must be there.
pub(super) fn intent(db: &Connection, server: &str, serial: &Serial) -> Result<Intent, Fail> {
    let found = first(db, INTENT, (server, serial), to_intent)?;
    Ok(found.ok_or_else(|| StoreError::Corrupt(format!("serial number {serial} has no intent")))?)
}

pub(super) fn abandon(db: &Connection, server: &str, serial: &Serial, now: Time) -> Result<(), Fail> {
    let sql = "UPDATE certificates SET abandoned = ?3
               WHERE server = ?1 AND serial = ?2 AND tbs IS NOT NULL AND abandoned IS NULL RETURNING enrollment";
    match first(db, sql, (server, serial, now), |row| row.get::<_, Option<Count>>(0))? {
        Some(Some(id)) => enrollments::abandoned(db, server, id.0, serial, now),
        Some(None) => Ok(()),
        None if exists(db, server, serial)? => Err(StoreError::Conflict.into()),
        None => Err(StoreError::NotFound.into()),
    }
}

pub(super) fn find(db: &Connection, server: &str, serial: &Serial) -> Result<Option<Record>, Fail> {
    if let Some(record) = first(db, FIND, (server, serial), record)? {
        return Ok(Some(record));
    }
    let Some(authority) = adoption::issuer_of(db, server, serial)? else { return Ok(None) };
    // Not an intent: that was given out here.
    Ok((!exists(db, server, serial)?).then(|| unknown(serial, authority)))
}

/// Every one with this serial number that is known whole, in no order that means anything.
pub(super) fn with(db: &Connection, server: &str, serial: &Serial) -> Result<Vec<Certificate>, Fail> {
    let records = every(db, WITH, (server, serial), record)?;
    Ok(records.into_iter().filter_map(Record::whole).collect())
}

/// The certificate that an enrollment was granted.
pub(super) fn answer_to(db: &Connection, server: &str, id: u64) -> Result<Option<Certificate>, Fail> {
    Ok(first(db, ANSWER_TO, (server, int(id)), record)?.and_then(Record::whole))
}

pub(super) fn page(
    db: &Connection,
    server: &str,
    after: Option<&Serial>,
    limit: usize,
) -> Result<Vec<Certificate>, Fail> {
    let position = match after {
        None => None,
        Some(serial) => first(db, POSITION, (server, serial), |row| row.get::<_, Option<i64>>(0))?.flatten(),
    };
    let records = every(db, PAGE, (server, position.unwrap_or(0), int(limit as u64)), record)?;
    Ok(records.into_iter().filter_map(Record::whole).collect())
}

pub(super) fn kept_after(
    db: &Connection,
    server: &str,
    after: u64,
    limit: usize,
) -> Result<Vec<(u64, Certificate)>, Fail> {
    let row = |row: &Row<'_>| Ok((row.get::<_, Count>("kept_order")?.0, record(row)?));
    let kept = every(db, KEPT, (server, int(after), int(limit as u64)), row)?;
    Ok(kept.into_iter().filter_map(|(order, record)| Some((order, record.whole()?))).collect())
}

pub(super) fn kept_last(db: &Connection, server: &str) -> Result<u64, Fail> {
    Ok(first(db, KEPT_LAST, [server], |row| row.get::<_, Option<Count>>(0))?.flatten().map_or(0, |n| n.0))
}

pub(super) fn last_serial(db: &Connection, server: &str) -> Result<Option<Serial>, Fail> {
    let sql = "SELECT serial FROM counters WHERE server = ?1";
    Ok(first(db, sql, [server], |row| row.get(0))?.flatten())
}

pub(super) fn revoke(db: &Connection, server: &str, serial: &Serial, how: Revocation) -> Result<(), Fail> {
    let record = find(db, server, serial)?.ok_or(StoreError::NotFound)?;
    let how = match record.revocation {
        None => how,
        // It has not been good since then.
        Some(held) if held.reason == HOLD && how.reason != HOLD => {
            Revocation { at: held.at.min(how.at), ..how }
        }
        Some(_) => return Err(StoreError::Conflict.into()),
    };
    let revision = next_revision(db, server)?;
    let sql = "UPDATE certificates SET revoked = ?3, reason = ?4, revision = ?5
               WHERE server = ?1 AND serial = ?2";
    if change(db, sql, (server, serial, how.at, how.reason, int(revision)))? == 0 {
        // One of an adopted CA of which nothing was known so far.
        let sql = "INSERT INTO certificates (server, serial, authority, adopted, revoked, reason, revision)
                   VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6)";
        change(db, sql, (server, serial, record.authority.map(int), how.at, how.reason, int(revision)))?;
    }
    Ok(())
}

pub(super) fn unrevoke(db: &Connection, server: &str, serial: &Serial) -> Result<(), Fail> {
    let record = find(db, server, serial)?.ok_or(StoreError::NotFound)?;
    if record.revocation.is_none_or(|r| r.reason != HOLD) {
        return Err(StoreError::Conflict.into());
    }
    let sql = "UPDATE certificates SET revoked = NULL, reason = NULL, revision = NULL
               WHERE server = ?1 AND serial = ?2";
    change(db, sql, (server, serial))?;
    next_revision(db, server)?;
    Ok(())
}

pub(super) fn revision(db: &Connection, server: &str) -> Result<u64, Fail> {
    Ok(first(db, REVISION, [server], |row| row.get::<_, Count>(0))?.map_or(0, |n| n.0))
}

pub(super) fn revoked(
    db: &Connection,
    server: &str,
    authority: u64,
    omit: Omit,
    each: &mut dyn FnMut(&Serial, Revocation),
) -> Result<u64, Fail> {
    // One snapshot, however long it takes.
    let snapshot = db.unchecked_transaction()?;
    let revision = revision(db, server)?;
    {
        let mut statement = db.prepare_cached(REVOKED)?;
        let row = (server, int(authority), omit.expired_before, int(omit.revision));
        let mut rows = statement.query(row)?;
        while let Some(row) = rows.next()? {
            each(&row.get(0)?, Revocation { at: row.get(1)?, reason: row.get(2)? });
        }
    }
    snapshot.finish()?;
    Ok(revision)
}

/// Takes back what an authority that never acted has signed or was to sign.
pub(super) fn disown(db: &Connection, server: &str, authority: u64, how: Revocation) -> Result<(), Fail> {
    for intent in unfinished(db, server)?.iter().filter(|intent| intent.authority == Some(authority)) {
        abandon(db, server, &intent.serial, how.at)?;
    }
    enrollments::orphaned(db, server, authority, TAKEN_BACK, how.at)?;
    let sql = "SELECT serial FROM certificates
               WHERE server = ?1 AND authority = ?2 AND kept IS NOT NULL AND revoked IS NULL";
    let serials: Vec<Serial> = every(db, sql, (server, int(authority)), |row| row.get(0))?;
    serials.iter().try_for_each(|serial| revoke(db, server, serial, how))
}

pub(super) fn issued_by(db: &Connection, server: &str, authority: u64) -> Result<IssuedBy, Fail> {
    let issued = first(db, ISSUED_BY, (server, int(authority)), |row| {
        Ok(IssuedBy {
            count: row.get::<_, Count>(0)?.0,
            enrolled: row.get::<_, Count>(1)?.0,
            last_end: row.get(2)?,
        })
    })?;
    Ok(issued.unwrap_or_default())
}

pub(super) fn left_behind(
    db: &Connection,
    server: &str,
    authority: u64,
    next: u64,
    now: Time,
    limit: usize,
) -> Result<LeftBehind, Fail> {
    let row = (server, int(authority), int(next), now);
    let holders = every(db, HOLDERS, row, |row| Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?)))?;
    let mut left = LeftBehind::default();
    for (subject, ready) in holders {
        if ready {
            left.ready += 1;
            continue;
        }
        left.missing += 1;
        if left.subjects.len() < limit {
            left.subjects.push(subject);
        }
    }
    Ok(left)
}

fn next_revision(db: &Connection, server: &str) -> Result<u64, Fail> {
    let sql = "INSERT INTO counters (server, revision) VALUES (?1, 1)
               ON CONFLICT (server) DO UPDATE SET revision = revision + 1 RETURNING revision";
    let revision = first(db, sql, [server], |row| row.get::<_, Count>(0))?;
    Ok(revision.ok_or(rusqlite::Error::QueryReturnedNoRows)?.0)
}

/// One more than the last sequential one. Random ones given out between do not count, but are not
/// given again either.
fn sequential(db: &Connection, server: &str) -> Result<Serial, Fail> {
    let sql = "SELECT sequential FROM counters WHERE server = ?1";
    let last: Option<Serial> = first(db, sql, [server], |row| row.get(0))?.flatten();
    let mut serial = successor(&last.unwrap_or(Serial::from(0)))?;
    while exists(db, server, &serial)? {
        serial = successor(&serial)?;
    }
    let sql = "INSERT INTO counters (server, sequential, serial) VALUES (?1, ?2, ?2)
               ON CONFLICT (server) DO UPDATE SET sequential = ?2, serial = ?2";
    change(db, sql, (server, &serial))?;
    Ok(serial)
}

fn random(db: &Connection, server: &str) -> Result<Serial, Fail> {
    let serial = loop {
        let mut bytes = [0; 16];
        passwords::random(&mut bytes)?;
        // Positive and always 16 octets.
        bytes[0] &= 0x7F;
        let serial = Serial::from_be_bytes(&bytes);
        if bytes[0] != 0 && !exists(db, server, &serial)? {
            break serial;
        }
    };
    let sql = "INSERT INTO counters (server, serial) VALUES (?1, ?2)
               ON CONFLICT (server) DO UPDATE SET serial = ?2";
    change(db, sql, (server, &serial))?;
    Ok(serial)
}

fn successor(serial: &Serial) -> Result<Serial, Fail> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(serial.as_be_bytes());
    for byte in bytes.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            break;
        }
    }
    let next = Serial::from_be_bytes(&bytes);
    // 20 octets of content, RFC 5280, 4.1.2.2.
    if next.to_der_content().len() > 20 { Err(Fail::Now("serial numbers are used up")) } else { Ok(next) }
}

/// Whether the serial number was ever given out.
fn exists(db: &Connection, server: &str, serial: &Serial) -> Result<bool, Fail> {
    Ok(first(db, EXISTS, (server, serial), |_| Ok(()))?.is_some())
}

fn to_intent(row: &Row<'_>) -> rusqlite::Result<Intent> {
    Ok(Intent {
        serial: row.get("serial")?,
        authority: row.get::<_, Option<Count>>("authority")?.map(|n| n.0),
        enrollment: row.get::<_, Option<Count>>("enrollment")?.map(|n| n.0),
        tbs: row.get("tbs")?,
    })
}

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let revocation = match row.get("revoked")? {
        Some(at) => Some(Revocation { at, reason: row.get("reason")? }),
        None => None,
    };
    Ok(Record {
        serial: row.get("serial")?,
        authority: row.get::<_, Option<Count>>("authority")?.map(|n| n.0),
        enrollment: row.get::<_, Option<Count>>("enrollment")?.map(|n| n.0),
        class: row.get("class")?,
        der: row.get("der")?,
        subject: row.get("subject")?,
        key: row.get("key")?,
        not_before: row.get("not_before")?,
        not_after: row.get("not_after")?,
        revocation,
    })
}

/// Of a serial number of which nothing is known but who gave it out.
fn unknown(serial: &Serial, authority: u64) -> Record {
    Record {
        serial: serial.clone(),
        authority: Some(authority),
        enrollment: None,
        class: None,
        der: None,
        subject: None,
        key: None,
        not_before: None,
        not_after: None,
        revocation: None,
    }
}

/// Why requests to an authority that was taken back are denied.
const TAKEN_BACK: &str = "the next CA certificate was taken back";

/// certificateHold, RFC 5280, 5.3.1.
const HOLD: u8 = 6;

const FIND: &str = "SELECT * FROM certificates WHERE server = ?1 AND serial = ?2 AND tbs IS NULL";

const WITH: &str = "SELECT * FROM certificates
    WHERE server = ?1 AND serial = ?2 AND kept IS NOT NULL ORDER BY upper";

const ANSWER_TO: &str = "SELECT c.* FROM enrollments AS e
    JOIN certificates AS c ON c.server = e.server AND c.serial = e.serial AND c.upper = e.upper
    WHERE e.server = ?1 AND e.id = ?2 AND c.kept IS NOT NULL";

const EXISTS: &str = "SELECT 1 FROM certificates WHERE server = ?1 AND serial = ?2";

const INTENT: &str = "SELECT * FROM certificates
    WHERE server = ?1 AND serial = ?2 AND tbs IS NOT NULL AND abandoned IS NULL";

const UNFINISHED: &str = "SELECT * FROM certificates
    WHERE server = ?1 AND tbs IS NOT NULL AND abandoned IS NULL ORDER BY position";

/// Where a serial number stands in the order of issue, or the one below it when it was never given out.
const POSITION: &str = "SELECT max(position) FROM certificates WHERE server = ?1 AND serial = (
        SELECT serial FROM certificates WHERE server = ?1 AND serial <= ?2 ORDER BY serial DESC LIMIT 1)";

const PAGE: &str = "SELECT * FROM certificates
    WHERE server = ?1 AND position > ?2 AND kept IS NOT NULL ORDER BY position LIMIT ?3";

const KEPT: &str = "SELECT * FROM certificates
    WHERE server = ?1 AND kept_order > ?2 ORDER BY kept_order LIMIT ?3";

const KEPT_LAST: &str = "SELECT max(kept_order) FROM certificates
    WHERE server = ?1 AND kept_order IS NOT NULL";

const ISSUED_BY: &str = "SELECT count(*), count(enrollment), max(not_after) FROM certificates
    WHERE server = ?1 AND authority = ?2 AND kept IS NOT NULL";

/// Who holds a certificate of one authority, and whether also one of another. Of a CA that was taken over nobody
/// knows what answered an enrollment, nor every certificate whole.
const HOLDERS: &str = "SELECT DISTINCT subject, subject IN (
        SELECT subject FROM certificates
        WHERE server = ?1 AND authority = ?3 AND kept IS NOT NULL AND revoked IS NULL)
    FROM certificates
    WHERE server = ?1 AND authority = ?2 AND revoked IS NULL AND not_after >= ?4 AND subject IS NOT NULL
        AND (kept IS NOT NULL AND enrollment IS NOT NULL OR adopted IS NOT NULL)
    ORDER BY subject";

const REVISION: &str = "SELECT revision FROM counters WHERE server = ?1";

const REVOKED: &str = "SELECT serial, revoked, reason FROM certificates
    WHERE server = ?1 AND authority = ?2 AND revoked IS NOT NULL
        AND (not_after IS NULL OR not_after >= ?3 OR revision > ?4) ORDER BY serial";

#[cfg(test)]
pub(super) const PER_REQUEST: &[&str] =
    &[FIND, WITH, ANSWER_TO, EXISTS, INTENT, UNFINISHED, POSITION, PAGE, KEPT, KEPT_LAST, REVISION, REVOKED];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn successors_carry_and_end() {
        assert_eq!(successor(&Serial::from(0)).ok(), Some(Serial::from(1)));
        assert_eq!(successor(&Serial::from(0xFF)).ok(), Some(Serial::from(0x100)));
        assert_eq!(successor(&Serial::from(u64::MAX)).ok(), "0x10000000000000000".parse().ok());
        let mut last = [0xFF; 20];
        last[0] = 0x7F;
        assert!(successor(&Serial::from_be_bytes(&last)).is_err());
    }
}
