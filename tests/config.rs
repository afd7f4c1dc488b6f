//! The configuration language from outside: every line of the Cisco IOS documents, and any line at all.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::ExposeSecret;
use tokenca::config::grammar::{Atom, Problem, Syntax};
use tokenca::config::{
    ArchiveFormat, CertificateSource, ConfigError, Configuration, Editor, FileType, Mode, Password, Peer,
    Query, Vault, reference,
};

const KEYS: &str = include_str!("vectors/config/keys.txt");

fn vault() -> Vault {
    Vault::new(&[7; Vault::KEY_LEN])
}

fn parse(text: &str) -> Configuration {
    Configuration::parse(text).unwrap_or_else(|error| panic!("{error}")).sealed(&vault())
}

fn error(text: &str) -> String {
    Configuration::parse(text).unwrap_err().to_string()
}

fn server(lines: &str) -> Configuration {
    parse(&format!("crypto pki server mycs\n{lines}"))
}

fn reads_back(configuration: &Configuration) {
    let text = configuration.to_text();
    match Configuration::parse(&text) {
        Ok(read) => assert_eq!(read, *configuration, "{text}"),
        Err(error) => panic!("{error}\n{text}"),
    }
}

#[test]
fn places_of_files_as_the_documents_have_them() {
    let configuration = server(
        "database url ftp://cs-db.company.com\n\
         database url ser nvram:\n\
         database url crl publish ftp://crl.company.com username myname password mypassword\n\
         database url crl publish tftp://csdb_specific_crl_files.company.com\n\
         database url crt publish http://url username user1 password secret\n\
         database url crt publish http://other\n\
         database username user password PASSWORD\n\
         database archive pkcs12 password 7 12141C0713181F13253920\n",
    );
    let database = &configuration.servers["mycs"].database;
    assert_eq!(database.place(FileType::Ser), "nvram:");
    assert_eq!(database.place(FileType::Crl), "ftp://cs-db.company.com");
    let crl: Vec<_> = database.publish[&FileType::Crl].iter().map(|place| place.url.as_str()).collect();
    assert_eq!(crl, ["ftp://crl.company.com", "tftp://csdb_specific_crl_files.company.com"]);
    let crt: Vec<_> = database.publish[&FileType::Crt].iter().map(|place| place.url.as_str()).collect();
    assert_eq!(crt, ["http://other"], "one place, but for the CRL");
    let archive = database.archive.as_ref().unwrap();
    assert_eq!(archive.format, ArchiveFormat::Pkcs12);
    let open = |password: &Option<Password>| {
        password.as_ref().unwrap().open(&vault()).unwrap().expose_secret().to_owned()
    };
    assert_eq!(open(&archive.password), "mypassword");
    let login = database.login.as_ref().unwrap();
    assert_eq!((login.username.as_str(), open(&login.password).as_str()), ("user", "PASSWORD"));
    reads_back(&configuration);

    for (line, place) in [
        ("database url nvram", "nvram:"),
        ("database url nvram:", "nvram:"),
        ("database url flash:", "flash:"),
        ("database url tftp://mytftp", "tftp://mytftp"),
        ("database url tftp://cert-svr-db.company.com", "tftp://cert-svr-db.company.com"),
        ("database url tftp://10.1.1.1/username1/", "tftp://10.1.1.1/username1/"),
        ("database url tftp://harry.cisco.com/vpn/certs", "tftp://harry.cisco.com/vpn/certs"),
    ] {
        let configuration = server(line);
        assert_eq!(configuration.servers["mycs"].database.primary(), place);
        reads_back(&configuration);
        assert_eq!(server(&format!("{line}\n no database url")), server(""));
    }
}

