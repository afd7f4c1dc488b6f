//! `crypto pki certificate chain`: certificates of a trustpoint that are given by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::LazyLock;

use crate::pki::{Certificate, Serial};

use super::grammar::{Args, Refusal, Table};
use super::hex;
use super::line::{Later, Line, Lines, Verb};
use super::mode::Mode;
use super::{Configuration, Editor, url};

/// A section `crypto pki certificate chain LABEL`: what is to be done with the certificates of a
/// trustpoint. It does not list those that the trustpoint has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateChain {
    /// `certificate`: certificates to be taken.
    pub certificates: BTreeMap<Entry, CertificateSource>,
    /// `no certificate`: certificates to be forgotten.
    pub removed: BTreeSet<Entry>,
}

/// A certificate of a chain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its serial number.
    pub serial: Serial,
    /// Whether it is the CA's.
    pub ca: bool,
}

/// Where a certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// A file, by its URL.
    File(String),
    /// The configuration itself. Its serial number is that of the entry.
    Typed(Box<Certificate>),
}

/// The certificate that was typed.
pub(super) fn take(
    configuration: &mut Configuration,
    label: &str,
    entry: &Entry,
    digits: &str,
) -> Result<(), Refusal> {
    let der = hex::octets(digits).ok_or("these hex digits are no octets; type `certificate` again")?;
    let certificate = Certificate::parse(&der)
        .map_err(|error| format!("this is not a certificate: {error}; type `certificate` again"))?;
    if *certificate.serial() != entry.serial {
        return Err(format!("the serial number in the certificate is {}", certificate.serial()).into());
    }
    let chain = configuration.chains.entry(label.to_owned()).or_default();
    chain.removed.remove(entry);
    chain.certificates.insert(entry.clone(), CertificateSource::Typed(Box::new(certificate)));
    Ok(())
}

impl fmt::Display for CertificateChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.removed.iter().try_for_each(|entry| writeln!(f, " no certificate {entry}"))?;
        for (entry, source) in &self.certificates {
            match source {
                CertificateSource::File(url) => writeln!(f, " certificate {entry} {url}")?,
                CertificateSource::Typed(certificate) => {
                    writeln!(f, " certificate {entry}\n{}  quit", hex::lines(certificate.der()))?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Entry {
    /// `ca 01`. Octets in hex, as IOS writes serial numbers in its configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.ca { "ca " } else { "" })?;
        let octets = self.serial.as_be_bytes();
        // 0xCA alone would be the word.
        if octets == [0xCA] {
            f.write_str("00")?;
        }
        octets.iter().try_for_each(|octet| write!(f, "{octet:02X}"))
    }
}

/// The lines of the section.
pub static LINES: LazyLock<Lines<Editor>> = LazyLock::new(|| Lines::new(SHOWN, []));

/// Lines of IOS that this version does not have.
pub static LATER: LazyLock<Table<Later>> = LazyLock::new(|| Table::new(LATER_LINES));

const SHOWN: &[Line<Editor>] = &[Line {
    words: "certificate [ca] <serial> [<url>]",
    no: Some("certificate [ca] <serial>"),
    about: "Takes a certificate, from a file or as lines of hex digits with `quit` after the last; `no` \
            forgets one",
    help: &[
        ("certificate", "Certificate of the trustpoint"),
        ("ca", "That of its CA"),
        ("<serial>", "Serial number, in hex"),
        ("<url>", "File, as in nvram:mycs#6101CA.cer"),
    ],
    run: certificate,
}];

fn certificate(editor: &mut Editor, verb: Verb, args: &Args) -> Result<(), Refusal> {
    let Mode::CertificateChain(label) = &editor.mode else {
        return Err("this line belongs to a chain".into());
    };
    let label = label.clone();
    let entry = Entry { serial: serial(args)?, ca: args.has("ca") };
    if verb == Verb::Set && args.get("url").is_none() {
        editor.type_hex(Mode::Certificate(label, entry));
        return Ok(());
    }
    let chain = editor.configuration.chains.entry(label).or_default();
    if verb == Verb::Set {
        let source = CertificateSource::File(url::file(args, "url")?);
        chain.removed.remove(&entry);
        chain.certificates.insert(entry, source);
        return Ok(());
    }
    // What was only to be taken is not taken; else it is to be forgotten.
    let named = |known: &Entry| known.serial == entry.serial && (known.ca || !entry.ca);
    let before = chain.certificates.len();
    chain.certificates.retain(|known, _| !named(known));
    if chain.certificates.len() == before {
        chain.removed.insert(entry);
    }
    editor.configuration.chains.retain(|_, chain| *chain != CertificateChain::default());
    Ok(())
}

fn serial(args: &Args) -> Result<Serial, Refusal> {
    let digits = args.text("serial");
    let digits = digits.strip_prefix("0x").unwrap_or(digits);
    let serial = format!("0x{digits}").parse();
    if serial.is_err() && LATER_KINDS.contains(&digits) {
        return Err(args.refuse("serial", format!("`{digits}` is not in this version")));
    }
    serial.map_err(|_| args.refuse("serial", "a serial number is hex digits here, as in 0A"))
}

const LATER_LINES: &[Later] =
    &[Later("certificate {pki | ra-encrypt | ra-general | ra-sign | rollover | self-signed} <rest...>")];
// Each may be taken for a serial number.
const LATER_KINDS: &[&str] = &["pki", "ra-encrypt", "ra-general", "ra-sign", "rollover", "self-signed"];
