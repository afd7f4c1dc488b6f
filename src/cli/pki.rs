//! `crypto pki import` and `crypto pki export`: keys with their certificates; what a take-over has found.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use zeroize::Zeroizing;

use super::key_files::{self, BLANK, Pasted, Place, QUIT, Words, check_passphrase, label, on, private_key};
use super::{Call, Command, CommandError, Output, Run};
use crate::files::FileUrl;
use crate::node::{Holdings, Import, Imported, Node, Pair, TakeoverReport, Usage};
use crate::pki::Certificate;
use crate::pki::archive::pkcs12::{self, Form};
use crate::pki::archive::{Archive, pem};

pub const COMMANDS: &[Command] = &[
    Command {
        words: "crypto pki/ca import <label> pkcs12 {terminal | <url>} [exportable] [on <device>] \
                [<passphrase> [<password>]]",
        about: "Brings a key with its certificates from a PKCS#12 archive, or one of PEM, to a token and a \
                trustpoint; asks for the passphrase when it is not typed",
        help: &[
            ("import", "Bring a key with its certificates"),
            ("<label>", "Trustpoint"),
            ("pkcs12", "From PKCS#12"),
            ("terminal", "Paste it in base64"),
            ("<url>", "File, or directory with LABEL.p12, as in nvram: or tftp://192.0.2.1/backup.p12"),
            ("exportable", "May leave the token again, encrypted"),
            ("<passphrase>", "Passphrase of the archive; the word password may stand before it"),
        ],
        run: Run::OnNode(import_pkcs12),
    },
    Command {
        words: "crypto pki/ca import <label> pem [usage-keys | signature | encryption] {terminal | url <url>} \
                [exportable] [on <device>] <passphrase>",
        about: "Brings keys with their certificates from PEM to a token and a trustpoint; the certificate of the \
                CA first, then for each key the key and its certificate",
        help: &[
            ("import", "Bring a key with its certificates"),
            ("<label>", "Trustpoint"),
            ("pem", "From PEM"),
            (
                "usage-keys",
                "Two key pairs, one for signatures and one for encryption; a CA has the first alone",
            ),
            ("signature", "For signatures alone"),
            ("encryption", "For encryption alone"),
            ("terminal", "Paste it"),
            ("url", "Read files"),
            ("<url>", "Directory, beginning of the names, or an archive as in nvram:mycs.pem"),
            ("exportable", "May leave the token again, encrypted"),
            ("<passphrase>", "Passphrase of the private keys"),
        ],
        run: Run::OnNode(import_pem),
    },
    Command {
        words: "crypto pki/ca export <label> pem {terminal | url <url>} [{3des | aes | des} <passphrase>] \
                [rollover]",
        about: "Takes the certificates of a trustpoint away, and under a passphrase its private key when that is \
                exportable",
        help: &[
            ("export", "Take certificates, and a key, away"),
            ("<label>", "Trustpoint"),
            ("pem", "As PEM"),
            ("terminal", "Show it"),
            ("url", "Write files"),
            ("<url>", "Directory, or beginning of the names, as in nvram: or tftp://192.0.2.1/mycs"),
            ("3des", "The key too, under triple DES, which every router reads"),
            ("aes", "The key too, under AES-256"),
            ("des", "Refused: DES is broken within a day"),
            ("<passphrase>", "Passphrase, 8 characters at least"),
            ("rollover", "The next CA certificate of a certificate server instead"),
        ],
        run: Run::OnNode(export_pem),
    },
    Command {
        words: "crypto pki/ca export <label> pkcs12 {terminal | <url>} <passphrase> [<password>]",
        about: "Takes the certificates of a trustpoint and its key, which must be exportable, away as one archive",
        help: &[
            ("export", "Take certificates, and a key, away"),
            ("<label>", "Trustpoint"),
            ("pkcs12", "As PKCS#12"),
            ("terminal", "Show it in base64"),
            ("<url>", "File, or directory for LABEL.p12, as in nvram: or tftp://192.0.2.1/mycs.p12"),
            ("<passphrase>", "Passphrase, 8 characters at least; the word password may stand before it"),
        ],
        run: Run::OnNode(export_pkcs12),
    },
    Command {
        words: "crypto pki/ca server <label> info takeover",
        about: "Shows what was taken over from another certificate server, what of it cannot be known, and what to \
                do next",
        help: &[("info", "Show what the server has"), ("takeover", "What was taken over")],
        run: Run::OnNode(|node, call| {
            let report = node.server(call.args.text("label"))?.takeover()?;
            let none = || CommandError::Refused("the CA was not taken over from another server".into());
            Ok(Output::of(Takeover(report.ok_or_else(none)?)))
        }),
    },
];

