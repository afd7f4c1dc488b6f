//! Keys that want the PIN for each operation (`CKA_ALWAYS_AUTHENTICATE`), whether they say so or not.

use super::*;

stories! {

/// One that says so gets it.
fn a_key_that_says_so(faulty: &Faulty) {
    faulty.plan(&[Rule::always_authenticate(true)]);
    let lab = Lab::new(faulty);
    let key = lab.rsa("k");
    assert!(key.info().always_authenticate);
    for operation in [sign as fn(&TokenKey) -> _, open] {
        let (done, calls) = lab.calls_of(|| operation(&key));
        done.unwrap();
        assert_eq!(count(&calls, "C_Login"), 1, "{}", lines(&calls));
        assert_eq!(count(&calls, "C_Sign") + count(&calls, "C_Decrypt"), 1, "{}", lines(&calls));
    }
    assert_eq!(lab.token.counters().sessions, 0);
}

/// One that does not say so is known after one refusal, which the caller does not notice.
fn a_key_that_does_not_say_so(faulty: &Faulty) {
    faulty.plan(&[Rule::always_authenticate(false)]);
    let lab = Lab::new(faulty);
    let key = lab.rsa("k");
    assert!(!key.info().always_authenticate);
    for operation in [sign as fn(&TokenKey) -> _, open] {
        operation(&key).unwrap();
        let (done, calls) = lab.calls_of(|| operation(&key));
        done.unwrap();
        assert_eq!(count(&calls, "C_Login"), 1, "{}", lines(&calls));
        assert_eq!(count(&calls, "C_Sign") + count(&calls, "C_Decrypt"), 1, "{}", lines(&calls));
    }
    // Another key, found and not generated.
    let again = Lab::new(faulty);
    sign(&again.token.key("k").unwrap()).unwrap();
    assert_eq!((lab.token.state().outages, again.token.state().outages), (0, 0));
}

/// The same after its session, the token and the module were lost.
fn it_survives_losses(faulty: &Faulty) {
    for says in [true, false] {
        let name = says.to_string();
        faulty.plan(&[Rule::always_authenticate(says)]);
        let lab = Lab::new(faulty);
        let key = lab.rsa(&name);
        for rule in [
            Rule::new("C_Sign").returns("CKR_SESSION_HANDLE_INVALID"),
            Rule::new("C_SignInit").returns("CKR_USER_NOT_LOGGED_IN"),
            Rule::new("C_Login").returns("CKR_SESSION_HANDLE_INVALID"),
            Rule::need_finalize(),
        ] {
            faulty.plan(&[Rule::always_authenticate(says), rule.clone()]);
            sign(&key).unwrap_or_else(|error| panic!("{says} {rule:?}: {error:?}"));
            open(&key).unwrap_or_else(|error| panic!("{says} {rule:?}: {error:?}"));
        }
        faulty.replug();
        sign(&key).unwrap();
        assert_eq!(lab.token.state().outages, 0);
    }
}

/// When a key has stopped to want it, it is no longer asked for it.
fn a_key_that_no_longer_wants_it(faulty: &Faulty) {
    faulty.plan(&[Rule::always_authenticate(false)]);
    let lab = Lab::new(faulty);
    let key = lab.rsa("k");
    sign(&key).unwrap();
    // SoftHSM says CKR_OPERATION_NOT_INITIALIZED to a login for an operation that needs none.
    faulty.clear();
    sign(&key).unwrap();
    let (done, calls) = lab.calls_of(|| sign(&key));
    done.unwrap();
    assert_eq!(count(&calls, "C_Login"), 0, "{}", lines(&calls));
}

/// A PIN that is refused there is not tried again either.
fn a_wrong_pin_is_tried_once(faulty: &Faulty) {
    faulty.plan(&[Rule::always_authenticate(true)]);
    let lab = Lab::new(faulty);
    let key = lab.rsa("k");
    faulty.plan(&[Rule::always_authenticate(true), Rule::pin("24680", &pin())]);
    let (done, calls) = lab.calls_of(|| sign(&key));
    unavailable(done, "C_Login returned CKR_PIN_INCORRECT");
    assert_eq!(count(&calls, "C_Login"), 1, "{}", lines(&calls));
    let ((), calls) = lab.calls_of(|| {
        for operation in [sign as fn(&TokenKey) -> _, open, sign] {
            unavailable(operation(&key), "the PIN was not tried: the token has refused it before");
        }
        faulty.replug();
        unavailable(sign(&key), "the PIN was not tried");
    });
    assert_eq!(count(&calls, "C_Login"), 0, "{}", lines(&calls));
}

}
