//! `crypto key …` and `show crypto key mypubkey`.

use std::fmt;

use serde::Serialize;

use super::command::groups;
use super::{Call, Command, CommandError, Output, Run};
use crate::config::{check_label, device};
use crate::node::{CertificatePlace, KeyReport, Node, Usage};
use crate::pki::{Curve, KeyKind, MlDsaSet, hex};

pub const COMMANDS: &[Command] = &[
    Command {
        words: "crypto key generate rsa [general-keys | usage-keys | signature | encryption] [label <label>] \
                [exportable] [modulus <bits:1024-8192>] [storage <storage>] [on <device>]",
        about: "Generates an RSA key pair on a token; 2048 bits, for every use, not exportable, and with the \
                name of this host by default; a pair for encryption is labelled NAME.encr",
        help: &[
            ("generate", "Generate a key pair on a token"),
            ("rsa", "RSA"),
            ("general-keys", "For signatures and decryption"),
            ("usage-keys", "Two key pairs, one for signatures and one for encryption"),
            ("signature", "For signatures alone"),
            ("encryption", "For encryption alone"),
            ("label", "Name of the key"),
            ("exportable", "May leave the token, encrypted"),
            ("modulus", "Size of the modulus"),
            ("<bits>", "Bits"),
            ("storage", "The same as `on`: a key is stored where it is generated"),
            ("<storage>", "Token, as in usbtoken0:"),
        ],
        run: Run::OnNode(generate_rsa),
    },
    Command {
        words: "crypto key generate ec keysize {256 | 384 | 521} [label <label>] [exportable] [on <device>]",
        about: "Generates an EC key pair on a token, for signatures; not exportable and with the name of this \
                host by default",
        help: &[
            ("generate", "Generate a key pair on a token"),
            ("ec", "Elliptic curve"),
            ("keysize", "Which curve"),
            ("256", "P-256"),
            ("384", "P-384"),
            ("521", "P-521"),
            ("label", "Name of the key"),
            ("exportable", "May leave the token, encrypted"),
        ],
        run: Run::OnNode(generate_ec),
    },
    Command {
        words: "crypto key generate mldsa {44 | 65 | 87} [label <label>] [on <device>]",
        about: "Generates an ML-DSA key pair (FIPS 204) on a token, for signatures that quantum computers do not \
                forge; never exportable, and with the name of this host by default",
        help: &[
            ("generate", "Generate a key pair on a token"),
            ("mldsa", "ML-DSA"),
            ("44", "ML-DSA-44"),
            ("65", "ML-DSA-65"),
            ("87", "ML-DSA-87"),
            ("label", "Name of the key"),
        ],
        run: Run::OnNode(generate_mldsa),
    },
    Command {
        words: "crypto key zeroize {rsa | ec | mldsa} [<label>]",
        about: "Deletes a key pair on its token, or all of a kind, and the certificates of trustpoints that \
                lose their key, after a question; not while a certificate server or HTTPS needs it",
        help: &[
            ("zeroize", "Delete key pairs"),
            ("rsa", "RSA"),
            ("ec", "Elliptic curve"),
            ("mldsa", "ML-DSA"),
        ],
        run: Run::OnNode(zeroize),
    },
    Command {
        words: "show crypto key mypubkey {rsa | ec | mldsa | all} [<label>]",
        about: "Shows the public keys of the key pairs on the tokens",
        help: &[
            ("mypubkey", "Public keys of our key pairs"),
            ("rsa", "RSA"),
            ("ec", "Elliptic curve"),
            ("mldsa", "ML-DSA"),
            ("all", "All of them"),
        ],
        run: Run::OnNode(|node, call| {
            let keys = wanted(node, call)?;
            if let (Some(label), true) = (call.args.get("label"), keys.is_empty()) {
                return Err(CommandError::Refused(format!("there is no key \"{label}\"")));
            }
            Ok(Output::of(Keys(keys)))
        }),
    },
];

