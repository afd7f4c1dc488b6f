//! The token is away: callers hear so at once, and nobody has to do anything when it is back.

use super::*;

stories! {

/// It is pulled, and comes back in another slot.
fn it_comes_back_in_another_slot(faulty: &Faulty) {
    let lab = Lab::with(faulty, TokenConfig { sessions: Some(2), ..config(faulty, "") });
    let key = lab.rsa("k");
    for (plan, back) in [
        (Rule::vanish(), Rule::slot_offset(7)),
        (Rule::new("C_Sign").vanishes(), Rule::slot_offset(0)),
        (Rule::new("C_SignInit").vanishes(), Rule::slot_offset(3)),
    ] {
        let outages = lab.token.state().outages;
        faulty.plan(std::slice::from_ref(&plan));
        unavailable(sign(&key), "no token with label \"tokenca\"");
        is_offline(&lab, &key);
        faulty.plan(std::slice::from_ref(&back));
        lab.comes_back(&key);
        open(&key).unwrap();
        assert_eq!(lab.token.state().outages, outages + 1, "{plan:?}");
    }
    // What it does when it is back is seen by whoever looks.
    let events = lab.token.state().events;
    let seen = |start: &str| events.iter().filter(|event| event.what.starts_with(start)).count();
    assert_eq!((seen("offline: no token with label"), seen("back after ")), (3, 3), "{events:?}");
}

/// It is out and in again between two calls: nobody notices.
fn it_is_plugged_in_again_at_once(faulty: &Faulty) {
    let lab = Lab::with(faulty, TokenConfig { sessions: Some(2), ..config(faulty, "") });
    let key = lab.rsa("k");
    for operation in [sign as fn(&TokenKey) -> _, open, sign, open] {
        faulty.replug();
        operation(&key).unwrap();
        operation(&key).unwrap();
    }
    // Also while a signature is made.
    faulty.plan(&[Rule::new("C_Sign").delays(Duration::from_millis(300))]);
    std::thread::scope(|scope| {
        let signing = scope.spawn(|| sign(&key));
        faulty.wait_for_calls("C_SignInit", 1 + faulty.count("C_Sign"));
        faulty.replug();
        signing.join().unwrap().unwrap();
    });
    assert_eq!(lab.token.state().outages, 0);
}

/// Each signature fails, for as long as it takes.
fn the_device_does_not_sign(faulty: &Faulty) {
    let lab = Lab::new(faulty);
    let key = lab.rsa("k");
    for rv in ["CKR_DEVICE_ERROR", "CKR_GENERAL_ERROR", "CKR_SESSION_HANDLE_INVALID", "CKR_DEVICE_REMOVED"] {
        faulty.plan(&[Rule::new("C_Sign").forever().returns(rv)]);
        unavailable(sign(&key), &format!("C_Sign returned {rv}"));
        is_offline(&lab, &key);
        faulty.clear();
        lab.comes_back(&key);
    }
    // With everything.
    faulty.plan(&[Rule::new("*").forever().returns("CKR_DEVICE_ERROR")]);
    unavailable(sign(&key), "returned CKR_DEVICE_ERROR");
    is_offline(&lab, &key);
    faulty.clear();
    lab.comes_back(&key);
    open(&key).unwrap();
    no_old_handles(&faulty.calls());
}

/// The module cannot be initialised again for a while, and can then.
fn the_module_needs_several_tries(faulty: &Faulty) {
    let lab = Lab::new(faulty);
    let key = lab.rsa("k");
    faulty.plan(&[Rule::need_finalize(), Rule::new("C_Initialize").times(2).returns("CKR_GENERAL_ERROR")]);
    unavailable(sign(&key), "returned CKR_GENERAL_ERROR");
    is_offline(&lab, &key);
    lab.comes_back(&key);
    open(&key).unwrap();
    no_old_handles(&faulty.calls());
}

/// A try is made now and then, not at each request; an operator can ask for one.
fn tries_are_few(faulty: &Faulty) {
    let lab = Lab::new(faulty);
    let key = lab.rsa("k");
    faulty.plan(&[Rule::vanish()]);
    unavailable(sign(&key), "no token");
    let ((), calls) = lab.calls_of(|| {
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(2500) {
            unavailable(sign(&key), "no token with label");
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    // After a second, and then after two more.
    assert!((1..=2).contains(&count(&calls, "C_Finalize")), "{}", lines(&calls));
    faulty.clear();
    lab.token.try_now().unwrap();
    sign(&key).unwrap();
    assert_eq!(lab.token.state().outages, 1);
}

}

/// Callers are refused without a call of the module.
#[track_caller]
fn is_offline(lab: &Lab, key: &TokenKey) {
    let since = lab.token.state().offline_since;
    assert!(since.is_some(), "{:?}", lab.token.state());
    let started = Instant::now();
    for operation in [sign as fn(&TokenKey) -> _, open] {
        match operation(key) {
            // It may be time for a try by now.
            Ok(()) => assert!(started.elapsed() > Duration::from_millis(500)),
            failed => unavailable(failed, ""),
        }
    }
}
