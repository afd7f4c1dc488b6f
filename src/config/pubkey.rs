//! `crypto key pubkey-chain rsa`: RSA public keys of peers, typed by hand.

use std::fmt;
use std::net::IpAddr;
use std::sync::LazyLock;

use crate::pki::{KeyKind, PublicKey};

use super::grammar::{Args, Refusal};
use super::hex;
use super::line::{Line, Lines, Verb};
use super::mode::Mode;
use super::{Configuration, Editor};

/// Which key: whose, and for what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerKeyId {
    /// Whose.
    pub peer: Peer,
    /// For what.
    pub usage: PeerKeyUsage,
}

/// Whose key it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// `named-key`: that of a host.
    Named(String),
    /// `addressed-key`: that of an address.
    Addressed(IpAddr),
}

/// What a key is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerKeyUsage {
    /// Everything.
    #[default]
    General,
    /// Encryption.
    Encryption,
    /// Signatures.
    Signature,
}

/// A public key of a peer, or what is known of it so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerKey {
    /// `address`.
    pub address: Option<IpAddr>,
    /// `key-string`: an RSA key.
    pub key: Option<PublicKey>,
}

/// The key that was typed.
pub(super) fn take(configuration: &mut Configuration, id: &PeerKeyId, digits: &str) -> Result<(), Refusal> {
    let key = hex::octets(digits).and_then(|der| PublicKey::from_spki_der(&der).ok());
    let key = key.filter(|key| matches!(key.kind(), KeyKind::Rsa { .. }));
    let key = key.ok_or("these hex digits are not an RSA SubjectPublicKeyInfo; type `key-string` again")?;
    configuration.public_keys.entry(id.clone()).or_default().key = Some(key);
    Ok(())
}

/// Writes the section, when there are keys.
pub(super) struct Chain<'c>(pub &'c Configuration);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.public_keys.is_empty() {
            return Ok(());
        }
        writeln!(f, "crypto key pubkey-chain rsa")?;
        for (PeerKeyId { peer, usage }, key) in &self.0.public_keys {
            let usage = match usage {
                PeerKeyUsage::General => "",
                PeerKeyUsage::Encryption => " encryption",
                PeerKeyUsage::Signature => " signature",
            };
            match peer {
                Peer::Named(name) => writeln!(f, " named-key {name}{usage}")?,
                Peer::Addressed(address) => writeln!(f, " addressed-key {address}{usage}")?,
            }
            key.address.iter().try_for_each(|address| writeln!(f, "  address {address}"))?;
            if let Some(key) = &key.key {
                writeln!(f, "  key-string\n{}  quit", hex::lines(key.spki_der()))?;
            }
        }
        Ok(())
    }
}

/// The lines of the chain.
pub static CHAIN: LazyLock<Lines<Editor>> = LazyLock::new(|| Lines::new(CHAIN_LINES, []));

/// The lines of a key.
pub static LINES: LazyLock<Lines<Editor>> = LazyLock::new(|| Lines::new(KEY_LINES, []));

const CHAIN_LINES: &[Line<Editor>] = &[
    Line {
        words: "named-key <name> [encryption | signature]",
        no: Some("named-key <name>"),
        about: "Configures the public key of a host; `no` deletes it, of every usage unless one is named",
        help: &[
            ("named-key", "Key of a host"),
            ("<name>", "Name of the host"),
            ("encryption", "Its encryption key"),
            ("signature", "Its signature key"),
        ],
        run: |editor, verb, args| {
            let name = args.text("name");
            super::check_label(name).map_err(|reason| args.refuse("name", reason))?;
            open(editor, verb, args, Peer::Named(name.to_owned()), "name")
        },
    },
    Line {
        words: "addressed-key <address> [encryption | signature]",
        no: Some("addressed-key <address>"),
        about: "Configures the public key of an address; `no` deletes it, of every usage unless one is named",
        help: &[
            ("addressed-key", "Key of an address"),
            ("<address>", "IPv4 or IPv6 address"),
            ("encryption", "Its encryption key"),
            ("signature", "Its signature key"),
        ],
        run: |editor, verb, args| {
            let peer = Peer::Addressed(address(args)?);
            open(editor, verb, args, peer, "address")
        },
    },
];

const KEY_LINES: &[Line<Editor>] = &[
    Line {
        words: "address <address>",
        no: Some("address"),
        about: "Notes the address of the host",
        help: &[("address", "Address of the host"), ("<address>", "IPv4 or IPv6 address")],
        run: |editor, verb, args| {
            let address = if verb == Verb::Set { Some(address(args)?) } else { None };
            key(editor)?.1.address = address;
            Ok(())
        },
    },
    Line {
        words: "key-string",
        no: Some("key-string"),
        about: "Takes the key, an RSA SubjectPublicKeyInfo: lines of hex digits, `quit` after the last",
        help: &[("key-string", "The key, in hex")],
        run: |editor, verb, _| {
            let (id, key) = key(editor)?;
            match verb {
                Verb::Set => editor.type_hex(Mode::KeyString(id)),
                Verb::No | Verb::Default => key.key = None,
            }
            Ok(())
        },
    },
];

fn open(editor: &mut Editor, verb: Verb, args: &Args, peer: Peer, value: &str) -> Result<(), Refusal> {
    let usage = match () {
        () if args.has("encryption") => Some(PeerKeyUsage::Encryption),
        () if args.has("signature") => Some(PeerKeyUsage::Signature),
        () => None,
    };
    let keys = &mut editor.configuration.public_keys;
    if verb == Verb::Set {
        let id = PeerKeyId { peer, usage: usage.unwrap_or_default() };
        keys.entry(id.clone()).or_default();
        editor.mode = Mode::Pubkey(id);
        return Ok(());
    }
    let before = keys.len();
    keys.retain(|id, _| id.peer != peer || usage.is_some_and(|usage| usage != id.usage));
    if keys.len() == before {
        return Err(args.refuse(value, "there is no such key"));
    }
    Ok(())
}

fn key(editor: &mut Editor) -> Result<(PeerKeyId, &mut PeerKey), Refusal> {
    let Mode::Pubkey(id) = &editor.mode else { return Err("this line belongs to a key".into()) };
    let key = editor.configuration.public_keys.get_mut(id).ok_or("the key is gone")?;
    Ok((id.clone(), key))
}

fn address(args: &Args) -> Result<IpAddr, Refusal> {
    let address = args.text("address").parse();
    address.map_err(|_| args.refuse("address", "this is not an IPv4 or IPv6 address"))
}
