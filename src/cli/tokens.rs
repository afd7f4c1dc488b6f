//! `crypto pki token NAME …` and `show crypto pki token`.

use std::fmt;

use secrecy::ExposeSecret;
use serde::Serialize;

use super::command::Messages;
use super::token_trial::Tried;
use super::{Call, Command, CommandError, Output, Run};
use crate::config::{self, PinSource};
use crate::node::{Node, TokenReport};

pub const COMMANDS: &[Command] = &[
    Command {
        words: "show crypto pki/ca token [<device>]",
        about: "Shows tokens: whether they can be used, what they are, what they have done and what has happened to \
                them since the start",
        help: &[("token", "Tokens")],
        run: Run::OnNode(|node, call| {
            let name = match call.args.get("device") {
                Some(_) => Some(device(call)?),
                None => None,
            };
            Ok(Output::of(Tokens(node.tokens(name.as_deref())?)))
        }),
    },
    Command {
        words: "crypto pki/ca token <device> login [<pin>]",
        about: "Logs in to a token, and finds out whether it works: with the PIN that is configured, or with this \
                one, which is used until `logout` or the end of the program; servers that waited for the token start",
        help: &[
            ("token", "A token"),
            ("login", "Log in, and use the token again"),
            ("<pin>", "PIN; without it the configured one, which is asked for where that is `prompt`"),
        ],
        run: Run::OnNode(log_in),
    },
    Command {
        words: "crypto pki/ca token <device> logout",
        about: "Logs out of a token: its keys cannot be used until `login`",
        help: &[("token", "A token"), ("logout", "Log out; nobody logs in until `login`")],
        run: Run::OnNode(|node, call| {
            node.log_out(&device(call)?)?;
            Ok(Output::of(Messages::from("Logout Successful".to_owned())))
        }),
    },
    Command {
        words: "crypto pki/ca token <device> change-pin",
        about: "Changes the user PIN of a token, which is asked for twice, and writes it to the file that it comes \
                from; where it comes from elsewhere, says what is to be changed by hand",
        help: &[("token", "A token"), ("change-pin", "Change the user PIN")],
        run: Run::OnNode(change_pin),
    },
    Command {
        words: "crypto pki/ca token <device> test [no-keygen]",
        about: "Tries what a token can do: keys of every kind, signatures, envelopes of SCEP, keys from elsewhere, \
                certificates and files, sessions, and how fast; nothing stays there; then says what will work and \
                what to configure around what does not. Takes seconds to minutes",
        help: &[
            ("token", "A token"),
            ("test", "Try what it can do"),
            ("no-keygen", "Make no keys: signatures by those of the certificate servers only"),
        ],
        run: Run::OnNode(|node, call| {
            let token = device(call)?;
            call.say("% Trying the token; this may take minutes...\n")?;
            Ok(Output::of(Tried(node.try_token(&token, !call.args.has("no-keygen"))?)))
        }),
    },
];

fn device(call: &Call<'_>) -> Result<String, CommandError> {
    config::device(call.args, "device").map_err(|refusal| call.refused(refusal))
}

fn log_in(node: &Node, call: &mut Call<'_>) -> Result<Output, CommandError> {
    let token = device(call)?;
    let pin = match call.args.get("pin") {
        Some(pin) => Some(pin.into()),
        // On this terminal, not on that of the server.
        None if source(node, &token) == Some(PinSource::Prompt) => {
            Some(call.ask_secret(&format!("PIN of token \"{token}\": "))?)
        }
        None if source(node, &token) == Some(PinSource::PinPad) => {
            call.say(&format!("% Type the PIN at the PIN pad of token \"{token}\" when it asks...\n"))?;
            None
        }
        None => None,
    };
    node.log_in(&token, pin)?;
    Ok(Output::of(Messages::from("Login Successful".to_owned())))
}

