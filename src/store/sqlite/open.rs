//! Opening the file: permissions, settings of a connection, schema and its migrations.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use crate::store::StoreError;

use super::rows::Fail;

/// Makes the file if there is none and brings its schema up to date. Gives its absolute path, so that
/// later connections find it from any working directory, and the writer's connection.
pub(super) fn prepare(path: &Path) -> Result<(PathBuf, Connection), StoreError> {
    let path = create(path)
        .map_err(|e| StoreError::Unavailable { what: path.display().to_string(), source: Box::new(e) })?;
    let started = Instant::now();
    loop {
        match writer(&path) {
            // While another process turns to the write-ahead log, SQLite answers so at once, without
            // the waiting it does elsewhere.
            Err(Fail::Sql(e)) if busy(&e) && started.elapsed() < BUSY => thread::sleep(AGAIN),
            Err(fail) => return Err(fail.during("open", &path)),
            Ok(db) => return Ok((path, db)),
        }
    }
}

/// Tells whether the file at `path` is still the one that is there now.
pub(super) fn in_place(path: &Path) -> io::Result<impl Fn() -> io::Result<()> + Send + 'static> {
    let path = path.to_owned();
    let identity = |path: &Path| fs::metadata(path).map(|m| (m.dev(), m.ino()));
    let opened = identity(&path)?;
    Ok(move || match identity(&path)? == opened {
        true => Ok(()),
        false => Err(io::Error::other("the file was replaced by another")),
    })
}

/// A connection that cannot write.
pub(super) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let db = connect(path)?;
    db.pragma_update(None, "query_only", true)?;
    Ok(db)
}

fn writer(path: &Path) -> Result<Connection, Fail> {
    let mut db = connect(path)?;
    migrate(&mut db, path)?;
    // After the migration: a database of another program is left as it was.
    db.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))?;
    // Every commit is on disk when it returns; NORMAL would lose the last ones in a power cut.
    db.pragma_update(None, "synchronous", "full")?;
    db.pragma_update(None, "foreign_keys", true)?;
    // What a savepoint may have to undo stays out of temporary files.
    db.pragma_update(None, "temp_store", "memory")?;
    Ok(db)
}

fn busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    // Neither CREATE, since `create` chose the permissions, nor URI, since a path is a path.
    let db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    db.busy_timeout(BUSY)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    // Plans that hold for any value: else statements on tables with partial indexes are prepared anew
    // whenever a parameter changes, and are none the better.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    db.pragma_update(None, "trusted_schema", false)?;
    Ok(db)
}

/// SQLite gives `-wal` and `-shm` the permissions of the file itself.
fn create(path: &Path) -> io::Result<PathBuf> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        // The name of a new file is on disk only with its directory.
        Ok(_) => File::open(directory)?.sync_all()?,
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(e),
    }
    path.canonicalize()
}

fn migrate(db: &mut Connection, path: &Path) -> Result<(), Fail> {
    // In a transaction: between two statements another process may have migrated.
    if pending(&*db.transaction()?, path)?.is_empty() {
        return Ok(());
    }
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Again, now that no other process can be doing the same.
    for migration in pending(&transaction, path)? {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    Ok(transaction.commit()?)
}

/// The migrations that this database has not seen. Refuses what is not ours or newer than we are.
fn pending(db: &Connection, path: &Path) -> Result<&'static [&'static str], Fail> {
    let pragma = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let objects: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if (application, version, objects) != (0, 0, 0) && application != APPLICATION {
        let what = format!("{} is a database of another program", path.display());
        return Err(StoreError::Corrupt(what).into());
    }
    usize::try_from(version).ok().and_then(|seen| MIGRATIONS.get(seen..)).ok_or_else(|| {
        let source = format!("schema version {version}; this program knows up to {VERSION}").into();
        let what = format!("{} was written by a newer version of this program", path.display());
        StoreError::Unavailable { what, source }.into()
    })
}

/// The migration at index n leads from schema version n to n + 1. What was released is never edited.
const MIGRATIONS: &[&str] = &[include_str!("schema.sql")];

const VERSION: i64 = MIGRATIONS.len() as i64;

/// "tkca", by which file(1) and we know our databases.
const APPLICATION: i64 = 0x746B_6361;

/// How long another process may hold the write lock.
const BUSY: Duration = Duration::from_secs(5);

/// How long to wait before opening is tried again.
const AGAIN: Duration = Duration::from_millis(10);

/// Prepared statements kept per connection: more than there are.
const STATEMENTS: usize = 96;
