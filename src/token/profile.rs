//! What one family of tokens needs said differently: `pkcs11-profiles/*.toml`.
//!
//! [`ProfileFile`] is what was typed, [`Profile`] what is usable. Provider differences are read here and
//! nowhere else.

mod check;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::pki::Hash;

use super::sys::LibraryInfo;

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
        let shipped = SHIPPED.iter().filter_map(|(name, text)| Self::shipped(name, text).ok());
        let begins =
            |start: &str| said.get(..start.len()).is_some_and(|said| said.eq_ignore_ascii_case(start));
        shipped.into_iter().find(|profile| profile.file.recognise.as_deref().is_some_and(begins))
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

/// A profile as typed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ProfileFile {
    about: Option<String>,
    tested: Option<String>,
    source: Vec<String>,
    cannot: Vec<String>,
    recognise: Option<String>,
    library: Vec<PathBuf>,
    environment: Vec<String>,
    parameters: Option<String>,
    sessions: Sessions,
    queue: usize,
    timeout: u64,
    keygen_timeout: u64,
    close_session_on_error: bool,
    reinitialise: bool,
    login: Login,
    mechanisms: Mechanisms,
    keygen: Keygen,
    transfer: Transfer,
    format: Format,
    error: Vec<KnownError>,
}

impl Default for ProfileFile {
    fn default() -> Self {
        Self {
            about: None,
            tested: None,
            source: Vec::new(),
            cannot: Vec::new(),
            recognise: None,
            library: Vec::new(),
            environment: Vec::new(),
            parameters: None,
            sessions: Sessions::Count(1),
            queue: 128,
            timeout: 30,
            keygen_timeout: 600,
            close_session_on_error: true,
            reinitialise: true,
            login: Login::default(),
            mechanisms: Mechanisms::default(),
            keygen: Keygen::default(),
            transfer: Transfer::default(),
            format: Format::default(),
            error: Vec::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged, expecting = "a number of sessions or \"cores\"")]
enum Sessions {
    Count(usize),
    Cores(Cores),
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum Cores {
    #[serde(rename = "cores")]
    Cores,
}

/// Who logs in for what.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Login {
    /// `C_Login` with `CKU_CONTEXT_SPECIFIC` for each operation with a private key.
    context: ContextLogin,
    /// What the PIN consists of.
    pin: Option<String>,
    /// Who makes and deletes keys, and stores certificates.
    keygen: KeygenLogin,
}

/// Who makes and deletes keys, and stores certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum KeygenLogin {
    /// The user, as for everything else.
    #[default]
    User,
    /// The security officer, while the user is logged out.
    So,
    /// Nobody by this module.
    Never,
}

/// Which keys want the PIN for each operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ContextLogin {
    /// Those that say so (`CKA_ALWAYS_AUTHENTICATE`), or turn out to.
    #[default]
    Auto,
    /// All.
    Always,
    /// None.
    Never,
}

/// Which mechanisms may be used, most wanted first, where the token offers them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Mechanisms {
    pub rsa_sign: Vec<RsaSign>,
    pub ecdsa_sign: Vec<EcdsaSign>,
    /// `CKM_RSA_X_509` for decryption.
    pub raw_rsa: bool,
    /// `CKM_RSA_PKCS` for decryption, where raw RSA is not offered.
    pub pkcs1_v15: bool,
    /// Digests of `CKM_RSA_PKCS_OAEP`, where raw RSA is not offered.
    pub oaep: Vec<Hash>,
}

