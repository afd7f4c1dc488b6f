//! `crypto pki authenticate`: is this the CA that is meant?

use std::fmt;

use serde::Serialize;

use super::questions::Way;
use crate::cli::command::groups;
use crate::cli::{Call, Command, CommandError, Output, Run};
use crate::config::{Configuration, EnrollmentMethod, TrustpointSection};
use crate::node::{Node, Offered, OfferedRegistrar, Verdict};

pub const COMMANDS: &[Command] = &[Command {
    words: "crypto pki/ca authenticate <label>",
    about: "Gets the certificate of the CA of a trustpoint, shows its fingerprints and asks whether it is the \
            right one; with `fingerprint` in the trustpoint it compares instead of asking",
    help: &[("authenticate", "Get the CA certificate"), ("<label>", "Trustpoint")],
    run: Run::OnNode(authenticate),
}];

fn authenticate(node: &Node, call: &mut Call<'_>) -> Result<Output, CommandError> {
    let label = call.args.text("label").to_owned();
    let configuration = node.configuration();
    let section = super::section(&configuration, call)?;
    if section.enrollment.method.is_none() && section.root.is_none() {
        return Err(CommandError::Refused(NO_URL.into()));
    }
    super::profile(section, &configuration)?;
    let given = match way(section, &configuration) {
        Way::Terminal => Some(call.paste(PASTE)?),
        Way::SelfSigned => {
            return Err(CommandError::Refused(format!(
                "trustpoint {label} signs its certificate itself: there is no CA to authenticate"
            )));
        }
        Way::Sent | Way::Files => None,
    };
    let offered = node.authenticate(&label, given.as_deref().map(str::as_bytes))?;
    let attributes = attributes(&offered);
    call.say(&attributes)?;
    match offered.verdict {
        Verdict::Matches => call.say("% The fingerprint is that of the trustpoint.\n")?,
        Verdict::Differs => {
            return Err(CommandError::Refused(format!(
                "this is another CA: its fingerprint is not {}, which trustpoint {label} has; nothing was accepted",
                section.fingerprint.as_ref().map(ToString::to_string).unwrap_or_default()
            )));
        }
        // With --json nothing was said: who is asked must see what about. `--yes` is no answer, for nobody
        // has looked.
        Verdict::Unasked => {
            let before = if call.options.json { attributes.as_str() } else { "" };
            if !call.console.confirm(&format!("{before}{QUESTION}"), false)? {
                return Err(CommandError::Refused(NOT_ACCEPTED.into()));
            }
        }
    }
    let report = Accepted {
        trustpoint: label,
        fingerprint_md5: offered.fingerprint_md5.clone(),
        fingerprint_sha1: offered.fingerprint_sha1.clone(),
        fingerprint_sha256: offered.fingerprint_sha256.clone(),
        pasted: given.is_some(),
    };
    node.accept(offered)?;
    Ok(Output::of(report))
}

/// How the CA certificate comes.
fn way(section: &TrustpointSection, configuration: &Configuration) -> Way {
    match &section.enrollment.method {
        _ if section.root.is_some() => Way::Files,
        Some(EnrollmentMethod::Profile(label)) => {
            let profile = configuration.profiles.get(label);
            Way::of_profile(profile.and_then(|profile| profile.authentication.way.as_ref()))
        }
        _ => Way::of(section, configuration),
    }
}

/// What is shown of the certificates of a CA before anybody accepts them, those of RAs too.
pub fn attributes(offered: &Offered) -> String {
    let lines = [
        ("       Fingerprint MD5", &offered.fingerprint_md5),
        ("      Fingerprint SHA1", &offered.fingerprint_sha1),
        ("    Fingerprint SHA256", &offered.fingerprint_sha256),
    ];
    let lines: String = lines.map(|(title, digits)| format!("{title}: {}\n", groups(digits))).concat();
    let registrar = |registrar: &OfferedRegistrar| {
        let (subject, digits) = (&registrar.subject, groups(&registrar.fingerprint_sha256));
        format!("RA certificate {subject}\n    Fingerprint SHA256: {digits}\n\n")
    };
    let unmarked = |unmarked: &OfferedRegistrar| {
        let subject = &unmarked.subject;
        format!("% {subject} is left out: nothing says that it is an RA; \"enrollment mode ra\" would\n\n")
    };
    let registrars: String = offered.registrars.iter().map(registrar).collect();
    let unmarked: String = offered.unmarked.iter().map(unmarked).collect();
    format!("Certificate has the following attributes:\n{lines}\n{registrars}{unmarked}")
}

/// What was accepted.
#[derive(Serialize)]
struct Accepted {
    trustpoint: String,
    fingerprint_md5: String,
    fingerprint_sha1: String,
    fingerprint_sha256: String,
    #[serde(skip)]
    pasted: bool,
}

impl fmt::Display for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Trustpoint CA certificate accepted.")?;
        if self.pasted {
            writeln!(f, "% Certificate successfully imported")?;
        }
        Ok(())
    }
}

const NO_URL: &str = "You must specify an enrollment URL for this CA before you can authenticate it\n\
                      hint: `enrollment url` or `enrollment terminal` in the trustpoint";
const PASTE: &str = "Enter the base 64 encoded CA certificate.\n\
                     End with a blank line or the word \"quit\" on a line by itself\n";
/// Asked behind them.
pub const QUESTION: &str = "% Do you accept this certificate? [yes/no]: ";
const NOT_ACCEPTED: &str = "the CA certificate was not accepted, nothing was done\n\
                            hint: compare the fingerprint with what the operator of the CA says, and answer yes, or \
                            type it as `fingerprint` in the trustpoint; --yes does not answer this question";
