//! A profile as it is typed: its fields, and what they are when they are not said.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::pki::Hash;

/// A profile as typed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProfileFile {
    pub about: Option<String>,
    pub tested: Option<String>,
    pub source: Vec<String>,
    pub cannot: Vec<String>,
    pub recognise: Option<String>,
    pub library: Vec<PathBuf>,
    pub environment: Vec<String>,
    pub parameters: Option<String>,
    pub sessions: Sessions,
    pub queue: usize,
    pub timeout: u64,
    pub keygen_timeout: u64,
    pub close_session_on_error: bool,
    pub reinitialise: bool,
    pub login: Login,
    pub mechanisms: Mechanisms,
    pub keygen: Keygen,
    pub transfer: Transfer,
    pub format: Format,
    pub attestation: Attested,
    pub error: Vec<KnownError>,
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
            attestation: Attested::default(),
            error: Vec::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged, expecting = "a number of sessions or \"cores\"")]
pub enum Sessions {
    Count(usize),
    Cores(Cores),
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub enum Cores {
    #[serde(rename = "cores")]
    Cores,
}

/// Who logs in for what.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Login {
    /// `C_Login` with `CKU_CONTEXT_SPECIFIC` for each operation with a private key.
    pub context: ContextLogin,
    /// What the PIN consists of.
    pub pin: Option<String>,
    /// Who makes and deletes keys, and stores certificates.
    pub keygen: KeygenLogin,
}

/// Who makes and deletes keys, and stores certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeygenLogin {
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
pub enum ContextLogin {
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
pub struct Mechanisms {
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
pub enum RsaSign {
    #[serde(rename = "CKM_RSA_PKCS")]
    DigestInfo,
    #[serde(rename = "CKM_SHA*_RSA_PKCS")]
    Hashing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum EcdsaSign {
    #[serde(rename = "CKM_ECDSA")]
    Digest,
    #[serde(rename = "CKM_ECDSA_SHA*")]
    Hashing,
}

/// How keys are generated. The templates say which attributes are sent and in which order; what is not
/// in them is omitted. The values are ours.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keygen {
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
pub enum Delete {
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
pub enum KeyAttribute {
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
pub struct Transfer {
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
pub enum Way {
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
pub struct Format {
    pub ecdsa_signature: EcdsaForm,
    pub ec_point: PointForm,
}

/// How the certificate by which the device attests that it has made a key is found among the token's objects.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Attested {
    /// Its label, beside the key's own `CKA_ID`. There is none when absent.
    pub certificate: Option<Pattern>,
    /// The label of the certificates of who signs those.
    pub issuer: Option<String>,
}

/// A text in which `*` stands for any other.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Pattern(pub String);

impl Pattern {
    pub fn fits(&self, text: &str) -> bool {
        match self.0.split_once('*') {
            Some((start, end)) => text.strip_prefix(start).is_some_and(|rest| rest.ends_with(end)),
            None => text == self.0,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EcdsaForm {
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
pub enum PointForm {
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
pub struct KnownError {
    /// Any function when absent, and any value below.
    pub call: Option<String>,
    pub code: Option<Code>,
    pub hint: String,
}

/// A return value as errors show it: by its name, or in hexadecimal where it has none.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Code(pub String);

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
