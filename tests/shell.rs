//! Terminals and the running server: what an operator does there, and what clients notice of it.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use support::device::Device;
use support::shell::Terminal;
use support::{Ca, until};

/// A connection that is kept between requests.
struct Kept {
    reader: BufReader<TcpStream>,
    host: String,
}

impl Kept {
    fn new(ca: &Ca) -> Self {
        let stream = TcpStream::connect(ca.address()).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
        Self { reader: BufReader::new(stream), host: ca.address().to_owned() }
    }

    /// The status of the response to a POST of so many octets.
    fn post(&mut self, octets: usize) -> u16 {
        let head = format!(
            "POST /scep?operation=GetCACaps HTTP/1.1\r\nHost: {}\r\nContent-Length: {octets}\r\n\r\n",
            self.host
        );
        let request = [head.into_bytes(), vec![b'x'; octets]].concat();
        self.reader.get_mut().write_all(&request).expect("the connection is there");
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("a response");
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let mut length = 0;
        while line.trim_end() != "" {
            line.clear();
            self.reader.read_line(&mut line).expect("a header");
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
        }
        self.reader.read_exact(&mut vec![0; length]).expect("a body");
        status.unwrap_or_else(|| panic!("{line:?} is no status line"))
    }
}

#[test]
fn settings_are_applied_without_dropping_connections() {
    let ca = Ca::new(&["grant auto"]);
    let mut kept = Kept::new(&ca);
    assert_eq!(kept.post(3000), 200);
    let address = ca.address().to_owned();
    ca.configure("ip http max-request-size 2000\nhostname ca2\ncrypto pki server mycs\n lifetime crl 24\n");
    until("what is set holds", || (Kept::new(&ca).post(3000) == 413).then_some(()));
    // Also for the connection that there was.
    assert_eq!(kept.post(1000), 200);
    assert_eq!(kept.post(3000), 413);
    assert_eq!(ca.json("show ip http server status")["listening"], *address);

    ca.configure("no ip http server");
    until("nothing listens there any more", || TcpStream::connect(&address).err());
}

#[test]
fn debugging_tells_what_happens_and_no_secret() {
    let ca = Ca::new(&[]);
    let watching = Terminal::start(ca.program().args(["terminal", "monitor"]));
    let mut shell = Terminal::start(&mut ca.program());
    shell.line("terminal monitor");
    for (flag, name) in [("server", "Certificate Server"), ("transactions", "Trans"), ("messages", "Msg")] {
        let said = ca.exec(&format!("debug crypto pki {flag}"));
        assert_eq!(said, format!("Crypto PKI {name} debugging is on\n"));
    }
    assert_eq!(
        ca.exec("show debugging"),
        "PKI:\n  Crypto PKI Certificate Server debugging is on\n  Crypto PKI Trans debugging is on\n  \
         Crypto PKI Msg debugging is on\n"
    );

    // A request that waits, is granted by hand, and is asked for again.
    let device = Device::new("CN=dev1, O=Example");
    device.enrol(&ca, None).is_pending();
    ca.grant(1);
    device.poll(&ca).certificate();
    // One that a password authorizes, and one that a wrong one does not.
    let password = ca.password();
    Device::new("CN=dev2").enrol(&ca, Some(&password)).certificate();
    let wrong = "aVeryWrongPassword";
    Device::new("CN=dev3").enrol(&ca, Some(wrong)).is_failure(tokenca::scep::FailInfo::BadRequest);

    let expected = [
        "CRYPTO_CS: received a SCEP request",
        "CRYPTO_CS: scep msg type - 19",
        "CRYPTO_CS: trans id - ",
        "CRYPTO_PKI: PkcsReq received from 127.0.0.1, transaction ",
        "CRYPTO_CS: received an enrollment request",
        "CRYPTO_CS: reqID = 1",
        "CRYPTO_CS: sent SCEP pending reply",
        "status = 102: certificate request pending",
        "CRYPTO_CS: Granting enrollment request 1",
        "%PKI-6-CERTISSUE: Certificate 0x2 issued by mycs to cn=dev1,o=Example",
        "CRYPTO_CS: reqID=1 granted, fingerprint=",
        "CRYPTO_CS: scep msg type - 20",
        "CRYPTO_CS: Certificate sent to requestor",
        "status = 100: certificate is granted",
        "CRYPTO_CS: Granting enrollment request 2",
        "status = 101: certificate request is rejected, BadRequest",
    ];
    watching.shows(expected[expected.len() - 1]);
    let watched = watching.interrupt();
    let in_order = |text: &str| {
        let mut rest = text;
        for line in expected {
            let at = rest.find(line).unwrap_or_else(|| panic!("{line:?} is not, or not there, in:\n{text}"));
            rest = &rest[at..];
        }
    };
    in_order(&watched);
    shell.shows(expected[expected.len() - 1]);
    let kept = ca.exec("show logging");
    in_order(&kept);
    in_order(&ca.log());
    // A message is there as it came: encrypted.
    assert!(kept.contains("CRYPTO_PKI: message received from 127.0.0.1, "), "{kept}");
    assert!(kept.contains(" bytes:\nMII"), "{kept}");
    let pin = std::fs::read_to_string(ca.token().pin_file()).expect("a PIN");
    for text in [&watched, &kept, &shell.shown(), &ca.log()] {
        for secret in [password.as_str(), wrong, pin.trim()] {
            assert!(!text.contains(secret), "a secret is told:\n{text}");
        }
    }

    // What is off is silent; syslog lines stay.
    assert_eq!(ca.exec("undebug all"), "All possible debugging has been turned off\n");
    ca.exec("clear logging");
    shell.line("terminal no monitor");
    shell.line("show version");
    shell.shows("tokenca, Version");
    Device::new("CN=dev4").enrol(&ca, Some(&ca.password())).certificate();
    let kept = ca.exec("show logging");
    assert!(kept.contains("%PKI-6-CERTISSUE: Certificate 0x4"), "{kept}");
    assert!(!kept.contains("CRYPTO_"), "{kept}");
    let (code, shown) = shell.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains("Certificate 0x4"), "{shown}");
}

