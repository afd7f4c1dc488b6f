//! One-time passwords and secrets.

use rusqlite::Connection;
use zeroize::Zeroizing;

use crate::pki::Time;
use crate::store::{Password, StoreError};

use super::rows::{Fail, change, first};

pub(super) fn add(db: &Connection, server: &str, new: &Password) -> Result<(), Fail> {
    if new.subject.is_none() {
        let sql = "DELETE FROM passwords
                   WHERE server = ?1 AND subject IS NULL AND used_by IS NULL AND expires > ?2";
        change(db, sql, (server, new.created))?;
    }
    let sql = "INSERT INTO passwords (server, digest, subject, created, expires, used_by)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";
    match change(db, sql, (server, new.digest, &new.subject, new.created, new.expires, new.used_by))? {
        0 => Err(StoreError::Conflict.into()),
        _ => Ok(()),
    }
}

pub(super) fn find(db: &Connection, server: &str, digest: &[u8; 32]) -> Result<Option<Password>, Fail> {
    let sql = "SELECT * FROM passwords WHERE server = ?1 AND digest = ?2";
    first(db, sql, (server, digest), |row| {
        Ok(Password {
            digest: *digest,
            subject: row.get("subject")?,
            created: row.get("created")?,
            expires: row.get("expires")?,
            used_by: row.get("used_by")?,
        })
    })
}

pub(super) fn any(db: &Connection, server: &str) -> Result<bool, Fail> {
    Ok(first(db, "SELECT 1 FROM passwords WHERE server = ?1 LIMIT 1", [server], |_| Ok(()))?.is_some())
}

pub(super) fn expire(db: &Connection, server: &str, before: Time) -> Result<u64, Fail> {
    let sql = "DELETE FROM passwords WHERE server = ?1 AND expires < ?2";
    Ok(change(db, sql, (server, before))? as u64)
}

/// Gives a live password to the enrollment with this identity, for good.
pub(super) fn claim(
    db: &Connection,
    server: &str,
    digest: &[u8; 32],
    identity: &[u8; 32],
    now: Time,
) -> Result<(), Fail> {
    let sql = "UPDATE passwords SET used_by = ?3
               WHERE server = ?1 AND digest = ?2 AND expires > ?4 AND (used_by IS NULL OR used_by = ?3)";
    match change(db, sql, (server, digest, identity, now))? {
        0 => Err(StoreError::ClaimRefused.into()),
        _ => Ok(()),
    }
}

pub(super) fn secret(db: &Connection, name: &str) -> Result<Option<Zeroizing<[u8; 32]>>, Fail> {
    first(db, "SELECT value FROM secrets WHERE name = ?1", [name], |row| row.get(0).map(Zeroizing::new))
}

pub(super) fn make_secret(db: &Connection, name: &str) -> Result<Zeroizing<[u8; 32]>, Fail> {
    // Another may have made it since the caller looked.
    if let Some(secret) = secret(db, name)? {
        return Ok(secret);
    }
    let mut secret = Zeroizing::new([0; 32]);
    random(secret.as_mut_slice())?;
    change(db, "INSERT INTO secrets (name, value) VALUES (?1, ?2)", (name, secret.as_slice()))?;
    Ok(secret)
}

/// Fills `bytes` from the operating system.
pub(super) fn random(bytes: &mut [u8]) -> Result<(), Fail> {
    getrandom::fill(bytes).map_err(|e| {
        StoreError::Unavailable { what: "random bytes of the operating system".into(), source: Box::new(e) }
            .into()
    })
}
