//! Which key pair a trustpoint has, and where it is.

use std::fmt;

use crate::config::grammar::{Args, Refusal};
use crate::config::line::{Line, Verb};
use crate::config::{device, label};
use crate::pki::{Curve, KeyKind, MlDsaSet};

use super::TrustpointSection;

/// The key pair of a trustpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPair {
    /// `rsakeypair`.
    Rsa {
        /// Name of the key.
        label: String,
        /// Bits of the modulus when it has to be generated.
        bits: Option<u32>,
        /// Bits of a separate encryption key.
        encryption_bits: Option<u32>,
    },
    /// `eckeypair`.
    Ec {
        /// Name of the key.
        label: String,
    },
    /// `mldsakeypair`.
    MlDsa {
        /// Name of the key.
        label: String,
    },
}

impl KeyPair {
    /// Name of the key.
    pub fn label(&self) -> &str {
        match self {
            Self::Rsa { label, .. } | Self::Ec { label } | Self::MlDsa { label } => label,
        }
    }

    /// Its kind when it has to be generated.
    pub fn kind(&self) -> KeyKind {
        match self {
            Self::Rsa { bits, .. } => KeyKind::Rsa { bits: bits.unwrap_or(DEFAULT_RSA_BITS) as usize },
            Self::Ec { .. } => KeyKind::Ec(Curve::P256),
            Self::MlDsa { .. } => KeyKind::MlDsa(MlDsaSet::MlDsa65),
        }
    }

    /// The smallest RSA modulus asked for.
    pub fn least_bits(&self) -> Option<u32> {
        match self {
            Self::Rsa { bits, encryption_bits, .. } => [*bits, *encryption_bits].into_iter().flatten().min(),
            Self::Ec { .. } | Self::MlDsa { .. } => None,
        }
    }
}

impl fmt::Display for KeyPair {
    /// Its line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa { label, bits, encryption_bits } => {
                write!(f, "rsakeypair {label}")?;
                [bits, encryption_bits].into_iter().flatten().try_for_each(|bits| write!(f, " {bits}"))
            }
            Self::Ec { label } => write!(f, "eckeypair {label}"),
            Self::MlDsa { label } => write!(f, "mldsakeypair {label}"),
        }
    }
}

const DEFAULT_RSA_BITS: u32 = 2048;
pub(in crate::config) const RSA_KEY_PAIR: &str =
    "rsakeypair <label> [<bits:1024-8192> [<enc-bits:1024-8192>]]";
pub(in crate::config) const RSA_KEY_PAIR_ALSO: &str =
    "{rsa-key | rsa-keypair | rsa keypair} <label> [<bits:1024-8192> [<enc-bits:1024-8192>]]";

pub(super) const LINES: &[Line<TrustpointSection>] = &[
    Line {
        words: RSA_KEY_PAIR,
        no: Some("rsakeypair"),
        about: "Uses this RSA key, generated with so many bits when it is missing",
        help: &[
            ("rsakeypair", "RSA key pair to use"),
            ("<bits>", "Bits of the modulus"),
            ("<enc-bits>", "Bits of a separate encryption key"),
        ],
        run: rsakeypair,
    },
    Line {
        words: "eckeypair <label>",
        no: Some("eckeypair"),
        about: "Uses this EC key",
        help: &[("eckeypair", "EC key pair to use")],
        run: |trustpoint, verb, args| {
            trustpoint.key = match verb {
                Verb::Set => Some(KeyPair::Ec { label: label(args, "label")? }),
                _ => trustpoint.key.take().filter(|key| !matches!(key, KeyPair::Ec { .. })),
            };
            Ok(())
        },
    },
    Line {
        words: "mldsakeypair <label>",
        no: Some("mldsakeypair"),
        about: "Uses this ML-DSA key, generated as ML-DSA-65 when it is missing",
        help: &[("mldsakeypair", "ML-DSA key pair to use")],
        run: |trustpoint, verb, args| {
            trustpoint.key = match verb {
                Verb::Set => Some(KeyPair::MlDsa { label: label(args, "label")? }),
                _ => trustpoint.key.take().filter(|key| !matches!(key, KeyPair::MlDsa { .. })),
            };
            Ok(())
        },
    },
    Line {
        words: "on <device> [<copy>]",
        no: Some("on"),
        about: "Generates the key on this token; a copy of it on the second is used beside it",
        help: &[("<copy>", "Another token, which has the same key: usbtoken1:")],
        run: |trustpoint, verb, args| {
            (trustpoint.on, trustpoint.copy) = match verb {
                Verb::Set => {
                    let copy = args.get("copy").map(|_| device(args, "copy")).transpose()?;
                    (Some(device(args, "device")?), copy)
                }
                _ => (None, None),
            };
            Ok(())
        },
    },
    Line {
        words: "storage <device>",
        no: Some("storage"),
        about: "Keeps the certificates on this token too; the database has them in any case, which nvram: means",
        help: &[("storage", "Where certificates are kept")],
        run: |trustpoint, verb, args| {
            trustpoint.storage = match verb {
                Verb::Set => Some(device(args, "device")?).filter(|device| device != "nvram"),
                _ => None,
            };
            Ok(())
        },
    },
];

pub(super) const ALSO: &[Line<TrustpointSection>] = &[Line {
    words: RSA_KEY_PAIR_ALSO,
    no: Some("{rsa-key | rsa-keypair | rsa keypair}"),
    about: "`rsakeypair`, as it is printed in places",
    help: &[],
    run: rsakeypair,
}];

fn rsakeypair(trustpoint: &mut TrustpointSection, verb: Verb, args: &Args) -> Result<(), Refusal> {
    trustpoint.key = match verb {
        Verb::Set => {
            let bits = |name| args.number(name).and_then(|bits| u32::try_from(bits).ok());
            Some(KeyPair::Rsa {
                label: label(args, "label")?,
                bits: bits("bits"),
                encryption_bits: bits("enc-bits"),
            })
        }
        _ => trustpoint.key.take().filter(|key| !matches!(key, KeyPair::Rsa { .. })),
    };
    Ok(())
}