fn generate_rsa(node: &Node, call: &mut Call<'_>) -> Result<Output, CommandError> {
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
    let (token, exportable) = (token(call)?, call.args.has("exportable"));
    let kind = KeyKind::Rsa { bits: usize::try_from(bits).expect("8192 at most") };
    let (usage, what) = match () {
        () if call.args.has("usage-keys") => (None, " signature and encryption"),
        () if call.args.has("signature") => (Some(Usage::Signature), " signature"),
        () if call.args.has("encryption") => (Some(Usage::Encryption), " encryption"),
        () => (Some(Usage::General), ""),
    };
    call.say(&format!(
        "The name for the keys will be: {label}\n\
         % The key modulus size is {bits} bits\n\
         % Generating {bits} bit RSA{what} keys, keys will be {}...\n",
        whereabouts(exportable)
    ))?;
    let token = token.as_deref();
    let generated = match usage {
        Some(usage) => Generated::One(Box::new(node.generate_key(token, &label, kind, usage, exportable)?)),
        None => Generated::Two(Box::new(node.generate_usage_keys(token, &label, kind, exportable)?)),
    };
    Ok(Output::of(generated))
}

fn generate_ec(node: &Node, call: &mut Call<'_>) -> Result<Output, CommandError> {
    let curve = match () {
        () if call.args.has("384") => Curve::P384,
        () if call.args.has("521") => Curve::P521,
        () => Curve::P256,
    };
    let label = key_label(node, call)?;
    let (token, exportable) = (token(call)?, call.args.has("exportable"));
    call.say(&format!(
        "The name for the keys will be: {label}\n\
         % Generating {} bit EC keys, keys will be {}...\n",
        curve.bits(),
        whereabouts(exportable)
    ))?;
    let kind = KeyKind::Ec(curve);
    let key = node.generate_key(token.as_deref(), &label, kind, Usage::General, exportable)?;
    Ok(Output::of(Generated::One(Box::new(key))))
}

fn generate_mldsa(node: &Node, call: &mut Call<'_>) -> Result<Output, CommandError> {
    let set = match () {
        () if call.args.has("44") => MlDsaSet::MlDsa44,
        () if call.args.has("87") => MlDsaSet::MlDsa87,
        () => MlDsaSet::MlDsa65,
    };
    let kind = KeyKind::MlDsa(set);
    let label = key_label(node, call)?;
    let token = token(call)?;
    call.say(&format!(
        "The name for the keys will be: {label}\n\
         % Generating {kind} keys, keys will be {}...\n",
        whereabouts(false)
    ))?;
    let key = node.generate_key(token.as_deref(), &label, kind, Usage::General, false)?;
    Ok(Output::of(Generated::One(Box::new(key))))
}

fn zeroize(node: &Node, call: &mut Call<'_>) -> Result<Output, CommandError> {
    let kind = match () {
        () if call.args.has("rsa") => "RSA",
        () if call.args.has("mldsa") => "ML-DSA",
        () => "EC",
    };
    let keys = wanted(node, call)?;
    let mut question = match (call.args.get("label"), keys.is_empty()) {
        (Some(label), true) => {
            return Err(CommandError::Refused(format!("there is no {kind} key \"{label}\"")));
        }
        (None, true) => return Err(CommandError::Refused(format!("there are no {kind} keys"))),
        (Some(_), false) => String::new(),
        (None, false) => format!("% All {kind} keys will be removed.\n"),
    };
    // Before anybody is asked.
    node.check_unneeded(&keys)?;
    for key in &keys {
        question += &format!("% Keys to be removed are named '{}', on token {}.\n", key.name, key.token);
    }
    question += "% All router certs issued using these keys will also be removed.\n";
    for key in &keys {
        for certificate in node.certificates_of(key)? {
            let place = match certificate.place {
                CertificatePlace::Own(trustpoint) => format!("of trustpoint {trustpoint}, will be removed"),
                CertificatePlace::Ca(trustpoint) => {
                    format!("of the CA of trustpoint {trustpoint}, loses its key")
                }
                CertificatePlace::Token => format!("on token {}, loses its key", key.token),
            };
            question +=
                &format!("% Certificate {} ({}), {place}.\n", certificate.serial, certificate.subject);
        }
    }
    call.confirm(&format!("{question}Do you really want to remove these keys? [yes/no]: "))?;
    node.zeroize_keys(&keys)?;
    let removed = keys.into_iter().map(|key| Removed { removed: key.name, token: key.token }).collect();
    Ok(Output::of(Zeroized(removed)))
}

fn key_label(node: &Node, call: &Call<'_>) -> Result<String, CommandError> {
    match call.args.get("label") {
        Some(label) => {
            check_label(label).map_err(|reason| call.refuse("label", reason))?;
            Ok(label.to_owned())
        }
        None => Ok(node.configuration().fqdn()),
    }
}

