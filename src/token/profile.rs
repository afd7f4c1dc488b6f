//! What one family of tokens needs said differently: `pkcs11-profiles/*.toml`.
//!
//! [`ProfileFile`] is what was typed, [`Profile`] what is usable. Provider differences are read here and
//! nowhere else.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::pki::Hash;

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
        Self::parse(name, text)
    }

    /// The shipped profile for a module whose `C_GetInfo` says it is by `manufacturer`; else `generic`.
    pub fn recognising(manufacturer: &str) -> Self {
        let shipped = || SHIPPED.iter().filter_map(|(name, text)| Self::parse(name, text).ok());
        let mine = |profile: &Self| {
            profile.file.recognise.as_deref().is_some_and(|start| manufacturer.starts_with(start))
        };
        shipped().find(mine).unwrap_or_else(Self::generic)
    }

    /// The profile for what no other one recognises.
    pub fn generic() -> Self {
        Self { name: "generic".into(), file: ProfileFile::default() }
    }

    fn from_file(path: &Path) -> Result<Self, ProfileError> {
        let name = path.display().to_string();
        let text = fs::read_to_string(path)
            .map_err(|source| ProfileError::Unreadable { path: path.into(), source })?;
        Self::parse(&name, &text)
    }

    fn parse(name: &str, text: &str) -> Result<Self, ProfileError> {
        let file: ProfileFile = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = text[..at].matches('\n').count() + 1;
            ProfileError::Malformed { name: name.into(), line, what: error.message().replace('\n', " ") }
        })?;
        file.check().map_err(|what| ProfileError::Invalid { name: name.into(), what })?;
        Ok(Self { name: name.into(), file })
    }

    /// A shipped name, or a path.
    pub fn name(&self) -> &str {
        &self.name
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
            error.code == code && error.call.as_deref().is_none_or(|call| call == function)
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
    #[error("profile {name}: {what}")]
    Invalid {
        /// Name or path.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
}

/// A profile as typed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ProfileFile {
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

impl ProfileFile {
    fn check(&self) -> Result<(), &'static str> {
        let no = |wrong: bool, what| if wrong { Err(what) } else { Ok(()) };
        no(matches!(self.sessions, Sessions::Count(0)), "sessions is 0")?;
        no(self.queue == 0, "queue is 0")?;
        no(self.timeout == 0 || self.keygen_timeout == 0, "a time-out is 0")?;
        no(self.mechanisms.oaep.contains(&Hash::Md5), "oaep has md5")?;
        // What is not said must be true by itself: read back after generation it is refused otherwise,
        // but by then the key exists.
        let said = |attribute| self.keygen.private.contains(&attribute);
        no(!said(KeyAttribute::Token), "keygen.private lacks CKA_TOKEN")?;
        let keygen = &self.keygen;
        let fixed = !keygen.slots.is_empty();
        no(!fixed && !said(KeyAttribute::Label), "keygen.private lacks CKA_LABEL")?;
        no(fixed && !said(KeyAttribute::Id), "keygen.slots, and keygen.private lacks CKA_ID")?;
        no(keygen.slots.keys().any(|name| name.contains(' ')), "a name of keygen.slots has a blank")?;
        let mut ids: Vec<_> = keygen.slots.values().collect();
        ids.sort();
        no(ids.windows(2).any(|pair| pair[0] == pair[1]), "two of keygen.slots are the same")?;
        let known = |names: &[String]| names.iter().all(|name| keygen.slots.contains_key(name));
        no(!known(&keygen.slots_sign), "keygen.slots_sign names what is not in keygen.slots")?;
        no(!known(&keygen.slots_decrypt), "keygen.slots_decrypt names what is not in keygen.slots")?;
        no(self.transfer.export.contains(&Way::CreateObject), "transfer.export has C_CreateObject")?;
        let named = |error: &KnownError| error.code.starts_with("CKR_") || error.code.starts_with("0x");
        no(!self.error.iter().all(named), "the code of an error is neither CKR_… nor 0x…")
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
    /// Left out for EC keys.
    pub omit_ec: Vec<KeyAttribute>,
    /// Keys are made and deleted by one thread of the whole module at a time, while nobody looks for keys.
    pub serialize: bool,
    /// `CKA_LOCAL` is true for generated keys.
    pub local: bool,
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
            public: vec![Token, Private, Label, Id, ModulusBits, PublicExponent, EcParams, Verify, Encrypt],
            private: vec![Token, Private, Sensitive, Extractable, Label, Id, Sign, Decrypt, Unwrap],
            omit_ec: Vec::new(),
            serialize: true,
            local: true,
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
    call: Option<String>,
    code: String,
    hint: String,
}

const SHIPPED: &[(&str, &str)] = &[
    ("softhsm2", include_str!("../../pkcs11-profiles/softhsm2.toml")),
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
        assert_eq!(format!("{file:?}"), format!("{:?}", ProfileFile::default()));
    }

    #[test]
    fn unknown_field_is_refused_with_its_line() {
        let error = Profile::parse("p", "sessions = 1\nthreads = 2\n").unwrap_err().to_string();
        assert!(error.starts_with("profile p, line 2: unknown field `threads`"), "{error}");
        let error = Profile::parse("p", "[keygen]\nprivate = [\n\"CKA_NOSUCH\"]\n").unwrap_err().to_string();
        assert!(error.contains("CKA_NOSUCH"), "{error}");
    }

    #[test]
    fn nonsense_is_refused() {
        for (text, what) in [
            ("sessions = 0", "profile p: sessions is 0"),
            ("queue = 0", "profile p: queue is 0"),
            ("timeout = 0", "profile p: a time-out is 0"),
            ("[mechanisms]\noaep = [\"md5\"]", "profile p: oaep has md5"),
            ("[keygen]\nprivate = [\"CKA_TOKEN\"]", "profile p: keygen.private lacks CKA_LABEL"),
            ("[keygen.slots]\na = 1\nb = 1", "profile p: two of keygen.slots are the same"),
            (
                "[keygen]\nslots_sign = [\"a\"]",
                "profile p: keygen.slots_sign names what is not in keygen.slots",
            ),
            ("[transfer]\nexport = [\"C_CreateObject\"]", "profile p: transfer.export has C_CreateObject"),
        ] {
            assert_eq!(Profile::parse("p", text).unwrap_err().to_string(), what);
        }
    }

    #[test]
    fn known_errors_have_their_hints() {
        let text = "[[error]]\ncall = \"C_Sign\"\ncode = \"CKR_DEVICE_ERROR\"\nhint = \"touch it\"\n";
        let profile = Profile::parse("p", text).unwrap();
        assert_eq!(profile.hint("C_Sign", "CKR_DEVICE_ERROR"), Some("touch it"));
        assert_eq!(profile.hint("C_Login", "CKR_DEVICE_ERROR"), None);
    }
}
