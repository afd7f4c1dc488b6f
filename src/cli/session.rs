//! One terminal: lines go in, results come out; the mode, its prompt and what is not applied yet are kept.
//!
//! In exec mode a line is an exec command. After `configure terminal` it is a line of the configuration,
//! `do` and an exec command, or one of the exec commands that IOS has there too (`crypto …`): whichever
//! understands more of the line. The shell applies each line as it is typed; a script
//! ([`Session::script`]) collects them and applies them as one.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::ExposeSecret;

use super::audit::{self, Operator};
use super::command::{Help, Messages};
use super::filter::Filter;
use super::script::{Script, Shown};
use super::source::Source;
use super::{Call, Command, CommandError, Console, Members, Options, Output, Run, find, next, question_mark};
use crate::config::grammar::{LineError, Match, Problem};
use crate::config::{Configuration, Editor, Query};
use crate::node::{EXPORTING, Node, NodeError};

/// One terminal.
pub struct Session {
    source: Source,
    options: Options,
    operator: Operator,
    editing: Option<Editing>,
    // Whether lines of the configuration are collected.
    collects: bool,
    // The line of the script that is being done.
    number: usize,
    // How often lines were applied.
    applications: u64,
    ended: bool,
    // Whether exec commands are refused: what is copied into the configuration gives none.
    lines_only: bool,
}

/// The configuration being typed.
struct Editing {
    editor: Editor,
    // The running configuration that the editor started from.
    base: Configuration,
    // The lines between the two, for the journal.
    lines: audit::Lines,
    // Servers being deleted whose keys stay on their token.
    keep_keys: BTreeSet<String>,
}

impl Session {
    /// In exec mode.
    pub fn new(source: Source, options: Options, operator: Operator) -> Self {
        Self {
            source,
            options,
            operator,
            editing: None,
            collects: false,
            number: 0,
            applications: 0,
            ended: false,
            lines_only: false,
        }
    }

    /// What stands before the next line: `ca1#`, `ca1(cs-server)#`.
    pub fn prompt(&self) -> String {
        let mode = self.editing.as_ref().map(|editing| format!("({})", editing.editor.prompt()));
        format!("{}{}#", self.source.hostname(), mode.unwrap_or_default())
    }

    /// Whether the operator has left.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Does one line.
    pub fn line(&mut self, text: &str, console: &mut dyn Console) -> Result<Output, CommandError> {
        match self.editing {
            None => self.exec(text, console),
            Some(_) => self.configuration_line(text, console),
        }
    }

    /// Does the lines of a script, which begins in configuration mode. Edits are applied as one at the end,
    /// before an exec command that needs them, and where the configuration is left. After an error nothing
    /// since the last application is applied.
    pub fn script(&mut self, text: &str, console: &mut dyn Console) -> Result<Output, CommandError> {
        self.collects = true;
        self.configure()?;
        let mut script = Script::new(text, console);
        let mut shown = Shown::new(self.options);
        let mut applied = 0;
        while let Some((number, line)) = script.line() {
            let before = self.applications;
            self.number = number;
            let result = match self.ended && !is_nothing(line) {
                false => self.line(line, &mut script),
                true => Err(CommandError::Refused("the session has ended before".into())),
            };
            if self.applications > before {
                applied = number - 1;
            }
            shown.add(result.map_err(|error| error.at_line(number, applied))?, &mut script)?;
        }
        let messages = self.finish().map_err(|error| error.at_line(self.number, applied))?;
        shown.add(Output::of(Messages { messages }), &mut script)?;
        Ok(shown.output())
    }

    /// Enters configuration mode, in no section.
    pub(super) fn configure(&mut self) -> Result<(), CommandError> {
        match &mut self.editing {
            Some(editing) => editing.editor.rebase(editing.editor.configuration().clone(), false),
            None => {
                let base = self.source.made()?.configuration();
                let editor = Editor::new(base.clone());
                let (lines, keep_keys) = (audit::Lines::default(), BTreeSet::new());
                self.editing = Some(Editing { editor, base, lines, keep_keys });
            }
        }
        Ok(())
    }

    /// The node, with everything applied that was typed before.
    pub(super) fn node(&mut self, console: &mut dyn Console) -> Result<Arc<Node>, CommandError> {
        let messages = self.applied()?;
        self.tell(messages, console)?;
        self.source.node()
    }

    /// Does a script on the same node, as from a terminal of its own. It may have lines of the configuration
    /// only: whoever answers for a TFTP server shall not delete keys.
    pub(super) fn merge(&mut self, text: &str, console: &mut dyn Console) -> Result<Output, CommandError> {
        let mut other = Self::new(self.source.again()?, self.options, self.operator.clone());
        other.lines_only = true;
        let output = other.script(text, console);
        self.catch_up()?;
        output
    }

