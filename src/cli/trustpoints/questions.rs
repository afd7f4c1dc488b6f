//! What `crypto pki enroll` asks before it sends a request, in the words of IOS.

use std::collections::BTreeMap;
use std::net::IpAddr;

use secrecy::{ExposeSecret, SecretString};

use super::super::{Call, CommandError};
use crate::config::{
    Configuration, EnrollmentMethod, Fqdn, Parameter, ProfileSection, ProfileWay, TrustpointSection,
};

/// What was answered; `None` where nothing was asked, because the trustpoint says it.
#[derive(Default)]
pub struct Answered {
    /// The challenge password; `None` too when none was typed.
    pub password: Option<SecretString>,
    /// Whether the subject has the serial number of this host.
    pub serial_number: Option<bool>,
    /// The address in the request; `None` too when there is to be none.
    pub ip_address: Option<IpAddr>,
}

/// How a trustpoint reaches its CA, as the operator meets it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Requests are sent.
    Sent,
    /// Requests are shown, and certificates are pasted.
    Terminal,
    /// Requests are written to files.
    Files,
    /// The certificate is made here.
    SelfSigned,
}

impl Way {
    /// Of this trustpoint, for its own certificate.
    pub fn of(section: &TrustpointSection, configuration: &Configuration) -> Self {
        match &section.enrollment.method {
            Some(EnrollmentMethod::SelfSigned) => Self::SelfSigned,
            Some(EnrollmentMethod::Terminal { .. }) => Self::Terminal,
            Some(EnrollmentMethod::Url { .. }) if section.enrollment.is_by_hand() => Self::Files,
            Some(EnrollmentMethod::Profile(label)) => {
                let profile = configuration.profiles.get(label);
                Self::of_profile(profile.and_then(|profile| profile.enrollment.way.as_ref()))
            }
            _ => Self::Sent,
        }
    }

    /// Of a task of a profile.
    pub fn of_profile(way: Option<&ProfileWay>) -> Self {
        match way {
            Some(ProfileWay::Terminal { .. }) => Self::Terminal,
            Some(ProfileWay::Url(url)) => match url.split_once("://") {
                Some((scheme, _)) if scheme.to_ascii_lowercase().starts_with("http") => Self::Sent,
                _ => Self::Files,
            },
            None => Self::Sent,
        }
    }
}

/// Asks about the certificate, and says what it will be for.
pub fn ask(
    call: &mut Call<'_>,
    section: &TrustpointSection,
    configuration: &Configuration,
) -> Result<Answered, CommandError> {
    let way = Way::of(section, configuration);
    let mut answered = Answered::default();
    call.say("%\n% Start certificate enrollment ..\n")?;
    if way == Way::Sent && section.request.password.is_none() {
        answered.password = challenge(call)?;
    }
    names(call, section, configuration)?;
    if section.request.serial_number.is_none() {
        answered.serial_number = Some(call.console.confirm(SERIAL, false)?);
    }
    if section.request.ip_address.is_none() {
        answered.ip_address = address(call)?;
    }
    Ok(answered)
}

/// The challenge password, typed twice; none when nothing is typed.
fn challenge(call: &mut Call<'_>) -> Result<Option<SecretString>, CommandError> {
    call.say(CHALLENGE)?;
    let first = call.ask_secret("Password: ")?;
    if first.expose_secret().is_empty() {
        return Ok(None);
    }
    let second = call.ask_secret("Re-enter password: ")?;
    if first.expose_secret() != second.expose_secret() {
        return Err(CommandError::Refused("the passwords differ; nothing was requested".into()));
    }
    Ok(Some(first))
}

fn names(
    call: &mut Call<'_>,
    section: &TrustpointSection,
    configuration: &Configuration,
) -> Result<(), CommandError> {
    let fqdn = match &section.request.fqdn {
        None => Some(configuration.fqdn()),
        Some(Fqdn::Name(name)) => Some(name.clone()),
        Some(Fqdn::None) => None,
    };
    if let Some(fqdn) = &fqdn {
        call.say(&format!("% The fully-qualified domain name in the certificate will be: {fqdn}\n"))?;
    }
    match (&section.request.subject_name, fqdn) {
        (Some(name), _) => call.say(&format!("% The subject name in the certificate will include: {name}\n")),
        (None, Some(fqdn)) => call.say(&format!("% The subject name in the certificate will be: {fqdn}\n")),
        (None, None) => Ok(()),
    }
}

fn address(call: &mut Call<'_>) -> Result<Option<IpAddr>, CommandError> {
    if !call.console.confirm(ADDRESS, false)? {
        return Ok(None);
    }
    let typed = call.console.ask("Enter Interface name or IP Address[]: ")?;
    let address = typed.trim().parse();
    address.map(Some).map_err(|_| {
        CommandError::Refused(format!(
            "\"{}\" is not an IPv4 or IPv6 address; interfaces are a router's. Nothing was requested",
            typed.trim()
        ))
    })
}

/// Asks for the parameters of a profile that its commands for the trustpoint's certificate have and that are
/// to be asked for.
pub fn parameters(
    call: &mut Call<'_>,
    profile: &ProfileSection,
) -> Result<BTreeMap<u8, SecretString>, CommandError> {
    let commands = [profile.enrollment.command.as_deref(), profile.reenrollment.command.as_deref()];
    let mut answers = BTreeMap::new();
    for (number, parameter) in &profile.parameters {
        let variable = format!("$P{number}");
        let is_used = commands.iter().flatten().any(|command| command.contains(&variable));
        if let (Parameter::Prompt(prompt), true) = (parameter, is_used) {
            // It may be a password, and nothing says that it is not.
            answers.insert(*number, call.ask_secret(&format!("{} ", prompt.trim_end()))?);
        }
    }
    Ok(answers)
}

const CHALLENGE: &str = "\
% Create a challenge password. You will need to verbally provide this
   password to the CA Administrator in order to revoke your certificate.
   For security reasons your password will not be saved in the configuration.
   Please make a note of it.

";
const SERIAL: &str = "% Include the router serial number in the subject name? [yes/no]: ";
const ADDRESS: &str = "% Include an IP address in the subject name? [no]: ";
