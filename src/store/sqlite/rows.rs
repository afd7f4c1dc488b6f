//! Between rows and values, and what a failed statement means.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, Params, Row, ffi};

use crate::pki::{Serial, Time};
use crate::store::{Class, Phase, Role, Stage, State, StoreError, TrustedKind, UpperPhase};

/// Why a unit of work failed.
pub(super) enum Fail {
    /// The answer of the verb itself.
    Told(StoreError),
    /// A statement failed.
    Sql(rusqlite::Error),
    /// The transaction was lost together with what others did in it.
    Lost(Cause),
    /// It cannot be done now, for another reason than the database's.
    Now(&'static str),
}

/// Why a transaction was lost, for all who took part in it.
pub(super) type Cause = Arc<dyn Error + Send + Sync>;

impl Fail {
    /// The error to return, once verb and file are known.
    pub(super) fn during(self, verb: &str, path: &Path) -> StoreError {
        let what = format!("{verb} in {}", path.display());
        match self {
            Self::Told(error) => error,
            Self::Sql(error) if foreign_key(&error) => StoreError::NotFound,
            Self::Sql(error) if damage(&error) => StoreError::Corrupt(format!("{what}: {error}")),
            Self::Sql(error) => StoreError::Unavailable { what, source: Box::new(error) },
            Self::Lost(cause) => StoreError::Unavailable { what, source: Box::new(cause) },
            Self::Now(reason) => StoreError::Unavailable { what, source: reason.into() },
        }
    }
}

impl From<rusqlite::Error> for Fail {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Fail {
    fn from(error: StoreError) -> Self {
        Self::Told(error)
    }
}

/// The first row that `sql` gives.
pub(super) fn first<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    value: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, Fail> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    Ok(rows.next()?.map(value).transpose()?)
}

/// Every row that `sql` gives.
pub(super) fn every<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    value: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, Fail> {
    Ok(db.prepare_cached(sql)?.query_map(params, value)?.collect::<Result<_, _>>()?)
}

/// Runs `sql` and tells how many rows it changed.
pub(super) fn change(db: &Connection, sql: &str, params: impl Params) -> Result<usize, Fail> {
    Ok(db.prepare_cached(sql)?.execute(params)?)
}

/// As SQLite counts: no further than `i64::MAX`, which no ReqID, number or time reaches.
pub(super) fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A non-negative integer of a column.
pub(super) struct Count(pub u64);

impl FromSql for Count {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let n = value.as_i64()?;
        u64::try_from(n).map(Self).map_err(|_| FromSqlError::OutOfRange(n))
    }
}

impl FromSql for Time {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Count::column_result(value).map(|n| Self::from_unix(n.0))
    }
}

impl ToSql for Time {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(int(self.unix()).into())
    }
}

impl FromSql for Serial {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_blob()? {
            [length, magnitude @ ..] if usize::from(*length) == magnitude.len() => {
                Ok(Self::from_be_bytes(magnitude))
            }
            _ => Err(FromSqlError::Other("serial number of another length".into())),
        }
    }
}

impl ToSql for Serial {
    /// One octet of length, then the magnitude. Ours have at most 20; what clients ask for and is longer
    /// than 255 is cut, which nothing stored equals.
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let magnitude = self.as_be_bytes();
        let mut blob = vec![u8::try_from(magnitude.len()).unwrap_or(u8::MAX)];
        blob.extend_from_slice(magnitude);
        Ok(blob.into())
    }
}

/// A value stored as one of a few words.
macro_rules! word {
    ($type:ident: $($variant:ident = $word:literal),+) => {
        impl ToSql for $type {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(match self { $(Self::$variant => $word),+ }.into())
            }
        }

        impl FromSql for $type {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                match value.as_str()? {
                    $($word => Ok(Self::$variant),)+
                    other => Err(FromSqlError::Other(format!("unknown word \"{other}\"").into())),
                }
            }
        }
    };
}

word!(Phase: Next = "next", Active = "active", Retired = "retired", Discarded = "discarded");
word!(Role: Ca = "ca", RaSign = "ra-sign", RaDecrypt = "ra-decrypt");
word!(
    TrustedKind: Ca = "ca", Ra = "ra", Own = "own", OwnEncryption = "own-encryption", NextCa = "next-ca",
    NextRa = "next-ra", NextOwn = "next-own", NextOwnEncryption = "next-own-encryption"
);
word!(
    UpperPhase: Making = "making", Sending = "sending", Pending = "pending", Manual = "manual", Failed = "failed"
);
word!(Stage: Asking = "asking", Waiting = "waiting");
word!(Class: SubordinateCa = "subordinate-ca", Ra = "ra", Router = "router");

impl ToSql for State {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.name().into())
    }
}

impl FromSql for State {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map_err(|e: StoreError| FromSqlError::Other(Box::new(e)))
    }
}

fn foreign_key(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|e| e.extended_code == ffi::SQLITE_CONSTRAINT_FOREIGNKEY)
}

/// Whether the file's content is to blame: a broken page, a row that cannot be, or one that the schema
/// refuses although the verb has checked.
fn damage(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(e, _) => matches!(
            e.code,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation
        ),
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(..) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_sort_as_numbers() {
        let numbers = ["0", "1", "255", "256", "65535", "65536", "0xFFFFFFFFFFFFFFFF", "0x10000000000000000"];
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE t (n INTEGER, serial BLOB) STRICT").unwrap();
        for (i, number) in numbers.iter().enumerate().rev() {
            let serial: Serial = number.parse().unwrap();
            db.execute("INSERT INTO t VALUES (?1, ?2)", (i as i64, &serial)).unwrap();
        }
        let sorted =
            every(&db, "SELECT serial FROM t ORDER BY serial", [], |r| r.get::<_, Serial>(0)).ok().unwrap();
        let expected: Vec<Serial> = numbers.iter().map(|n| n.parse().unwrap()).collect();
        assert_eq!(sorted, expected);
    }
}