#[test]
fn who_did_what_is_in_the_journal() {
    let ca = Ca::new(&[]);
    ca.configure(
        "hostname ca2\ncrypto pki server mycs\n lifetime crl 24\nip ftp username u\nip ftp password hunter2\n",
    );
    ca.exec("show version");
    ca.exec("crypto pki server mycs password generate 5");
    ca.try_cli(&["crypto", "pki", "server", "mycs", "grant", "7"]).exited(1);
    let mut shell = Terminal::start(&mut ca.program());
    for line in
        ["conf t", "crypto pki server mycs", "grant none", "grant none", "exit", "hostname a b", "end"]
    {
        shell.line(line);
    }
    assert_eq!(shell.end().0, Some(0));

    let entries = ca.json("show archive log config all");
    let entries = entries.as_array().expect("a list");
    let told: Vec<_> = entries
        .iter()
        .map(|entry| (entry["command"].as_str().unwrap().trim(), entry["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            (
                "hostname ca2\ncrypto pki server mycs\n lifetime crl 24\nip ftp username u\n\
                 ip ftp password *",
                "done"
            ),
            ("crypto pki server mycs password generate 5", "done"),
            ("crypto pki server mycs grant 7", "there is no request 7"),
            ("crypto pki server mycs\n grant none", "done"),
        ]
    );
    let output = std::process::Command::new("id").arg("-un").output().expect("id is everywhere");
    let user = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(entries.iter().all(|entry| entry["user"] == *user && entry["uid"].is_u64()), "{entries:?}");
    let shown = ca.exec("show archive log config 3 3");
    assert!(shown.contains("|crypto pki server mycs grant 7\n") && shown.lines().count() == 3, "{shown}");
    let logged = format!("%PARSER-5-CFGLOG_LOGGEDCMD: User:{user}  logged command:");
    for command in ["hostname ca2", " lifetime crl 24", "crypto pki server mycs grant 7", " grant none"] {
        assert!(ca.log().contains(&format!("{logged}{command}\n")), "{command} in\n{}", ca.log());
    }
    for text in [ca.log(), ca.exec("show logging"), ca.exec("show archive log config all")] {
        assert!(!text.contains("hunter"), "{text}");
    }
}

