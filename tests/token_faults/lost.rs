//! Sessions, logins and handles are lost, and calls fail for no good reason: the caller does not notice, and the
//! operation is tried once more, not twice.

use super::*;

stories! {

/// One failure of any call on the way costs nothing but a new session, whatever it is said to be.
fn one_failure_is_not_noticed(faulty: &Faulty) {
    let lab = Lab::new(faulty);
    let key = lab.rsa("k");
    for (begins, does, operation) in [
        ("C_SignInit", "C_Sign", sign as fn(&TokenKey) -> _),
        ("C_DecryptInit", "C_Decrypt", open),
    ] {
        for (function, rv) in LOSSES.iter().flat_map(|rv| [(begins, rv), (does, rv)]) {
            faulty.plan(&[Rule::new(function).returns(rv)]);
            let before = lab.token.counters();
            let (done, calls) = lab.calls_of(|| operation(&key));
            done.unwrap_or_else(|error| panic!("{function} {rv}: {error:?}"));
            // The one that failed, if it came so far, the test signature of the new session, and the retry.
            let failed = usize::from(function == does);
            let expected = if does == "C_Sign" { (2 + failed, 0) } else { (1, 1 + failed) };
            let made = (count(&calls, "C_Sign"), count(&calls, "C_Decrypt"));
            assert_eq!(made, expected, "{function} {rv}:\n{}", lines(&calls));
            assert_eq!(count(&calls, "C_Finalize"), 0, "{function} {rv}");
            let after = lab.token.counters();
            assert_eq!(after.sessions + after.logins, before.sessions + before.logins + 1, "{function} {rv}");
            // The next one finds everything as it should be.
            let (done, calls) = lab.calls_of(|| operation(&key));
            done.unwrap_or_else(|error| panic!("after {function} {rv}: {error:?}"));
            assert_eq!((count(&calls, does), count(&calls, "C_OpenSession")), (1, 0), "{function} {rv}");
            assert_eq!(count(&calls, "C_Login"), 0, "{function} {rv}");
        }
    }
    assert_eq!(lab.token.state().outages, 0);
    no_old_handles(&faulty.calls());
}

/// What fails again although the token works is the caller's to hear.
fn the_retry_is_the_last(faulty: &Faulty) {
    let lab = Lab::new(faulty);
    let key = lab.rsa("k");
    for rv in ["CKR_SESSION_HANDLE_INVALID", "CKR_DEVICE_ERROR", "CKR_GENERAL_ERROR"] {
        // The test signature in between is good.
        faulty.plan(&[Rule::new("C_Sign").returns(rv), Rule::new("C_Sign").after(2).returns(rv)]);
        let (done, calls) = lab.calls_of(|| sign(&key));
        unavailable(done, &format!("C_Sign returned {rv}"));
        assert_eq!(count(&calls, "C_Sign"), 3, "{}", lines(&calls));
        sign(&key).unwrap();

        faulty.plan(&[Rule::new("C_DecryptInit").forever().returns(rv)]);
        let (done, calls) = lab.calls_of(|| open(&key));
        unavailable(done, &format!("C_DecryptInit returned {rv}"));
        assert_eq!(count(&calls, "C_DecryptInit"), 2, "{}", lines(&calls));
        faulty.clear();
        open(&key).unwrap();
    }
    // The token has shown each time that it works.
    assert_eq!(lab.token.state().outages, 0);
}

/// What the arguments have caused is not tried again, and leaves nothing behind.
fn refusals_are_not_tried_again(faulty: &Faulty) {
    let lab = Lab::new(faulty);
    let key = lab.rsa("k");
    for rv in ["CKR_DATA_LEN_RANGE", "CKR_KEY_FUNCTION_NOT_PERMITTED", "CKR_MECHANISM_INVALID"] {
        faulty.plan(&[Rule::poison(), Rule::new("C_Sign").returns(rv)]);
        let (done, calls) = lab.calls_of(|| sign(&key));
        assert_eq!(done.unwrap_err().kind, KeyErrorKind::Refused, "{rv}");
        assert_eq!(count(&calls, "C_Sign"), 1, "{}", lines(&calls));
        sign(&key).unwrap();
    }
    assert_eq!(lab.token.state().outages, 0);
}

/// A session that keeps its failed operation is not used again.
fn a_poisoned_session_is_closed(faulty: &Faulty) {
    let lab = Lab::new(faulty);
    let key = lab.rsa("k");
    for (function, operation) in [("C_Sign", sign as fn(&TokenKey) -> _), ("C_Decrypt", open)] {
        faulty.plan(&[Rule::poison(), Rule::new(function).returns("CKR_FUNCTION_FAILED")]);
        let (done, calls) = lab.calls_of(|| operation(&key));
        done.unwrap();
        assert!(calls.iter().all(|call| call.rv != "CKR_OPERATION_ACTIVE"), "{}", lines(&calls));
        let failed = calls.iter().find(|call| call.rv == "CKR_FUNCTION_FAILED").unwrap();
        let after = calls.iter().filter(|call| call.number > failed.number && call.session == failed.session);
        assert_eq!(after.map(|call| &*call.function).collect::<Vec<_>>(), ["C_CloseSession"]);
    }
}

/// The user is logged in and is not: he is logged out and in again.
fn a_stale_login_is_ended(faulty: &Faulty) {
    let lab = Lab::with(faulty, TokenConfig { sessions: Some(2), ..config(faulty, "") });
    let key = lab.rsa("k");
    for (plan, operation) in [
        (Rule::stale_login(), sign as fn(&TokenKey) -> _),
        (Rule::stale_login(), open),
        (Rule::new("C_SignInit").makes_login_stale(), sign),
        (Rule::new("C_DecryptInit").makes_login_stale(), open),
    ] {
        let before = lab.token.counters().logins;
        faulty.plan(std::slice::from_ref(&plan));
        operation(&key).unwrap_or_else(|error| panic!("{plan:?}: {error:?}"));
        assert_eq!(lab.token.counters().logins, before + 1, "{plan:?}");
        faulty.clear();
    }
    assert_eq!(lab.token.state().outages, 0);
    no_old_handles(&faulty.calls());
}

/// The token was out and in again between two calls, and the numbers of keys have changed places.
fn handles_are_looked_for_again(faulty: &Faulty) {
    faulty.plan(&[Rule::odd_handles()]);
    let lab = Lab::with(faulty, TokenConfig { sessions: Some(2), ..config(faulty, "") });
    let keys = [lab.ec("one"), lab.ec("two"), lab.ec("three")];
    faulty.replug();
    for _ in 0..4 {
        let ((), calls) = lab.calls_of(|| {
            // Each worker has used each key, or has not.
            for key in keys.iter().cycle().take(12) {
                sign(key).unwrap();
            }
            faulty.replug();
        });
        no_old_handles_but_lost_ones(&calls);
    }
    assert_eq!(lab.token.counters().wrong_signatures, 0);
    assert_eq!(lab.token.state().outages, 0);
}

/// Nothing works before the module is initialised again.
fn the_module_is_initialised_again(faulty: &Faulty) {
    let lab = Lab::with(faulty, TokenConfig { sessions: Some(2), ..config(faulty, "") });
    let key = lab.rsa("k");
    for (plan, operation) in [
        (Rule::need_finalize(), sign as fn(&TokenKey) -> _),
        (Rule::new("C_Sign").makes_finalize_needed(), sign),
        (Rule::new("C_DecryptInit").makes_finalize_needed(), open),
    ] {
        let before = lab.token.counters().initialisations;
        faulty.plan(std::slice::from_ref(&plan));
        operation(&key).unwrap_or_else(|error| panic!("{plan:?}: {error:?}"));
        assert_eq!(lab.token.counters().initialisations, before + 1, "{plan:?}");
        faulty.clear();
        for _ in 0..4 {
            operation(&key).unwrap();
        }
    }
    assert_eq!(lab.token.state().outages, 0);
    no_old_handles(&faulty.calls());
}

/// A generation is never tried again by itself, since there may be a key; all before it is.
fn keys_are_generated_once(faulty: &Faulty) {
    let lab = Lab::new(faulty);
    lab.ec("first");
    let generate = |label: &str| lab.token.generate(label, P256, SIGN, false);
    // Lost before it began.
    for function in ["C_FindObjectsInit", "C_FindObjects"] {
        faulty.plan(&[Rule::new(function).returns("CKR_SESSION_HANDLE_INVALID")]);
        sign(&generate(function).unwrap()).unwrap();
    }
    faulty.replug();
    sign(&generate("replugged").unwrap()).unwrap();

    // Nothing was made.
    for rv in ["CKR_DEVICE_ERROR", "CKR_SESSION_HANDLE_INVALID", "CKR_GENERAL_ERROR"] {
        faulty.plan(&[Rule::new("C_GenerateKeyPair").returns(rv)]);
        let (made, calls) = lab.calls_of(|| generate(rv));
        let error = made.unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Unavailable);
        assert!(error.to_string().contains(&format!("C_GenerateKeyPair returned {rv}")), "{error}");
        assert_eq!(count(&calls, "C_GenerateKeyPair"), 1, "{}", lines(&calls));
        sign(&generate(rv).unwrap()).unwrap();
    }
    // It was made, and the answer was lost: the label is taken, and a second key of that name is not made.
    faulty.plan(&[Rule::new("C_GenerateKeyPair").returns_after("CKR_DEVICE_ERROR")]);
    assert!(generate("lost").is_err());
    let error = generate("lost").unwrap_err();
    assert!(error.to_string().contains("a key labelled \"lost\" is there already"), "{error}");
    sign(&lab.token.key("lost").unwrap()).unwrap();
    // One that does not sign is not left behind.
    faulty.plan(&[Rule::new("C_Sign").forever().corrupts()]);
    let error = generate("wrong").unwrap_err();
    assert!(error.to_string().contains("the generated key \"wrong\" was refused and deleted"), "{error}");
    faulty.clear();
    assert!(lab.token.find("wrong").unwrap().is_none());
    assert_eq!(lab.token.state().outages, 0);
}

}

