//! What can go wrong with a token, in words that name the token, the call and what may help.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use cryptoki::error::{Error as Cryptoki, RvError};

use crate::pki::{CertificateError, KeyError, KeyErrorKind, PublicKeyError, Time};

use super::call::CallError;
use super::profile::{Profile, ProfileError};

/// A token did not do what it was asked.
///
/// `Display` is `token "NAME": what happened`, and a second line `hint: …` where one is known.
pub struct TokenError(Box<Inner>);

struct Inner {
    token: String,
    problem: Problem,
    hint: Option<String>,
}

impl TokenError {
    /// `problem` of the token called `token`. A hint of its profile goes before the general ones.
    pub(super) fn new(token: &str, problem: Problem, profile: Option<&Profile>) -> Self {
        let known = match &problem {
            Problem::Call(call) => profile.and_then(|profile| profile.hint(&call.function(), &call.code())),
            _ => None,
        };
        let hint = known.map(str::to_owned).or_else(|| problem.hint(token));
        let form = profile.and_then(Profile::pin_form).filter(|_| problem.is_wrong_pin());
        let hint = match (hint, form) {
            (Some(hint), Some(form)) => Some(format!("{hint}; the PIN is {form}")),
            (None, Some(form)) => Some(format!("the PIN is {form}")),
            (hint, None) => hint,
        };
        Self(Box::new(Inner { token: token.to_owned(), problem, hint }))
    }

    /// The operator's name of the token.
    pub fn token(&self) -> &str {
        &self.0.token
    }

    /// What happened.
    pub fn problem(&self) -> &Problem {
        &self.0.problem
    }

    /// What may help.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// What it means for a request that needed the token.
    pub fn kind(&self) -> KeyErrorKind {
        self.0.problem.kind()
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "token \"{}\": {}", self.0.token, self.0.problem)?;
        match self.hint() {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenError").field("token", &self.0.token).field("problem", &self.0.problem).finish()
    }
}

impl Error for TokenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.problem.source()
    }
}

impl From<TokenError> for KeyError {
    fn from(error: TokenError) -> Self {
        Self::new(error.kind(), error)
    }
}

