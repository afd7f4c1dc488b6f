//! `module isolated`: the module's process aborts, exits or hangs, and the call that was in it succeeds all the
//! same, or at the latest the next one.

use super::*;

stories! {

/// Whatever becomes of the process, the caller does not notice.
fn its_end_is_not_noticed(faulty: &Faulty) {
    let lab = Lab::with(faulty, TokenConfig { sessions: Some(2), ..isolated(faulty, "") });
    let key = lab.rsa("k");
    assert!(faulty.calls().iter().all(|call| call.process != std::process::id()), "it is not apart");
    for (function, operation) in [
        ("C_SignInit", sign as fn(&TokenKey) -> _),
        ("C_Sign", sign),
        ("C_DecryptInit", open),
        ("C_Decrypt", open),
    ] {
        for rule in [Rule::new(function).aborts(), Rule::new(function).exits(0), Rule::new(function).exits(7)] {
            let before = lab.token.counters().initialisations;
            faulty.plan(std::slice::from_ref(&rule));
            let (done, calls) = lab.calls_of(|| operation(&key));
            done.unwrap_or_else(|error| panic!("{rule:?}: {error:?}"));
            assert_eq!(lab.token.counters().initialisations, before + 1, "{rule:?}");
            let processes: Vec<u32> = calls.iter().map(|call| call.process).collect();
            assert_ne!(processes.first(), processes.last(), "{}", lines(&calls));
            (0..4).for_each(|_| operation(&key).unwrap());
        }
    }
    assert_eq!(lab.token.state().outages, 0);
}

/// It hangs, and is ended: half of the caller's time is left for another.
fn its_hang_is_not_noticed(faulty: &Faulty) {
    let lab = Lab::with(faulty, isolated(faulty, "timeout = 8\n"));
    let key = lab.rsa("k");
    for (function, operation) in [("C_Sign", sign as fn(&TokenKey) -> _), ("C_Decrypt", open)] {
        faulty.plan(&[Rule::new(function).hangs()]);
        let started = Instant::now();
        operation(&key).unwrap_or_else(|error| panic!("{function}: {error:?}"));
        assert!(started.elapsed() >= Duration::from_secs(4));
    }
    assert_eq!((lab.token.counters().hangs, lab.token.state().outages), (0, 0));
}

/// Its time-outs are those of the profile in force, also of one that has recognised the module.
fn its_time_outs_follow_the_profile(faulty: &Faulty) {
    let named = isolated(faulty, "timeout = 8\n");
    let recognised = TokenConfig { profile: None, ..named.clone() };
    drop(Lab::with(faulty, named.clone()).ec("k"));
    for (config, ended) in [(named, 1), (recognised, 0)] {
        let lab = Lab::with(faulty, config);
        let key = lab.token.key("k").unwrap();
        faulty.plan(&[Rule::new("C_Sign").delays(Duration::from_secs(5))]);
        sign(&key).unwrap();
        assert_eq!(lab.token.counters().initialisations, ended, "{}", lab.token.profile().name());
    }
}

/// It ends each time that it is asked, until it does not.
fn it_ends_again_and_again(faulty: &Faulty) {
    let lab = Lab::with(faulty, isolated(faulty, ""));
    let key = lab.rsa("k");
    faulty.plan(&[Rule::new("C_Sign").forever().aborts()]);
    unavailable(sign(&key), "");
    assert!(lab.token.state().offline_since.is_some(), "{:?}", lab.token.state());
    unavailable(sign(&key), "");
    faulty.clear();
    lab.comes_back(&key);
    open(&key).unwrap();

    // While it begins.
    faulty.plan(&[Rule::new("C_Sign").aborts(), Rule::new("C_Initialize").aborts()]);
    let _ = sign(&key);
    lab.comes_back(&key);
}

/// A generation that was in it is told as failed, and the next one is made.
fn a_generation_ends_with_it(faulty: &Faulty) {
    let lab = Lab::with(faulty, isolated(faulty, ""));
    faulty.plan(&[Rule::new("C_GenerateKeyPair").aborts()]);
    let error = lab.token.generate("k", P256, SIGN, false).unwrap_err();
    assert!(error.to_string().contains("C_GenerateKeyPair returned CKR_DEVICE_REMOVED"), "{error}");
    sign(&lab.ec("k")).unwrap();
}

/// Of many workers, each goes on with another process.
fn many_workers_lose_it_at_once(faulty: &Faulty) {
    let lab = Lab::with(faulty, TokenConfig { sessions: Some(4), ..isolated(faulty, "") });
    let key = lab.ec("k");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                // Those that find the token away are told so; in the end it is not.
                (0..20).for_each(|_| lab.comes_back(&key));
            });
        }
        for _ in 0..3 {
            faulty.plan(&[Rule::new("C_Sign").after(20).aborts()]);
            faulty.wait_for_calls("C_Sign", count(&faulty.calls(), "C_Sign") + 22);
        }
    });
    lab.comes_back(&key);
    no_two_processes_at_once(&faulty.calls());
}

/// Tokens of one module have a process each: the end of one is not the end of the other.
fn tokens_do_not_end_each_other(faulty: &Faulty) {
    let lab = Lab::with(faulty, isolated(faulty, ""));
    let other = TokenConfig { name: "usbtoken1".into(), ..isolated(faulty, "") };
    let other = Lab::with(faulty, other);
    let keys = [lab.ec("k"), other.ec("other")];
    faulty.plan(&[Rule::new("C_Sign").aborts()]);
    let (done, calls) = lab.calls_of(|| sign(&keys[0]));
    done.unwrap();
    let ended = calls.iter().find(|call| call.rv == "ABORT").unwrap().process;
    let (done, calls) = lab.calls_of(|| sign(&keys[1]));
    done.unwrap();
    assert_eq!(other.token.counters().initialisations, 0);
    assert!(calls.iter().all(|call| call.process != ended), "{}", lines(&calls));
}

}

/// A process is begun after the one before has ended.
#[track_caller]
fn no_two_processes_at_once(calls: &[Call]) {
    let mut processes: Vec<u32> = calls.iter().map(|call| call.process).collect();
    processes.dedup();
    let mut once = processes.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), processes.len(), "{}", lines(calls));
}
