//! What a token answers is not believed: wrong signatures do not leave, and forms of others are read.

use super::*;

stories! {

/// A wrong signature is thrown away, and the token is asked once more.
fn a_wrong_signature_does_not_leave(faulty: &Faulty) {
    let lab = Lab::new(faulty);
    for (number, key) in [lab.rsa("rsa"), lab.ec("ec")].into_iter().enumerate() {
        let wrong = || lab.token.counters().wrong_signatures;
        let before = wrong();
        faulty.plan(&[Rule::new("C_Sign").corrupts()]);
        let (done, calls) = lab.calls_of(|| sign(&key));
        done.unwrap();
        assert_eq!((count(&calls, "C_Sign"), wrong()), (3, before + 1), "{}", lines(&calls));

        // The test signature is good, and that of the retry is not.
        faulty.plan(&[Rule::new("C_Sign").corrupts(), Rule::new("C_Sign").after(2).corrupts()]);
        let (done, calls) = lab.calls_of(|| sign(&key));
        unavailable(done, "made a signature that does not verify");
        assert_eq!((count(&calls, "C_Sign"), wrong()), (3, before + 3), "{}", lines(&calls));
        sign(&key).unwrap();

        // All are wrong: not even a new login helps, and the operation is not tried again.
        faulty.plan(&[Rule::new("C_Sign").forever().corrupts()]);
        let (done, calls) = lab.calls_of(|| sign(&key));
        unavailable(done, "made a signature that does not verify");
        assert_eq!((count(&calls, "C_Sign"), wrong()), (3, before + 6), "{}", lines(&calls));
        assert_eq!(count(&calls, "C_Finalize"), 0, "{}", lines(&calls));
        faulty.clear();
        sign(&key).unwrap();
        assert_eq!(lab.token.counters().wrong_signatures, 6 * (number as u64 + 1));
    }
    let noted = lab.token.state().events;
    assert!(noted.iter().any(|event| event.what == "a signature of \"ec\" did not verify"), "{noted:?}");
}

/// An answer of the wrong length is none.
fn a_short_answer_is_none(faulty: &Faulty) {
    let lab = Lab::new(faulty);
    for key in [lab.rsa("rsa"), lab.ec("ec")] {
        faulty.plan(&[Rule::new("C_Sign").shortens()]);
        match sign(&key) {
            // It may have been tried again.
            Ok(()) => {}
            failed => unavailable(failed, "C_Sign returned "),
        }
        sign(&key).unwrap();
    }
    // A key in it that is one octet off is as one that was not for us: a random one, and not told.
    let key = lab.token.key("rsa").unwrap();
    faulty.plan(&[Rule::new("C_Decrypt").shortens()]);
    let wrapped = key.public_key().encrypt(KeyTransport::Pkcs1v15, CONTENT_KEY).unwrap();
    let opened = key.unwrap_key(KeyTransport::Pkcs1v15, &wrapped, CONTENT_KEY.len()).unwrap();
    assert_ne!(*opened, CONTENT_KEY);
    open(&key).unwrap();
}

/// A slow token is waited for.
fn a_slow_token_is_waited_for(faulty: &Faulty) {
    let lab = Lab::new(faulty);
    let key = lab.rsa("k");
    faulty.plan(&[
        Rule::new("C_Sign").delays(Duration::from_millis(700)),
        Rule::new("C_Decrypt").delays(Duration::from_millis(700)),
    ]);
    let started = Instant::now();
    sign(&key).unwrap();
    open(&key).unwrap();
    assert!(started.elapsed() >= Duration::from_millis(1400));
    assert_eq!(lab.token.counters().hangs, 0);
}

/// ECDSA signatures as X9.62 SEQUENCEs and points without a wrapping, where the profile says so and where it
/// leaves it open.
fn forms_of_others_are_read(faulty: &Faulty) {
    faulty.plan(&[Rule::x962(), Rule::raw_ec_point()]);
    let others = "ecdsa_signature = \"x962\"\nec_point = \"raw\"";
    for (number, format) in ["", others].into_iter().enumerate() {
        let profile = format!("[format]\n{format}\n");
        let lab = Lab::with(faulty, config(faulty, &profile));
        let kinds = [P256, KeyKind::Ec(Curve::P384), KeyKind::Ec(Curve::P521)];
        for kind in kinds {
            let key = lab.token.generate(&format!("{number} {kind}"), kind, SIGN, false).unwrap();
            // Each has another length now and then.
            (0..20).for_each(|_| sign(&key).unwrap());
        }
        assert_eq!(lab.token.keys().unwrap().len(), 3 * (number + 1));
        assert_eq!(lab.token.counters().wrong_signatures, 0);
    }
    // Where the standard's form is said, nothing else is taken for it.
    let lab = Lab::with(faulty, config(faulty, "[format]\necdsa_signature = \"rs\"\nec_point = \"raw\"\n"));
    unavailable(sign(&lab.token.key("0 EC P-256").unwrap()), "C_Sign returned ");
}

}
