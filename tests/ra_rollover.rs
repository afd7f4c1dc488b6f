//! A root, an RA before it and a device behind that: when the root rolls over, the RA follows and takes the
//! device along. Time is moved, not waited for.

mod support;

use std::path::Path;
use std::time::Duration;

use support::softhsm::own_process;
use support::world::{Host, POLL, World};
use support::{http, until};
use tokenca::node::{RolloverReport, RolloverStatus, TrustedReport};
use tokenca::pki::Certificate;
use tokenca::scep::{self, next_ca};
use tokenca::store::{State, TrustedKind};

#[test]
fn an_ra_takes_its_devices_along() {
    own_process("an_ra_takes_its_devices_along", |dir| {
        let mut pki = Pki::new(dir);
        let before = pki.root.active("root");
        assert_eq!(pki.ra_rollover().status, RolloverStatus::None);
        assert!(!pki.advertises());
        http::get(&pki.ra.address(), "/ra?operation=GetNextCACert", &[]).is(404, "text/plain");

        // The root has a next certificate first; the RA offers it once it has one of its own.
        pki.pass_until("the RA offers it", |pki| pki.ra_rollover().status == RolloverStatus::Available);
        let next = pki.next_of_ra();
        assert!(pki.advertises());
        let offered = pki.offered(&before);
        assert_eq!(offered.signed, std::slice::from_ref(&next.0));
        assert_eq!(offered.beside, [before.clone(), next.1.clone()]);
        assert_eq!(pki.ra_rollover().begins, Some(before.not_after()));
        let shown = pki.ra_rollover();
        assert_eq!(
            shown.fingerprint_sha256,
            pki.root.node().server("root").unwrap().rollover(0).unwrap().fingerprint_sha256
        );

        // It is fetched again after a crash.
        pki.crash_ra();
        pki.pass_until("the RA offers it again", |pki| pki.advertises());
        assert_eq!(pki.next_of_ra(), next);

        pki.pass_until("the device has its next certificate", |pki| pki.own(TrustedKind::NextOwn).is_some());
        let shadow = pki.own(TrustedKind::NextOwn).unwrap();
        shadow.verify_signed_by(next.0.public_key()).unwrap();
        assert_eq!(shadow.not_before(), before.not_after());
        assert_eq!(pki.device(TrustedKind::NextRa), std::slice::from_ref(&next.1));
        assert!(pki.ra_rollover().fetched > 0);
        let asked = pki.ra.node().server("ra").unwrap().requests().unwrap().pop().unwrap();
        assert_eq!((asked.rollover, asked.state), (true, State::Granted));

        pki.world.pass(before.not_after().since(pki.world.now()) + Duration::from_secs(1));
        pki.upkeep();
        assert_eq!(pki.root.active("root"), next.0);
        assert_eq!(pki.ra_rollover().status, RolloverStatus::None);
        assert!(!pki.advertises());
        assert_eq!(pki.own(TrustedKind::Own).unwrap(), shadow);
        assert_eq!(pki.device(TrustedKind::Ra), [next.1]);
        assert_eq!(pki.device(TrustedKind::Ca), [next.0]);
        // From now on as before.
        pki.pass_until("the device has renewed", |pki| pki.own(TrustedKind::Own).unwrap() != shadow);
        pki.own(TrustedKind::Own).unwrap().verify_signed_by(pki.root.active("root").public_key()).unwrap();
    });
}

#[test]
fn what_was_asked_of_the_next_ca_is_asked_of_it_when_it_acts() {
    own_process("what_was_asked_of_the_next_ca_is_asked_of_it_when_it_acts", |dir| {
        let mut pki = Pki::new(dir);
        let before = pki.root.active("root");
        pki.pass_until("the RA offers it", Pki::advertises);
        let next = pki.next_of_ra().0;
        // The device is about to ask, and the root goes away; the RA has the CRL.
        let own = pki.own(TrustedKind::Own).unwrap();
        let life = own.not_after().since(own.not_before());
        let asks = own.not_before().plus(life * 4 / 5);
        pki.world.pass(asks.minus(POLL).since(pki.world.now()));
        pki.upkeep();
        http::get(&pki.ra.address(), "/ra.crl", &[]).is(200, "application/pkix-crl");
        pki.root.crash();
        let row =
            || pki.ra.node().server("ra").unwrap().requests().unwrap().into_iter().find(|row| row.rollover);
        let asked = until("it is on record at the RA", || {
            pki.world.pass(POLL);
            pki.ra.upkeep();
            pki.site.upkeep();
            row()
        });
        assert_eq!(asked.state, State::Authorized);

        pki.world.pass(before.not_after().since(pki.world.now()) + POLL);
        pki.ra.upkeep();
        let ra = certificates(&pki.ra, "ra", TrustedKind::Own).remove(0);
        ra.verify_signed_by(next.public_key()).unwrap();
        pki.world.start(&mut pki.root);
        assert_eq!(pki.root.active("root"), next);
        let issued = until("the root has issued it", || {
            pki.world.pass(POLL);
            pki.ra.upkeep();
            row().filter(|row| row.id == asked.id)?.serial
        });
        let issued = pki.ra.node().server("ra").unwrap().certificate(&issued).unwrap();
        let issued = Certificate::parse(&issued).unwrap();
        issued.verify_signed_by(next.public_key()).unwrap();
        until("the device has it", || {
            pki.world.pass(POLL);
            pki.upkeep();
            [TrustedKind::Own, TrustedKind::NextOwn]
                .iter()
                .any(|kind| pki.device(*kind).contains(&issued))
                .then_some(())
        });
    });
}