#[test]
fn server_lines_as_the_documents_have_them() {
    for line in [
        "issuer-name CN = ese-ios-ca, OU = ESE, O = Cisco Systems Inc, L = Raleigh, ST = NC, C = US, EA = ese-vpn-team",
        "issuer name CN=sub CA, O=Cisco, C=us",
        "lifetime crl 24",
        "lifetime crl 333",
        "lifetime certificate 254",
        "lifetime certificate 888",
        "lifetime ca-certificate 508",
        "lifetime ca-certificate 1825",
        "lifetime enrollment-request 888",
        "lifetime enrollment-requests 888",
        "cdp-url http://harry.cisco.com/solutions/vpn/tftpboot-vpn/certs/ese-ios-ca.crl",
        "cdp-url http://my-cdp.company.com",
        "cdp-url http://cs-addr/cgi-bin/pkiclient.exe\u{16}?operation=GetCRL",
        "database level minimal",
        "database level minimum",
        "database level names",
        "database level complete",
        "database archive pem",
        "database archive pkcs12 password cisco123",
        "hash sha384",
        "grant auto",
        "grant none",
        "no shutdown",
        "shut",
    ] {
        reads_back(&server(line));
    }
    let cdp = "cdp-url http://cs-addr/cgi-bin/pkiclient.exe?operation=GetCRL";
    assert!(server(&cdp.replace('?', "\u{16}?")).to_text().contains(cdp));
}

#[test]
fn what_other_versions_do_is_refused_at_its_word() {
    for (line, caret) in [("redundancy", 0), ("eku request server-auth", 0), ("grant auto tp-list myra", 11)]
    {
        let word = line[caret..].split(' ').next().unwrap();
        let shown = format!("line 2:\n{line}\n{:caret$}^\n% `{word}` is not in this version", "");
        assert_eq!(error(&format!("crypto pki server mycs\n{line}")), shown);
        assert_eq!(server(&format!("no {line}")), server(""));
    }
    for line in [
        "authorization list x password password1",
        "auto-trigger",
        "chain-validation continue",
        "eku request server-auth",
        "match certificate Group skip authorization-check",
        "primary",
    ] {
        let error = error(&format!("crypto pki trustpoint sub\n {line}"));
        assert!(error.contains("is not in this version"), "{line}: {error}");
        assert!(!error.contains("password1"), "{error}");
    }
    for line in ["certificate rollover ca 0A", "certificate rollover 0B", "certificate pki 0B"] {
        let error = error(&format!("crypto pki certificate chain mica\n{line}"));
        assert!(error.contains("\n            ^\n") && error.contains("is not in this version"), "{error}");
    }
    assert!(error("crypto pki server x\nissuer-name XY=1").contains("is not a known name attribute"));
    assert!(error("ip http access-class 23").contains("`access-class` is not in this version"));
    let twins =
        "crypto pki trustpoint b\nrsakeypair a\ncrypto pki server a\nissuer-name CN=x\ncrypto pki server b\n";
    assert!(
        error(&format!("{twins}issuer-name cn = x"))
            .contains("certificate server a has this name and this key")
    );
    assert!(Configuration::parse(&format!("{twins}issuer-name CN=y")).is_ok());
    // Help promises none of it.
    let mut editor = Editor::new(Configuration::default());
    editor.line("crypto pki server mycs").unwrap();
    let words: Vec<_> = editor.next("", None).unwrap().into_iter().map(|(word, _)| word).collect();
    assert!(!words.iter().any(|word| ["redundancy", "eku", "issuer"].contains(&word.as_str())), "{words:?}");
    let words: Vec<_> = editor.next("grant", None).unwrap().into_iter().map(|(word, _)| word).collect();
    assert_eq!(words, ["auto", "none", "ra-auto"]);
}

#[test]
fn lines_of_the_host() {
    let configuration = parse(
        "ip hostname ese-cryagg\nclock timezone EST -5\nclock summer-time EDT recurring\n\
         ip domain-name ese.cisco.com\nip host ese-ios-ca 10.59.138.12\nip host harry.cisco.com 172.26.176.10\n\
         ipv6 host six 2001:db8::1\nntp server 172.26.176.10\nntp peer 172.26.176.10 prefer\n\
         ip ftp username a\nip ftp password 7 02050D480809\nfile system flash: flash files\nsocket group adm\n\
         ip http server\nip http secure-server\nip http secure-port 8443\n",
    );
    assert_eq!(configuration.fqdn(), "ese-cryagg.ese.cisco.com");
    assert_eq!(configuration.hosts["six"].to_string(), "2001:db8::1");
    assert_eq!(configuration.directories["flash"].to_str(), Some("flash files"));
    reads_back(&configuration);
    let text = configuration.to_text();
    assert!(text.contains("clock timezone EST -5\nclock summer-time EDT recurring\n"), "{text}");
    assert!(!text.contains("cisco\n") || !text.contains("password cisco"), "{text}");
    let taken_back = "no clock timezone\nno clock summer-time\nno ip domain name\nno ip host six\n\
                      no ip host harry.cisco.com\nno ip host ese-ios-ca\nno ntp server 172.26.176.10\nno ntp\n\
                      no ip ftp username\nno ip ftp password\nno file system flash:\nno socket group\n\
                      no hostname\nno ip http server\nno ip http secure-server\ndefault ip http secure-port\n";
    assert_eq!(configuration.edited(taken_back).unwrap(), Configuration::default());
    for line in
        ["ip host a 10.1.1", "clock timezone EST x", "file system nvram: /x", "ip host a_b.-c 1.1.1.1"]
    {
        assert!(error(line).contains('^'), "{line}");
    }
}

