//! Passwords in the configuration: how they are typed, how they are kept.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::grammar::{Args, Refusal};

/// A password of the configuration.
#[derive(Clone)]
pub enum Password {
    /// As typed. `Configuration::sealed` makes it the other before it becomes the running configuration.
    Typed(SecretString),
    /// What [`Vault::seal`] made of it: the only form that is written.
    Sealed(String),
}

/// A user and a password for a place where files go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub username: String,
    /// The password.
    pub password: Option<Password>,
}

/// Seals passwords with AES-256-GCM under a key that stays on this host.
pub struct Vault {
    key: LessSafeKey,
}

/// Why a password could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// It is damaged, or was sealed under another key.
    #[error("the password was not sealed on this host, or is damaged\nhint: type it again in clear")]
    Foreign,
}

impl Password {
    /// The password itself.
    pub fn open(&self, vault: &Vault) -> Result<SecretString, VaultError> {
        match self {
            Self::Typed(password) => Ok(password.clone()),
            Self::Sealed(sealed) => vault.open(sealed),
        }
    }

    /// Sealed, unless it is already.
    #[must_use]
    pub fn sealed(self, vault: &Vault) -> Self {
        match self {
            Self::Typed(password) => Self::Sealed(vault.seal(&password)),
            sealed @ Self::Sealed(_) => sealed,
        }
    }

    /// ` password 6 …`; nothing when it is not sealed.
    pub(super) fn written(password: Option<&Self>) -> String {
        match password {
            Some(Self::Sealed(sealed)) => format!(" password 6 {sealed}"),
            Some(Self::Typed(_)) | None => String::new(),
        }
    }

    /// The password of a line with [`Password::SYNTAX`], when one was typed.
    pub(super) fn of(args: &Args) -> Result<Option<Self>, Refusal> {
        if let Some(clear) = args.get("password") {
            if clear.len() > MAX_PASSWORD {
                return Err(args.refuse("password", format!("a password has at most {MAX_PASSWORD} octets")));
            }
            return Ok(Some(Self::Typed(clear.into())));
        }
        if let Some(hidden) = args.get("hidden") {
            let clear = type_7(hidden).ok_or_else(|| {
                args.refuse(
                    "hidden",
                    "this is not a password of type 7: two digits, then pairs of hex digits",
                )
            })?;
            return Ok(Some(Self::Typed(clear)));
        }
        let Some(sealed) = args.get("sealed") else { return Ok(None) };
        if sealed_octets(sealed).is_none() {
            return Err(
                args.refuse("sealed", "this is not a password sealed by this program; type it in clear")
            );
        }
        Ok(Some(Self::Sealed(sealed.to_owned())))
    }
}

impl Login {
    /// ` username … password …`.
    pub(super) fn written(&self) -> String {
        format!(" username {}{}", self.username, Password::written(self.password.as_ref()))
    }

    /// The login of a line `[username <username> [password …]]`.
    pub(super) fn of(args: &Args) -> Result<Option<Self>, Refusal> {
        let Some(username) = args.get("username") else { return Ok(None) };
        Ok(Some(Self { username: username.to_owned(), password: Password::of(args)? }))
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Typed(a), Self::Typed(b)) => {
                a.expose_secret().as_bytes().ct_eq(b.expose_secret().as_bytes()).into()
            }
            (Self::Sealed(a), Self::Sealed(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Password {}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Typed(_) => "Typed(…)",
            Self::Sealed(_) => "Sealed(…)",
        })
    }
}

impl Vault {
    /// Octets of the key.
    pub const KEY_LEN: usize = 32;

    /// With this key, which whoever made it keeps as a secret.
    pub fn new(key: &[u8; Self::KEY_LEN]) -> Self {
        // The length is that of the algorithm: nothing else is checked.
        let key = UnboundKey::new(&AES_256_GCM, key).expect("32 octets are an AES-256 key");
        Self { key: LessSafeKey::new(key) }
    }

