//! What `crypto pki token NAME test` shows.

use std::fmt;

use serde::Serialize;

use crate::token::{Attempt, KeyTrial, Trial};

/// What was found.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Tried(pub Trial);

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trial = &self.0;
        let info = &trial.info;
        writeln!(f, "Token {}:", trial.token)?;
        let profile = match trial.recognised {
            true => format!("{} (recognised)", trial.profile),
            false => format!("{} (configured)", trial.profile),
        };
        let sessions = match info.max_sessions {
            Some(most) => format!("{} more can be opened; {most} at most", trial.sessions),
            None => format!("{} more can be opened", trial.sessions),
        };
        for (name, text) in [
            ("Module", &trial.module),
            ("Library", &trial.library),
            ("PKCS#11", &trial.standard),
            ("Label", &info.label),
            ("Model", &info.model),
            ("Serial number", &info.serial),
            ("Firmware", &info.firmware),
            ("Profile", &profile),
            ("Login", &"logged in".to_owned()),
            ("Sessions", &sessions),
        ] {
            writeln!(f, "  {name}: {text}")?;
        }
        writeln!(f, "  Mechanisms: {}", trial.mechanisms.len())?;
        trial.mechanisms.iter().try_for_each(|mechanism| writeln!(f, "    {mechanism}"))?;
        trial.keys.iter().try_for_each(|key| self::key(f, key))?;
        for (name, all) in [("Keys from elsewhere", &trial.imports), ("Objects", &trial.storage)] {
            if !all.is_empty() {
                writeln!(f, "  {name}:")?;
            }
            attempts(f, all)?;
        }
        for label in &trial.left {
            writeln!(f, "% \"{label}\" could not be deleted and is still on the token.")?;
        }
        writeln!(f, "Result:")?;
        trial.verdict.iter().try_for_each(|sentence| writeln!(f, "  {sentence}"))?;
        if !trial.configuration.is_empty() {
            writeln!(f, "Configure:")?;
        }
        trial.configuration.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

fn key(f: &mut fmt::Formatter<'_>, key: &KeyTrial) -> fmt::Result {
    writeln!(f, "  {}:", key.key)?;
    attempts(f, key.generation.iter().chain(&key.signatures).chain(&key.decryptions))?;
    key.speed.iter().try_for_each(|speed| match speed.times {
        1 => writeln!(f, "    {}: {:.1} ms", speed.what, speed.median_ms),
        times => writeln!(
            f,
            "    {}: {:.1} per second, median {:.2} ms, of {times}",
            speed.what, speed.per_second, speed.median_ms
        ),
    })
}

fn attempts<'a>(f: &mut fmt::Formatter<'_>, attempts: impl IntoIterator<Item = &'a Attempt>) -> fmt::Result {
    attempts.into_iter().try_for_each(|attempt| {
        let by = attempt.by.as_ref().map_or(String::new(), |by| format!(" ({by})"));
        let result = attempt.error.as_deref().unwrap_or("yes");
        writeln!(f, "    {}{by}: {}", attempt.what, result.replace('\n', " "))
    })
}
