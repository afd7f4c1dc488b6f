//! `crypto pki server L …`: enrollment requests and one-time passwords.

use std::fmt;

use secrecy::ExposeSecret;
use serde::Serialize;

use super::server::server;
use super::{Call, Command, CommandError, Output, Run};
use crate::files::FileUrl;
use crate::node::{CertServer, Decision, Node, RequestRow, Selection};
use crate::pki::archive::pem;
use crate::pki::{Name, chain};
use crate::store::Class;

pub const COMMANDS: &[Command] = &[
    Command {
        words: "show crypto pki/ca server <label> requests",
        about: "The same as `crypto pki server <label> info requests`",
        help: &[("server", "Certificate servers"), ("requests", "Enrollment requests")],
        run: Run::OnNode(|node, call| Ok(Output::of(Requests::of(server(node, call)?.as_ref())?))),
    },
    Command {
        words: "crypto pki/ca server <label> info requests",
        about: "Lists the enrollment requests with their states",
        help: &[("info", "Show what the server has"), ("requests", "Enrollment requests")],
        run: Run::OnNode(|node, call| Ok(Output::of(Requests::of(server(node, call)?.as_ref())?))),
    },
    Command {
        words: "crypto pki/ca server <label> request pkcs10 {terminal | url <url> | <url>} [base64 | pem]",
        about: "Takes a request by hand, pasted or from a file; its certificate is printed when it is granted",
        help: &[
            ("request", "Bring a request by hand"),
            ("pkcs10", "A PKCS#10"),
            ("terminal", "Paste it"),
            ("url", "Read it from a file"),
            ("<url>", "As in nvram:r1.req or tftp://192.0.2.1/r1.req"),
            ("base64", "Print the certificate in base64"),
            ("pem", "Print the certificate in PEM"),
        ],
        run: Run::OnNode(|node, call| request(node, call, false)),
    },
    Command {
        words: "crypto pki/ca server <label> grant {all | <ids>}",
        about: "Issues the certificates of pending requests",
        help: &[
            ("grant", "Grant requests"),
            ("all", "All pending requests"),
            ("<ids>", "ReqID, as 3 or 3-7"),
        ],
        run: Run::OnNode(|node, call| Ok(decisions(server(node, call)?.grant(selection(call)?)?))),
    },
    Command {
        words: "crypto pki/ca server <label> reject {all | <ids>}",
        about: "Denies pending requests",
        help: &[
            ("reject", "Deny requests"),
            ("all", "All pending requests"),
            ("<ids>", "ReqID, as 3 or 3-7"),
        ],
        run: Run::OnNode(|node, call| Ok(decisions(server(node, call)?.reject(selection(call)?)?))),
    },
    Command {
        words: "crypto pki/ca server <label> remove {all | <ids>}",
        about: "Forgets requests; certificates issued stay",
        help: &[("remove", "Forget requests"), ("all", "All requests"), ("<ids>", "ReqID, as 3 or 3-7")],
        run: Run::OnNode(|node, call| Ok(decisions(server(node, call)?.remove(selection(call)?)?))),
    },
    Command {
        words: "crypto pki/ca server <label> password generate [<minutes:1-1440>] [subject <dn...>]",
        about: "Makes a one-time password that authorizes a request, valid for an hour by default; a new one \
                replaces the last, unless they are bound to subjects",
        help: &[
            ("password", "One-time passwords"),
            ("generate", "Make one"),
            ("<minutes>", "How long it is valid"),
            ("subject", "For a request with this subject only"),
            ("<dn>", "As in CN=r1, O=Example"),
        ],
        run: Run::OnNode(password),
    },
];

/// `all`, `3` or `3-7`.
fn selection(call: &Call<'_>) -> Result<Selection, CommandError> {
    let Some(ids) = call.args.get("ids") else { return Ok(Selection::All) };
    let (first, last) = ids.split_once('-').unwrap_or((ids, ids));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok(Selection::Range(first, last)),
        _ => Err(call.refuse("ids", "requests are named all, 3 or 3-7")),
    }
}