fn import_pkcs12(node: &Node, call: &mut Call<'_>) -> Result<Output, CommandError> {
    let trustpoint = label(call)?;
    let (octets, source) = match call.args.get("url") {
        None => (call.paste(PASTE)?.into_bytes().into(), None),
        Some(_) => {
            let url = key_files::url(call)?;
            let name = url.file_name().unwrap_or_else(|| format!("{trustpoint}.p12"));
            let url = key_files::ask_for(call, "Source", &url, &name)?;
            (key_files::read(node, &url)?, Some(url))
        }
    };
    let passphrase = match typed_passphrase(call) {
        Some(passphrase) => passphrase,
        None => call.ask_secret("Password: ")?,
    };
    let archive = Archive::read(&octets, Some(&passphrase));
    let archive = archive.map_err(|error| CommandError::Refused(error.to_string()))?;
    if archive.key.is_some() && !archive.authenticated && octets.first() == Some(&0x30) {
        call.say("% The archive has no MAC: anybody could have changed it\n")?;
    }
    let imported = import_archive(node, call, trustpoint, archive, source)?;
    Ok(Output::of(Done { said: "CRYPTO_PKI: Imported PKCS12 file successfully.", imported }))
}

/// The certificate of the key is its own, unless it is a CA's; the others are of CAs.
fn import_archive(
    node: &Node,
    call: &Call<'_>,
    trustpoint: String,
    archive: Archive,
    source: Option<FileUrl>,
) -> Result<Imported, CommandError> {
    let Archive { key, mut certificates, .. } = archive;
    let key = key.ok_or_else(|| CommandError::Refused("there is no private key in the archive".into()))?;
    if certificates.is_empty() {
        return Err(CommandError::Refused("there is no certificate in the archive".into()));
    }
    let own =
        Certificate::parse(&certificates[0]).map_err(|error| CommandError::Refused(error.to_string()))?;
    let certificate = (!own.is_self_issued()).then(|| certificates.remove(0));
    Ok(node.import(Import {
        trustpoint,
        authorities: certificates,
        pairs: vec![Pair { key, usage: Usage::General, certificate }],
        token: on(call)?,
        exportable: call.args.has("exportable"),
        source: source.map(|url| url.to_string()),
    })?)
}

fn import_pem(node: &Node, call: &mut Call<'_>) -> Result<Output, CommandError> {
    let trustpoint = label(call)?;
    let passphrase = SecretString::from(call.args.text("passphrase"));
    let place = key_files::place(call, &trustpoint)?;
    let imported = match place {
        Some(place) if place.name.to_ascii_lowercase().ends_with(".pem") => {
            let url = key_files::ask_for(call, "Source", &place.url, &place.name)?;
            call.say(&format!("Reading file from {url}\n"))?;
            let archive = Archive::read(&key_files::read(node, &url)?, Some(&passphrase));
            let archive = archive.map_err(|error| CommandError::Refused(error.to_string()))?;
            import_archive(node, call, trustpoint, archive, Some(url))?
        }
        place => {
            let mut parts = match &place {
                None => Parts::Pasted(Pasted::default()),
                Some(place) => Parts::Files(place),
            };
            let (authorities, pairs) = parts.read(node, call, &passphrase)?;
            node.import(Import {
                trustpoint,
                authorities,
                pairs,
                token: on(call)?,
                exportable: call.args.has("exportable"),
                source: place.map(|place| place.url.beside(&format!("{}*.prv", place.name)).to_string()),
            })?
        }
    };
    Ok(Output::of(Done { said: "% PEM files import succeeded.", imported }))
}

/// Where the parts of an import come from.
enum Parts<'p> {
    Pasted(Pasted),
    Files(&'p Place),
}

