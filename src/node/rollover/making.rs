//! The next key and certificate of a root, made step by step. Each step is on record before the next one begins,
//! and is found instead of repeated after a crash.

use crate::ca::{Ca, Meter};
use crate::config::{KeyPair, ServerMode, ServerSection, TrustpointSection};
use crate::node::NodeError;
use crate::node::archive::Archiving;
use crate::node::keys::note_generated;
use crate::node::start::DEFAULT_RSA_BITS;
use crate::node::surroundings::Surroundings;
use crate::pki::{KeyKind, SigningKey, Time};
use crate::store::{Authority, NewAuthority, Phase, Role, Store, StoreError};
use crate::token::{KeyUsage, Token, TokenKey};

use super::plan::{Plan, generation};

/// What a next certificate is made with.
pub struct Making<'a> {
    /// Label of the server.
    pub label: &'a str,
    /// What is configured for it.
    pub section: &'a ServerSection,
    /// The trustpoint of the same name.
    pub trustpoint: &'a TrustpointSection,
    /// Tokens and files.
    pub around: &'a Surroundings,
    /// The database.
    pub store: &'a dyn Store,
    /// The CA as it is.
    pub ca: &'a Ca,
    /// Now.
    pub now: Time,
}

impl Making<'_> {
    /// Makes it, or finishes what was begun; finds it when it is there. Returns what the operator should read.
    ///
    /// 1. the plan: under which label the key will be \[database]
    /// 2. the key \[token]
    /// 3. serial number and bytes to be signed \[database], the certificate \[token, database]
    /// 4. its archive, where there is to be one
    /// 5. the next authority \[database]
    pub fn run(&self) -> Result<Vec<String>, NodeError> {
        let authorities = self.store.authorities(self.label)?;
        let in_phase = |phase| authorities.iter().find(|a| a.role == Role::Ca && a.phase == phase);
        if in_phase(Phase::Next).is_some() {
            Plan::clear(self.store, self.label)?;
            return Ok(Vec::new());
        }
        if self.section.mode != ServerMode::Root {
            return Err(NodeError::Refused(format!(
                "the next certificate of \"{}\" comes from the CA above it, when that has one",
                self.label
            )));
        }
        let active =
            in_phase(Phase::Active).ok_or_else(|| NodeError::NotFound("there is no CA yet".into()))?;
        let (plan, token) = self.plan(active, &authorities)?;
        let key = self.key(&plan, &token)?;
        let certificate = self.certificate(&plan, &key)?;
        let archive = archive_name(self.label, &plan.key_label);
        let archiving = Archiving {
            label: self.label,
            name: &archive,
            database: &self.section.database,
            around: self.around,
            store: self.store,
            now: self.now,
        };
        let notes = archiving.run(&key, &certificate)?;
        self.store.prepare(NewAuthority {
            server: self.label.to_owned(),
            role: Role::Ca,
            token: plan.token,
            key_label: plan.key_label,
            certificate,
        })?;
        Plan::clear(self.store, self.label)?;
        Ok(notes)
    }

    fn plan(&self, active: &Authority, all: &[Authority]) -> Result<(Plan, Token), NodeError> {
        // One that has become an authority is done: that was not noted any more, and the authority is gone since.
        let is_open = |plan: &Plan| {
            !all.iter().any(|a| (a.token.as_str(), a.key_label.as_str()) == (&plan.token, &plan.key_label))
        };
        if let Some(plan) = Plan::read(self.store, self.label)?.filter(is_open) {
            let token = self.around.tokens.get(Some(&plan.token))?;
            return Ok((plan, token));
        }
        let on = self.section.rollover_on.as_deref().unwrap_or(&active.token);
        let token = self.around.tokens.get(Some(on))?;
        let plan = Plan::new(active, all, &token)?;
        plan.write(self.store, self.label)?;
        Ok((plan, token))
    }

    fn key(&self, plan: &Plan, token: &Token) -> Result<TokenKey, NodeError> {
        if let Some(key) = token.find(&plan.key_label)? {
            return Ok(key);
        }
        let kind = self.kind();
        let decrypt = kind.encrypts() && self.section.scep.separate_key.is_none();
        // One that may leave is archived under a passphrase, and nobody is there to type it.
        let database = &self.section.database;
        let exportable = database.archive.as_ref().is_some_and(|archive| archive.password.is_some());
        tracing::debug!(target: "CRYPTO_CS", "rollover key '{}' is generated", plan.key_label);
        let usage = KeyUsage { sign: true, decrypt };
        let key = token.generate(&plan.key_label, kind, usage, exportable && self.may_leave())?;
        note_generated(self.store, key.public_key(), self.now);
        Ok(key)
    }

    fn kind(&self) -> KeyKind {
        kind_of_next(self.trustpoint.key.as_ref(), self.ca.key().public_key().kind())
    }

    /// Whether the key that acts may leave its token: so may the next one then.
    fn may_leave(&self) -> bool {
        let find = |authority: &Authority| -> Result<bool, NodeError> {
            let key = self.around.tokens.get(Some(&authority.token))?.key(&authority.key_label)?;
            Ok(key.info().extractable == Some(true))
        };
        let authorities = self.store.authorities(self.label).unwrap_or_default();
        let active = authorities.iter().find(|a| a.role == Role::Ca && a.is_active());
        active.is_some_and(|active| find(active).unwrap_or(false))
    }

    fn certificate(&self, plan: &Plan, key: &TokenKey) -> Result<Vec<u8>, NodeError> {
        let scep = self.section.scep.separate_key.is_none() && key.can_decrypt();
        let note = |serial: &crate::pki::Serial| {
            plan.with_serial(serial).write(self.store, self.label).map_err(|error| match error {
                NodeError::Store(error) => error,
                other => StoreError::Corrupt(other.to_string()),
            })
        };
        let key: &dyn SigningKey = key;
        let begun = plan.serial();
        Ok(self.ca.make_next(key, scep, begun.as_ref(), &note, &Meter::new(), self.now)?.der)
    }
}

