//! `show crypto pki trustpoints`: which CAs are trusted, and how far enrolment with them is.

use std::fmt;

use serde::Serialize;

use crate::cli::certificates::{rdns, usage};
use crate::cli::command::groups;
use crate::cli::{Call, Command, CommandError, Output, Run};
use crate::node::{Node, NodeError, TrustedReport, TrustpointReport};
use crate::pki::{Certificate, Hash, Name, Serial, hex};
use crate::store::{TrustedKind, UpperPhase};

pub const COMMANDS: &[Command] = &[Command {
    words: "show crypto pki/ca trustpoints [<label>] [status]",
    about: "Shows trustpoints: their CAs and where those are; with `status` how far enrolment is",
    help: &[("trustpoints", "Trustpoints"), ("status", "How far enrolment is"), ("<label>", "Trustpoint")],
    run: Run::OnNode(trustpoints),
}];

fn trustpoints(node: &Node, call: &mut Call<'_>) -> Result<Output, CommandError> {
    let configuration = node.configuration();
    let status = call.args.has("status");
    let labels: Vec<_> = match call.args.get("label") {
        Some(label) => {
            super::section(&configuration, call)?;
            vec![label.to_owned()]
        }
        None => configuration.trustpoints.keys().cloned().collect(),
    };
    let keys = node.keys().unwrap_or_default();
    let mut shown = Vec::new();
    for label in labels {
        let section = &configuration.trustpoints[&label];
        let mut row = match () {
            () if section.is_selfsigned() => Row::self_signed(node, label)?,
            () => match node.trustpoint_reports(Some(&label)) {
                Ok(mut reports) => reports.pop().map(Row::client).unwrap_or_default(),
                // That of a root.
                Err(_) if configuration.servers.contains_key(&label) => Row::server(node, label)?,
                Err(error) => return Err(error.into()),
            },
        };
        row.status = status;
        row.keys = keys
            .iter()
            .filter(|key| key.is_named(&row.key))
            .map(|key| {
                format!("{}, {}", key.usage, if key.exportable { "exportable" } else { "non-exportable" })
            })
            .collect();
        shown.push(row);
    }
    Ok(Output::of(Trustpoints(shown)))
}

#[derive(Serialize)]
struct Trustpoints(Vec<Row>);

/// A trustpoint, whatever it is for.
#[derive(Default, Serialize)]
struct Row {
    name: String,
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    enrollment: Option<String>,
    scep: bool,
    authenticated: bool,
    ca: Option<Identity>,
    own: Vec<Identity>,
    next_ca: Option<Identity>,
    next_own: Vec<Identity>,
    requests: Vec<Asked>,
    // Label of the key pair.
    key: String,
    // What is known of its keys.
    keys: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    renews: Option<String>,
    #[serde(skip)]
    status: bool,
}

/// A certificate.
#[derive(Serialize)]
struct Identity {
    subject: String,
    serial: String,
    fingerprint_md5: String,
    fingerprint_sha1: String,
    fingerprint_sha256: String,
    usage: &'static str,
}

/// A request.
#[derive(Serialize)]
struct Asked {
    phase: UpperPhase,
    next_try: String,
    tries: u32,
    count: u32,
    error: Option<String>,
}

impl Row {
    fn client(report: TrustpointReport) -> Self {
        let ca = |kind| report.authorities.iter().find(|ca| ca.kind == kind).map(Identity::trusted);
        let own = |next: bool| {
            let own = report.own.iter().filter(|own| own.kind.is_next() == next);
            own.map(Identity::trusted).collect::<Vec<_>>()
        };
        let asked = report.requests.iter().map(|request| Asked {
            phase: request.phase,
            next_try: request.next_try.to_string(),
            tries: request.tries,
            count: request.count,
            error: request.error.clone(),
        });
        Self {
            role: "client",
            scep: report.scep,
            authenticated: report.authenticated,
            ca: ca(TrustedKind::Ca),
            next_ca: ca(TrustedKind::NextCa),
            own: own(false),
            next_own: own(true),
            requests: asked.collect(),
            renews: report.renews.filter(|_| report.automatic).map(|at| at.to_string()),
            name: report.name,
            enrollment: report.enrollment,
            key: report.key,
            ..Self::default()
        }
    }

    fn self_signed(node: &Node, name: String) -> Result<Self, NodeError> {
        let own = node.self_signed(Some(&name))?.and_then(|(_, der)| Identity::of(&der));
        let section = node.configuration().trustpoints.remove(&name);
        let key = section.and_then(|section| section.key.map(|key| key.label().to_owned()));
        Ok(Self {
            role: "self-signed",
            own: own.into_iter().collect(),
            key: key.unwrap_or_else(|| name.clone()),
            name,
            ..Self::default()
        })
    }

    fn server(node: &Node, name: String) -> Result<Self, NodeError> {
        let certificates = node.server(&name)?.certificates()?;
        let ca = certificates.iter().find_map(|der| Identity::of(der));
        let key = node.holdings(&name).ok().and_then(|held| held.pairs.into_iter().next());
        Ok(Self {
            role: "server",
            authenticated: ca.is_some(),
            ca,
            key: key.map_or_else(|| name.clone(), |pair| pair.key),
            name,
            ..Self::default()
        })
    }
}

