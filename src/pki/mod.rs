//! X.509 values and rules, with no I/O, no clock and no token.
//!
//! What the layers above share: algorithms, public keys, names, serial numbers, instants, requests,
//! certificates and CRLs, and the two traits through which a private key is asked:
//! [`SigningKey`] and [`DecryptionKey`].

mod algorithm;
pub mod archive;
pub(crate) mod asn1;
pub mod ber;
mod certificate;
mod chain;
mod cipher;
pub mod crl;
mod csr;
pub mod extension;
mod hex;
mod key;
mod ml_dsa;
mod name;
pub mod ocsp;
pub mod path;
mod private_key;
pub mod profile;
mod serial;
mod standing;
pub mod tbs;
mod time;
pub mod unpad;

pub use algorithm::{Hash, KeyTransport, SignatureAlgorithm};
pub use certificate::{BasicConstraints, Certificate, CertificateError, Extension, Extensions};
pub use chain::chain;
pub use cipher::Cipher;
pub use csr::{Csr, CsrError, VerifiedCsr};
pub use hex::hex;
pub use key::{
    Curve, DecryptionKey, KeyError, KeyErrorKind, KeyKind, PublicKey, PublicKeyError, SigningKey, VerifyError,
};
pub use ml_dsa::MlDsaSet;
pub use name::{Name, NameError};
pub use private_key::{EcPrivateKey, PrivateKey, PrivateKeyError, RsaPrivateKey};
pub use profile::Class;
pub use serial::{Serial, SerialError};
pub use standing::{Standing, revocation_reason};
pub use time::Time;
