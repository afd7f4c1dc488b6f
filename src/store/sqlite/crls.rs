//! CRLs: one for each authority, which may be long. Their octets are written and read in place, so that
//! they are in memory once.

use std::io::{Read, Write};

use rusqlite::blob::ZeroBlob;
use rusqlite::{Connection, MAIN_DB, Row};

use crate::store::{Crl, CrlFacts, StoreError};

use super::rows::{Count, Fail, first, int};

pub(super) fn keep(db: &Connection, server: &str, crl: &Crl) -> Result<(), Fail> {
    let row = rusqlite::params![
        server,
        int(crl.authority),
        int(crl.number),
        crl.this_update,
        crl.next_update,
        int(crl.revision),
        ZeroBlob(crl.der.len() as u64)
    ];
    let place = first(db, KEEP, row, |row| row.get::<_, i64>(0))?.ok_or(StoreError::Conflict)?;
    db.blob_open(MAIN_DB, "crls", "der", place, false)?.write_all(&crl.der).map_err(damaged)
}

pub(super) fn find(db: &Connection, server: &str, authority: u64) -> Result<Option<Crl>, Fail> {
    // Facts and octets of one moment.
    let snapshot = db.unchecked_transaction()?;
    let found =
        first(db, FIND, (server, int(authority)), |row| Ok((row.get::<_, i64>("place")?, facts(row)?)))?;
    let Some((place, facts)) = found else { return Ok(None) };
    let mut der = Vec::with_capacity(facts.size as usize);
    db.blob_open(MAIN_DB, "crls", "der", place, true)?.read_to_end(&mut der).map_err(damaged)?;
    snapshot.finish()?;
    let CrlFacts { number, this_update, next_update, revision, .. } = facts;
    Ok(Some(Crl { authority, number, this_update, next_update, revision, der: der.into() }))
}

pub(super) fn find_facts(db: &Connection, server: &str, authority: u64) -> Result<Option<CrlFacts>, Fail> {
    first(db, FIND, (server, int(authority)), facts)
}

fn facts(row: &Row<'_>) -> rusqlite::Result<CrlFacts> {
    Ok(CrlFacts {
        number: row.get::<_, Count>("number")?.0,
        this_update: row.get("this_update")?,
        next_update: row.get("next_update")?,
        revision: row.get::<_, Count>("revision")?.0,
        size: row.get::<_, Count>("size")?.0,
    })
}

/// What reading or writing in place failed with: rusqlite's own error, wrapped.
fn damaged(error: std::io::Error) -> Fail {
    match error.downcast::<rusqlite::Error>() {
        Ok(error) => Fail::Sql(error),
        Err(error) => Fail::Told(StoreError::Corrupt(format!("the octets of a CRL: {error}"))),
    }
}

const KEEP: &str = "INSERT INTO crls (server, authority, number, this_update, next_update, revision, der)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
    ON CONFLICT (server, authority) DO UPDATE SET number = excluded.number,
        this_update = excluded.this_update, next_update = excluded.next_update,
        revision = excluded.revision, der = excluded.der
    WHERE excluded.number > number
    RETURNING rowid";

// The length of a blob is in front of it.
const FIND: &str = "SELECT rowid AS place, number, this_update, next_update, revision, length(der) AS size
    FROM crls WHERE server = ?1 AND authority = ?2";

#[cfg(test)]
pub(super) const PER_REQUEST: &[&str] = &[FIND];
