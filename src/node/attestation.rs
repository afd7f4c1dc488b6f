//! `show crypto pki token NAME attestation`: what speaks for the keys on a token.

use serde::Serialize;

use crate::token::{Attestation, KeyInfo};

use super::{Node, NodeError, Printed, TokenKeyRow};

/// What speaks for the keys on a token.
#[derive(Clone, Debug, Serialize)]
pub struct AttestationReport {
    /// Name of the token.
    pub token: String,
    /// The profile in use.
    pub profile: String,
    /// Whether devices of this profile attest the keys that they have made.
    pub attests: bool,
    /// The keys.
    pub keys: Vec<KeyWord>,
}

/// What the module and the device say of a key. Absent where they do not say.
#[derive(Clone, Debug, Serialize)]
pub struct KeyWord {
    /// The key, and what the module says of it.
    #[serde(flatten)]
    pub key: TokenKeyRow,
    /// What the device says.
    pub device: Option<DeviceWord>,
}

/// The attributes of a key that say where it has been.
#[derive(Clone, Debug, Serialize)]
pub struct ModuleWord {
    /// `CKA_LOCAL`.
    pub local: Option<bool>,
    /// `CKA_SENSITIVE`.
    pub sensitive: Option<bool>,
    /// `CKA_ALWAYS_SENSITIVE`.
    pub always_sensitive: Option<bool>,
    /// `CKA_EXTRACTABLE`.
    pub extractable: Option<bool>,
    /// `CKA_NEVER_EXTRACTABLE`.
    pub never_extractable: Option<bool>,
    /// `CKA_KEY_GEN_MECHANISM`.
    pub mechanism: Option<String>,
}

/// An attestation.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceWord {
    /// What does not hold; empty when everything that can be checked here does.
    pub doubts: Vec<String>,
    /// Firmware of the device.
    pub firmware: Option<String>,
    /// Its serial number.
    pub serial: Option<u64>,
    /// When the key wants the PIN, in words.
    pub pin_policy: Option<String>,
    /// When the key wants a touch, in words.
    pub touch_policy: Option<String>,
    /// What the device looks like, in words.
    pub form_factor: Option<String>,
    /// Whether it is of the series that is certified by FIPS 140.
    pub fips: bool,
    /// The attestation, PEM.
    pub certificate: Printed,
    /// The certificates of who signed it, PEM.
    pub chain: Vec<Printed>,
}

impl Node {
    /// What speaks for the key with this label, or for every key on the token.
    pub fn attestations(&self, token: &str, label: Option<&str>) -> Result<AttestationReport, NodeError> {
        let device = self.token_set().get(Some(token))?;
        let keys = match label {
            Some(label) => vec![device.key(label)?.info().clone()],
            None => device.keys()?,
        };
        let word = |key: KeyInfo| {
            let device = device.attestation_of(&key)?.map(DeviceWord::from);
            Ok(KeyWord { key: TokenKeyRow::of(key), device })
        };
        Ok(AttestationReport {
            token: token.to_owned(),
            profile: device.profile().name().to_owned(),
            attests: device.profile().attests(),
            keys: keys.into_iter().map(word).collect::<Result<_, NodeError>>()?,
        })
    }
}

impl ModuleWord {
    /// What the module says of this key.
    pub(super) fn of(key: &KeyInfo) -> Self {
        Self {
            local: key.local,
            sensitive: key.sensitive,
            always_sensitive: key.always_sensitive,
            extractable: key.extractable,
            never_extractable: key.never_extractable,
            mechanism: key.mechanism.clone(),
        }
    }
}

impl From<Attestation> for DeviceWord {
    fn from(attestation: Attestation) -> Self {
        let said = attestation.statement;
        let printed = |der| Printed { der, pem: true };
        Self {
            doubts: attestation.doubts.iter().map(ToString::to_string).collect(),
            firmware: said.firmware,
            serial: said.serial,
            pin_policy: said.pin.map(|pin| pin.to_string()),
            touch_policy: said.touch.map(|touch| touch.to_string()),
            form_factor: said.form_factor,
            fips: said.fips,
            certificate: printed(attestation.certificate),
            chain: attestation.chain.into_iter().map(printed).collect(),
        }
    }
}
