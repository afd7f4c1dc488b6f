//! `crypto key export` and `crypto key import`; files and pasted text that keys and certificates come from
//! and go to.

use std::collections::VecDeque;
use std::fmt;

use secrecy::SecretString;
use serde::Serialize;
use zeroize::Zeroizing;

use super::{Call, Command, CommandError, Output, Run};
use crate::config::{check_label, device};
use crate::files::FileUrl;
use crate::node::{KeyReport, Node, Usage};
use crate::pki::archive::pem::{self, Encryption};
use crate::pki::{Certificate, KeyKind, PrivateKey, PublicKey, chain};

pub const COMMANDS: &[Command] = &[
    Command {
        words: "crypto key export {rsa | ec} <label> pem {terminal | url <url>} {3des | aes | des} <passphrase>",
        about: "Takes an exportable key pair away: its public half, and its private half under a passphrase",
        help: &[
            ("export", "Take a key pair away"),
            ("rsa", "RSA"),
            ("ec", "Elliptic curve"),
            ("pem", "As PEM"),
            ("terminal", "Show it"),
            ("url", "Write files"),
            ("<url>", "Directory, or beginning of the names, as in nvram: or tftp://192.0.2.1/mycs"),
            ("3des", "Encrypt with triple DES, which every router reads"),
            ("aes", "Encrypt with AES-256"),
            ("des", "Refused: DES is broken within a day"),
            ("<passphrase>", "Passphrase, 8 characters at least"),
        ],
        run: Run::OnNode(export),
    },
    Command {
        words: "crypto key import {rsa | ec} <label> pem [usage-keys | signature | encryption] {terminal | url \
                <url>} [exportable] [on <device>] <passphrase>",
        about: "Brings a key pair to a token, which it cannot leave again unless it is exportable",
        help: &[
            ("import", "Bring a key pair"),
            ("rsa", "RSA"),
            ("ec", "Elliptic curve"),
            ("pem", "From PEM"),
            ("usage-keys", "Two key pairs, one for signatures and one for encryption"),
            ("signature", "For signatures alone"),
            ("encryption", "For encryption alone"),
            ("terminal", "Paste it"),
            ("url", "Read files"),
            ("<url>", "Directory, or beginning of the names, as in nvram: or tftp://192.0.2.1/mycs"),
            ("exportable", "May leave the token again, encrypted"),
            ("<passphrase>", "Passphrase of the private key"),
        ],
        run: Run::OnNode(|node, call| {
            let label = label(call)?;
            let usages = usages(&call.args.words().collect::<Vec<_>>());
            import(node, call, &label, usages)
        }),
    },
    Command {
        words: "crypto key import {rsa | ec} <label> on <device> url <url> <passphrase>",
        about: "The same; with `signature`, `encryption` or `usage-keys` in place of the name, the name is that of \
                the URL",
        help: &[
            ("import", "Bring a key pair"),
            ("rsa", "RSA"),
            ("ec", "Elliptic curve"),
            ("url", "Read files"),
            ("<url>", "Beginning of the names, as in nvram:mycs"),
            ("<passphrase>", "Passphrase of the private key"),
        ],
        run: Run::OnNode(|node, call| {
            let typed = call.args.text("label").to_owned();
            let usages = usages(&[typed.as_str()]);
            let label = match usages {
                [(Usage::General, _)] => label(call)?,
                _ => {
                    url(call)?.file_name().ok_or_else(|| call.refuse("url", "it has no name for the key"))?
                }
            };
            check_label(&label).map_err(|reason| call.refuse("url", reason))?;
            import(node, call, &label, usages)
        }),
    },
];

/// Which pairs are meant, and how IOS calls them.
type Usages = &'static [(Usage, &'static Words)];

/// What a pair of a usage is called.
pub(super) struct Words {
    /// In a file name.
    pub file: &'static str,
    /// In a prompt for a file: `Encryption `.
    short: &'static str,
    /// In a prompt for text.
    pub long: &'static str,
}

pub(super) const GENERAL: Words = Words { file: "", short: "", long: "General Purpose" };
pub(super) const SIGNATURE: Words = Words { file: "-sign", short: "Signature ", long: "SIGNATURE" };
pub(super) const ENCRYPTION: Words = Words { file: "-encr", short: "Encryption ", long: "ENCRYPTION" };

/// The pairs that these words of a line mean.
pub(super) fn usages(words: &[&str]) -> Usages {
    match () {
        () if words.contains(&"usage-keys") => {
            &[(Usage::Signature, &SIGNATURE), (Usage::Encryption, &ENCRYPTION)]
        }
        () if words.contains(&"signature") => &[(Usage::Signature, &SIGNATURE)],
        () if words.contains(&"encryption") => &[(Usage::Encryption, &ENCRYPTION)],
        () => &[(Usage::General, &GENERAL)],
    }
}

