//! What a trial of a token has found, and what follows from it.

use serde::Serialize;

use crate::pki::{Hash, KeyKind};

use super::{TokenInfo, signing};

/// With which keys a token is tried.
#[derive(Clone, Debug)]
pub enum TrialKeys {
    /// New ones of every kind, which are gone afterwards.
    New,
    /// Those with these labels, which are there; they make signatures.
    Existing(Vec<String>),
}

/// What a trial has found.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// The operator's name for the token.
    pub token: String,
    /// The PKCS#11 module's file.
    pub module: String,
    /// What the module says of itself: manufacturer, description, version.
    pub library: String,
    /// The version of PKCS#11 that it says it follows.
    pub standard: String,
    /// What the token says of itself.
    pub info: TokenInfo,
    /// The profile in use.
    pub profile: String,
    /// Whether the profile was not configured, but chosen by the module.
    pub recognised: bool,
    /// Mechanisms, by number and name, as far as they have one.
    pub mechanisms: Vec<String>,
    /// Each kind of key.
    pub keys: Vec<KeyTrial>,
    /// Ways for a private key to come to the token.
    pub imports: Vec<Attempt>,
    /// A certificate and a file, stored and read.
    pub storage: Vec<Attempt>,
    /// Sessions that could be opened beside those in use, of [`MOST_SESSIONS`] that were tried.
    pub sessions: usize,
    /// Labels of what could not be deleted.
    pub left: Vec<String>,
    /// What will work and what will not.
    pub verdict: Vec<String>,
    /// Lines of the configuration around what is missing.
    pub configuration: Vec<String>,
}

/// What a key can do.
#[derive(Clone, Debug, Serialize)]
pub struct KeyTrial {
    /// `RSA 2048` and the like; a label before it where it was there.
    pub key: String,
    /// Its generation, when that was tried.
    pub generation: Option<Attempt>,
    /// Signatures, verified in software.
    pub signatures: Vec<Attempt>,
    /// Envelopes, opened.
    pub decryptions: Vec<Attempt>,
    /// How fast it is.
    pub speed: Vec<Speed>,
    #[serde(skip)]
    pub(super) kind: KeyKind,
}

/// Something that was tried.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    /// What.
    pub what: String,
    /// By which mechanism or call.
    pub by: Option<String>,
    /// Why not, where it did not work.
    pub error: Option<String>,
}

/// How fast something is.
#[derive(Clone, Debug, Serialize)]
pub struct Speed {
    /// What.
    pub what: String,
    /// How often it was done.
    pub times: usize,
    /// Operations per second, one after the other.
    pub per_second: f64,
    /// The median, in milliseconds.
    pub median_ms: f64,
}

impl Attempt {
    /// Whether it worked.
    pub fn works(&self) -> bool {
        self.error.is_none()
    }
}

impl Trial {
    /// Says what follows.
    pub(super) fn judge(&mut self) {
        let works = |attempts: &[Attempt], what: &str| {
            attempts.iter().any(|attempt| attempt.what == what && attempt.works())
        };
        let names = |family: fn(KeyKind) -> bool| -> Vec<String> {
            let signing = |key: &&KeyTrial| {
                family(key.kind) && works(&key.signatures, in_words(signing::usual(key.kind).hash()))
            };
            self.keys.iter().filter(signing).map(|key| key.key.clone()).collect()
        };
        let (rsa, ec) =
            (names(|kind| matches!(kind, KeyKind::Rsa { .. })), names(|kind| matches!(kind, KeyKind::Ec(_))));
        let ml_dsa = names(|kind| matches!(kind, KeyKind::MlDsa(_)));
        let opens = |what| self.keys.iter().any(|key| works(&key.decryptions, what));
        let (raw, padded) = (opens(RAW), opens(V15));
        let generated = self.keys.iter().any(|key| key.generation.is_some());
        let mut verdict = Vec::new();
        let mut lines: Vec<String> = Vec::new();
        if !generated {
            let signing = [&rsa[..], &ec[..], &ml_dsa[..]].concat().len();
            verdict
                .push(format!("{signing} of the {} keys of certificate servers here sign", self.keys.len()));
        }
        for (name, kinds) in [("RSA", &rsa), ("EC", &ec)].into_iter().filter(|_| generated) {
            verdict.push(match kinds.is_empty() {
                true => format!("a CA with an {name} key does not work"),
                false => format!("a CA with an {name} key works: {}", kinds.join(", ")),
            });
        }
        if generated && !ml_dsa.is_empty() {
            verdict.push(format!("a CA with an ML-DSA key works: {}", ml_dsa.join(", ")));
        }
        if generated {
            verdict.push(match (raw, padded) {
                (true, _) => "SCEP works with an RSA CA key; the padding is removed here".into(),
                (false, true) => {
                    "SCEP works with an RSA CA key; the token removes the padding, and how long it \
                                  takes may tell about it: keys of SCEP's own are safer"
                        .into()
                }
                (false, false) => {
                    "SCEP needs another token for its keys: this one opens no RSA envelope".to_owned()
                }
            });
            if !raw {
                let place = if padded { "" } else { " on OTHER:" };
                lines.extend(["crypto pki server NAME".into(), format!(" scep key separate{place}")]);
            } else if !ec.is_empty() {
                verdict.push("SCEP for a CA with an EC key gets RSA keys of its own on this token".into());
            }
            if rsa.is_empty() && !ec.is_empty() {
                lines.extend(["crypto pki trustpoint NAME".into(), " eckeypair NAME".into()]);
            } else if !works_2048(&rsa) && !rsa.is_empty() {
                let bits = rsa[0].trim_start_matches("RSA ");
                lines.extend(["crypto pki trustpoint NAME".into(), format!(" rsakeypair NAME {bits}")]);
            }
            verdict.push(match self.imports.iter().any(Attempt::works) {
                true => "keys can be brought to this token: a CA can be taken over and restored".into(),
                false => "keys cannot be brought to this token: a CA on it has no copy of its key".to_owned(),
            });
        }
        for attempt in self.storage.iter().filter(|attempt| !attempt.works()) {
            verdict
                .push(format!("no {} on this token: keep it in the state directory (nvram:)", attempt.what));
        }
        let in_use = self.info.sessions.unwrap_or(0);
        if self.sessions == 0 {
            verdict.push("no further session can be opened beside those in use".into());
            lines.extend([
                format!("crypto pki token {}", self.token),
                format!(" sessions {}", in_use.saturating_sub(1).max(1)),
            ]);
        }
        (self.verdict, self.configuration) = (verdict, lines);
    }
}

