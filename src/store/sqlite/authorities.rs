//! Authorities, their CRLs, and the end of a server.

use rusqlite::{Connection, Row};

use crate::store::{Authority, Crl, NewAuthority, StoreError};

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

pub(super) fn crl(db: &Connection, server: &str, authority: u64) -> Result<Option<Crl>, Fail> {
    let sql = "SELECT * FROM crls WHERE server = ?1 AND authority = ?2";
    first(db, sql, (server, int(authority)), |row| {
        Ok(Crl {
            authority,
            number: row.get::<_, Count>("number")?.0,
            this_update: row.get("this_update")?,
            next_update: row.get("next_update")?,
            der: row.get("der")?,
        })
    })
}

pub(super) fn keep_crl(db: &Connection, server: &str, crl: &Crl) -> Result<(), Fail> {
    let sql = "INSERT INTO crls (server, authority, number, this_update, next_update, der)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT (server, authority) DO UPDATE SET number = excluded.number,
                   this_update = excluded.this_update, next_update = excluded.next_update, der = excluded.der
               WHERE excluded.number > number";
    let row = (server, int(crl.authority), int(crl.number), crl.this_update, crl.next_update, &crl.der);
    match change(db, sql, row)? {
        0 => Err(StoreError::Conflict.into()),
        _ => Ok(()),
    }
}

pub(super) fn delete_server(db: &Connection, server: &str) -> Result<(), Fail> {
    // Authorities after what refers to them, counters after the triggers that change them.
    for table in ["crls", "certificates", "authorities", "enrollments", "passwords", "counters"] {
        change(db, &format!("DELETE FROM {table} WHERE server = ?1"), [server])?;
    }
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
