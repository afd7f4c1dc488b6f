//! Enrollments: from submission to removal.

use rusqlite::{Connection, Row};

use crate::pki::{Serial, Time};
use crate::store::{
    Cost, Enrollment, Intent, NewEnrollment, NewIntent, Reuse, State, StoreError, Submission, Submitted,
};

use super::rows::{Count, Fail, change, every, first, int};
use super::{authorities, certificates, forwards, passwords};

pub(super) fn submit(db: &Connection, new: NewEnrollment) -> Result<Submitted, Fail> {
    if let Some(authority) = new.authority
        && authorities::is_discarded(db, &new.server, authority)?
    {
        return Err(StoreError::Conflict.into());
    }
    // 1. A repetition costs the token what it cost, and goes on under its own transaction.
    if let Some(mut enrollment) = repeated(db, &new)? {
        add_cost(db, &new.server, enrollment.id, new.cost)?;
        enrollment.cost += new.cost;
        if enrollment.transaction != new.transaction {
            let sql = "UPDATE enrollments SET transact = ?3 WHERE server = ?1 AND id = ?2";
            change(db, sql, (&new.server, int(enrollment.id), &new.transaction))?;
            enrollment.transaction = new.transaction;
        }
        let intent = match (&enrollment.state, &enrollment.serial) {
            (State::Authorized, Some(serial)) => Some(certificates::intent(db, &new.server, serial)?),
            _ => None,
        };
        return Ok(Submitted { enrollment, intent, known: true });
    }

    // 2. The password. What fails below gives it back.
    let malformed = matches!(new.submission, Submission::Malformed(_));
    if let Some(digest) = &new.claim
        && !malformed
    {
        passwords::claim(db, &new.server, digest, &new.identity, new.now)?;
    }

    // 3. The ReqID, then what policy decided.
    let id = next_request(db, &new.server)?;
    let (state, intent, reason) = match new.submission {
        Submission::Pend if pending(db, &new.server)? >= new.max_pending => {
            return Err(StoreError::Full.into());
        }
        Submission::Pend => (State::Pending, None, None),
        Submission::Issue(intent) => {
            let intent = NewIntent { server: new.server.clone(), ..intent };
            (State::Authorized, Some(certificates::intend(db, intent, Some((id, new.class)))?), None)
        }
        Submission::Forward if forwards::count(db, &new.server)? >= new.max_pending => {
            return Err(StoreError::Full.into());
        }
        Submission::Forward => {
            forwards::begin(db, &new.server, id, new.now)?;
            (State::Authorized, None, None)
        }
        Submission::Malformed(reason) => (State::Malformed, None, Some(reason)),
    };

    // 4. The enrollment itself.
    let enrollment = Enrollment {
        id,
        state,
        class: new.class,
        authority: new.authority,
        transaction: new.transaction,
        identity: new.identity,
        csr: new.csr,
        signer_key: new.signer_key,
        subject: new.subject,
        source: new.source,
        created: new.now,
        updated: new.now,
        serial: intent.as_ref().map(|i| i.serial.clone()),
        reason,
        cost: new.cost,
    };
    insert(db, &new.server, &enrollment)?;
    if malformed {
        change(db, FORGET_MALFORMED, (&new.server, int(new.max_pending)))?;
    }
    Ok(Submitted { enrollment, intent, known: false })
}

pub(super) fn find(db: &Connection, server: &str, id: u64) -> Result<Option<Enrollment>, Fail> {
    first(db, FIND, (server, int(id)), enrollment)
}

pub(super) fn of_transaction(
    db: &Connection,
    server: &str,
    transaction: &[u8],
    signer_key: &[u8; 32],
) -> Result<Option<Enrollment>, Fail> {
    first(db, OF_TRANSACTION, (server, signer_key, transaction), enrollment)
}

pub(super) fn to_authority(
    db: &Connection,
    server: &str,
    transaction: &[u8],
    signer_key: &[u8; 32],
    authority: u64,
    unnamed: bool,
) -> Result<Option<Enrollment>, Fail> {
    first(db, TO_AUTHORITY, (server, signer_key, transaction, int(authority), unnamed), enrollment)
}

pub(super) fn page(db: &Connection, server: &str, after: u64, limit: usize) -> Result<Vec<Enrollment>, Fail> {
    every(db, PAGE, (server, int(after), int(limit as u64)), enrollment)
}

pub(super) fn pending(db: &Connection, server: &str) -> Result<u64, Fail> {
    Ok(first(db, PENDING, [server], |row| row.get::<_, Count>(0))?.map_or(0, |n| n.0))
}

