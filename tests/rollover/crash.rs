//! A rollover is broken off at every step, and goes on from there at the next start.
//!
//! The database refuses the step; nothing is done afterwards but to start anew, as after a crash between the step
//! before and this one.

use rusqlite::Connection;
use tokenca::store::sqlite::Sqlite;
use tokenca::store::{Authority, Phase, Revocation, Role, Store};

use super::*;

stories! {

/// Whatever was reached when it broke off, there is one key and one certificate in the end.
fn making_is_finished_after_a_crash_at_any_step(dir: &Path) {
    let mut lab = Lab::new(dir, &["grant auto", "scep key separate"]);
    for (generation, (step, begun)) in (2..).zip(STEPS) {
        let before = lab.issued();
        lab.refuse(step);
        let failed = lab.server().roll_over();
        let offered = failed.is_ok();
        lab.crash();
        lab.node().tick(lab.now());
        if !begun {
            lab.has_no_next();
            lab.server().roll_over().unwrap_or_else(|error| panic!("{step}: {error}"));
        }
        let next = lab.next();
        let label = format!("mycs#{generation}");
        let mut keys: Vec<_> = lab.keys().into_iter().filter(|key| key.contains('#')).collect();
        keys.sort();
        let expected = ["", ".scep-decrypt", ".scep-sign"].map(|end| format!("usbtoken0:{label}{end}"));
        assert_eq!(keys, expected, "{step} (offered before the crash: {offered})");
        assert_eq!(lab.phase(Phase::Next).len(), 3, "{step}");
        let store = lab.store();
        assert_eq!(store.unfinished("mycs").unwrap(), [], "{step}");
        // One certificate of the CA; one more of an SCEP key where the crash came between it and its authority.
        let made = lab.issued() - before;
        assert!((3..=4).contains(&made), "{step}: {made}");
        let own = store.certificates("mycs", None, 1000).unwrap();
        let roots = own.iter().filter(|c| c.key == next.public_key().fingerprint()).count();
        assert_eq!(roots, 1, "{step}");
        assert_eq!(store.mark("server mycs", "rollover plan").unwrap(), None, "{step}");
        drop(store);
        lab.server().cancel_rollover().unwrap();
        assert!(lab.keys().iter().all(|key| !key.contains('#')), "{step}");
    }
}

/// The change is whole or not there, and what comes after it is made up for.
fn the_change_is_made_after_a_crash_at_any_step(dir: &Path) {
    let mut lab = Lab::new(dir, &["grant auto", "scep key separate", "lifetime ca-certificate 100"]);
    for step in [
        "UPDATE ON authorities WHEN NEW.phase = 'retired'",
        "UPDATE ON authorities WHEN NEW.phase = 'active' AND NEW.role = 'ra-decrypt'",
        "UPDATE ON crls",
    ] {
        lab.server().roll_over().unwrap();
        let (current, next) = (lab.certificates(), lab.next_certificates());
        assert_eq!(lab.phase(Phase::Next).len(), 3);
        lab.refuse(step);
        lab.wait_until(current.ca.not_after());
        let acting = lab.phase(Phase::Active);
        let moved = acting.iter().filter(|a| a.certificate != current.ca.der()).count();
        assert!(lab.phase(Phase::Next).is_empty() || lab.phase(Phase::Next).len() == 3, "{step}: in part");
        lab.crash();
        let now = lab.certificates();
        assert_eq!((&now.ca, &now.decrypter, &now.signer), (&next.ca, &next.decrypter, &next.signer), "{step}");
        assert_eq!(lab.phase(Phase::Active).len(), 3, "{step}: {moved} before");
        assert!(crl::Crl::parse(lab.get(Asked::Crl)).unwrap().verify_signed_by(now.ca.public_key()).is_ok());
        Device::new("CN=dev1, O=Example").enrol(&lab);
    }
}

/// What was taken back stays so, and its keys go, also when nobody was there to delete them.
fn cancelling_is_finished_after_a_crash(dir: &Path) {
    let mut lab = Lab::new(dir, &["grant auto", "auto-rollover 30"]);
    lab.server().roll_over().unwrap();
    let next = lab.next();
    let mut device = Device::new("CN=dev1, O=Example");
    device.enrol(&lab);
    let shadow = device.renew(&lab, &TestKey::new(), &next).certificate();
    lab.refuse("UPDATE ON authorities WHEN NEW.phase = 'discarded'");
    lab.server().cancel_rollover().unwrap_err();
    lab.crash();
    assert_eq!(lab.next(), next);
    assert_eq!(lab.store().record("mycs", shadow.serial()).unwrap().unwrap().revocation, None);

    // Taken back, and the key is left.
    lab.stop();
    lab.store().discard_next("mycs", Revocation { at: lab.now(), reason: 5 }).unwrap();
    lab.start();
    lab.has_no_next();
    assert_eq!(lab.keys(), ["usbtoken0:mycs"]);
    assert!(lab.store().record("mycs", shadow.serial()).unwrap().unwrap().revocation.is_some());
    device.renew(&lab, &TestKey::new(), &lab.ca()).certificate();

    // Given up before there was a certificate.
    lab.refuse("INSERT ON authorities");
    lab.server().roll_over().unwrap_err();
    lab.crash();
    assert_eq!(lab.keys(), ["usbtoken0:mycs", "usbtoken0:mycs#3"]);
    lab.server().cancel_rollover().unwrap();
    assert_eq!(lab.keys(), ["usbtoken0:mycs"]);
    lab.wait(DAY);
    lab.has_no_next();
    assert_eq!(lab.keys(), ["usbtoken0:mycs"]);
}

/// A key is deleted with what was taken back unless something else has it.
fn a_key_that_is_in_use_stays(dir: &Path) {
    let mut lab = Lab::new(dir, &["grant auto"]);
    lab.server().roll_over().unwrap();
    let next = lab.next();
    let discarded = "INSERT INTO authorities (server, role, token, key_label, phase, certificate)
                     SELECT server, role, token, key_label, 'discarded', certificate FROM authorities";
    lab.database().execute_batch(discarded).unwrap();
    lab.start();
    assert_eq!(lab.keys(), ["usbtoken0:mycs", "usbtoken0:mycs#2"]);
    assert_eq!(lab.next(), next);

    // A plan whose end was not noted, of what was taken back while its token was away, is not gone on with.
    let plan = r#"{"token":"usbtoken0","key_label":"mycs#2"}"#;
    let sql = "INSERT INTO marks (scope, name, value) VALUES ('server mycs', 'rollover plan', ?1)";
    lab.database().execute(sql, [plan]).unwrap();
    lab.database().execute_batch("UPDATE authorities SET phase = 'discarded' WHERE phase = 'next'").unwrap();
    lab.start();
    lab.has_no_next();
    lab.database().execute(sql, [plan]).unwrap();
    lab.server().roll_over().unwrap();
    assert_ne!(lab.next().public_key(), next.public_key());
    assert_eq!(lab.keys(), ["usbtoken0:mycs", "usbtoken0:mycs#3"]);
}

/// What was begun for the next CA is finished when its time has come.
fn a_shadow_certificate_is_finished_after_the_change(dir: &Path) {
    let mut lab = Lab::new(dir, &["grant auto", "lifetime ca-certificate 100"]);
    let mut device = Device::new("CN=dev1, O=Example");
    device.enrol(&lab);
    lab.server().roll_over().unwrap();
    let next = lab.next();
    lab.refuse("UPDATE ON certificates WHEN NEW.der IS NOT NULL");
    let new = TestKey::new();
    let message = device.message(MessageType::RenewalReq, &csr("CN=dev1, O=Example", &new), &new, &next);
    let told = lab.ask(Asked::PkiOperation(message)).body;
    assert!(matches!(told, Body::Unavailable { .. }), "{told:?}");
    assert_eq!(lab.store().unfinished("mycs").unwrap().len(), 1);
    lab.stop();
    lab.clock.fetch_add((DAY * 101).as_secs(), Ordering::Relaxed);
    lab.crash();
    assert_eq!(lab.ca(), next);
    let store = lab.store();
    assert_eq!(store.unfinished("mycs").unwrap(), []);
    let last = store.last_serial("mycs").unwrap().unwrap();
    let finished = Certificate::parse(&store.certificate("mycs", &last).unwrap().unwrap().der).unwrap();
    assert_eq!(finished.public_key(), new.public_key());
    assert!(finished.verify_signed_by(next.public_key()).is_ok());
}

}

