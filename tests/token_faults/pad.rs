//! A PIN that is typed at the token's own PIN pad: somebody is asked at the start and by `login`, and never else.

use super::scene::{Scene, Told};
use super::support::device::Device;
use super::*;

stories! {

/// Once for all sessions; and after a loss not before an operator says that he is there.
fn it_is_typed_once(faulty: &Faulty) {
    for apart in [false, true] {
        faulty.plan(&[Rule::pad(Some(&pin()))]);
        let config = if apart { isolated(faulty, "") } else { config(faulty, "") };
        let (lab, calls) = opened(faulty, TokenConfig { sessions: Some(4), ..at_pad(config) });
        assert_eq!(count(&calls, "C_Login"), 1, "{}", lines(&calls));
        let key = lab.rsa(&format!("k{apart}"));
        let ((), calls) = lab.calls_of(|| {
            at_once(|| sign(&key).unwrap());
            open(&key).unwrap();
            faulty.replug();
            at_once(|| unavailable(sign(&key), "it waits for its PIN, which is typed at its PIN pad"));
            unavailable(open(&key), "it waits for its PIN");
        });
        assert_eq!(count(&calls, "C_Login"), 0, "{}", lines(&calls));
        assert!(lab.token.state().logged_out);

        let (done, calls) = lab.calls_of(|| lab.token.login(None));
        done.unwrap();
        assert_eq!(count(&calls, "C_Login"), 1, "{}", lines(&calls));
        assert!(!lab.token.state().logged_out);
        at_once(|| sign(&key).unwrap());
        // Nobody has used his turn: it is over all the same.
        lab.token.login(None).unwrap();
        faulty.replug();
        unavailable(sign(&key), "it waits for its PIN");
    }
}

/// An operation that fails costs its session, but not the login, which would go with the last one.
fn it_outlasts_sessions(faulty: &Faulty) {
    let typed = Rule::pad(Some(&pin()));
    faulty.plan(std::slice::from_ref(&typed));
    let lab = Lab::with(faulty, at_pad(config(faulty, "")));
    let key = lab.rsa("k");
    faulty.plan(&[typed, Rule::poison(), Rule::new("C_Sign").returns("CKR_DEVICE_ERROR")]);
    let ((), calls) = lab.calls_of(|| (0..3).for_each(|_| sign(&key).unwrap()));
    assert_eq!((count(&calls, "C_CloseSession"), count(&calls, "C_Login")), (1, 0), "{}", lines(&calls));
}

/// Nobody comes, or somebody errs: nobody is asked again before an operator is there.
fn it_is_not_typed(faulty: &Faulty) {
    faulty.plan(&[Rule::pad(Some(&pin()))]);
    let lab = Lab::with(faulty, at_pad(config(faulty, "")));
    let key = lab.rsa("k");
    faulty.plan(&[Rule::pad(None)]);
    faulty.replug();
    let typed = pin();
    let fails = |rv| vec![Rule::pad(Some(&typed)), Rule::new("C_Login").returns(rv).forever()];
    for (plan, words) in [
        (vec![Rule::pad(None)], "no PIN was typed at its PIN pad: C_Login returned CKR_FUNCTION_CANCELED"),
        (vec![Rule::pad(Some("11111"))], "C_Login returned CKR_PIN_INCORRECT"),
        // Some say no more than that; or it was pulled meanwhile.
        (fails("CKR_GENERAL_ERROR"), "no PIN was typed at its PIN pad: C_Login returned CKR_GENERAL_ERROR"),
        (fails("CKR_DEVICE_REMOVED"), "no PIN was typed at its PIN pad: C_Login returned CKR_DEVICE_REMOVED"),
    ] {
        faulty.plan(&plan);
        let ((), calls) = lab.calls_of(|| {
            unavailable(lab.token.login(None).map_err(KeyError::from), words);
            (0..3).for_each(|_| unavailable(sign(&key), "it waits for its PIN"));
        });
        assert_eq!(count(&calls, "C_Login"), 1, "{}", lines(&calls));
    }
    faulty.plan(&[Rule::pad(Some(&pin()))]);
    lab.token.login(None).unwrap();
    sign(&key).unwrap();

    // At the start; which is tried again and again, but asks once.
    for plan in [vec![Rule::pad(None)], fails("CKR_GENERAL_ERROR")] {
        faulty.plan(&plan);
        faulty.replug();
        let config = at_pad(config(faulty, ""));
        let ((), calls) = lab.calls_of(|| {
            for words in ["no PIN was typed at its PIN pad", "it waits for its PIN", "it waits for its PIN"] {
                let error = Token::open(&config).unwrap_err().to_string();
                assert!(error.contains(words), "{error}");
            }
        });
        assert_eq!(count(&calls, "C_Login"), 1, "{}", lines(&calls));
        faulty.clear();
        faulty.plan(&[Rule::pad(Some(&typed))]);
        Token::open_with(&config, None).unwrap();
    }
}

/// No PIN is an empty one for a token without a pad: it is not tried.
fn there_is_no_pad(faulty: &Faulty) {
    let error = Token::open(&at_pad(config(faulty, ""))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "token \"usbtoken0\": it says that it has no PIN pad\n\
         hint: say `user-pin file PATH`, or another place that the PIN comes from"
    );
    assert_eq!(faulty.count("C_Login"), 0);
}

/// The last try is for an operator who knows what he does, and none is left for anybody.
fn few_tries_are_left(faulty: &Faulty) {
    faulty.plan(&[Rule::pad(Some(&pin()))]);
    let lab = Lab::with(faulty, at_pad(config(faulty, "")));
    let key = lab.rsa("k");
    faulty.plan(&[Rule::pad(Some(&pin())), Rule::final_try()]);
    faulty.replug();
    let ((), calls) = lab.calls_of(|| {
        let error = Token::open(&at_pad(config(faulty, ""))).unwrap_err();
        assert!(error.to_string().contains("one wrong try is left"), "{error}");
    });
    assert_eq!(count(&calls, "C_Login"), 0, "{}", lines(&calls));
    lab.token.login(None).unwrap();
    sign(&key).unwrap();
    faulty.plan(&[Rule::pad(Some(&pin())), Rule::locked()]);
    faulty.replug();
    let ((), calls) = lab.calls_of(|| {
        unavailable(lab.token.login(None).map_err(KeyError::from), "the PIN was not tried: it is locked");
    });
    assert_eq!(count(&calls, "C_Login"), 0, "{}", lines(&calls));
}

/// Somebody takes his time, longer than calls may take else. Nobody else is kept meanwhile.
fn it_is_typed_slowly(faulty: &Faulty) {
    for apart in [false, true] {
        let slow = Rule::new("C_Login").delays(Duration::from_secs(4));
        faulty.plan(&[Rule::pad(Some(&pin())), slow.clone()]);
        let config = if apart { isolated(faulty, "timeout = 2") } else { config(faulty, "timeout = 2") };
        let lab = Lab::with(faulty, TokenConfig { sessions: Some(2), ..at_pad(config) });
        let key = lab.rsa(&format!("k{apart}"));
        faulty.plan(&[Rule::pad(Some(&pin())), Rule::new("C_Login").hangs()]);
        let hanging = || faulty.calls().iter().filter(|call| call.rv == "HANG").count();
        let before = hanging();
        faulty.replug();
        std::thread::scope(|scope| {
            let login = scope.spawn(|| lab.token.login(None));
            support::until("somebody is asked", || (hanging() > before).then_some(()));
            // Who asks meanwhile has not the operator's turn, nor does he wait for him.
            let started = Instant::now();
            unavailable(sign(&key), "it waits for its PIN");
            assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
            faulty.plan(&[Rule::pad(Some(&pin()))]);
            login.join().unwrap().unwrap();
        });
        sign(&key).unwrap();
        assert_eq!(lab.token.counters().hangs, 0);
    }
}

/// A key that wants the PIN for each use: somebody types it each time.
fn it_is_typed_for_each_use(faulty: &Faulty) {
    for apart in [false, true] {
        let (always, typed) = (Rule::always_authenticate(true), Rule::pad(Some(&pin())));
        faulty.plan(&[always.clone(), typed.clone()]);
        let config = if apart { isolated(faulty, "timeout = 2") } else { config(faulty, "timeout = 2") };
        let lab = Lab::with(faulty, at_pad(config));
        let key = lab.rsa(&format!("k{apart}"));
        let slow = Rule::new("C_Login").delays(Duration::from_secs(3));
        faulty.plan(&[always.clone(), typed.clone(), slow]);
        for operation in [sign as fn(&TokenKey) -> _, open] {
            let (done, calls) = lab.calls_of(|| operation(&key));
            done.unwrap();
            assert_eq!(count(&calls, "C_Login"), 1, "{}", lines(&calls));
        }
        // In vain: nobody is asked for the next one.
        faulty.plan(&[always.clone(), Rule::pad(None)]);
        unavailable(sign(&key), "no PIN was typed");
        let ((), calls) = lab.calls_of(|| unavailable(sign(&key), "it waits for its PIN"));
        assert_eq!(count(&calls, "C_Login"), 0, "{}", lines(&calls));
        faulty.plan(&[always, typed]);
        lab.token.login(None).unwrap();
        sign(&key).unwrap();
        assert_eq!(lab.token.counters().hangs, 0);
    }
}

}

