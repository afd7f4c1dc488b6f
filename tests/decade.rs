//! Ten years of a root, a CA below it, an RA below that and ten devices, in which nobody but the clock does
//! anything: certificates are renewed, CAs roll over, hosts crash while they do, and at every point each device's
//! chain is good to OpenSSL at that time.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use support::opinion::openssl;
use support::softhsm::own_process;
use support::world::{Host, POLL, World};
use support::{Ran, http, until};
use tokenca::pki::Certificate;

#[test]
fn ten_years_without_hands() {
    own_process("ten_years_without_hands", |dir| {
        let mut pki = Pki::founded(World::new(dir, &["root", "sub", "ra", "site"]));
        let begun = pki.world.now();
        let mut seen = Seen::default();
        while pki.world.now() < begun.plus(YEAR * 10) {
            if pki.revoked.is_empty() && pki.world.now() > begun.plus(YEAR * 3) {
                pki.revoke("d7");
            }
            pki.step(&mut seen);
        }
        assert!(seen.of("root") >= 3 && seen.of("sub") >= 3 && seen.of("ra") >= 3, "{seen:?}");
        for device in devices().filter(|device| device != "d7") {
            assert!(seen.of(&device) >= 10, "{device} in {seen:?}");
        }
    });
}

/// Who is there.
struct Pki {
    world: World,
    root: Host,
    sub: Host,
    ra: Host,
    /// The devices: each a trustpoint.
    site: Host,
    revoked: BTreeSet<String>,
    /// What OpenSSL was asked about last.
    asked: BTreeMap<String, Vec<u8>>,
    papers: PathBuf,
    steps: u32,
}

/// Certificates that each party has had, by their serial numbers.
#[derive(Debug, Default)]
struct Seen(BTreeMap<String, BTreeSet<Vec<u8>>>);

impl Seen {
    fn note(&mut self, who: &str, certificate: &Certificate) {
        self.0.entry(who.to_owned()).or_default().insert(certificate.der().to_vec());
    }

    fn of(&self, who: &str) -> usize {
        self.0.get(who).map_or(0, BTreeSet::len)
    }
}

impl Pki {
    /// Everybody is enrolled: the CA below and the RA granted by hand, as the first time always is.
    fn founded(world: World) -> Self {
        let root = world.host("root", ROOT);
        let sub = world.host("sub", &root.below("root", SUB));
        let granted = until("the CA below has asked", || {
            sub.tick();
            root.grant_waiting("root")
        });
        assert_eq!(granted, 1);
        until("the CA below is enabled", || {
            world.pass(POLL);
            sub.upkeep();
            sub.is_enabled("sub").then_some(())
        });
        let ra = world.host("ra", &sub.below("sub", RA));
        until("the RA has asked", || {
            ra.tick();
            sub.grant_waiting("sub")
        });
        until("the RA is enabled", || {
            world.pass(POLL);
            ra.upkeep();
            ra.is_enabled("ra").then_some(())
        });
        let mut lines = String::new();
        for device in devices() {
            let regenerate = if device.ends_with(['0', '2', '4', '6', '8']) { " regenerate" } else { "" };
            let fingerprint = sub.fingerprint("sub");
            write!(
                lines,
                "crypto pki trustpoint {device}\n enrollment url {url}/ra\n fingerprint {fingerprint}\n \
                 subject-name CN={device}, O=Example\n fqdn none\n rsakeypair {device} 2048\n on usbtoken0:\n \
                 auto-enroll 80{regenerate}\n",
                url = ra.url(),
            )
            .unwrap();
        }
        let site = world.host("site", &lines);
        let papers = site.state().join("papers");
        fs::create_dir(&papers).unwrap();
        let (revoked, asked) = Default::default();
        let pki = Self { world, root, sub, ra, site, revoked, asked, papers, steps: 0 };
        until("every device has its certificate", || {
            pki.world.pass(POLL);
            pki.upkeep();
            devices().all(|device| pki.chain_of(&device).is_some()).then_some(())
        });
        pki
    }