    /// The password encrypted, with a random nonce: URL-safe base64 of a version octet, the nonce, the
    /// ciphertext and its tag.
    pub fn seal(&self, password: &SecretString) -> String {
        let mut nonce = [0; NONCE_LEN];
        // Without random numbers this host can do nothing at all.
        getrandom::fill(&mut nonce).expect("the system gives random numbers");
        let mut text = Zeroizing::new(Vec::with_capacity(MAX_PASSWORD + TAG_LEN));
        text.extend_from_slice(password.expose_secret().as_bytes());
        let tag = self
            .key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from([VERSION]), &mut text)
            .expect("a password is shorter than 64 GiB");
        let sealed = [&[VERSION][..], &nonce, &text, tag.as_ref()].concat();
        URL_SAFE_NO_PAD.encode(sealed)
    }

    /// What [`Vault::seal`] was given.
    pub fn open(&self, sealed: &str) -> Result<SecretString, VaultError> {
        let octets = sealed_octets(sealed).ok_or(VaultError::Foreign)?;
        let (nonce, text) = octets[1..].split_first_chunk().ok_or(VaultError::Foreign)?;
        let mut text = Zeroizing::new(text.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.key.open_in_place(nonce, Aad::from([VERSION]), &mut text);
        let clear = opened.map_err(|_| VaultError::Foreign)?;
        Ok(std::str::from_utf8(clear).map_err(|_| VaultError::Foreign)?.into())
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault")
    }
}

/// The octets of a sealed password that looks like one.
fn sealed_octets(sealed: &str) -> Option<Vec<u8>> {
    let octets = URL_SAFE_NO_PAD.decode(sealed).ok()?;
    let long = octets.len() > 1 + NONCE_LEN + TAG_LEN;
    (long && octets[0] == VERSION).then_some(octets)
}

/// The password behind `password 7`: obfuscation with a key that everybody knows, not encryption.
fn type_7(hidden: &str) -> Option<SecretString> {
    let (start, pairs) = hidden.split_at_checked(2)?;
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<usize>().ok())?;
    let start = digits(start).filter(|start| *start < TYPE_7.len())?;
    if pairs.is_empty() || !pairs.len().is_multiple_of(2) || pairs.len() > 2 * MAX_PASSWORD {
        return None;
    }
    let mut clear = Zeroizing::new(Vec::with_capacity(pairs.len() / 2));
    for (index, pair) in pairs.as_bytes().chunks(2).enumerate() {
        let digit = |octet: u8| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let octet = digit(pair[0])? << 4 | digit(pair[1])?;
        clear.push(octet ^ TYPE_7[(start + index) % TYPE_7.len()]);
    }
    let clear = std::str::from_utf8(&clear).ok()?;
    (!clear.contains(char::is_control)).then(|| clear.into())
}

/// Octets of the longest password.
const MAX_PASSWORD: usize = 128;
/// Octets of the tag of GCM.
const TAG_LEN: usize = 16;
/// First octet of a sealed password: which algorithm and which order.
const VERSION: u8 = 1;
/// The key of type 7, in every router alike.
const TYPE_7: &[u8; 53] = b"dsfd;kfoA,.iyewrkldJKDHSUBsgvca69834ncxv9873254k;fg87";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_under_its_key_only() {
        let vault = Vault::new(&[7; 32]);
        let sealed = vault.seal(&"pass word".into());
        assert_ne!(sealed, vault.seal(&"pass word".into()), "a nonce was used twice");
        assert_eq!(vault.open(&sealed).unwrap().expose_secret(), "pass word");
        assert_eq!(Vault::new(&[8; 32]).open(&sealed).unwrap_err(), VaultError::Foreign);
        for at in 0..sealed.len() {
            let mut spoilt = sealed.clone().into_bytes();
            spoilt[at] = if spoilt[at] == b'A' { b'B' } else { b'A' };
            let opened = vault.open(std::str::from_utf8(&spoilt).unwrap());
            // The last character has bits that are not of the last octet; the decoder wants them zero.
            assert!(opened.is_err(), "character {at}");
        }
        for hostile in ["", "A", "AQ", "AQAA", "é"] {
            assert_eq!(vault.open(hostile).unwrap_err(), VaultError::Foreign);
        }
    }

    // The first was printed by an IOS router, in the Cisco IOS document on certificate servers.
    #[test]
    fn passwords_of_type_7_are_read() {
        let clear = |hidden| type_7(hidden).map(|clear| clear.expose_secret().to_owned());
        assert_eq!(clear("12141C0713181F13253920").as_deref(), Some("mypassword"));
        assert_eq!(clear("02050D480809").as_deref(), Some("cisco"));
        for hostile in ["", "1", "12", "121", "53AA", "12zz", "é1", "1é2", "+1AA"] {
            assert_eq!(clear(hostile), None, "{hostile}");
        }
    }

    #[test]
    fn debug_does_not_tell() {
        let vault = Vault::new(&[7; 32]);
        let typed = Password::Typed("hunter2".into());
        assert_eq!(format!("{typed:?} {:?}", typed.clone().sealed(&vault)), "Typed(…) Sealed(…)");
        assert_eq!(Password::written(Some(&typed)), "");
    }
}