    /// Whether a server runs.
    pub(super) fn is_served(&self) -> bool {
        self.source.is_server()
    }

    /// Leaves the terminal.
    pub(super) fn exit(&mut self) {
        self.ended = true;
    }

    /// What the last word of `line` could be completed to.
    pub fn complete(&self, line: &str) -> Vec<String> {
        let at = line.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let found = self.next(&line[..at], Some(&line[at..])).unwrap_or_default();
        found.into_iter().map(|(word, _)| word).filter(|word| !word.starts_with(['<', '|'])).collect()
    }

    /// What `?` shows, when the line ends in it.
    pub(super) fn help(&self, line: &str) -> Result<Option<Output>, LineError> {
        let Some((words, unfinished)) = question_mark(line) else { return Ok(None) };
        let help = match Filter::help(line) {
            Some(help) => help,
            None => Help::new(self.next(words, unfinished)?),
        };
        Ok(Some(Output::of(help)))
    }

    fn next(&self, words: &str, unfinished: Option<&str>) -> Result<Vec<(String, &'static str)>, LineError> {
        let Some(editing) = &self.editing else { return next(words, unfinished) };
        if let Some(words) = after_do(words) {
            return next(words, unfinished);
        }
        let here = editing.editor.next(words, unfinished);
        if !is_for_both(words) {
            return here;
        }
        match (here, next(words, unfinished)) {
            (Ok(mut here), Ok(exec)) => {
                here.extend(exec);
                here.sort();
                here.dedup_by(|a, b| a.0 == b.0);
                Ok(here)
            }
            (here, exec) => here.or(exec),
        }
    }

    fn exec(&mut self, typed: &str, console: &mut dyn Console) -> Result<Output, CommandError> {
        if self.lines_only && !is_nothing(typed) {
            return Err(CommandError::Refused(
                "a file that is copied into the running configuration has lines of the configuration only; \
                 this is a command"
                    .into(),
            ));
        }
        let typed = typed.trim_end_matches(CTRL_Z);
        if is_nothing(typed) {
            return Ok(Output::nothing());
        }
        if let Some(help) = self.help(typed)? {
            return Ok(help);
        }
        let typed = typed.replace(CTRL_V, "");
        let (line, filter) = Filter::split(&typed)?;
        if filter.is_some() && self.options.json {
            return Err(CommandError::Refused("a filter is for text, not for --json".into()));
        }
        let output = self.run(&find(line)?, line, console)?;
        Ok(match filter {
            Some(filter) => filter.apply(&output),
            None => output,
        })
    }

    fn run(
        &mut self,
        found: &Match<Command>,
        line: &str,
        console: &mut dyn Console,
    ) -> Result<Output, CommandError> {
        let node = match found.row.run {
            Run::OnNode(_) => Some(self.node(console)?),
            Run::Alone(_) | Run::OnSession(_) => None,
        };
        let mut call = Call { line, args: &found.args, options: self.options, console };
        match (found.row.run, node) {
            (Run::OnNode(run), Some(node)) => {
                let result = run(&node, &mut call);
                if audit::is_recorded(found.row) {
                    self.operator.did(&node, audit::redacted(&call), audit::outcome(&result));
                }
                result
            }
            (Run::OnSession(run), _) => run(self, &mut call),
            (Run::Alone(run), _) => run(&mut call),
            (Run::OnNode(_), None) => unreachable!("a node was found above"),
        }
    }

    fn configuration_line(&mut self, text: &str, console: &mut dyn Console) -> Result<Output, CommandError> {
        if !self.collects {
            self.catch_up()?;
        }
        let Some(editing) = &self.editing else { return self.exec(text, console) };
        let mut editor = editing.editor.clone();
        if !editor.mode().is_raw() {
            if !self.collects
                && let Some(help) = self.help(text)?
            {
                return Ok(help);
            }
            if let Some(command) = exec_only(text) {
                return self.exec(command, console);
            }
        }
        editor.at_line(self.number);
        let query = match editor.line(text) {
            Ok(query) => query,
            Err(error) => return self.exec_instead(text, error, console),
        };
        if editing.is_reborn(editor.configuration()) {
            // Deleted and made anew are two applications: as one, it would be a change.
            let messages = self.applied()?;
            self.tell(messages, console)?;
            return self.configuration_line(text, console);
        }
        if let Some(query) = query {
            self.ask(&query, &mut editor, console)?;
        }
        self.accept(editor, text)
    }

