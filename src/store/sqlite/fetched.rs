//! CRLs of other CAs: one for each key, the newest.

use rusqlite::{Connection, Row};

use crate::store::{CrlOrigin, FetchedCrl, StoreError};

use super::rows::{Fail, change, every, first};

pub(super) fn find(db: &Connection, issuer_key: &[u8; 32]) -> Result<Option<FetchedCrl>, Fail> {
    first(db, FIND, [issuer_key], |row| {
        Ok(FetchedCrl { origin: origin(row)?, der: row.get::<_, Vec<u8>>("der")?.into() })
    })
}

pub(super) fn all(db: &Connection) -> Result<Vec<CrlOrigin>, Fail> {
    every(db, ALL, [], origin)
}

pub(super) fn keep(db: &Connection, crl: &FetchedCrl) -> Result<(), Fail> {
    let FetchedCrl { origin, der } = crl;
    let row = rusqlite::params![
        origin.issuer_key,
        origin.issuer,
        origin.source,
        origin.fetched,
        origin.this_update,
        origin.next_update,
        &der[..]
    ];
    match change(db, KEEP, row)? {
        0 => Err(StoreError::Conflict.into()),
        _ => Ok(()),
    }
}

pub(super) fn forget(db: &Connection, before: crate::pki::Time) -> Result<u64, Fail> {
    Ok(change(db, "DELETE FROM fetched_crls WHERE next_update < ?1", [before])? as u64)
}

fn origin(row: &Row<'_>) -> rusqlite::Result<CrlOrigin> {
    Ok(CrlOrigin {
        issuer_key: row.get("issuer_key")?,
        issuer: row.get("issuer")?,
        source: row.get("source")?,
        fetched: row.get("fetched")?,
        this_update: row.get("this_update")?,
        next_update: row.get("next_update")?,
    })
}

const FIND: &str = "SELECT * FROM fetched_crls WHERE issuer_key = ?1";

const ALL: &str = "SELECT issuer_key, issuer, source, fetched, this_update, next_update FROM fetched_crls
    ORDER BY issuer, this_update";

// One that is older than the one at hand was played again, or comes from a mirror that is behind.
const KEEP: &str = "INSERT INTO fetched_crls
        (issuer_key, issuer, source, fetched, this_update, next_update, der)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
    ON CONFLICT (issuer_key) DO UPDATE SET issuer = excluded.issuer, source = excluded.source,
        fetched = excluded.fetched, this_update = excluded.this_update,
        next_update = excluded.next_update, der = excluded.der
    WHERE excluded.this_update >= this_update";

#[cfg(test)]
pub(super) const PER_REQUEST: &[&str] = &[FIND];
