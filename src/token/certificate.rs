//! Certificates on a token (`CKO_CERTIFICATE`), where any program finds them beside their keys.

use std::sync::atomic::Ordering;

use cryptoki::object::{Attribute, AttributeType, CertificateType, ObjectClass};

use crate::pki::{Certificate, asn1};

use super::error::Problem;
use super::file::room;
use super::generate::change;
use super::object::Attributes;
use super::profile::Delete;
use super::session::{Link, Open};
use super::sys::ObjectHandle;
use super::{Priority, Token, TokenError};

/// A certificate on a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenCertificate {
    /// `CKA_LABEL`. Several certificates may have the same.
    pub label: String,
    /// `CKA_ID`: that of its key; empty for certificates of others.
    pub id: Vec<u8>,
    /// The certificate, DER.
    pub der: Vec<u8>,
}

impl Token {
    /// The X.509 certificates on the token.
    pub fn certificates(&self) -> Result<Vec<TokenCertificate>, TokenError> {
        self.ask(Priority::Operator, self.timeout(), |connection| {
            connection.run(|link, open| {
                let found = find(link, open)?;
                Ok(found.into_iter().map(|(_, certificate)| certificate).collect())
            })
        })
    }

    /// Whether certificates are stored whose key is not there. Where keys have fixed places, each has a place for
    /// one certificate beside it, and there are no others.
    pub fn stores_certificates_of_others(&self) -> bool {
        !self.0.link.places.are_fixed()
    }

    /// Stores a certificate beside those that are there, public; nothing changes when it is there already
    /// with this label and identifier. `id` is the `CKA_ID` of its key, so that others find the two together; where
    /// keys have fixed places, it takes the place of the one before, and the token has a label of its own for it.
    pub fn store_certificate(&self, label: &str, id: &[u8], der: &[u8]) -> Result<(), TokenError> {
        let places = &self.0.link.places;
        let fixed = places.are_fixed();
        if fixed && places.label(id).is_none() {
            return Err(self.error(Problem::NotOffered { what: "certificates of other keys".into() }));
        }
        let wanted = TokenCertificate { label: label.into(), id: id.into(), der: der.into() };
        let template = template(&wanted).map_err(|problem| self.error(problem))?;
        self.ask(Priority::Operator, self.timeout(), move |connection| {
            let found = connection.run(|link, open| find(link, open))?;
            let same = |found: &TokenCertificate| {
                (fixed || found.label == wanted.label) && found.id == wanted.id && found.der == wanted.der
            };
            if found.iter().any(|(_, certificate)| same(certificate)) {
                return Ok(());
            }
            change(connection, |link, open| {
                let stored = open.session.create_object(&template);
                stored.map(|_| ()).map_err(|error| room(link, open, &wanted.label, wanted.der.len(), error))
            })
        })
    }

    /// Deletes this certificate, whatever its label. Whether it was there.
    pub fn delete_certificate(&self, der: &[u8]) -> Result<bool, TokenError> {
        let der = der.to_vec();
        self.ask(Priority::Operator, self.timeout(), move |connection| {
            let mut found = connection.run(|link, open| find(link, open))?;
            found.retain(|(_, certificate)| certificate.der == der);
            let there = !found.is_empty();
            // Where a certificate is what shows its key, it goes with that.
            let shows = connection.link.profile.keygen().delete == Delete::Overwrite;
            found.retain(|(_, certificate)| {
                !(shows && connection.link.places.label(&certificate.id).is_some())
            });
            if found.is_empty() {
                return Ok(there);
            }
            change(connection, |link, open| {
                let mut found = list(open)?;
                found.retain(|(_, certificate)| certificate.der == der);
                let deleted = found.iter().try_for_each(|(object, _)| open.session.destroy_object(*object));
                link.changes.fetch_add(1, Ordering::AcqRel);
                Ok(deleted?)
            })?;
            Ok(there)
        })
    }
}

fn find(link: &Link, open: &Open) -> Result<Vec<(ObjectHandle, TokenCertificate)>, Problem> {
    let _guard = link.read_objects(open)?;
    list(open)
}

/// The same for who keeps others out already.
fn list(open: &Open) -> Result<Vec<(ObjectHandle, TokenCertificate)>, Problem> {
    matching(open, &X509)
}

/// The certificates with these attributes, for who keeps others out already.
pub(super) fn matching(
    open: &Open,
    template: &[Attribute],
) -> Result<Vec<(ObjectHandle, TokenCertificate)>, Problem> {
    let mut found = Vec::new();
    for object in open.session.find_objects(template)? {
        let attributes = Attributes::read(
            &open.session,
            object,
            &[AttributeType::Label, AttributeType::Id, AttributeType::Value],
        )?;
        let octets = |wanted| attributes.octets(wanted).unwrap_or_default().to_vec();
        let certificate = TokenCertificate {
            label: attributes.text(AttributeType::Label),
            id: octets(AttributeType::Id),
            der: octets(AttributeType::Value),
        };
        // Some tokens know of a certificate that stands elsewhere, by its URL.
        if !certificate.der.is_empty() {
            found.push((object, certificate));
        }
    }
    Ok(found)
}

/// Subject, issuer and serial number are how other programs search.
fn template(wanted: &TokenCertificate) -> Result<Vec<Attribute>, Problem> {
    let certificate = Certificate::parse(&wanted.der)
        .map_err(|source| Problem::BadCertificate { label: wanted.label.clone(), source })?;
    let mut template = X509.to_vec();
    template.extend([
        Attribute::Private(false),
        Attribute::Label(wanted.label.as_bytes().to_vec()),
        Attribute::Subject(certificate.subject_raw().to_vec()),
        Attribute::Issuer(certificate.issuer_raw().to_vec()),
        Attribute::SerialNumber(asn1::tlv(asn1::INTEGER, &[certificate.serial_raw()])),
        Attribute::Value(wanted.der.clone()),
    ]);
    if !wanted.id.is_empty() {
        template.push(Attribute::Id(wanted.id.clone()));
    }
    Ok(template)
}

const X509: [Attribute; 3] = [
    Attribute::Class(ObjectClass::CERTIFICATE),
    Attribute::Token(true),
    Attribute::CertificateType(CertificateType::X_509),
];
