//! Name constraints (RFC 5280, 4.2.1.10): which names a CA may give.

use core::net::IpAddr;

use const_oid::db::{rfc3280, rfc5912};
use der::Decode;
use der::Encode;
use x509_cert::ext::pkix::constraints::name::GeneralSubtree;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{NameConstraints, SubjectAltName};

use super::PathFault;
use crate::pki::certificate::Certificate;
use crate::pki::name::Name;

/// What the CAs of a path allow below them, as far as it was walked down.
#[derive(Default)]
pub struct Constraints {
    /// A name of a kind that one of these lists names must be within that list.
    permitted: Vec<Vec<GeneralName>>,
    excluded: Vec<GeneralName>,
}

impl Constraints {
    /// Takes what this CA says.
    pub fn add(&mut self, ca: &Certificate) -> Result<(), PathFault> {
        let oid = rfc5912::ID_CE_NAME_CONSTRAINTS;
        let Some(extension) = ca.extensions().find(&oid) else { return Ok(()) };
        let said = NameConstraints::from_der(&extension.value).map_err(|_| PathFault::Malformed(oid))?;
        let bases = |trees: Option<Vec<GeneralSubtree>>| -> Result<Vec<GeneralName>, PathFault> {
            let trees = trees.unwrap_or_default();
            // minimum and maximum are not used (4.2.1.10); a kind that is not known cannot be kept to.
            let is_known =
                |tree: &GeneralSubtree| tree.minimum == 0 && tree.maximum.is_none() && is_known(&tree.base);
            match trees.iter().all(is_known) {
                true => Ok(trees.into_iter().map(|tree| tree.base).collect()),
                false => Err(PathFault::Critical(oid)),
            }
        };
        let permitted = bases(said.permitted_subtrees)?;
        if !permitted.is_empty() {
            self.permitted.push(permitted);
        }
        self.excluded.extend(bases(said.excluded_subtrees)?);
        Ok(())
    }

    /// Whether everything that `certificate` is called is allowed.
    pub fn allow(&self, certificate: &Certificate) -> Result<(), PathFault> {
        if self.permitted.is_empty() && self.excluded.is_empty() {
            return Ok(());
        }
        for name in names(certificate)? {
            let within = |base: &GeneralName| is_within(&name, base);
            // A URI that names no host cannot be told to be outside (4.2.1.10): it is within nothing
            // permitted, and within everything excluded.
            let hostless = matches!(&name, GeneralName::UniformResourceIdentifier(uri) if host_of(uri.as_str()).is_empty());
            let excluded = self.excluded.iter().filter_map(within).any(|within| within || hostless);
            let outside = self.permitted.iter().any(|bases| {
                let judged: Vec<bool> = bases.iter().filter_map(within).collect();
                !judged.is_empty() && !judged.contains(&true)
            });
            if excluded || outside {
                return Err(PathFault::Name(shown(&name)));
            }
        }
        Ok(())
    }
}

/// Subject and alternative names; e-mail addresses of the subject too (4.2.1.10).
fn names(certificate: &Certificate) -> Result<Vec<GeneralName>, PathFault> {
    let mut names = Vec::new();
    let subject = Name::from_der(certificate.subject_raw());
    if let Some(encoded) = certificate.extensions().subject_alt_name() {
        let oid = rfc5912::ID_CE_SUBJECT_ALT_NAME;
        names = SubjectAltName::from_der(encoded).map_err(|_| PathFault::Malformed(oid))?.0;
    }
    for address in subject.values(&rfc3280::EMAIL_ADDRESS) {
        let address = der::asn1::Ia5String::new(&address).map_err(|_| PathFault::Name(address))?;
        names.push(GeneralName::Rfc822Name(address));
    }
    if !subject.is_empty() {
        let encoded = certificate.subject_raw();
        let name =
            x509_cert::name::Name::from_der(encoded).map_err(|_| PathFault::Name(subject.to_string()))?;
        names.push(GeneralName::DirectoryName(name));
    }
    Ok(names)
}

fn is_known(base: &GeneralName) -> bool {
    match base {
        GeneralName::DirectoryName(_)
        | GeneralName::DnsName(_)
        | GeneralName::Rfc822Name(_)
        | GeneralName::UniformResourceIdentifier(_) => true,
        GeneralName::IpAddress(address) => matches!(address.as_bytes().len(), 8 | 32),
        _ => false,
    }
}

