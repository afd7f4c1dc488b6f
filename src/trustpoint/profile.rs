//! Enrolment profiles: a CA that speaks no SCEP is asked by HTTP, as its operator has written down.
//!
//! A command is a method, a path where that is not the one of the URL, and for POST what is posted, as in
//! `GET /certs/cacert.der` and `POST /certs/certreq.asp reqtype=PKCS10&CertReq=$REQ`. What `$P1`, `$REQ` and
//! `$FQDN` stand for is put in escaped, so that it stays one value whatever is in it. There is no standard for
//! any of it: answers are read as certificates in whatever form they have.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::files::{Exchanged, FileUrl, Posted};
use crate::pki::archive::pem;
use crate::pki::{Certificate, PublicKey};

use super::{CaCertificates, ClientError, Transport};

/// One task of a profile: whom to ask, and how.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// `url`: the server, and the path of a command that has none.
    pub url: &'a str,
    /// `command`, as typed.
    pub command: &'a str,
    /// What its variables stand for.
    pub values: &'a Values<'a>,
}

/// What the variables of a command stand for.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// `$P1` and so on, by number.
    pub parameters: &'a BTreeMap<u8, SecretString>,
    /// `$REQ`: a PKCS#10 in DER. None while only the CA certificate is asked for.
    pub request: Option<&'a [u8]>,
    /// Whether `$REQ` has PEM boundaries; else it is base64 in one line.
    pub pem: bool,
    /// `$FQDN`: the name of this host.
    pub fqdn: &'a str,
}

/// Why a command cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// Neither GET nor POST.
    #[error("\"{0}\" is no method: a command of a profile begins with GET or POST")]
    Method(String),
    /// A variable that is none.
    #[error("\"${0}\" stands for nothing: $P1 to $P8, $REQ and $FQDN do")]
    Unknown(String),
    /// A parameter without a value.
    #[error("$P{0} has no value\nhint: `parameter {0} value …` or `parameter {0} prompt …` in the profile")]
    Missing(u8),
    /// `$REQ` where there is no request.
    #[error("$REQ is a certificate request, and the command for the CA certificate has none")]
    NoRequest,
    /// A path that makes no URL.
    #[error("\"{0}\" is no path at {1}")]
    Path(String, String),
}

impl Task<'_> {
    /// Asks for the CA certificate.
    pub fn ca_certificates(&self, transport: &dyn Transport) -> Result<CaCertificates, ClientError> {
        CaCertificates::read(&self.answer(AUTHENTICATION, transport)?.body)
    }

    /// Sends the request. The certificate for the key `wanted`, which `ca` has issued, comes first; what came
    /// with it follows. An answer without certificates may be a page that asks to wait: it is
    /// [`ClientError::NoCertificates`].
    pub fn enroll(
        &self,
        transport: &dyn Transport,
        ca: &CaCertificates,
        wanted: &PublicKey,
    ) -> Result<Vec<Certificate>, ClientError> {
        let answer = self.answer(ENROLLMENT, transport)?;
        let mut certificates =
            super::certificates::certificates(&answer.body).map_err(ClientError::NoCertificates)?;
        let ours = certificates.iter().position(|certificate| certificate.public_key() == wanted);
        certificates.swap(0, ours.ok_or(ClientError::OtherKey)?);
        ca.check_issued(&certificates[0])?;
        Ok(certificates)
    }

    fn answer(&self, operation: &'static str, transport: &dyn Transport) -> Result<Exchanged, ClientError> {
        let Asked { url, posted } = self.asked()?;
        let octets = posted.as_ref().map(|text| text.as_bytes());
        let posted = octets.map(|octets| Posted { content_type: FORM, octets });
        let answer = transport.exchange(&url, posted)?;
        match answer.status {
            200..=299 => Ok(answer),
            status => Err(ClientError::Status {
                url: self.url.to_owned(),
                operation,
                said: answer.said,
                temporary: status >= 500 || matches!(status, 408 | 425 | 429),
            }),
        }
    }

    /// What is sent where.
    fn asked(&self) -> Result<Asked, ClientError> {
        let (method, rest) =
            self.command.trim().split_once(char::is_whitespace).unwrap_or((self.command.trim(), ""));
        let is_post = method.eq_ignore_ascii_case("POST");
        if !is_post && !method.eq_ignore_ascii_case("GET") {
            return Err(ProfileError::Method(method.to_owned()).into());
        }
        let rest = rest.trim();
        let (path, body) = match rest.starts_with('/') {
            true => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
            // Of GET, what is no path is a query.
            false if is_post => ("", rest),
            false => ("", rest.trim_start_matches('?')),
        };
        let path = self.values.expand(path)?;
        let body = self.values.expand(body.trim_start())?;
        let query = if is_post { "" } else { &body };
        let url = self.at(&path, query)?;
        Ok(Asked { url, posted: is_post.then_some(body) })
    }

    /// The URL with this path, unless it is empty, and query.
    fn at(&self, path: &str, query: &str) -> Result<FileUrl, ClientError> {
        let wrong = || ProfileError::Path(path.to_owned(), self.url.to_owned());
        let (scheme, rest) = self.url.split_once("://").ok_or_else(wrong)?;
        if !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") {
            return Err(wrong().into());
        }
        let base = match path.is_empty() {
            true => self.url.to_owned(),
            false => format!("{scheme}://{}{path}", rest.split(['/', '?']).next().unwrap_or(rest)),
        };
        let mark = if base.contains('?') { '&' } else { '?' };
        let whole = if query.is_empty() { base } else { format!("{base}{mark}{query}") };
        Ok(FileUrl::parse(&whole).map_err(|_| wrong())?)
    }
}

