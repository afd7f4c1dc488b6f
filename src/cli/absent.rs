//! Exec commands of IOS that are not here: refused with the reason.

use std::sync::LazyLock;

use crate::config::grammar::{Problem, Row, Table, Token};

/// Commands of IOS, and why they are not here.
struct Absent {
    words: &'static str,
    why: Why,
}

enum Why {
    /// A later version has it.
    Later,
    /// It is a router's.
    Router,
    /// The host does it, so.
    Host(&'static str),
}

/// `problem`, which is what this program finds wrong with the words, or why the command is not here.
pub fn explained(words: &[Token<'_>], problem: Problem) -> Problem {
    let Problem::Invalid { column, .. } = problem else { return problem };
    let Ok(found) = ABSENT.find(words, |_| true) else { return problem };
    let word = words.iter().find(|word| word.column == column).map_or("", |word| word.text);
    let reason = match found.row.why {
        Why::Later => format!("`{word}` is not in this version"),
        Why::Router => {
            let command: Vec<_> = found.args.words().collect();
            format!("`{}` is a command of a router", command.join(" "))
        }
        Why::Host(how) => how.to_owned(),
    };
    Problem::Refused { column: Some(column), reason }
}

impl Row for Absent {
    fn notations(&self) -> Vec<&'static str> {
        vec![self.words]
    }

    fn help(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }
}

static ABSENT: LazyLock<Table<Absent>> = LazyLock::new(|| Table::new(ROWS));

const ROWS: &[Absent] = &[
    later("crypto pki/ca trustpool <rest...>"),
    later("show crypto pki/ca {benchmarks | counters | session | trustpool} [<rest...>]"),
    router("clear crypto {ikev2 | ipsec | isakmp | sa | session} [<rest...>]"),
    router("debug crypto {engine | ikev2 | ipsec | isakmp} [<rest...>]"),
    router("show crypto {engine | ikev2 | ipsec | isakmp | map | session} [<rest...>]"),
    Absent {
        words: "reload [<rest...>]",
        why: Why::Host("the host starts it anew: `systemctl restart tokenca`"),
    },
    Absent { words: "clock set <rest...>", why: Why::Host("the host keeps the time: `timedatectl` sets it") },
];

const fn later(words: &'static str) -> Absent {
    Absent { words, why: Why::Later }
}

const fn router(words: &'static str) -> Absent {
    Absent { words, why: Why::Router }
}

#[cfg(test)]
mod tests {
    use crate::cli::find;

    #[test]
    fn what_is_not_here_says_why() {
        for (line, why) in [
            ("crypto pki trustpool import", "`trustpool` is not in this version"),
            ("show crypto pki trustpool", "`trustpool` is not in this version"),
            ("show crypto isa sa", "`show crypto isakmp` is a command of a router"),
            ("reload", "systemctl restart"),
        ] {
            let said = find(line).err().unwrap().to_string();
            assert!(said.contains(why), "{line}: {said}");
        }
        assert!(find("show crypto pki nonsense").err().unwrap().to_string().contains("Invalid input"));
    }
}
