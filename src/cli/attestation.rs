//! `show crypto pki token NAME attestation`.

use std::fmt;

use serde::Serialize;

use super::{Command, Output, Run};
use crate::config;
use crate::node::{AttestationReport, DeviceWord, KeyWord, ModuleWord};

pub const COMMANDS: &[Command] = &[Command {
    words: "show crypto pki/ca token <device> attestation [<label>]",
    about: "Shows what speaks for the keys on a token, or for one: what its module says of where they were made; and \
            where the device itself attests that, what it says, whether that holds, and the certificates in PEM, for \
            an auditor to check",
    help: &[
        ("token", "Tokens"),
        ("attestation", "What speaks for the keys on it"),
        ("<label>", "Label of a key; without it all"),
    ],
    run: Run::OnNode(|node, call| {
        let token = config::device(call.args, "device").map_err(|refusal| call.refused(refusal))?;
        Ok(Output::of(Shown(node.attestations(&token, call.args.get("label"))?)))
    }),
}];

#[derive(Serialize)]
#[serde(transparent)]
struct Shown(AttestationReport);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = &self.0;
        writeln!(f, "Token {}:", report.token)?;
        if report.keys.is_empty() {
            writeln!(f, "  Key pairs: 0")?;
        }
        report.keys.iter().try_for_each(|word| key(f, word, report.attests))?;
        if !report.attests {
            writeln!(f, "% No attestation: tokens of profile {} show none.", report.profile)?;
        }
        writeln!(f, "% What the module says is the word of a program on this host.")?;
        let mut printed: Vec<&[u8]> = Vec::new();
        for (word, device) in report.keys.iter().filter_map(|word| Some((word, word.device.as_ref()?))) {
            if printed.is_empty() {
                writeln!(f, "% What the device says is as good as the root that its certificates lead to:")?;
            }
            writeln!(f, "% the attestation of {}", word.key.label)?;
            write!(f, "{}", device.certificate)?;
            for issuer in &device.chain {
                // One key of the device attests all others.
                if !printed.contains(&&issuer.der[..]) {
                    write!(f, "% whose issuer is\n{issuer}")?;
                }
                printed.push(&issuer.der);
            }
            printed.push(&device.certificate.der);
        }
        Ok(())
    }
}

fn key(f: &mut fmt::Formatter<'_>, word: &KeyWord, attests: bool) -> fmt::Result {
    let key = &word.key;
    writeln!(f, "  Key {}: {}, {}", key.label, key.kind, key.usage)?;
    writeln!(f, "    The module says: {}", module(&key.module))?;
    match &word.device {
        Some(word) => device(f, word),
        None if attests => writeln!(f, "    The device says: nothing"),
        None => Ok(()),
    }
}

fn module(word: &ModuleWord) -> String {
    let made = word.local.map(|local| if local { "made on the token" } else { "not made on the token" });
    // What holds now, and whether it always has.
    let sensitive = match (word.sensitive, word.always_sensitive) {
        (Some(false), _) => Some("can be read"),
        (_, Some(true)) => Some("could never be read"),
        (_, Some(false)) => Some("could be read before"),
        (now, None) => now.map(|_| "cannot be read"),
    };
    let extractable = match (word.extractable, word.never_extractable) {
        (Some(true), _) => Some("can leave"),
        (_, Some(true)) => Some("could never leave"),
        (_, Some(false)) => Some("could leave before"),
        (now, None) => now.map(|_| "cannot leave"),
    };
    let said = [made, sensitive, extractable].into_iter().flatten().map(str::to_owned);
    let how = word.mechanism.iter().map(|mechanism| format!("by {mechanism}"));
    let all: Vec<_> = said.chain(how).collect();
    if all.is_empty() { "nothing".into() } else { all.join("; ") }
}

fn device(f: &mut fmt::Formatter<'_>, word: &DeviceWord) -> fmt::Result {
    match word.doubts.is_empty() {
        true => writeln!(
            f,
            "    The device says: made on it, with this public key; signed by the key that attests"
        )?,
        false => writeln!(f, "    The device says: nothing that holds")?,
    }
    word.doubts.iter().try_for_each(|doubt| writeln!(f, "      % {doubt}"))?;
    let serial = word.serial.map(|serial| serial.to_string());
    let fips = word.fips.then(|| "FIPS 140".to_owned());
    for (name, text) in [
        ("Firmware", &word.firmware),
        ("Serial number", &serial),
        ("PIN", &word.pin_policy),
        ("Touch", &word.touch_policy),
        ("Form", &word.form_factor),
        ("Series", &fips),
    ] {
        text.iter().try_for_each(|text| writeln!(f, "      {name}: {text}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::TokenKeyRow;
    use crate::pki::KeyKind;
    use crate::token::KeyUsage;

    #[test]
    fn what_does_not_hold_is_shown() {
        let module = ModuleWord {
            local: Some(false),
            sensitive: Some(true),
            always_sensitive: None,
            extractable: Some(true),
            never_extractable: Some(false),
            mechanism: None,
        };
        let device = DeviceWord {
            doubts: vec!["it is about another key".into()],
            firmware: None,
            serial: Some(7),
            pin_policy: None,
            touch_policy: None,
            form_factor: None,
            fips: true,
            certificate: crate::node::Printed { der: vec![1], pem: true },
            chain: Vec::new(),
        };
        let key = TokenKeyRow {
            label: "k".into(),
            kind: KeyKind::Rsa { bits: 2048 },
            usage: KeyUsage::SIGNATURE,
            module,
        };
        let keys = vec![KeyWord { key, device: Some(device) }];
        let report = AttestationReport { token: "y".into(), profile: "p".into(), attests: true, keys };
        let shown = Shown(report).to_string();
        let expected = "Token y:\n  Key k: RSA 2048, Signature Key\n    \
                        The module says: not made on the token; cannot be read; can leave\n    \
                        The device says: nothing that holds\n      % it is about another key\n      \
                        Serial number: 7\n      Series: FIPS 140\n";
        assert!(shown.starts_with(expected), "{shown}");
    }
}
