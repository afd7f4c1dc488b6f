//! What belongs to no server: the journal, small facts, the time.

use rusqlite::{Connection, Row};

use crate::pki::Time;
use crate::store::JournalEntry;

use super::rows::{Count, Fail, change, every, first, int};

pub(super) fn add_journal(db: &Connection, new: &JournalEntry) -> Result<(), Fail> {
    let sql = "INSERT INTO journal (at, uid, user, command, outcome) VALUES (?1, ?2, ?3, ?4, ?5)
               RETURNING number";
    let row = (new.at, new.uid, &new.user, &new.command, &new.outcome);
    let number = first(db, sql, row, |row| row.get::<_, i64>(0))?.unwrap_or_default();
    change(db, "DELETE FROM journal WHERE number <= ?1", [number - JOURNAL])?;
    Ok(())
}

pub(super) fn journal(db: &Connection, before: Option<u64>, limit: usize) -> Result<Vec<JournalEntry>, Fail> {
    every(db, PAGE, (int(before.unwrap_or(u64::MAX)), int(limit as u64)), entry)
}

pub(super) fn mark(db: &Connection, scope: &str, name: &str) -> Result<Option<String>, Fail> {
    first(db, MARK, (scope, name), |row| row.get(0))
}

pub(super) fn set_mark(db: &Connection, scope: &str, name: &str, value: Option<&str>) -> Result<(), Fail> {
    match value {
        None => change(db, "DELETE FROM marks WHERE scope = ?1 AND name = ?2", (scope, name)),
        Some(value) => {
            let sql = "INSERT OR REPLACE INTO marks (scope, name, value) VALUES (?1, ?2, ?3)";
            change(db, sql, (scope, name, value))
        }
    }?;
    Ok(())
}

pub(super) fn latest_time(db: &Connection) -> Result<Time, Fail> {
    Ok(first(db, LATEST, [], |row| row.get(0))?.unwrap_or_default())
}

pub(super) fn note_time(db: &Connection, now: Time) -> Result<Time, Fail> {
    let sql = "INSERT INTO clock (id, latest) VALUES (1, ?1)
               ON CONFLICT (id) DO UPDATE SET latest = max(latest, ?1) RETURNING latest";
    Ok(first(db, sql, [now], |row| row.get(0))?.unwrap_or(now))
}

pub(super) fn forget_time(db: &Connection) -> Result<(), Fail> {
    change(db, "DELETE FROM clock", [])?;
    Ok(())
}

fn entry(row: &Row<'_>) -> rusqlite::Result<JournalEntry> {
    Ok(JournalEntry {
        number: row.get::<_, Count>("number")?.0,
        at: row.get("at")?,
        uid: row.get("uid")?,
        user: row.get("user")?,
        command: row.get("command")?,
        outcome: row.get("outcome")?,
    })
}

/// Entries of the journal that are kept.
const JOURNAL: i64 = 100_000;

const PAGE: &str = "SELECT * FROM journal WHERE number < ?1 ORDER BY number DESC LIMIT ?2";

const MARK: &str = "SELECT value FROM marks WHERE scope = ?1 AND name = ?2";

const LATEST: &str = "SELECT latest FROM clock WHERE id = 1";

#[cfg(test)]
pub(super) const PER_REQUEST: &[&str] = &[PAGE, MARK, LATEST];
