//! Numbers that the tests and all processes with this module share: the file `FAULTY_DIR/state`, mapped.
//!
//! The tests write it with `pwrite`; pages of a file and its mappings are the same memory, so the next call
//! in any process sees what was written.

use std::ffi::{c_int, c_void};
use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Words in the file: 64 KiB.
const WORDS: usize = 8192;
/// Rules count their calls from here on.
const COUNTERS: usize = 16;

pub struct Shared {
    words: &'static [AtomicU64],
    /// `FAULTY_DIR`. Without it there is never a plan.
    pub dir: Option<PathBuf>,
}

/// The numbers of this process's `FAULTY_DIR`.
pub fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(Shared::open)
}

impl Shared {
    /// Which plan stands. The tests count it up after the plan is in place.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.words[0].load(Ordering::Acquire)
    }

    /// How often the token was pulled out.
    pub fn removals(&self) -> &AtomicU64 {
        &self.words[1]
    }

    /// The number of the next call that is written down.
    pub fn sequence(&self) -> &AtomicU64 {
        &self.words[2]
    }

    /// How many calls a rule has matched. Each rule of each plan has a number that no other had.
    pub fn counter(&self, rule: usize) -> &AtomicU64 {
        &self.words[COUNTERS + rule]
    }

    fn open() -> Self {
        let Some(dir) = std::env::var_os("FAULTY_DIR").map(PathBuf::from) else {
            let words: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
            return Self { words: words.leak(), dir: None };
        };
        let path = dir.join("state");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // Never shorter than what is mapped: a page without a file below it is a SIGBUS.
        if file.metadata().expect("its length").len() < (WORDS * 8) as u64 {
            file.set_len((WORDS * 8) as u64).expect("room for the numbers");
        }
        // SAFETY: a new mapping, where the kernel likes, of a file that is open and long enough.
        let start =
            unsafe { mmap(null_mut(), WORDS * 8, PROT_READ | PROT_WRITE, MAP_SHARED, file.as_raw_fd(), 0) };
        assert_ne!(start as isize, -1, "{} is mapped", path.display());
        // SAFETY: the mapping is aligned to a page, of this length, and never unmapped. Others write to it,
        // which atomics allow.
        let words = unsafe { std::slice::from_raw_parts(start.cast::<AtomicU64>(), WORDS) };
        Self { words, dir: Some(dir) }
    }
}

const PROT_READ: c_int = 1;
const PROT_WRITE: c_int = 2;
const MAP_SHARED: c_int = 1;

// SAFETY: as the C library has it where off_t has 64 bits.
unsafe extern "C" {
    fn mmap(start: *mut c_void, len: usize, prot: c_int, flags: c_int, fd: c_int, at: i64) -> *mut c_void;
}