/// A server: devices wait while its token does.
#[test]
fn a_server_waits_for_who_types() {
    let scene = Scene::new(&[]);
    let (ca, faulty) = (&scene.ca, scene.ca.faulty());
    faulty.plan(&[Rule::pad(Some(&ca.token().pin))]);
    ca.configure("crypto pki token usbtoken0\n user-pin pin-pad\n");
    scene.enrols(&Device::new("CN=first"));
    let shown = ca.exec("show crypto pki token");
    assert!(shown.contains("  PIN source: pin-pad\n") && shown.contains("  PIN pad: yes\n"), "{shown}");

    faulty.replug();
    let device = Device::new("CN=second");
    assert!(scene.ask(&device, false) == Told::Again);
    let shown = ca.exec("show crypto pki token");
    assert!(shown.contains("it waits for its PIN, which is typed at its PIN pad"), "{shown}");
    ca.typed("crypto pki token usbtoken0 change-pin", "").says("with the program of the token's maker");
    let said = ca.exec("crypto pki token usbtoken0 login");
    assert!(said.contains("% Type the PIN at the PIN pad of token \"usbtoken0\" when it asks"), "{said}");
    scene.enrols(&device);
    scene.ends(2);
}

/// The PIN is typed at the token.
fn at_pad(config: TokenConfig) -> TokenConfig {
    TokenConfig { pin: PinSource::PinPad, ..config }
}

fn opened(faulty: &Faulty, config: TokenConfig) -> (Lab<'_>, Vec<Call>) {
    let before = faulty.calls().len();
    let lab = Lab::with(faulty, config);
    (lab, faulty.calls().split_off(before))
}

fn at_once(action: impl Fn() + Sync) {
    std::thread::scope(|scope| (0..8).for_each(|_| _ = scope.spawn(&action)));
}
