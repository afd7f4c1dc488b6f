//! A script: lines that follow a question answer it.

use std::fmt;
use std::io;

use secrecy::SecretString;
use serde::Serialize;
use serde_json::Value;

use super::{Console, Options, Output, Pasted, is_yes};

/// The lines of a script, in front of the console that answers when they have no more to say.
pub struct Script<'s> {
    lines: Vec<&'s str>,
    next: usize,
    behind: &'s mut dyn Console,
}

impl<'s> Script<'s> {
    /// `text`, and who is asked behind it.
    pub fn new(text: &'s str, behind: &'s mut dyn Console) -> Self {
        Self { lines: text.lines().collect(), next: 0, behind }
    }

    /// The next line and its number, from 1.
    pub fn line(&mut self) -> Option<(usize, &'s str)> {
        let line = self.lines.get(self.next)?;
        self.next += 1;
        Some((self.next, line))
    }

    /// The index of the next line that is no comment: documents print what is asked as comments.
    fn said(&self) -> Option<usize> {
        (self.next..self.lines.len()).find(|at| !self.lines[*at].trim_start().starts_with('!'))
    }

    fn take(&mut self) -> Option<&'s str> {
        let at = self.said()?;
        self.next = at + 1;
        Some(self.lines[at])
    }
}

impl Console for Script<'_> {
    fn say(&mut self, text: &str) -> io::Result<()> {
        self.behind.say(text)
    }

    fn ask(&mut self, question: &str) -> io::Result<String> {
        match self.take() {
            Some(line) => Ok(line.trim().to_owned()),
            None => self.behind.ask(question),
        }
    }

    fn ask_secret(&mut self, question: &str) -> io::Result<SecretString> {
        match self.take() {
            Some(line) => Ok(line.trim_end_matches('\r').into()),
            None => self.behind.ask_secret(question),
        }
    }

    fn paste(&mut self, prompt: &str) -> io::Result<String> {
        let Some(first) = self.said() else { return self.behind.paste(prompt) };
        self.next = first;
        let mut pasted = Pasted::default();
        while let Some((_, line)) = self.line() {
            if !pasted.line(line) {
                break;
            }
        }
        Ok(pasted.text)
    }

    /// A line that answers the question does so, whatever the options say; one that does not is a line.
    fn confirm(&mut self, question: &str, yes: bool) -> io::Result<bool> {
        let answer = (self.next..self.lines.len()).find(|at| {
            let line = self.lines[*at].trim();
            !line.is_empty() && !line.starts_with('!')
        });
        if let Some(at) = answer.filter(|at| is_answer(self.lines[*at])) {
            self.next = at + 1;
            return Ok(is_yes(self.lines[at]));
        }
        self.behind.confirm(question, yes)
    }

    fn monitor(&mut self, on: bool) -> io::Result<bool> {
        self.behind.monitor(on)
    }
}

/// What the lines of a script have shown.
pub struct Shown {
    options: Options,
    failed: bool,
    result: Results,
}

/// The result of a script, as JSON.
#[derive(Default, Serialize)]
struct Results {
    messages: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    results: Vec<Value>,
}

impl fmt::Display for Results {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As text it was said line by line.
        Ok(())
    }
}

impl Shown {
    /// Nothing yet.
    pub fn new(options: Options) -> Self {
        Self { options, failed: false, result: Results::default() }
    }

    /// Shows what a line has returned, or keeps it for the JSON.
    pub fn add(&mut self, output: Output, console: &mut dyn Console) -> io::Result<()> {
        self.failed |= output.failed;
        if self.options.json {
            match output.messages() {
                Some(messages) => self.result.messages.extend(messages),
                None => self.result.results.push(output.value()),
            }
            return Ok(());
        }
        match output.render(false) {
            text if text.is_empty() => Ok(()),
            text => console.say(&text),
        }
    }

    /// The output of the script.
    pub fn output(self) -> Output {
        let mut output = Output::of(self.result);
        output.failed = self.failed;
        output
    }
}

/// `y`, `ye`, `yes`, `n`, `no`.
fn is_answer(line: &str) -> bool {
    is_yes(line) || matches!(line.trim().to_ascii_lowercase().as_str(), "n" | "no")
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    struct Nobody;

    impl Console for Nobody {
        fn say(&mut self, _: &str) -> io::Result<()> {
            Ok(())
        }
        fn ask(&mut self, _: &str) -> io::Result<String> {
            Ok("asked".into())
        }
        fn ask_secret(&mut self, _: &str) -> io::Result<SecretString> {
            Ok("asked".into())
        }
        fn paste(&mut self, _: &str) -> io::Result<String> {
            Ok("asked".into())
        }
    }

    #[test]
    fn the_lines_after_a_question_answer_it() {
        let mut nobody = Nobody;
        let text = "grant auto\n! % This will cause…\nyes\nno shutdown\n\n! Are you sure? [yes/no]:\n Y\nend";
        let mut script = Script::new(text, &mut nobody);
        assert_eq!(script.line(), Some((1, "grant auto")));
        assert!(script.confirm("?", false).unwrap());
        assert_eq!(script.line(), Some((4, "no shutdown")));
        assert!(script.confirm("?", true).unwrap());
        assert_eq!(script.line(), Some((8, "end")));
        assert!(script.line().is_none());
        assert!(!script.confirm("?", false).unwrap());
        assert!(script.confirm("?", true).unwrap());
    }

    #[test]
    fn a_line_that_is_no_answer_stays_a_line() {
        let mut nobody = Nobody;
        let mut script = Script::new("no shutdown\nno", &mut nobody);
        assert!(script.confirm("?", true).unwrap());
        assert_eq!(script.line(), Some((1, "no shutdown")));
        assert!(!script.confirm("?", true).unwrap(), "the script says no");
    }

    #[test]
    fn passwords_and_pasted_text_are_lines_too() {
        let mut nobody = Nobody;
        let mut script = Script::new("! Password:\ncisco 123\n! % Enter it\nMII\nAB\nquit\nend", &mut nobody);
        assert_eq!(script.ask_secret("").unwrap().expose_secret(), "cisco 123");
        assert_eq!(script.paste("").unwrap(), "MII\nAB\n");
        assert_eq!(script.ask("").unwrap(), "end");
        assert_eq!(script.ask("").unwrap(), "asked");
        assert_eq!(script.ask_secret("").unwrap().expose_secret(), "asked");
        assert_eq!(script.paste("").unwrap(), "asked");
    }
}