#[test]
fn keys_and_certificates_are_lines_of_hex() {
    let configuration = parse(KEYS);
    let (entry, source) = configuration.chains["mycs"].certificates.first_key_value().unwrap();
    assert_eq!(entry.to_string(), "ca 01");
    let CertificateSource::Typed(certificate) = source else { panic!("{source:?}") };
    let (id, key) = configuration.public_keys.first_key_value().unwrap();
    assert_eq!(id.peer, Peer::Named("otherpeer.example.com".into()));
    assert_eq!(key.key.as_ref(), Some(certificate.public_key()));
    reads_back(&configuration);

    let mut editor = Editor::new(configuration.clone());
    let mut prompts = Vec::new();
    for line in [
        "crypto key pubkey-chain rsa",
        "addressed-key 10.1.1.2 encryption",
        "key-string",
        "exit",
        "30",
        "quit",
        "exit",
        "no named-key otherpeer.example.com",
        "crypto ca certificate chain ese-ios-ca",
        "certificate ca 01 nvram:ese-ios-ca#6101CA.cer",
        "no certificate 0123456789ABCDEF0123456789ABCDEF",
        "certificate 06",
        "3030 quit",
        "end",
    ] {
        let refused = editor.line(line).is_err();
        prompts.push((editor.prompt(), refused));
    }
    assert_eq!(
        prompts,
        [
            ("config-pubkey-chain", false),
            ("config-pubkey-key", false),
            ("config-pubkey", false),
            ("config-pubkey", true), // no hex
            ("config-pubkey", false),
            ("config-pubkey-key", true), // no key
            ("config-pubkey-chain", false),
            ("config-pubkey-chain", false),
            ("config-cert-chain", false),
            ("config-cert-chain", false),
            ("config-cert-chain", false),
            ("config-pubkey", false),
            ("config-cert-chain", true), // no certificate
            ("config", false),
        ]
    );
    assert!(editor.ended());
    let configuration = editor.finish().unwrap();
    let chain = &configuration.chains["ese-ios-ca"];
    assert_eq!(chain.removed.first().unwrap().to_string(), "0123456789ABCDEF0123456789ABCDEF");
    assert_eq!(configuration.public_keys.len(), 1);
    reads_back(&configuration);

    assert!(error("crypto key pubkey-chain rsa\n named-key a\n key-string\n  30").contains("`quit`"));
    assert!(error(&KEYS.replace("ca 01", "ca 02")).contains("0x1"));
}

