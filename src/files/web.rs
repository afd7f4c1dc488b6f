//! HTTP and HTTPS: GET, PUT and DELETE of files, and POST for protocols over HTTP (RFC 9110, 9.3).
//!
//! A PUT carries its length, so a server has the whole file or refuses it. Certificates of servers are checked
//! against the CAs that this host trusts (`SSL_CERT_FILE` and `SSL_CERT_DIR` say otherwise) and those of
//! [`Places`]. A proxy is used only by who names one.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use ureq::http::{Method, Request, StatusCode, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Proxy};
use url::Url;
use zeroize::Zeroizing;

use super::remote::{CONNECTING, WAITING, addresses, broken};
use super::{Exchanged, Fault, Login, MAX_OCTETS, Places, Posted, Timeouts};

/// An HTTP client.
pub struct Web {
    agent: Agent,
}

/// What a server answered.
pub struct Answer {
    pub status: u16,
    /// Status and its words.
    pub said: String,
    /// Content-Type, without parameters, in lower case.
    pub content_type: Option<String>,
    pub body: Vec<u8>,
}

/// What is asked of a server.
struct Asked<'a> {
    method: Method,
    url: &'a Url,
    login: Option<&'a Login>,
    /// Content-Type and octets.
    body: Option<(&'a str, &'a [u8])>,
    /// Octets of the answer's body, at most.
    limit: u64,
    /// Host and port of a proxy that connects to the server (CONNECT, RFC 9110, 9.3.6).
    proxy: Option<(&'a str, u16)>,
}

impl Web {
    /// A client that waits as long as this.
    pub fn new(places: Arc<Places>, timeouts: Timeouts) -> Self {
        let native = rustls_native_certs::load_native_certs();
        for error in &native.errors {
            tracing::debug!("reading the CAs that this host trusts: {error}");
        }
        let own = places.authorities.iter().map(Vec::as_slice);
        let roots = native.certs.iter().map(AsRef::as_ref).chain(own);
        let roots: Vec<_> = roots.map(|der| Certificate::from_der(der).to_owned()).collect();
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::from(roots))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let configuration = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .proxy(None)
            .user_agent(concat!("tokenca/", env!("CARGO_PKG_VERSION")))
            // A connection that the server closes meanwhile would fail the next request.
            .max_idle_connections(0)
            .timeout_connect(Some(timeouts.connect))
            .timeout_per_read(Some(timeouts.silence))
            .timeout_per_write(Some(timeouts.silence))
            .timeout_global(Some(timeouts.total))
            .build();
        let hosts = Hosts { places, timeouts };
        Self { agent: Agent::with_parts(configuration, DefaultConnector::new(), hosts) }
    }

    pub fn read(&self, url: &Url, login: Option<&Login>) -> Result<Vec<u8>, Fault> {
        let answer = self.ask(Method::GET, url, login, None)?;
        answer.fault("GET").map_or(Ok(answer.body), Err)
    }

    pub fn write(&self, url: &Url, octets: &[u8], login: Option<&Login>) -> Result<(), Fault> {
        if url.path().ends_with('/') {
            return Err(Fault::Name("it is empty"));
        }
        let answer = self.ask(Method::PUT, url, login, Some(octets))?;
        answer.fault("PUT").map_or(Ok(()), Err)
    }

    pub fn delete(&self, url: &Url, login: Option<&Login>) -> Result<(), Fault> {
        if url.path().ends_with('/') {
            return Err(Fault::Name("it is empty"));
        }
        let answer = self.ask(Method::DELETE, url, login, None)?;
        answer.fault("DELETE").map_or(Ok(()), Err)
    }

    /// One request and its answer, whatever the status. Of redirections only those of GET are followed.
    pub fn ask(
        &self,
        method: Method,
        url: &Url,
        login: Option<&Login>,
        body: Option<&[u8]>,
    ) -> Result<Answer, Fault> {
        let body = body.map(|octets| (content_type(url.path()), octets));
        self.carry(Asked { method, url, login, body, limit: MAX_OCTETS, proxy: None })
    }

    /// GET, or POST of what is `posted`, and the answer, whatever the status.
    pub fn exchange(
        &self,
        url: &Url,
        login: Option<&Login>,
        posted: Option<Posted<'_>>,
        limit: u64,
        proxy: Option<(&str, u16)>,
    ) -> Result<Exchanged, Fault> {
        let method = if posted.is_some() { Method::POST } else { Method::GET };
        let body = posted.map(|posted| (posted.content_type, posted.octets));
        let Answer { status, said, content_type, body } =
            self.carry(Asked { method, url, login, body, limit, proxy })?;
        Ok(Exchanged { status, said, content_type, body })
    }

    fn carry(&self, asked: Asked<'_>) -> Result<Answer, Fault> {
        let Asked { method, url, login, body, limit, proxy } = asked;
        let wrong = |error: ureq::Error| Fault::Protocol(format!("the proxy: {error}"));
        let proxy = proxy
            .map(|(host, port)| Proxy::new(&format!("http://{host}:{port}")))
            .transpose()
            .map_err(wrong)?;
        let redirects = if method == Method::GET { MAX_REDIRECTS } else { 0 };
        // What was asked for over TLS does not come from elsewhere in clear.
        let only_tls = url.scheme() == "https";
        let mut request = Request::builder().method(method).uri(url.as_str());
        if let Some(login) = login {
            request = request.header("Authorization", basic(login).expose_secret());
        }
        if let Some((content_type, _)) = body {
            request = request.header("Content-Type", content_type);
        }
        let malformed = |error: ureq::http::Error| Fault::Protocol(error.to_string());
        let answer = match body {
            Some((_, octets)) => {
                let request = request.body(octets).map_err(malformed)?;
                let request = self
                    .agent
                    .configure_request(request)
                    .max_redirects(redirects)
                    .https_only(only_tls)
                    .proxy(proxy)
                    .build();
                self.agent.run(request)
            }
            None => {
                let request = request.body(()).map_err(malformed)?;
                let request = self
                    .agent
                    .configure_request(request)
                    .max_redirects(redirects)
                    .https_only(only_tls)
                    .proxy(proxy)
                    .build();
                self.agent.run(request)
            }
        };
        let mut answer = answer.map_err(fault)?;
        let status = answer.status();
        let content_type = answer.headers().get("Content-Type").and_then(|value| value.to_str().ok());
        let content_type = content_type.and_then(|value| value.split(';').next());
        let content_type = content_type.map(|value| value.trim().to_ascii_lowercase());
        let body = answer.body_mut().with_config().limit(limit).read_to_vec().map_err(fault)?;
        Ok(Answer { status: status.as_u16(), said: words(status), content_type, body })
    }
}

