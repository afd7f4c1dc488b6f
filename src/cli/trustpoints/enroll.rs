//! `crypto pki enroll` and `crypto pki import … certificate`: a trustpoint's own certificate.

use std::fmt;

use serde::Serialize;

use super::questions::{self, Way};
use crate::cli::command::{Messages, groups};
use crate::cli::{Call, Command, CommandError, Output, Run, key_files};
use crate::config::{Configuration, EnrollmentMethod, ProfileWay, TrustpointSection};
use crate::node::{Answers, Node, UpperRequestReport};
use crate::pki::Name;
use crate::pki::archive::pem;
use crate::store::TrustedKind;

pub const COMMANDS: &[Command] = &[
    Command {
        words: "crypto pki/ca enroll <label>",
        about: "Asks the CA of a trustpoint for a certificate. By SCEP the server goes on by itself until it is \
                there; else the request is shown, or written to files",
        help: &[("enroll", "Ask for a certificate"), ("<label>", "Trustpoint")],
        run: Run::OnNode(enroll),
    },
    Command {
        words: "no crypto pki/ca enroll <label>",
        about: "Gives up the request that a trustpoint has under way",
        help: &[("no", "Take back"), ("enroll", "Request under way"), ("<label>", "Trustpoint")],
        run: Run::OnNode(|node, call| {
            super::section(&node.configuration(), call)?;
            let label = call.args.text("label");
            let said = match node.cancel_enrollment(label)? {
                0 => format!("% Trustpoint {label} has asked for nothing."),
                _ => format!("% The request of trustpoint {label} is given up."),
            };
            Ok(Output::of(Messages::from(said)))
        }),
    },
    Command {
        words: "crypto pki/ca import <label> certificate [url <url>]",
        about: "Takes the certificate for the request of a trustpoint: pasted, or from the files beside the \
                request, or from the file named, which IOS has not",
        help: &[
            ("import", "Bring a certificate"),
            ("<label>", "Trustpoint"),
            ("certificate", "For the request that was shown or written"),
            ("url", "From this file"),
            ("<url>", "As in nvram:branch1.crt"),
        ],
        run: Run::OnNode(import),
    },
    Command {
        words: "no crypto pki/ca import <label> certificate",
        about: "Forgets the certificate that a trustpoint has for itself; its key stays",
        help: &[
            ("no", "Take back"),
            ("import", "Certificate that was brought"),
            ("<label>", "Trustpoint"),
            ("certificate", "That of the trustpoint itself"),
        ],
        run: Run::OnNode(forget),
    },
];

fn enroll(node: &Node, call: &mut Call<'_>) -> Result<Output, CommandError> {
    let label = call.args.text("label").to_owned();
    let configuration = node.configuration();
    let section = super::section(&configuration, call)?;
    let way = Way::of(section, &configuration);
    if way == Way::SelfSigned {
        return self_signed(node, call, &label);
    }
    let profile = super::profile(section, &configuration)?;
    node.may_enroll(&label)?;
    let parameters =
        profile.map(|profile| questions::parameters(call, profile)).transpose()?.unwrap_or_default();
    let answered = questions::ask(call, section, &configuration)?;
    let display = match way {
        Way::Terminal => {
            let yes = call.options.yes || call.options.json;
            call.console.confirm("Display Certificate Request to terminal? [yes/no]: ", yes)?
        }
        Way::Files => call.confirm("Send Certificate Request to file system? [yes/no]: ").map(|()| false)?,
        _ => call.confirm("Request certificate from CA? [yes/no]: ").map(|()| false)?,
    };
    let answers = Answers {
        password: answered.password,
        serial_number: answered.serial_number,
        ip_address: answered.ip_address,
        parameters,
    };
    let requests = node.enroll(&label, answers)?;
    if display && !call.options.json {
        show(call, &requests, has_pem(section, &configuration))?;
    }
    let shown = requests.iter().filter(|_| display).map(|request| pem::write(pem::REQUEST, &request.csr));
    let pem = shown.collect();
    Ok(Output::of(Requested { way, requests, pem }))
}

/// What HTTPS is served with, made anew: its key stays.
fn self_signed(node: &Node, call: &mut Call<'_>, label: &str) -> Result<Output, CommandError> {
    if node.self_signed(Some(label))?.is_some() {
        call.say("% There is a self-signed certificate already, which will be replaced.\n")?;
    }
    call.confirm("Generate Self Signed Router Certificate? [yes/no]: ")?;
    node.renew_self_signed(label)?;
    let said = "Router Self Signed Certificate successfully created".to_owned();
    Ok(Output::of(Messages::from(said)))
}

/// Whether requests are shown with PEM boundaries.
fn has_pem(section: &TrustpointSection, configuration: &Configuration) -> bool {
    match &section.enrollment.method {
        Some(EnrollmentMethod::Terminal { pem }) => *pem,
        Some(EnrollmentMethod::Profile(label)) => {
            let way = configuration.profiles.get(label).and_then(|profile| profile.enrollment.way.clone());
            matches!(way, Some(ProfileWay::Terminal { pem: true }))
        }
        _ => false,
    }
}

