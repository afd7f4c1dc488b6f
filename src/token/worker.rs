//! Worker threads behind one bounded queue with priorities.
//!
//! Each worker has a state of its own, for a token its session ([`super::session::Connection`]), and
//! everything that blocks happens on it. A full queue is refused at once and a caller waits only so
//! long, so nobody above ever waits without end. A worker that is still busy when its caller has given up is
//! replaced, since it may never come back; if it does, it ends, unless so many were lost that it had no
//! replacement.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::error::Problem;
use super::pace::Pace;

/// Who is served first when the token has more to do than it can. Within one priority it is first
/// come, first served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Commands of the operator: a person waits, and there are few.
    Operator,
    /// Signing answers: what was begun is finished first, for a client without an answer asks again.
    Reply,
    /// Opening requests and signing certificates: new work.
    Issue,
    /// TLS handshakes: whoever may ask is not known yet.
    Handshake,
}

/// Threads, each with a `C`.
pub(super) struct Pool<C> {
    shared: Arc<Shared<C>>,
    name: String,
    make: Make<C>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared<C> {
    queue: Mutex<Queue<C>>,
    /// A job came, or the pool closes.
    changed: Condvar,
    /// A worker ended.
    ended: Condvar,
    /// How many workers there should be.
    wanted: usize,
    capacity: usize,
    pace: Arc<Pace>,
}

struct Queue<C> {
    lanes: [VecDeque<Job<C>>; 4],
    workers: usize,
    /// Workers that were replaced and have not come back.
    stuck: usize,
    closed: bool,
}

struct Job<C> {
    run: Box<dyn FnOnce(&mut C) + Send>,
    /// When the caller stops waiting.
    expires: Instant,
    progress: Arc<Progress>,
}

/// How far a job is, and whether its caller has given up.
#[derive(Default)]
struct Progress(Mutex<Step>);

#[derive(Clone, Copy, Default, PartialEq)]
enum Step {
    #[default]
    Waiting,
    Running,
    Done,
    /// While it ran.
    GivenUp,
}

/// Makes the state of a worker.
type Make<C> = Arc<dyn Fn() -> C + Send + Sync>;

impl<C: 'static> Pool<C> {
    /// `workers` threads called `name`, each with its own `make()`, and room for `capacity` waiting jobs.
    pub fn start(
        name: &str,
        workers: usize,
        capacity: usize,
        make: impl Fn() -> C + Send + Sync + 'static,
    ) -> Self {
        let lanes = [const { VecDeque::new() }; 4];
        let queue = Queue { lanes, workers, stuck: 0, closed: false };
        let shared = Arc::new(Shared {
            queue: Mutex::new(queue),
            changed: Condvar::new(),
            ended: Condvar::new(),
            wanted: workers,
            capacity,
            pace: Arc::default(),
        });
        let pool = Self { shared, name: name.into(), make: Arc::new(make), threads: Mutex::default() };
        (0..workers).for_each(|_| pool.hire());
        pool
    }

    /// Starts a thread for a worker that is counted already.
    fn hire(&self) {
        let (shared, make) = (Arc::clone(&self.shared), Arc::clone(&self.make));
        let thread = thread::Builder::new().name(format!("token {}", self.name)).spawn(move || {
            loop {
                let replaced = shared.work(&*make);
                let mut queue = shared.lock();
                match replaced {
                    true => queue.stuck -= 1,
                    false => queue.workers -= 1,
                }
                let missed = replaced && queue.workers < shared.wanted && !queue.closed;
                queue.workers += usize::from(missed);
                shared.ended.notify_all();
                if !missed {
                    return;
                }
            }
        });
        match thread {
            Ok(thread) => self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread),
            Err(_) => self.shared.lock().workers -= 1,
        }
    }

    /// Replaces a worker whose caller has given up, unless too many were.
    fn replace(&self) {
        let mut queue = self.shared.lock();
        queue.stuck += 1;
        if queue.stuck < MOST_STUCK && !queue.closed {
            drop(queue);
            self.hire();
        } else {
            queue.workers -= 1;
        }
    }

    /// Runs `job` on a worker and waits for it, at most `timeout` from now; `then` runs on the same worker
    /// after the answer is given.
    ///
    /// [`Problem::Busy`] at once when the queue is full, [`Problem::Stuck`] when no worker is left. A job
    /// whose caller has stopped waiting is not begun any more; one that is running goes on, and
    /// [`Problem::Hung`] says so.
    pub fn run<T: Send + 'static>(
        &self,
        priority: Priority,
        timeout: Duration,
        job: impl FnOnce(&mut C) -> Result<T, Problem> + Send + 'static,
        then: impl FnOnce(&mut C) + Send + 'static,
    ) -> Result<T, Problem> {
        let (answer, wait) = mpsc::sync_channel(1);
        let counted = self.shared.pace.job();
        let run = Box::new(move |state: &mut C| {
            let start = Instant::now();
            let result = job(state);
            // Before the answer: whoever gets it may have another job at once.
            counted.done(start.elapsed());
            // Nobody may listen any more.
            let _ = answer.send(result);
            then(state);
        });
        let progress = Arc::new(Progress::default());
        let expires = Instant::now() + timeout;
        self.shared.push(priority, Job { run, expires, progress: Arc::clone(&progress) })?;
        let early = wait.recv_timeout(self.shared.pace.nap()).ok();
        if let Some(result) = early.or_else(|| self.shared.pace.answer(|| wait.try_recv().ok())) {
            return result;
        }
        match wait.recv_timeout(timeout) {
            Ok(result) => result,
            Err(RecvTimeoutError::Disconnected) => Err(Problem::WorkerGone),
            Err(RecvTimeoutError::Timeout) if progress.give_up() => {
                self.replace();
                Err(Problem::Hung { after: timeout })
            }
            // It may have come at the last moment.
            Err(RecvTimeoutError::Timeout) => {
                wait.try_recv().unwrap_or(Err(Problem::TimedOut { after: timeout }))
            }
        }
    }

    /// Workers that live.
    pub fn workers(&self) -> usize {
        self.shared.lock().workers
    }

    /// Jobs that wait.
    pub fn waiting(&self) -> usize {
        self.shared.lock().len()
    }
}