/// A command with its values.
struct Asked {
    url: FileUrl,
    // May hold an authorization code.
    posted: Option<Zeroizing<String>>,
}

impl Values<'_> {
    /// The text with values for its variables.
    fn expand(&self, text: &str) -> Result<Zeroizing<String>, ProfileError> {
        let mut parts = text.split('$');
        let mut expanded = Zeroizing::new(parts.next().unwrap_or_default().to_owned());
        for part in parts {
            let end = part.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(part.len());
            let (name, rest) = part.split_at(end);
            expanded.push_str(&self.value(name)?);
            expanded.push_str(rest);
        }
        Ok(expanded)
    }

    fn value(&self, name: &str) -> Result<Zeroizing<String>, ProfileError> {
        let escaped = |text: &str| Zeroizing::new(utf8_percent_encode(text, VALUE).to_string());
        match name {
            "REQ" => {
                let der = self.request.ok_or(ProfileError::NoRequest)?;
                Ok(escaped(&match self.pem {
                    true => pem::write(pem::REQUEST, der),
                    false => STANDARD.encode(der),
                }))
            }
            "FQDN" => Ok(escaped(self.fqdn)),
            _ => {
                let unknown = || ProfileError::Unknown(name.to_owned());
                let number = name.strip_prefix('P').and_then(|number| number.parse().ok());
                let number = number.filter(|number| (1..=8).contains(number)).ok_or_else(unknown)?;
                let value = self.parameters.get(&number).ok_or(ProfileError::Missing(number))?;
                Ok(escaped(value.expose_secret()))
            }
        }
    }
}

/// What stands in values as it is: RFC 3986, 2.3.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const FORM: &str = "application/x-www-form-urlencoded";
const AUTHENTICATION: &str = "the authentication command";
const ENROLLMENT: &str = "the enrollment command";

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(url: &str, command: &str) -> Result<(String, Option<String>), String> {
        let parameters = [(1, "aaaa-bbbb".into()), (2, "5 & 1".into())].into();
        let values = Values {
            parameters: &parameters,
            request: Some(b"\xff\xff\xff"),
            pem: false,
            fqdn: "r1.example.com",
        };
        let asked = Task { url, command, values: &values }.asked().map_err(|error| error.to_string())?;
        Ok((asked.url.to_string(), asked.posted.map(|text| text.to_string())))
    }

    #[test]
    fn commands_of_the_documents() {
        assert_eq!(
            asked("http://entrust:81", "GET /certs/cacert.der").unwrap(),
            ("http://entrust:81/certs/cacert.der".into(), None)
        );
        let posted = "POST reference_number=$P2&authcode=$P1&retrievedAs=rawDER&action=getServerCert&pkcs10Request=$REQ";
        assert_eq!(
            asked("http://entrust:81/cda-cgi/clientcgi.exe", posted).unwrap(),
            (
                "http://entrust:81/cda-cgi/clientcgi.exe".into(),
                Some(
                    "reference_number=5%20%26%201&authcode=aaaa-bbbb&retrievedAs=rawDER&action=getServerCert&\
                     pkcs10Request=%2F%2F%2F%2F"
                        .into()
                )
            )
        );
        assert_eq!(
            asked("https://ca/old/path?x=1", "post /certs/certreq.asp reqtype=PKCS10&CertReq=$REQ").unwrap(),
            ("https://ca/certs/certreq.asp".into(), Some("reqtype=PKCS10&CertReq=%2F%2F%2F%2F".into()))
        );
        assert_eq!(asked("http://ca/p", "GET ?name=$FQDN").unwrap().0, "http://ca/p?name=r1.example.com");
        assert_eq!(asked("http://ca/p", "GET /for/$P1/ca").unwrap().0, "http://ca/for/aaaa-bbbb/ca");
    }

    #[test]
    fn what_stands_for_nothing_is_said() {
        let refused = |url, command, why: &str| {
            let error = asked(url, command).unwrap_err();
            assert!(error.contains(why), "{error}");
        };
        refused("http://ca", "PUT /x", "no method");
        refused("http://ca", "POST a=$P3", "`parameter 3 value …`");
        refused("http://ca", "POST a=$P9", "\"$P9\" stands for nothing");
        refused("http://ca", "POST a=$", "\"$\" stands for nothing");
        refused("http://ca", "POST a=$REQUEST", "\"$REQUEST\" stands for nothing");
        refused("tftp://ca", "GET /x", "no path at");
        refused("ca", "GET /x", "no path at");
        let nothing = BTreeMap::new();
        let values = Values { parameters: &nothing, request: None, pem: false, fqdn: "" };
        assert_eq!(values.expand("$REQ"), Err(ProfileError::NoRequest));
        assert_eq!(values.expand("é$FQDNé").unwrap().as_str(), "éé");
    }
}
