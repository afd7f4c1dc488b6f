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
//! One command a connection. `out` and `error` may come several times; `exit` is last.

use std::io::{self, BufRead, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{CommandError, Options, Output};

/// What the client asks for.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub task: Task,
    pub json: bool,
    pub yes: bool,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// What the server says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// For standard output.
    Out(String),
    /// A question; an [`Answer`] is waited for.
    Question(String),
    /// The same; what is typed is not shown.
    Secret(String),
    /// What is to be pasted; the lines are the [`Answer`].
    Paste(String),
    /// For standard error, without its newline.
    Error(String),
    /// The end, and what the program exits with.
    Exit(u8),
}

/// What was typed after a question. May be a password: not in `Debug`.
#[derive(Serialize, Deserialize)]
pub struct Answer {
    pub answer: String,
}

impl Request {
    pub fn options(&self) -> Options {
        Options { json: self.json, yes: self.yes }
    }
}

/// What is to be shown of the result of a command.
pub fn events(result: Result<Output, CommandError>, json: bool) -> Vec<Event> {
    match result {
        Ok(output) => {
            let text = output.render(json);
            let out = (!text.is_empty()).then_some(Event::Out(text));
            out.into_iter().chain([Event::Exit(output.failed.into())]).collect()
        }
        Err(error) => vec![Event::Error(error.to_string()), Event::Exit(error.exit_code())],
    }
}

/// Writes one line.
pub fn send(writer: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    writer.write_all(&line)
}

/// Reads one line of at most `limit` octets. `UnexpectedEof` when the other end is gone.
pub fn receive<T: DeserializeOwned>(reader: &mut impl BufRead, limit: u64) -> io::Result<T> {
    let mut line = Vec::new();
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
        assert_eq!(receive::<Request>(&mut wire.as_slice(), 1000).unwrap(), request);
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