/// Shows each request, again as often as is wanted.
fn show(call: &mut Call<'_>, requests: &[UpperRequestReport], boundaries: bool) -> Result<(), CommandError> {
    for request in requests {
        let title = match requests.len() {
            1 => String::new(),
            _ => format!("{} key certificate request -\n", usage(request.kind)),
        };
        let text = pem::write(pem::REQUEST, &request.csr);
        let text = match boundaries {
            true => text,
            false => {
                let lines = text.lines().filter(|line| !line.starts_with("-----"));
                lines.map(|line| format!("{line}\n")).collect()
            }
        };
        let mut again = true;
        while again {
            call.say(&format!("{title}Certificate Request follows:\n\n{text}\n{END}\n\n"))?;
            again = call.console.confirm("Redisplay enrollment request? [yes/no]: ", false)?;
        }
    }
    Ok(())
}

/// In the words of IOS.
fn usage(kind: TrustedKind) -> &'static str {
    match kind.next() {
        TrustedKind::NextOwnEncryption => "Encryption",
        _ => "Signature",
    }
}

fn import(node: &Node, call: &mut Call<'_>) -> Result<Output, CommandError> {
    let label = call.args.text("label").to_owned();
    let configuration = node.configuration();
    let section = super::section(&configuration, call)?;
    let given = match (call.args.get("url"), Way::of(section, &configuration)) {
        (Some(_), _) => Some(key_files::read(node, &key_files::url(call)?)?.to_vec()),
        (None, Way::Files) => None,
        (None, Way::Terminal) => Some(call.paste(PASTE)?.into_bytes()),
        (None, Way::Sent | Way::SelfSigned) => {
            return Err(CommandError::Refused(format!(
                "trustpoint {label} is not enrolled by hand; its certificate is not brought by an operator"
            )));
        }
    };
    let taken = node.import_certificate(&label, given.as_deref())?;
    let taken = taken.iter().map(|certificate| Taken {
        subject: Name::from_der(certificate.subject_raw()).to_string(),
        serial: certificate.serial().to_string(),
        not_after: certificate.not_after().to_string(),
    });
    Ok(Output::of(Imported { trustpoint: label, certificates: taken.collect() }))
}

fn forget(node: &Node, call: &mut Call<'_>) -> Result<Output, CommandError> {
    super::section(&node.configuration(), call)?;
    let label = call.args.text("label");
    call.confirm("% Are you sure you want to remove the certificate [yes/no]? ")?;
    let said = match node.forget_own(label)? {
        0 => format!("% Trustpoint {label} has no certificate."),
        _ => "% Be sure to ask the CA administrator to revoke this certificate.".to_owned(),
    };
    Ok(Output::of(Messages::from(said)))
}

/// What was asked for, and what has come of it so far.
#[derive(Serialize)]
struct Requested {
    #[serde(skip)]
    way: Way,
    requests: Vec<UpperRequestReport>,
    // Those that are shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pem: Vec<String>,
}

impl fmt::Display for Requested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.way {
            Way::Files => {
                let files = self.requests.iter().filter_map(|request| request.file.as_ref());
                files
                    .into_iter()
                    .try_for_each(|file| writeln!(f, "% Certificate request written to {file}"))?;
            }
            Way::Terminal => {}
            _ => f.write_str(SENT)?,
        }
        for request in &self.requests {
            let which = match self.requests.len() {
                1 => String::new(),
                _ => format!("{} ", usage(request.kind)),
            };
            let prints = [
                ("MD5", &request.fingerprint_md5),
                ("SHA1", &request.fingerprint_sha1),
                ("SHA256", &request.fingerprint_sha256),
            ];
            for (hash, digits) in prints {
                writeln!(f, "  {which}Certificate Request Fingerprint {hash}: {}", groups(digits))?;
            }
            request.error.iter().try_for_each(|error| writeln!(f, "% {error}"))?;
        }
        match self.requests.iter().all(|request| request.granted) {
            true => writeln!(f, "% The certificate was received from the Certificate Authority."),
            false => Ok(()),
        }
    }
}

/// A certificate that was brought.
#[derive(Serialize)]
struct Taken {
    subject: String,
    serial: String,
    not_after: String,
}

#[derive(Serialize)]
struct Imported {
    trustpoint: String,
    certificates: Vec<Taken>,
}

impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.certificates.iter().try_for_each(|_| writeln!(f, "% Router Certificate successfully imported"))
    }
}

const PASTE: &str = "Enter the base 64 encoded certificate.\n\
                     End with a blank line or the word \"quit\" on a line by itself\n";
const END: &str = "---End - This line not part of the certificate request---";
const SENT: &str = "\
% Certificate request sent to Certificate Authority
% The 'show crypto pki certificates' command will also show the fingerprint.
";