impl Answer {
    /// Why this is no success; none when it is.
    pub fn fault(&self, method: &'static str) -> Option<Fault> {
        let said = || self.said.clone();
        Some(match (self.status, method) {
            (200..=299, _) => return None,
            (401, _) => Fault::Login(said()),
            (403, _) => Fault::Denied(said()),
            (404 | 409, "PUT") => Fault::NoDirectory,
            (404 | 410, _) => Fault::NotFound,
            (405 | 501, "PUT") => Fault::Unsupported("the server takes no files by PUT"),
            (405 | 501, "DELETE") => Fault::Unsupported("the server deletes no files by DELETE"),
            (507, _) => Fault::NoSpace(said()),
            (status, _) => {
                // Request Timeout, Too Early, Too Many Requests: RFC 9110, 15.5.9, RFC 8470, RFC 6585.
                let temporary = status >= 500 || matches!(status, 408 | 425 | 429);
                Fault::Server { said: said(), temporary }
            }
        })
    }
}

fn words(status: StatusCode) -> String {
    status
        .canonical_reason()
        .map_or(status.as_str().to_owned(), |reason| format!("{} {reason}", status.as_u16()))
}

/// Of RFC 7617.
fn basic(login: &Login) -> SecretString {
    let pair = format!("{}:{}", login.username, login.password.expose_secret());
    let pair = Zeroizing::new(pair);
    format!("Basic {}", STANDARD.encode(pair.as_bytes())).into()
}

/// By the end of the name: RFC 2585 for certificates and CRLs, RFC 8550 for what is beside them.
pub fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("crl") => "application/pkix-crl",
        Some("cer" | "crt") => "application/pkix-cert",
        Some("p12") => "application/x-pkcs12",
        Some("pem") => "application/x-pem-file",
        _ => "application/octet-stream",
    }
}

fn fault(error: ureq::Error) -> Fault {
    match error {
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => Fault::TimedOut(CONNECTING),
        ureq::Error::Timeout(_) => Fault::TimedOut(WAITING),
        ureq::Error::BodyExceedsLimit(limit) => Fault::TooLarge(limit),
        ureq::Error::ConnectionFailed => {
            Fault::Unreachable(io::Error::other("no address of the host takes connections"))
        }
        ureq::Error::Rustls(error) => Fault::Tls(error.to_string()),
        ureq::Error::Tls(what) => Fault::Tls(what.to_owned()),
        ureq::Error::Io(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable => Fault::Unreachable(error),
            // rustls wraps its errors so.
            io::ErrorKind::InvalidData
                if error.get_ref().is_some_and(|cause| cause.is::<rustls::Error>()) =>
            {
                Fault::Tls(error.to_string())
            }
            _ => broken(&error),
        },
        ureq::Error::Other(other) => match other.downcast::<Lookup>() {
            Ok(lookup) => lookup.0,
            Err(other) => Fault::Protocol(other.to_string()),
        },
        ureq::Error::RequireHttpsOnly(_) => Fault::Server {
            said: "this file is at another place, which has no TLS".to_owned(),
            temporary: false,
        },
        ureq::Error::TooManyRedirects => Fault::Protocol(error.to_string()),
        error => Fault::Protocol(match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        }),
    }
}

/// Host names as [`addresses`] finds them.
struct Hosts {
    places: Arc<Places>,
    timeouts: Timeouts,
}

/// Why it did not, on its way through ureq.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Lookup(Fault);

impl Resolver for Hosts {
    fn resolve(
        &self,
        uri: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let host = uri.host().unwrap_or_default();
        let found = addresses(&self.places, host, uri.port_u16().unwrap_or(usual), self.timeouts.connect)
            .map_err(|fault| ureq::Error::Other(Box::new(Lookup(fault))))?;
        let mut resolved = self.empty();
        for address in found.into_iter().take(MAX_ADDRESSES) {
            resolved.push(address);
        }
        Ok(resolved)
    }
}

impl fmt::Debug for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hosts")
    }
}

/// What [`ResolvedSocketAddrs`] holds at most.
const MAX_ADDRESSES: usize = 16;
const MAX_REDIRECTS: u32 = 5;