/// As the trustpoint says now, else as the key is that acts; but no weak one once more.
fn kind_of_next(named: Option<&KeyPair>, acting: KeyKind) -> KeyKind {
    match (named, acting) {
        (Some(key @ KeyPair::Rsa { bits: Some(_), .. }), _) => key.kind(),
        (Some(KeyPair::Rsa { .. }) | None, KeyKind::Rsa { bits }) => {
            KeyKind::Rsa { bits: bits.max(DEFAULT_RSA_BITS) }
        }
        // The curve or the set is that of a key made beforehand.
        (Some(KeyPair::Ec { .. }), KeyKind::Ec(_)) => acting,
        (Some(KeyPair::MlDsa { .. }), KeyKind::MlDsa(_)) => acting,
        (Some(key), _) => key.kind(),
        (None, _) => acting,
    }
}

/// What the archive of a later key is called: `mycs-2` for `mycs#2`. In URLs a `#` is something else.
fn archive_name(server: &str, key_label: &str) -> String {
    format!("{server}-{}", generation(key_label).1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{Curve, MlDsaSet};

    #[test]
    fn the_next_key_is_as_the_trustpoint_says_or_as_the_one_before() {
        let label = || "mycs".to_owned();
        let rsa = |bits| KeyPair::Rsa { label: label(), bits, encryption_bits: None };
        let (ec, ml_dsa) = (KeyPair::Ec { label: label() }, KeyPair::MlDsa { label: label() });
        let weak = KeyKind::Rsa { bits: 1024 };
        let usual = KeyKind::Rsa { bits: 2048 };
        let p384 = KeyKind::Ec(Curve::P384);
        let ml_dsa_87 = KeyKind::MlDsa(MlDsaSet::MlDsa87);
        for (named, acting, next) in [
            (None, weak, usual),
            (None, p384, p384),
            (None, ml_dsa_87, ml_dsa_87),
            (Some(rsa(None)), weak, usual),
            (Some(rsa(Some(4096))), weak, KeyKind::Rsa { bits: 4096 }),
            (Some(rsa(None)), p384, usual),
            (Some(rsa(None)), ml_dsa_87, usual),
            (Some(ec.clone()), p384, p384),
            (Some(ec.clone()), usual, KeyKind::Ec(Curve::P256)),
            (Some(ec), ml_dsa_87, KeyKind::Ec(Curve::P256)),
            (Some(ml_dsa.clone()), ml_dsa_87, ml_dsa_87),
            (Some(ml_dsa.clone()), weak, KeyKind::MlDsa(MlDsaSet::MlDsa65)),
            (Some(ml_dsa), p384, KeyKind::MlDsa(MlDsaSet::MlDsa65)),
        ] {
            assert_eq!(kind_of_next(named.as_ref(), acting), next, "{named:?} after {acting}");
        }
    }
}