fn export(node: &Node, call: &mut Call<'_>) -> Result<Output, CommandError> {
    let label = call.args.text("label").to_owned();
    let (encryption, passphrase) = protection(call)?;
    let place = place(call, &label)?;
    let mut keys = node.keys()?;
    keys.retain(|key| key.is_named(&label) && is_kind(key.kind, call));
    if keys.is_empty() {
        return Err(CommandError::Refused(format!("there is no key \"{label}\"")));
    }
    // Both halves of a name, or neither.
    let found = keys.iter().map(|key| Ok((key, node.export_key(&key.name)?)));
    let found = found.collect::<Result<Vec<_>, CommandError>>()?;
    let mut exported = Exported::default();
    for (report, key) in found {
        let words = match (report.usage.sign, report.usage.decrypt) {
            (false, true) => &ENCRYPTION,
            (true, false) if keys.len() > 1 => &SIGNATURE,
            _ => &GENERAL,
        };
        exported.keys.push(report.name.clone());
        call.say(&format!("% Key name: {label}\n   Usage: {}\n", usage(words)))?;
        let public = pem::write_public_key(&report.public_key);
        let private = pem::write_private_key(&key, encryption, &passphrase);
        match &place {
            None => {
                call.say(&format!("   Key data:\n{public}{private}"))?;
                exported.pem.push(public + &private);
            }
            Some(place) => {
                call.say("Exporting public key...\n")?;
                exported.files.push(place.write(
                    node,
                    call,
                    &format!("{}.pub", words.file),
                    public.as_bytes(),
                )?);
                call.say("Exporting private key...\n")?;
                exported.files.push(place.write(
                    node,
                    call,
                    &format!("{}.prv", words.file),
                    private.as_bytes(),
                )?);
            }
        }
    }
    Ok(Output::of(exported))
}

fn usage(words: &Words) -> String {
    match words.long {
        "General Purpose" => "General Purpose Key".to_owned(),
        _ => format!("{}Key", words.short),
    }
}

fn import(node: &Node, call: &mut Call<'_>, label: &str, usages: Usages) -> Result<Output, CommandError> {
    let passphrase = SecretString::from(call.args.text("passphrase"));
    let trustpoint = node.configuration().trustpoints.remove(label);
    let on = on(call)?.or_else(|| trustpoint.and_then(|section| section.on));
    let place = place(call, label)?;
    let mut pasted = Pasted::default();
    let mut keys = Vec::new();
    for (usage, words) in usages {
        let (public, private) = match &place {
            None => {
                let what = format!("public {} key or certificate", words.long);
                let public = pasted.next(call, &what, BLANK)?;
                let private = pasted.next(call, &format!("encrypted private {} key", words.long), QUIT)?;
                (public, private)
            }
            Some(place) => {
                call.say(&format!("% Importing public {}key or certificate PEM file...\n", words.short))?;
                let public = place.read(node, call, &format!("{}.pub", words.file))?;
                call.say(&format!("% Importing private {}key PEM file...\n", words.short))?;
                let private = place.read(node, call, &format!("{}.prv", words.file))?;
                (Some(public), Some(private))
            }
        };
        let Some(private) = private else { continue };
        let key = private_key(&private, &passphrase)?;
        if !is_kind(key.kind(), call) {
            return Err(CommandError::Refused(format!("this is an {} key", key.kind())));
        }
        if let Some(public) = public {
            check_public(&public, &key)?;
        }
        keys.push((*usage, key));
    }
    if keys.is_empty() {
        return Err(CommandError::Refused("no private key was given, nothing was done".into()));
    }
    let mut imported = Vec::new();
    for (usage, key) in keys {
        match node.import_key(on.as_deref(), label, &key, usage, call.args.has("exportable")) {
            Ok(key) => imported.push(key),
            Err(error) => {
                // Both or none.
                node.zeroize_keys(&imported)?;
                return Err(error.into());
            }
        }
    }
    Ok(Output::of(Imported { keys: imported }))
}

/// The one private key in a PEM text.
pub(super) fn private_key(text: &[u8], passphrase: &SecretString) -> Result<PrivateKey, CommandError> {
    let text = std::str::from_utf8(text).map_err(|_| CommandError::Refused("this is not PEM".into()))?;
    pem::private_key(text, Some(passphrase)).map_err(|error| CommandError::Refused(error.to_string()))
}

