//! A trial of a token: everything that a CA might want of it is tried, and nothing stays there.
//!
//! Keys are made as session objects where the token does that, which are gone with their session; else as
//! objects of the token with a label of their own, deleted afterwards. After each failure the session is
//! left for another, since some modules keep a failed operation active; it is closed at the end, as objects
//! go with it.

use std::mem;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cryptoki::mechanism::MechanismType;
use zeroize::Zeroizing;

use crate::pki::{
    Curve, EcPrivateKey, Hash, KeyKind, KeyTransport, MlDsaSet, PrivateKey, SignatureAlgorithm,
};

use super::envelope;
use super::error::{Origin, Problem};
use super::generate::make_pair;
use super::mechanism::{DecryptWith, way_mechanism};
use super::module;
use super::object::{self, KeyInfo, KeyUsage};
use super::profile::KeygenLogin;
use super::session::{Link, Open};
use super::signing::{self, signs_by};
use super::sys::{ObjectHandle, Session, Slot};
use super::transfer::bring_by;
use super::trial_report::{Attempt, KeyTrial, MOST_SESSIONS, RAW, Speed, Trial, TrialKeys, V15, in_words};
use super::wanted::{Templates, Wanted};
use super::{Priority, Token, TokenError};

impl Token {
    /// Tries what the token can do, which takes seconds to minutes. Nothing stays on it but what
    /// [`Trial::left`] names.
    pub fn trial(&self, keys: TrialKeys) -> Result<Trial, TokenError> {
        let link = &self.0.link;
        // What is there is used again before anything is made.
        self.try_now()?;
        let label = format!("tokenca trial {:08x}", random()?);
        let (library, mechanisms) = self.module_words()?;
        let mut trial = Trial {
            token: self.name().into(),
            module: self.module().display().to_string(),
            library: format!(
                "{} {} {}.{}",
                library.manufacturer, library.description, library.version.0, library.version.1
            ),
            standard: format!("{}.{}", library.cryptoki.0, library.cryptoki.1),
            info: self.info()?,
            profile: self.profile().name().into(),
            recognised: link.recognised,
            mechanisms,
            keys: Vec::new(),
            imports: Vec::new(),
            storage: Vec::new(),
            sessions: self.more_sessions()?,
            left: Vec::new(),
            verdict: Vec::new(),
            configuration: Vec::new(),
        };
        // Where keys have fixed places, or another role makes them, making one is no trial.
        let ours = !link.places.are_fixed() && link.profile.keygen_login() == KeygenLogin::User;
        let keys = match keys {
            TrialKeys::New if !ours => {
                TrialKeys::Existing(self.keys()?.into_iter().map(|key| key.label).collect())
            }
            keys => keys,
        };
        match keys {
            TrialKeys::New => {
                let offered = MlDsaSet::ALL.map(KeyKind::MlDsa).into_iter();
                let offered = offered.filter(|kind| self.capabilities().can_generate(*kind));
                for kind in KINDS.into_iter().chain(offered) {
                    let (tried, left) = self.try_kind(kind, &label)?;
                    trial.keys.push(tried);
                    trial.left.extend(left);
                }
                let (imports, left) = self.try_imports(&label)?;
                trial.imports = imports;
                trial.left.extend(left);
                self.try_storage(&label, &mut trial);
            }
            TrialKeys::Existing(labels) => {
                for label in labels {
                    trial.keys.push(self.try_key(&label)?);
                }
            }
        }
        trial.judge();
        Ok(trial)
    }

    fn module_words(&self) -> Result<(super::sys::LibraryInfo, Vec<String>), TokenError> {
        self.ask(Priority::Operator, self.timeout(), |connection| {
            connection.run(|link, open| {
                let slot = module::find_token(&open.context, &link.selector, &link.profile)?;
                let name = |number: u64| match MechanismType::try_from(number) {
                    Ok(mechanism) => format!("0x{number:08x} {mechanism}"),
                    Err(_) => format!("0x{number:08x}"),
                };
                let numbers = open.context.mechanisms(slot)?;
                Ok((open.context.info()?, numbers.into_iter().map(name).collect()))
            })
        })
    }

    /// How many more sessions can be opened.
    fn more_sessions(&self) -> Result<usize, TokenError> {
        self.ask(Priority::Operator, self.timeout(), |connection| {
            connection.run(|link, open| {
                let slot = module::find_token(&open.context, &link.selector, &link.profile)?;
                let sessions: Vec<_> =
                    (0..MOST_SESSIONS).map_while(|_| open.context.open_session(slot).ok()).collect();
                let count = sessions.len();
                sessions.into_iter().for_each(|session| drop(session.close()));
                Ok(count)
            })
        })
    }

