//! What operators do with a token: PINs that they give and change, and trials.

use tokenca::token::{Caution, TrialKeys};

use super::*;

softhsm_stories! {

/// After so many refusals in a row only an operator's PIN is tried.
fn only_an_operator_is_believed_after_many_refusals(dir: &Path) {
    let lockout = dir.join("refused-pins");
    let with = |pin: &str| TokenConfig {
        pin: PinSource::Given(SecretString::from(pin)),
        lockout: Some(lockout.clone()),
        caution: Caution { max_refused: Some(2), removal: None },
        ..config(dir)
    };
    for wrong in ["11111", "22222"] {
        assert!(matches!(Token::open(&with(wrong)).unwrap_err().problem(), Problem::Call(_)));
    }
    let error = Token::open(&with(pin())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "token \"usbtoken0\": the PIN was not tried: the token has refused 2 in a row\n\
         hint: `crypto pki token usbtoken0 login PIN` (\"max-retries\")"
    );
    // One that was refused is not tried for an operator either.
    let error = Token::open_with(&with(pin()), Some("11111".into())).unwrap_err();
    assert!(matches!(error.problem(), Problem::PinRefused { .. }), "{error}");
    Token::open_with(&with(pin()), Some(pin().to_owned().into())).unwrap();
    Token::open(&with(pin())).unwrap();
}

/// The PIN is changed on the token and in its file; what a crash leaves in between is found out.
fn a_pin_is_changed_with_its_file(dir: &Path) {
    let (file, new) = (dir.join("user-pin"), dir.join("user-pin.new"));
    fs::write(&file, format!("{}\n", pin())).unwrap();
    let config = TokenConfig { pin: PinSource::File(file.clone()), ..config(dir) };
    let token = Token::open(&config).unwrap();
    let key = token.generate("k", P256, SIGN, false).unwrap();
    assert!(token.change_pin("24680".into()).unwrap());
    assert_eq!(fs::read_to_string(&file).unwrap(), "24680\n");
    assert!(!new.exists());
    signs(&key);
    // A refusal leaves everything.
    assert!(token.change_pin("1".into()).is_err());
    assert_eq!(fs::read_to_string(&file).unwrap(), "24680\n");
    assert!(!new.exists());

    // As if the power had failed between C_SetPIN and the new name.
    assert!(token.change_pin("86420".into()).unwrap());
    fs::rename(&file, &new).unwrap();
    fs::write(&file, "24680\n").unwrap();
    token.logout().unwrap();
    assert!(token.login(None).is_err(), "the old PIN, once");
    token.login(None).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "86420\n");
    assert!(!new.exists());
    signs(&key);
    drop((key, token));
    // Elsewhere it is for somebody to bring there.
    let given = TokenConfig { pin: PinSource::Given("86420".into()), ..config };
    assert!(!Token::open(&given).unwrap().change_pin(pin().into()).unwrap());
}

/// A trial finds what the token does, and leaves nothing.
fn a_trial_leaves_nothing(dir: &Path) {
    let token = Token::open(&config(dir)).unwrap();
    let count = || (token.keys().unwrap().len(), token.files().unwrap().len(), token.certificates().unwrap().len());
    let before = count();
    let trial = token.trial(TrialKeys::New).unwrap();
    assert_eq!(count(), before);
    assert!(trial.left.is_empty(), "{:?}", trial.left);
    assert_eq!(trial.keys.len(), 6);
    assert!(trial.keys.iter().all(|key| key.signatures.iter().all(|signature| signature.works())));
    assert!(trial.configuration.is_empty(), "{:?}", trial.configuration);
}

}
