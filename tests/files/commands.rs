//! `dir`, `more`, `copy` and `delete` as operators type them, with servers and a token.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::fileservers::{self, PASSWORD, PASSWORD_IN_URL, USER};
use crate::support::softhsm::{plug, unplug};
use crate::support::{Ca, Ran, until};

const CONFIGURATION: &str = "hostname CA1\nip http server\nip http port 0\nip http bind 127.0.0.1\n\
    crypto pki token usbtoken0\n profile softhsm2\n label tokenca\n user-pin file pin.txt\n";

/// A command whose questions are answered by these lines.
fn answered(ca: &Ca, line: &str, answers: &str) -> Ran {
    let mut program: Command = ca.program();
    program.args(line.split_whitespace()).stdin(Stdio::piped());
    let mut child = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(answers.as_bytes()).unwrap();
    Ran::of(line, child.wait_with_output().unwrap())
}

fn refused(ca: &Ca, line: &str, why: &str) {
    ca.try_cli(&line.split_whitespace().collect::<Vec<_>>()).exited(1).says(why);
}

/// As the document restores a certificate server, from a backup on a TFTP server.
#[test]
fn a_backup_comes_from_a_tftp_server() {
    let ca = Ca::with_configuration(CONFIGURATION);
    let server = fileservers::tftp("127.0.0.1", &[]);
    let serial = "db_version = 1\nlast_serial = 0x1";
    fs::write(server.root().join("backup.ser"), serial).unwrap();
    fs::write(server.root().join("mycs.crl"), b"0\x82\x01\x28\x30").unwrap();

    let copied = ca.exec(&format!("copy {} nvram:mycs.ser", server.url("tftp", "backup.ser")));
    assert!(copied.starts_with("32 bytes copied in ") && copied.ends_with(" bytes/sec)\n"), "{copied}");
    assert_eq!(ca.exec("more nvram:mycs.ser"), format!("{serial}\n"));

    let host = format!("127.0.0.1:{}", server.port);
    answered(&ca, "copy tftp: nvram:", &format!("{host}\nmycs.crl\n\n"))
        .success()
        .says("Address or name of remote host []? ")
        .says("Source filename []? ")
        .says("Destination filename [mycs.crl]? ")
        .says("5 bytes copied in ");
    assert!(ca.exec("more mycs.crl").starts_with("00000000: 30820128 30"));
    let dir = ca.exec("dir");
    assert!(dir.starts_with("Directory of nvram:/\n\n    1  -rw-           5  "), "{dir}");
    assert!(dir.contains("  mycs.crl\n    2  -rw-          32  ") && dir.contains("  mycs.ser\n"), "{dir}");
    for ours in ["tokenca", "pin.txt", "lock", "config-key"] {
        assert!(!dir.contains(ours), "{dir}");
    }
    refused(&ca, "more pin.txt", "% nvram:pin.txt: this is not a file for operators");

    refused(&ca, "copy tftp: nvram:", "% tftp: needs a host");
    refused(&ca, &format!("copy {} nvram:", server.url("tftp", "none")), "no such file");
    answered(&ca, "copy nvram:mycs.ser tftp:", &format!("{host}\nnew.ser\n")).success();
    let stored = || fs::read_to_string(server.root().join("new.ser")).ok();
    until("atftpd has the file", || stored().filter(|stored| stored == serial));
}

