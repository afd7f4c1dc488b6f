//! The one writer: a thread with its own connection and group commit.
//!
//! ```text
//! recv ─▶ BEGIN IMMEDIATE ─▶ job, job, … (each in a SAVEPOINT, as long as any wait) ─▶ COMMIT ─▶ answer all
//! ```
//!
//! It never waits for company: a lone job is committed at once, and those that arrive while the disk is
//! busy share the next commit. Nobody is answered before it.

use std::error::Error;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;

use super::rows::{Cause, Fail};

/// Hands jobs to the writer thread; dropping it finishes what waits and ends the thread.
pub(super) struct Writer {
    // `None` only while dropping.
    queue: Option<SyncSender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// `in_place` is asked before each commit whether the file is still the one that was opened: SQLite
    /// would go on writing into a file that was removed, and lose it all at the end.
    pub(super) fn start(
        db: Connection,
        in_place: impl Fn() -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, jobs) = sync_channel(QUEUE);
        let work = move || serve(&db, &jobs, &in_place);
        let thread = thread::Builder::new().name("store-writer".into()).spawn(work)?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Runs `work` in a transaction. Its changes are on disk when this returns `Ok`, and undone otherwise.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fail> + Send + 'static,
    ) -> Result<T, Fail> {
        let (reply, answer) = sync_channel(1);
        let job = Box::new(Task { work: Some(work), result: None, reply });
        match self.queue.as_ref().map(|queue| queue.try_send(job)) {
            Some(Ok(())) => answer.recv().unwrap_or(Err(Fail::Now(STOPPED))),
            Some(Err(TrySendError::Full(_))) => Err(Fail::Now("too many changes are waiting")),
            Some(Err(TrySendError::Disconnected(_))) | None => Err(Fail::Now(STOPPED)),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        // It has caught every panic of a job; there is nothing to learn from one of its own.
        self.thread.take().map(JoinHandle::join);
    }
}

/// A unit of work and the one who waits for it.
trait Job: Send {
    /// Does the work in the transaction that is open. An error means that the transaction is lost.
    fn run(&mut self, db: &Connection) -> rusqlite::Result<()>;

    /// Tells the one who waits, once it is known what became of the transaction.
    fn answer(self: Box<Self>, committed: Result<(), Cause>);
}

struct Task<T, W> {
    work: Option<W>,
    result: Option<Result<T, Fail>>,
    reply: SyncSender<Result<T, Fail>>,
}

impl<T: Send, W: FnOnce(&Connection) -> Result<T, Fail> + Send> Job for Task<T, W> {
    fn run(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let Some(work) = self.work.take() else { return Ok(()) };
        execute(db, "SAVEPOINT job")?;
        let result = catch_unwind(AssertUnwindSafe(|| work(db))).unwrap_or(Err(Fail::Now(PANICKED)));
        let failed = result.is_err();
        self.result = Some(result);
        if failed {
            execute(db, "ROLLBACK TO job")?;
        }
        execute(db, "RELEASE job")
    }

    fn answer(self: Box<Self>, committed: Result<(), Cause>) {
        let answer = match (committed, self.result) {
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(Fail::Now(STOPPED)),
            // The culprit hears its own error, which is why the transaction was lost.
            (Err(_), Some(Err(Fail::Sql(error)))) => Err(Fail::Sql(error)),
            (Err(cause), _) => Err(Fail::Lost(cause)),
        };
        // Whoever waited is a thread blocked in `run`; if it is gone, nobody wants the answer.
        let _ = self.reply.send(answer);
    }
}

fn serve(db: &Connection, jobs: &Receiver<Box<dyn Job>>, in_place: &dyn Fn() -> io::Result<()>) {
    while let Ok(first) = jobs.recv() {
        let (mut group, mut waiting) = (vec![first], Vec::new());
        let committed = transaction(db, jobs, in_place, &mut group).inspect_err(|_| {
            if !db.is_autocommit()
                && let Err(error) = execute(db, "ROLLBACK")
            {
                tracing::error!(%error, "a transaction could not be rolled back");
            }
            // They have waited as long as the others; each on its own would wait for a locked database again.
            waiting.extend(jobs.try_iter().take(GROUP));
        });
        for job in group.into_iter().chain(waiting) {
            job.answer(committed.clone());
        }
    }
}

fn transaction(
    db: &Connection,
    jobs: &Receiver<Box<dyn Job>>,
    in_place: &dyn Fn() -> io::Result<()>,
    group: &mut Vec<Box<dyn Job>>,
) -> Result<(), Cause> {
    execute(db, "BEGIN IMMEDIATE").map_err(cause)?;
    group[0].run(db).map_err(cause)?;
    while group.len() < GROUP
        && let Ok(mut job) = jobs.try_recv()
    {
        let ran = job.run(db);
        group.push(job);
        ran.map_err(cause)?;
    }
    in_place().map_err(cause)?;
    execute(db, "COMMIT").map_err(cause)
}

