//! What one family of tokens needs said differently: `pkcs11-profiles/*.toml`.
//!
//! [`ProfileFile`] is what was typed, [`Profile`] what is usable. Provider differences are read here and
//! nowhere else.

mod check;
mod fields;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::sys::LibraryInfo;

use fields::{Format, KnownError, Mechanisms, ProfileFile, Sessions};

pub(super) use fields::{
    Attested, ContextLogin, Delete, EcdsaForm, EcdsaSign, KeyAttribute, Keygen, KeygenLogin, PointForm,
    RsaSign, Transfer, Way,
};

/// A checked profile.
#[derive(Clone, Debug)]
pub struct Profile {
    name: String,
    file: ProfileFile,
}

impl Profile {
    /// The profile called `name`: a shipped one, or the file at a path that ends with `.toml`.
    pub fn named(name: &str) -> Result<Self, ProfileError> {
        if name.ends_with(".toml") {
            return Self::from_file(Path::new(name));
        }
        let text = SHIPPED.iter().find(|(shipped, _)| *shipped == name);
        let (_, text) = text.ok_or_else(|| ProfileError::Unknown { name: name.into() })?;
        Self::shipped(name, text)
    }

    /// The shipped profile that recognises a module by this, as its `C_GetInfo` has it: the manufacturer, or
    /// the description of the library. Else `generic`.
    pub fn recognising(said: &str) -> Self {
        Self::recognised(said).unwrap_or_else(Self::generic)
    }

    /// The shipped profile for a module. One manufacturer may have several, so the description of the library
    /// is looked at first.
    pub(super) fn of_library(info: &LibraryInfo) -> Self {
        let said = [&info.description, &info.manufacturer];
        said.into_iter().find_map(|said| Self::recognised(said)).unwrap_or_else(Self::generic)
    }

    fn recognised(said: &str) -> Option<Self> {
        let begins =
            |start: &str| said.get(..start.len()).is_some_and(|said| said.eq_ignore_ascii_case(start));
        Self::all_shipped().find(|profile| profile.file.recognise.as_deref().is_some_and(begins))
    }

    /// The profile for what no other one recognises.
    pub fn generic() -> Self {
        // Its file says the same and what it is about; a test sees to both.
        Self::named("generic")
            .unwrap_or_else(|_| Self { name: "generic".into(), file: ProfileFile::default() })
    }

    fn from_file(path: &Path) -> Result<Self, ProfileError> {
        let name = path.display().to_string();
        let text = fs::read_to_string(path)
            .map_err(|source| ProfileError::Unreadable { path: path.into(), source })?;
        Self::parse(&name, &text)
    }

    fn all_shipped() -> impl Iterator<Item = Self> {
        SHIPPED.iter().filter_map(|(name, text)| Self::shipped(name, text).ok())
    }

    /// One of [`SHIPPED`]: what it rests on must be said.
    fn shipped(name: &str, text: &str) -> Result<Self, ProfileError> {
        let profile = Self::parse(name, text)?;
        match profile.file.tested.is_none() && profile.file.source.is_empty() {
            true => {
                let what = "neither tested nor source is said";
                Err(ProfileError::Invalid { name: name.into(), line: None, what })
            }
            false => Ok(profile),
        }
    }

    fn parse(name: &str, text: &str) -> Result<Self, ProfileError> {
        let file: ProfileFile = toml::from_str(text).map_err(|error| {
            let line = check::line_at(text, error.span().map_or(0, |span| span.start));
            ProfileError::Malformed { name: name.into(), line, what: error.message().replace('\n', " ") }
        })?;
        file.check().map_err(|what| ProfileError::Invalid {
            name: name.into(),
            line: check::line_of(text, what),
            what,
        })?;
        Ok(Self { name: name.into(), file })
    }

    /// A shipped name, or a path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The family of tokens, in a few words.
    pub fn about(&self) -> Option<&str> {
        self.file.about.as_deref()
    }

    /// The version that was tested. `None`: written from documents alone.
    pub fn tested(&self) -> Option<&str> {
        self.file.tested.as_deref()
    }

    /// The documents from which it was written.
    pub fn sources(&self) -> &[String] {
        &self.file.source
    }

    /// What cannot be done with these tokens, a sentence each.
    pub fn cannot(&self) -> &[String] {
        &self.file.cannot
    }

