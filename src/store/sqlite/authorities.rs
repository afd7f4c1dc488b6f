//! Authorities, and the end of a server.

use rusqlite::{Connection, Row};

use crate::store::{Authority, NewAuthority, StoreError};

use super::rows::{Count, Fail, change, every, first, int};

pub(super) fn list(db: &Connection, server: &str) -> Result<Vec<Authority>, Fail> {
    every(db, "SELECT * FROM authorities WHERE server = ?1 ORDER BY id", [server], authority)
}

pub(super) fn install(db: &Connection, new: NewAuthority, replaces: Option<u64>) -> Result<Authority, Fail> {
    if let Some(old) = replaces {
        let sql = "SELECT * FROM authorities WHERE server = ?1 AND id = ?2";
        let old = first(db, sql, (&new.server, int(old)), authority)?.ok_or(StoreError::NotFound)?;
        if old.retired || old.role != new.role {
            return Err(StoreError::Conflict.into());
        }
        change(db, "UPDATE authorities SET retired = 1 WHERE id = ?1", [int(old.id)])?;
    }
    let sql = "INSERT INTO authorities (server, role, token, key_label, certificate)
               VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT (server, role) WHERE retired = 0 DO NOTHING
               RETURNING *";
    let row = (&new.server, new.role, &new.token, &new.key_label, &new.certificate);
    Ok(first(db, sql, row, authority)?.ok_or(StoreError::Conflict)?)
}

pub(super) fn delete_server(db: &Connection, server: &str) -> Result<(), Fail> {
    // Authorities after what refers to them, counters after the triggers that change them.
    for table in ["crls", "certificates", "authorities", "forwards", "enrollments", "passwords", "counters"] {
        change(db, &format!("DELETE FROM {table} WHERE server = ?1"), [server])?;
    }
    change(db, "DELETE FROM marks WHERE scope = ?1", [format!("server {server}")])?;
    Ok(())
}

fn authority(row: &Row<'_>) -> rusqlite::Result<Authority> {
    Ok(Authority {
        id: row.get::<_, Count>("id")?.0,
        role: row.get("role")?,
        token: row.get("token")?,
        key_label: row.get("key_label")?,
        certificate: row.get("certificate")?,
        retired: row.get("retired")?,
    })
}
