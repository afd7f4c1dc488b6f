//! `show crypto key pubkey-chain rsa`: public keys of peers, typed by hand (K8).

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

use super::command::groups;
use super::{Command, CommandError, Output, Run};
use crate::config::{Peer, PeerKey, PeerKeyId, PeerKeyUsage};
use crate::pki::hex;

pub const COMMANDS: &[Command] = &[Command {
    words: "show crypto key pubkey-chain rsa [name <name> | address <address>]",
    about: "Shows the RSA public keys of peers that are configured, or one of them whole",
    help: &[
        ("pubkey-chain", "Public keys of peers"),
        ("rsa", "RSA"),
        ("name", "Keys of one peer, by its name"),
        ("<name>", "Name, as it was typed"),
        ("address", "Keys of one peer, by its address"),
        ("<address>", "IPv4 or IPv6 address"),
    ],
    run: Run::OnNode(|node, call| {
        let configuration = node.configuration();
        let mut keys: Vec<_> = configuration.public_keys.iter().map(shown).collect();
        if let Some(name) = call.args.get("name") {
            keys.retain(|key| key.name.as_deref() == Some(name));
        }
        if let Some(typed) = call.args.get("address") {
            let address: IpAddr =
                typed.parse().map_err(|_| call.refuse("address", "this is no IP address"))?;
            keys.retain(|key| key.address == Some(address));
        }
        let whole = call.args.has("name") || call.args.has("address");
        match keys.is_empty() && whole {
            true => Err(CommandError::Refused("there is no such key".into())),
            false => Ok(Output::of(Keys { keys, whole })),
        }
    }),
}];

#[derive(Serialize)]
#[serde(transparent)]
struct Keys {
    keys: Vec<Key>,
    #[serde(skip)]
    whole: bool,
}

#[derive(Serialize)]
struct Key {
    name: Option<String>,
    address: Option<IpAddr>,
    usage: &'static str,
    /// SubjectPublicKeyInfo, hex; absent before it was typed.
    key: Option<String>,
}

fn shown((id, key): (&PeerKeyId, &PeerKey)) -> Key {
    let (name, address) = match &id.peer {
        Peer::Named(name) => (Some(name.clone()), key.address),
        Peer::Addressed(address) => (None, Some(*address)),
    };
    let usage = match id.usage {
        PeerKeyUsage::General => "General",
        PeerKeyUsage::Encryption => "Encrypt",
        PeerKeyUsage::Signature => "Signing",
    };
    Key { name, address, usage, key: key.key.as_ref().map(|key| hex(key.spki_der())) }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.whole {
            return self.keys.iter().try_for_each(|key| whole(f, key));
        }
        writeln!(f, "Codes: M - Manually Configured\n\nCode  Usage    IP-address       Name")?;
        self.keys.iter().try_for_each(|key| {
            let address = key.address.map(|address| address.to_string()).unwrap_or_default();
            let line = format!("M     {:<8} {address:<16} {}", key.usage, key.name.as_deref().unwrap_or(""));
            writeln!(f, "{}", line.trim_end())
        })
    }
}

fn whole(f: &mut fmt::Formatter<'_>, key: &Key) -> fmt::Result {
    key.name.iter().try_for_each(|name| writeln!(f, "Key name: {name}"))?;
    key.address.iter().try_for_each(|address| writeln!(f, "Key address: {address}"))?;
    let usage = match key.usage {
        "Encrypt" => "Encryption Key",
        "Signing" => "Signature Key",
        _ => "General Purpose Key",
    };
    writeln!(f, " Usage: {usage}\n Source: Manual\n Data:")?;
    let digits = key.key.as_deref().unwrap_or_default();
    // Eight groups of eight digits a line.
    digits
        .as_bytes()
        .chunks(64)
        .try_for_each(|line| writeln!(f, "  {}", groups(&String::from_utf8_lossy(line))))
}