fn cause(error: impl Error + Send + Sync + 'static) -> Cause {
    Arc::new(error)
}

fn execute(db: &Connection, sql: &str) -> rusqlite::Result<()> {
    db.prepare_cached(sql)?.execute([]).map(drop)
}

/// Jobs that may wait. Each is a blocked thread, of which there are far fewer.
const QUEUE: usize = 1024;

/// Jobs in one transaction: bounds how long the first of them waits.
const GROUP: usize = 256;

const STOPPED: &str = "the writer has stopped";
const PANICKED: &str = "a defect of this program: the change panicked and was undone";

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ErrorCode;

    fn writer() -> Writer {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE t (n INTEGER PRIMARY KEY) STRICT").unwrap();
        Writer::start(db, || Ok(())).unwrap()
    }

    fn insert(db: &Connection, n: i64) -> Result<usize, Fail> {
        Ok(db.execute("INSERT INTO t VALUES (?1)", [n])?)
    }

    fn count(writer: &Writer) -> i64 {
        writer.run(|db| Ok(db.query_row("SELECT count(*) FROM t", [], |r| r.get(0))?)).ok().unwrap()
    }

    #[test]
    fn a_panic_is_undone_and_the_writer_lives() {
        let writer = writer();
        let result = writer.run(|db| -> Result<(), Fail> {
            insert(db, 1)?;
            panic!("on purpose")
        });
        assert!(matches!(result, Err(Fail::Now(PANICKED))));
        assert_eq!(count(&writer), 0);
        assert!(writer.run(|db| insert(db, 1)).is_ok());
        assert_eq!(count(&writer), 1);
    }

    /// Jobs of one group, in order: the first keeps the writer busy until the others wait.
    fn group(writer: &Writer, bad: fn(&Connection) -> Result<usize, Fail>) -> Vec<Result<usize, Fail>> {
        let (entered, is_in) = sync_channel(0);
        let (leave, may_leave) = sync_channel::<()>(0);
        thread::scope(|s| {
            let first = s.spawn(move || {
                writer.run(move |db| {
                    entered.send(()).unwrap();
                    may_leave.recv().unwrap();
                    insert(db, 1)
                })
            });
            is_in.recv().unwrap();
            // Sent from here in this order; `run` would block.
            let mut answers = Vec::new();
            for work in [bad, |db| insert(db, 3)] {
                let (reply, answer) = sync_channel(1);
                let job = Box::new(Task { work: Some(work), result: None, reply });
                assert!(writer.queue.as_ref().unwrap().try_send(job).is_ok());
                answers.push(answer);
            }
            leave.send(()).unwrap();
            let mut results = vec![first.join().unwrap()];
            results.extend(answers.into_iter().map(|a| a.recv().unwrap()));
            results
        })
    }

    #[test]
    fn an_error_undoes_its_own_job_only() {
        let writer = writer();
        let results = group(&writer, |db| {
            insert(db, 2)?;
            insert(db, 2)
        });
        assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(count(&writer), 2);
    }

    #[test]
    fn a_lost_transaction_is_told_to_all() {
        let writer = writer();
        // As SQLite itself does when the disk is full.
        let results = group(&writer, |db| {
            db.execute_batch("ROLLBACK")?;
            Err(Fail::Sql(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error { code: ErrorCode::DiskFull, extended_code: 13 },
                None,
            )))
        });
        assert!(matches!(results[0], Err(Fail::Lost(_))));
        assert!(
            matches!(&results[1], Err(Fail::Sql(e)) if e.sqlite_error_code() == Some(ErrorCode::DiskFull))
        );
        assert!(matches!(results[2], Err(Fail::Lost(_))));
        assert_eq!(count(&writer), 0);
    }

    #[test]
    fn a_failed_commit_is_told_to_all() {
        let writer = writer();
        let deferred =
            "PRAGMA foreign_keys = ON; CREATE TABLE u (n INTEGER REFERENCES t DEFERRABLE INITIALLY DEFERRED)";
        // A pragma works outside of a transaction only.
        let made = writer.run(move |db| {
            db.execute_batch("COMMIT")?;
            db.execute_batch(deferred)?;
            db.execute_batch("BEGIN; SAVEPOINT job")?;
            Ok(())
        });
        assert!(made.is_ok());
        let results = group(&writer, |db| Ok(db.execute("INSERT INTO u VALUES (99)", [])?));
        assert!(results.iter().all(|r| matches!(r, Err(Fail::Lost(_)))));
        assert_eq!(count(&writer), 0);
    }
}