/// Whether a name is within a subtree; `None` when they are of different kinds.
fn is_within(name: &GeneralName, base: &GeneralName) -> Option<bool> {
    use GeneralName as G;
    Some(match (name, base) {
        (G::DirectoryName(name), G::DirectoryName(base)) => {
            let name_of = |name: &x509_cert::name::Name| name.to_der().map(|der| Name::from_der(&der)).ok();
            match (name_of(name), name_of(base)) {
                (Some(name), Some(base)) => name.begins_with(&base),
                _ => false,
            }
        }
        (G::DnsName(name), G::DnsName(base)) => is_host_within(name.as_str(), base.as_str(), true),
        (G::Rfc822Name(name), G::Rfc822Name(base)) => match base.as_str().contains('@') {
            true => name.as_str().eq_ignore_ascii_case(base.as_str()),
            false => {
                let host = name.as_str().rsplit('@').next().unwrap_or_default();
                is_host_within(host, base.as_str(), false)
            }
        },
        (G::UniformResourceIdentifier(name), G::UniformResourceIdentifier(base)) => {
            is_host_within(host_of(name.as_str()), base.as_str(), false)
        }
        (G::IpAddress(name), G::IpAddress(base)) => {
            let (address, mask) = base.as_bytes().split_at(base.as_bytes().len() / 2);
            let name = name.as_bytes();
            name.len() == address.len()
                && name.iter().zip(address).zip(mask).all(|((name, base), mask)| name & mask == base & mask)
        }
        _ => return None,
    })
}

/// Hosts of a domain. A base that begins with a dot stands for those below it; another for itself and, among
/// DNS names, for those below it as well.
fn is_host_within(host: &str, base: &str, below: bool) -> bool {
    // With the dot of the root at its end it is the same host.
    let folded = |name: &str| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let (host, base) = (folded(host), folded(base));
    match base.strip_prefix('.') {
        Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1),
        None if base.is_empty() => true,
        None => {
            let rest = host.strip_suffix(&base);
            rest.is_some_and(|rest| rest.is_empty() || below && rest.ends_with('.'))
        }
    }
}

/// The host of a URI; empty when it has none.
fn host_of(uri: &str) -> &str {
    let Some((_, rest)) = uri.split_once("://") else { return "" };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    match host.strip_prefix('[') {
        Some(literal) => literal.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

fn shown(name: &GeneralName) -> String {
    match name {
        GeneralName::DirectoryName(name) => {
            name.to_der().map(|der| Name::from_der(&der).to_string()).unwrap_or_default()
        }
        GeneralName::DnsName(name)
        | GeneralName::Rfc822Name(name)
        | GeneralName::UniformResourceIdentifier(name) => name.as_str().escape_default().to_string(),
        GeneralName::IpAddress(address) => match address.as_bytes() {
            octets if octets.len() == 4 => {
                IpAddr::from(<[u8; 4]>::try_from(octets).expect("four")).to_string()
            }
            octets => {
                <[u8; 16]>::try_from(octets).map_or_else(|_| "?".into(), |a| IpAddr::from(a).to_string())
            }
        },
        _ => "of another kind".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_within_domains() {
        for (host, base, dns, other) in [
            ("example.com", "example.com", true, true),
            ("r1.Example.com", "example.COM", true, false),
            ("r1.example.com", ".example.com", true, true),
            ("example.com", ".example.com", false, false),
            ("badexample.com", "example.com", false, false),
            ("badexample.com", ".example.com", false, false),
            ("anything", "", true, true),
            ("r1.example.com.", "example.com", true, false),
            ("example.com.", "example.com", true, true),
            ("r1.example.com", ".example.com.", true, true),
        ] {
            assert_eq!(is_host_within(host, base, true), dns, "{host} in {base}, DNS");
            assert_eq!(is_host_within(host, base, false), other, "{host} in {base}");
        }
        assert_eq!(host_of("http://user@r1.example.com:80/x"), "r1.example.com");
        assert_eq!(host_of("ldap://[2001:db8::1]/"), "2001:db8::1");
        assert_eq!(host_of("urn:x"), "");
    }
}