fn change_pin(node: &Node, call: &mut Call<'_>) -> Result<Output, CommandError> {
    let token = device(call)?;
    // Before anybody types two PINs in vain.
    if source(node, &token) == Some(PinSource::PinPad) {
        return Err(CommandError::Refused(
            "a PIN that is typed at a PIN pad is changed with the program of \
            the token's maker"
                .into(),
        ));
    }
    if let Some(error) = node.tokens(Some(&token))?.into_iter().find_map(|token| token.error) {
        return Err(CommandError::Refused(error));
    }
    let new = call.ask_secret("New PIN: ")?;
    let again = call.ask_secret("Re-enter new PIN: ")?;
    if new.expose_secret() != again.expose_secret() {
        return Err(CommandError::Refused("the PINs differ; nothing was changed".into()));
    }
    let kept = node.change_pin(&token, new)?;
    let changed = "PIN changed".to_owned();
    let where_it_is = match source(node, &token) {
        Some(source @ PinSource::File(_)) if kept => format!("% It is in {source} too."),
        Some(PinSource::Prompt) | None => "% It is asked for at the next start.".to_owned(),
        Some(source) => {
            format!("% Change it in {source} by hand before the next start: the old one is there.")
        }
    };
    Ok(Output::of(Messages { messages: vec![changed, where_it_is] }))
}

/// Where the PIN of a configured token comes from.
fn source(node: &Node, token: &str) -> Option<PinSource> {
    Some(node.configuration().tokens.remove(token)?.pin_source())
}

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
            let status = if token.logged_out { "logged out" } else { "not available" };
            writeln!(f, "  Status: {status}\n  Error: {}", error.replace('\n', "\n    "))?;
        }
    }
    let profile = profile(token);
    for (name, time) in [("Offline since", token.offline_since), ("Next try", token.next_try)] {
        time.iter().try_for_each(|time| writeln!(f, "  {name}: {time}"))?;
    }
    let texts = [
        ("Label", &token.label),
        ("Manufacturer", &token.manufacturer),
        ("Model", &token.model),
        ("Serial number", &token.serial),
        ("Firmware", &token.firmware),
        ("URI", &token.uri),
        ("Profile", &profile),
        ("Module", &token.module),
        ("User PIN", &token.pin),
        ("PIN source", &token.pin_source),
    ];
    for (name, text) in texts {
        if !text.is_empty() {
            writeln!(f, "  {name}: {text}")?;
        }
    }
    for (name, lines) in [("Written from", &token.sources), ("Limit", &token.cannot)] {
        lines.iter().try_for_each(|line| writeln!(f, "  {name}: {line}"))?;
    }
    if token.isolated {
        writeln!(f, "  Module process: its own")?;
    }
    if token.pin_pad {
        writeln!(f, "  PIN pad: yes")?;
    }
    if token.error.is_none() {
        write!(f, "  Sessions: {}", token.sessions)?;
        token.max_sessions.iter().try_for_each(|most| write!(f, " of {most}"))?;
        writeln!(f)?;
        for (name, free) in [("private", token.free_private), ("public", token.free_public)] {
            free.iter().try_for_each(|free| writeln!(f, "  Free for {name} objects: {free} octets"))?;
        }
        writeln!(f, "  Key pairs: {}", token.keys)?;
        token
            .key_pairs
            .iter()
            .try_for_each(|key| writeln!(f, "    {}: {}, {}", key.label, key.kind, key.usage))?;
    }
    writeln!(
        f,
        "  Operations: {} signatures, {} decryptions, {} errors",
        token.signatures, token.decryptions, token.errors
    )?;
    let troubles = [
        (token.waiting, "Requests that wait"),
        (token.outages, "Outages"),
        (token.new_sessions, "Recoveries by a new session"),
        (token.new_logins, "Recoveries by a new login"),
        (token.initialisations, "Recoveries by initialising the module"),
        (token.wrong_signatures, "Wrong signatures, thrown away"),
        (token.hangs, "Calls that did not return in time"),
    ];
    for (count, name) in troubles.iter().filter(|(count, _)| *count > 0) {
        writeln!(f, "  {name}: {count}")?;
    }
    if !token.events.is_empty() {
        writeln!(f, "  Events:")?;
    }
    token.events.iter().try_for_each(|event| writeln!(f, "    {}  {}", event.at, event.what))
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