#[test]
fn a_router_s_configuration_can_be_read() {
    let router = "\
!
version 12.3
service timestamps debug datetime msec
no service password-encryption
!
hostname ese-ios-ca
!
boot-start-marker
boot-end-marker
!
enable secret 5 $1$abcd$secretsecretsecretsecr
!
clock timezone EST -5
no aaa new-model
ip subnet-zero
ip domain name ese.cisco.com
ip host harry.cisco.com 172.26.176.10
!
crypto pki server ese-ios-ca
 database level names
 issuer-name CN = ese-ios-ca, OU = ESE, O = Cisco Systems Inc, L = Raleigh, ST = NC
 lifetime crl 24
 lifetime certificate 254
 lifetime ca-certificate 508
!
crypto pki trustpoint ese-ios-ca
 revocation-check crl
 rsakeypair ese-ios-ca
!
interface FastEthernet0/0
 description no shutdown of \u{3}
 ip address 10.59.138.12 255.255.255.0
 no shutdown
!
ip classless
ip route 0.0.0.0 0.0.0.0 10.59.138.1
ip http server
no ip http secure-server
!
banner motd ^C
hostname tricked
  crypto pki server tricked
^C
!
line con 0
 exec-timeout 0 0
line vty 0 4
 password lab
 login
!
ntp clock-period 17179910
ntp server 172.26.176.10
!
end
";
    let mut editor = Editor::new(Configuration::default());
    for line in router.lines() {
        editor.line(line).unwrap_or_else(|error| panic!("{error}"));
    }
    let notes = editor.notes().join("\n");
    for word in ["version", "enable", "interface", "banner", "line", "ip route"] {
        assert!(notes.contains(&format!("% `{word}` is a line of a router: left out")), "{word}: {notes}");
    }
    assert!(!notes.contains("secret") && !notes.contains("lab"), "{notes}");
    assert!(notes.contains("the host keeps the time"), "{notes}");
    let configuration = editor.finish().unwrap();
    assert_eq!(configuration.hostname, "ese-ios-ca");
    assert_eq!(configuration.servers.keys().collect::<Vec<_>>(), ["ese-ios-ca"]);
    assert!(configuration.servers["ese-ios-ca"].shutdown);
    assert!(configuration.http.server);
    reads_back(&configuration);
    // What nobody knows is an error still.
    assert!(error("interfaces FastEthernet0/0").contains("Invalid input"));
}

#[test]
fn lines_ask_and_say_what_ios_does() {
    let mut editor = Editor::new(server(""));
    let label = "mycs".to_owned();
    editor.line("crypto pki server mycs").unwrap();
    assert_eq!(editor.line("grant auto").unwrap(), Some(Query::GrantAuto { label: label.clone() }));
    editor.undo();
    assert_eq!(*editor.configuration(), server(""));
    assert_eq!(editor.line("grant auto").unwrap(), Some(Query::GrantAuto { label: label.clone() }));
    assert_eq!(editor.line("grant auto").unwrap(), None);
    assert_eq!(editor.line("database url ftp://cs-db.company.com").unwrap(), None);
    assert_eq!(
        editor.notes(),
        ["% Server database url was changed. You need to move the\n% existing database to the new location."]
    );
    assert_eq!(editor.line("no shut").unwrap(), Some(Query::Enable { label: label.clone() }));
    let delete = editor.line("no crypto ca server mycs").unwrap().unwrap();
    assert_eq!(delete, Query::DeleteServer { label: label.clone() });
    assert!(delete.to_string().ends_with("Are you sure you want to do this? [yes/no]: "));
    assert_eq!(*editor.mode(), Mode::Global);
    editor.undo();
    assert_eq!(*editor.mode(), Mode::Server(label));
    assert_eq!(editor.line("default database url").unwrap(), None);
    assert_eq!(editor.notes().len(), 1);
    assert!(!editor.ended());
    let mut chains = Editor::new(server(""));
    chains.line("\u{feff}crypto pki certificate chain myca").unwrap();
    let query = chains.line("no certificate 0A").unwrap().unwrap();
    assert_eq!(query.to_string(), "% Are you sure you want to remove the certificate [yes/no]? ");
    assert!(chains.notes()[0].contains("ask the CA administrator"));
    chains.rebase(server(""), true);
    assert_eq!(chains.prompt(), "config-cert-chain");
    chains.rebase(server(""), false);
    assert_eq!(chains.prompt(), "config");
    editor.line("lifetime crl 24\u{1a}").unwrap();
    assert!(editor.ended());
    assert_eq!(editor.finish().unwrap().servers["mycs"].lifetime.crl.seconds(), 24 * 3600);
}