/// `SHA-256`; ML-DSA has no digest to choose.
pub(super) fn in_words(hash: Option<Hash>) -> &'static str {
    match hash {
        None => "whole message",
        Some(Hash::Md5) => "MD5",
        Some(Hash::Sha1) => "SHA-1",
        Some(Hash::Sha256) => "SHA-256",
        Some(Hash::Sha384) => "SHA-384",
        Some(Hash::Sha512) => "SHA-512",
    }
}

fn works_2048(rsa: &[String]) -> bool {
    rsa.iter().any(|key| key.ends_with("2048"))
}

/// An envelope of SCEP, its padding removed by us.
pub(super) const RAW: &str = "RSAES-PKCS1-v1_5, padding removed here";
/// The same, its padding removed by the token.
pub(super) const V15: &str = "RSAES-PKCS1-v1_5, padding removed by the token";
/// Sessions that are tried.
pub const MOST_SESSIONS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::Curve;

    fn attempt(what: &str, works: bool) -> Attempt {
        Attempt { what: what.into(), by: None, error: (!works).then(|| "no".into()) }
    }

    fn trial(keys: Vec<KeyTrial>) -> Trial {
        let pin = super::super::PinState {
            initialized: true,
            count_low: false,
            final_try: false,
            locked: false,
            to_be_changed: false,
            at_pad: false,
        };
        let text = String::new;
        let (label, model, serial, manufacturer, firmware) = (text(), text(), text(), text(), text());
        let mut trial = Trial {
            token: "usbtoken0".into(),
            module: text(),
            library: text(),
            standard: text(),
            info: TokenInfo {
                label,
                model,
                serial,
                manufacturer,
                firmware,
                slot: 0,
                pin,
                free_private: None,
                free_public: None,
                sessions: None,
                max_sessions: None,
            },
            profile: text(),
            recognised: true,
            mechanisms: Vec::new(),
            keys,
            imports: Vec::new(),
            storage: Vec::new(),
            sessions: 1,
            left: Vec::new(),
            verdict: Vec::new(),
            configuration: Vec::new(),
        };
        trial.judge();
        trial
    }

    fn key(kind: KeyKind, signatures: Vec<Attempt>, decryptions: Vec<Attempt>) -> KeyTrial {
        let generation = Some(attempt("generation", !signatures.is_empty()));
        KeyTrial { key: kind.to_string(), generation, signatures, decryptions, speed: Vec::new(), kind }
    }

    #[test]
    fn a_token_without_envelopes_needs_another_for_scep() {
        let rsa = key(KeyKind::Rsa { bits: 2048 }, vec![attempt("SHA-256", true)], vec![attempt(V15, false)]);
        let trial = trial(vec![rsa]);
        assert_eq!(trial.configuration, ["crypto pki server NAME", " scep key separate on OTHER:"]);
        assert_eq!(trial.verdict[0], "a CA with an RSA key works: RSA 2048");
        assert_eq!(trial.verdict[1], "a CA with an EC key does not work");
    }

    #[test]
    fn a_token_that_unpads_itself_is_told_from_one_that_need_not() {
        let rsa = |raw| {
            let decryptions = vec![attempt(RAW, raw), attempt(V15, true)];
            trial(vec![key(KeyKind::Rsa { bits: 2048 }, vec![attempt("SHA-256", true)], decryptions)])
        };
        assert_eq!(rsa(true).configuration, [""; 0]);
        assert_eq!(rsa(false).configuration, ["crypto pki server NAME", " scep key separate"]);
    }

    #[test]
    fn a_curve_counts_with_its_own_digest() {
        let ec = |hash| trial(vec![key(KeyKind::Ec(Curve::P384), vec![attempt(hash, true)], Vec::new())]);
        assert!(ec("SHA-384").verdict[1].ends_with("works: EC P-384"));
        assert!(ec("SHA-256").verdict[1].ends_with("does not work"));
    }
}