/// The token named by `on`, `storage` or both.
fn token(call: &Call<'_>) -> Result<Option<String>, CommandError> {
    let named = |name| match call.args.get(name) {
        Some(_) => device(call.args, name).map(Some).map_err(|refusal| call.refused(refusal)),
        None => Ok(None),
    };
    match (named("device")?, named("storage")?) {
        (Some(on), Some(storage)) if on != storage => {
            Err(call.refuse("storage", "a key is stored on the token that generates it; leave `storage` out"))
        }
        (on, storage) => Ok(on.or(storage)),
    }
}

/// The key pairs that a command means: all of a kind, or those of a name.
fn wanted(node: &Node, call: &Call<'_>) -> Result<Vec<KeyReport>, CommandError> {
    let mut keys = node.keys()?;
    keys.retain(|key| match key.kind {
        KeyKind::Rsa { .. } => !call.args.has("ec") && !call.args.has("mldsa"),
        KeyKind::Ec(_) => !call.args.has("rsa") && !call.args.has("mldsa"),
        KeyKind::MlDsa(_) => !call.args.has("rsa") && !call.args.has("ec"),
    });
    if let Some(label) = call.args.get("label") {
        keys.retain(|key| key.is_named(label));
    }
    Ok(keys)
}

fn whereabouts(exportable: bool) -> &'static str {
    if exportable { "exportable" } else { "on-token, non-exportable" }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Generated {
    One(Box<KeyReport>),
    Two(Box<[KeyReport; 2]>),
}

impl fmt::Display for Generated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[OK]\n")
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Zeroized(Vec<Removed>);

#[derive(Serialize)]
struct Removed {
    removed: String,
    token: String,
}

impl fmt::Display for Zeroized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut keys = self.0.iter();
        keys.try_for_each(|key| {
            writeln!(f, "% Keys '{}' were removed from token {}.", key.removed, key.token)
        })
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Keys(Vec<KeyReport>);

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            writeln!(f, "% No key pair was found.")?;
        }
        for key in &self.0 {
            if let Some(generated) = key.generated {
                writeln!(f, "% Key pair was generated at: {generated}")?;
            }
            writeln!(f, "Key name: {}", key.name)?;
            writeln!(f, "Key type: {}", key.kind)?;
            writeln!(f, " Storage Device: {}:", key.token)?;
            writeln!(f, " Usage: {}", key.usage)?;
            writeln!(f, " Key is {}exportable.", if key.exportable { "" } else { "not " })?;
            writeln!(f, " Key Data:")?;
            // Eight groups of eight digits a line.
            for line in hex(key.public_key.spki_der()).as_bytes().chunks(64) {
                writeln!(f, "  {}", groups(&String::from_utf8_lossy(line)))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{PublicKey, Time};
    use crate::token::KeyUsage;

    #[test]
    fn a_key_is_shown_as_ios_does() {
        // The modulus of the key that the IOS documents show, cut to 512 bits.
        let modulus = "b88f706bc78b6d67d6cff3135c1d918f360292ca44a0325ac1a8fd095e4865f8\
                       c95a2bbfd1c2b7e64a38049bbd7326207bd45619bab78bd075e78e00d2560cb1";
        let modulus: Vec<u8> =
            (0..64).map(|i| u8::from_str_radix(&modulus[2 * i..2 * i + 2], 16).unwrap()).collect();
        let public_key = PublicKey::from_rsa_parts(&modulus, &[1, 0, 1]).unwrap();
        let key = KeyReport {
            name: "mycs".into(),
            kind: public_key.kind(),
            usage: KeyUsage::general(public_key.kind()),
            exportable: false,
            token: "usbtoken0".into(),
            generated: Some(Time::from_unix(1_075_454_896)),
            public_key,
        };
        assert_eq!(
            Keys(vec![key]).to_string(),
            "% Key pair was generated at: 09:28:16 UTC Jan 30 2004\n\
             Key name: mycs\nKey type: RSA 512\n Storage Device: usbtoken0:\n Usage: General Purpose Key\n \
             Key is not exportable.\n Key Data:\n  \
             305C300D 06092A86 4886F70D 01010105 00034B00 30480241 00B88F70 6BC78B6D\n  \
             67D6CFF3 135C1D91 8F360292 CA44A032 5AC1A8FD 095E4865 F8C95A2B BFD1C2B7\n  \
             E64A3804 9BBD7326 207BD456 19BAB78B D075E78E 00D2560C B1020301 0001\n"
        );
    }
}