/// Steps of making a next certificate with keys for SCEP, and whether something was begun before them that
/// goes on by itself.
const STEPS: [(&str, bool); 10] = [
    // 1. The plan.
    ("INSERT ON marks WHEN NEW.name = 'rollover plan'", false),
    // 2. The key is there; serial number and bytes to be signed.
    ("INSERT ON certificates", true),
    // 3. They are noted in the plan.
    ("INSERT ON marks WHEN NEW.value LIKE '%0x%'", true),
    // 4. Signed; the certificate.
    ("UPDATE ON certificates WHEN NEW.der IS NOT NULL", true),
    // 5. The next authority.
    ("INSERT ON authorities WHEN NEW.role = 'ca'", true),
    // 6. The plan is done.
    ("DELETE ON marks WHEN OLD.name = 'rollover plan'", true),
    // 7. The keys for SCEP: bytes to be signed, certificate, authority, each.
    ("INSERT ON certificates WHEN NEW.authority IS NOT NULL", true),
    ("UPDATE ON certificates WHEN NEW.der IS NOT NULL AND NEW.authority IS NOT NULL", true),
    ("INSERT ON authorities WHEN NEW.role = 'ra-sign'", true),
    ("INSERT ON authorities WHEN NEW.role = 'ra-decrypt'", true),
];

impl Lab {
    /// From now on the database refuses this: `UPDATE ON table WHEN …`.
    fn refuse(&self, what: &str) {
        let sql = format!("CREATE TRIGGER refusal BEFORE {what} BEGIN SELECT RAISE(ABORT, 'refused'); END");
        self.database().execute_batch(&sql).expect("a trigger");
    }

    /// Ends the node, and starts it anew on a database that refuses nothing.
    fn crash(&mut self) {
        self.stop();
        self.database().execute_batch("DROP TRIGGER refusal").expect("there is one");
        self.start();
    }

    fn database(&self) -> Connection {
        Connection::open(self.state().join("tokenca.db")).expect("the database")
    }

    fn store(&self) -> Sqlite {
        Sqlite::open(&self.state().join("tokenca.db")).expect("the database")
    }

    fn phase(&self, phase: Phase) -> Vec<Authority> {
        let mut all = self.store().authorities("mycs").expect("authorities");
        all.retain(|authority| authority.phase == phase);
        all.sort_by_key(|authority| authority.role != Role::Ca);
        all
    }

    /// How many certificates were ever issued.
    fn issued(&self) -> usize {
        self.store().certificates("mycs", None, 1000).expect("certificates").len()
    }
}
