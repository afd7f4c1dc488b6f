//! Keys of clients: in memory, with the `rsa`, `p256` and `ml-dsa` crates, behind the traits that the product asks.

#![allow(dead_code, reason = "each test binary uses the part that it needs")]

use ecdsa::signature::hazmat::PrehashSigner;
use rsa::RsaPrivateKey;
use rsa::pkcs1::{DecodeRsaPrivateKey, EncodeRsaPrivateKey, LineEnding};
use tokenca::pki::{
    Certificate, Curve, DecryptionKey, Hash, KeyError, KeyTransport, MlDsaSet, Name, PublicKey, SigningKey,
    Time,
};
use tokenca::scep::client;
use zeroize::Zeroizing;

/// An RSA key of a client.
pub struct TestKey {
    key: RsaPrivateKey,
    public: PublicKey,
}

impl TestKey {
    /// A new key of 2048 bits.
    pub fn new() -> Self {
        Self::rsa(2048)
    }

    /// A new key of 1024 bits or more.
    pub fn rsa(bits: usize) -> Self {
        Self::of(RsaPrivateKey::new(&mut rand::rng(), bits).expect("an RSA key of this size can be made"))
    }

    /// The key in a PKCS#1 PEM, as `pki --gen` writes it.
    pub fn from_pem(pem: &str) -> Self {
        Self::of(RsaPrivateKey::from_pkcs1_pem(pem).expect("a PKCS#1 PEM"))
    }

    fn of(key: RsaPrivateKey) -> Self {
        use rsa::traits::PublicKeyParts;
        let public = PublicKey::from_rsa_parts(&key.n_bytes(), &key.e_bytes()).expect("its own public half");
        Self { key, public }
    }

    /// PKCS#1 PEM.
    pub fn pem(&self) -> String {
        self.key.to_pkcs1_pem(LineEnding::LF).expect("a key has an encoding").to_string()
    }

    /// A self-signed certificate of version 3, valid for ten years around now.
    pub fn self_signed(&self, subject: &str) -> Certificate {
        self_signed(self, subject, Hash::Sha256, true)
    }

    /// The content key in `wrapped`, as a client that decrypts with any mistake told would see it.
    pub fn decrypt(&self, transport: KeyTransport, wrapped: &[u8]) -> Option<Vec<u8>> {
        match transport {
            KeyTransport::Pkcs1v15 => self.key.decrypt(rsa::Pkcs1v15Encrypt, wrapped),
            KeyTransport::Oaep { hash: Hash::Sha1, mgf: Hash::Sha1 } => {
                self.key.decrypt(rsa::Oaep::<sha1::Sha1>::new(), wrapped)
            }
            KeyTransport::Oaep { hash: Hash::Sha256, mgf: Hash::Sha256 } => {
                self.key.decrypt(rsa::Oaep::<sha2::Sha256>::new(), wrapped)
            }
            KeyTransport::Oaep { .. } => return None,
        }
        .ok()
    }
}

impl SigningKey for TestKey {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, hash: Hash, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let padding = rsa::Pkcs1v15Sign { hash_len: Some(hash.size()), prefix: hash.digest_info(&[]).into() };
        Ok(self.key.sign(padding, &hash.digest(&[message])).expect("the digest fits the key"))
    }
}

impl DecryptionKey for TestKey {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn unwrap_key(
        &self,
        transport: KeyTransport,
        wrapped: &[u8],
        len: usize,
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let plain = self.decrypt(transport, wrapped).filter(|plain| plain.len() == len);
        Ok(Zeroizing::new(plain.unwrap_or_else(|| vec![0; len])))
    }
}

/// A P-256 key of a client.
pub struct EcTestKey {
    key: p256::ecdsa::SigningKey,
    public: PublicKey,
}

impl EcTestKey {
    /// A new key.
    pub fn new() -> Self {
        let mut scalar = [0; 32];
        // All but 2^-32 of the values are below the order.
        let key = loop {
            rand::fill(&mut scalar);
            if let Ok(key) = p256::ecdsa::SigningKey::from_slice(&scalar) {
                break key;
            }
        };
        let point = key.verifying_key().to_sec1_point(false);
        let public = PublicKey::from_ec_point(Curve::P256, point.as_bytes()).expect("its own public half");
        Self { key, public }
    }
}

impl SigningKey for EcTestKey {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, hash: Hash, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature: p256::ecdsa::Signature =
            self.key.sign_prehash(&hash.digest(&[message])).expect("the digest has 32 octets");
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

/// An ML-DSA key, as a token would have it.
pub struct MlDsaTestKey {
    seed: [u8; 32],
    set: MlDsaSet,
    public: PublicKey,
}

impl MlDsaTestKey {
    /// A new key of this set.
    pub fn new(set: MlDsaSet) -> Self {
        let mut seed = [0; 32];
        rand::fill(&mut seed);
        let public = match set {
            MlDsaSet::MlDsa44 => ml_dsa_public::<ml_dsa::MlDsa44>(&seed),
            MlDsaSet::MlDsa65 => ml_dsa_public::<ml_dsa::MlDsa65>(&seed),
            MlDsaSet::MlDsa87 => ml_dsa_public::<ml_dsa::MlDsa87>(&seed),
        };
        let public = PublicKey::from_ml_dsa(set, &public).expect("its own public half");
        Self { seed, set, public }
    }
}

impl SigningKey for MlDsaTestKey {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, _hash: Hash, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(match self.set {
            MlDsaSet::MlDsa44 => ml_dsa_sign::<ml_dsa::MlDsa44>(&self.seed, message),
            MlDsaSet::MlDsa65 => ml_dsa_sign::<ml_dsa::MlDsa65>(&self.seed, message),
            MlDsaSet::MlDsa87 => ml_dsa_sign::<ml_dsa::MlDsa87>(&self.seed, message),
        })
    }
}

fn ml_dsa_public<P: ml_dsa::MlDsaParams>(seed: &[u8; 32]) -> Vec<u8> {
    ml_dsa::ExpandedSigningKey::<P>::from_seed(&(*seed).into()).verifying_key().encode().to_vec()
}

fn ml_dsa_sign<P: ml_dsa::MlDsaParams>(seed: &[u8; 32], message: &[u8]) -> Vec<u8> {
    let key = ml_dsa::ExpandedSigningKey::<P>::from_seed(&(*seed).into());
    key.sign_deterministic(message, &[]).expect("an empty context is short").encode().to_vec()
}

/// A self-signed certificate, valid for ten years around now; of version 1 as old clients have it unless `v3`.
pub fn self_signed(key: &dyn SigningKey, subject: &str, hash: Hash, v3: bool) -> Certificate {
    const YEARS: u64 = 5 * 365 * 86_400;
    let now = Time::now().unix();
    let validity = (Time::from_unix(now - YEARS), Time::from_unix(now + YEARS));
    client::self_signed(&name(subject), key, hash, validity, v3).expect("a certificate of one's own")
}

/// A name in the notation of IOS.
pub fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}
