//! Authorities, and the end of a server.

use rusqlite::{Connection, Row};

use crate::store::{Authority, NewAuthority, Phase, Revocation, Role, StoreError};

use super::certificates;
use super::rows::{Count, Fail, change, every, first, int};

pub(super) fn list(db: &Connection, server: &str) -> Result<Vec<Authority>, Fail> {
    every(db, "SELECT * FROM authorities WHERE server = ?1 ORDER BY id", [server], authority)
}

pub(super) fn install(db: &Connection, new: NewAuthority, replaces: Option<u64>) -> Result<Authority, Fail> {
    if let Some(old) = replaces {
        let old = one(db, &new.server, old)?;
        if !old.is_active() || old.role != new.role {
            return Err(StoreError::Conflict.into());
        }
        move_to(db, &old, Phase::Retired)?;
    }
    add(db, new, Phase::Active)
}

pub(super) fn prepare(db: &Connection, new: NewAuthority) -> Result<Authority, Fail> {
    add(db, new, Phase::Next)
}

pub(super) fn replace_next(db: &Connection, new: NewAuthority, replaces: u64) -> Result<Authority, Fail> {
    let old = one(db, &new.server, replaces)?;
    // What a CA has signed would have to go with it.
    if old.phase != Phase::Next || old.role != new.role || old.role == Role::Ca {
        return Err(StoreError::Conflict.into());
    }
    move_to(db, &old, Phase::Discarded)?;
    add(db, new, Phase::Next)
}

pub(super) fn activate(db: &Connection, server: &str) -> Result<Vec<Authority>, Fail> {
    let next = in_phase(db, server, Phase::Next)?;
    // Room is made first: a role has one active authority at any moment.
    for old in in_phase(db, server, Phase::Active)? {
        if next.iter().any(|next| next.role == old.role) {
            move_to(db, &old, Phase::Retired)?;
        }
    }
    next.iter().try_for_each(|next| move_to(db, next, Phase::Active))?;
    some(in_phase(db, server, Phase::Active)?, &next)
}

pub(super) fn discard_next(
    db: &Connection,
    server: &str,
    revocation: Revocation,
) -> Result<Vec<Authority>, Fail> {
    let next = in_phase(db, server, Phase::Next)?;
    for authority in &next {
        certificates::disown(db, server, authority.id, revocation)?;
        move_to(db, authority, Phase::Discarded)?;
    }
    let discarded = next.iter().map(|next| Authority { phase: Phase::Discarded, ..next.clone() }).collect();
    some(discarded, &next)
}

/// Whether it was to be the next and was taken back.
pub(super) fn is_discarded(db: &Connection, server: &str, id: u64) -> Result<bool, Fail> {
    Ok(first(db, DISCARDED, (server, int(id)), |_| Ok(()))?.is_some())
}

/// `result`, or `NotFound` when there was no next authority.
fn some(result: Vec<Authority>, next: &[Authority]) -> Result<Vec<Authority>, Fail> {
    if next.is_empty() { Err(StoreError::NotFound.into()) } else { Ok(result) }
}

fn add(db: &Connection, new: NewAuthority, phase: Phase) -> Result<Authority, Fail> {
    let sql = "SELECT 1 FROM authorities WHERE server = ?1 AND role = ?2 AND phase = ?3";
    if first(db, sql, (&new.server, new.role, phase), |_| Ok(()))?.is_some() {
        return Err(StoreError::Conflict.into());
    }
    let sql = "INSERT INTO authorities (server, role, token, key_label, phase, certificate)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6) RETURNING *";
    let row = (&new.server, new.role, &new.token, &new.key_label, phase, &new.certificate);
    Ok(first(db, sql, row, authority)?.ok_or(StoreError::Conflict)?)
}

fn one(db: &Connection, server: &str, id: u64) -> Result<Authority, Fail> {
    let sql = "SELECT * FROM authorities WHERE server = ?1 AND id = ?2";
    Ok(first(db, sql, (server, int(id)), authority)?.ok_or(StoreError::NotFound)?)
}

fn in_phase(db: &Connection, server: &str, phase: Phase) -> Result<Vec<Authority>, Fail> {
    let sql = "SELECT * FROM authorities WHERE server = ?1 AND phase = ?2 ORDER BY id";
    every(db, sql, (server, phase), authority)
}

fn move_to(db: &Connection, authority: &Authority, phase: Phase) -> Result<(), Fail> {
    change(db, "UPDATE authorities SET phase = ?2 WHERE id = ?1", (int(authority.id), phase)).map(drop)
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
        phase: row.get("phase")?,
    })
}

const DISCARDED: &str = "SELECT 1 FROM authorities WHERE id = ?2 AND server = ?1 AND phase = 'discarded'";

#[cfg(test)]
pub(super) const PER_REQUEST: &[&str] = &[DISCARDED];
