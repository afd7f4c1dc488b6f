//! What is being made for a rollover: written down before a key is generated, so that a crash leaves none behind
//! and none is made twice.

use serde::{Deserialize, Serialize};

use crate::node::NodeError;
use crate::pki::Serial;
use crate::store::{Authority, Store};
use crate::token::Token;

/// The next key and certificate of a root, in the making.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Name of the token in the configuration.
    pub token: String,
    /// Label of the key on it.
    pub key_label: String,
    /// Serial number of the certificate, once it was given out.
    serial: Option<String>,
}

impl Plan {
    /// One for the next key of `server`, which acts as `active` now, on this token: under a label that neither
    /// it nor the token has had.
    pub fn new(active: &Authority, all: &[Authority], token: &Token) -> Result<Self, NodeError> {
        let (base, generation) = generation(&active.key_label);
        let mut number = generation;
        loop {
            number += 1;
            let key_label = format!("{base}#{number}");
            if all.iter().all(|authority| authority.key_label != key_label)
                && token.find(&key_label)?.is_none()
            {
                return Ok(Self { token: token.name().to_owned(), key_label, serial: None });
            }
        }
    }

    /// The one on record.
    pub fn read(store: &dyn Store, server: &str) -> Result<Option<Self>, NodeError> {
        let Some(text) = store.mark(&scope(server), PLAN)? else { return Ok(None) };
        let damaged =
            |error| NodeError::Refused(format!("the database is damaged: a plan of rollover: {error}"));
        Ok(Some(serde_json::from_str(&text).map_err(damaged)?))
    }

    /// Puts it on record.
    pub fn write(&self, store: &dyn Store, server: &str) -> Result<(), NodeError> {
        let text = serde_json::to_string(self).expect("three strings are JSON");
        Ok(store.set_mark(&scope(server), PLAN, Some(&text))?)
    }

    /// Takes it off the record: it is done, or given up.
    pub fn clear(store: &dyn Store, server: &str) -> Result<(), NodeError> {
        Ok(store.set_mark(&scope(server), PLAN, None)?)
    }

    /// The serial number that was given out for it.
    pub fn serial(&self) -> Option<Serial> {
        self.serial.as_ref()?.parse().ok()
    }

    /// The same with this serial number.
    pub fn with_serial(&self, serial: &Serial) -> Self {
        Self { serial: Some(serial.to_string()), ..self.clone() }
    }
}

/// The name of a key and its generation: `mycs` is the first of `mycs`, `mycs#2` the second.
pub fn generation(key_label: &str) -> (&str, u32) {
    let numbered = key_label.rsplit_once('#').and_then(|(base, number)| Some((base, number.parse().ok()?)));
    numbered.filter(|(base, number)| !base.is_empty() && *number > 1).unwrap_or((key_label, 1))
}

/// Of the marks of a server.
pub fn scope(server: &str) -> String {
    format!("server {server}")
}

/// Mark of a server: its plan.
const PLAN: &str = "rollover plan";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_are_counted_in_labels() {
        for (label, expected) in [
            ("mycs", ("mycs", 1)),
            ("mycs#2", ("mycs", 2)),
            ("my#cs#17", ("my#cs", 17)),
            ("mycs#", ("mycs#", 1)),
            ("mycs#1", ("mycs#1", 1)),
            ("#2", ("#2", 1)),
            ("mycs#two", ("mycs#two", 1)),
        ] {
            assert_eq!(generation(label), expected, "{label}");
        }
    }
}