    /// Some days pass.
    fn step(&mut self, seen: &mut Seen) {
        self.steps += 1;
        self.world.pass(STEP);
        self.upkeep();
        for (host, label) in [(&self.root, "root"), (&self.sub, "sub")] {
            seen.note(label, &host.active(label));
        }
        if let Some(chain) = own_chain(&self.ra, "ra") {
            seen.note("ra", &chain[0]);
        }
        for device in devices() {
            if let Some(chain) = self.chain_of(&device) {
                seen.note(&device, &chain[0]);
            }
        }
        self.verify();
        self.crash_some();
    }

    /// What everybody does by himself.
    fn upkeep(&self) {
        for host in [&self.root, &self.sub, &self.ra, &self.site] {
            host.upkeep();
        }
    }

    /// Certificates of a device, its own first, then those of CAs.
    fn chain_of(&self, device: &str) -> Option<Vec<Certificate>> {
        own_chain(&self.site, device)
    }

    /// The chains of all devices are good now to OpenSSL, which has the CRLs: asked where anything is new
    /// since it was asked, or a month has passed.
    fn verify(&mut self) {
        let mut by_chain: BTreeMap<Vec<Vec<u8>>, Vec<(String, Certificate)>> = BTreeMap::new();
        for device in devices().filter(|device| !self.revoked.contains(device)) {
            let chain = self.chain_of(&device).unwrap_or_else(|| panic!("{device} has nothing"));
            let above = chain[1..].iter().map(|ca| ca.der().to_vec()).collect();
            by_chain.entry(above).or_default().push((device, chain[0].clone()));
        }
        for (above, certificates) in by_chain {
            let monthly = self.steps.is_multiple_of(6);
            let is_new = |(device, own): &&(String, Certificate)| {
                let whole = [own.der(), &above.concat()].concat();
                self.asked.get(device) != Some(&whole)
            };
            if !monthly && !certificates.iter().any(|c| is_new(&c)) {
                continue;
            }
            let files =
                certificates.iter().map(|(device, own)| self.write(device, &[own])).collect::<Vec<_>>();
            let chain = above.iter().map(|der| Certificate::parse(der).unwrap()).collect::<Vec<_>>();
            let chain = [vec![certificates[0].1.clone()], chain].concat();
            let ran = self.openssl(&chain, &files);
            assert!(ran.code == Some(0), "{}\n{}{}\n{}", self.state(), ran.stdout, ran.stderr, self.state());
            assert_eq!(ran.stdout.matches(": OK").count(), files.len(), "{ran:?}");
            for (device, own) in certificates {
                self.asked.insert(device, [own.der(), &above.concat()].concat());
            }
        }
    }

    /// Who says what, for whoever has to find out what went wrong.
    fn state(&self) -> String {
        let mut text = format!("step {}, {}\n", self.steps, self.world.now());
        for (host, label) in
            [(&self.root, "root"), (&self.sub, "sub"), (&self.ra, "ra"), (&self.site, "site")]
        {
            if let Ok(server) = host.node().server(label) {
                writeln!(text, "{label}: {:#?}", server.report()).unwrap();
                let rows = server.requests().unwrap_or_default();
                rows.iter().rev().take(3).for_each(|row| writeln!(text, "  {row:?}").unwrap());
            }
            let reports = host.node().trustpoint_reports(None).unwrap_or_default();
            reports.iter().take(2).for_each(|report| writeln!(text, "{report:#?}").unwrap());
        }
        text
    }

    /// OpenSSL's opinion at this time on certificates in files, that are all from the CA of `chain`.
    fn openssl(&self, chain: &[Certificate], files: &[PathBuf]) -> Ran {
        let (root, between) = chain[1..].split_last().expect("a root");
        assert!(root.is_self_issued(), "{chain:?} ends below a root");
        let crls = self.papers.join("crls.pem");
        fs::write(&crls, self.crls()).unwrap();
        let anchor = self.write("anchor", &[root]);
        let between = self.write("between", &between.iter().collect::<Vec<_>>());
        let time = self.world.now().unix().to_string();
        let mut args = vec!["verify", "-x509_strict", "-crl_check_all", "-attime", &time];
        let text = |path: &PathBuf| path.display().to_string();
        let (crls, anchor, between) = (text(&crls), text(&anchor), text(&between));
        args.extend(["-CRLfile", &crls, "-CAfile", &anchor, "-untrusted", &between]);
        let files: Vec<_> = files.iter().map(text).collect();
        args.extend(files.iter().map(String::as_str));
        openssl(&args)
    }

