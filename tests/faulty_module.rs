//! The module of `tests/faulty` does what it is told: each fault is there, and gone again. Through the crate
//! cryptoki over SoftHSM, each story in a process of its own.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, Result};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

#[path = "support/faulty.rs"]
mod faulty;
#[path = "support/softhsm.rs"]
mod softhsm;

use faulty::{Faulty, Rule};
use softhsm::SoftHsm;

/// Tests, each in a process of its own.
macro_rules! stories {
    ($($(#[$attribute:meta])* fn $name:ident($faulty:ident: &Faulty) $body:block)+) => {$(
        #[test]
        $(#[$attribute])*
        fn $name() {
            faulty::own_process(stringify!($name), |$faulty: &Faulty| $body);
        }
    )+};
}

stories! {

/// Without a plan the token is as it is.
fn nothing_is_changed(faulty: &Faulty) {
    let token = Token::open(faulty);
    let session = token.login();
    let key = Pair::ec(&session, 1);
    key.signs(&session);
    assert_eq!((faulty.count("C_Sign"), faulty.count("C_Sign?"), faulty.count("C_Login")), (1, 1, 1));
    let calls = faulty.calls();
    let sign = calls.iter().find(|call| call.is("C_SignInit")).unwrap();
    assert_eq!((sign.session, sign.rv.as_str()), (Some(session.handle()), "CKR_OK"));
    assert_eq!(sign.object.map(|object| object.to_string()), Some(key.private.to_string()));
    assert!(Faulty::handles(&calls).contains(&session.handle()));
    assert_eq!(sign.process, std::process::id());

    // Nothing is written down where nobody asks for it.
    faulty.trace(false);
    key.signs(&session);
    assert_eq!(faulty.calls(), calls);
}

/// Calls fail as many times as they should, from when they should, and nothing else does.
fn calls_fail(faulty: &Faulty) {
    let token = Token::open(faulty);
    let session = token.login();
    let key = Pair::ec(&session, 1);
    let sign = || said(key.sign(&session));

    faulty.plan(&[Rule::new("C_Sign").returns("CKR_DEVICE_ERROR")]);
    assert_eq!([sign(), sign()], ["DeviceError", "ok"]);
    faulty.plan(&[Rule::new("C_Sign").returns("CKR_DEVICE_ERROR").after(1).times(2)]);
    assert_eq!([sign(), sign(), sign(), sign()], ["ok", "DeviceError", "DeviceError", "ok"]);
    faulty.plan(&[Rule::new("*").returns("0x30").forever()]);
    assert_eq!([sign(), sign()], ["DeviceError", "DeviceError"]);
    assert_eq!(said(session.get_session_info()), "DeviceError");
    faulty.clear();
    assert_eq!(sign(), "ok");
    assert_eq!(faulty.calls().iter().filter(|call| call.is("C_Sign") && call.rv != "CKR_OK").count(), 3);

    // A key that was made all the same, and one that was not.
    faulty.plan(&[Rule::new("C_GenerateKeyPair").returns("CKR_FUNCTION_FAILED")]);
    assert_eq!(said(Pair::generate(&session, &Mechanism::EccKeyPairGen, 2)), "FunctionFailed");
    assert!(found(&session, 2).is_empty());
    faulty.plan(&[Rule::new("C_GenerateKeyPair").returns_after("CKR_FUNCTION_FAILED")]);
    assert_eq!(said(Pair::generate(&session, &Mechanism::EccKeyPairGen, 2)), "FunctionFailed");
    assert_eq!(found(&session, 2).len(), 2);
    faulty.plan(&[Rule::new("C_Sign").returns_after("CKR_DEVICE_ERROR")]);
    assert_eq!([sign(), sign()], ["DeviceError", "ok"]);
}

/// A call takes its time, or hangs until there is another plan and then does as that says.
fn calls_hang(faulty: &Faulty) {
    let token = Token::open(faulty);
    let session = token.login();
    let key = Pair::ec(&session, 1);

    faulty.plan(&[Rule::new("C_Sign").delays(Duration::from_millis(200))]);
    let start = Instant::now();
    key.signs(&session);
    assert!(start.elapsed() >= Duration::from_millis(200));

    faulty.plan(&[Rule::new("C_Sign").hangs()]);
    thread::scope(|scope| {
        let hanging = scope.spawn(|| { let session = session; (said(key.sign(&session)), session) });
        faulty.wait_for_hang("C_Sign");
        // Others go on.
        let other = token.session();
        key.signs(&other);
        assert!(!hanging.is_finished());
        faulty.plan(&[Rule::new("C_Sign").returns("CKR_FUNCTION_CANCELED")]);
        let (said, session) = hanging.join().unwrap();
        assert_eq!(said, "FunctionCanceled");
        key.signs(&session);
    });
    assert_eq!(faulty.count("C_Sign"), 4);
}

/// The token is pulled: it is gone, and so are the sessions when it is back, in another slot if so planned.
fn the_token_vanishes(faulty: &Faulty) {
    let token = Token::open(faulty);
    let session = token.login();
    let key = Pair::ec(&session, 1);

    faulty.plan(&[Rule::vanish()]);
    assert!(token.context.get_slots_with_token().unwrap().is_empty());
    assert!(!token.context.get_slot_info(token.slot).unwrap().token_present());
    assert_eq!(said(token.context.get_token_info(token.slot)), "TokenNotPresent");
    assert_eq!(said(token.context.open_rw_session(token.slot)), "TokenNotPresent");
    assert_eq!(said(key.sign(&session)), "DeviceRemoved");
    assert_eq!(said(session.get_session_info()), "DeviceRemoved");

    faulty.clear();
    assert_eq!(said(key.sign(&session)), "SessionHandleInvalid");
    let old = session.handle();
    let session = token.session();
    assert_ne!(session.handle(), old);
    // The login is gone with the sessions.
    assert!(found(&session, 1).len() < 2);
    let session = token.login();
    key.again(&session).signs(&session);

    // Pulled at the second signature from here.
    faulty.plan(&[Rule::new("C_Sign").after(1).vanishes()]);
    let key = key.again(&session);
    let signed = [(); 3].map(|()| said(key.sign(&session)));
    assert_eq!(signed, ["ok", "DeviceRemoved", "DeviceRemoved"]);
    faulty.plan(&[Rule::slot_offset(7)]);
    assert_eq!(said(key.sign(&session)), "SessionHandleInvalid");
    assert_eq!(said(token.context.get_token_info(Slot::try_from(6_u64).unwrap())), "SlotIdInvalid");
    let moved = Token::find(token.context.clone());
    assert_eq!(moved.slot.id(), token.slot.id() + 7);
    let session = moved.login();
    assert_eq!(session.get_session_info().unwrap().slot_id(), moved.slot);
    key.again(&session).signs(&session);

    // Out and in again between two calls.
    faulty.clear();
    let session = token.session();
    faulty.replug();
    assert_eq!(said(session.get_session_info()), "SessionHandleInvalid");
    let session = token.login();
    key.again(&session).signs(&session);
}

/// The user is logged in and is not, until he is logged out.
fn a_login_is_stale(faulty: &Faulty) {
    let token = Token::open(faulty);
    let session = token.login();
    let key = Pair::ec(&session, 1);
    faulty.plan(&[Rule::vanish(), Rule::stale_login()]);
    assert_eq!(said(key.sign(&session)), "DeviceRemoved");
    faulty.clear();
    let session = token.session();
    assert_eq!(said(token.log_in(&session)), "UserAlreadyLoggedIn");
    let key = key.again(&session);
    assert_eq!(said(key.sign(&session)), "UserNotLoggedIn");
    session.logout().unwrap();
    assert_eq!(said(token.log_in(&session)), "ok");
    key.again(&session).signs(&session);
}

/// Only the new PIN is taken.
fn the_pin_is_changed_elsewhere(faulty: &Faulty) {
    let token = Token::open(faulty);
    let session = token.session();
    let real = std::env::var(softhsm::PIN).unwrap();
    faulty.plan(&[Rule::pin("24680", &real)]);
    assert_eq!(said(token.log_in(&session)), "PinIncorrect");
    let new = AuthPin::new("24680".to_owned().into());
    assert_eq!(said(session.login(UserType::User, Some(&new))), "ok");
    session.logout().unwrap();
    faulty.clear();
    assert_eq!(said(session.login(UserType::User, Some(&new))), "PinIncorrect");
    assert_eq!(said(token.log_in(&session)), "ok");
}

/// The token tells of few tries left.
fn flags_are_set(faulty: &Faulty) {
    let token = Token::open(faulty);
    let flags = || {
        let info = token.context.get_token_info(token.slot).unwrap();
        [
            info.user_pin_count_low(),
            info.user_pin_final_try(),
            info.user_pin_locked(),
            info.user_pin_to_be_changed(),
        ]
    };
    let rules = [Rule::count_low(), Rule::final_try(), Rule::locked(), Rule::to_be_changed()];
    for (at, rule) in rules.into_iter().enumerate() {
        faulty.plan(&[rule]);
        assert_eq!(flags(), [0, 1, 2, 3].map(|flag| flag == at));
        faulty.clear();
        assert_eq!(flags(), [false; 4]);
    }
}

/// Signatures are wrong without a word.
fn signatures_are_wrong(faulty: &Faulty) {
    let token = Token::open(faulty);
    let session = token.login();
    let key = Pair::ec(&session, 1);
    faulty.plan(&[Rule::new("C_Sign").corrupts()]);
    let signature = key.sign(&session).unwrap();
    assert_eq!((signature.len(), said(key.verify(&session, &signature)).as_str()), (64, "SignatureInvalid"));
    key.signs(&session);
    faulty.plan(&[Rule::new("C_Sign").shortens()]);
    assert_eq!(key.sign(&session).unwrap().len(), 63);
    key.signs(&session);
}

/// One failure, and the session is of no use.
fn a_session_is_poisoned(faulty: &Faulty) {
    let token = Token::open(faulty);
    let session = token.login();
    let key = Pair::ec(&session, 1);
    faulty.plan(&[Rule::poison(), Rule::new("C_Sign").returns("CKR_FUNCTION_FAILED")]);
    assert_eq!(said(key.sign(&session)), "FunctionFailed");
    assert_eq!(said(key.sign(&session)), "OperationActive");
    assert_eq!(said(session.find_objects(&[])), "OperationActive");
    // For ever, and for this session.
    faulty.clear();
    assert_eq!(said(key.sign(&session)), "OperationActive");
    let other = token.session();
    key.signs(&other);
    assert_eq!(said(session.close()), "ok");
}

/// After a removal, the handles of two keys have changed places.
fn handles_are_odd(faulty: &Faulty) {
    let token = Token::open(faulty);
    faulty.plan(&[Rule::odd_handles()]);
    let session = token.login();
    let old = [Pair::ec(&session, 1), Pair::ec(&session, 2)];
    old.iter().for_each(|key| key.signs(&session));
    faulty.replug();
    assert_eq!(said(old[0].sign(&session)), "SessionHandleInvalid");
    let session = token.login();
    // Found before it is used; before that it means nothing.
    assert_eq!(said(old[0].sign(&session)), "ObjectHandleInvalid");
    let new = [1, 2].map(|id| Pair::find(&session, id));
    new.iter().for_each(|key| key.signs(&session));
    assert_eq!(new[0].private, old[1].private);
    let signature = old[0].sign(&session).unwrap();
    assert_eq!(said(new[0].verify(&session, &signature)), "SignatureInvalid");
    assert_eq!(said(new[1].verify(&session, &signature)), "ok");
}

/// Signatures and public keys in the forms of other tokens.
fn forms_are_others(faulty: &Faulty) {
    let token = Token::open(faulty);
    let session = token.login();
    let key = Pair::ec(&session, 1);
    let rsa = Pair::rsa(&session, 2);
    let point = |key: &Pair| {
        let attributes = session.get_attributes(key.public, &[AttributeType::EcPoint]).unwrap();
        let [Attribute::EcPoint(point)] = &attributes[..] else { panic!("{attributes:?}") };
        point.clone()
    };
    let wrapped = point(&key);
    for _ in 0..20 {
        faulty.plan(&[Rule::x962(), Rule::raw_ec_point()]);
        let signature = key.sign(&session).unwrap();
        let raw = p256::ecdsa::Signature::from_der(&signature).unwrap().to_bytes();
        assert_eq!(said(key.verify(&session, &raw)), "ok");
    }
    assert_eq!((wrapped.len(), &point(&key)[..]), (67, &wrapped[2..]));
    let attributes = session.get_attributes(key.public, &[AttributeType::EcParams, AttributeType::Id]);
    assert_eq!(attributes.unwrap().len(), 2);
    rsa.signs(&session);
    faulty.clear();
    key.signs(&session);
    assert_eq!(point(&key), wrapped);
}

/// Each use of the key needs its own login, whatever the attribute says.
fn each_use_needs_a_login(faulty: &Faulty) {
    let token = Token::open(faulty);
    faulty.plan(&[Rule::always_authenticate(false)]);
    let session = token.login();
    let key = Pair::rsa(&session, 1);
    let says = || session.get_attributes(key.private, &[AttributeType::AlwaysAuthenticate]).unwrap();
    assert_eq!(says(), [Attribute::AlwaysAuthenticate(false)]);
    assert_eq!(said(key.sign(&session)), "UserNotLoggedIn");

    let pin = token.pin.clone();
    let context_login = |pin: &AuthPin| said(session.login(UserType::ContextSpecific, Some(pin)));
    assert_eq!(context_login(&pin), "OperationNotInitialized");
    let in_parts = |pin: &AuthPin| {
        session.sign_init(&key.mechanism(), key.private)?;
        session.login(UserType::ContextSpecific, Some(pin))?;
        session.sign_update(HASH)?;
        session.sign_final()
    };
    let signature = in_parts(&pin).unwrap();
    assert_eq!(said(key.verify(&session, &signature)), "ok");
    // Once for each.
    assert_eq!(said(key.sign(&session)), "UserNotLoggedIn");
    let wrong = AuthPin::new("00000".to_owned().into());
    assert_eq!(said(in_parts(&wrong)), "PinIncorrect");
    session.sign_final().unwrap_err();

    faulty.plan(&[Rule::always_authenticate(true)]);
    assert_eq!(says(), [Attribute::AlwaysAuthenticate(true)]);
    assert_eq!(said(key.sign(&session)), "UserNotLoggedIn");
    faulty.clear();
    assert_eq!(says(), [Attribute::AlwaysAuthenticate(false)]);
    key.signs(&session);
}

/// What a token does not let one do.
fn some_things_are_refused(faulty: &Faulty) {
    let token = Token::open(faulty);
    let session = token.login();
    let key = Pair::ec(&session, 1);

    faulty.plan(&[Rule::no_read_only()]);
    assert_eq!(said(token.context.open_ro_session(token.slot)), "FunctionFailed");
    assert_eq!(said(token.context.open_rw_session(token.slot)), "ok");

    faulty.plan(&[Rule::no_public_keys()]);
    assert_eq!(found(&session, 1), [key.private]);
    assert_eq!(session.find_objects(&[]).unwrap(), [key.private]);

    faulty.plan(&[Rule::unique_id()]);
    let generate = |id| said(Pair::generate(&session, &Mechanism::EccKeyPairGen, id));
    assert_eq!([generate(1), generate(2)], ["AttributeValueInvalid", "ok"]);
    let rename = |id| said(session.update_attributes(key.private, &[Attribute::Id(vec![id])]));
    assert_eq!([rename(2), rename(1)], ["AttributeValueInvalid", "ok"]);

    faulty.plan(&[Rule::refuse_attribute("CKA_ID")]);
    assert_eq!(generate(3), "AttributeTypeInvalid");

    faulty.clear();
    assert_eq!(said(token.context.open_ro_session(token.slot)), "ok");
    assert_eq!(found(&session, 1).len(), 2);
    assert_eq!([generate(1), generate(3)], ["ok", "ok"]);
}

/// Nothing works before the module is initialised again, and no old handle then.
fn the_module_must_be_finalised(faulty: &Faulty) {
    let token = Token::open(faulty);
    let session = token.login();
    let key = Pair::ec(&session, 1);
    faulty.plan(&[Rule::new("C_Sign").makes_finalize_needed()]);
    assert_eq!(said(key.sign(&session)), "GeneralError");
    faulty.clear();
    assert_eq!(said(key.sign(&session)), "GeneralError");
    assert_eq!(said(token.context.get_slots_with_token()), "GeneralError");
    token.context.clone().finalize().unwrap();
    let token = Token::open(faulty);
    assert_eq!(said(session.get_session_info()), "SessionHandleInvalid");
    let session = token.login();
    key.again(&session).signs(&session);
}

/// Benchmarks may run through it: a call costs next to nothing without a plan.
fn forwarding_costs_little(faulty: &Faulty) {
    faulty.trace(false);
    let token = Token::open(faulty);
    let session = token.login();
    let direct = Pkcs11::new(faulty::SOFTHSM).unwrap().open_rw_session(token.slot).unwrap();
    // The best of many: the machine does other things too.
    let best = |session: &Session| {
        let batch = |_| {
            let start = Instant::now();
            (0..1000).for_each(|_| _ = session.get_session_info().unwrap());
            start.elapsed() / 1000
        };
        (0..100).map(batch).min().unwrap()
    };
    let (with, without) = (best(&session), best(&direct));
    println!("C_GetSessionInfo: {with:?} with the module, {without:?} without");
    assert!(with < without + Duration::from_micros(1), "{with:?}, {without:?} without it");
}

}

/// The process ends in the middle of a signature, once.
#[test]
fn the_process_ends() {
    let token = SoftHsm::new();
    let faulty = Faulty::over(&token);
    let victim = || -> ExitStatus {
        Command::new(std::env::current_exe().unwrap())
            .args(["victim", "--exact"])
            .envs(faulty.environment())
            .env(softhsm::PIN, &token.pin)
            .output()
            .unwrap()
            .status
    };
    faulty.plan(&[Rule::new("C_Sign").aborts()]);
    assert_eq!(victim().signal(), Some(6));
    // The rule has been used up, in whichever process.
    assert_eq!(victim().code(), Some(0));
    faulty.plan(&[Rule::new("C_Sign").after(1).exits(7)]);
    assert_eq!([victim().code(), victim().code(), victim().code()], [Some(0), Some(7), Some(0)]);
    let ends: Vec<String> =
        faulty.calls().into_iter().filter(|call| call.is("C_Sign")).map(|call| call.rv).collect();
    assert_eq!(ends, ["ABORT", "CKR_OK", "CKR_OK", "EXIT", "CKR_OK"]);
}

/// The process that [`the_process_ends`] starts; by itself it does nothing.
#[test]
fn victim() {
    if std::env::var_os("FAULTY_DIR").is_none() {
        return;
    }
    let token = Token::open(&Faulty::of_environment());
    let session = token.login();
    Pair::ec(&session, 1).signs(&session);
}

/// A token behind the module.
struct Token {
    context: Pkcs11,
    slot: Slot,
    pin: AuthPin,
}

impl Token {
    fn open(faulty: &Faulty) -> Self {
        let context = Pkcs11::new(&faulty.library).unwrap();
        context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
        Self::find(context)
    }

    fn find(context: Pkcs11) -> Self {
        // SoftHSM has a free slot too.
        let slot = context.get_slots_with_initialized_token().unwrap()[0];
        Self { context, slot, pin: AuthPin::new(std::env::var(softhsm::PIN).unwrap().into()) }
    }

    fn session(&self) -> Session {
        self.context.open_rw_session(self.slot).unwrap()
    }

    fn log_in(&self, session: &Session) -> Result<()> {
        session.login(UserType::User, Some(&self.pin))
    }

    fn login(&self) -> Session {
        let session = self.session();
        self.log_in(&session).unwrap();
        session
    }
}

/// A key pair on the token.
struct Pair {
    id: u8,
    public: ObjectHandle,
    private: ObjectHandle,
    rsa: bool,
}

impl Pair {
    fn ec(session: &Session, id: u8) -> Self {
        Self::generate(session, &Mechanism::EccKeyPairGen, id).unwrap()
    }

    fn rsa(session: &Session, id: u8) -> Self {
        Self::generate(session, &Mechanism::RsaPkcsKeyPairGen, id).unwrap()
    }

    fn generate(session: &Session, mechanism: &Mechanism, id: u8) -> Result<Self> {
        let rsa = matches!(mechanism, Mechanism::RsaPkcsKeyPairGen);
        let common = [Attribute::Token(true), Attribute::Id(vec![id])];
        let public = match rsa {
            true => Attribute::ModulusBits(2048.into()),
            false => Attribute::EcParams(P256.to_vec()),
        };
        let public = [&common[..], &[Attribute::Verify(true), public]].concat();
        let private = [&common[..], &[Attribute::Sign(true), Attribute::Private(true)]].concat();
        let (public, private) = session.generate_key_pair(mechanism, &public, &private)?;
        Ok(Self { id, public, private, rsa })
    }

    fn find(session: &Session, id: u8) -> Self {
        let one = |class| {
            session.find_objects(&[Attribute::Class(class), Attribute::Id(vec![id])]).unwrap().remove(0)
        };
        Self { id, public: one(ObjectClass::PUBLIC_KEY), private: one(ObjectClass::PRIVATE_KEY), rsa: false }
    }

    /// The same key in another session, after a new login.
    fn again(&self, session: &Session) -> Self {
        Self { rsa: self.rsa, ..Self::find(session, self.id) }
    }

    fn mechanism(&self) -> Mechanism<'static> {
        if self.rsa { Mechanism::Sha256RsaPkcs } else { Mechanism::Ecdsa }
    }

    fn sign(&self, session: &Session) -> Result<Vec<u8>> {
        session.sign(&self.mechanism(), self.private, HASH)
    }

    fn verify(&self, session: &Session, signature: &[u8]) -> Result<()> {
        session.verify(&self.mechanism(), self.public, HASH, signature)
    }

    #[track_caller]
    fn signs(&self, session: &Session) {
        let signature = self.sign(session).unwrap();
        self.verify(session, &signature).unwrap();
    }
}

/// Objects with this CKA_ID.
fn found(session: &Session, id: u8) -> Vec<ObjectHandle> {
    session.find_objects(&[Attribute::Id(vec![id])]).unwrap()
}

/// `ok`, or the return value as cryptoki calls it.
fn said<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(Error::Pkcs11(rv, _)) => format!("{rv:?}"),
        Err(other) => other.to_string(),
    }
}

const HASH: &[u8] = &[7; 32];
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