    /// A key of this kind, made, tried and deleted; and the label of what is left of it.
    fn try_kind(&self, kind: KeyKind, label: &str) -> Result<(KeyTrial, Option<String>), TokenError> {
        let label = label.to_owned();
        let timeout = self.0.link.profile.keygen_timeout() + TRYING;
        self.ask(Priority::Operator, timeout, move |connection| {
            connection.once(|link, open| {
                Bench::with(link, open, |bench| {
                    let mut tried = KeyTrial::of(kind, kind.to_string());
                    let left = bench.kind(&label, &mut tried);
                    (tried, left.then(|| label.clone()))
                })
            })
        })
    }

    /// The key with this label, which is there: it signs.
    fn try_key(&self, label: &str) -> Result<KeyTrial, TokenError> {
        let key = self.key(label)?;
        let info = key.info().clone();
        self.ask(Priority::Operator, TRYING, move |connection| {
            connection.run(|link, open| {
                let handle = open.handle(link, &info)?;
                Bench::with(link, open, |bench| {
                    let mut tried = KeyTrial::of(info.kind, format!("{} ({})", info.label, info.kind));
                    bench.signatures(&info, handle, &mut tried);
                    tried
                })
            })
        })
    }

    fn try_imports(&self, label: &str) -> Result<(Vec<Attempt>, Option<String>), TokenError> {
        let label = label.to_owned();
        self.ask(Priority::Operator, self.timeout() + TRYING, move |connection| {
            connection.once(|link, open| {
                // Of nobody, and gone with this call.
                let mut scalar = Zeroizing::new([0; 32]);
                getrandom::fill(&mut *scalar).map_err(Problem::NoRandomness)?;
                scalar[0] >>= 1;
                let key = EcPrivateKey::new(Curve::P256, &*scalar);
                let key = PrivateKey::Ec(key.map_err(|_| Problem::NotOffered { what: "a key".into() })?);
                Bench::with(link, open, |bench| {
                    let mut attempts = Vec::new();
                    let mut left = false;
                    for way in &link.capabilities.transfer().import {
                        let by = match way_mechanism(*way) {
                            Some(mechanism) => format!("C_UnwrapKey, {mechanism}"),
                            None => "C_CreateObject".to_owned(),
                        };
                        let wanted = Wanted { origin: Origin::Imported, ..wanted(&label, key.kind(), SIGN) };
                        let brought = bench.passing_or_lasting(&wanted, |bench, templates| {
                            let brought = bring_by(*way, bench.open, templates, &key)?;
                            brought.ok_or_else(|| Problem::NotOffered { what: "a key in this way".into() })
                        });
                        let done = brought.map(|(private, _)| left |= !bench.destroy(&[private]));
                        attempts.push(bench.attempt("EC P-256", Some(by), done));
                    }
                    (attempts, left.then(|| label.clone()))
                })
            })
        })
    }

    /// A certificate and a file are stored, read and deleted.
    fn try_storage(&self, label: &str, trial: &mut Trial) {
        let same = |found: bool| match found {
            true => Ok(()),
            false => Err(self.error(Problem::NoFile { name: label.into() })),
        };
        let certificate = self.store_certificate(label, &[], CERTIFICATE).and_then(|()| {
            let found = self.certificates().and_then(|all| same(all.iter().any(|one| one.label == label)));
            found.and(
                self.delete_certificate(CERTIFICATE).map(drop).inspect_err(|_| trial.left.push(label.into())),
            )
        });
        let file = self.write_file(label, CERTIFICATE, true).and_then(|()| {
            let found = self.read_file(label).and_then(|octets| same(octets == CERTIFICATE));
            found.and(self.delete_file(label).inspect_err(|_| trial.left.push(label.into())))
        });
        for (what, by, done) in
            [("certificates", "CKO_CERTIFICATE", certificate), ("files", "CKO_DATA", file)]
        {
            let error = done.err().map(|error| error.problem().to_string());
            trial.storage.push(Attempt { what: what.into(), by: Some(by.into()), error });
        }
    }
}

/// Where things are tried: sessions that failures have spoilt are kept until the end.
struct Bench<'o> {
    link: &'o Link,
    open: &'o mut Open,
    slot: Slot,
    spoilt: Vec<Session>,
}

impl<'o> Bench<'o> {
    fn with<T>(link: &'o Link, open: &'o mut Open, work: impl FnOnce(&mut Self) -> T) -> Result<T, Problem> {
        let slot = module::find_token(&open.context, &link.selector, &link.profile)?;
        let mut bench = Self { link, open, slot, spoilt: Vec::new() };
        let done = work(&mut bench);
        bench.spoilt.drain(..).for_each(|session| drop(session.close()));
        Ok(done)
    }

