//! Where a certificate says that the CRL of its issuer is (RFC 5280, 4.2.1.13).

use const_oid::db::rfc5912;

use crate::pki::ber::{self, Element, Limits, Tag};
use crate::pki::certificate::Certificate;
use crate::pki::name::Name;

/// A place of a CRL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CrlPlace {
    /// A URI.
    Uri(String),
    /// An entry of a directory that everybody knows which.
    Entry(Name),
}

/// The places that `certificate` names, in its order. Those of lists for some reasons only, or of another
/// issuer's list, are left out: such lists are not known here.
pub fn places(certificate: &Certificate) -> Vec<CrlPlace> {
    let Some(extension) = certificate.extensions().find(&rfc5912::ID_CE_CRL_DISTRIBUTION_POINTS) else {
        return Vec::new();
    };
    let read = || {
        let mut found = Vec::new();
        let mut points = ber::parse(&extension.value, &Limits::MESSAGE)?.sequence("cRLDistributionPoints")?;
        while let Some(point) = points.next("DistributionPoint")? {
            found.extend(names(&point)?);
        }
        Ok::<_, ber::Error>(found)
    };
    read().unwrap_or_default()
}

/// The fullName of a DistributionPoint that has nothing else.
fn names(point: &Element<'_>) -> Result<Vec<CrlPlace>, ber::Error> {
    let mut fields = point.sequence("DistributionPoint")?;
    let name = fields.optional(Tag::context(0), "distributionPoint")?;
    let (Some(name), Ok(())) = (name, fields.end("DistributionPoint")) else { return Ok(Vec::new()) };
    let choice = name.explicit("distributionPoint")?;
    if choice.tag() != Tag::context(0) {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    let mut names = choice.reader("fullName")?;
    while let Some(name) = names.next("GeneralName")? {
        match name.tag() {
            // uniformResourceIdentifier [6] IA5String, directoryName [4] Name.
            tag if tag == Tag::context(6) => {
                let uri = String::from_utf8(name.octets("uniformResourceIdentifier")?.into_owned()).ok();
                found.extend(uri.filter(|uri| uri.is_ascii()).map(CrlPlace::Uri));
            }
            tag if tag == Tag::context(4) => {
                found.push(CrlPlace::Entry(Name::from_der(name.explicit("directoryName")?.raw())));
            }
            _ => {}
        }
    }
    Ok(found)
}