impl Parts<'_> {
    /// The certificate of the CA; then each key and its certificate. A key that is left out has none.
    fn read(
        &mut self,
        node: &Node,
        call: &mut Call<'_>,
        passphrase: &SecretString,
    ) -> Result<(Vec<Vec<u8>>, Vec<Pair>), CommandError> {
        let authority = self.certificate(node, call, "CA certificate", ".ca")?;
        let mut pairs = Vec::new();
        for (usage, words) in key_files::usages(&call.args.words().collect::<Vec<_>>()) {
            let Some(text) = self.key(node, call, words)? else { continue };
            let key = private_key(&text, passphrase)?;
            let what = format!("{} certificate", words.long);
            let certificate = self.certificate(node, call, &what, &format!("{}.crt", words.file))?;
            pairs.push(Pair { key, usage: *usage, certificate });
        }
        match pairs.is_empty() {
            true => Err(CommandError::Refused("no private key was given, nothing was done".into())),
            false => Ok((authority.into_iter().collect(), pairs)),
        }
    }

    fn key(
        &mut self,
        node: &Node,
        call: &mut Call<'_>,
        words: &Words,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, CommandError> {
        match self {
            Self::Pasted(pasted) => {
                let what = format!("encrypted private {} key", words.long);
                pasted.next(call, &what, QUIT)
            }
            Self::Files(place) => {
                call.say(&format!("% Importing private {} key PEM file...\n", words.long))?;
                place.read_optional(node, call, &format!("{}.prv", words.file))
            }
        }
    }

    fn certificate(
        &mut self,
        node: &Node,
        call: &mut Call<'_>,
        what: &str,
        ending: &str,
    ) -> Result<Option<Vec<u8>>, CommandError> {
        let text = match self {
            Self::Pasted(pasted) => pasted.next(call, what, BLANK)?,
            Self::Files(place) => {
                call.say(&format!("% Importing {what} PEM file...\n"))?;
                place.read_optional(node, call, ending)?
            }
        };
        let Some(text) = text else { return Ok(None) };
        // A SEQUENCE: DER.
        if text.first() == Some(&0x30) {
            return Ok(Some(text.to_vec()));
        }
        let der = pem::der_of(&String::from_utf8_lossy(&text), pem::CERTIFICATE);
        Ok(Some(der.map_err(|error| CommandError::Refused(error.to_string()))?.to_vec()))
    }
}

fn export_pem(node: &Node, call: &mut Call<'_>) -> Result<Output, CommandError> {
    let trustpoint = call.args.text("label").to_owned();
    let protection = match call.args.get("passphrase") {
        Some(_) => Some(key_files::protection(call)?),
        None => None,
    };
    let place = key_files::place(call, &trustpoint)?;
    // Beside the files of what acts, not over them.
    let (holdings, beside) = match call.args.has("rollover") {
        true => (node.next_holdings(&trustpoint)?, "-rollover"),
        false => (node.holdings(&trustpoint)?, ""),
    };
    let mut exported = Exported::default();
    for ca in &holdings.authorities {
        let text = pem::write_certificate(ca);
        exported.put(node, call, place.as_ref(), "CA certificate", &format!("{beside}.ca"), text)?;
    }
    for pair in &holdings.pairs {
        if let Some((encryption, passphrase)) = &protection {
            match node.export_key(&pair.key) {
                Ok(key) => {
                    let text = pem::write_private_key(&key, *encryption, passphrase);
                    call.say(&format!("% Key name: {}\n   Usage: {}\n", pair.name, pair.usage_in_words()))?;
                    let ending = format!("{beside}{}.prv", pair.suffix());
                    exported.put(node, call, place.as_ref(), "private key", &ending, text)?;
                }
                Err(error) => {
                    call.say(&format!("% {error}\n"))?;
                    exported.missing.push(error.to_string());
                }
            }
        }
        if let Some(certificate) = &pair.certificate {
            let text = pem::write_certificate(certificate);
            let ending = format!("{}.crt", pair.suffix());
            exported.put(node, call, place.as_ref(), "certificate", &ending, text)?;
        }
    }
    let failed = !exported.missing.is_empty();
    let mut output = Output::of(exported);
    output.failed = failed;
    Ok(output)
}

