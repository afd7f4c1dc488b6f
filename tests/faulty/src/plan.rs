//! What the tests want: the file `FAULTY_DIR/plan`, lines of words.
//!
//! ```text
//! rule NUMBER FUNCTION AFTER TIMES ACTION…      FUNCTION is a name, * or now; TIMES a number or forever
//! trait NAME…                                   as the token is while the plan stands
//! ```
//!
//! A question for the length of an answer (no buffer) is no call that a rule counts: many callers ask before
//! each operation, and a rule for the third signature means the third signature.

use std::sync::atomic::Ordering;
use std::time::Duration;

use cryptoki_sys::*;

use crate::names;
use crate::shared::shared;

/// The rules and traits that stand.
#[derive(Default)]
pub struct Plan {
    pub rules: Vec<Rule>,
    pub traits: Traits,
}

/// What happens at some calls.
pub struct Rule {
    /// Where its calls are counted; no rule before had this number.
    pub number: usize,
    /// `None` is at once, without a call.
    function: Option<String>,
    after: u64,
    times: Option<u64>,
    pub action: Action,
}

#[derive(Clone, PartialEq)]
pub enum Action {
    /// The real module is not asked. An operation that was begun ends, as it does with an error.
    Return(CK_RV),
    /// The real module has done it, and the answer is lost.
    ReturnAfter(CK_RV),
    Delay(Duration),
    /// Until another plan stands; then as that says.
    Hang,
    /// The token is pulled, until another plan stands.
    Vanish,
    /// C_Login says that the user is logged in, and keys say that he is not, until C_Logout or C_Finalize.
    StaleLogin,
    /// CKR_GENERAL_ERROR to everything until C_Finalize.
    NeedFinalize,
    /// The last bit of the answer is wrong.
    Corrupt,
    /// The answer is one octet short.
    WrongLength,
    Abort,
    Exit(i32),
}

/// What the token is like.
#[derive(Default, PartialEq)]
pub struct Traits {
    /// Slot numbers are this much higher than the real module's.
    pub slot_offset: CK_SLOT_ID,
    /// The PIN that C_Login takes, and the real one.
    pub pin: Option<(Vec<u8>, Vec<u8>)>,
    /// The token has a PIN pad, at which somebody types this PIN, or cancels.
    pub pad: Option<Option<Vec<u8>>>,
    /// Flags of C_GetTokenInfo that are set in any case.
    pub token_flags: CK_FLAGS,
    /// After a failed operation the session says CKR_OPERATION_ACTIVE until it is closed.
    pub poison: bool,
    /// When the token comes back, object handles of before mean other objects.
    pub odd_handles: bool,
    /// ECDSA signatures are X9.62 SEQUENCEs.
    pub x962: bool,
    /// CKA_EC_POINT is not in an OCTET STRING.
    pub raw_ec_point: bool,
    /// Each use of a private key needs C_Login(CKU_CONTEXT_SPECIFIC), and CKA_ALWAYS_AUTHENTICATE says this.
    pub always_authenticate: Option<bool>,
    /// C_OpenSession without CKF_RW_SESSION fails.
    pub no_read_only: bool,
    /// C_FindObjects finds none.
    pub no_public_keys: bool,
    /// No second object of a class has the same CKA_ID.
    pub unique_id: bool,
    /// Templates of new objects must not have these.
    pub refused: Vec<CK_ATTRIBUTE_TYPE>,
}

