//! HTTPS with a key on the token: what clients see of it, what it survives, what it does without its token.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use support::device::Device;
use support::opinion::{Opinion, key_on_token, openssl, pkcs11_tool};
use support::softhsm::{plug, unplug};
use support::{Ca, Ran, http, run, until};

/// A server with HTTPS beside HTTP, and its certificate in a file.
struct Scene {
    ca: Ca,
    dir: tempfile::TempDir,
}

impl Scene {
    fn new(lines: &str) -> Self {
        let text = Ca::configuration("rsakeypair mycs 2048", &["grant auto"]);
        let https =
            format!("ip http secure-server\nip http secure-port 0\nip domain name example.com\n{lines}");
        let ca =
            Ca::with_configuration(&text.replace("ip http server\n", &format!("ip http server\n{https}")));
        let scene = Self { ca, dir: tempfile::tempdir().expect("a temporary directory") };
        scene.fetch_certificate();
        scene
    }

    fn status(&self) -> Value {
        self.ca.json("show ip http server status")["secure"].clone()
    }

    /// `127.0.0.1:PORT`.
    fn address(&self) -> String {
        self.status()["address"].as_str().expect("HTTPS is listened for").to_owned()
    }

    fn pem(&self) -> PathBuf {
        self.dir.path().join("server.pem")
    }

    /// Takes the certificate that is shown in a handshake.
    fn fetch_certificate(&self) {
        let said = self.s_client(&["-showcerts"]).success().stdout;
        let start = said.find("-----BEGIN").unwrap_or_else(|| panic!("no certificate in\n{said}"));
        let end =
            said.find("-----END CERTIFICATE-----").expect("its end") + "-----END CERTIFICATE-----\n".len();
        fs::write(self.pem(), &said[start..end]).expect("a file");
    }

    fn s_client(&self, more: &[&str]) -> Ran {
        openssl(&[&["s_client", "-connect", &self.address()], more].concat())
    }

    /// A handshake that OpenSSL must find good, by the certificate that we know.
    #[track_caller]
    fn handshake(&self, more: &[&str]) -> Ran {
        let pem = self.pem().display().to_string();
        let trust = ["-CAfile", &pem, "-verify_return_error", "-verify_ip", "127.0.0.1"];
        self.s_client(&[&trust, more].concat()).success().says("Verify return code: 0 (ok)")
    }

    fn curl(&self, target: &str, more: &[&str]) -> Ran {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "30", "--cacert"]).arg(self.pem()).args(more);
        run(curl.arg(format!("https://{}{target}", self.address())))
    }

    fn fingerprint(&self) -> String {
        let said = text_of(&self.pem(), &["-fingerprint", "-sha256"]);
        let line = said.lines().find_map(|line| line.split_once("Fingerprint=")).expect("a fingerprint");
        line.1.replace(':', "")
    }
}