/// The public key in this text, by itself or in a certificate, must be that of `key`.
fn check_public(text: &[u8], key: &PrivateKey) -> Result<(), CommandError> {
    let refused = |why: String| Err(CommandError::Refused(why));
    let Ok(text) = std::str::from_utf8(text) else { return refused("the public key is not PEM".into()) };
    let blocks = match pem::blocks(text) {
        Ok(blocks) => blocks,
        Err(error) => return refused(error.to_string()),
    };
    let public = blocks.iter().find_map(|block| match block.label() {
        pem::PUBLIC_KEY => PublicKey::from_spki_der(block.der()).ok(),
        pem::CERTIFICATE => Certificate::parse(block.der()).ok().map(|it| it.public_key().clone()),
        _ => None,
    });
    match (public, key.public_key().ok()) {
        (None, _) => refused("there is no public key and no certificate".into()),
        (Some(public), Some(own)) if public == own => Ok(()),
        _ => refused("the private key is not that of the public key".into()),
    }
}

/// Triple DES or AES, and the passphrase; DES is refused.
pub(super) fn protection(call: &Call<'_>) -> Result<(Encryption, SecretString), CommandError> {
    if call.args.has("des") {
        return Err(call.refuse("des", "a key under DES is open to anybody within a day; use 3des or aes"));
    }
    let passphrase = call.args.text("passphrase");
    check_passphrase(call, passphrase)?;
    let encryption = if call.args.has("aes") { Encryption::Aes } else { Encryption::Des3 };
    Ok((encryption, passphrase.into()))
}

/// As IOS has it.
pub(super) fn check_passphrase(call: &Call<'_>, passphrase: &str) -> Result<(), CommandError> {
    match passphrase.chars().count() >= SHORTEST {
        true => Ok(()),
        false => Err(call.refuse("passphrase", "a passphrase has 8 characters at least")),
    }
}

/// The token after `on`.
pub(super) fn on(call: &Call<'_>) -> Result<Option<String>, CommandError> {
    match call.args.get("device") {
        Some(_) => device(call.args, "device").map(Some).map_err(|refusal| call.refused(refusal)),
        None => Ok(None),
    }
}

/// The value `label`, which must be able to be one.
pub(super) fn label(call: &Call<'_>) -> Result<String, CommandError> {
    let label = call.args.text("label").to_owned();
    check_label(&label).map_err(|reason| call.refuse("label", reason))?;
    Ok(label)
}

/// The value `url`.
pub(super) fn url(call: &Call<'_>) -> Result<FileUrl, CommandError> {
    FileUrl::parse(call.args.text("url")).map_err(|error| call.refuse("url", error.to_string()))
}

/// Where files are; `None` is the terminal. `name` is how they begin unless the URL says it.
pub(super) fn place(call: &Call<'_>, name: &str) -> Result<Option<Place>, CommandError> {
    if call.args.get("url").is_none() {
        return Ok(None);
    }
    let url = url(call)?;
    let name = url.file_name().unwrap_or_else(|| name.to_owned());
    Ok(Some(Place { url, name }))
}

/// A directory and how the names of the files in it begin.
pub(super) struct Place {
    pub url: FileUrl,
    pub name: String,
}

impl Place {
    /// Asks for the file whose name ends so, and reads it.
    pub fn read(
        &self,
        node: &Node,
        call: &mut Call<'_>,
        ending: &str,
    ) -> Result<Zeroizing<Vec<u8>>, CommandError> {
        let url = self.ask(call, "Source", &format!("{}{ending}", self.name))?;
        call.say(&format!("Reading file from {url}\n"))?;
        read(node, &url)
    }