    /// Where the module may be, most likely first.
    pub fn libraries(&self) -> &[PathBuf] {
        &self.file.library
    }

    /// The file that a shipped profile has for a module of this name, `softhsm2` as `libsofthsm2.so`; where several
    /// have one, preferably one that exists.
    pub(super) fn library_called(name: &str) -> Option<PathBuf> {
        let called = |path: &PathBuf| {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            stem.is_some_and(|stem| stem == name || stem.strip_prefix("lib") == Some(name))
        };
        let found: Vec<_> =
            Self::all_shipped().flat_map(|profile| profile.file.library).filter(called).collect();
        found.iter().find(|path| path.exists()).or(found.first()).cloned()
    }

    /// What the module takes in `pReserved` of `C_Initialize`.
    pub(super) fn parameters(&self) -> Option<&str> {
        self.file.parameters.as_deref()
    }

    /// Environment variables that the module reads.
    pub(super) fn environment(&self) -> &[String] {
        &self.file.environment
    }

    /// Sessions, and threads, to use. As many as there are cores for software tokens: more make nothing
    /// faster, and P-256 on SoftHSM slower.
    pub(super) fn sessions(&self) -> usize {
        match self.file.sessions {
            Sessions::Count(count) => count,
            Sessions::Cores(_) => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// Requests that may wait.
    pub(super) fn queue(&self) -> usize {
        self.file.queue
    }

    /// How long a caller waits for an operation.
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs(self.file.timeout)
    }

    /// How long a caller waits for a generated key.
    pub(super) fn keygen_timeout(&self) -> Duration {
        Duration::from_secs(self.file.keygen_timeout)
    }

    /// Whether a session in which an operation failed is closed: some modules keep the operation active.
    pub(super) fn close_session_on_error(&self) -> bool {
        self.file.close_session_on_error
    }

    /// Whether the module may be initialised again when its token stays away.
    pub(super) fn reinitialise(&self) -> bool {
        self.file.reinitialise
    }

    /// Which keys want the PIN for each operation.
    pub(super) fn context_login(&self) -> ContextLogin {
        self.file.login.context
    }

    /// What the PIN consists of, where it is more than a secret.
    pub(super) fn pin_form(&self) -> Option<&str> {
        self.file.login.pin.as_deref()
    }

    /// Who makes and deletes keys, and stores certificates.
    pub(super) fn keygen_login(&self) -> KeygenLogin {
        self.file.login.keygen
    }

    pub(super) fn mechanisms(&self) -> &Mechanisms {
        &self.file.mechanisms
    }

    pub(super) fn keygen(&self) -> &Keygen {
        &self.file.keygen
    }

    pub(super) fn transfer(&self) -> &Transfer {
        &self.file.transfer
    }

    pub(super) fn format(&self) -> &Format {
        &self.file.format
    }

    /// How a device's own word for a key is found.
    pub(super) fn attested(&self) -> &Attested {
        &self.file.attestation
    }

    /// Whether such devices have a word of their own for a key.
    pub fn attests(&self) -> bool {
        self.file.attestation.certificate.is_some()
    }

    /// The profile's hint for this return value of this function.
    pub(super) fn hint(&self, function: &str, code: &str) -> Option<&str> {
        let known = |error: &&KnownError| {
            error.code.as_ref().is_none_or(|known| known.0 == code)
                && error.call.as_deref().is_none_or(|call| call == function)
        };
        self.file.error.iter().find(known).map(|error| error.hint.as_str())
    }
}

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Not one of those shipped.
    #[error("no profile \"{name}\" is shipped; a path to another ends with .toml")]
    Unknown {
        /// As typed.
        name: String,
    },
    /// The file cannot be read.
    #[error("profile {} cannot be read", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, or not these fields.
    #[error("profile {name}, line {line}: {what}")]
    Malformed {
        /// Name or path.
        name: String,
        /// Counted from one.
        line: usize,
        /// What the reader says.
        what: String,
    },
    /// The fields do not make sense.
    #[error("profile {name}{}: {what}", .line.map_or_else(String::new, |line| format!(", line {line}")))]
    Invalid {
        /// Name or path.
        name: String,
        /// Counted from one. `None` for what is missing.
        line: Option<usize>,
        /// What is wrong.
        what: &'static str,
    },
}