impl<C> Drop for Pool<C> {
    /// Lets the workers finish what they are doing, and waits for that, but not for a stuck one.
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.closed = true;
        self.shared.changed.notify_all();
        let waited = self.shared.ended.wait_timeout_while(queue, STUCK, |queue| queue.workers > 0);
        let all = waited.unwrap_or_else(PoisonError::into_inner).0;
        let all = all.workers == 0 && all.stuck == 0;
        // To the very end of the threads: modules have something to do there, which a process that exits
        // meanwhile does not survive.
        let threads = std::mem::take(self.threads.get_mut().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let mine = thread.thread().id() == thread::current().id();
            if !mine && (all || thread.is_finished()) {
                // A panic there was shown when it happened.
                let _ = thread.join();
            }
        }
    }
}

impl<C> Shared<C> {
    fn lock(&self) -> MutexGuard<'_, Queue<C>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, priority: Priority, job: Job<C>) -> Result<(), Problem> {
        let mut queue = self.lock();
        if queue.workers == 0 && queue.stuck > 0 {
            return Err(Problem::Stuck { threads: queue.stuck });
        }
        if queue.len() >= self.capacity {
            return Err(Problem::Busy);
        }
        queue.lanes[priority as usize].push_back(job);
        self.changed.notify_one();
        Ok(())
    }

    /// Serves until the end. Whether it was replaced in between.
    fn work(&self, make: &dyn Fn() -> C) -> bool {
        let mut state = make();
        while let Some(job) = self.next() {
            if job.expires <= Instant::now() {
                continue;
            }
            job.progress.begin();
            // Whoever waits hears of a panic by the dropped sender; the state it left is not trusted.
            if catch_unwind(AssertUnwindSafe(|| (job.run)(&mut state))).is_err() {
                state = make();
            }
            if job.progress.end() {
                return true;
            }
        }
        false
    }

    fn next(&self) -> Option<Job<C>> {
        if let Some(job) = self.pace.next_job(|| self.lock().pop()) {
            return Some(job);
        }
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(job) = queue.pop() {
                return Some(job);
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Progress {
    fn begin(&self) {
        *self.lock() = Step::Running;
    }

    /// Whether the caller had given up.
    fn end(&self) -> bool {
        std::mem::replace(&mut *self.lock(), Step::Done) == Step::GivenUp
    }

    /// Whether it is running, and so is somebody's whom nobody waits for.
    fn give_up(&self) -> bool {
        let mut step = self.lock();
        let running = *step == Step::Running;
        if running {
            *step = Step::GivenUp;
        }
        running
    }

    fn lock(&self) -> MutexGuard<'_, Step> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C> Queue<C> {
    fn pop(&mut self) -> Option<Job<C>> {
        self.lanes.iter_mut().find_map(VecDeque::pop_front)
    }

    fn len(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum()
    }
}

/// Threads that may be lost in a module.
const MOST_STUCK: usize = 8;
/// How long the end waits for a worker that may be inside the module.
const STUCK: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    impl Pool<Vec<u32>> {
        fn ask<T: Send + 'static>(
            &self,
            priority: Priority,
            job: impl FnOnce(&mut Vec<u32>) -> Result<T, Problem> + Send + 'static,
        ) -> Result<T, Problem> {
            self.run(priority, LONG, job, |_| ())
        }
    }

    /// A pool whose only worker is held until the sender is used or dropped.
    fn held(capacity: usize) -> (Arc<Pool<Vec<u32>>>, mpsc::Sender<()>, thread::JoinHandle<()>) {
        let pool = Arc::new(Pool::start("test", 1, capacity, Vec::new));
        let (release, held) = mpsc::channel::<()>();
        let (started, wait) = mpsc::channel();
        let holder = thread::spawn({
            let pool = Arc::clone(&pool);
            move || {
                let job = move |_: &mut Vec<u32>| {
                    started.send(()).unwrap();
                    let _ = held.recv();
                    Ok(())
                };
                pool.ask(Priority::Issue, job).unwrap();
            }
        });
        wait.recv().unwrap();
        (pool, release, holder)
    }

    fn wait_for(pool: &Pool<Vec<u32>>, waiting: usize) {
        while pool.waiting() < waiting {
            thread::yield_now();
        }
    }

    #[test]
    fn full_queue_is_busy_at_once() {
        let (pool, release, holder) = held(1);
        let waiter = thread::spawn({
            let pool = Arc::clone(&pool);
            move || pool.ask(Priority::Issue, |_| Ok(1)).unwrap()
        });
        wait_for(&pool, 1);
        assert!(matches!(pool.ask(Priority::Operator, |_| Ok(2)), Err(Problem::Busy)));
        drop(release);
        assert_eq!(waiter.join().unwrap(), 1);
        holder.join().unwrap();
    }

    #[test]
    fn priorities_are_served_in_order() {
        let (pool, release, holder) = held(8);
        let mut threads = Vec::new();
        for (waiting, (priority, mark)) in [
            (Priority::Handshake, 5),
            (Priority::Issue, 3),
            (Priority::Reply, 2),
            (Priority::Operator, 1),
            (Priority::Issue, 4),
        ]
        .into_iter()
        .enumerate()
        {
            wait_for(&pool, waiting);
            let pool = Arc::clone(&pool);
            threads.push(thread::spawn(move || {
                pool.ask(priority, move |seen| {
                    seen.push(mark);
                    Ok(())
                })
                .unwrap();
            }));
        }
        wait_for(&pool, 5);
        drop(release);
        holder.join().unwrap();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(pool.ask(Priority::Issue, |seen| Ok(seen.clone())).unwrap(), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn late_answer_is_a_time_out_and_the_job_is_not_begun() {
        let (pool, release, holder) = held(8);
        let job = |seen: &mut Vec<u32>| {
            seen.push(1);
            Ok(())
        };
        let late = pool.run(Priority::Issue, Duration::from_millis(1), job, |_| ());
        assert!(matches!(late, Err(Problem::TimedOut { .. })));
        drop(release);
        holder.join().unwrap();
        assert!(pool.ask(Priority::Issue, |seen| Ok(seen.is_empty())).unwrap());
    }

    #[test]
    fn stuck_worker_is_replaced() {
        let pool = Pool::start("test", 1, 8, Vec::<u32>::new);
        let mut releases = Vec::new();
        for _ in 0..MOST_STUCK {
            let (release, held) = mpsc::channel::<()>();
            let (started, wait) = mpsc::channel();
            let job = move |_: &mut Vec<u32>| {
                started.send(()).unwrap();
                let _ = held.recv();
                Ok(())
            };
            let hung = pool.run(Priority::Issue, Duration::from_millis(200), job, |_| ());
            assert!(matches!(hung, Err(Problem::Hung { .. })), "{hung:?}");
            wait.recv().unwrap();
            releases.push(release);
        }
        assert_eq!(pool.workers(), 0);
        let refused = pool.ask(Priority::Issue, |_| Ok(1));
        assert!(matches!(refused, Err(Problem::Stuck { threads: MOST_STUCK })), "{refused:?}");

        // When they come back, one of them is the worker that is missing.
        drop(releases);
        let deadline = Instant::now() + LONG;
        while pool.workers() < 1 {
            assert!(Instant::now() < deadline, "nobody has come back");
            thread::yield_now();
        }
        assert_eq!(pool.ask(Priority::Issue, |_| Ok(2)).unwrap(), 2);
        assert_eq!(pool.workers(), 1);
    }

    /// Whoever waits for a worker that others keep does not look again and again.
    #[test]
    fn jobs_that_wait_count() {
        let (pool, release, holder) = held(8);
        let waiter = thread::spawn({
            let pool = Arc::clone(&pool);
            move || pool.ask(Priority::Issue, |_| Ok(1)).unwrap()
        });
        wait_for(&pool, 1);
        assert_eq!(pool.shared.pace.answer(|| Some(())), None);
        drop(release);
        assert_eq!(waiter.join().unwrap(), 1);
        holder.join().unwrap();
        assert_eq!(pool.shared.pace.answer(|| Some(())), Some(()));
    }

    #[test]
    fn panic_costs_its_caller_alone() {
        let pool = Pool::start("test", 1, 8, Vec::<u32>::new);
        let gone = pool.ask(Priority::Issue, |_| -> Result<(), Problem> { panic!("on purpose") });
        assert!(matches!(gone, Err(Problem::WorkerGone)));
        assert_eq!(pool.ask(Priority::Issue, |_| Ok(7)).unwrap(), 7);
    }
}