#[test]
fn broken_algorithms_may_come_before_the_word_that_allows_them() {
    reads_back(&server("hash md5\ncrypto legacy md5"));
    reads_back(&parse(
        "crypto pki trustpoint x\n rsakeypair x 1024\ncrypto pki server x\n crypto legacy rsa-1024",
    ));
    assert_eq!(
        error("crypto pki server x\n  hash md5\nhostname a"),
        "line 2:\n  hash md5\n       ^\n% md5 is broken; to use it after all, type `crypto legacy md5` as well"
    );
    let text = "crypto pki trustpoint x\n rsakeypair x 1024\nhostname y";
    assert!(error(text).starts_with("line 2:\n rsakeypair x 1024\n              ^\n% RSA keys of 1024 bits"));
    let allowed = server("hash md5\ncrypto legacy md5");
    let edited = allowed.edited("crypto pki server mycs\nno crypto legacy md5").unwrap_err();
    assert!(matches!(edited, ConfigError::Line { number: 2, .. }), "{edited}");
    let edited = allowed.edited("crypto pki server mycs\nno crypto legacy").unwrap_err();
    assert_eq!(
        edited.to_string(),
        "line 2:\nno crypto legacy\n% `hash md5` stands in this section; change it first"
    );
    let edited =
        allowed.edited("crypto pki server mycs\nno crypto legacy md5\ncrypto legacy des").unwrap_err();
    assert!(
        edited.to_string().starts_with("line 2:\nno crypto legacy md5\n                 ^\n"),
        "{edited}"
    );
    assert!(error("crypto pki token flash\nfile system flash: /x").starts_with("line 2:\n"));
}

#[test]
fn passwords_are_nowhere_in_clear() {
    let lines = [
        "crypto pki server x\n database username u password hunter2 more",
        "crypto pki server x\n database archive pem pass hunter2 hunter2",
        "crypto pki server x\n database url crl publish ftp:/// username u password 0 hunter2",
        "crypto pki server x\n database url ftp://user:hunter2@host/x",
        "ip ftp password 7 hunter2",
        "ip ftp password 6 hunter2",
    ];
    for text in lines {
        let error = Configuration::parse(text).unwrap_err();
        let shown = format!("{error}\n{error:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains('*'), "{shown}");
    }
    let typed = Configuration::parse("ip ftp password hunter2").unwrap();
    assert!(!format!("{typed:?}\n{typed}").contains("hunter2"));
    let sealed = typed.sealed(&vault()).to_text();
    assert!(sealed.contains("ip ftp password 6 ") && !sealed.contains("hunter2"), "{sealed}");
}

/// Whatever lines are accepted, what is written reads back to the same value. Lines are made by asking
/// what may come next, so a new kind of line is tested by being there; and whatever help promises is
/// accepted, or refused for the sake of a value.
#[test]
fn what_help_promises_is_accepted_and_reads_back() {
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    let mut read = 0;
    let mut accepted: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for _ in 0..1000 {
        let mut editor = Editor::new(Configuration::default());
        for _ in 0..random.below(60) {
            let line = random.line(&editor);
            let heading = heading(editor.mode());
            match editor.line(&line) {
                Ok(_) => {
                    let words = line.split(' ').map(str::to_owned);
                    accepted.entry(heading).or_default().extend(words);
                }
                Err(error) => assert!(matches!(error.problem, Problem::Refused { .. }), "{error}"),
            }
        }
        while editor.mode().is_raw() {
            let _ = editor.line("quit");
        }
        let Ok(configuration) = editor.finish() else { continue };
        reads_back(&configuration.sealed(&vault()));
        read += 1;
    }
    assert!(read > 100, "only {read} configurations had no weak algorithm");
    for (heading, lines) in reference() {
        let seen = &accepted[heading];
        for line in lines {
            for atom in Syntax::new(line.words).atoms() {
                let Atom::Word(_) = atom else { continue };
                assert!(seen.contains(atom.name()), "{heading}: {} was never accepted", atom.name());
            }
        }
    }
}

#[test]
fn hostile_text_does_not_panic() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let pieces = [
        "crypto",
        "pki",
        "server",
        "x",
        "no",
        "default",
        "database",
        "url",
        "crl",
        "publish",
        "password",
        "7",
        "6",
        "ftp://a@b",
        "://",
        "@",
        ":",
        "é",
        "\u{16}",
        "\u{1a}",
        "\u{3}",
        "\t",
        "  ",
        "!",
        "?",
        "^C",
        "banner",
        "motd",
        "lifetime",
        "99999999999999999999",
        "0",
        "-1",
        "\"",
        "CN=",
        "quit",
        "key-string",
        "certificate",
        "ca",
        "0A",
        "exit",
        "end",
        "\u{feff}",
        "𝔘",
        "interface",
        "issuer-name",
        "ntp",
        "hash",
        "md5",
        "\0",
    ];
    for _ in 0..1000 {
        let mut text = String::new();
        for _ in 0..random.below(60) {
            text.push_str(pieces[random.below(pieces.len())]);
            text.push_str([" ", " ", "\n", "\r\n", ""][random.below(5)]);
        }
        let _ = Configuration::parse(&text);
        let mut editor = Editor::new(Configuration::default());
        for line in text.lines() {
            let _ = editor.next(line, Some(pieces[random.below(pieces.len())]));
            match editor.line(line) {
                Ok(Some(_)) if random.below(2) == 0 => editor.undo(),
                Ok(_) => {}
                Err(error) => drop(error.to_string()),
            }
        }
    }
    for spoilt in (0..KEYS.len()).step_by(5) {
        let mut text = KEYS.as_bytes().to_vec();
        text[spoilt] ^= 1 << random.below(7);
        let _ = Configuration::parse(&String::from_utf8_lossy(&text));
    }
}

