//! The token fails at one of the three operations of an enrolment: opening the request, signing the certificate,
//! signing the answer. The device is told to come again, and in the end it has one certificate, of which the
//! database knows.

use super::scene::{Scene, Told, renamed};
use super::support::device::Device;
use super::support::strongswan::Strongswan;
use super::*;

/// What goes wrong at a call.
struct Fault {
    name: &'static str,
    rules: fn(Rule) -> Vec<Rule>,
    /// Whether the device notices anything at all.
    noticed: Noticed,
}

#[derive(Clone, Copy, PartialEq)]
enum Noticed {
    No,
    Yes,
    /// By chance, or at some operations only.
    Perhaps,
}

/// The operations, by the call that does each: the first, the first, the second of its sort in an enrolment.
const OPERATIONS: [(&str, u64, &str); 3] =
    [("C_Decrypt", 0, "request"), ("C_Sign", 0, "certificate"), ("C_Sign", 1, "answer")];

/// Each of these faults at each operation.
fn table(token: &[&str], faults: &[Fault]) {
    let scene = Scene::new(token);
    let faulty = scene.ca.faulty();
    let mut device = Device::new("CN=first");
    scene.enrols(&device);
    for fault in faults {
        for (function, after, what) in OPERATIONS {
            let cell = format!("{} at the {what}", fault.name).replace(' ', "-");
            renamed(&mut device, &cell);
            faulty.plan(&(fault.rules)(Rule::new(function).after(after)));
            let told = scene.ask(&device, false);
            match fault.noticed {
                Noticed::No => assert!(told == Told::Issued, "{cell}"),
                Noticed::Yes => assert!(told != Told::Issued, "{cell}"),
                Noticed::Perhaps => {}
            }
            // It comes again too early.
            scene.ask(&device, told == Told::Wait);
            faulty.clear();
            scene.enrols(&device);
            // It has lost the answer and asks once more.
            assert!(scene.ask(&device, false) == Told::Issued, "{cell}");
        }
    }
    scene.ends(1 + 3 * faults.len());
}

#[test]
fn one_failure_is_not_noticed() {
    let fault = |name, rules| Fault { name, rules, noticed: Noticed::No };
    table(
        &[],
        &[
            fault("session", |at| vec![at.returns("CKR_SESSION_HANDLE_INVALID")]),
            fault("closed", |at| vec![at.returns("CKR_SESSION_CLOSED")]),
            fault("login", |at| vec![at.returns("CKR_USER_NOT_LOGGED_IN")]),
            fault("device", |at| vec![at.returns("CKR_DEVICE_ERROR")]),
            fault("general", |at| vec![at.returns("CKR_GENERAL_ERROR")]),
            fault("lost answer", |at| vec![at.returns_after("CKR_DEVICE_ERROR")]),
            fault("poison", |at| vec![Rule::poison(), at.returns("CKR_FUNCTION_FAILED")]),
            fault("stale", |at| vec![at.makes_login_stale()]),
            fault("slow", |at| vec![at.delays(Duration::from_millis(300))]),
        ],
    );
}

#[test]
fn calls_fail_for_a_while() {
    let fault = |name, rules| Fault { name, rules, noticed: Noticed::Yes };
    table(
        &[],
        &[
            fault("session", |at| vec![at.forever().returns("CKR_SESSION_HANDLE_INVALID")]),
            fault("login", |at| vec![at.forever().returns("CKR_USER_NOT_LOGGED_IN")]),
            fault("device", |at| vec![at.forever().returns("CKR_DEVICE_ERROR")]),
            fault("refusal", |at| vec![at.forever().returns("CKR_KEY_FUNCTION_NOT_PERMITTED")]),
            fault("unknown", |at| vec![at.forever().returns("0x80000001")]),
        ],
    );
}

