//! Many threads sign and decrypt while faults come and go: what comes is right, and in the end all is well.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;

stories! {

/// In this process.
fn in_this_process(faulty: &Faulty) {
    let faults = [faults(), vec![Rule::new("C_Sign").after(5).hangs()]].concat();
    under_load(&Lab::with(faulty, TokenConfig { sessions: Some(4), ..config(faulty, "timeout = 2\n") }), &faults);
}

/// In a process of its own, which ends now and then too.
fn in_a_process_of_its_own(faulty: &Faulty) {
    let ends = [Rule::new("C_Sign").after(5).aborts(), Rule::new("C_DecryptInit").after(5).exits(3)];
    // Pulling the token closes the sessions of SoftHSM while others use them, which it does not always survive.
    let pulled =
        [Rule::vanish(), Rule::slot_offset(3), Rule::new("C_Sign").after(3).vanishes()];
    let faults = [&faults()[..], &pulled, &ends].concat();
    under_load(&Lab::with(faulty, TokenConfig { sessions: Some(4), ..isolated(faulty, "timeout = 4\n") }), &faults);
}

}

/// Each of these stands for a moment, and then nothing does.
fn faults() -> Vec<Rule> {
    vec![
        Rule::new("C_Sign").after(3).times(5).returns("CKR_SESSION_HANDLE_INVALID"),
        Rule::new("C_SignInit").after(3).times(5).returns("CKR_USER_NOT_LOGGED_IN"),
        Rule::new("C_Sign").after(3).times(5).returns("CKR_USER_NOT_LOGGED_IN"),
        Rule::new("C_Decrypt").after(3).times(5).returns("CKR_DEVICE_ERROR"),
        Rule::new("C_Sign").forever().returns("CKR_GENERAL_ERROR"),
        Rule::new("C_Sign").after(3).times(20).corrupts(),
        Rule::new("C_Sign").after(3).times(20).shortens(),
        Rule::new("*").after(20).times(30).returns("CKR_DEVICE_ERROR"),
        Rule::new("C_OpenSession").forever().returns("CKR_SESSION_COUNT"),
        Rule::new("C_FindObjects").times(5).returns("CKR_HOST_MEMORY"),
        Rule::stale_login(),
        Rule::new("C_SignInit").after(3).makes_login_stale(),
        Rule::need_finalize(),
        Rule::new("C_Decrypt").after(3).makes_finalize_needed(),
        Rule::new("C_SignInit").after(5).times(10).delays(Duration::from_millis(50)),
    ]
}

fn under_load(lab: &Lab, faults: &[Rule]) {
    let faulty = lab.faulty;
    faulty.plan(&[Rule::odd_handles()]);
    let keys = [lab.rsa("one"), lab.ec("two"), lab.ec("three"), lab.rsa("four")];
    // The list would be long.
    faulty.trace(false);
    let (over, done, failed) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (key, over, done, failed) = (&keys[number % 4], &over, &done, &failed);
            let decrypts = number == 0 || number == 3;
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    match if decrypts { open(key) } else { sign(key) } {
                        Ok(()) => done.fetch_add(1, Ordering::Relaxed),
                        Err(error) => {
                            assert_ne!(error.kind, KeyErrorKind::Refused, "{error:?}");
                            // As a caller who is told to come again.
                            std::thread::sleep(Duration::from_millis(5));
                            failed.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                }
            });
        }
        for fault in faults {
            faulty.plan(&[Rule::odd_handles(), fault.clone()]);
            std::thread::sleep(Duration::from_millis(150));
            faulty.plan(&[Rule::odd_handles()]);
            // That tokens come back by themselves is another story, which takes longer.
            support::until("the token is back", || lab.token.try_now().ok());
            let done_before = done.load(Ordering::Relaxed);
            support::until("the others go on", || {
                (done.load(Ordering::Relaxed) > done_before + 20).then_some(())
            });
        }
        over.store(true, Ordering::Relaxed);
    });
    keys.iter().for_each(|key| lab.comes_back(key));
    for key in &keys {
        for _ in 0..8 {
            sign(key).unwrap();
        }
    }
    open(&keys[0]).unwrap();
    open(&keys[3]).unwrap();
    let state = lab.token.state();
    println!("{done:?} done, {failed:?} failed, {:?}, {} outages", lab.token.counters(), state.outages);
    assert!(lab.token.counters().sessions > 0 && state.outages > 0);
}
