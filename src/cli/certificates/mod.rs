//! `show crypto pki certificates` and `crypto pki server L certificate`.

mod shown;

use std::fmt;

use serde::Serialize;

use super::{Call, Command, CommandError, Output, Run};
use crate::node::{Node, TrustpointReport};
use crate::pki::{Serial, hex};
use crate::store::{TrustedKind, UpperPhase};

use shown::{Entry, List, Pending, Shown};
pub use shown::{rdns, usage};

pub const COMMANDS: &[Command] = &[
    Command {
        words: "show crypto pki/ca certificates [<label>] [verbose]",
        about: "Shows certificates of servers, of trustpoints and of their CAs, and requests for further ones",
        help: &[
            ("certificates", "Certificates of servers and trustpoints"),
            ("verbose", "All there is to say about them"),
        ],
        run: Run::OnNode(certificates),
    },
    Command {
        words: "crypto pki/ca server <label> certificate <serial>",
        about: "Prints a certificate in PEM; not an IOS command",
        help: &[("certificate", "Print a certificate in PEM"), ("<serial>", "Serial number, as 0x1F or 31")],
        run: Run::OnNode(|node, call| {
            let serial = serial(call)?;
            let label = call.args.text("label");
            let der = node.server(label)?.certificate(&serial)?;
            Ok(Output::of(Pem(Shown::of(&der, label, node.now())?)))
        }),
    },
];

fn certificates(node: &Node, call: &mut Call<'_>) -> Result<Output, CommandError> {
    let configuration = node.configuration();
    let (now, verbose) = (node.now(), call.args.has("verbose"));
    let label = call.args.get("label");
    let wanted = |other: &str| label.is_none_or(|label| label == other);
    if let Some(label) = label
        && !configuration.trustpoints.contains_key(label)
    {
        // An error when there is no such server either.
        node.server(label)?;
    }
    let mut entries = Vec::new();
    let mut servers = Vec::new();
    if let Some((trustpoint, der)) = node.self_signed(label)? {
        entries.push(Shown::of(&der, &trustpoint, now)?.self_signed());
    }
    for label in node.servers().iter().filter(|label| wanted(label)) {
        let server = node.server(label)?;
        for der in server.certificates()? {
            entries.push(Shown::of(&der, label, now)?);
            servers.push(der);
        }
        for der in server.next_certificates()? {
            entries.push(Shown::of(&der, label, now)?.next());
            servers.push(der);
        }
    }
    let mut entries: Vec<_> =
        entries.into_iter().map(|shown| Entry::There(Box::new(shown.verbose(verbose)))).collect();
    for report in node.trustpoint_reports(None)?.iter().filter(|report| wanted(&report.name)) {
        for trusted in report.own.iter().chain(&report.authorities) {
            // What a server acts with is its trustpoint's own.
            if trusted.kind.is_own() && servers.contains(&trusted.der) {
                continue;
            }
            let renews = report.renews.filter(|_| report.automatic && !trusted.kind.is_next());
            let renews = renews.filter(|_| trusted.kind.is_own());
            let key = trusted.key.as_ref().map(|(token, label)| format!("{label} on {token}:"));
            let shown = Shown::of(&trusted.der, &report.name, now)?.trusted(trusted.kind, key, renews);
            entries.push(Entry::There(Box::new(shown.verbose(verbose))));
        }
        entries.extend(pending(report).map(Entry::Pending));
    }
    Ok(Output::of(List::of(entries)))
}

/// The requests of a trustpoint.
fn pending(report: &TrustpointReport) -> impl Iterator<Item = Pending> + use<'_> {
    report.requests.iter().map(|request| Pending {
        trustpoint: report.name.clone(),
        subject: request.subject.clone(),
        usage: match (report.requests.len(), request.kind.next()) {
            (_, TrustedKind::NextOwnEncryption) => "Encryption",
            (1, _) => "General Purpose",
            _ => "Signature",
        },
        next: request.kind.is_next(),
        status: match request.phase {
            UpperPhase::Making => "Being made",
            UpperPhase::Sending => "Being sent",
            UpperPhase::Pending => "Pending",
            UpperPhase::Manual => "Waiting for `crypto pki import`",
            UpperPhase::Failed => "Failed",
        },
        fingerprint_md5: Some(request.fingerprint_md5.clone()).filter(|_| !request.csr.is_empty()),
        fingerprint_sha1: Some(request.fingerprint_sha1.clone()).filter(|_| !request.csr.is_empty()),
        error: request.error.clone(),
    })
}

/// The serial number typed.
pub fn serial(call: &Call<'_>) -> Result<Serial, CommandError> {
    let typed = call.args.text("serial").parse::<Serial>();
    typed.map_err(|error| call.refuse("serial", error.to_string()))
}

/// As IOS lists certificates: two hex digits an octet.
pub fn octets(serial: &Serial) -> String {
    hex(serial.as_be_bytes())
}

#[derive(Serialize)]
#[serde(transparent)]
struct Pem(Shown);

impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.pem)
    }
}
