//! Every kind of line, for the reference manual.

use super::grammar::Row;
use super::line::{Line, Lines};
use super::{chain, global, map, profile, pubkey, server, token, trustpoint};

/// A kind of line, for the reference.
pub struct ReferenceLine {
    /// Its syntax.
    pub words: &'static str,
    /// What is enough after `no`.
    pub no: Option<&'static str>,
    /// What it does.
    pub about: &'static str,
    /// Help for its words.
    pub help: &'static [(&'static str, &'static str)],
}

/// Every kind of line by the heading of its mode.
pub fn reference() -> Vec<(&'static str, Vec<ReferenceLine>)> {
    vec![
        ("Global lines", reference_of(&global::LINES)),
        ("crypto pki token", reference_of(&token::LINES)),
        ("crypto pki trustpoint", reference_of(&trustpoint::LINES)),
        ("crypto pki profile enrollment", reference_of(&profile::LINES)),
        ("crypto pki certificate map", reference_of(&map::LINES)),
        ("crypto pki server", reference_of(&server::LINES)),
        ("crypto pki certificate chain", reference_of(&chain::LINES)),
        ("crypto key pubkey-chain rsa", reference_of(&pubkey::CHAIN)),
        ("named-key and addressed-key", reference_of(&pubkey::LINES)),
    ]
}

fn reference_of<S>(lines: &Lines<S>) -> Vec<ReferenceLine> {
    let line = |line: &&'static Line<S>| ReferenceLine {
        words: line.words,
        no: line.no,
        about: line.about,
        help: line.help(),
    };
    lines.shown.rows().iter().map(line).collect()
}