#[test]
fn the_configuration_is_kept_on_an_ftp_server() {
    let mut ca = Ca::with_configuration(CONFIGURATION);
    let server = fileservers::ftp("127.0.0.1", "");
    let base = server.url("ftp", "");
    refused(&ca, &format!("copy startup-config {base}"), "user name or password refused");
    ca.configure(&format!("ip ftp username {USER}\nip ftp password {PASSWORD}\n"));
    ca.exec("write memory");
    let startup = fs::read_to_string(ca.state().join("startup-config")).unwrap();
    assert!(startup.contains("ip ftp password 6 ") && !startup.contains(PASSWORD));

    for source in ["startup-config", "running-config", "system:running-config", "nvram:startup-config"] {
        answered(&ca, &format!("copy {source} {base}"), "\n")
            .success()
            .says("Destination filename [ca1-confg]? ");
        assert_eq!(fs::read_to_string(server.root().join("ca1-confg")).unwrap(), startup);
        fs::remove_file(server.root().join("ca1-confg")).unwrap();
    }

    // What is the next start's configuration is looked at first, and its passwords are sealed.
    let put = |text: &str| fs::write(server.root().join("new"), text).unwrap();
    let copy = format!("copy {base}new startup-config");
    put("hostname CA2\nhostnome CA3\n");
    refused(&ca, &copy, "line 2:\nhostnome CA3\n^");
    fs::write(server.root().join("new"), b"\xff\xfe").unwrap();
    refused(&ca, &copy, "% the file is no configuration: it is not text");
    assert_eq!(fs::read_to_string(ca.state().join("startup-config")).unwrap(), startup);
    put(
        "hostname CA2\r\nip ftp username x\r\nip ftp password clear\r\nrouter bgp 1\r\n neighbor x\r\nend\r\n",
    );
    let told = ca.exec(&copy);
    assert!(told.contains("`router` is a line of a router: left out"), "{told}");
    let kept = fs::read_to_string(ca.state().join("startup-config")).unwrap();
    assert!(kept.starts_with("hostname CA2\n") && !kept.contains("clear"), "{kept}");
    assert!(ca.exec("show running-config").contains("\nhostname CA1\n"));

    // Not even the most talkative log has a password.
    ca.stop();
    let log = ca.state().join("log");
    let mut serve = ca.program();
    serve.env("TOKENCA_LOG", "trace").arg("serve").stdout(Stdio::null());
    let mut serve = serve.stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    let with_password = format!("more ftp://{USER}:{PASSWORD_IN_URL}@{}new", &base["ftp://".len()..]);
    until("the server answers", || ca.state().join("tokenca.sock").exists().then_some(()));
    let shown = ca.try_cli(&with_password.split(' ').collect::<Vec<_>>());
    serve.kill().unwrap();
    serve.wait().unwrap();
    let log = fs::read_to_string(log).unwrap();
    assert!(shown.success().stdout.starts_with("hostname CA2") && log.contains("suppaftp"), "{log}");
    for secret in ["PASS ", PASSWORD, PASSWORD_IN_URL] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

#[test]
fn a_file_copied_to_the_running_configuration_is_applied() {
    let ca = Ca::with_configuration(CONFIGURATION);
    let server = fileservers::http("127.0.0.1", None);
    let put = |text: &str| fs::write(server.root().join("open/lines"), text).unwrap();
    let copy = format!("copy {} running-config", server.url("http", "open/lines"));
    put("hostname CA2\nip host backup 192.0.2.1\nend\n");
    assert!(ca.exec(&copy).contains("42 bytes copied in "));
    let running = ca.exec("show running-config");
    assert!(running.contains("\nhostname CA2\n") && running.contains("ip host backup 192.0.2.1\n"));

    put("hostname CA3\nip hots backup 192.0.2.1\n");
    refused(&ca, &copy, "line 2:\nip hots backup 192.0.2.1\n   ^");
    assert!(ca.exec("show running-config").contains("\nhostname CA2\n"));
    // No commands: not with `do`, not those that IOS has in configuration mode.
    for line in ["do write memory", "crypto key zeroize rsa mycs"] {
        put(&format!("hostname CA3\n{line}\nyes\n"));
        refused(&ca, &copy, "has lines of the configuration only");
    }
    assert!(ca.exec("show running-config").contains("\nhostname CA2\n"));
    // From a session that configures itself; what comes later goes on from there.
    put("hostname CA4\n");
    let shown = ca.configure(&format!("hostname CA5\ndo {copy}\nip host other 192.0.2.2\n"));
    assert!(shown.contains("13 bytes copied in "), "{shown}");
    let running = ca.exec("show running-config");
    assert!(
        running.contains("\nhostname CA4\n") && running.contains("ip host other 192.0.2.2\n"),
        "{running}"
    );
}

/// Without a server, what is applied is saved.
#[test]
fn files_are_copied_without_a_server() {
    let mut ca = Ca::with_configuration(CONFIGURATION);
    ca.stop();
    fs::write(ca.state().join("lines"), "hostname CA2\n").unwrap();
    let shown = ca.exec("copy nvram:lines running-config");
    assert!(shown.contains("saved as the startup configuration"), "{shown}");
    let startup = fs::read_to_string(ca.state().join("startup-config")).unwrap();
    assert!(startup.starts_with("hostname CA2\n"), "{startup}");
    ca.cli(&["--yes", "delete", "nvram:lines"]);
    assert!(!ca.exec("dir").contains("lines"));
}

#[test]
fn files_are_kept_on_a_token() {
    let ca = Ca::with_configuration(CONFIGURATION);
    fs::write(ca.state().join("mycs.ser"), "db_version = 1\nlast_serial = 0x1").unwrap();
    answered(&ca, "copy nvram:mycs.ser usbtoken0:", "\n").success().says("32 bytes copied in ");
    let dir = ca.exec("dir usbtoken0:");
    let line = "    1  -rw-          32                    <no date>  mycs.ser\n";
    assert!(dir.starts_with(&format!("Directory of usbtoken0:/\n\n{line}")), "{dir}");
    assert_eq!(ca.exec("more usbtoken0:mycs.ser"), "db_version = 1\nlast_serial = 0x1\n");
    ca.exec("copy usbtoken0:mycs.ser nvram:back.ser");
    assert_eq!(ca.json("more nvram:back.ser")["text"], "db_version = 1\nlast_serial = 0x1");
    let systems = ca.exec("show file systems");
    assert!(systems.contains("usbtoken     rw  usbtoken0:\n"), "{systems}");

    refused(&ca, "more usbtoken0:none", "% usbtoken0:none: no such file");
    refused(&ca, "more usbtoken0:a/b", "there are no directories");
    ca.cli(&["--yes", "delete", "usbtoken0:mycs.ser"]);
    assert!(ca.exec("dir usbtoken0:").contains("No files in directory"));

    unplug(ca.token().dir.path());
    refused(&ca, "dir usbtoken0:", "% usbtoken0: ");
    plug(ca.token().dir.path());
    until("the token is back", || {
        ca.try_cli(&["dir", "usbtoken0:"]).stdout.contains("No files").then_some(())
    });
}
