//! Certificates and requests of trustpoints.

use rusqlite::{Connection, Row};

use crate::store::{StoreError, TrustedCertificate, TrustedKind, UpperRequest};

use super::rows::{Fail, change, every, first};

pub(super) fn trusted(db: &Connection, trustpoint: &str) -> Result<Vec<TrustedCertificate>, Fail> {
    every(db, TRUSTED, [trustpoint], |row| {
        Ok(TrustedCertificate {
            trustpoint: trustpoint.to_owned(),
            kind: row.get("kind")?,
            serial: row.get("serial")?,
            der: row.get("der")?,
            token: row.get("token")?,
            key_label: row.get("key_label")?,
        })
    })
}

pub(super) fn trust(db: &Connection, new: &TrustedCertificate) -> Result<(), Fail> {
    insert(db, new)
}

pub(super) fn trust_all(
    db: &Connection,
    trustpoint: &str,
    kinds: &[TrustedKind],
    certificates: &[TrustedCertificate],
) -> Result<(), Fail> {
    for kind in kinds {
        change(db, "DELETE FROM trusted WHERE trustpoint = ?1 AND kind = ?2", (trustpoint, *kind))?;
    }
    certificates.iter().try_for_each(|certificate| insert(db, certificate))
}

pub(super) fn promote(db: &Connection, trustpoint: &str) -> Result<(), Fail> {
    let sql = "SELECT count(*) FROM trusted WHERE trustpoint = ?1 AND kind = ?2";
    let has = |kind: TrustedKind| -> Result<bool, Fail> {
        Ok(first(db, sql, (trustpoint, kind), |row| row.get::<_, i64>(0))?.is_some_and(|count| count > 0))
    };
    let mut promoted = 0;
    for (now, next) in NEXT {
        // The RAs of a CA go with it, also when the next one has none.
        let goes = now == TrustedKind::Ra && has(TrustedKind::NextCa)?;
        if !has(next)? && !goes {
            continue;
        }
        change(db, "DELETE FROM trusted WHERE trustpoint = ?1 AND kind = ?2", (trustpoint, now))?;
        let sql = "UPDATE trusted SET kind = ?2 WHERE trustpoint = ?1 AND kind = ?3";
        promoted += change(db, sql, (trustpoint, now, next))?;
    }
    (promoted > 0).then_some(()).ok_or(StoreError::NotFound.into())
}

pub(super) fn distrust(
    db: &Connection,
    trustpoint: &str,
    which: Option<TrustedCertificate>,
) -> Result<u64, Fail> {
    let removed = match which {
        None => {
            change(db, "DELETE FROM upper_requests WHERE trustpoint = ?1", [trustpoint])?;
            change(db, "DELETE FROM trusted WHERE trustpoint = ?1", [trustpoint])
        }
        Some(one) => {
            let sql = "DELETE FROM trusted WHERE trustpoint = ?1 AND kind = ?2 AND serial = ?3 AND der = ?4";
            change(db, sql, (trustpoint, one.kind, &one.serial, &one.der))
        }
    };
    Ok(removed? as u64)
}

pub(super) fn requests(db: &Connection, trustpoint: &str) -> Result<Vec<UpperRequest>, Fail> {
    every(db, REQUESTS, [trustpoint], request)
}

pub(super) fn begin(db: &Connection, new: &UpperRequest) -> Result<(), Fail> {
    match write(db, INSERT, new)? {
        0 => Err(StoreError::Conflict.into()),
        _ => Ok(()),
    }
}

pub(super) fn advance(db: &Connection, old: &UpperRequest, new: &UpperRequest) -> Result<(), Fail> {
    remove(db, old)?;
    begin(db, new)
}

pub(super) fn finish(
    db: &Connection,
    old: &UpperRequest,
    certificates: &[TrustedCertificate],
) -> Result<(), Fail> {
    remove(db, old)?;
    let kinds: Vec<_> = certificates.iter().map(|certificate| certificate.kind).collect();
    trust_all(db, &old.trustpoint, &kinds, certificates)
}

pub(super) fn cancel(db: &Connection, trustpoint: &str, kind: TrustedKind) -> Result<(), Fail> {
    let sql = "DELETE FROM upper_requests WHERE trustpoint = ?1 AND kind = ?2";
    match change(db, sql, (trustpoint, kind))? {
        0 => Err(StoreError::NotFound.into()),
        _ => Ok(()),
    }
}

/// Removes what must be stored as it is here.
fn remove(db: &Connection, old: &UpperRequest) -> Result<(), Fail> {
    let stored = first(db, REQUEST, (&old.trustpoint, old.kind), request)?;
    if stored.as_ref() != Some(old) {
        return Err(StoreError::Conflict.into());
    }
    cancel(db, &old.trustpoint, old.kind)
}

fn insert(db: &Connection, new: &TrustedCertificate) -> Result<(), Fail> {
    let sql = "INSERT OR REPLACE INTO trusted (trustpoint, kind, serial, token, key_label, der)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    change(db, sql, (&new.trustpoint, new.kind, &new.serial, &new.token, &new.key_label, &new.der))?;
    Ok(())
}

fn write(db: &Connection, sql: &str, new: &UpperRequest) -> Result<usize, Fail> {
    let signer_key = new.signer_key.as_ref();
    change(
        db,
        sql,
        rusqlite::params![
            new.trustpoint,
            new.kind,
            new.phase,
            new.token,
            new.key_label,
            new.new_key,
            signer_key.map(|(token, _)| token),
            signer_key.map(|(_, label)| label),
            new.tries,
            new.failures,
            new.began,
            new.next_try,
            new.error,
            new.transaction,
            new.signer,
            new.csr,
        ],
    )
}

fn request(row: &Row<'_>) -> rusqlite::Result<UpperRequest> {
    let signer_token: Option<String> = row.get("signer_token")?;
    let signer_label: Option<String> = row.get("signer_label")?;
    Ok(UpperRequest {
        trustpoint: row.get("trustpoint")?,
        kind: row.get("kind")?,
        phase: row.get("phase")?,
        token: row.get("token")?,
        key_label: row.get("key_label")?,
        new_key: row.get("new_key")?,
        csr: row.get("csr")?,
        transaction: row.get("transact")?,
        signer: row.get("signer")?,
        signer_key: signer_token.zip(signer_label),
        tries: row.get("tries")?,
        failures: row.get("failures")?,
        began: row.get("began")?,
        next_try: row.get("next_try")?,
        error: row.get("error")?,
    })
}

/// What takes the place of what.
const NEXT: [(TrustedKind, TrustedKind); 4] = [
    // Before the CA: whether there is a next one decides.
    (TrustedKind::Ra, TrustedKind::NextRa),
    (TrustedKind::Ca, TrustedKind::NextCa),
    (TrustedKind::Own, TrustedKind::NextOwn),
    (TrustedKind::OwnEncryption, TrustedKind::NextOwnEncryption),
];

const TRUSTED: &str = "SELECT * FROM trusted WHERE trustpoint = ?1 ORDER BY kind, serial";

const REQUESTS: &str = "SELECT * FROM upper_requests WHERE trustpoint = ?1 ORDER BY kind";

const REQUEST: &str = "SELECT * FROM upper_requests WHERE trustpoint = ?1 AND kind = ?2";

const INSERT: &str = "INSERT OR IGNORE INTO upper_requests
    (trustpoint, kind, phase, token, key_label, new_key, signer_token, signer_label, tries, failures, began,
     next_try, error, transact, signer, csr)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";

#[cfg(test)]
pub(super) const PER_REQUEST: &[&str] = &[TRUSTED, REQUESTS, REQUEST];
