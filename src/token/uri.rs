//! PKCS#11 URIs (RFC 7512), as far as they name a token and the way to it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::config::Selector;
use super::info::TokenInfo;
use super::profile::Profile;

/// A token by its URI: `pkcs11:token=ca;serial=1234?module-path=/usr/lib/softhsm/libsofthsm2.so`.
///
/// All that RFC 7512 has for tokens, slots and libraries is taken. What names an object of the token is
/// refused, as keys are named where they are used; so are attributes that are not in the RFC, which might
/// narrow the choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenUri {
    text: String,
    selector: Selector,
    module: Option<PathBuf>,
    pin_file: Option<String>,
}

/// Why a text does not name a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// Another scheme, or none.
    #[error("a PKCS#11 URI begins with \"pkcs11:\"")]
    Scheme,
    /// Neither a name and a value, nor nothing.
    #[error("attributes are NAME=VALUE, with ; between them before the ? and & after it")]
    Malformed,
    /// RFC 7512, 2.3: names are given once.
    #[error("{0} is given twice")]
    Twice(String),
    /// Not of the RFC.
    #[error("{0} is not an attribute that PKCS#11 URIs have there")]
    Unknown(String),
    /// It names an object.
    #[error("{0} names an object; a token is named by token, serial, manufacturer, model, or its slot")]
    Object(String),
    /// A PIN in the configuration would be shown with it.
    #[error("the PIN itself does not belong into a URI; its file does: pin-source=file:/PATH")]
    PinValue,
    /// A value that is not what it should be.
    #[error("{attribute} must be {wanted}")]
    Value {
        /// Its name.
        attribute: String,
        /// What it should be.
        wanted: &'static str,
    },
}

impl TokenUri {
    /// Which token it names.
    pub fn selector(&self) -> &Selector {
        &self.selector
    }

    /// The module: `module-path`, or what a shipped profile has for its `module-name`.
    pub fn module(&self) -> Option<&Path> {
        self.module.as_deref()
    }

    /// The file whose first line is the user PIN (`pin-source`).
    pub fn pin_file(&self) -> Option<&str> {
        self.pin_file.as_deref()
    }

    /// The URI of the token that says this of itself, as other programs understand it.
    pub fn of(info: &TokenInfo) -> String {
        let fields = [
            ("model", &info.model),
            ("manufacturer", &info.manufacturer),
            ("serial", &info.serial),
            ("token", &info.label),
        ];
        let given = fields.iter().filter(|(_, value)| !value.is_empty());
        let text = |(name, value): &(&str, &String)| format!("{name}={}", utf8_percent_encode(value, PLAIN));
        format!("pkcs11:{}", given.map(text).collect::<Vec<_>>().join(";"))
    }
}

impl FromStr for TokenUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let rest = match text.split_at_checked(SCHEME.len()) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME) => rest,
            _ => return Err(UriError::Scheme),
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut uri =
            Self { text: text.to_owned(), selector: Selector::default(), module: None, pin_file: None };
        for (name, value) in attributes(path, ';')? {
            uri.path_attribute(name, value)?;
        }
        for (name, value) in attributes(query, '&')? {
            uri.query_attribute(name, value)?;
        }
        Ok(uri)
    }
}

impl TokenUri {
    /// RFC 7512, 2.3, `pk11-pattr`.
    fn path_attribute(&mut self, name: &str, value: String) -> Result<(), UriError> {
        let wrong = |wanted| UriError::Value { attribute: name.to_owned(), wanted };
        let selector = &mut self.selector;
        let field = match name {
            "token" => &mut selector.label,
            "serial" => &mut selector.serial,
            "manufacturer" => &mut selector.manufacturer,
            "model" => &mut selector.model,
            "slot-description" => &mut selector.slot_description,
            "slot-manufacturer" => &mut selector.slot_manufacturer,
            "library-description" => &mut selector.library_description,
            "library-manufacturer" => &mut selector.library_manufacturer,
            "slot-id" => {
                selector.slot = Some(value.parse().map_err(|_| wrong("a number"))?);
                return Ok(());
            }
            "library-version" => {
                let (major, minor) = value.split_once('.').unwrap_or((&value, "0"));
                let number = |text: &str| text.parse().map_err(|_| wrong("MAJOR or MAJOR.MINOR"));
                selector.library_version = Some((number(major)?, number(minor)?));
                return Ok(());
            }
            "object" | "id" | "type" => return Err(UriError::Object(name.to_owned())),
            other => return Err(UriError::Unknown(other.to_owned())),
        };
        *field = Some(value);
        Ok(())
    }

