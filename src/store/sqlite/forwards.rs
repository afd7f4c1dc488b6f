//! Enrollments that are asked for at another CA.

use rusqlite::{Connection, Row};

use crate::pki::Time;
use crate::store::{Certificate, Forward, Issued, Stage, State, StoreError};

use super::rows::{Count, Fail, change, every, first, int};
use super::{certificates, enrollments};

/// What [`super::enrollments::submit`] does beside the enrollment itself.
pub(super) fn begin(db: &Connection, server: &str, id: u64, now: Time) -> Result<(), Fail> {
    let sql = "INSERT INTO forwards (server, enrollment, stage, tries, next_try)
               VALUES (?1, ?2, ?3, 0, ?4)";
    change(db, sql, (server, int(id), Stage::Asking, now))?;
    Ok(())
}

pub(super) fn forward(db: &Connection, server: &str, id: u64, now: Time) -> Result<(), Fail> {
    let sql = "UPDATE enrollments SET state = 'authorized', reason = NULL, updated = ?3
               WHERE server = ?1 AND id = ?2 AND state = 'pending'";
    moved(db, server, id, change(db, sql, (server, int(id), now))?)?;
    begin(db, server, id, now)
}

pub(super) fn count(db: &Connection, server: &str) -> Result<u64, Fail> {
    Ok(first(db, COUNT, [server], |row| row.get::<_, Count>(0))?.map_or(0, |n| n.0))
}

/// Those that the other CA has never answered.
pub(super) fn expire(db: &Connection, server: &str, before: Time) -> Result<u64, Fail> {
    let sql = "DELETE FROM enrollments AS e WHERE server = ?1 AND updated < ?2 AND state = 'authorized'
               AND EXISTS (SELECT 1 FROM forwards AS f
                           WHERE f.server = e.server AND f.enrollment = e.id AND f.stage = ?3)";
    let expired = change(db, sql, (server, before, Stage::Asking))?;
    let sql = "DELETE FROM forwards AS f WHERE server = ?1 AND NOT EXISTS (
                   SELECT 1 FROM enrollments AS e WHERE e.server = f.server AND e.id = f.enrollment)";
    if expired > 0 {
        change(db, sql, [server])?;
    }
    Ok(expired as u64)
}

pub(super) fn due(db: &Connection, server: &str, now: Time, limit: usize) -> Result<Vec<Forward>, Fail> {
    every(db, DUE, (server, now, int(limit as u64)), read)
}

pub(super) fn find(db: &Connection, server: &str, id: u64) -> Result<Option<Forward>, Fail> {
    first(db, FIND, (server, int(id)), read)
}

pub(super) fn postpone(
    db: &Connection,
    server: &str,
    id: u64,
    stage: Stage,
    next_try: Time,
    error: Option<&str>,
) -> Result<(), Fail> {
    let sql =
        "UPDATE forwards SET tries = iif(stage = ?3, tries + 1, 1), stage = ?3, next_try = ?4, error = ?5
               WHERE server = ?1 AND enrollment = ?2";
    moved(db, server, id, change(db, sql, (server, int(id), stage, next_try, error))?)
}

pub(super) fn keep(
    db: &Connection,
    server: &str,
    id: u64,
    issuer: &[u8; 32],
    new: Issued,
) -> Result<Certificate, Fail> {
    end(db, server, id)?;
    let serial = new.serial.clone();
    let sql = "UPDATE enrollments SET state = 'granted', serial = ?3, upper = ?4, reason = NULL, updated = ?5
               WHERE server = ?1 AND id = ?2";
    change(db, sql, (server, int(id), &serial, issuer, new.now))?;
    let class = enrollments::find(db, server, id)?.map(|enrollment| enrollment.class);
    // A CA that gives the same certificate again to the same request has issued nothing new.
    let sql =
        "INSERT INTO certificates (server, serial, enrollment, class, intended, kept, kept_order, not_before,
                   not_after, key, subject, der, upper)
               VALUES (?1, ?2, ?3, ?4, ?5, ?5,
                   1 + (SELECT coalesce(max(kept_order), 0) FROM certificates
                        WHERE server = ?1 AND kept_order IS NOT NULL),
                   ?6, ?7, ?8, ?9, ?10, ?11)
               ON CONFLICT (server, serial, upper) DO NOTHING";
    let row = (
        server,
        &serial,
        int(id),
        class,
        new.now,
        new.not_before,
        new.not_after,
        new.key,
        &new.subject,
        &new.der,
        issuer,
    );
    change(db, sql, row)?;
    let sql = "UPDATE counters SET serial = ?2 WHERE server = ?1";
    change(db, sql, (server, &serial))?;
    enrollments::add_cost(db, server, id, new.cost)?;
    match certificates::answer_to(db, server, id)? {
        Some(kept) if kept.der == new.der => Ok(kept),
        // Another one under the same number by the same key.
        _ => Err(StoreError::Conflict.into()),
    }
}

pub(super) fn refuse(db: &Connection, server: &str, id: u64, reason: &str, now: Time) -> Result<(), Fail> {
    end(db, server, id)?;
    let sql = "UPDATE enrollments SET state = 'denied', reason = ?3, updated = ?4
               WHERE server = ?1 AND id = ?2";
    change(db, sql, (server, int(id), reason, now))?;
    Ok(())
}

fn end(db: &Connection, server: &str, id: u64) -> Result<(), Fail> {
    let sql = "DELETE FROM forwards WHERE server = ?1 AND enrollment = ?2";
    moved(db, server, id, change(db, sql, (server, int(id)))?)
}

fn moved(db: &Connection, server: &str, id: u64, rows: usize) -> Result<(), Fail> {
    match rows {
        1 => Ok(()),
        _ if enrollments::find(db, server, id)?.is_some() => Err(StoreError::Conflict.into()),
        _ => Err(StoreError::NotFound.into()),
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Forward> {
    let enrollment = enrollments::enrollment(row)?;
    debug_assert_eq!(enrollment.state, State::Authorized);
    Ok(Forward {
        enrollment,
        stage: row.get("stage")?,
        tries: row.get::<_, Count>("tries")?.0.try_into().unwrap_or(u32::MAX),
        next_try: row.get("next_try")?,
        error: row.get("error")?,
    })
}

const DUE: &str = "SELECT e.*, f.stage, f.tries, f.next_try, f.error FROM forwards AS f
    JOIN enrollments AS e ON e.server = f.server AND e.id = f.enrollment
    WHERE f.server = ?1 AND f.next_try <= ?2 ORDER BY f.next_try LIMIT ?3";

const FIND: &str = "SELECT e.*, f.stage, f.tries, f.next_try, f.error FROM forwards AS f
    JOIN enrollments AS e ON e.server = f.server AND e.id = f.enrollment
    WHERE f.server = ?1 AND f.enrollment = ?2";

const COUNT: &str = "SELECT count(*) FROM forwards WHERE server = ?1";

#[cfg(test)]
pub(super) const PER_REQUEST: &[&str] = &[COUNT, DUE, FIND];