    /// Takes the editor with one line more; without that line when it cannot be applied.
    fn accept(&mut self, editor: Editor, line: &str) -> Result<Output, CommandError> {
        let Some(editing) = &mut self.editing else { return Ok(Output::nothing()) };
        editing.lines.add(editing.editor.mode(), editor.mode(), line);
        let ended = editor.ended();
        if ended && self.collects {
            editor.check()?;
        }
        let before = std::mem::replace(&mut editing.editor, editor);
        let messages = match (ended, self.collects) {
            (true, _) => self.leave(),
            (false, true) => Ok(Vec::new()),
            (false, false) => self.applied(),
        };
        match (messages, &mut self.editing) {
            (Ok(messages), _) => Ok(Output::of(Messages { messages })),
            (Err(error), editing) => {
                editing.iter_mut().for_each(|editing| editing.editor = before.clone());
                Err(if self.collects { error } else { error.without_number() })
            }
        }
    }

    /// An exec command in configuration mode, when the line is more of that than what `error` is about.
    fn exec_instead(
        &mut self,
        text: &str,
        error: LineError,
        console: &mut dyn Console,
    ) -> Result<Output, CommandError> {
        let line = text.trim_end_matches(CTRL_Z);
        if !is_for_both(line) {
            return Err(error.into());
        }
        match find(line) {
            Ok(_) => self.exec(line, console),
            Err(exec) if says_more(&exec.problem, &error.problem) => Err(exec.into()),
            Err(_) => Err(error.into()),
        }
    }

    /// Applies what is not applied yet. Returns what the operator should read.
    fn applied(&mut self) -> Result<Vec<String>, CommandError> {
        let Some(editing) = &mut self.editing else { return Ok(Vec::new()) };
        let applied = editing
            .apply(&mut self.source, &self.operator)
            .map_err(|error| CommandError::Apply(Box::new(error)))?;
        self.applications += u64::from(applied.is_some());
        let mut messages = applied.unwrap_or_default();
        for note in editing.editor.notes() {
            if !messages.contains(&note) {
                messages.push(note);
            }
        }
        Ok(messages)
    }

    /// The end of a script.
    fn finish(&mut self) -> Result<Vec<String>, CommandError> {
        self.editing.as_ref().map_or(Ok(()), |editing| editing.editor.check())?;
        self.leave()
    }

    /// Applies what is not applied yet, and leaves configuration mode.
    fn leave(&mut self) -> Result<Vec<String>, CommandError> {
        let mut messages = self.applied()?;
        self.editing = None;
        if self.source.was_saved() {
            messages.push("% No server is running: saved as the startup configuration.".into());
        }
        Ok(messages)
    }

    /// Goes on from what other terminals have configured meanwhile.
    fn catch_up(&mut self) -> Result<(), CommandError> {
        let Some(editing) = &mut self.editing else { return Ok(()) };
        let running = self.source.made()?.configuration();
        if running != editing.base {
            editing.editor.rebase(running.clone(), true);
            editing.base = running;
        }
        Ok(())
    }

    /// Asks what IOS asks after a line. An error when the answer is no.
    fn ask(
        &mut self,
        query: &Query,
        editor: &mut Editor,
        console: &mut dyn Console,
    ) -> Result<(), CommandError> {
        let yes = self.options.yes;
        let mut confirm = |question: &str| super::confirm(yes, console, question);
        match query {
            Query::Enable { label } => {
                let node = self.source.made()?;
                if has_certificate(&node, label)? {
                    return Ok(());
                }
                if enable::is_below(editor.configuration(), label) {
                    if !enable::is_authenticated(&node, label)? {
                        confirm(&format!("{FIXED}\n{SURE}"))?;
                    }
                    return enable::authenticate(&node, editor.configuration(), label, console);
                }
                match node.takeover_preview(label, editor.configuration()) {
                    Ok(None) => {}
                    Ok(Some(preview)) if preview.by_hand || !preview.missing.is_empty() => {
                        confirm(&(preview.missing.clone() + &query.to_string()))?;
                        return Ok(node.accept_takeover(label, &preview)?);
                    }
                    // An archive says all there is to say; and what is wrong is said by the start.
                    Ok(Some(_)) | Err(_) => return Ok(()),
                }
                confirm(&format!("{FIXED}\n{SURE}"))?;
                match node.archive_needs_passphrase(label, editor.configuration()) {
                    true => {
                        self.tell(vec![EXPORTING.to_owned()], console)?;
                        protect(&node, label, console)
                    }
                    false => Ok(()),
                }
            }
            Query::DeleteServer { label } => {
                confirm(&query.to_string())?;
                let has_trustpoint = editor.configuration().trustpoints.contains_key(label);
                if !has_trustpoint && !has_certificate(&*self.source.made()?, label)? {
                    return Ok(());
                }
                match (console.confirm(TRUSTPOINT_TOO, yes)?, &mut self.editing) {
                    (true, _) if has_trustpoint => {
                        editor.line(&format!("no crypto pki trustpoint {label}"))?;
                    }
                    (false, Some(editing)) => drop(editing.keep_keys.insert(label.clone())),
                    _ => {}
                }
                Ok(())
            }
            _ => confirm(&query.to_string()),
        }
    }