/// Who is there.
struct Pki {
    world: World,
    root: Host,
    ra: Host,
    site: Host,
}

impl Pki {
    /// Everybody is enrolled.
    fn new(dir: &Path) -> Self {
        let world = World::new(dir, &["root", "ra", "site"]);
        let root = world.host("root", ROOT);
        let fingerprint = root.fingerprint("root");
        let ra = world.host("ra", &root.below("root", RA));
        until("the RA has asked", || {
            ra.tick();
            root.grant_waiting("root")
        });
        until("the RA is enabled", || {
            world.pass(POLL);
            ra.upkeep();
            ra.is_enabled("ra").then_some(())
        });
        let site = world.host("site", &ra.below("ra", &SITE.replace("FINGERPRINT", &fingerprint)));
        let pki = Self { world, root, ra, site };
        until("the device has its certificate", || {
            pki.world.pass(POLL);
            pki.upkeep();
            pki.own(TrustedKind::Own).map(drop)
        });
        pki
    }

    fn upkeep(&self) {
        for host in [&self.root, &self.ra, &self.site] {
            host.upkeep();
        }
    }

    /// Days pass until it is so.
    fn pass_until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        until(what, || {
            self.world.pass(DAY);
            self.upkeep();
            is_so(self).then_some(())
        });
    }

    fn crash_ra(&mut self) {
        self.ra.crash();
        self.world.start(&mut self.ra);
    }

    fn ra_rollover(&self) -> RolloverReport {
        self.ra.node().server("ra").unwrap().rollover(0).unwrap()
    }

    /// Whether the RA says that GetNextCACert can be asked.
    fn advertises(&self) -> bool {
        let answer = http::get(&self.ra.address(), "/ra?operation=GetCACaps", &[]).is(200, "text/plain");
        String::from_utf8(answer.body).unwrap().contains("GetNextCACert")
    }

    /// What the RA answers to GetNextCACert, signed by this CA.
    fn offered(&self, ca: &Certificate) -> next_ca::NextCa {
        let answer = http::get(&self.ra.address(), "/ra?operation=GetNextCACert", &[]);
        next_ca::decode(&answer.is(200, scep::NEXT_CA_CERT).body, &[ca]).unwrap()
    }

    /// The next CA, and the certificate that it has issued to the RA.
    fn next_of_ra(&self) -> (Certificate, Certificate) {
        let of = |kind| certificates(&self.ra, "ra", kind).remove(0);
        (of(TrustedKind::NextCa), of(TrustedKind::NextOwn))
    }

    fn device(&self, kind: TrustedKind) -> Vec<Certificate> {
        certificates(&self.site, "device", kind)
    }

    fn own(&self, kind: TrustedKind) -> Option<Certificate> {
        self.device(kind).pop()
    }
}

/// What a trustpoint has of this kind.
fn certificates(host: &Host, trustpoint: &str, kind: TrustedKind) -> Vec<Certificate> {
    let report = host.node().trustpoint_reports(Some(trustpoint)).unwrap().remove(0);
    let all = report.authorities.into_iter().chain(report.own);
    all.filter(|one: &TrustedReport| one.kind == kind)
        .map(|one| Certificate::parse(&one.der).unwrap())
        .collect()
}

const ROOT: &str = "\
crypto pki trustpoint root
 rsakeypair root 2048
 on usbtoken0:
crypto pki server root
 issuer-name CN=root, O=Example
 grant ra-auto
 grant auto rollover ra-cert
 lifetime ca-certificate 100
 lifetime certificate 90
 lifetime crl 336
 auto-rollover 40
 no shutdown
";

const RA: &str = "\
crypto pki trustpoint ra
 enrollment url URL
 fingerprint FINGERPRINT
 subject-name CN=ra, OU=ioscs RA, O=Example
 rsakeypair ra 2048
 on usbtoken0:
crypto pki server ra
 mode ra
 grant auto
 lifetime enrollment-request 600
 auto-rollover 30
 no shutdown
";

const SITE: &str = "\
crypto pki trustpoint device
 enrollment url URL
 fingerprint FINGERPRINT
 subject-name CN=device, O=Example
 fqdn none
 rsakeypair device 2048
 on usbtoken0:
 auto-enroll 80 regenerate
";

const DAY: Duration = Duration::from_secs(86_400);