/// As [`no_old_handles`], of calls that begin with lost sessions: of those at the beginning one call each fails
/// and is closed.
#[track_caller]
fn no_old_handles_but_lost_ones(calls: &[Call]) {
    let mut lost = Vec::new();
    for call in calls {
        let Some(session) = call.session else { continue };
        if lost.contains(&session) {
            assert_eq!(call.function, "C_CloseSession", "{}", lines(calls));
        }
        if call.rv == "CKR_SESSION_HANDLE_INVALID" {
            lost.push(session);
        }
    }
    let of_now: Vec<Call> =
        calls.iter().filter(|call| call.session.is_none_or(|it| !lost.contains(&it))).cloned().collect();
    no_old_handles(&of_now);
}

/// What modules say when a session, a login, a handle or the device is gone.
const LOSSES: &[&str] = &[
    "CKR_SESSION_HANDLE_INVALID",
    "CKR_SESSION_CLOSED",
    "CKR_USER_NOT_LOGGED_IN",
    "CKR_OBJECT_HANDLE_INVALID",
    "CKR_KEY_HANDLE_INVALID",
    "CKR_DEVICE_REMOVED",
    "CKR_TOKEN_NOT_PRESENT",
    "CKR_OPERATION_NOT_INITIALIZED",
    "CKR_CRYPTOKI_NOT_INITIALIZED",
    "CKR_DEVICE_ERROR",
    "CKR_GENERAL_ERROR",
    "CKR_FUNCTION_FAILED",
    "CKR_OPERATION_ACTIVE",
    "CKR_HOST_MEMORY",
    "0x80000001",
];
