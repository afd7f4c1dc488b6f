//! Profiles of an operator's own: what they say is done, and what is wrong with them is said with its line.

use super::*;

softhsm_stories! {

/// Keys that a profile says are made elsewhere are not made here, and it is said where.
fn keys_made_elsewhere_are_not_made_here(dir: &Path) {
    let token = Token::open(&with_profile(dir, "[keygen]\nelsewhere = \"ask the vault\"\n")).unwrap();
    assert!(!token.capabilities().can_generate(P256));
    let error = token.generate("mine", P256, SIGN, false).unwrap_err();
    assert!(matches!(error.problem(), Problem::MadeElsewhere { .. }));
    assert_eq!(
        error.to_string(),
        "token \"usbtoken0\": keys of this token are made elsewhere\nhint: ask the vault"
    );
    assert!(token.keys().unwrap().is_empty());
}

/// A PIN that is not taken is told what it consists of.
fn the_form_of_a_pin_is_said(dir: &Path) {
    let open = |pin: &str| {
        let mut config = with_profile(dir, "[login]\npin = \"the user, a colon and the password\"\n");
        config.pin = PinSource::Given(pin.to_owned().into());
        Token::open(&config).map(drop).unwrap_err().to_string()
    };
    for pin in ["wrong-pin", "1"] {
        let error = open(pin);
        assert!(error.ends_with("the PIN is the user, a colon and the password"), "{error}");
    }
}

/// What is wrong with a profile is said with its file and line.
fn the_line_that_is_wrong_is_said(dir: &Path) {
    for (text, what) in [
        ("sessions = 1\n\nthread = 2\n", "line 3: unknown field `thread`"),
        ("[keygen]\nprivate = [\"CKA_TOKEN\"]\n", "line 2: keygen.private lacks CKA_LABEL"),
    ] {
        let path = dir.join("own.toml");
        fs::write(&path, text).unwrap();
        let own = TokenConfig { profile: Some(path.to_str().unwrap().into()), ..config(dir) };
        let error = Token::open(&own).map(drop).unwrap_err().to_string();
        let start = format!("token \"usbtoken0\": profile {}, {what}", path.display());
        assert!(error.starts_with(&start), "{error}");
    }
}

}