#[test]
fn a_group_may_use_the_socket_and_nothing_else() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    use std::{fs, process::Command};

    let ca = Ca::new(&[]);
    let (state, socket) = (ca.state(), ca.state().join("tokenca.sock"));
    let mode = |path: &std::path::Path| fs::metadata(path).expect("it is there").mode() & 0o777;
    assert_eq!((mode(&state), mode(&socket)), (0o700, 0o600));

    // Root may take any group, others only their own.
    let id = |arguments: &[&str]| {
        let output = Command::new("id").args(arguments).output().expect("id is everywhere");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let is_root = id(&["-u"]) == "0";
    let (group, gid) = match is_root {
        true => ("daemon".to_owned(), id(&["-g", "daemon"])),
        false => (id(&["-gn"]), id(&["-g"])),
    };
    let gid: u32 = gid.parse().expect("a number");
    ca.configure(&format!("socket group {group}"));
    until("the socket is shared", || (mode(&socket) == 0o660).then_some(()));
    assert_eq!(mode(&state), 0o710);
    assert_eq!((fs::metadata(&socket).unwrap().gid(), fs::metadata(&state).unwrap().gid()), (gid, gid));
    for entry in fs::read_dir(&state).expect("a directory") {
        let path = entry.expect("an entry").path();
        assert!(path == socket || mode(&path) & 0o077 == 0, "{} is open", path.display());
    }

    if is_root {
        fs::set_permissions(ca.token().dir.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        let as_nobody =
            |gid, program: &mut Command| support::run(program.uid(65534).gid(gid).current_dir("/"));
        let asked = as_nobody(gid, ca.program().args(["crypto", "pki", "server", "mycs", "grant", "7"]));
        asked.exited(1).says("there is no request 7");
        let journal = ca.json("show archive log config all");
        assert_eq!(journal.as_array().and_then(|all| all.last()).expect("an entry")["uid"], 65534);
        as_nobody(65534, ca.program().args(["show", "version"])).exited(1).says("socket group");
        for (program, path) in [("ls", state.clone()), ("cat", state.join("startup-config"))] {
            let ran = as_nobody(gid, Command::new(program).arg(path));
            assert_ne!(ran.code, Some(0), "{ran:?}");
        }
    }

    let unknown = "socket group no-such-group-here";
    let mut shell = Terminal::start(&mut ca.program());
    ["conf t", unknown, "end"].iter().for_each(|line| shell.line(line));
    assert!(shell.end().1.contains("there is no group \"no-such-group-here\" on this host"));
    ca.configure("no socket group");
    until("the socket is private", || (mode(&socket) == 0o600).then_some(()));
    until("the directory is private", || (mode(&state) == 0o700).then_some(()));
}

#[test]
fn a_terminal_has_completion_help_and_the_log() {
    let ca = Ca::new(&[]);
    let words = ca.program();
    let command: Vec<_> = std::iter::once(words.get_program()).chain(words.get_args()).collect();
    let command: Vec<_> = command.iter().map(|word| word.to_str().expect("UTF-8")).collect();
    // util-linux gives a program a terminal and copies between it and ours.
    let mut script = std::process::Command::new("script");
    script.args(["-qfec", &command.join(" "), "/dev/null"]).env("TERM", "xterm");
    let mut shell = Terminal::start(&mut script);
    shell.answers("", "ca1#");
    shell.answers("sh\t", "ca1#show ");
    shell.answers("ver\t\r", "tokenca, Version");
    shell.answers("", "ca1#");
    shell.answers("crypto pki server mycs gr?", "  grant  Grant requests");
    shell.answers("", "ca1#");
    // The line is there again, to be gone on with.
    shell.answers("ant all\r", "% There are no such requests.");
    shell.answers("", "ca1#");
    shell.answers("terminal monitor\r", "ca1#");
    shell.answers("conf t\r", "ca1(config)#");
    shell.answers("crypto pki server mycs\r", "ca1(cs-server)#");
    shell.answers("cdp-url http://h/c?", "<url>");
    shell.answers("", "#cdp-url http://h/c");
    shell.answers("op=x", "op=x");
    // Ctrl-C drops the line; Ctrl-V lets a question mark be one.
    shell.answers("\x03", "ca1(cs-server)#");
    shell.answers("cdp-url http://h/c\x16?op=x\r", "logged command: cdp-url http://h/c?op=x");
    // A line of the log comes while a command is typed, which goes on below.
    shell.answers("grant n", "grant n");
    ca.configure("hostname ca2");
    shell.shows("logged command:hostname ca2");
    shell.answers("one\x1a", "ca1#".replace("ca1", "ca2").as_str());
    shell.keys("\x04");
    let (code, shown) = shell.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(ca.exec("show running-config").contains(" grant none\n cdp-url http://h/c?op=x\n"), "{shown}");
}