impl Default for Mechanisms {
    fn default() -> Self {
        Self {
            rsa_sign: vec![RsaSign::DigestInfo, RsaSign::Hashing],
            ecdsa_sign: vec![EcdsaSign::Digest, EcdsaSign::Hashing],
            raw_rsa: true,
            pkcs1_v15: true,
            oaep: vec![Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum RsaSign {
    #[serde(rename = "CKM_RSA_PKCS")]
    DigestInfo,
    #[serde(rename = "CKM_SHA*_RSA_PKCS")]
    Hashing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum EcdsaSign {
    #[serde(rename = "CKM_ECDSA")]
    Digest,
    #[serde(rename = "CKM_ECDSA_SHA*")]
    Hashing,
}

/// How keys are generated. The templates say which attributes are sent and in which order; what is not
/// in them is omitted. The values are ours.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Keygen {
    pub public: Vec<KeyAttribute>,
    pub private: Vec<KeyAttribute>,
    /// Left out for keys that are not RSA.
    pub omit_ec: Vec<KeyAttribute>,
    /// Keys are made and deleted by one thread of the whole module at a time, while nobody looks for keys.
    pub serialize: bool,
    /// `CKA_LOCAL` is true for generated keys.
    pub local: bool,
    /// How keys are made, where this product does not make them.
    pub elsewhere: Option<String>,
    /// What the token decides by itself: not refused when it is read back otherwise.
    pub unchecked: Vec<KeyAttribute>,
    /// Where keys can be, as their `CKA_ID`, one octet, by a name; labels are the token's then.
    pub slots: BTreeMap<String, u8>,
    /// Slots for keys that only sign, most wanted first.
    pub slots_sign: Vec<String>,
    /// Slots for keys that decrypt, most wanted first.
    pub slots_decrypt: Vec<String>,
    /// How keys are deleted.
    pub delete: Delete,
}

/// How a key is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Delete {
    /// `C_DestroyObject` of both halves.
    #[default]
    Destroy,
    /// Another key is generated in its place, and the certificate that shows it is destroyed.
    Overwrite,
}

impl Default for Keygen {
    fn default() -> Self {
        use KeyAttribute::*;
        Self {
            public: vec![
                Token,
                Private,
                Label,
                Id,
                ModulusBits,
                PublicExponent,
                EcParams,
                ParameterSet,
                Verify,
                Encrypt,
            ],
            private: vec![Token, Private, Sensitive, Extractable, Label, Id, Sign, Decrypt, Unwrap],
            omit_ec: Vec::new(),
            serialize: true,
            local: true,
            elsewhere: None,
            unchecked: Vec::new(),
            slots: BTreeMap::new(),
            slots_sign: Vec::new(),
            slots_decrypt: Vec::new(),
            delete: Delete::Destroy,
        }
    }
}

/// An attribute of a key template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum KeyAttribute {
    #[serde(rename = "CKA_TOKEN")]
    Token,
    #[serde(rename = "CKA_PRIVATE")]
    Private,
    #[serde(rename = "CKA_SENSITIVE")]
    Sensitive,
    #[serde(rename = "CKA_EXTRACTABLE")]
    Extractable,
    #[serde(rename = "CKA_LABEL")]
    Label,
    #[serde(rename = "CKA_ID")]
    Id,
    #[serde(rename = "CKA_MODULUS_BITS")]
    ModulusBits,
    #[serde(rename = "CKA_PUBLIC_EXPONENT")]
    PublicExponent,
    #[serde(rename = "CKA_EC_PARAMS")]
    EcParams,
    #[serde(rename = "CKA_PARAMETER_SET")]
    ParameterSet,
    #[serde(rename = "CKA_SIGN")]
    Sign,
    #[serde(rename = "CKA_VERIFY")]
    Verify,
    #[serde(rename = "CKA_DECRYPT")]
    Decrypt,
    #[serde(rename = "CKA_ENCRYPT")]
    Encrypt,
    #[serde(rename = "CKA_UNWRAP")]
    Unwrap,
    #[serde(rename = "CKA_WRAP")]
    Wrap,
    #[serde(rename = "CKA_DERIVE")]
    Derive,
}

/// How private keys come to the token and leave it: most wanted first, what the token does not offer or
/// refuses is passed over. Templates are those of [`Keygen`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Transfer {
    pub import: Vec<Way>,
    pub export: Vec<Way>,
}

impl Default for Transfer {
    fn default() -> Self {
        let wrapped = vec![Way::AesKeyWrapPad, Way::AesCbcPad, Way::AesKeyWrap];
        Self { import: [&wrapped[..], &[Way::CreateObject]].concat(), export: wrapped }
    }
}

/// A way of a private key between this process and the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Way {
    /// PKCS#8, wrapped by RFC 5649.
    #[serde(rename = "CKM_AES_KEY_WRAP_PAD")]
    AesKeyWrapPad,
    /// PKCS#8, wrapped by RFC 3394, filled with zeros to a multiple of eight octets.
    #[serde(rename = "CKM_AES_KEY_WRAP")]
    AesKeyWrap,
    /// PKCS#8, encrypted.
    #[serde(rename = "CKM_AES_CBC_PAD")]
    AesCbcPad,
    /// Its parts as attributes, in the clear as far as the module; there is no way back.
    #[serde(rename = "C_CreateObject")]
    CreateObject,
}

/// How the token writes what the standard leaves open.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Format {
    pub ecdsa_signature: EcdsaForm,
    pub ec_point: PointForm,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum EcdsaForm {
    /// By the length: r || s has always the same.
    #[default]
    Auto,
    /// r || s, as the standard says.
    Rs,
    /// The DER `ECDSA-Sig-Value`.
    X962,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PointForm {
    /// By the length.
    #[default]
    Auto,
    /// In a DER OCTET STRING, as the standard says.
    Der,
    /// The point itself.
    Raw,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KnownError {
    /// Any function when absent, and any value below.
    call: Option<String>,
    code: Option<Code>,
    hint: String,
}

/// A return value as errors show it: by its name, or in hexadecimal where it has none.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Code(String);

impl TryFrom<String> for Code {
    type Error = &'static str;

    fn try_from(code: String) -> Result<Self, Self::Error> {
        // As `CallError::code` writes it.
        let number = |digits: &str| {
            digits.len() >= 8 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        match code.starts_with("CKR_") || code.strip_prefix("0x").is_some_and(number) {
            true => Ok(Self(code)),
            false => Err("the code of an error is neither CKR_… nor 0x and eight lower-case digits"),
        }
    }
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
            Profile::named(name).unwrap();
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
