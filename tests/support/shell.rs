//! Terminals: the interactive shell, and a terminal that watches the log.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use super::until;

/// A program that goes on: what it has shown so far, on both streams, and its standard input.
pub struct Terminal {
    child: Child,
    stdin: Option<ChildStdin>,
    shown: Arc<Mutex<String>>,
    // How far it was waited for.
    seen: usize,
}

impl Terminal {
    /// Starts it.
    pub fn start(program: &mut Command) -> Self {
        let (screen, out) = std::io::pipe().expect("a pipe");
        let error = out.try_clone().expect("a pipe");
        let mut child = program.stdin(Stdio::piped()).stdout(out).stderr(error).spawn().expect("it starts");
        // The program's copies of the pipe would keep it open.
        program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let shown = Arc::<Mutex<String>>::default();
        let written = shown.clone();
        std::thread::spawn(move || {
            let mut screen = screen;
            let mut octets = [0; 4096];
            while let Ok(read @ 1..) = screen.read(&mut octets) {
                written.lock().unwrap().push_str(&String::from_utf8_lossy(&octets[..read]));
            }
        });
        let stdin = child.stdin.take();
        Self { child, stdin, shown, seen: 0 }
    }

    /// Types a line.
    pub fn line(&mut self, line: &str) {
        self.keys(&format!("{line}\n"));
    }

    /// Presses keys.
    pub fn keys(&mut self, keys: &str) {
        let stdin = self.stdin.as_mut().expect("its input is open");
        stdin.write_all(keys.as_bytes()).and_then(|()| stdin.flush()).expect("it reads");
    }

    /// Presses keys and waits until this is shown, after what was waited for before.
    #[track_caller]
    pub fn answers(&mut self, keys: &str, text: &str) {
        self.keys(keys);
        let end = || self.shown()[self.seen..].find(text).map(|at| self.seen + at + text.len());
        self.seen = until(&format!("{keys:?} is answered by {text:?}"), end);
    }

    /// Everything shown so far.
    pub fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    /// Waits until this is shown.
    #[track_caller]
    pub fn shows(&self, text: &str) {
        let shown = || self.shown().contains(text).then_some(());
        until(&format!("{text:?} is shown"), shown);
    }

    /// The end of its input, and of the program; its exit code and everything shown.
    pub fn end(mut self) -> (Option<i32>, String) {
        drop(self.stdin.take());
        let status = self.child.wait().expect("it is our child");
        // Its end of the screen is closed: the rest is read in a moment.
        let settled = || (Arc::strong_count(&self.shown) == 1).then_some(());
        until("all is shown", settled);
        (status.code(), self.shown())
    }

    /// As Ctrl-C on its terminal.
    pub fn interrupt(mut self) -> String {
        let kill = format!("kill -INT {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().is_ok_and(|status| status.success()));
        self.child.wait().expect("it is our child");
        self.shown()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