const SHIPPED: &[(&str, &str)] = &[
    ("softhsm2", include_str!("../../pkcs11-profiles/softhsm2.toml")),
    ("yubihsm", include_str!("../../pkcs11-profiles/yubihsm.toml")),
    ("luna", include_str!("../../pkcs11-profiles/luna.toml")),
    ("nshield", include_str!("../../pkcs11-profiles/nshield.toml")),
    ("utimaco", include_str!("../../pkcs11-profiles/utimaco.toml")),
    ("cloudhsm", include_str!("../../pkcs11-profiles/cloudhsm.toml")),
    ("libkmsp11", include_str!("../../pkcs11-profiles/libkmsp11.toml")),
    ("sc-hsm", include_str!("../../pkcs11-profiles/sc-hsm.toml")),
    ("kryoptic", include_str!("../../pkcs11-profiles/kryoptic.toml")),
    ("nss", include_str!("../../pkcs11-profiles/nss.toml")),
    ("opencryptoki", include_str!("../../pkcs11-profiles/opencryptoki.toml")),
    ("tpm2-pkcs11", include_str!("../../pkcs11-profiles/tpm2-pkcs11.toml")),
    ("p11-kit-client", include_str!("../../pkcs11-profiles/p11-kit-client.toml")),
    ("ykcs11", include_str!("../../pkcs11-profiles/ykcs11.toml")),
    ("opensc", include_str!("../../pkcs11-profiles/opensc.toml")),
    ("opensc-piv", include_str!("../../pkcs11-profiles/opensc-piv.toml")),
    ("generic", include_str!("../../pkcs11-profiles/generic.toml")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_profiles_are_usable() {
        for (name, _) in SHIPPED {
            let file = Profile::named(name).unwrap().file;
            // What is recognised is initialised already.
            assert!(file.recognise.is_none() || file.parameters.is_none(), "{name}");
        }
        assert_eq!(Profile::recognising("SoftHSM").name(), "softhsm2");
        assert_eq!(Profile::recognising("Yubico (www.yubico.com)").name(), "ykcs11");
        assert_eq!(Profile::recognising("OpenSC Project").name(), "opensc");
        assert_eq!(Profile::recognising("somebody else").name(), "generic");
    }

    #[test]
    fn generic_is_the_default() {
        let file = Profile::named("generic").unwrap().file;
        let ProfileFile { about, source, cannot, .. } = file.clone();
        let default = ProfileFile { about, source, cannot, ..ProfileFile::default() };
        assert_eq!(format!("{file:?}"), format!("{default:?}"));
    }

    #[test]
    fn known_errors_have_their_hints() {
        let text = "[[error]]\ncall = \"C_Sign\"\ncode = \"CKR_DEVICE_ERROR\"\nhint = \"touch it\"\n";
        let profile = Profile::parse("p", text).unwrap();
        assert_eq!(profile.hint("C_Sign", "CKR_DEVICE_ERROR"), Some("touch it"));
        assert_eq!(profile.hint("C_Login", "CKR_DEVICE_ERROR"), None);
        let text = "[[error]]\ncall = \"C_Initialize\"\nhint = \"set it up\"\n";
        let profile = Profile::parse("p", text).unwrap();
        assert_eq!(profile.hint("C_Initialize", "0x80000001"), Some("set it up"));
        assert_eq!(profile.hint("C_Sign", "0x80000001"), None);
    }

    #[test]
    fn the_library_is_recognised_before_its_manufacturer() {
        let recognised = |manufacturer: &str, description: &str| {
            let (manufacturer, description) = (manufacturer.into(), description.into());
            let info = LibraryInfo { manufacturer, description, ..LibraryInfo::default() };
            Profile::of_library(&info).name().to_owned()
        };
        assert_eq!(recognised("Yubico (www.yubico.com)", "YubiHSM PKCS#11 Library"), "yubihsm");
        assert_eq!(recognised("SafeNet", "Chrystoki"), "luna");
        assert_eq!(recognised("nCipher Corp. Ltd", ""), "nshield");
        assert_eq!(recognised("Utimaco IS GmbH", "CryptoServer PKCS11"), "utimaco");
        assert_eq!(recognised("Google", "Cryptoki Library for Cloud KMS"), "libkmsp11");
        assert_eq!(recognised("SafeNet, Inc.", "SafeNet eToken PKCS#11"), "generic");
        assert_eq!(recognised("", ""), "generic");
    }
}
