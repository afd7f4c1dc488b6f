//! The section as a whole: what IOS prints is read, written, read back.

use super::*;
use crate::config::{Configuration, Editor, Parameter, ProfileWay, Vault};

/// What these lines make of a trustpoint.
fn section(lines: &str) -> Result<TrustpointSection, String> {
    let text = format!("crypto pki trustpoint t\n{lines}");
    let read = Configuration::parse(&text).map_err(|error| error.to_string())?;
    let sealed = read.sealed(&Vault::new(&[7; 32]));
    assert_eq!(Configuration::parse(&sealed.to_text()).unwrap(), sealed, "{}", sealed.to_text());
    Ok(sealed.trustpoints["t"].clone())
}

/// The lines as they are written.
fn written(lines: &str) -> Vec<String> {
    section(lines).unwrap().to_string().lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn one_line_or_several_mean_the_same() {
    let one = section(" enrollment mode ra retry count 9 retry period 3 url http://ca1:80 pem").unwrap();
    let lines = " enrollment retry period 3\n enrollment retry count 9\n enrollment mode ra\n enrollment url \
                 http://ca1:80 pem";
    assert_eq!(one, section(lines).unwrap());
    assert_eq!(one.enrollment.scep_url(), Some("http://ca1:80"));
    assert_eq!(one.enrollment.retry_after().as_secs(), 180);
    assert_eq!(
        written(" enrollment mode ra retry count 9 retry period 3 url http://ca1:80 pem"),
        [
            "enrollment retry count 9",
            "enrollment retry period 3",
            "enrollment mode ra",
            "enrollment url http://ca1:80 pem"
        ]
    );
    let taken_back = "\n no enrollment retry period\n no enrollment retry count 9\n no enrollment mode ra\n no \
                      enrollment url";
    assert_eq!(section(&format!("{lines}{taken_back}")).unwrap(), TrustpointSection::default());
}

#[test]
fn of_methods_the_last_one_counts() {
    let method = |lines| section(lines).unwrap().enrollment.method;
    assert_eq!(
        method(" enrollment url http://[2001:DB8:1:1::1]:80\n enrollment terminal pem"),
        Some(EnrollmentMethod::Terminal { pem: true })
    );
    assert_eq!(
        method(
            " enrollment terminal\n enrollment url tftp://certserver/file_specification\n no enrollment terminal"
        ),
        Some(EnrollmentMethod::Url {
            url: EnrollmentUrl::Files("tftp://certserver/file_specification".into()),
            pem: false
        })
    );
    assert_eq!(method(" enrollment profile E"), Some(EnrollmentMethod::Profile("E".into())));
    assert!(section(" enrollment url nvram:x").unwrap().enrollment.is_by_hand());
    assert!(section(" enrollment selfsigned").unwrap().is_selfsigned());
    assert!(section(" enrollment url http://u:p@ca").unwrap_err().contains("a user and a password"));
    assert!(section(" enrollment url gopher://ca").unwrap_err().contains("no file system"));
    assert!(section(" enrollment retry count 101").unwrap_err().contains("<1-100>"));
    assert!(section(" enrollment command GET /ca").unwrap_err().contains("profile enrollment"));
}

#[test]
fn every_line_of_a_request_is_kept() {
    let lines = [
        "usage ike ssl-client",
        "serial-number none",
        "fqdn none",
        "ip-address 2001:db8::66",
        "subject-name OU=Spiral Dept., O=example.com",
        "subject-alt-name www.example.com",
        "fingerprint 12EF53FA355CD23E12EF53FA355CD23E",
        "root tftp server1 file1",
        "vrf myvrf",
        "source interface Ethernet0/0",
        "revocation-check ocsp crl none",
        "crl query ldap://bar.cisco.com:3899",
        "ocsp url http://ocsp.example.com",
        "ocsp disable-nonce",
        "match certificate Group allow expired-certificate",
        "match certificate Others skip revocation-check",
        "rsakeypair trustpt1 2048 2048",
        "regenerate",
        "auto-enroll 90 regenerate",
        "hash sha384",
        "storage usbtoken0:",
        "on usbtoken0:",
    ];
    assert_eq!(written(&lines.join("\n ")), lines);
    let backwards: Vec<_> = lines.into_iter().rev().filter(|line| !line.starts_with("match")).collect();
    assert_eq!(written(&backwards.join("\n ")).len(), lines.len() - 2);
    let taken_back: String = lines.iter().map(|line| format!(" {line}\n no {line}\n")).collect();
    assert_eq!(written(&taken_back), Vec::<String>::new());
}

#[test]
fn the_last_line_says_which_key_it_is() {
    for (line, other) in [
        ("rsakeypair k", "no eckeypair"),
        ("eckeypair k", "no mldsakeypair"),
        ("mldsakeypair k", "no rsakeypair"),
    ] {
        assert_eq!(
            written(&format!(" rsakeypair a\n eckeypair b\n mldsakeypair c\n {line}\n {other}")),
            [line]
        );
        let no = line.split(' ').next().unwrap();
        assert_eq!(written(&format!(" {line}\n no {no}")), Vec::<String>::new());
    }
}

#[test]
fn what_is_printed_in_places_is_read() {
    assert_eq!(
        written(" subject-name cat\n ip address 192.168.1.66"),
        ["ip-address 192.168.1.66", "subject-name CN=cat"]
    );
    assert_eq!(written(" rsa-keypair mytp-A\n serial"), ["serial-number", "rsakeypair mytp-A"]);
    assert_eq!(written(" crl optional"), ["revocation-check none"]);
    assert_eq!(written(" crl best-effort"), ["revocation-check crl none"]);
    assert_eq!(written(" query url ldap://ldap.example.com"), ["crl query ldap://ldap.example.com"]);
    assert_eq!(written(" fingerprint 12EF53FA 355CD23E 12EF53FA 355CD23E").len(), 1);
    assert_eq!(written(" storage nvram:\n hash sha256"), Vec::<String>::new());
    assert!(section(" fingerprint 12EF53FA").unwrap_err().contains("32 hex digits"));
    assert!(section(" ip-address 300.1.1.1").unwrap_err().contains("not an IPv4"));
    assert!(section(" crl query ldap://").unwrap_err().contains("ldap://HOST"));
    assert!(section(" authorization list x").unwrap_err().contains("not in this version"));
}

#[test]
fn the_challenge_password_is_sealed() {
    for typed in [" password password1", " password 0 password1", " password 7 12141C0713181F13253920"] {
        let lines = written(typed);
        assert!(lines.len() == 1 && lines[0].starts_with("password 6 "), "{lines:?}");
    }
}

#[test]
fn what_means_nothing_here_is_said_once() {
    let mut editor = Editor::new(Configuration::default());
    let mut said = |line: &str| {
        editor.line(line).unwrap();
        editor.notes()
    };
    assert!(said("crypto pki trustpoint t").is_empty());
    assert!(said(" ip-address ethernet0")[0].contains("ethernet0 is an interface of a router"));
    assert!(said(" vrf x")[0].contains("table of routes"));
    assert!(said(" enrollment terminal").is_empty());
    assert!(said(" auto-enroll 70")[0].contains("by hand"));
    assert!(said(" auto-enroll 80").is_empty());
    assert!(said("crypto ca certificate query")[0].contains("changes nothing"));
}

#[test]
fn lines_that_exclude_each_other() {
    let refused = |text: &str, why: &str| {
        let error = Configuration::parse(text).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    };
    refused("crypto pki trustpoint t\n hash md5", "crypto legacy md5");
    refused("crypto pki trustpoint t\n rsakeypair t 1024", "crypto legacy rsa-1024");
    refused(
        "crypto pki trustpoint t\n auto-enroll\ncrypto pki server t",
        "the trustpoint t has `auto-enroll`",
    );
    refused("crypto pki server t\ncrypto pki trustpoint t\n auto-enroll 70", "line 3");
    let two = "crypto pki trustpoint a\n enrollment url http://a\n rsakeypair k\ncrypto pki trustpoint b\n \
               enrollment url http://b\n rsakeypair k\n";
    assert!(Configuration::parse(two).is_ok());
    refused(&format!("{two} auto-enroll 80 regenerate"), "trustpoint a has the same key");
    refused(
        "crypto pki profile enrollment E\n enrollment terminal\n enrollment credential T",
        "exclude each other",
    );
    for allowed in ["crypto legacy md5\n hash md5", "crypto legacy rsa-1024\n rsakeypair t 1024"] {
        assert!(section(&format!(" {allowed}")).is_ok(), "{allowed}");
    }
}

#[test]
fn profiles_and_maps_read_back() {
    let text = "\
crypto pki profile enrollment E
 authentication url http://entrust:81
 authentication command GET /certs/cacert.der
 enrollment url http://entrust:81/cda-cgi/clientcgi.exe
 enrollment command POST reference_number=$P2&authcode=$P1&pkcs10Request=$REQ
 enrollment credential Entrust
 reenrollment terminal pem
 parameter 1 value aaaa-bbbb-cccc
 parameter 2 prompt Reference number?
crypto pki certificate map Group 10
 issuer-name eq cn=ese-ios-ca, ou=ESE
 expires-on ge 14 10 2026 19:44:57
 no expires-on ge
 expires-on lt oct 14 2026
crypto pki certificate map Group 20
 subject-name co ou = WAN
crypto pki certificate map Other 1
no crypto pki certificate map Other
";
    let read = Configuration::parse(text).unwrap();
    let written = read.to_text();
    assert_eq!(Configuration::parse(&written).unwrap(), read, "{written}");
    for line in text.lines().take(13).filter(|line| !line.contains("expires-on")) {
        assert!(written.contains(line), "{line}: {written}");
    }
    assert!(written.contains("\n expires-on lt Oct 14 2026 00:00:00\n"), "{written}");
    let profile = &read.profiles["E"];
    assert_eq!(profile.again().way, Some(ProfileWay::Terminal { pem: true }));
    assert_eq!(profile.again().command, profile.enrollment.command);
    assert_eq!(profile.parameters[&2], Parameter::Prompt("Reference number?".into()));
    assert_eq!(read.certificate_maps.keys().collect::<Vec<_>>(), ["Group"]);
    let error = |text: &str| Configuration::parse(text).unwrap_err().to_string();
    assert!(error("crypto pki certificate map M 1\n expires-on co 2026").contains('^'));
    assert!(error("crypto pki certificate map M 1\n expires-on lt tomorrow").contains("a date is"));
    assert!(error("crypto pki profile enrollment E\n enrollment command PUT x").contains("GET or POST"));
    assert!(error("no crypto pki certificate map M").contains("no such certificate map"));
}