    /// The CRLs of the CAs, PEM.
    fn crls(&self) -> String {
        let mut all = String::new();
        for (host, path) in [(&self.sub, "/sub.crl"), (&self.root, "/root.crl")] {
            let crl = http::get(&host.address(), path, &[]).is(200, "application/pkix-crl").body;
            all += &pem("X509 CRL", &crl);
        }
        all
    }

    fn write(&self, name: &str, certificates: &[&Certificate]) -> PathBuf {
        let file = self.papers.join(format!("{name}.pem"));
        let text: String = certificates.iter().map(|c| pem("CERTIFICATE", c.der())).collect();
        fs::write(&file, text).unwrap();
        file
    }

    /// CAs crash on the days around a rollover of theirs; others now and then.
    fn crash_some(&mut self) {
        let now = self.world.now();
        let near = |host: &Host, label: &str| {
            let certificate = host.active(label);
            let age = now.since(certificate.not_before());
            let left = certificate.not_after().since(now);
            // It begins, it ends, the next one is made.
            age < STEP * 2 || left < STEP * 2 || OVERLAPS.iter().any(|at| left < *at && left + STEP * 2 > *at)
        };
        for (host, label) in [(&mut self.root, "root"), (&mut self.sub, "sub")] {
            if near(host, label) {
                host.crash();
                self.world.start(host);
            }
        }
        let host = if self.steps.is_multiple_of(2) { &mut self.ra } else { &mut self.site };
        if self.steps.is_multiple_of(15) {
            host.crash();
            self.world.start(host);
        }
    }

    fn revoke(&mut self, device: &str) {
        let chain = self.chain_of(device).expect("it has a certificate");
        let server = self.sub.node().server("sub").unwrap();
        server.revoke(chain[0].serial(), 1).unwrap();
        self.revoked.insert(device.to_owned());
        let file = self.write(device, &[&chain[0]]);
        self.openssl(&chain, &[file]).exited(2).says("certificate revoked");
    }
}

/// Certificates of a trustpoint: its own, then those of CAs upwards.
fn own_chain(host: &Host, trustpoint: &str) -> Option<Vec<Certificate>> {
    let holdings = host.node().holdings(trustpoint).ok()?;
    let own = Certificate::parse(&holdings.pairs.first()?.certificate.clone()?).unwrap();
    let cas: Vec<_> = holdings.authorities.iter().map(|der| Certificate::parse(der).unwrap()).collect();
    let mut chain = vec![own];
    loop {
        let last = chain.last().expect("its own");
        let above = cas.iter().find(|ca| {
            ca.subject_raw() == last.issuer_raw() && last.verify_signed_by(ca.public_key()).is_ok()
        });
        match above {
            Some(above) if !last.is_self_issued() => chain.push(above.clone()),
            _ => return Some(chain),
        }
    }
}

fn devices() -> impl Iterator<Item = String> {
    (0..10).map(|n| format!("d{n}"))
}

fn pem(label: &str, der: &[u8]) -> String {
    der::pem::encode_string(label, der::pem::LineEnding::LF, der).unwrap()
}

const ROOT: &str = "\
crypto pki trustpoint root
 rsakeypair root 2048
 on usbtoken0:
crypto pki server root
 issuer-name CN=root, O=Example
 database level minimum
 grant auto rollover ca-cert
 lifetime ca-certificate 1460
 lifetime certificate 1095
 lifetime crl 336
 auto-rollover 120
 no shutdown
";

const SUB: &str = "\
crypto pki trustpoint sub
 enrollment url URL
 fingerprint FINGERPRINT
 rsakeypair sub 2048
 on usbtoken0:
crypto pki server sub
 issuer-name CN=sub, O=Example
 database level minimum
 mode sub-cs
 grant ra-auto
 grant auto rollover ra-cert
 lifetime certificate 365
 lifetime crl 336
 auto-rollover 90
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
 database level minimum
 mode ra
 grant auto
 auto-rollover 60
 no shutdown
";

/// Less than what is left of a CRL when the next one is due, a quarter of 14 days.
const STEP: Duration = Duration::from_secs(3 * 86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);
/// `auto-rollover` of the CAs.
const OVERLAPS: [Duration; 2] = [Duration::from_secs(120 * 86_400), Duration::from_secs(90 * 86_400)];