impl Identity {
    fn of(der: &[u8]) -> Option<Self> {
        let certificate = Certificate::parse(der).ok()?;
        let digest = |hash: Hash| hex(&hash.digest(&[der]));
        Some(Self {
            subject: Name::from_der(certificate.subject_raw()).to_string(),
            serial: octets(certificate.serial()),
            fingerprint_md5: digest(Hash::Md5),
            fingerprint_sha1: digest(Hash::Sha1),
            fingerprint_sha256: digest(Hash::Sha256),
            usage: usage(&certificate),
        })
    }

    fn trusted(report: &TrustedReport) -> Self {
        Self {
            subject: report.subject.clone(),
            serial: octets(&report.serial),
            fingerprint_md5: report.fingerprint_md5.clone(),
            fingerprint_sha1: report.fingerprint_sha1.clone(),
            fingerprint_sha256: report.fingerprint_sha256.clone(),
            usage: Certificate::parse(&report.der)
                .map_or("General Purpose", |certificate| usage(&certificate)),
        }
    }

    /// As in `status`.
    fn status(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "    Subject Name:\n     {}", self.subject)?;
        writeln!(f, "    Fingerprint MD5: {}", groups(&self.fingerprint_md5))?;
        writeln!(f, "    Fingerprint SHA1: {}", groups(&self.fingerprint_sha1))?;
        writeln!(f, "    Fingerprint SHA256: {}", groups(&self.fingerprint_sha256))
    }
}

fn octets(serial: &Serial) -> String {
    hex(serial.as_be_bytes())
}

impl fmt::Display for Trustpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            writeln!(f, "% No trustpoint is configured.")?;
        }
        for (i, row) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            writeln!(f, "Trustpoint {}:", row.name)?;
            match row.status {
                true => row.state(f)?,
                false => row.summary(f)?,
            }
        }
        Ok(())
    }
}

impl Row {
    fn summary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(shown) = self.ca.as_ref().or(self.own.first()) {
            writeln!(f, "    Subject Name:")?;
            rdns(&shown.subject).try_for_each(|rdn| writeln!(f, "    {rdn}"))?;
            writeln!(f, "          Serial Number (hex): {}", shown.serial)?;
        }
        match (self.role, self.own.is_empty()) {
            ("self-signed", _) => return writeln!(f, "    Persistent self-signed certificate trust point"),
            ("server", _) => return writeln!(f, "    Certificate Server of this host."),
            (_, false) => writeln!(f, "    Certificate configured.")?,
            (_, true) if !self.authenticated => writeln!(f, "    The CA is not authenticated.")?,
            (_, true) => {}
        }
        match (&self.enrollment, self.scep) {
            (Some(url), true) => writeln!(f, "    SCEP URL: {url}"),
            (Some(way), false) => writeln!(f, "    Enrollment: {way}"),
            (None, _) => Ok(()),
        }
    }

    fn state(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuing = [("", &self.ca), (" (Rollover)", &self.next_ca)];
        for (next, ca) in issuing {
            if let Some(ca) = ca {
                writeln!(f, "  Issuing CA certificate{next} configured:")?;
                ca.status(f)?;
            }
        }
        for (next, own) in [("", &self.own), (" (Rollover)", &self.next_own)] {
            for own in own {
                writeln!(f, "  Router {} certificate{next} configured:", own.usage)?;
                own.status(f)?;
            }
        }
        let attempt = self.requests.iter().find(|request| request.phase != UpperPhase::Manual);
        if let Some(at) = attempt.map(|request| &request.next_try).or(self.renews.as_ref()) {
            writeln!(f, "  Next enrollment attempt:\n     {at}")?;
        }
        for request in self.requests.iter().filter(|request| request.phase != UpperPhase::Manual) {
            writeln!(f, "  Tries: {} of {}", request.tries, request.count)?;
            request.error.iter().try_for_each(|error| writeln!(f, "  Last error: {error}"))?;
        }
        writeln!(f, "  State:")?;
        let keys = match self.keys.is_empty() {
            true => "No".to_owned(),
            false => format!("Yes ({})", self.keys.join("; ")),
        };
        writeln!(f, "    Keys generated ............. {keys}")?;
        let yes = |it: bool| if it { "Yes" } else { "No" };
        if self.role != "self-signed" {
            writeln!(f, "    Issuing CA authenticated ....... {}", yes(self.authenticated))?;
        }
        let requested =
            match self.requests.iter().map(|request| request.phase).max_by_key(|phase| rank(*phase)) {
                Some(UpperPhase::Failed) => "Failed",
                Some(UpperPhase::Pending) => "Pending",
                Some(UpperPhase::Manual) => "Waiting for `crypto pki import`",
                Some(UpperPhase::Making | UpperPhase::Sending) => "Being sent",
                None if self.own.is_empty() => "None",
                None => "Yes",
            };
        match self.role {
            "client" => writeln!(f, "    Certificate request(s) ..... {requested}"),
            _ => Ok(()),
        }
    }
}

/// Of several requests, which one is told about: the one that most needs somebody.
const fn rank(phase: UpperPhase) -> u8 {
    match phase {
        UpperPhase::Making | UpperPhase::Sending => 0,
        UpperPhase::Pending => 1,
        UpperPhase::Manual => 2,
        UpperPhase::Failed => 3,
    }
}