fn export_pkcs12(node: &Node, call: &mut Call<'_>) -> Result<Output, CommandError> {
    let trustpoint = call.args.text("label").to_owned();
    let Some(passphrase) = typed_passphrase(call) else {
        return Err(call.refuse("passphrase", "a passphrase follows the word password"));
    };
    check_passphrase(call, passphrase.expose_secret())?;
    let Holdings { authorities, pairs } = node.holdings(&trustpoint)?;
    let Some(pair) = pairs.into_iter().next() else {
        return Err(CommandError::Refused(format!("the trustpoint \"{trustpoint}\" has no key")));
    };
    let key = node.export_key(&pair.key)?;
    let certificates = pair.certificate.into_iter().chain(authorities).collect();
    let archive =
        Archive { key: Some(key), certificates, label: Some(trustpoint.clone()), authenticated: true };
    let octets = pkcs12::write(&archive, Form::Modern, &passphrase);
    let mut exported = Exported::default();
    match call.args.get("url") {
        None => {
            let text = pem::write("PKCS12", &octets);
            call.say(&text)?;
            exported.pem.push(text);
        }
        Some(_) => {
            let url = key_files::url(call)?;
            let name = url.file_name().unwrap_or_else(|| format!("{trustpoint}.p12"));
            let url = key_files::ask_for(call, "Destination", &url, &name)?;
            exported.files.push(key_files::write(node, call, &url, &octets)?);
        }
    }
    call.say("CRYPTO_PKI: Exported PKCS12 file successfully.\n")?;
    Ok(Output::of(exported))
}

/// The passphrase of the line, with or without the word `password` before it.
fn typed_passphrase(call: &Call<'_>) -> Option<SecretString> {
    match (call.args.get("passphrase"), call.args.get("password")) {
        (Some("password"), Some(passphrase)) => Some(passphrase.into()),
        (Some(passphrase), None) if passphrase != "password" => Some(passphrase.into()),
        _ => None,
    }
}

/// What was imported, in the words of IOS.
#[derive(Serialize)]
struct Done {
    #[serde(skip)]
    said: &'static str,
    #[serde(flatten)]
    imported: Imported,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.said)?;
        self.imported.warnings.iter().try_for_each(|warning| writeln!(f, "{warning}"))
    }
}

/// What was exported.
#[derive(Default, Serialize)]
struct Exported {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pem: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<String>,
}

impl Exported {
    fn put(
        &mut self,
        node: &Node,
        call: &mut Call<'_>,
        place: Option<&Place>,
        what: &str,
        ending: &str,
        text: String,
    ) -> Result<(), CommandError> {
        match place {
            None => {
                let title = if what == "private key" { String::new() } else { format!("% {what}:\n") };
                call.say(&(title + &text))?;
                self.pem.push(text);
            }
            Some(place) => {
                call.say(&format!("Exporting {what}...\n"))?;
                self.files.push(place.write(node, call, ending, text.as_bytes())?);
            }
        }
        Ok(())
    }
}

impl fmt::Display for Exported {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As text it was said while it was done.
        Ok(())
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Takeover(TakeoverReport);

impl fmt::Display for Takeover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = &self.0;
        writeln!(f, "CA taken over {}:", report.at)?;
        writeln!(f, "  Issuer name: {}", report.issuer)?;
        for (name, digits) in [
            ("MD5", &report.fingerprint_md5),
            ("SHA1", &report.fingerprint_sha1),
            ("SHA256", &report.fingerprint_sha256),
        ] {
            writeln!(f, "  CA cert fingerprint {name}: {}", super::command::groups(digits))?;
        }
        writeln!(f, "  CA key: {}", report.key)?;
        if let Some(digest) = &report.digest {
            writeln!(f, "  CA cert signed with: {digest}")?;
        }
        writeln!(f, "  CA cert validity: {} to {}", report.valid_from, report.valid_to)?;
        writeln!(f, "  Last serial number: {}", report.last_serial)?;
        match &report.crl {
            Some(crl) => {
                writeln!(f, "  CRL entries: {}, of {}", crl.entries, crl.this_update)?;
            }
            None => writeln!(f, "  CRL entries: none, there was no CRL")?,
        }
        writeln!(f, "  Names known: {}, certificates known: {}", report.names, report.certificates)?;
        list(f, "Files", &report.files)?;
        list(f, "What cannot be known", &report.unknown)?;
        let lines = report.legacy.iter().map(|line| format!("{}: {}", line.line, line.why));
        list(f, "Lines that old devices may need", &lines.collect::<Vec<_>>())?;
        list(f, "What to do next", &report.next)
    }
}

fn list(f: &mut fmt::Formatter<'_>, title: &str, lines: &[String]) -> fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(f, "  {title}:")?;
    lines.iter().try_for_each(|line| writeln!(f, "    {line}"))
}

const PASTE: &str =
    "% Enter the base 64 encoded pkcs12.\n% End with a blank line or \"quit\" on a line by itself.";