impl Plan {
    /// Reads a plan. One that is not understood ends the process: a test must not pass without its fault.
    pub fn read(text: &str) -> Self {
        let mut plan = Self::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split(' ').collect();
            if plan.line(&words).is_none() {
                eprintln!("faulty_pkcs11: not understood: {line}");
                std::process::abort();
            }
        }
        plan
    }

    fn line(&mut self, words: &[&str]) -> Option<()> {
        match words {
            ["rule", number, function, after, times, action @ ..] => self.rules.push(Rule {
                number: number.parse().ok()?,
                function: (*function != "now").then(|| (*function).to_owned()),
                after: after.parse().ok()?,
                times: if *times == "forever" { None } else { Some(times.parse().ok()?) },
                action: Action::read(action)?,
            }),
            ["trait", words @ ..] => self.traits.line(words)?,
            _ => return None,
        }
        Some(())
    }

    /// What happens to this call. It counts.
    pub fn actions(&self, function: &str) -> Vec<Action> {
        self.rules.iter().filter(|rule| rule.fires(function)).map(|rule| rule.action.clone()).collect()
    }

    /// Actions that need no call, with their numbers.
    pub fn at_once(&self) -> impl Iterator<Item = (usize, &Action)> {
        self.rules.iter().filter(|rule| rule.function.is_none()).map(|rule| (rule.number, &rule.action))
    }

    /// Whether the token is out.
    pub fn vanished(&self) -> bool {
        let fired = |rule: &Rule| rule.function.is_none() || rule.count() > rule.after;
        self.rules.iter().any(|rule| rule.action == Action::Vanish && fired(rule))
    }
}

impl Rule {
    fn count(&self) -> u64 {
        shared().counter(self.number).load(Ordering::SeqCst)
    }

    fn fires(&self, function: &str) -> bool {
        if !self.function.as_ref().is_some_and(|name| name == "*" || name == function) {
            return false;
        }
        let before = shared().counter(self.number).fetch_add(1, Ordering::SeqCst);
        let fires = before >= self.after && self.times.is_none_or(|times| before < self.after + times);
        // Pulled once; every process sees it in the number of removals.
        if self.action == Action::Vanish {
            if before == self.after {
                shared().removals().fetch_add(1, Ordering::SeqCst);
            }
            return false;
        }
        fires
    }
}

impl Action {
    fn read(words: &[&str]) -> Option<Self> {
        Some(match words {
            ["return", rv] => Self::Return(names::rv(rv)?),
            ["return-after", rv] => Self::ReturnAfter(names::rv(rv)?),
            ["delay", milliseconds] => Self::Delay(Duration::from_millis(milliseconds.parse().ok()?)),
            ["hang"] => Self::Hang,
            ["vanish"] => Self::Vanish,
            ["stale-login"] => Self::StaleLogin,
            ["need-finalize"] => Self::NeedFinalize,
            ["corrupt"] => Self::Corrupt,
            ["wrong-length"] => Self::WrongLength,
            ["abort"] => Self::Abort,
            ["exit", code] => Self::Exit(code.parse().ok()?),
            _ => return None,
        })
    }
}

impl Traits {
    fn line(&mut self, words: &[&str]) -> Option<()> {
        match words {
            ["slot-offset", offset] => self.slot_offset = offset.parse().ok()?,
            ["pin", new, real] => self.pin = Some((new.as_bytes().to_vec(), real.as_bytes().to_vec())),
            ["pad", typed @ ..] => {
                self.token_flags |= CKF_PROTECTED_AUTHENTICATION_PATH;
                self.pad = Some(typed.first().map(|pin| pin.as_bytes().to_vec()));
            }
            ["count-low"] => self.token_flags |= CKF_USER_PIN_COUNT_LOW,
            ["final-try"] => self.token_flags |= CKF_USER_PIN_FINAL_TRY,
            ["locked"] => self.token_flags |= CKF_USER_PIN_LOCKED,
            ["to-be-changed"] => self.token_flags |= CKF_USER_PIN_TO_BE_CHANGED,
            ["poison"] => self.poison = true,
            ["odd-handles"] => self.odd_handles = true,
            ["x962"] => self.x962 = true,
            ["raw-ec-point"] => self.raw_ec_point = true,
            ["always-authenticate", says] => self.always_authenticate = Some(says.parse().ok()?),
            ["no-read-only"] => self.no_read_only = true,
            ["no-public-keys"] => self.no_public_keys = true,
            ["unique-id"] => self.unique_id = true,
            ["refuse-attribute", attribute] => self.refused.push(names::attribute(attribute)?),
            _ => return None,
        }
        Some(())
    }
}