#[test]
fn the_usual_clients_fetch_over_both_versions() {
    let scene = Scene::new("");
    let (ca, port) = (&scene.ca, scene.address().rsplit_once(':').expect("a port").1.to_owned());
    let crl = http::get(ca.address(), "/mycs.crl", &[]).is(200, "application/pkix-crl").body;
    for (version, flags) in [("TLSv1.3", ["--tlsv1.3", "-4"]), ("TLSv1.2", ["--tls-max", "1.2"])] {
        let file = scene.dir.path().join("crl.der").display().to_string();
        let written = [&flags[..], &["-o", &file, "-w", "%{http_version} %{content_type}"]].concat();
        let said = scene.curl("/mycs.crl", &written).success().stdout;
        assert_eq!(said, "1.1 application/pkix-crl", "{version}");
        assert_eq!(fs::read(&file).expect("the CRL"), crl, "{version}");
        let caps = scene.curl("/scep?operation=GetCACaps", &flags).success().stdout;
        assert!(caps.contains("SCEPStandard"), "{caps}");
        // By its names as well.
        for name in ["ca1.example.com", "ca1"] {
            let resolve = format!("{name}:{port}:127.0.0.1");
            let mut curl = Command::new("curl");
            curl.args(["-sSf", "--resolve", &resolve, "--cacert"]).arg(scene.pem()).args(flags);
            run(curl.args(["-o", "/dev/null", &format!("https://{name}:{port}/mycs.crl")])).success();
        }
        let flag = version.to_lowercase().replace("tlsv", "tls").replace('.', "_");
        scene.handshake(&[&format!("-{flag}")]).says(version);
    }
    // What has been broken for years is not spoken.
    assert_ne!(scene.s_client(&["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]).code, Some(0));
    // A client whose first key share is not ours is asked for another (HelloRetryRequest).
    scene.handshake(&["-tls1_3", "-groups", "P-521:P-256"]);

    // The certificate: who it is, of which key, for what.
    let said = text_of(&scene.pem(), &["-text"]);
    let status = scene.status();
    let trustpoint = status["trustpoint"].as_str().expect("a trustpoint");
    let number = trustpoint.strip_prefix("TP-self-signed-").expect("the names of IOS");
    for part in [
        &format!("Subject: CN = IOS-Self-Signed-Certificate-{number}"),
        &format!("Issuer: CN = IOS-Self-Signed-Certificate-{number}"),
        "Serial Number: 1 (0x1)",
        "DNS:ca1.example.com, DNS:ca1, IP Address:127.0.0.1",
        "TLS Web Server Authentication",
        "CA:FALSE",
        "prime256v1",
    ] {
        assert!(said.contains(part), "no {part:?} in\n{said}");
    }
    assert_eq!(status["fingerprint_sha256"], scene.fingerprint());
    assert_eq!(status["error"], Value::Null);
    let shown = ca.exec("show ip http server status");
    for part in ["HTTP secure server status: Enabled\n", &format!("HTTP secure server port: {port}\n")] {
        assert!(shown.contains(part), "no {part:?} in\n{shown}");
    }
    // The trustpoint stands in the configuration, as on IOS, and its certificate can be had.
    let configuration = ca.exec("show running-config section trustpoint");
    let section = format!(
        "crypto pki trustpoint {trustpoint}\n enrollment selfsigned\n \
         subject-name cn=IOS-Self-Signed-Certificate-{number}\n revocation-check none\n"
    );
    assert!(configuration.contains(&section), "{configuration}");
    let shown = ca.exec(&format!("show crypto pki certificates {trustpoint}"));
    for part in ["Router Self-Signed Certificate\n", &format!("  Associated Trustpoints: {trustpoint}\n")] {
        assert!(shown.contains(part), "no {part:?} in\n{shown}");
    }
    let all = ca.json("show crypto pki certificates");
    let pem = fs::read_to_string(scene.pem()).expect("the certificate");
    assert_eq!(all[0]["pem"].as_str().map(str::trim), Some(pem.trim()));
    assert_eq!(all[1]["trustpoints"][0], "mycs");
    // Its key is on the token and cannot leave it.
    let key = key_on_token(ca, Some(trustpoint));
    assert!(key.contains("sensitive") && key.contains("never extractable"), "{key}");
    assert_eq!(status["key"], format!("{trustpoint} on usbtoken0:"));
}

#[test]
fn clients_enrol_over_https() {
    let scene = Scene::new("");
    let opinion = Opinion::about(&scene.ca);
    let dir = scene.dir.path().display().to_string();
    let url = format!("https://{}/scep", scene.address());
    // Go's way to be told whom to trust.
    scene.ca.configure_server(&["crypto legacy des"]);
    let mut client = Command::new("scepclient");
    client.current_dir(&dir).env("SSL_CERT_FILE", scene.pem()).env("SSL_CERT_DIR", &dir);
    client.args(["-server-url", &url, "-private-key", "key.pem", "-certificate", "cert.pem"]);
    run(client.args(["-cn", "dev2.example.com", "-organization", "Example"])).success();
    opinion.approves(&scene.ca, &scene.dir.path().join("cert.pem"));

    // strongSwan trusts whom the host trusts: one of its own, in which the server's certificate is all.
    let trusting = |script: &str| {
        let mut program = Command::new("unshare");
        program.current_dir(&dir).args(["--mount", "--map-root-user", "sh", "-ec"]);
        run(program.arg(format!("mount --bind server.pem {SYSTEM_TRUST}; {script}")))
    };
    if trusting("true").code != Some(0) {
        eprintln!("SKIPPED: no mount namespace can be had here; strongSwan over HTTPS is not tested");
        return;
    }
    trusting(&format!("pki --scepca --url {url} --outform pem --caout ca.pem")).success();
    let enrolled = trusting(&format!(
        "pki --gen --type rsa --size 2048 --outform pem > sw.key; \
         pki --scep --url {url} --outform pem --in sw.key --dn 'C=US, O=Example, CN=sw1' --san sw1.example.com \
         --cacert-enc ca.pem --cacert-sig ca.pem > sw.pem"
    ));
    enrolled.success();
    opinion.approves(&scene.ca, &scene.dir.path().join("sw.pem"));
}

/// Where Debian's libcurl looks for whom to trust.
const SYSTEM_TRUST: &str = "/etc/ssl/certs/ca-certificates.crt";

#[test]
fn the_certificate_stays_until_its_names_change() {
    let mut scene = Scene::new("");
    let first = scene.fingerprint();
    scene.ca.restart();
    scene.handshake(&[]);
    // Configured anew it is the same.
    scene.ca.configure("no ip http secure-server\n");
    assert_eq!(scene.status()["address"], Value::Null);
    scene.ca.configure("ip http secure-server\n");
    until("HTTPS is served again", || scene.status()["address"].as_str().map(str::to_owned));
    scene.handshake(&[]);

    // Another name is another certificate of the same key, with a serial number of its own.
    let key = key_on_token(&scene.ca, None);
    scene.ca.configure("hostname ca2\n");
    scene.fetch_certificate();
    assert_ne!(scene.fingerprint(), first);
    let said = text_of(&scene.pem(), &["-text"]);
    assert!(said.contains("DNS:ca2.example.com") && said.contains("Serial Number: 2 (0x2)"), "{said}");
    assert_eq!(key_on_token(&scene.ca, None), key);
    scene.handshake(&[]);
}

#[test]
fn without_its_token_http_goes_on() {
    let scene = Scene::new("");
    let device = Device::new("CN=r1, O=Example");
    device.enrol(&scene.ca, None).certificate();
    unplug(scene.ca.token().dir.path());
    until("the log tells that HTTPS is not served", || {
        let _ = scene.s_client(&["-no_ticket"]);
        scene.ca.log().contains("HTTPS is not served").then_some(())
    });
    let status = scene.status();
    assert!(status["error"].as_str().is_some_and(|error| error.contains("usbtoken0")), "{status}");
    let shown = scene.ca.exec("show ip http server status");
    assert!(shown.contains("HTTP secure server status: Enabled, not served\n"), "{shown}");
    assert_ne!(scene.s_client(&[]).code, Some(0));
    assert_eq!(http::get(scene.ca.address(), "/mycs.crl", &[]).status, 200);

    plug(scene.ca.token().dir.path());
    until("HTTPS is served by itself", || (scene.s_client(&[]).code == Some(0)).then_some(()));
    scene.handshake(&[]);
    assert_eq!(scene.status()["error"], Value::Null);
}

#[test]
fn it_waits_for_a_token_that_is_not_there_at_the_start() {
    let mut scene = Scene::new("");
    let first = scene.fingerprint();
    scene.ca.stop();
    unplug(scene.ca.token().dir.path());
    scene.ca.start();
    assert_ne!(scene.s_client(&[]).code, Some(0));
    assert!(scene.status()["error"].is_string());
    plug(scene.ca.token().dir.path());
    until("HTTPS is served by itself", || (scene.s_client(&[]).code == Some(0)).then_some(()));
    scene.handshake(&[]);
    assert_eq!(scene.fingerprint(), first);
}

#[test]
fn whoever_does_not_finish_keeps_nobody_out() {
    let scene = Scene::new("");
    let connect = || TcpStream::connect(scene.address()).expect("it listens");
    // Nothing, half a record, a ClientHello's beginning, HTTP.
    let silent: Vec<TcpStream> = (0..200).map(|_| connect()).collect();
    let broken = [&b"\x16"[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/1.1\r\n\r\n"]
        .map(|octets| {
            let mut stream = connect();
            stream.write_all(octets).expect("it reads");
            stream
        });
    scene.handshake(&["-tls1_3"]);
    scene.handshake(&["-tls1_2"]);
    // An alert or nothing, and the end.
    for stream in silent.iter().take(1).chain(&broken) {
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
        let ended = (&*stream).read_to_end(&mut Vec::new());
        assert!(ended.is_ok_and(|length| length < 100));
    }
    Device::new("CN=r1, O=Example").enrol(&scene.ca, None).certificate();

    // A handshake costs the token as much as a message, and is counted as one.
    scene.ca.configure("ip http rate-limit 1\n");
    until("a handshake is refused", || (scene.s_client(&[]).code != Some(0)).then_some(()));
    assert_eq!(http::get(scene.ca.address(), "/mycs.crl", &[]).status, 200);
    until("the bucket holds a token again", || (scene.s_client(&[]).code == Some(0)).then_some(()));
}

#[test]
fn resumed_sessions_cost_the_token_nothing() {
    let scene = Scene::new("");
    let session = scene.dir.path().join("session").display().to_string();
    for version in ["-tls1_3", "-tls1_2"] {
        let signatures = || {
            let tokens = scene.ca.json("show crypto pki token");
            tokens[0]["signatures"].as_u64().expect("a number")
        };
        // A request, for in TLS 1.3 tickets come after the handshake.
        let request = |option: &str| {
            let mut program = Command::new("sh");
            let request =
                "printf 'GET /mycs.crl HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n'; sleep 1";
            let client =
                format!("openssl s_client -connect {} {version} {option} {session}", scene.address());
            run(program.args(["-c", &format!("({request}) | {client} -ign_eof")])).success().stdout
        };
        let before = signatures();
        assert!(request("-sess_out").contains("New, TLSv1"));
        assert_eq!(signatures(), before + 1, "{version}");
        assert!(request("-sess_in").contains("Reused, TLSv1"));
        assert_eq!(signatures(), before + 1, "{version}");
    }
}

#[test]
fn a_trustpoint_says_what_the_certificate_is() {
    let trustpoint = "crypto pki trustpoint local\n enrollment selfsigned\n rsakeypair web 3072\n";
    let scene = Scene::new(trustpoint);
    assert_eq!(scene.status()["trustpoint"], "local");
    assert_eq!(scene.status()["key"], "web on usbtoken0:");
    assert!(!scene.ca.exec("show running-config").contains("TP-self-signed"));
    let said = text_of(&scene.pem(), &["-text"]);
    assert!(said.contains("unstructuredName = ca1.example.com") && said.contains("3072 bit"), "{said}");
    // By RSASSA-PSS, without which there is no TLS 1.3, and by what came before it.
    scene.handshake(&["-tls1_3"]).says("Peer signature type: RSA-PSS");
    scene.handshake(&["-tls1_2"]).says("Peer signature type: RSA-PSS");
    scene.handshake(&["-tls1_2", "-sigalgs", "RSA+SHA256"]).says("Peer signature type: RSA\n");

    // There is one only.
    let refused = try_configure(&scene.ca, "crypto pki trustpoint other\n enrollment selfsigned\n");
    assert!(refused.contains("trustpoint local has the self-signed certificate"), "{refused}");

    // What is changed in it makes another certificate.
    scene.ca.configure("crypto pki trustpoint local\n subject-name cn=web, o=Example\n eckeypair web2\n");
    scene.fetch_certificate();
    let said = text_of(&scene.pem(), &["-text"]);
    assert!(said.contains("Subject: O = Example, CN = web") && said.contains("prime256v1"), "{said}");
    assert!(said.contains("Serial Number: 2 (0x2)"), "{said}");
    scene.handshake(&["-tls1_3"]);

    // There is no TLS with a key of this kind.
    scene.ca.configure("crypto pki trustpoint local\n mldsakeypair web3\n");
    until("the kind of key is refused", || {
        scene.status()["error"].as_str()?.contains("with RSA and EC keys only").then_some(())
    });

    // Without it there is that of IOS, and a new one when that is taken back.
    scene.ca.configure("no crypto pki trustpoint local\n");
    scene.fetch_certificate();
    let (first, trustpoint) = (scene.fingerprint(), scene.status()["trustpoint"].clone());
    let trustpoint = trustpoint.as_str().expect("a trustpoint");
    assert!(trustpoint.starts_with("TP-self-signed-"), "{trustpoint}");
    scene.ca.configure(&format!("no crypto pki trustpoint {trustpoint}\n"));
    scene.fetch_certificate();
    assert_ne!(scene.fingerprint(), first);
    assert_eq!(scene.status()["trustpoint"], trustpoint);
    scene.handshake(&[]);

    // The command language does not delete a key that serves.
    let refused = scene.ca.try_cli(&["--yes", "crypto", "key", "zeroize", "ec", trustpoint]);
    refused.exited(1).says("is that of HTTPS");
    // A key that is gone from the token is made anew, with its certificate.
    let before = scene.fingerprint();
    for kind in ["privkey", "pubkey"] {
        let mut tool = pkcs11_tool(&scene.ca);
        run(tool.args(["--delete-object", "--type", kind, "--label", trustpoint])).success();
    }
    until("HTTPS has another key", || {
        let _ = scene.s_client(&["-no_ticket"]);
        let now = &scene.status()["fingerprint_sha256"];
        (scene.status()["error"].is_null() && *now != before).then_some(())
    });
    scene.fetch_certificate();
    scene.handshake(&[]);
}

/// Lines that must be refused; what is said.
fn try_configure(ca: &Ca, lines: &str) -> String {
    let file = ca.state().join("lines");
    fs::write(&file, lines).expect("a file");
    let ran = ca.try_cli(&["configure", &file.display().to_string()]);
    assert_ne!(ran.code, Some(0));
    ran.stdout + &ran.stderr
}

fn text_of(certificate: &Path, more: &[&str]) -> String {
    let file = certificate.display().to_string();
    openssl(&[&["x509", "-in", &file, "-noout"], more].concat()).success().stdout
}