    /// RFC 7512, 2.3, `pk11-qattr`.
    fn query_attribute(&mut self, name: &str, value: String) -> Result<(), UriError> {
        let wrong = |wanted| UriError::Value { attribute: name.to_owned(), wanted };
        match name {
            "module-path" if value.starts_with('/') => self.module = Some(value.into()),
            "module-path" => return Err(wrong("the absolute path of a file")),
            "module-name" => {
                let file = Profile::library_called(&value);
                let known = "the name of a module that a profile knows, as softhsm2; module-path takes any";
                // The path says more.
                self.module.get_or_insert(file.ok_or_else(|| wrong(known))?);
            }
            "pin-source" => {
                let path = value.strip_prefix("file:").unwrap_or(&value);
                // RFC 8089, 2: nobody's, not another host's.
                let path = path.strip_prefix("//").unwrap_or(path);
                if !path.starts_with('/') {
                    return Err(wrong("a file of this host, file:/PATH or /PATH"));
                }
                self.pin_file = Some(path.into());
            }
            other => return Err(UriError::Unknown(other.to_owned())),
        }
        Ok(())
    }
}

impl fmt::Display for TokenUri {
    /// As it was given.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Names and values, none twice.
fn attributes(text: &str, separator: char) -> Result<Vec<(&str, String)>, UriError> {
    let mut found: Vec<(&str, String)> = Vec::new();
    for part in text.split(separator).filter(|_| !text.is_empty()) {
        let (name, value) = part.split_once('=').ok_or(UriError::Malformed)?;
        // At once: what follows may be a part of it, which no error must repeat.
        if name == "pin-value" {
            return Err(UriError::PinValue);
        }
        if found.iter().any(|(other, _)| *other == name) {
            return Err(UriError::Twice(name.to_owned()));
        }
        let value = decoded(value).ok_or_else(|| UriError::Value {
            attribute: name.to_owned(),
            wanted: "text in UTF-8, with %XX for what may not stand there",
        })?;
        found.push((name, value));
    }
    Ok(found)
}

/// Without escapes (RFC 3986, 2.1).
fn decoded(value: &str) -> Option<String> {
    let hex = |octet: Option<&u8>| octet.is_some_and(u8::is_ascii_hexdigit);
    let octets = value.as_bytes();
    let escapes = octets.iter().enumerate().filter(|(_, octet)| **octet == b'%');
    if !escapes.map(|(at, _)| at).all(|at| hex(octets.get(at + 1)) && hex(octets.get(at + 2))) {
        return None;
    }
    let text = percent_decode_str(value).decode_utf8().ok()?;
    (!text.contains(char::is_control)).then(|| text.into_owned())
}

const SCHEME: &str = "pkcs11:";
/// What stands for itself everywhere (RFC 3986, 2.3).
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<TokenUri, UriError> {
        text.parse()
    }

