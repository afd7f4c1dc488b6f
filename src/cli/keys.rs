//! `crypto key …` and `show crypto key mypubkey`.

use std::fmt;

use serde::Serialize;

use super::command::groups;
use super::{Call, Command, CommandError, Output, Run};
use crate::config::{check_label, device};
use crate::node::{KeyReport, Node};
use crate::pki::{Curve, KeyKind};

pub const COMMANDS: &[Command] = &[
    Command {
        words: "crypto key generate rsa [general-keys] [label <label>] [modulus <bits:1024-8192>] [on <device>]",
        about: "Generates an RSA key pair on a token; 2048 bits and the name of this host by default",
        help: &[
            ("generate", "Generate a key pair on a token"),
            ("rsa", "RSA"),
            ("general-keys", "For signatures and decryption"),
            ("label", "Name of the key"),
            ("modulus", "Size of the modulus"),
            ("<bits>", "Bits"),
        ],
        run: Run::OnNode(|node, call| {
            let bits = call.args.number("bits").unwrap_or(2048);
            let label = key_label(node, call)?;
            // As the server of this name would: its `crypto legacy` counts.
            let legacy = node.configuration().servers.get(&label).is_some_and(|s| s.legacy().rsa_1024);
            if bits < 2048 && !legacy {
                return Err(call.refuse(
                    "bits",
                    format!(
                        "RSA keys below 2048 bits are weak; to use one, type `crypto legacy rsa-1024` in \
                         `crypto pki server {label}` first"
                    ),
                ));
            }
            let bits = usize::try_from(bits).expect("8192 at most");
            call.say(&format!(
                "The name for the keys will be: {label}\n\
                 % The key modulus size is {bits} bits\n\
                 % Generating {bits} bit RSA keys, keys will be on-token, non-exportable...\n"
            ))?;
            generate(node, call, &label, KeyKind::Rsa { bits })
        }),
    },
    Command {
        words: "crypto key generate ec keysize {256 | 384 | 521} [label <label>] [on <device>]",
        about: "Generates an EC key pair on a token",
        help: &[
            ("generate", "Generate a key pair on a token"),
            ("ec", "Elliptic curve"),
            ("keysize", "Which curve"),
            ("256", "P-256"),
            ("384", "P-384"),
            ("521", "P-521"),
            ("label", "Name of the key"),
        ],
        run: Run::OnNode(|node, call| {
            let (curve, bits) = match () {
                () if call.args.has("384") => (Curve::P384, 384),
                () if call.args.has("521") => (Curve::P521, 521),
                () => (Curve::P256, 256),
            };
            let label = key_label(node, call)?;
            call.say(&format!(
                "The name for the keys will be: {label}\n\
                 % Generating {bits} bit EC keys, keys will be on-token, non-exportable...\n"
            ))?;
            generate(node, call, &label, KeyKind::Ec(curve))
        }),
    },
    Command {
        words: "crypto key zeroize {rsa | ec} <label>",
        about: "Deletes a key pair on its token, after a question",
        help: &[("zeroize", "Delete a key pair"), ("rsa", "RSA"), ("ec", "Elliptic curve")],
        run: Run::OnNode(zeroize),
    },
    Command {
        words: "show crypto key mypubkey {rsa | ec | all} [<label>]",
        about: "Shows the public keys of the key pairs on the tokens",
        help: &[
            ("mypubkey", "Public keys of our key pairs"),
            ("rsa", "RSA"),
            ("ec", "Elliptic curve"),
            ("all", "Both"),
        ],
        run: Run::OnNode(|node, call| {
            let mut keys = node.keys()?;
            keys.retain(|key| is_wanted(key, call));
            if let Some(label) = call.args.get("label") {
                keys.retain(|key| key.name == label);
                if keys.is_empty() {
                    return Err(CommandError::Refused(format!("there is no key \"{label}\"")));
                }
            }
            Ok(Output::of(Keys(keys)))
        }),
    },
];

fn key_label(node: &Node, call: &Call<'_>) -> Result<String, CommandError> {
    match call.args.get("label") {
        Some(label) => {
            check_label(label).map_err(|reason| call.refuse("label", reason))?;
            Ok(label.to_owned())
        }
        None => Ok(node.configuration().fqdn()),
    }
}

fn generate(node: &Node, call: &mut Call<'_>, label: &str, kind: KeyKind) -> Result<Output, CommandError> {
    let token = match call.args.get("device") {
        Some(_) => Some(device(call.args, "device").map_err(|refusal| call.refused(refusal))?),
        None => None,
    };
    let key = node.generate_key(token.as_deref(), label, kind)?;
    Ok(Output::of(Generated(key)))
}

fn zeroize(node: &Node, call: &mut Call<'_>) -> Result<Output, CommandError> {
    let label = call.args.text("label").to_owned();
    let keys = node.keys()?;
    let Some(key) = keys.into_iter().find(|key| key.name == label && is_wanted(key, call)) else {
        return Err(CommandError::Refused(format!("there is no such key \"{label}\"")));
    };
    call.confirm(&format!(
        "% Keys to be removed are named '{label}', on token {}.\n\
         % All certificates of these keys become useless.\n\
         Do you really want to remove these keys? [yes/no]: ",
        key.token
    ))?;
    node.zeroize_key(&label)?;
    Ok(Output::of(Removed { removed: label, token: key.token }))
}

fn is_wanted(key: &KeyReport, call: &Call<'_>) -> bool {
    let kind = |word: &str, kind: &str| !call.args.has(word) || key.kind.starts_with(kind);
    kind("rsa", "RSA") && kind("ec", "EC")
}

#[derive(Serialize)]
#[serde(transparent)]
struct Generated(KeyReport);

impl fmt::Display for Generated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[OK]\n")
    }
}

#[derive(Serialize)]
struct Removed {
    removed: String,
    token: String,
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "% Keys '{}' were removed from token {}.", self.removed, self.token)
    }
}

#[derive(Serialize)]
struct Keys(Vec<KeyReport>);

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            writeln!(f, "% No key pair was found.")?;
        }
        for key in &self.0 {
            writeln!(f, "Key name: {}", key.name)?;
            writeln!(f, "Key type: {}", key.kind)?;
            writeln!(f, " Storage Device: {}:", key.token)?;
            writeln!(f, " Usage: {}", key.usage)?;
            writeln!(f, " Key is {}exportable.", if key.exportable { "" } else { "not " })?;
            writeln!(f, " Key Data:")?;
            // Eight groups of eight digits a line.
            for line in key.public_key.as_bytes().chunks(64) {
                writeln!(f, "  {}", groups(&String::from_utf8_lossy(line)))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_as_ios_does() {
        let key = KeyReport {
            name: "mycs".into(),
            kind: "RSA 2048".into(),
            usage: "General Purpose Key".into(),
            exportable: false,
            token: "usbtoken0".into(),
            public_key: "30819f300d06092a864886f70d010101050003818d0030818902818100b88f706bc7".into(),
        };
        assert_eq!(
            Keys(vec![key]).to_string(),
            "Key name: mycs\nKey type: RSA 2048\n Storage Device: usbtoken0:\n Usage: General Purpose Key\n \
             Key is not exportable.\n Key Data:\n  30819F30 0D06092A 864886F7 0D010101 05000381 8D003081 \
             89028181 00B88F70\n  6BC7\n"
        );
    }
}