    /// What came of something; after a failure in another session.
    fn attempt(&mut self, what: &str, by: Option<String>, done: Result<(), Problem>) -> Attempt {
        if done.is_err() {
            self.leave_session();
        }
        Attempt { what: what.into(), by, error: done.err().map(|problem| problem.to_string()) }
    }

    /// Goes on in another session.
    fn leave_session(&mut self) {
        if let Ok(session) = self.open.context.open_session(self.slot) {
            self.spoilt.push(mem::replace(&mut self.open.session, session));
        }
    }

    /// Makes a key, tries it and deletes it. Whether something is left of it.
    fn kind(&mut self, label: &str, tried: &mut KeyTrial) -> bool {
        let kind = tried.kind;
        let usage = KeyUsage::general(kind);
        let by = match kind {
            KeyKind::Rsa { .. } => MechanismType::RSA_PKCS_KEY_PAIR_GEN,
            KeyKind::Ec(_) => MechanismType::ECC_KEY_PAIR_GEN,
            KeyKind::MlDsa(_) => MechanismType::ML_DSA_KEY_PAIR_GEN,
        };
        let start = Instant::now();
        let made = match self.link.capabilities.can_generate(kind) {
            false => Err(not_offered()),
            true => self.passing_or_lasting(&wanted(label, kind, usage), |bench, templates| {
                let _guard = bench.link.change_objects(bench.open)?;
                make_pair(bench.open, kind, templates)
            }),
        };
        let took = start.elapsed();
        let by =
            |lasting: bool| Some(format!("{by}{}", if lasting { ", as an object of the token" } else { "" }));
        let ((public, private), lasting) = match made {
            Ok(made) => made,
            Err(problem) => {
                tried.generation = Some(self.attempt("generation", by(false), Err(problem)));
                return false;
            }
        };
        tried.generation = Some(self.attempt("generation", by(lasting), Ok(())));
        tried.speed.push(Speed::once("generation", took));
        match object::read(self.link, &self.open.session, private) {
            Ok(Some(info)) => {
                self.signatures(&info, private, tried);
                self.decryptions(&info, private, tried);
            }
            Ok(None) => {}
            Err(problem) => tried.signatures.push(self.attempt("its public key", None, Err(problem))),
        }
        !self.destroy(&[private, public]) && lasting
    }

    fn signatures(&mut self, info: &KeyInfo, handle: ObjectHandle, tried: &mut KeyTrial) {
        let hashes = [Hash::Sha256, Hash::Sha384, Hash::Sha512];
        let mut algorithms: Vec<_> = hashes.map(|hash| SignatureAlgorithm::for_key(info.kind, hash)).into();
        // One and the same for keys without a digest.
        algorithms.dedup();
        if let KeyKind::Rsa { .. } = info.kind {
            algorithms.push(SignatureAlgorithm::RsaPss(Hash::Sha256));
        }
        for algorithm in algorithms {
            let pss = matches!(algorithm, SignatureAlgorithm::RsaPss(_));
            let what = format!("{}{}", if pss { "PSS, " } else { "" }, in_words(algorithm.hash()));
            let by = signs_by(self.link, info.kind, algorithm).map(|mechanism| mechanism.to_string());
            let done = signing::try_signature(self.link, self.open, info, handle, algorithm);
            let attempt = self.attempt(&what, by, done);
            tried.signatures.push(attempt);
        }
        if tried
            .signatures
            .iter()
            .any(|attempt| attempt.works() && attempt.what == in_words(signing::usual(info.kind).hash()))
        {
            let algorithm = signing::usual(info.kind);
            tried.speed.extend(Speed::of("signature, verified", || {
                signing::try_signature(self.link, self.open, info, handle, algorithm).is_ok()
            }));
        }
    }

    fn decryptions(&mut self, info: &KeyInfo, handle: ObjectHandle, tried: &mut KeyTrial) {
        let KeyKind::Rsa { .. } = info.kind else { return };
        let oaep = |hash| KeyTransport::Oaep { hash, mgf: hash };
        let ways = [
            (RAW, DecryptWith::Raw, KeyTransport::Pkcs1v15),
            (V15, DecryptWith::Padded(KeyTransport::Pkcs1v15), KeyTransport::Pkcs1v15),
            ("RSAES-OAEP, SHA-1", DecryptWith::Padded(oaep(Hash::Sha1)), oaep(Hash::Sha1)),
            ("RSAES-OAEP, SHA-256", DecryptWith::Padded(oaep(Hash::Sha256)), oaep(Hash::Sha256)),
        ];
        for (what, plan, transport) in ways {
            let mechanism = plan.mechanism().map(|mechanism| mechanism.mechanism_type());
            let envelope = match mechanism.is_some_and(|it| self.link.capabilities.offers(it)) {
                true => envelope::envelope(info, transport),
                false => Err(not_offered()),
            };
            let open_it = |bench: &Self, (secret, wrapped): &(Zeroizing<Vec<u8>>, Vec<u8>)| {
                let way = (plan, transport);
                let opened = envelope::try_envelope(bench.link, bench.open, info, handle, way, wrapped)?;
                right(opened == *secret)
            };
            let done = envelope.as_ref().map_or_else(|_| Err(not_offered()), |it| open_it(self, it));
            let attempt = self.attempt(what, mechanism.map(|it| it.to_string()), done);
            if let Ok(envelope) = &envelope
                && attempt.works()
                && !tried.decryptions.iter().any(Attempt::works)
            {
                tried.speed.extend(Speed::of("decryption", || open_it(self, envelope).is_ok()));
            }
            tried.decryptions.push(attempt);
        }
    }

