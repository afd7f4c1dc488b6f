//! What is said on the command socket: one JSON value a line.
//!
//! ```text
//! client ▶ {"task":{"exec":{"words":["crypto","key","zeroize","rsa","mycs"]}},"json":false,"yes":false}
//! server ◀ {"question":"Do you really want to remove these keys? [yes/no]: "}
//! client ▶ {"answer":"yes"}
//! server ◀ {"out":"…"}
//! server ◀ {"exit":0}
//! ```
//!
//! A connection is for one command, one script, or one shell:
//!
//! ```text
//! client ▶ {"task":"shell","json":false,"yes":false}
//! server ◀ {"prompt":"ca1#"}
//! client ▶ {"complete":"show ver"}
//! server ◀ {"words":["version"]}
//! client ▶ {"line":"show version"}
//! server ◀ {"out":"…"}
//! server ◀ {"prompt":"ca1#"}
//! ```
//!
//! `out`, `error` and `log` may come several times, `log` at any time; `exit` is last.

use std::io::{self, BufRead, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{CommandError, Output};

/// What the client asks for. May hold passwords: not in `Debug`.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub task: Task,
    pub json: bool,
    pub yes: bool,
}

/// What is to be done.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// One exec command.
    Exec {
        /// Its words.
        words: Vec<String>,
    },
    /// Lines of the configuration.
    Configure {
        /// The lines.
        text: String,
    },
    /// Whatever is typed.
    Shell,
}

/// What the server says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// For standard output.
    Out(String),
    /// A question; an answer is waited for.
    Question(String),
    /// The same; what is typed is not shown.
    Secret(String),
    /// What is to be pasted; the lines are the answer.
    Paste(String),
    /// The shell waits for a line.
    Prompt(String),
    /// What the end of a line could be completed to.
    Words(Vec<String>),
    /// A line of the log, for a terminal that watches.
    Log(String),
    /// For standard error, without its newline.
    Error(String),
    /// The end, and what the program exits with.
    Exit(u8),
}

/// What was typed. May be a password: not in `Debug`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Typed {
    /// After a question.
    Answer(String),
    /// After a prompt.
    Line(String),
    /// After a prompt, a line whose last word is to be completed.
    Complete(String),
    /// After a prompt, a line that `?` was pressed behind; what may follow comes as one event.
    Help(String),
}

/// What is to be shown of the result of a command, and what a program exits with after it.
pub fn shown(result: Result<Output, CommandError>, json: bool) -> (Option<Event>, u8) {
    match result {
        Ok(output) => {
            let text = output.render(json);
            ((!text.is_empty()).then_some(Event::Out(text)), output.failed.into())
        }
        Err(error) => (Some(Event::Error(error.to_string())), error.exit_code()),
    }
}

/// Writes one line.
pub fn send(writer: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    writer.write_all(&line(value)?)
}

/// One line; wiped when it is gone, as an answer may be a password.
pub fn line(value: &impl Serialize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(serde_json::to_vec(value)?);
    line.push(b'\n');
    Ok(line)
}

/// Reads one line of at most `limit` octets. `UnexpectedEof` when the other end is gone.
pub fn receive<T: DeserializeOwned>(reader: &mut impl BufRead, limit: u64) -> io::Result<T> {
    let mut line = Zeroizing::new(Vec::new());
    reader.take(limit).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        let kind = match line.len() as u64 + 1 >= limit {
            true => io::ErrorKind::InvalidData,
            false => io::ErrorKind::UnexpectedEof,
        };
        return Err(io::Error::new(kind, "the line has no end"));
    }
    Ok(serde_json::from_slice(&line)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_lines() {
        let request = Request { task: Task::Exec { words: vec!["show".into()] }, json: true, yes: false };
        let mut wire = Vec::new();
        send(&mut wire, &request).unwrap();
        assert_eq!(wire, b"{\"task\":{\"exec\":{\"words\":[\"show\"]}},\"json\":true,\"yes\":false}\n");
        assert!(receive::<Request>(&mut wire.as_slice(), 1000).unwrap() == request);
        assert_eq!(receive::<Event>(&mut &b"{\"exit\":1}\n"[..], 11).unwrap(), Event::Exit(1));
    }

    #[test]
    fn lines_have_a_limit_and_an_end() {
        let kind = |line: &[u8], limit| receive::<Event>(&mut &*line, limit).unwrap_err().kind();
        assert_eq!(kind(b"{\"exit\":1}\n", 10), io::ErrorKind::InvalidData);
        assert_eq!(kind(b"{\"exit\":", 100), io::ErrorKind::UnexpectedEof);
        assert_eq!(kind(b"", 100), io::ErrorKind::UnexpectedEof);
        assert_eq!(kind(b"{}\n", 100), io::ErrorKind::InvalidData);
    }
}