/// What happened, the token's name aside.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The profile cannot be used.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// Neither a module nor a profile that names one.
    #[error("no module is configured")]
    NoModule,
    /// None of the places where the module may be has it.
    #[error("no module at {}", paths(.tried))]
    ModuleMissing {
        /// The places.
        tried: Vec<PathBuf>,
    },
    /// The library is there, and is no PKCS#11 module.
    #[error("{} cannot be loaded as a PKCS#11 module", .path.display())]
    ModuleBroken {
        /// The library.
        path: PathBuf,
        /// What the loader says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Another token has given the module other parameters.
    #[error("{} was initialised with other parameters by another token", .path.display())]
    OtherParameters {
        /// The library.
        path: PathBuf,
    },
    /// No token of the module is the one that is meant.
    #[error("no token with {wanted}")]
    NoToken {
        /// The selector.
        wanted: String,
        /// Labels of the tokens that are there.
        seen: Vec<String>,
        /// Variables of the module's environment that are not set.
        unset: Vec<String>,
    },
    /// Several tokens match.
    #[error("more than one token with {wanted}")]
    ManyTokens {
        /// The selector.
        wanted: String,
        /// Labels and serial numbers of those that match.
        seen: Vec<String>,
    },
    /// The PIN cannot be had.
    #[error("the PIN cannot be read from {from}")]
    PinUnreadable {
        /// A path, a variable or the terminal.
        from: String,
        /// Why.
        source: io::Error,
    },
    /// An empty PIN, or one that the token says is too short or too long. It was not tried.
    #[error("the PIN was not tried: it has {length} octets, the token takes {least} to {most}")]
    PinLength {
        /// Octets of the PIN.
        length: usize,
        /// The least that the token takes.
        least: usize,
        /// The most that the token takes.
        most: usize,
    },
    /// The token has refused this PIN before. It was not tried again.
    #[error("the PIN was not tried: the token has refused it before")]
    PinRefused {
        /// Where that is remembered.
        lockout: Option<PathBuf>,
    },
    /// The token has refused so many PINs in a row that only an operator's is tried.
    #[error("the PIN was not tried: the token has refused {count} in a row")]
    PinsRefused {
        /// How many.
        count: usize,
    },
    /// A PIN with a line break, which no file can keep. It was not tried.
    #[error("the PIN was not tried: it has a line break")]
    PinLines,
    /// One wrong try would lock the token. The PIN was not tried.
    #[error("the PIN was not tried: one wrong try is left")]
    PinLastTry,
    /// The token says that its PIN is locked.
    #[error("the PIN was not tried: it is locked")]
    PinLocked,
    /// The configuration says that the PIN is typed at the token, which has no PIN pad
    /// (`CKF_PROTECTED_AUTHENTICATION_PATH`).
    #[error("it says that it has no PIN pad")]
    NoPinPad,
    /// The PIN is typed at the token's PIN pad, and nobody is asked for it by itself.
    #[error("it waits for its PIN, which is typed at its PIN pad")]
    PinPadWaits,
    /// Nobody has typed the PIN at the PIN pad, or somebody has cancelled.
    #[error("no PIN was typed at its PIN pad: {0}")]
    NotTyped(CallError),
    /// A PIN that is typed at a PIN pad is not changed by commands.
    #[error("its PIN is typed at its PIN pad")]
    PinPadChange,
    /// The security officer logs the user out, whose PIN nobody would type again.
    #[error(
        "its user's PIN is typed at its PIN pad, and this is done by the security officer instead of the user"
    )]
    PinPadOfficer,
    /// The file of refused PINs cannot be read or written.
    #[error("{} cannot be used", .path.display())]
    Lockout {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The security officer could not log in.
    #[error("as security officer: {0}")]
    Officer(#[source] Box<Problem>),
    /// Keys are made by the security officer, whose PIN is not configured.
    #[error("this takes the security officer, whose PIN is not configured")]
    NoOfficer,
    /// An operation under way has not ended in time.
    #[error("the token is in use and does not come to rest")]
    NoRest,
    /// Something is in every slot that a new key could have.
    #[error("no slot is free for \"{label}\": {} {} in use", .taken.join(", "), if .taken.len() == 1 { "is" } else { "are" })]
    NoSlot {
        /// The label that was asked for.
        label: String,
        /// The slots that were looked at.
        taken: Vec<String>,
    },
    /// Something else than a key of this product is where the key is to be.
    #[error("slot \"{slot}\" is in use")]
    SlotTaken {
        /// Its name.
        slot: String,
    },
    /// Not a label that a key on a token with fixed places can have.
    #[error("\"{}\" cannot be the label of this key", .label.escape_debug())]
    BadLabel {
        /// As given.
        label: String,
    },
    /// The file of labels cannot be read or written.
    #[error("{} cannot be used", .path.display())]
    Labels {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A PKCS#11 call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A key with this label is on the token already.
    #[error("a key labelled \"{label}\" is there already")]
    KeyExists {
        /// The label.
        label: String,
    },
    /// No key with this label.
    #[error("no key labelled \"{label}\"")]
    NoKey {
        /// The label.
        label: String,
    },
    /// More than one private key with this label.
    #[error("{count} keys are labelled \"{label}\"")]
    ManyKeys {
        /// The label.
        label: String,
        /// How many.
        count: usize,
    },
    /// The key was made to stay on the token.
    #[error("the key \"{label}\" is not exportable")]
    NotExportable {
        /// The label.
        label: String,
    },
    /// The key was made for something else. The token was not asked.
    #[error("the key \"{label}\" is not for {what}")]
    WrongUse {
        /// The label.
        label: String,
        /// `signatures` or `decryption`.
        what: &'static str,
    },
    /// A key in use is not found again.
    #[error("the key labelled \"{label}\" is not found again")]
    KeyGone {
        /// The label.
        label: String,
    },
    /// The public half of a key cannot be read.
    #[error("the public key of \"{label}\" cannot be read")]
    NoPublicKey {
        /// The label.
        label: String,
        /// What is wrong with it, when it is there.
        source: Option<PublicKeyError>,
    },
    /// A new key is not as it was asked to be. It was deleted.
    #[error("the {origin} key \"{label}\" was refused and deleted: {attribute} is {found}")]
    Insecure {
        /// Where it came from.
        origin: Origin,
        /// The label.
        label: String,
        /// The attribute.
        attribute: &'static str,
        /// Its value, or `missing`.
        found: &'static str,
    },
    /// A new key does not work. It was deleted.
    #[error("the {origin} key \"{label}\" was refused and deleted: its test {operation} failed")]
    TestFailed {
        /// Where it came from.
        origin: Origin,
        /// The label.
        label: String,
        /// `signature` or `decryption`.
        operation: &'static str,
        /// How.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The token has no mechanism for it.
    #[error("the token offers no mechanism for {what}")]
    NotOffered {
        /// What was asked.
        what: String,
    },
    /// The profile says that keys are not made by this product.
    #[error("keys of this token are made elsewhere")]
    MadeElsewhere {
        /// How.
        how: String,
    },
    /// A certificate that is to be stored cannot be read.
    #[error("the certificate for \"{label}\" cannot be read")]
    BadCertificate {
        /// The label.
        label: String,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// Not a name that a file can have.
    #[error("\"{}\" is no name for a file: 1 to {MAX_NAME} octets without control characters", .name.escape_debug())]
    BadName {
        /// As given.
        name: String,
    },
    /// No file of this name.
    #[error("no file \"{name}\"")]
    NoFile {
        /// Its name.
        name: String,
    },
    /// The token is full.
    #[error("no room for \"{name}\", which has {size} octets{}", free_words(.free))]
    NoRoom {
        /// Name of the file, or label of the certificate.
        name: String,
        /// Octets that it has.
        size: usize,
        /// Octets that the token says are free.
        free: Option<usize>,
    },
    /// A result that cannot be right.
    #[error("{function} returned {length} octets, which is no {what}")]
    BadOutput {
        /// The PKCS#11 call.
        function: &'static str,
        /// What came.
        length: usize,
        /// What should have come.
        what: &'static str,
    },
    /// A signature that does not verify. It was thrown away.
    #[error("{function} of the key \"{label}\" made a signature that does not verify")]
    WrongSignature {
        /// The PKCS#11 call.
        function: &'static str,
        /// The key's label.
        label: String,
    },
    /// The token does not answer, and was not asked.
    #[error("offline since {since}: {why}; next try in {} s", .next.as_secs() + 1)]
    Offline {
        /// Since when.
        since: Time,
        /// The last error.
        why: String,
        /// When it is tried again.
        next: Duration,
    },
    /// The module did not return in time, and may never.
    #[error("the module has not returned within {} s", .after.as_secs())]
    Hung {
        /// How long was waited.
        after: Duration,
    },
    /// The module keeps so many threads that it is not given another.
    #[error("{threads} calls have not returned from the module")]
    Stuck {
        /// How many.
        threads: usize,
    },
    /// An operator has logged out.
    #[error("logged out")]
    LoggedOut,
    /// Objects are not looked for while somebody makes or deletes a key in the same module, which takes long or
    /// hangs.
    #[error("a key is being made or deleted; keys are not looked for meanwhile")]
    Changing,
    /// The queue before the token is full.
    #[error("the queue is full")]
    Busy,
    /// No answer in time; what was asked may still happen.
    #[error("no answer within {} s", .after.as_secs())]
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
    /// The worker is gone.
    #[error("the worker thread ended")]
    WorkerGone,
    /// The operating system has no randomness.
    #[error("no randomness from the operating system")]
    NoRandomness(#[source] getrandom::Error),
}

/// How a key came to its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Made there.
    Generated,
    /// Brought.
    Imported,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Generated => "generated",
            Self::Imported => "imported",
        })
    }
}

impl Problem {
    fn hint(&self, token: &str) -> Option<String> {
        let hint = match self {
            Self::NoModule => "say `library PATH` or `profile NAME`".into(),
            Self::ModuleMissing { .. } => "install the token's PKCS#11 library, or say `library PATH`".into(),
            Self::NoToken { seen, unset, .. } => {
                let seen = match seen.is_empty() {
                    true => "no token is there".to_owned(),
                    false => format!("tokens seen: {}", seen.join(", ")),
                };
                match unset.is_empty() {
                    true => seen,
                    false => format!("{seen}; not set: {}", unset.join(", ")),
                }
            }
            Self::ManyTokens { seen, .. } => format!("say which: {}", seen.join(", ")),
            Self::PinRefused { lockout: Some(path) } => {
                format!("give another PIN; to have this one tried again, remove {}", path.display())
            }
            Self::PinRefused { lockout: None } => "give another PIN".into(),
            Self::PinsRefused { .. } => format!("`crypto pki token {token} login PIN` (\"max-retries\")"),
            Self::PinLastTry => {
                "log in once with the right PIN by another program; that resets the counter".into()
            }
            Self::PinLocked => "unlock the PIN with the security officer's PIN".into(),
            Self::KeyExists { label } => format!("`crypto key zeroize` deletes \"{label}\""),
            Self::NotExportable { .. } => "only keys made with `exportable` can leave their token".into(),
            Self::NoFile { .. } => format!("`dir {token}:` lists the files"),
            Self::NoRoom { .. } => {
                format!("`dir {token}:` lists the files; what is replaced goes after the new one is there")
            }
            Self::NoKey { .. } | Self::KeyGone { .. } | Self::WrongUse { .. } => {
                format!("`show crypto pki token {token}` lists the keys")
            }
            Self::NotOffered { .. } => format!("`show crypto pki token {token}` lists what it can do"),
            Self::MadeElsewhere { how } => how.clone(),
            Self::OtherParameters { .. } => {
                "a process initialises a module once; `module isolated` gives each token a process".into()
            }
            Self::TimedOut { .. } => "is the token busy?".into(),
            Self::Hung { .. } => "is the token stuck?".into(),
            Self::Stuck { .. } => {
                "restart the server; `module isolated` keeps such a module in a process of its own".into()
            }
            Self::Officer(problem) => problem.hint(token)?,
            Self::NoOfficer => "say `so-pin file PATH`".into(),
            Self::NoSlot { .. } | Self::SlotTaken { .. } => {
                format!("`show crypto pki token {token}` lists the keys, `crypto key zeroize` deletes one")
            }
            Self::LoggedOut => format!("`crypto pki token {token} login`"),
            Self::NoPinPad => "say `user-pin file PATH`, or another place that the PIN comes from".into(),
            Self::PinPadWaits | Self::NotTyped(_) => {
                format!("`crypto pki token {token} login`, and type the PIN at the pad")
            }
            Self::PinPadOfficer => "give the user's PIN by `user-pin file PATH` meanwhile".into(),
            Self::PinPadChange => "change it with the program of the token's maker".into(),
            Self::Offline { .. } => {
                format!("`crypto pki token {token} login` tries at once when it is plugged in again")
            }
            Self::Call(call) => call.hint(token)?,
            _ => return None,
        };
        Some(hint)
    }

    pub(super) fn kind(&self) -> KeyErrorKind {
        match self {
            Self::Busy | Self::NoRest | Self::Changing => KeyErrorKind::Busy,
            Self::Call(call) if !call.is_loss() && !call.is_pin() => KeyErrorKind::Refused,
            Self::NotOffered { .. }
            | Self::MadeElsewhere { .. }
            | Self::NoKey { .. }
            | Self::ManyKeys { .. }
            | Self::KeyExists { .. }
            | Self::NoOfficer
            | Self::NoSlot { .. }
            | Self::SlotTaken { .. }
            | Self::BadLabel { .. }
            | Self::NoPublicKey { .. }
            | Self::NotExportable { .. }
            | Self::WrongUse { .. }
            | Self::BadCertificate { .. }
            | Self::BadName { .. }
            | Self::NoFile { .. }
            | Self::NoRoom { .. }
            | Self::Insecure { .. }
            | Self::TestFailed { .. }
            | Self::Profile(_) => KeyErrorKind::Refused,
            _ => KeyErrorKind::Unavailable,
        }
    }

    /// Whether the PIN is not one that the token takes; what it consists of may help.
    fn is_wrong_pin(&self) -> bool {
        match self {
            Self::Call(call) => call.refuses_pin() && call.rv() != Some(RvError::PinLocked),
            Self::PinLength { .. } => true,
            _ => false,
        }
    }

    /// Whether the PIN is the reason.
    pub(super) fn is_of_pin(&self) -> bool {
        match self {
            Self::Call(call) => call.is_pin(),
            Self::PinLength { .. } | Self::PinRefused { .. } | Self::PinsRefused { .. } => true,
            Self::PinLastTry | Self::PinLocked | Self::PinPadWaits | Self::NotTyped(_) => true,
            _ => false,
        }
    }

    /// Whether a new session may help.
    pub(super) fn is_loss(&self) -> bool {
        match self {
            Self::Call(call) => call.is_loss(),
            Self::KeyGone { .. } | Self::NoToken { .. } | Self::WrongSignature { .. } => true,
            _ => false,
        }
    }

    /// Whether a key turned out to want the PIN each time.
    pub(super) fn wants_pin_each_time(&self) -> bool {
        matches!(self, Self::Call(call) if call.wants_pin_each_time())
    }

    /// Whether `C_Login` failed, and not for the PIN.
    pub(super) fn takes_no_login(&self) -> bool {
        matches!(self, Self::Call(call) if call.takes_no_login())
    }

    /// Whether, with a new session, initialising the module again may help. A key that is gone while its
    /// token is there was deleted; a login that is missing belongs to a key that wants one each time; and
    /// what is used up is used up.
    pub(super) fn is_absence(&self) -> bool {
        use RvError::{DeviceMemory, HostMemory, SessionCount, UserNotLoggedIn};
        match self {
            Self::Call(call) => {
                let other = [DeviceMemory, HostMemory, SessionCount, UserNotLoggedIn];
                call.is_loss() && !call.rv().is_some_and(|rv| other.contains(&rv))
            }
            Self::NoToken { .. } => true,
            _ => false,
        }
    }
}

impl From<Cryptoki> for Problem {
    fn from(error: Cryptoki) -> Self {
        Self::Call(CallError::new(error))
    }
}

fn paths(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}

/// What the token says is free, for a sentence.
fn free_words(free: &Option<usize>) -> String {
    free.map_or_else(String::new, |free| format!("; {free} are free"))
}

/// Octets of a file's name at most.
pub(super) const MAX_NAME: usize = 255;

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

    use super::*;

    fn call(rv: RvError, function: Function) -> Problem {
        Cryptoki::Pkcs11(rv, function).into()
    }

    #[test]
    fn errors_name_token_call_and_code() {
        let error = TokenError::new("usbtoken0", call(RvError::PinIncorrect, Function::Login), None);
        assert_eq!(
            error.to_string(),
            "token \"usbtoken0\": C_Login returned CKR_PIN_INCORRECT\n\
             hint: wrong PIN; it is not tried again until another one is given"
        );
        assert!(error.source().is_some());
    }

    #[test]
    fn kinds_follow_the_cause() {
        let kind = |problem| TokenError::new("t", problem, None).kind();
        assert_eq!(kind(Problem::Busy), KeyErrorKind::Busy);
        assert_eq!(kind(call(RvError::DeviceRemoved, Function::Sign)), KeyErrorKind::Unavailable);
        assert_eq!(kind(call(RvError::PinLocked, Function::Login)), KeyErrorKind::Unavailable);
        assert_eq!(kind(call(RvError::KeyFunctionNotPermitted, Function::SignInit)), KeyErrorKind::Refused);
    }

    #[test]
    fn want_of_room_is_told_in_numbers() {
        let full = |free| {
            let problem = Problem::NoRoom { name: "ca.crl".into(), size: 9000, free };
            TokenError::new("usbtoken0", problem, None).to_string()
        };
        assert!(full(Some(512)).starts_with(
            "token \"usbtoken0\": no room for \"ca.crl\", which has 9000 octets; 512 are free\nhint: "
        ));
        assert!(full(None).contains("which has 9000 octets\nhint: "));
    }
}