/// Takes a request by hand, for a certificate of the `next` CA or of that which acts.
pub fn request(node: &Node, call: &mut Call<'_>, next: bool) -> Result<Output, CommandError> {
    let server = server(node, call)?;
    let octets = match call.args.get("url") {
        Some(url) => {
            let url = FileUrl::parse(url).map_err(|error| call.refuse("url", error.to_string()))?;
            node.files().read(&url, None).map_err(|error| CommandError::Refused(chain(&error)))?
        }
        None => call.paste(PASTE)?.into_bytes(),
    };
    let decision = server.request(&pkcs10(octets)?, call.args.has("pem"), next)?;
    let failed = decision.error.is_some();
    let mut output = Output::of(Taken(decision));
    output.failed = failed;
    Ok(output)
}

/// A PKCS#10 as DER: from PEM, from base64, or as it is.
fn pkcs10(octets: Vec<u8>) -> Result<Vec<u8>, CommandError> {
    match String::from_utf8(octets) {
        Ok(text) => match pem::der_of(&text, "CERTIFICATE REQUEST") {
            Ok(der) => Ok(der.to_vec()),
            Err(error) => Err(CommandError::Refused(chain(&error))),
        },
        Err(binary) => Ok(binary.into_bytes()),
    }
}

/// The prompt of IOS.
const PASTE: &str = "% Enter Base64 encoded or PEM formatted PKCS10 enrollment request.\n\
                     % End with a blank line or \"quit\" on a line by itself.";

#[derive(Serialize)]
#[serde(transparent)]
struct Taken(Decision);

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Decision { id, state, error, printed, .. } = &self.0;
        match (printed, error, state) {
            (Some(certificate), ..) => write!(f, "% Granted certificate:\n{certificate}"),
            (None, Some(error), _) => writeln!(f, "% Enrollment request malformed, reqId={id}\n% {error}"),
            (None, None, Some(state)) => writeln!(f, "% Enrollment request {state}, reqId={id}"),
            (None, None, None) => Ok(()),
        }
    }
}

fn password(node: &Node, call: &mut Call<'_>) -> Result<Output, CommandError> {
    // 1440 at most.
    let minutes = call.args.number("minutes").and_then(|minutes| u32::try_from(minutes).ok()).unwrap_or(60);
    let subject = call.args.get("dn");
    let name = subject.map(Name::parse).transpose().map_err(|error| call.refuse("dn", error.to_string()))?;
    let password = server(node, call)?.generate_password(minutes, subject)?;
    let subject = name.map(|name| name.to_string());
    Ok(Output::of(Password { password: password.expose_secret().to_owned(), minutes, subject }))
}

/// The enrollment requests of a server.
#[derive(Serialize)]
#[serde(transparent)]
struct Requests {
    requests: Vec<RequestRow>,
    /// Whether there is a next CA that may be asked.
    #[serde(skip)]
    rollover: bool,
}

impl Requests {
    fn of(server: &CertServer) -> Result<Self, CommandError> {
        let rollover = !server.next_certificates()?.is_empty();
        Ok(Self { requests: server.requests()?, rollover })
    }
}

impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Enrollment Request Database:\n")?;
        // As on IOS: those of a rollover where there is one.
        let rollover = self.rollover || self.requests.iter().any(|row| row.rollover);
        let groups = [
            ("Subordinate CA certificate requests:", Class::SubordinateCa, false),
            ("Subordinate CA rollover certificate requests:", Class::SubordinateCa, true),
            ("RA certificate requests:", Class::Ra, false),
            ("RA rollover certificate requests:", Class::Ra, true),
            ("Router certificates requests:", Class::Router, false),
            ("Router rollover certificates requests:", Class::Router, true),
        ];
        for (title, class, of_rollover) in groups.into_iter().filter(|group| rollover || !group.2) {
            writeln!(f, "{title}")?;
            writeln!(f, "{:<7}{:<11}{:<33}SubjectName", "ReqID", "State", "Fingerprint")?;
            writeln!(f, "{:-<62}", "")?;
            for row in self.requests.iter().filter(|row| (row.class, row.rollover) == (class, of_rollover)) {
                let fingerprint = row.fingerprint.to_ascii_uppercase();
                writeln!(f, "{:<7}{:<11}{fingerprint:<33}{}", row.id, row.state, row.subject)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn decisions(decisions: Vec<Decision>) -> Output {
    let failed = decisions.iter().any(|decision| decision.error.is_some());
    let mut output = Output::of(Decisions(decisions));
    output.failed = failed;
    output
}

#[derive(Serialize)]
struct Decisions(Vec<Decision>);

impl fmt::Display for Decisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            writeln!(f, "% There are no such requests.")?;
        }
        for decision in &self.0 {
            let id = decision.id;
            if let Some(certificate) = &decision.printed {
                write!(f, "% Granted certificate:\n{certificate}")?;
                continue;
            }
            match (&decision.error, &decision.state, &decision.serial) {
                (Some(error), ..) => writeln!(f, "% reqID={id}: {error}")?,
                (None, Some(state), Some(serial)) => {
                    writeln!(f, "% reqID={id} {state}, serial number {serial}")?
                }
                (None, Some(state), None) => writeln!(f, "% reqID={id} {state}")?,
                (None, None, _) => writeln!(f, "% reqID={id} removed")?,
            }
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Password {
    password: String,
    minutes: u32,
    subject: Option<String>,
}

impl fmt::Display for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "% New password is {}, valid for {} minutes", self.password, self.minutes)?;
        self.subject.iter().try_for_each(|subject| writeln!(f, "% for the subject {subject}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{Serial, Time};
    use crate::store::{Cost, State};

    const HEAD: &str = "ReqID  State      Fingerprint                      SubjectName\n\
                        --------------------------------------------------------------\n";

    fn row(id: u64, class: Class, state: State, subject: &str) -> RequestRow {
        RequestRow {
            id,
            class,
            rollover: false,
            state,
            fingerprint: "1b07f3021daab0f19f35da25d01d8567".into(),
            fingerprint_sha256: String::new(),
            subject: subject.into(),
            transaction: String::new(),
            source: String::new(),
            created: Time::default(),
            serial: None,
            reason: None,
            cost: Cost::default(),
        }
    }

    #[test]
    fn requests_are_listed_by_group() {
        let rows = vec![
            row(3, Class::Ra, State::Denied, "cn=myra,ou=ioscs RA"),
            row(2, Class::Router, State::Pending, "hostname=host1.company.com"),
        ];
        let head = HEAD;
        assert_eq!(
            Requests { requests: rows.clone(), rollover: false }.to_string(),
            format!(
                "Enrollment Request Database:\n\n\
                 Subordinate CA certificate requests:\n{head}\n\
                 RA certificate requests:\n{head}\
                 3      denied     1B07F3021DAAB0F19F35DA25D01D8567 cn=myra,ou=ioscs RA\n\n\
                 Router certificates requests:\n{head}\
                 2      pending    1B07F3021DAAB0F19F35DA25D01D8567 hostname=host1.company.com\n\n"
            )
        );
    }

    #[test]
    fn those_of_a_rollover_have_groups_of_their_own() {
        let shadow =
            RequestRow { rollover: true, ..row(3, Class::Router, State::Pending, "hostname=client") };
        let current = row(2, Class::Router, State::Pending, "hostname=client");
        let list = |requests: &[&RequestRow], rollover| {
            let requests = requests.iter().map(|row| (*row).clone()).collect();
            Requests { requests, rollover }.to_string()
        };
        let entry = |id| format!("{id:<7}pending    1B07F3021DAAB0F19F35DA25D01D8567 hostname=client\n\n");
        let text = list(&[&current, &shadow], false);
        assert!(text.contains(&format!("Router certificates requests:\n{HEAD}{}", entry(2))), "{text}");
        assert!(
            text.ends_with(&format!("Router rollover certificates requests:\n{HEAD}{}", entry(3))),
            "{text}"
        );
        assert!(list(&[], true).contains(&format!("RA rollover certificate requests:\n{HEAD}\n")));
        assert!(!list(&[&current], false).contains("rollover"));
    }

    #[test]
    fn a_decision_that_failed_fails_the_command() {
        let granted = Decision {
            id: 1,
            state: Some(State::Granted),
            serial: Some(Serial::from(2)),
            error: None,
            printed: None,
        };
        let denied =
            Decision { id: 2, state: None, serial: None, error: Some("it is denied".into()), printed: None };
        let output = decisions(vec![granted.clone()]);
        assert_eq!(
            (output.render(false), output.failed),
            ("% reqID=1 granted, serial number 0x2\n".into(), false)
        );
        let output = decisions(vec![granted, denied]);
        assert!(output.failed);
        assert!(output.render(false).ends_with("% reqID=2: it is denied\n"));
        assert!(output.render(true).contains("\"serial\": \"0x2\""));
    }
}
