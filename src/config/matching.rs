//! Which certificates a `crypto pki certificate map` means.
//!
//! Names are compared in the notation of IOS, `cn=r1,ou=Lab,o=Example`, without regard to case or to blanks
//! beside `,`, `=` and `+`. Where a field has several values, as alternative names, "is" and "contains" want
//! one of them to fit, "is not" and "does not contain" none.

use der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::pki::{Certificate, Name, Serial, hex};

use super::Configuration;
use super::map::{Criterion, DateField, DateOperator, TextField, TextOperator};

impl Configuration {
    /// Whether the map of this name means `certificate`: one of its sequences does. One that does not exist means
    /// none.
    pub fn map_means(&self, map: &str, certificate: &Certificate) -> bool {
        let sequences = self.certificate_maps.get(map).into_iter().flat_map(|map| map.values());
        // A sequence without lines is one that is still being typed.
        sequences
            .filter(|lines| !lines.is_empty())
            .any(|lines| lines.iter().all(|line| line.means(certificate)))
    }
}

impl Criterion {
    /// Whether `certificate` is as this line says.
    pub fn means(&self, certificate: &Certificate) -> bool {
        match self {
            Self::Text { field: TextField::SerialNumber, operator, value } => {
                serial(*operator, &digits(value), certificate.serial())
            }
            Self::Text { field, operator, value } => {
                let value = folded(value);
                let values: Vec<_> = values(*field, certificate).iter().map(|text| folded(text)).collect();
                let mut all = values.iter();
                match operator {
                    TextOperator::Contains => all.any(|text| text.contains(&value)),
                    TextOperator::Equal => all.any(|text| *text == value),
                    TextOperator::NotContains => !all.any(|text| text.contains(&value)),
                    TextOperator::NotEqual => !all.any(|text| *text == value),
                }
            }
            Self::Date { field, operator, value } => {
                let time = match field {
                    DateField::ExpiresOn => certificate.not_after(),
                    DateField::ValidStart => certificate.not_before(),
                };
                match operator {
                    DateOperator::Equal => time == *value,
                    DateOperator::NotEqual => time != *value,
                    DateOperator::Less => time < *value,
                    DateOperator::GreaterOrEqual => time >= *value,
                }
            }
        }
    }
}

/// What a field of a certificate says.
fn values(field: TextField, certificate: &Certificate) -> Vec<String> {
    let subject = Name::from_der(certificate.subject_raw());
    let issuer = Name::from_der(certificate.issuer_raw());
    match field {
        TextField::SubjectName => vec![subject.to_string()],
        TextField::IssuerName => vec![issuer.to_string()],
        TextField::UnstructuredSubjectName => subject.values(&Name::UNSTRUCTURED_NAME),
        TextField::AltSubjectName => alternative_names(certificate),
        TextField::Name => {
            let mut all = vec![subject.to_string(), issuer.to_string()];
            all.extend(subject.values(&Name::UNSTRUCTURED_NAME));
            all.extend(alternative_names(certificate));
            all
        }
        TextField::SerialNumber => vec![hex(certificate.serial().as_be_bytes())],
    }
}

fn alternative_names(certificate: &Certificate) -> Vec<String> {
    let names =
        certificate.extensions().subject_alt_name().and_then(|der| SubjectAltName::from_der(der).ok());
    let text = |name: GeneralName| match name {
        GeneralName::DnsName(text)
        | GeneralName::Rfc822Name(text)
        | GeneralName::UniformResourceIdentifier(text) => Some(text.to_string()),
        GeneralName::IpAddress(octets) => match octets.as_bytes() {
            [a, b, c, d] => Some(std::net::Ipv4Addr::new(*a, *b, *c, *d).to_string()),
            octets => {
                <[u8; 16]>::try_from(octets).ok().map(|octets| std::net::Ipv6Addr::from(octets).to_string())
            }
        },
        GeneralName::DirectoryName(name) => {
            der::Encode::to_der(&name).ok().map(|der| Name::from_der(&der).to_string())
        }
        _ => None,
    };
    names.into_iter().flat_map(|names| names.0).filter_map(text).collect()
}

/// Serial numbers are numbers: leading zeros do not count but where a part of one is looked for.
fn serial(operator: TextOperator, typed: &str, serial: &Serial) -> bool {
    let shown = hex(serial.as_be_bytes()).to_ascii_lowercase();
    let is = typed.trim_start_matches('0') == shown.trim_start_matches('0');
    match operator {
        TextOperator::Equal => is,
        TextOperator::NotEqual => !is,
        TextOperator::Contains => shown.contains(typed),
        TextOperator::NotContains => !shown.contains(typed),
    }
}

/// Hex digits, as of `0x01 2F` or `01:2f`.
fn digits(typed: &str) -> String {
    let typed = typed.trim().to_ascii_lowercase();
    let typed = typed.strip_prefix("0x").unwrap_or(&typed);
    typed.chars().filter(|c| !c.is_whitespace() && *c != ':').collect()
}

fn folded(text: &str) -> String {
    let lower = text.to_lowercase();
    let mut folded = String::with_capacity(lower.len());
    let mut blank = false;
    for c in lower.trim().chars() {
        let separates = |c: char| matches!(c, ',' | '=' | '+');
        match c {
            c if c.is_whitespace() => blank = true,
            c => {
                if blank && !separates(c) && !folded.ends_with(separates) {
                    folded.push(' ');
                }
                blank = false;
                folded.push(c);
            }
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_folded() {
        assert_eq!(folded("CN = R1 , OU=The  Lab"), "cn=r1,ou=the lab");
        assert_eq!(folded(" cn=r1+serialNumber = 7 "), "cn=r1+serialnumber=7");
        assert_eq!(digits("0x01 2F"), "012f");
    }

    #[test]
    fn serial_numbers_are_numbers() {
        let number = Serial::from(0x12f);
        assert!(serial(TextOperator::Equal, "12f", &number) && serial(TextOperator::Equal, "012f", &number));
        assert!(
            serial(TextOperator::NotEqual, "2f", &number) && serial(TextOperator::Contains, "2f", &number)
        );
        assert!(!serial(TextOperator::NotContains, "01", &number));
    }
}