    /// The same; `None` when there is no such file.
    pub fn read_optional(
        &self,
        node: &Node,
        call: &mut Call<'_>,
        ending: &str,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, CommandError> {
        let url = self.ask(call, "Source", &format!("{}{ending}", self.name))?;
        call.say(&format!("Reading file from {url}\n"))?;
        match node.files().read(&url, None) {
            Ok(octets) => Ok(Some(Zeroizing::new(octets))),
            Err(error) if error.is_not_found() => {
                call.say("% There is no such file: passed over\n")?;
                Ok(None)
            }
            Err(error) => Err(CommandError::Refused(chain(&error))),
        }
    }

    /// Asks for the file whose name ends so, and writes it; over another one only when that is confirmed.
    pub fn write(
        &self,
        node: &Node,
        call: &mut Call<'_>,
        ending: &str,
        octets: &[u8],
    ) -> Result<String, CommandError> {
        let url = self.ask(call, "Destination", &format!("{}{ending}", self.name))?;
        write(node, call, &url, octets)
    }

    /// The file of this name, or what the operator says instead.
    fn ask(&self, call: &mut Call<'_>, which: &str, name: &str) -> Result<FileUrl, CommandError> {
        ask_for(call, which, &self.url, name)
    }
}

/// Asks for a file beside `url`; `name` is proposed.
pub(super) fn ask_for(
    call: &mut Call<'_>,
    which: &str,
    url: &FileUrl,
    name: &str,
) -> Result<FileUrl, CommandError> {
    let answer = match call.options.yes {
        true => String::new(),
        false => call.console.ask(&format!("{which} filename [{name}]? "))?,
    };
    match file_name(answer.trim())? {
        "" => Ok(url.beside(name)),
        typed if typed.contains(':') => {
            FileUrl::parse(typed).map_err(|error| CommandError::Refused(error.to_string()))
        }
        typed => Ok(url.beside(typed)),
    }
}

/// A name typed for a file. With a blank in it, it is the next line of somebody who expected no question.
pub(super) fn file_name(typed: &str) -> Result<&str, CommandError> {
    match typed.contains(char::is_whitespace) {
        true => Err(CommandError::Refused(format!(
            "\"{typed}\" is no file name: it has blanks, nothing was done"
        ))),
        false => Ok(typed),
    }
}

/// Reads a file that may hold a private key.
pub(super) fn read(node: &Node, url: &FileUrl) -> Result<Zeroizing<Vec<u8>>, CommandError> {
    let octets = node.files().read(url, None).map_err(|error| CommandError::Refused(chain(&error)))?;
    Ok(Zeroizing::new(octets))
}

/// Writes a file; over another one only when that is confirmed.
pub(super) fn write(
    node: &Node,
    call: &mut Call<'_>,
    url: &FileUrl,
    octets: &[u8],
) -> Result<String, CommandError> {
    let files = node.files();
    // One that cannot be read may be there all the same; nothing can be asked of a server that only takes.
    let is_there = match files.read(url, None) {
        Ok(old) => old != octets,
        Err(error) => !error.is_not_found() && !url.is_remote(),
    };
    if is_there {
        call.confirm(&format!("% {url} exists already. Overwrite it? [yes/no]: "))?;
    }
    call.say(&format!("Writing file to {url}\n"))?;
    files.write(url, octets, None).map_err(|error| CommandError::Refused(chain(&error)))?;
    Ok(url.to_string())
}

/// Text that is pasted piece by piece, or several pieces at once.
#[derive(Default)]
pub(super) struct Pasted(VecDeque<Zeroizing<Vec<u8>>>);

impl Pasted {
    /// Asks for the next PEM block. `None` when it is left out.
    pub fn next(
        &mut self,
        call: &mut Call<'_>,
        what: &str,
        ends: &str,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, CommandError> {
        let prompt = format!("% Enter PEM-formatted {what}.\n% End with {ends} on a line by itself.");
        if let Some(piece) = self.0.pop_front() {
            call.say(&format!("{prompt}\n"))?;
            return Ok(Some(piece));
        }
        let text = Zeroizing::new(call.paste(&prompt)?);
        let mut starts: Vec<_> = text.match_indices("-----BEGIN ").map(|(at, _)| at).collect();
        if starts.is_empty() && !text.trim().is_empty() {
            starts.push(0);
        }
        for (index, start) in starts.iter().enumerate() {
            let end = starts.get(index + 1).copied().unwrap_or(text.len());
            self.0.push_back(Zeroizing::new(text[*start..end].as_bytes().to_vec()));
        }
        Ok(self.0.pop_front())
    }
}

/// How a text that has its own end may be ended.
pub(super) const BLANK: &str = "a blank line or \"quit\"";
/// How a text that may have blank lines in it is ended.
pub(super) const QUIT: &str = "\"quit\"";

fn is_kind(kind: KeyKind, call: &Call<'_>) -> bool {
    match kind {
        KeyKind::Rsa { .. } => call.args.has("rsa"),
        KeyKind::Ec(_) => call.args.has("ec"),
        KeyKind::MlDsa(_) => false,
    }
}

#[derive(Default, Serialize)]
struct Exported {
    keys: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pem: Vec<String>,
}

impl fmt::Display for Exported {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As text it was said while it was done.
        Ok(())
    }
}

#[derive(Serialize)]
struct Imported {
    keys: Vec<KeyReport>,
}

impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "% Key pair import succeeded.")
    }
}

/// Characters of a passphrase.
const SHORTEST: usize = 8;
