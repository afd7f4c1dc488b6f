//! The module does not return: callers do, others go on, and nothing is left of it when it has returned.

use super::*;

stories! {

/// One call hangs, its caller does not, and another worker shows that the token works.
fn one_call_hangs(faulty: &Faulty) {
    let lab = Lab::with(faulty, config(faulty, BRIEF));
    let key = lab.rsa("k");
    for (function, operation) in [
        ("C_Sign", sign as fn(&TokenKey) -> _),
        ("C_SignInit", sign),
        ("C_Decrypt", open),
    ] {
        let before = (lab.token.counters().hangs, lab.token.state().outages);
        faulty.plan(&[Rule::new(function).hangs()]);
        hangs(|| operation(&key));
        assert_eq!((lab.token.counters().hangs, lab.token.state().outages), (before.0 + 1, before.1 + 1));
        // Before it has returned.
        lab.comes_back(&key);
        assert_eq!(lab.token.sessions(), 1);
        faulty.clear();
        operation(&key).unwrap();
    }
}

/// All calls hang, and callers are refused at once; tokens of other modules go on.
fn all_calls_hang(faulty: &Faulty) {
    let lab = Lab::with(faulty, config(faulty, BRIEF));
    let key = lab.rsa("k");
    // SoftHSM once more, as another library.
    let copy = faulty.dir.join("libother.so");
    fs::copy(support::faulty::SOFTHSM, &copy).unwrap();
    let other = TokenConfig { name: "usbtoken1".into(), module: Some(copy), ..config(faulty, BRIEF) };
    let other = Token::open(&other).unwrap().generate("other", P256, SIGN, false).unwrap();

    faulty.plan(&[Rule::new("*").forever().hangs()]);
    hangs(|| sign(&key));
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(3) {
        let now = Instant::now();
        sign(&other).unwrap();
        if let Err(error) = sign(&key) {
            let words = error.source.to_string();
            // One try now and then is made in somebody's name.
            let tried = words.contains("has not returned within") || words.contains("no answer within");
            assert!(tried || now.elapsed() < Duration::from_millis(500), "{words}: {:?}", now.elapsed());
            assert!(now.elapsed() < Duration::from_secs(3), "{words}: {:?}", now.elapsed());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(lab.token.state().offline_since.is_some());
    faulty.clear();
    lab.comes_back(&key);
    open(&key).unwrap();
    sign(&other).unwrap();
}

/// While one call hangs, another worker climbs all it can, and the token works again before the call returns.
fn a_hanging_call_locks_nobody_out(faulty: &Faulty) {
    let lab = Lab::with(faulty, TokenConfig { sessions: Some(2), ..config(faulty, "") });
    let key = lab.ec("k");
    faulty.plan(&[
        Rule::new("C_Sign").hangs(),
        // The operation, and the signature that should show that a new session helps.
        Rule::new("C_Sign").after(1).times(2).returns("CKR_DEVICE_ERROR"),
    ]);
    std::thread::scope(|scope| {
        scope.spawn(|| sign(&key));
        faulty.wait_for_hang("C_Sign");
        unavailable(sign(&key), "");
        lab.comes_back(&key);
        assert!(lab.token.state().outages > 0, "{:?}", lab.token.state());
        faulty.clear();
    });
    sign(&key).unwrap();
}

/// A key is made for ever: whoever knows his key goes on, and whoever looks for one is told so in time. No thread
/// is lost for it but the one.
fn a_generation_hangs(faulty: &Faulty) {
    let lab = Lab::with(faulty, TokenConfig { sessions: Some(3), ..config(faulty, "timeout = 2\n") });
    let key = lab.ec("k");
    (0..9).for_each(|_| sign(&key).unwrap());
    faulty.plan(&[Rule::new("C_GenerateKeyPair").hangs()]);
    std::thread::scope(|scope| {
        scope.spawn(|| lab.token.generate("slow", P256, SIGN, false));
        faulty.wait_for_hang("C_GenerateKeyPair");
        let started = Instant::now();
        for _ in 0..3 {
            let error = lab.token.find("k").expect_err("nobody looks for keys");
            assert!(error.to_string().contains("a key is being made or deleted"), "{error}");
            sign(&key).unwrap();
        }
        assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
        assert_eq!((lab.token.counters().hangs, lab.token.state().outages), (0, 0));
        faulty.clear();
    });
    assert!(lab.token.find("k").unwrap().is_some());
    sign(&lab.token.key("slow").unwrap()).unwrap();
}

/// Many callers at once: none waits longer than its time, and threads are not lost without end.
fn many_callers_are_let_go(faulty: &Faulty) {
    let lab = Lab::with(faulty, TokenConfig { sessions: Some(3), ..config(faulty, BRIEF) });
    let key = lab.ec("k");
    faulty.plan(&[Rule::new("C_Sign").forever().hangs()]);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| unavailable(sign(&key), ""));
        }
    });
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(lab.token.counters().hangs <= 4, "{:?}", lab.token.counters());
    faulty.clear();
    lab.comes_back(&key);
    // The lost ones end, and there are as many as there were.
    support::until("there are three workers", || (lab.token.sessions() == 3).then_some(()));
    (0..10).for_each(|_| sign(&key).unwrap());
}

/// So many calls hang that no more threads are risked: callers are refused at once, and when the calls return
/// there are workers again.
fn no_more_threads_are_lost(faulty: &Faulty) {
    let lab = Lab::with(faulty, config(faulty, BRIEF));
    let key = lab.ec("k");
    faulty.plan(&[Rule::new("C_Sign").forever().hangs()]);
    hangs(|| sign(&key));
    support::until("no worker is left", || {
        let error = lab.token.try_now().expect_err("it hangs");
        error.to_string().contains("calls have not returned from the module").then_some(())
    });
    let started = Instant::now();
    unavailable(sign(&key), "calls have not returned from the module");
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
    faulty.clear();
    lab.comes_back(&key);
    support::until("there is a worker", || (lab.token.sessions() == 1).then_some(()));
    (0..10).for_each(|_| sign(&key).unwrap());
}

/// A signature takes longer than its caller waits, and the token is not lost for it.
fn a_signature_comes_too_late(faulty: &Faulty) {
    let lab = Lab::with(faulty, config(faulty, BRIEF));
    let key = lab.rsa("k");
    faulty.plan(&[Rule::new("C_Sign").delays(Duration::from_secs(2))]);
    hangs(|| sign(&key));
    lab.comes_back(&key);
    open(&key).unwrap();
}

/// A generation takes longer than anything else may.
fn a_generation_may_take_longer(faulty: &Faulty) {
    let lab = Lab::with(faulty, config(faulty, BRIEF));
    faulty.plan(&[Rule::new("C_GenerateKeyPair").delays(Duration::from_secs(2))]);
    sign(&lab.ec("k")).unwrap();
    assert_eq!(lab.token.state().outages, 0);
}

}

/// The caller hears in its time that the module hangs.
#[track_caller]
fn hangs(operation: impl FnOnce() -> Result<(), KeyError>) {
    let started = Instant::now();
    unavailable(operation(), "the module has not returned within 1 s");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

const BRIEF: &str = "timeout = 1\n";
