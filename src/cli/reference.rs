//! The reference manual of the commands, out of their tables.

use std::fmt::Write;

use super::COMMANDS;
use crate::config;

/// `docs/commands.md`.
pub fn reference() -> String {
    let mut text = INTRODUCTION.to_owned();
    text += "\n## Exec commands\n\nTyped after `tokenca`, as in `tokenca show version`.\n";
    let mut commands: Vec<_> = COMMANDS.rows().to_vec();
    commands.sort_by_key(|command| command.words);
    for command in commands {
        entry(&mut text, command.words, None, command.about, command.help);
    }
    text += "\n## Configuration lines\n\nIn `startup-config`, or applied with `tokenca configure`. Every \
             section ends with `exit`, `end`, or the first line that belongs outside.\n";
    for (mode, lines) in config::reference() {
        // Writing to a String cannot fail; so in `entry`.
        let _ = writeln!(text, "\n### {mode}");
        for line in lines {
            entry(&mut text, line.words, line.no, line.about, line.help);
        }
    }
    text
}

fn entry(text: &mut String, words: &str, no: Option<&str>, about: &str, help: &[(&str, &str)]) {
    let _ = writeln!(text, "\n#### `{}`\n\n{about}.", plain(words));
    if let Some(no) = no {
        let _ = writeln!(text, "Taken back by `no {}`.", plain(no));
    }
    // The words that lead to the command say nothing new here; values and choices do.
    let choices: Vec<_> =
        help.iter().filter(|(name, _)| name.starts_with('<') || is_choice(words, name)).collect();
    if !choices.is_empty() {
        text.push('\n');
    }
    for (name, help) in choices {
        let _ = writeln!(text, "- `{name}`: {help}");
    }
}

/// Whether a word stands in brackets, or after the first of them.
fn is_choice(words: &str, name: &str) -> bool {
    let choices = words.find(['{', '[']).map_or("", |at| &words[at..]);
    choices.split(['{', '[', ' ', '|', '}', ']']).any(|word| word.split('/').next() == Some(name))
}

/// Without the second names of words.
fn plain(words: &str) -> String {
    let word = |word: &str| {
        let closing = word.find(['}', ']']).map_or("", |at| &word[at..]);
        word.split_once('/').map_or(word.to_owned(), |(first, _)| format!("{first}{closing}"))
    };
    words.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

const INTRODUCTION: &str = "\
# Commands

Generated from the tables of the program; `UPDATE_DOCS=1 cargo test --test cli` writes it anew.

- Words may be abbreviated as long as they fit one word only: `sh cr pki ser`.
- `?` at the end of a command shows what may stand there: `tokenca crypto pki server mycs '?'`.
- `{a | b}` is one of these, `[a]` may be left out, groups in brackets beside each other come in any
  order, `<hours:1-336>` is a number in this range, `<dn...>` is the rest of the line.
- `crypto ca` is accepted for `crypto pki`.
- `no` before a configuration line takes it back, `default` sets it to its default.
- `tokenca` exits with 0 when the command is done, 1 when it was refused or failed, with `% …` on standard
  error, and 2 when it is no command.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_show_what_can_be_chosen() {
        let mut text = String::new();
        let help = [("grant", "Grant requests"), ("all", "All"), ("<ids>", "ReqID")];
        entry(&mut text, "crypto pki/ca grant {all | <ids>}", Some("grant"), "Grants", &help);
        assert_eq!(
            text,
            "\n#### `crypto pki grant {all | <ids>}`\n\nGrants.\nTaken back by `no grant`.\n\n- `all`: All\n\
             - `<ids>`: ReqID\n"
        );
        assert_eq!(plain("ca/pki x [y {a | b/c}]"), "ca x [y {a | b}]");
    }
}
