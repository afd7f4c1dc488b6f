//! The PIN: a wrong one is tried once, one that could be the last is not tried, and the right one helps at once.

use super::*;

stories! {

/// Refused at the start, it is not tried again, nor by a program that is started again.
fn a_wrong_pin_is_tried_once(faulty: &Faulty) {
    faulty.plan(&[Rule::pin("24680", &pin())]);
    let lockout = Some(faulty.dir.join("refused"));
    let config = TokenConfig { lockout, sessions: Some(4), ..config(faulty, "") };
    let error = Token::open(&config).unwrap_err();
    assert!(error.to_string().contains("C_Login returned CKR_PIN_INCORRECT"), "{error}");
    assert_eq!(faulty.count("C_Login"), 1);
    for _ in 0..3 {
        let error = Token::open(&config).unwrap_err();
        assert!(error.to_string().contains("the PIN was not tried"), "{error}");
    }
    assert_eq!(faulty.count("C_Login"), 1);
    // Another one is.
    Token::open(&TokenConfig { pin: PinSource::Given("24680".into()), ..config }).unwrap();
    assert_eq!(faulty.count("C_Login"), 2);
}

/// With one try left none is made, nor with a PIN that is locked; with few left one is.
fn the_last_try_is_not_made(faulty: &Faulty) {
    for (flag, words) in [(Rule::final_try(), "one wrong try is left"), (Rule::locked(), "it is locked")] {
        faulty.plan(&[flag]);
        let error = Token::open(&config(faulty, "")).unwrap_err();
        assert!(error.to_string().contains(&format!("the PIN was not tried: {words}")), "{error}");
    }
    assert_eq!(faulty.count("C_Login"), 0);
    faulty.plan(&[Rule::count_low()]);
    Token::open(&config(faulty, "")).unwrap();
    assert_eq!(faulty.count("C_Login"), 1);
}

/// The flag appears while a token is in use: whoever is logged in goes on, and nobody logs in again.
fn the_last_try_is_not_made_after_a_loss(faulty: &Faulty) {
    let lab = Lab::new(faulty);
    let key = lab.rsa("k");
    for (flag, words) in [(Rule::final_try(), "one wrong try is left"), (Rule::locked(), "it is locked")] {
        faulty.plan(&[flag]);
        sign(&key).unwrap();
        faulty.replug();
        let ((), calls) = lab.calls_of(|| {
            for _ in 0..5 {
                unavailable(sign(&key), &format!("the PIN was not tried: {words}"));
            }
        });
        assert_eq!(count(&calls, "C_Login"), 0, "{}", lines(&calls));
        // The operator has put it right.
        faulty.clear();
        lab.comes_back(&key);
    }
}

/// It is locked while the token is in use: it is not tried again before an operator says that it is unlocked, and
/// then it is the same as before.
fn it_is_locked_and_unlocked(faulty: &Faulty) {
    let lab = Lab::with(faulty, TokenConfig { lockout: Some(faulty.dir.join("refused")), ..config(faulty, "") });
    let key = lab.rsa("k");
    faulty.plan(&[Rule::new("C_Login").returns("CKR_PIN_LOCKED").forever()]);
    faulty.replug();
    let ((), calls) = lab.calls_of(|| {
        unavailable(sign(&key), "C_Login returned CKR_PIN_LOCKED");
        (0..3).for_each(|_| unavailable(sign(&key), "the PIN was not tried: it is locked"));
    });
    assert_eq!(count(&calls, "C_Login"), 1, "{}", lines(&calls));
    unavailable(lab.token.login(None).map_err(KeyError::from), "C_Login returned CKR_PIN_LOCKED");
    faulty.clear();
    unavailable(sign(&key), "the PIN was not tried: it is locked");
    lab.token.login(None).unwrap();
    sign(&key).unwrap();
}

/// It is changed elsewhere: the login of now is good as long as it lasts; then the old PIN is tried once, and the
/// new one helps when it is given.
fn it_is_changed_elsewhere(faulty: &Faulty) {
    let lab = Lab::with(faulty, TokenConfig { sessions: Some(4), ..config(faulty, "") });
    let key = lab.rsa("k");
    faulty.plan(&[Rule::pin("24680", &pin())]);
    let ((), calls) = lab.calls_of(|| {
        (0..8).for_each(|_| sign(&key).unwrap());
        faulty.replug();
        // Workers at once, too.
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| unavailable(sign(&key), "PIN"));
            }
        });
        // Nor is it tried by those who look whether the token is back.
        std::thread::sleep(Duration::from_millis(2500));
        unavailable(open(&key), "the PIN was not tried: the token has refused it before");
        unavailable(lab.token.try_now().map_err(KeyError::from), "the PIN was not tried");
    });
    assert_eq!(count(&calls, "C_Login"), 1, "{}", lines(&calls));

    // Another wrong one is one try more.
    let (done, calls) = lab.calls_of(|| lab.token.login(Some("11111".into())));
    unavailable(done.map_err(KeyError::from), "C_Login returned CKR_PIN_INCORRECT");
    assert_eq!(count(&calls, "C_Login"), 1, "{}", lines(&calls));
    lab.token.login(Some("24680".into())).unwrap();
    sign(&key).unwrap();
    open(&key).unwrap();
    // Also after the next loss.
    faulty.replug();
    sign(&key).unwrap();
}

}