#[test]
fn the_token_is_away() {
    let fault = |name, rules, noticed| Fault { name, rules, noticed };
    table(
        &[],
        &[
            fault("pulled", |at| vec![at.vanishes()], Noticed::Yes),
            fault("moved", |at| vec![at.vanishes(), Rule::slot_offset(5)], Noticed::Yes),
            fault("finalize", |at| vec![at.makes_finalize_needed()], Noticed::Perhaps),
            fault(
                "slow start",
                |at| vec![at.makes_finalize_needed(), Rule::new("C_Initialize").returns("CKR_GENERAL_ERROR")],
                Noticed::Perhaps,
            ),
        ],
    );
}

#[test]
fn the_module_hangs() {
    let fault = |name, rules, noticed| Fault { name, rules, noticed };
    table(
        &[],
        &[
            fault("once", |at| vec![at.hangs()], Noticed::Yes),
            fault("always", |at| vec![at.forever().hangs()], Noticed::Yes),
        ],
    );
}

#[test]
fn answers_are_wrong() {
    let fault = |name, rules| Fault { name, rules, noticed: Noticed::Perhaps };
    let signatures: &[Fault] = &[
        fault("wrong once", |at| sign_only(at, Rule::corrupts)),
        fault("wrong", |at| sign_only(at.forever(), Rule::corrupts)),
        fault("short", |at| sign_only(at.forever(), Rule::shortens)),
    ];
    table(&[], signatures);
}

#[test]
fn an_isolated_module_ends() {
    let fault = |name, rules, noticed| Fault { name, rules, noticed };
    table(
        &["module isolated"],
        &[
            fault("abort", |at| vec![at.aborts()], Noticed::No),
            fault("exit", |at| vec![at.exits(0)], Noticed::No),
            fault("hang", |at| vec![at.hangs()], Noticed::Perhaps),
            fault("aborts", |at| vec![at.forever().aborts()], Noticed::Yes),
        ],
    );
}

/// PENDING is said where it is the truth: the request is on record, and the certificate alone is not signed.
#[test]
fn a_certificate_that_is_not_signed_is_waited_for() {
    let scene = Scene::new(&[]);
    let device = Device::new("CN=waits");
    scene.ca.faulty().plan(&fails_twice());
    assert!(scene.ask(&device, false) == Told::Wait);
    assert!(scene.ask(&device, true) == Told::Issued);
    assert!(scene.ask(&device, false) == Told::Issued);
    scene.ends(1);
}

/// strongSwan's client, which polls when it is told to and otherwise gives up until it is run again.
#[test]
fn strongswan_has_one_certificate() {
    let scene = Scene::new(&[]);
    let faulty = scene.ca.faulty();
    let patient = ["--interval", "1", "--maxpolltime", "60"];
    faulty.plan(&fails_twice());
    let client = Strongswan::named(&scene.ca, "CN=polls", "polls.example.com", None);
    client.enrol("polls", &patient).success();

    for (function, after, what) in OPERATIONS {
        let client = Strongswan::named(&scene.ca, &format!("CN={what}"), "again.example.com", None);
        client.key("again");
        faulty.plan(&[Rule::new(function).after(after).vanishes()]);
        let ran = client.enrol("again", &patient);
        assert_ne!(ran.code, Some(0), "{what}: {ran:?}");
        faulty.clear();
        support::until("the client has its certificate", || {
            (client.enrol("again", &patient).code == Some(0)).then_some(())
        });
    }
    let rows = scene.ca.json("crypto pki server mycs info requests");
    let rows = rows.as_array().expect("a list");
    assert_eq!(rows.len(), 4, "{rows:?}");
    assert!(rows.iter().all(|row| row["state"] == "granted"), "{rows:?}");
}

/// The certificate is not signed, nor at the retry; all else is, the test signature in between too.
fn fails_twice() -> [Rule; 2] {
    [0, 2].map(|after| Rule::new("C_Sign").after(after).returns("CKR_DEVICE_ERROR"))
}

/// A decryption whose answer is wrong is a request that was not for us: that is the device's to hear.
fn sign_only(at: Rule, fault: fn(Rule) -> Rule) -> Vec<Rule> {
    match &at {
        Rule::Call { function, .. } if function.as_deref() == Some("C_Decrypt") => Vec::new(),
        _ => vec![fault(at)],
    }
}
