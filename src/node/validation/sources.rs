//! Where the CRL of a CA may be fetched, the likeliest place first.

use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use url::Url;

use crate::pki::crl::{CrlPlace, places};
use crate::pki::{Certificate, Name};

use super::trust::Trust;

/// A place of a CRL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// By HTTP or HTTPS.
    Web(String),
    /// An entry of a directory, by LDAP.
    Directory(String),
    /// The CA itself, by SCEP.
    Scep(String),
}

impl Source {
    /// As it is displayed; also the other way round.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(url) = text.strip_prefix(SCEP) {
            return Some(Self::Scep(url.to_owned()));
        }
        let lower = text.to_ascii_lowercase();
        match lower.split_once("://")?.0 {
            "http" | "https" => Some(Self::Web(text.to_owned())),
            "ldap" => Some(Self::Directory(text.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Web(url) | Self::Directory(url) => f.write_str(url),
            Self::Scep(url) => write!(f, "{SCEP}{url}"),
        }
    }
}

/// Places of the CRL of `issuer`: those that `certificate` names; the directory of `crl query`; SCEP, when the
/// certificate names none; and where the last one came from.
pub fn sources(
    trust: &Trust,
    certificate: Option<&Certificate>,
    issuer: &Certificate,
    known: Option<&str>,
) -> Vec<Source> {
    let query = trust.checking.crl_query.as_deref();
    let named = certificate.map(places).unwrap_or_default();
    let mut all: Vec<Source> = named.iter().filter_map(|place| named_source(place, query)).collect();
    let is_named = !all.is_empty();
    all.extend(query.and_then(|server| entry(server, &Name::from_der(issuer.subject_raw()))));
    all.extend(trust.scep.iter().filter(|_| !is_named).map(|url| Source::Scep(url.clone())));
    all.extend(known.and_then(Source::parse));
    let mut seen = Vec::new();
    all.retain(|source| {
        let is_new = !seen.contains(source);
        seen.push(source.clone());
        is_new
    });
    all.truncate(MAX_SOURCES);
    all
}

fn named_source(place: &CrlPlace, query: Option<&str>) -> Option<Source> {
    match place {
        // `ldap:///DN`: the directory is for who asks to know.
        CrlPlace::Uri(uri) => match uri.strip_prefix("ldap:///") {
            Some(rest) => Some(Source::Directory(format!("{}/{rest}", server_of(query?)?))),
            None => Source::parse(uri).filter(|source| !matches!(source, Source::Scep(_))),
        },
        CrlPlace::Entry(name) => entry(query?, name),
    }
}

/// An entry of the directory of `crl query`; one that is named there goes before.
fn entry(query: &str, name: &Name) -> Option<Source> {
    let url = Url::parse(query).ok()?;
    if url.path().len() > 1 {
        return Some(Source::Directory(query.to_owned()));
    }
    let dn = name.to_directory()?;
    Some(Source::Directory(format!("{}/{}", server_of(query)?, utf8_percent_encode(&dn, RESERVED))))
}

/// Scheme, host and port.
fn server_of(query: &str) -> Option<String> {
    let url = Url::parse(query).ok()?;
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    Some(format!("ldap://{}{port}", url.host_str()?))
}

/// Before the URL of a CA that is asked by SCEP.
const SCEP: &str = "SCEP ";
/// What means something else in a URL of LDAP (RFC 4516, 2.1).
const RESERVED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'<').add(b'>').add(b'?');
/// A certificate may name as many places as it likes; so many are tried.
const MAX_SOURCES: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_host_is_that_of_crl_query() {
        let uri = CrlPlace::Uri("ldap:///CN=ca1,O=Example?certificateRevocationList".into());
        let found = named_source(&uri, Some("ldap://dir.example.com:3899"));
        let expected = "ldap://dir.example.com:3899/CN=ca1,O=Example?certificateRevocationList";
        assert_eq!(found, Some(Source::Directory(expected.into())));
        assert_eq!(named_source(&uri, None), None);

        let name = Name::parse("CN=ca 1?, O=Example").unwrap();
        let found = named_source(&CrlPlace::Entry(name), Some("ldap://dir.example.com"));
        assert_eq!(found, Some(Source::Directory("ldap://dir.example.com/cn=ca%201%3F,o=Example".into())));
    }

    #[test]
    fn files_of_this_host_are_no_place_of_a_crl() {
        for uri in ["file:///etc/passwd", "nvram:ca.crl", "SCEP http://192.0.2.1", "ftp://192.0.2.1/x"] {
            assert_eq!(named_source(&CrlPlace::Uri(uri.into()), None), None, "{uri}");
        }
        for source in ["http://192.0.2.1/ca.crl", "SCEP http://192.0.2.1", "ldap://192.0.2.1/cn=x"] {
            assert_eq!(Source::parse(source).unwrap().to_string(), source);
        }
    }
}
