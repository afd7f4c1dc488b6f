//! The search for a path: depth first, the likeliest issuer first, within bounds.

use super::{PathError, PathFault, Rules, check, signed};
use crate::pki::certificate::Certificate;
use crate::pki::name::Name;

pub struct Search<'a> {
    others: &'a [Certificate],
    anchors: &'a [Certificate],
    rules: &'a Rules,
    /// Signatures that may still be looked at.
    signatures: usize,
}

impl<'a> Search<'a> {
    pub fn new(others: &'a [Certificate], anchors: &'a [Certificate], rules: &'a Rules) -> Self {
        Self { others, anchors, rules, signatures: MAX_SIGNATURES }
    }

    /// The path from `certificate` to an anchor.
    pub fn from(mut self, certificate: &'a Certificate) -> Result<Vec<Certificate>, PathError> {
        let mut path = vec![certificate];
        if self.anchors.contains(certificate) {
            check(&path, self.rules)?;
        } else {
            self.climb(&mut path)?;
        }
        Ok(path.into_iter().cloned().collect())
    }

    /// Goes on above the last certificate of `path`. What failed leaves the path as it was.
    fn climb(&mut self, path: &mut Vec<&'a Certificate>) -> Result<(), PathError> {
        let last = *path.last().expect("a path has a certificate");
        let mut failed: Option<PathError> = None;
        for (issuer, is_anchor) in self.issuers(last, path) {
            let Some(left) = self.signatures.checked_sub(1) else {
                return Err(PathError::of(last, PathFault::TooMany));
            };
            self.signatures = left;
            let mut found = signed(last, issuer, self.rules.legacy);
            if found.is_ok() {
                path.push(issuer);
                found = match is_anchor {
                    true => check(path, self.rules),
                    false if path.len() == MAX_LENGTH => Err(PathError::of(last, PathFault::TooLong)),
                    false => self.climb(path),
                };
                if found.is_ok() {
                    return Ok(());
                }
                path.pop();
            }
            // Of what failed, what came furthest is told.
            let error = found.expect_err("it was returned");
            if failed.as_ref().is_none_or(|before| weight(before) < weight(&error)) {
                failed = Some(error);
            }
        }
        let unknown = || PathError::of(last, PathFault::UnknownIssuer(Name::from_der(last.issuer_raw())));
        Err(failed.unwrap_or_else(unknown))
    }

    /// Who may have issued it, by name; those with the key that it names first, and anchors before others.
    fn issuers(&self, of: &Certificate, path: &[&Certificate]) -> Vec<(&'a Certificate, bool)> {
        let name = Name::from_der(of.issuer_raw());
        let key = of.extensions().authority_key_identifier();
        let all = self.anchors.iter().map(|anchor| (anchor, true));
        let mut all: Vec<_> = all
            .chain(self.others.iter().map(|other| (other, false)))
            // One key of one name twice on a path leads nowhere that it does not lead once.
            .filter(|(issuer, _)| !path.iter().any(|known| same(known, issuer)))
            .filter(|(issuer, _)| Name::from_der(issuer.subject_raw()).matches(&name))
            .collect();
        all.sort_by_key(|(issuer, _)| key.is_some_and(|key| issuer.key_identifier() != key));
        all
    }
}

fn same(a: &Certificate, b: &Certificate) -> bool {
    a.public_key() == b.public_key() && a.subject_raw() == b.subject_raw()
}

/// How much is known once it failed so.
fn weight(error: &PathError) -> u8 {
    match error.fault {
        PathFault::Signature(_) => 0,
        PathFault::UnknownIssuer(_) => 1,
        _ => 2,
    }
}

/// Certificates on a path: a root, four CAs below it and the certificate are already unusual.
const MAX_LENGTH: usize = 10;

/// Signatures looked at for one path; a peer may send many certificates of one name.
const MAX_SIGNATURES: usize = 64;
