//! `show crypto pki certificates` and `crypto pki server L certificate`.

use std::fmt;

use serde::{Serialize, Serializer};

use super::{Call, Command, CommandError, Output, Run};
use crate::pki::archive::pem;
use crate::pki::{Certificate, Hash, Name, Serial, Time, hex};

pub const COMMANDS: &[Command] = &[
    Command {
        words: "show crypto pki/ca certificates [<label>]",
        about: "Shows the certificates of the servers themselves: the CA's, those of separate SCEP keys, and the \
                self-signed one of HTTPS",
        help: &[("certificates", "Certificates of the servers themselves")],
        run: Run::OnNode(|node, call| {
            let mut shown = Vec::new();
            let label = call.args.get("label");
            let own = node.self_signed(label)?;
            let labels = match label {
                Some(_) if own.is_some() => Vec::new(),
                Some(label) => vec![label.to_owned()],
                None => node.servers(),
            };
            if let Some((trustpoint, der)) = own {
                shown
                    .push(Shown { title: "Router Self-Signed Certificate", ..Shown::of(&der, &trustpoint)? });
            }
            for label in labels {
                for der in node.server(&label)?.certificates()? {
                    shown.push(Shown::of(&der, &label)?);
                }
                for der in node.server(&label)?.next_certificates()? {
                    shown.push(Shown::of_rollover(&der, &label)?);
                }
            }
            Ok(Output::of(List(shown)))
        }),
    },
    Command {
        words: "crypto pki/ca server <label> certificate <serial>",
        about: "Prints a certificate in PEM; not an IOS command",
        help: &[("certificate", "Print a certificate in PEM"), ("<serial>", "Serial number, as 0x1F or 31")],
        run: Run::OnNode(|node, call| {
            let serial = serial(call)?;
            let label = call.args.text("label");
            let der = node.server(label)?.certificate(&serial)?;
            Ok(Output::of(Pem(Shown::of(&der, label)?)))
        }),
    },
];

/// The serial number typed.
pub fn serial(call: &Call<'_>) -> Result<Serial, CommandError> {
    let typed = call.args.text("serial").parse::<Serial>();
    typed.map_err(|error| call.refuse("serial", error.to_string()))
}

/// As IOS lists certificates: two hex digits an octet.
pub fn octets(serial: &Serial) -> String {
    hex(serial.as_be_bytes())
}

/// A certificate, as an operator wants it.
#[derive(Serialize)]
struct Shown {
    #[serde(skip)]
    title: &'static str,
    server: String,
    #[serde(serialize_with = "text")]
    serial: Serial,
    ca: bool,
    usage: &'static str,
    #[serde(serialize_with = "text")]
    issuer: Name,
    #[serde(serialize_with = "text")]
    subject: Name,
    #[serde(serialize_with = "text")]
    not_before: Time,
    #[serde(serialize_with = "text")]
    not_after: Time,
    status: &'static str,
    fingerprint_sha256: String,
    pem: String,
}

impl Shown {
    fn of_rollover(der: &[u8], server: &str) -> Result<Self, CommandError> {
        let shown = Self::of(der, server)?;
        let title = if shown.ca { "CA Certificate (Rollover)" } else { "RA Certificate (Rollover)" };
        Ok(Self { title, ..shown })
    }

    fn of(der: &[u8], server: &str) -> Result<Self, CommandError> {
        let certificate = Certificate::parse(der)
            .map_err(|error| CommandError::Refused(format!("a certificate of {server}: {error}")))?;
        let now = Time::now();
        let ca = certificate.extensions().basic_constraints().is_some_and(|constraints| constraints.ca);
        Ok(Self {
            title: if ca { "CA Certificate" } else { "RA Certificate" },
            server: server.to_owned(),
            serial: certificate.serial().clone(),
            ca,
            usage: usage(&certificate),
            issuer: Name::from_der(certificate.issuer_raw()),
            subject: Name::from_der(certificate.subject_raw()),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            status: match () {
                () if now < certificate.not_before() => "Not yet valid",
                () if now > certificate.not_after() => "Expired",
                () => "Available",
            },
            fingerprint_sha256: hex(&Hash::Sha256.digest(&[der])),
            pem: pem::write_certificate(der),
        })
    }
}

/// In the words of IOS.
fn usage(certificate: &Certificate) -> &'static str {
    let Some(usage) = certificate.extensions().key_usage() else { return "General Purpose" };
    let signs = usage.digital_signature() || usage.key_cert_sign();
    match (signs, usage.key_encipherment()) {
        (true, true) => "General Purpose",
        (false, true) => "Encryption",
        _ => "Signature",
    }
}

fn text<T: fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[derive(Serialize)]
struct List(Vec<Shown>);

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            writeln!(f, "% There is no certificate yet.")?;
        }
        for (i, shown) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            writeln!(f, "{}", shown.title)?;
            writeln!(f, "  Status: {}", shown.status)?;
            writeln!(f, "  Certificate Serial Number: {}", octets(&shown.serial))?;
            writeln!(f, "  Certificate Usage: {}", shown.usage)?;
            name(f, "Issuer", &shown.issuer)?;
            name(f, "Subject", &shown.subject)?;
            writeln!(f, "  Validity Date:")?;
            writeln!(f, "    start date: {}", shown.not_before)?;
            writeln!(f, "    end   date: {}", shown.not_after)?;
            writeln!(f, "  Associated Trustpoints: {}", shown.server)?;
            writeln!(f, "  Fingerprint SHA256: {}", super::command::groups(&shown.fingerprint_sha256))?;
        }
        Ok(())
    }
}

/// A name, one RDN a line.
fn name(f: &mut fmt::Formatter<'_>, title: &str, name: &Name) -> fmt::Result {
    writeln!(f, "  {title}:")?;
    let text = name.to_string();
    let mut start = 0;
    // A comma in a value is escaped.
    let ends = text.match_indices(',').map(|(at, _)| at).filter(|at| !text[..*at].ends_with('\\'));
    for end in ends.chain([text.len()]) {
        writeln!(f, "    {}", &text[start..end])?;
        start = end + 1;
    }
    Ok(())
}

#[derive(Serialize)]
#[serde(transparent)]
struct Pem(Shown);

impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.pem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shown_by_rdn() {
        struct Shown(Name);
        impl fmt::Display for Shown {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                name(f, "Issuer", &self.0)
            }
        }
        let shown = Shown(Name::parse("CN=a, O=\"b, c\", C=US").unwrap());
        assert_eq!(shown.to_string().lines().count(), 4, "{shown}");
        assert!(shown.to_string().starts_with("  Issuer:\n    cn=a\n    o=b"), "{shown}");
    }
}
