//! `show crypto pki token`.

use std::fmt;

use serde::Serialize;

use super::{Command, Output, Run};
use crate::config;
use crate::node::TokenReport;

pub const COMMANDS: &[Command] = &[Command {
    words: "show crypto pki/ca token [<device>]",
    about: "Shows tokens: whether they can be used, what they are, what they have done since the start",
    help: &[("token", "Tokens")],
    run: Run::OnNode(|node, call| {
        let name = match call.args.get("device") {
            Some(_) => Some(config::device(call.args, "device").map_err(|refusal| call.refused(refusal))?),
            None => None,
        };
        Ok(Output::of(Tokens(node.tokens(name.as_deref())?)))
    }),
}];

#[derive(Serialize)]
struct Tokens(Vec<TokenReport>);

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            writeln!(f, "% No token is configured.")?;
        }
        self.0.iter().try_for_each(|token| one(f, token))
    }
}

fn one(f: &mut fmt::Formatter<'_>, token: &TokenReport) -> fmt::Result {
    writeln!(f, "Token {}:", token.name)?;
    match &token.error {
        None => writeln!(f, "  Status: available")?,
        Some(error) => {
            writeln!(f, "  Status: not available\n  Error: {}", error.replace('\n', "\n    "))?;
        }
    }
    let profile = profile(token);
    let texts = [
        ("Label", &token.label),
        ("Manufacturer", &token.manufacturer),
        ("Model", &token.model),
        ("Serial number", &token.serial),
        ("Firmware", &token.firmware),
        ("Profile", &profile),
        ("Module", &token.module),
        ("User PIN", &token.pin),
    ];
    for (name, text) in texts {
        if !text.is_empty() {
            writeln!(f, "  {name}: {text}")?;
        }
    }
    for (name, lines) in [("Written from", &token.sources), ("Limit", &token.cannot)] {
        lines.iter().try_for_each(|line| writeln!(f, "  {name}: {line}"))?;
    }
    if token.error.is_none() {
        writeln!(f, "  Sessions: {}", token.sessions)?;
        writeln!(f, "  Key pairs: {}", token.keys)?;
    }
    writeln!(
        f,
        "  Operations: {} signatures, {} decryptions, {} errors",
        token.signatures, token.decryptions, token.errors
    )
}

/// The profile's name, and what it rests on.
fn profile(token: &TokenReport) -> String {
    match (&*token.family, &*token.tested) {
        ("", "") => token.profile.clone(),
        (family, "") if token.sources.is_empty() => format!("{} ({family})", token.profile),
        (family, "") => format!("{} ({family}, from documentation alone)", token.profile),
        ("", tested) => format!("{} (tested with {tested})", token.profile),
        (family, tested) => format!("{} ({family}, tested with {tested})", token.profile),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_gone_shows_why() {
        let token = TokenReport {
            name: "usbtoken0".into(),
            error: Some("no token labelled x".into()),
            profile: "softhsm2".into(),
            ..TokenReport::default()
        };
        assert_eq!(
            Tokens(vec![token]).to_string(),
            "Token usbtoken0:\n  Status: not available\n  Error: no token labelled x\n  Profile: softhsm2\n  \
             Operations: 0 signatures, 0 decryptions, 0 errors\n"
        );
    }
    #[test]
    fn a_profile_shows_what_it_rests_on() {
        let luna = TokenReport {
            profile: "luna".into(),
            family: "Thales Luna".into(),
            sources: vec!["its manual".into()],
            cannot: vec!["Keys do not leave".into()],
            ..TokenReport::default()
        };
        let shown = Tokens(vec![luna.clone()]).to_string();
        let lines = "  Profile: luna (Thales Luna, from documentation alone)\n  Written from: its manual\n  \
                     Limit: Keys do not leave\n";
        assert!(shown.contains(lines), "{shown}");
        let tested = TokenReport { tested: "7.8".into(), sources: Vec::new(), ..luna };
        assert!(Tokens(vec![tested]).to_string().contains("Profile: luna (Thales Luna, tested with 7.8)\n"));
    }
}