    /// Says what is not the result of the line.
    fn tell(&self, messages: Vec<String>, console: &mut dyn Console) -> Result<(), CommandError> {
        if !messages.is_empty() && !self.options.json {
            console.say(&Messages { messages }.to_string())?;
        }
        Ok(())
    }
}

impl Editing {
    /// Makes what was typed the running configuration. `None` when that changes nothing.
    fn apply(
        &mut self,
        source: &mut Source,
        operator: &Operator,
    ) -> Result<Option<Vec<String>>, CommandError> {
        let lines = self.lines.take();
        if *self.editor.configuration() == self.base {
            return Ok(None);
        }
        let new = self.editor.clone().finish()?;
        if new.socket_group != self.base.socket_group {
            Members::of(new.socket_group.as_deref())
                .map_err(|error| CommandError::Refused(error.to_string()))?;
        }
        let node = source.made()?;
        // One at a time; another terminal may have been faster while a question stood.
        static APPLYING: Mutex<()> = Mutex::new(());
        let _applying = APPLYING.lock().unwrap_or_else(PoisonError::into_inner);
        if node.configuration() != self.base {
            return Err(CommandError::Refused("the configuration has changed meanwhile; try again".into()));
        }
        let applied = node.apply_keeping(new, &self.keep_keys).map_err(CommandError::from);
        operator.did(&node, lines, audit::outcome(&applied));
        if applied.is_err() && node.configuration() != self.base {
            // A server was deleted before that: it must not be made anew by what is saved.
            source.changed(&node.configuration())?;
        }
        let messages = applied?;
        self.base = node.configuration();
        self.editor.rebase(self.base.clone(), true);
        self.keep_keys.clear();
        source.changed(&self.base)?;
        Ok(Some(messages))
    }

    /// Whether `new` has a server again that was deleted and still runs.
    fn is_reborn(&self, new: &Configuration) -> bool {
        let before = &self.editor.configuration().servers;
        self.base.servers.keys().any(|label| !before.contains_key(label) && new.servers.contains_key(label))
    }
}

fn has_certificate(node: &Node, label: &str) -> Result<bool, NodeError> {
    match node.server(label) {
        Ok(server) => Ok(!server.certificates()?.is_empty()),
        Err(NodeError::NotFound(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Asks for the passphrase of the archive that will hold the private key. Once, as IOS does: the key is
/// exportable, so that another archive can be made.
fn protect(node: &Node, label: &str, console: &mut dyn Console) -> Result<(), CommandError> {
    let passphrase = console.ask_secret(&format!("{PASSPHRASE}\nPassword: "))?;
    if passphrase.expose_secret().chars().count() < 8 {
        return Err(CommandError::Refused("a passphrase has 8 characters at least; nothing was done".into()));
    }
    node.protect_archive(label, passphrase);
    Ok(())
}

/// A blank line or a comment.
fn is_nothing(line: &str) -> bool {
    line.trim().is_empty() || line.trim_start().starts_with('!')
}

/// What is an exec command in configuration mode too, before it is anything else: what follows `do`, and what
/// begins a script that was written down from its start.
fn exec_only(line: &str) -> Option<&str> {
    let first = |found: Match<Command>| matches!(found.row.words, "enable" | "configure [terminal]");
    after_do(line).or_else(|| find(line).is_ok_and(first).then_some(line))
}

/// What follows `do`.
pub(super) fn after_do(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let (first, rest) = line.split_once(char::is_whitespace)?;
    first.eq_ignore_ascii_case("do").then(|| rest.trim_start())
}

/// Whether the line may be an exec command in configuration mode as well: `crypto …` and `no crypto …`.
fn is_for_both(line: &str) -> bool {
    let mut words = line.split_whitespace().skip_while(|word| word.eq_ignore_ascii_case("no"));
    let first = words.next().unwrap_or_default().to_ascii_lowercase();
    first.len() >= 2 && "crypto".starts_with(&first)
}

/// Whether the exec command has more to say about the line than the configuration.
fn says_more(exec: &Problem, configuration: &Problem) -> bool {
    match exec {
        Problem::Ambiguous { .. } => exec.reach() >= configuration.reach(),
        _ => exec.reach() > configuration.reach(),
    }
}

const CTRL_V: char = '\u{16}';
const CTRL_Z: char = '\u{1a}';
const FIXED: &str = "%Some server settings cannot be changed after CA certificate generation.";
const SURE: &str = "Are you sure you want to do this? [yes/no]: ";
const PASSPHRASE: &str = "% Please enter a passphrase to protect the private key.";
const TRUSTPOINT_TOO: &str = "% Do you also want to remove the associated trustpoint and signing certificate \
                              and key? [yes/no]: ";

mod enable;
#[cfg(test)]
mod tests;