    #[test]
    fn every_attribute_of_a_token_is_taken() {
        let uri = parse(
            "PKCS11:token=The%20Software%20PKCS%2311;serial=4ad6;manufacturer=Snake%20Oil,%20Inc.;model=1.0;\
             slot-id=7;slot-description=Reader;slot-manufacturer=X;library-description=L;library-manufacturer=M;\
             library-version=3.2?module-path=/usr/lib/a%26b.so&pin-source=file:///etc/pin%20file",
        );
        let uri = uri.unwrap();
        let some = |text: &str| Some(text.to_owned());
        let wanted = Selector {
            label: some("The Software PKCS#11"),
            serial: some("4ad6"),
            manufacturer: some("Snake Oil, Inc."),
            model: some("1.0"),
            slot: Some(7),
            slot_description: some("Reader"),
            slot_manufacturer: some("X"),
            library_description: some("L"),
            library_manufacturer: some("M"),
            library_version: Some((3, 2)),
        };
        assert_eq!(*uri.selector(), wanted);
        assert_eq!(uri.module(), Some(Path::new("/usr/lib/a&b.so")));
        assert_eq!(uri.pin_file(), Some("/etc/pin file"));

        // A file may have any name.
        let uri = parse("pkcs11:?pin-source=/etc/pin-value").unwrap();
        assert_eq!(uri.pin_file(), Some("/etc/pin-value"));
        let uri = parse("pkcs11:?module-name=softhsm2&pin-source=/pin").unwrap();
        assert_eq!(*uri.selector(), Selector::default());
        assert_eq!(uri.module().unwrap().file_name().unwrap(), "libsofthsm2.so");
        assert_eq!(uri.pin_file(), Some("/pin"));
        assert_eq!(parse("pkcs11:library-version=3").unwrap().selector().library_version, Some((3, 0)));
    }

    #[test]
    fn modules_have_the_names_of_their_files() {
        let file = |query: &str| parse(&format!("pkcs11:?{query}")).unwrap().module().unwrap().to_owned();
        assert_eq!(file("module-name=softhsm2").file_name().unwrap(), "libsofthsm2.so");
        assert_eq!(file("module-name=p11-kit-client").file_name().unwrap(), "p11-kit-client.so");
        assert_eq!(file("module-name=softhsm2&module-path=/a.so"), PathBuf::from("/a.so"));
    }

    #[test]
    fn what_names_no_token_is_refused() {
        for (text, words) in [
            ("http://example.com", "begins with \"pkcs11:\""),
            ("pkcs11", "begins with"),
            ("pkcs11:token", "attributes are NAME=VALUE"),
            ("pkcs11:token=a;", "attributes are NAME=VALUE"),
            ("pkcs11:token=a;token=a", "token is given twice"),
            ("pkcs11:token=a;object=key;type=private", "object names an object"),
            ("pkcs11:x-pin=1", "x-pin is not an attribute"),
            ("pkcs11:token=a?object=key", "object is not an attribute"),
            ("pkcs11:token=%zz", "token must be text in UTF-8"),
            ("pkcs11:token=a%2", "token must be text"),
            ("pkcs11:token=%ff", "token must be text"),
            ("pkcs11:token=a%0a", "token must be text"),
            ("pkcs11:slot-id=0x7", "slot-id must be a number"),
            ("pkcs11:library-version=a.b", "library-version must be MAJOR"),
            ("pkcs11:token=a?pin-value=1234", "does not belong into a URI"),
            ("pkcs11:token=a?pin-source=|/bin/pin", "pin-source must be a file"),
            ("pkcs11:token=a?pin-source=file://host/pin", "pin-source must be a file of this host"),
            ("pkcs11:token=a?module-name=strange", "module-name must be the name"),
            ("pkcs11:token=a?module-path=lib.so", "module-path must be the absolute path"),
            ("pkcs11:token=a?module-name=a/b", "module-name must be the name"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn no_pin_is_repeated_in_an_error() {
        for query in ["=87654", "=87654&pin-value=87654", "=1&87654", "=1&87654=1", "=1;87654"] {
            for separator in ['?', ';'] {
                let error = parse(&format!("pkcs11:token=a{separator}pin-value{query}")).unwrap_err();
                assert!(!error.to_string().contains("87654"), "{error}");
            }
        }
    }
}