    /// Makes something that is gone with its session, or else stays on the token: whether it does.
    fn passing_or_lasting<T>(
        &mut self,
        wanted: &Wanted,
        make: impl Fn(&mut Self, &Templates<'_>) -> Result<T, Problem>,
    ) -> Result<(T, bool), Problem> {
        let profile = &self.link.profile;
        let passing = Templates::new(wanted, profile.keygen(), None)?.passing();
        match make(self, &passing) {
            Ok(made) => return Ok((made, false)),
            Err(problem) => tracing::debug!(%problem, "not as a session object"),
        }
        self.leave_session();
        make(self, &Templates::new(wanted, profile.keygen(), None)?).map(|made| (made, true))
    }

    /// Whether these objects could be destroyed.
    fn destroy(&self, objects: &[ObjectHandle]) -> bool {
        let Ok(_guard) = self.link.change_objects(self.open) else { return false };
        let failed =
            objects.iter().filter(|object| self.open.session.destroy_object(**object).is_err()).count();
        self.link.changes.fetch_add(1, Ordering::AcqRel);
        failed == 0
    }
}

impl KeyTrial {
    fn of(kind: KeyKind, key: String) -> Self {
        let (signatures, decryptions, speed) = Default::default();
        Self { key, generation: None, signatures, decryptions, speed, kind }
    }
}

impl Speed {
    fn once(what: &str, took: Duration) -> Self {
        Self::from(what, vec![took])
    }

    /// Does it again and again for a second; `None` where it fails.
    fn of(what: &str, mut once: impl FnMut() -> bool) -> Option<Self> {
        let begin = Instant::now();
        let mut took = Vec::new();
        while begin.elapsed() < MEASURING && took.len() < MOST_TIMES {
            let start = Instant::now();
            if !once() {
                return None;
            }
            took.push(start.elapsed());
        }
        Some(Self::from(what, took))
    }

    fn from(what: &str, mut took: Vec<Duration>) -> Self {
        took.sort();
        let sum: Duration = took.iter().sum();
        Self {
            what: what.into(),
            times: took.len(),
            per_second: took.len() as f64 / sum.as_secs_f64().max(f64::MIN_POSITIVE),
            median_ms: took.get(took.len() / 2).map_or(0.0, |median| median.as_secs_f64() * 1000.0),
        }
    }
}

fn wanted(label: &str, kind: KeyKind, usage: KeyUsage) -> Wanted {
    Wanted { label: label.into(), kind, usage, exportable: false, origin: Origin::Generated }
}

fn not_offered() -> Problem {
    Problem::NotOffered { what: "it".into() }
}

fn right(right: bool) -> Result<(), Problem> {
    let wrong = Problem::BadOutput { function: "C_Decrypt", length: 0, what: "key that was wrapped" };
    if right { Ok(()) } else { Err(wrong) }
}

fn random() -> Result<u32, TokenError> {
    let mut octets = [0; 4];
    getrandom::fill(&mut octets)
        .map_err(|error| TokenError::new("trial", Problem::NoRandomness(error), None))?;
    Ok(u32::from_be_bytes(octets))
}

const KINDS: [KeyKind; 6] = [
    KeyKind::Rsa { bits: 2048 },
    KeyKind::Rsa { bits: 3072 },
    KeyKind::Rsa { bits: 4096 },
    KeyKind::Ec(Curve::P256),
    KeyKind::Ec(Curve::P384),
    KeyKind::Ec(Curve::P521),
];
const SIGN: KeyUsage = KeyUsage::SIGNATURE;
/// A certificate of nobody, whose key is gone.
const CERTIFICATE: &[u8] = include_bytes!("trial.der");
/// How long a key may be tried, measuring included.
const TRYING: Duration = Duration::from_secs(120);
/// How long each speed is measured.
const MEASURING: Duration = Duration::from_secs(1);
const MOST_TIMES: usize = 10_000;
