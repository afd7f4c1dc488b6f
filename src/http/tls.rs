//! TLS, served: handshakes whose signature is made on a token. The only code naming tokio-rustls.
//!
//! The token is asked once in a handshake, after the ClientHello was read, and not at all when a client
//! resumes a session. That call blocks: it is made on the pool of threads, by a few handshakes at once.
//! The others wait, and give up with the time-out of the handshake.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use tokio_rustls::rustls::server::{Acceptor as Hello, ProducesTickets, ServerConfig};
use tokio_rustls::rustls::sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey};
use tokio_rustls::rustls::{self, SignatureAlgorithm, SignatureScheme, SupportedProtocolVersion, version};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use crate::node::{Node, TlsIdentity};
use crate::pki::{self, Curve, Hash, KeyError, KeyKind};

/// Makes TLS connections of TCP connections.
pub struct Acceptor {
    node: Arc<Node>,
    provider: Arc<CryptoProvider>,
    tickets: Arc<dyn ProducesTickets>,
    /// What the identity of the node was last made into.
    config: Mutex<Option<(Arc<TlsIdentity>, Arc<ServerConfig>)>>,
    signing: Arc<Semaphore>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// Nothing to serve with: the key cannot be used.
    #[error("HTTPS is not served now")]
    NotServed,
    /// The client was not done in time, or the token was not.
    #[error("the handshake took too long")]
    TimedOut,
    /// What rustls or the connection says.
    #[error("{0}")]
    Failed(#[from] io::Error),
}

impl Acceptor {
    /// With what `node` has.
    pub fn new(node: Arc<Node>) -> io::Result<Self> {
        Ok(Self {
            node,
            provider: Arc::new(ring::default_provider()),
            tickets: ring::Ticketer::new().map_err(io::Error::other)?,
            config: Mutex::default(),
            signing: Arc::new(Semaphore::new(MAX_SIGNING)),
        })
    }

    /// The handshake, in a bounded time.
    pub async fn accept(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, HandshakeError> {
        let handshake = self.handshake(stream);
        tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await.map_err(|_| HandshakeError::TimedOut)?
    }

    async fn handshake(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, HandshakeError> {
        let config = self.config()?;
        let hello = LazyConfigAcceptor::new(Hello::default(), stream).await?;
        let permit = self.signing.clone().acquire_owned().await.map_err(io::Error::other)?;
        let answer = move || {
            let _permit = permit;
            StartHandshake::into_stream(hello, config)
        };
        // rustls answers a ClientHello, and signs, within this call.
        let rest = tokio::task::spawn_blocking(answer).await.map_err(io::Error::other)?;
        Ok(rest.await?)
    }

    /// For the identity that the node has now.
    fn config(&self) -> Result<Arc<ServerConfig>, HandshakeError> {
        let identity = self.node.tls_identity().ok_or(HandshakeError::NotServed)?;
        let mut made = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some((of, config)) if Arc::ptr_eq(of, &identity) => Ok(config.clone()),
            _ => {
                let config = Arc::new(self.configure(&identity).map_err(io::Error::other)?);
                *made = Some((identity, config.clone()));
                Ok(config)
            }
        }
    }

    fn configure(&self, identity: &TlsIdentity) -> Result<ServerConfig, rustls::Error> {
        let certificate = CertificateDer::from(identity.certificate.der().to_vec());
        let key = TokenKey::new(identity);
        let versions = key.versions();
        let certified = CertifiedKey::new(vec![certificate], Arc::new(key));
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.ticketer = self.tickets.clone();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// A key on a token, as rustls asks it.
#[derive(Clone)]
struct TokenKey {
    key: Arc<dyn pki::SigningKey>,
    pss: bool,
    asking: Arc<Semaphore>,
}

impl TokenKey {
    fn new(identity: &TlsIdentity) -> Self {
        let asking = Arc::new(Semaphore::new(MAX_ASKING));
        Self { key: identity.key.clone(), pss: identity.pss, asking }
    }

    fn kind(&self) -> KeyKind {
        self.key.public_key().kind()
    }

    /// What it signs by, the preferred first.
    fn schemes(&self) -> &'static [SignatureScheme] {
        match self.kind() {
            KeyKind::Ec(Curve::P256) => &[SignatureScheme::ECDSA_NISTP256_SHA256],
            KeyKind::Ec(Curve::P384) => &[SignatureScheme::ECDSA_NISTP384_SHA384],
            KeyKind::Ec(Curve::P521) => &[SignatureScheme::ECDSA_NISTP521_SHA512],
            KeyKind::Rsa { .. } if self.pss => {
                &[SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256]
            }
            KeyKind::Rsa { .. } => &[SignatureScheme::RSA_PKCS1_SHA256],
            // Such a key is refused where it is chosen.
            KeyKind::MlDsa(_) => &[],
        }
    }

    /// TLS 1.3 has no RSASSA-PKCS1-v1_5 (RFC 8446, 4.2.3).
    fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        match self.kind() {
            KeyKind::Rsa { .. } if !self.pss => &TLS12_ONLY,
            _ => rustls::ALL_VERSIONS,
        }
    }

    fn sign(&self, scheme: SignatureScheme, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match (self.kind(), scheme) {
            (KeyKind::Ec(curve), _) => self.key.sign(curve.hash(), message),
            (KeyKind::Rsa { .. }, SignatureScheme::RSA_PSS_SHA256) => {
                self.key.sign_pss(Hash::Sha256, message)
            }
            (KeyKind::Rsa { .. } | KeyKind::MlDsa(_), _) => self.key.sign(Hash::Sha256, message),
        }
    }
}

impl SigningKey for TokenKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme = *self.schemes().iter().find(|scheme| offered.contains(scheme))?;
        Some(Box::new(TokenSigner { key: self.clone(), scheme }))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(self.key.public_key().spki_der()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.kind() {
            KeyKind::Ec(_) => SignatureAlgorithm::ECDSA,
            KeyKind::Rsa { .. } => SignatureAlgorithm::RSA,
            // TLS 1.2 has no number for it.
            KeyKind::MlDsa(_) => SignatureAlgorithm::Anonymous,
        }
    }
}

struct TokenSigner {
    key: TokenKey,
    scheme: SignatureScheme,
}

impl Signer for TokenSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let busy = |_| rustls::Error::General("too many handshakes".into());
        let _asking = self.key.asking.try_acquire().map_err(busy)?;
        // On a thread of the pool this is a call and no more. A client that was asked for another key share
        // (HelloRetryRequest) is answered on a thread of the runtime, whose other work moves elsewhere.
        tokio::task::block_in_place(|| self.key.sign(self.scheme, message))
            .map_err(|error| rustls::Error::General(pki::chain(&error)))
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenKey({})", self.kind())
    }
}

impl std::fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenSigner({:?})", self.scheme)
    }
}

static TLS12_ONLY: [&SupportedProtocolVersion; 1] = [&version::TLS12];
/// From the connection to the first request.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes that ask the token at once; more would only wait there.
const MAX_SIGNING: usize = 4;
/// The same with those that were asked for another key share, which nothing holds back before.
const MAX_ASKING: usize = 8;