pub(super) fn advance(
    db: &Connection,
    server: &str,
    id: u64,
    from: State,
    to: State,
    reason: Option<&str>,
    now: Time,
) -> Result<(), Fail> {
    in_state(db, server, id, from)?;
    if with_serial(from) || with_serial(to) {
        return Err(StoreError::Conflict.into());
    }
    let sql = "UPDATE enrollments SET state = ?3, reason = ?4, updated = ?5 WHERE server = ?1 AND id = ?2";
    change(db, sql, (server, int(id), to, reason, now))?;
    Ok(())
}

pub(super) fn remove(db: &Connection, server: &str, id: u64) -> Result<(), Fail> {
    if state(db, server, id)? == State::Authorized {
        return Err(StoreError::Conflict.into());
    }
    change(db, "DELETE FROM enrollments WHERE server = ?1 AND id = ?2", (server, int(id)))?;
    Ok(())
}

pub(super) fn expire(db: &Connection, server: &str, before: Time) -> Result<u64, Fail> {
    let forgotten = forwards::expire(db, server, before)?;
    let sql = "DELETE FROM enrollments WHERE server = ?1 AND updated < ?2 AND state <> 'authorized'";
    Ok(forgotten + change(db, sql, (server, before))? as u64)
}

/// An intent for an enrollment that waits or was refused.
pub(super) fn intend(db: &Connection, new: NewIntent, id: u64, from: State) -> Result<Intent, Fail> {
    let (server, now) = (new.server.clone(), new.now);
    let enrollment = find(db, &server, id)?.ok_or(StoreError::NotFound)?;
    if enrollment.state != from || with_serial(from) {
        return Err(StoreError::Conflict.into());
    }
    let intent = certificates::intend(db, new, Some((id, enrollment.class)))?;
    let sql = "UPDATE enrollments SET state = 'authorized', serial = ?3, reason = NULL, updated = ?4
               WHERE server = ?1 AND id = ?2";
    change(db, sql, (server, int(id), &intent.serial, now))?;
    Ok(intent)
}

/// Its certificate is kept.
pub(super) fn granted(
    db: &Connection,
    server: &str,
    id: u64,
    serial: &Serial,
    now: Time,
) -> Result<(), Fail> {
    let sql = "UPDATE enrollments SET state = 'granted', updated = ?4
               WHERE server = ?1 AND id = ?2 AND serial = ?3 AND state = 'authorized'";
    changed_one(change(db, sql, (server, int(id), serial, now))?, id)
}

/// Its intent was given up.
pub(super) fn abandoned(
    db: &Connection,
    server: &str,
    id: u64,
    serial: &Serial,
    now: Time,
) -> Result<(), Fail> {
    let sql = "UPDATE enrollments SET state = 'pending', serial = NULL, updated = ?4
               WHERE server = ?1 AND id = ?2 AND serial = ?3 AND state = 'authorized'";
    changed_one(change(db, sql, (server, int(id), serial, now))?, id)
}

/// The authority that was to answer them was taken back before it acted: nobody can.
pub(super) fn orphaned(
    db: &Connection,
    server: &str,
    authority: u64,
    reason: &str,
    now: Time,
) -> Result<(), Fail> {
    let sql = "UPDATE enrollments SET state = 'denied', reason = ?3, updated = ?4
               WHERE server = ?1 AND authority = ?2 AND state = 'pending'";
    change(db, sql, (server, int(authority), reason, now)).map(drop)
}

/// Adds to what an enrollment has cost, if it is still there.
pub(super) fn add_cost(db: &Connection, server: &str, id: u64, cost: Cost) -> Result<(), Fail> {
    if cost == Cost::default() {
        return Ok(());
    }
    let sql = "UPDATE enrollments SET signatures = min(signatures + ?3, 0xFFFFFFFF),
                   decryptions = min(decryptions + ?4, 0xFFFFFFFF), micros = micros + ?5
               WHERE server = ?1 AND id = ?2";
    change(db, sql, (server, int(id), cost.signatures, cost.decryptions, micros(cost)))?;
    Ok(())
}

/// The newest enrollment that `new` repeats.
fn repeated(db: &Connection, new: &NewEnrollment) -> Result<Option<Enrollment>, Fail> {
    match new.reuse {
        Reuse::Never => Ok(None),
        Reuse::UntilHalfLife => first(db, REPEATED, (&new.server, new.identity, new.now), enrollment),
    }
}

fn next_request(db: &Connection, server: &str) -> Result<u64, Fail> {
    let sql = "INSERT INTO counters (server, request) VALUES (?1, 1)
               ON CONFLICT (server) DO UPDATE SET request = request + 1 RETURNING request";
    let id = first(db, sql, [server], |row| row.get::<_, Count>(0))?;
    Ok(id.ok_or(rusqlite::Error::QueryReturnedNoRows)?.0)
}