fn heading(mode: &Mode) -> &'static str {
    match mode {
        Mode::Global => "Global lines",
        Mode::Token(_) => "crypto pki token",
        Mode::Trustpoint(_) => "crypto pki trustpoint",
        Mode::Profile(_) => "crypto pki profile enrollment",
        Mode::CertificateMap(..) => "crypto pki certificate map",
        Mode::Server(_) => "crypto pki server",
        Mode::CertificateChain(_) => "crypto pki certificate chain",
        Mode::PubkeyChain => "crypto key pubkey-chain rsa",
        Mode::Pubkey(_) => "named-key and addressed-key",
        Mode::KeyString(_) | Mode::Certificate(..) => "hex",
    }
}

// xorshift64: the same lines in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    fn pick(&mut self, from: &[&str]) -> String {
        from[self.below(from.len())].to_owned()
    }

    /// A line that help promises.
    fn line(&mut self, editor: &Editor) -> String {
        if editor.mode().is_raw() {
            // Once in a while a key, else whatever.
            let key: String = KEYS.lines().skip_while(|line| !line.contains("key-string")).skip(1).collect();
            return self.pick(&[key.trim_end_matches("quit"), "30 00", "quit", "quit", "quit"]);
        }
        let mut line = String::new();
        loop {
            let next = editor.next(&line, None).unwrap_or_else(|error| panic!("{error}"));
            let Some((word, _)) = (!next.is_empty()).then(|| &next[self.below(next.len())]) else {
                return line;
            };
            let word = match word.as_str() {
                "<cr>" => return line,
                // Sections are to be stayed in for a while.
                "exit" | "end" if self.below(4) > 0 => continue,
                value if value.starts_with('<') => self.value(&value[1..value.len() - 1]),
                word => word.to_owned(),
            };
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&word);
            if ["exit", "end"].contains(&line.as_str()) {
                return line;
            }
        }
    }

    fn value(&mut self, name: &str) -> String {
        if let Some((min, max)) =
            name.split_once('-').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)))
        {
            let (min, max): (usize, usize) = (min, max);
            return (min + self.below(max - min + 1)).to_string();
        }
        match name {
            "url" => {
                self.pick(&["nvram:", "flash", "http://a.example/x.crl", "https://[::1]:8/?operation=GetCRL"])
            }
            "address" => self.pick(&["192.0.2.1", "::1", "x"]),
            "device" => self.pick(&["usbtoken0:", "usbtoken1", "flash:", ":"]),
            "dn" => self.pick(&["CN=a", "cn = a b,  o=\"x, y\"", "no name"]),
            "digits" => self.pick(&["12EF53FA 355CD23E 12EF53FA 355CD23E", "12ef"]),
            "command" => self.pick(&["GET /ca", "POST a=$REQ&b=$P1", "PUT x"]),
            "date" => self.pick(&["Oct 14 2026", "14 10 2026 19:44:57", "tomorrow"]),
            "hours" => self.pick(&["-5", "23", "24"]),
            "serial" => self.pick(&["01", "0C", "00CA", "F00D", "zz"]),
            "sealed" => vault().seal(&"secret".into()),
            "hidden" => self.pick(&["12141C0713181F13253920", "12", "02050D480809"]),
            "path" | "from" | "options" => self.pick(&["a b  c", "/x y/z", "! x", "exit"]),
            _ => self.pick(&["a", "b.c", "mycs", "no", "Z9_-"]),
        }
    }
}