fn insert(db: &Connection, server: &str, e: &Enrollment) -> Result<(), Fail> {
    let sql = "INSERT INTO enrollments (server, id, state, class, transact, identity, signer_key, source,
                   created, updated, serial, signatures, decryptions, micros, reason, subject, csr, authority)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";
    let row = rusqlite::params![
        server,
        int(e.id),
        e.state,
        e.class,
        e.transaction,
        e.identity,
        e.signer_key,
        e.source,
        e.created,
        e.updated,
        e.serial,
        e.cost.signatures,
        e.cost.decryptions,
        micros(e.cost),
        e.reason,
        e.subject,
        e.csr,
        e.authority.map(int)
    ];
    change(db, sql, row)?;
    Ok(())
}

fn in_state(db: &Connection, server: &str, id: u64, expected: State) -> Result<(), Fail> {
    if state(db, server, id)? == expected { Ok(()) } else { Err(StoreError::Conflict.into()) }
}

fn state(db: &Connection, server: &str, id: u64) -> Result<State, Fail> {
    let sql = "SELECT state FROM enrollments WHERE server = ?1 AND id = ?2";
    Ok(first(db, sql, (server, int(id)), |row| row.get(0))?.ok_or(StoreError::NotFound)?)
}

/// The states that only an intent or another CA, a certificate and their end lead into and out of.
fn with_serial(state: State) -> bool {
    matches!(state, State::Authorized | State::Granted)
}

fn changed_one(rows: usize, id: u64) -> Result<(), Fail> {
    match rows {
        1 => Ok(()),
        _ => Err(StoreError::Corrupt(format!("request {id} and its intent do not fit")).into()),
    }
}

/// A quarter of what a column can hold: sums of it do not overflow.
fn micros(cost: Cost) -> i64 {
    int(cost.micros).min(i64::MAX >> 2)
}

pub(super) fn enrollment(row: &Row<'_>) -> rusqlite::Result<Enrollment> {
    Ok(Enrollment {
        id: row.get::<_, Count>("id")?.0,
        state: row.get("state")?,
        class: row.get("class")?,
        authority: row.get::<_, Option<Count>>("authority")?.map(|n| n.0),
        transaction: row.get("transact")?,
        identity: row.get("identity")?,
        csr: row.get("csr")?,
        signer_key: row.get("signer_key")?,
        subject: row.get("subject")?,
        source: row.get("source")?,
        created: row.get("created")?,
        updated: row.get("updated")?,
        serial: row.get("serial")?,
        reason: row.get("reason")?,
        cost: Cost {
            signatures: row.get("signatures")?,
            decryptions: row.get("decryptions")?,
            micros: row.get::<_, Count>("micros")?.0,
        },
    })
}

const FIND: &str = "SELECT * FROM enrollments WHERE server = ?1 AND id = ?2";

const OF_TRANSACTION: &str = "SELECT * FROM enrollments
    WHERE server = ?1 AND signer_key = ?2 AND transact = ?3 ORDER BY id DESC LIMIT 1";

const TO_AUTHORITY: &str = "SELECT * FROM enrollments
    WHERE server = ?1 AND signer_key = ?2 AND transact = ?3 AND coalesce(authority = ?4, ?5)
    ORDER BY id DESC LIMIT 1";

const PAGE: &str = "SELECT * FROM enrollments WHERE server = ?1 AND id > ?2 ORDER BY id LIMIT ?3";

const PENDING: &str = "SELECT pending FROM counters WHERE server = ?1";

/// All but the newest so many.
const FORGET_MALFORMED: &str = "DELETE FROM enrollments WHERE server = ?1 AND state = 'malformed' AND id <= (
        SELECT id FROM enrollments WHERE server = ?1 AND state = 'malformed'
        ORDER BY id DESC LIMIT 1 OFFSET ?2)";

/// Granted ones count until the middle of their certificate's life.
const REPEATED: &str = "SELECT * FROM enrollments AS e
    WHERE server = ?1 AND identity = ?2 AND (state <> 'granted' OR EXISTS (
        SELECT 1 FROM certificates AS c
        WHERE c.server = e.server AND c.serial = e.serial AND c.upper = e.upper AND kept IS NOT NULL AND revoked IS NULL
            AND ?3 < not_before + (not_after - not_before) / 2))
    ORDER BY id DESC LIMIT 1";

#[cfg(test)]
pub(super) const PER_REQUEST: &[&str] =
    &[FIND, OF_TRANSACTION, TO_AUTHORITY, PAGE, PENDING, FORGET_MALFORMED, REPEATED];
