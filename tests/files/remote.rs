//! Servers of other makers.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use tokenca::files::{FileError, Files, Login, Places, Timeouts};

use crate::support::fileservers::{self, BUCKET, FileServer, PASSWORD, PASSWORD_IN_URL, USER};
use crate::support::until;
use crate::{names, places, url};

fn files() -> Files {
    Files::new(Places::default()).with_timeouts(short())
}

/// As long as a server on this host needs, whatever else the host does.
fn short() -> Timeouts {
    let seconds = Duration::from_secs;
    Timeouts { connect: seconds(10), silence: seconds(10), total: seconds(60) }
}

fn login() -> Login {
    Login { username: USER.into(), password: PASSWORD.to_owned().into() }
}

fn stranger() -> Login {
    Login { username: USER.into(), password: "wrong".to_owned().into() }
}

/// Sizes around blocks and buffers.
const SIZES: &[usize] = &[0, 1, 32, 511, 512, 513, 1399, 1400, 1401, 2800, 70_000];

fn octets(size: usize) -> Vec<u8> {
    // All values, line ends among them, and no period that a block has.
    (0..size).map(|n| (n % 251) as u8).collect()
}

/// Writes, reads back and overwrites `base/f`, in sizes that matter.
#[track_caller]
fn round_trips(files: &Files, base: &str, login: Option<&Login>) {
    let file = url(base).join("mycs#6101CA.cer");
    let is_tftp = file.scheme() == "tftp";
    let missing = files.read(&file, login).unwrap_err();
    assert_eq!(missing.to_string(), format!("{file}: no such file"));
    for size in SIZES {
        files.write(&file, &octets(*size), login).unwrap_or_else(|error| panic!("{size}: {error}"));
        // atftpd closes the file only after it has acknowledged the end of it.
        until("what was written is read", || {
            let read = files.read(&file, login).unwrap_or_else(|error| panic!("{size}: {error}"));
            (read == octets(*size) || !is_tftp).then(|| assert!(read == octets(*size), "{file}: {size}"))
        });
    }
}

#[track_caller]
fn deletes(files: &Files, base: &str, login: Option<&Login>) {
    let file = url(base).join("mycs#6101CA.cer");
    files.delete(&file, login).unwrap();
    assert!(files.read(&file, login).unwrap_err().is_not_found());
    let again = files.delete(&file, login).unwrap_err();
    assert_eq!(again.to_string(), format!("{file}: no such file"));
}

fn said(result: Result<impl std::fmt::Debug, FileError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn tftp_carries_files_of_all_sizes() {
    for (host, options) in
        [("127.0.0.1", &[][..]), ("::1", &[]), ("127.0.0.1", &["--no-blksize", "--no-tsize"])]
    {
        let server = fileservers::tftp(host, options);
        fs::create_dir(server.root().join("dir")).unwrap();
        round_trips(&files(), &server.url("tftp", "dir"), None);
        let stored = fs::read(server.root().join("dir/mycs#6101CA.cer")).unwrap();
        assert!(stored == octets(70_000));
    }
}

#[test]
fn tftp_says_what_it_cannot_do() {
    let server = fileservers::tftp("127.0.0.1", &[]);
    let file = url(&server.url("tftp", "f"));
    assert!(said(files().delete(&file, None)).ends_with("/f: TFTP does not delete files"));
    assert!(said(files().list(&file, None)).ends_with("/f: TFTP does not list directories"));
    assert!(
        said(files().write(&url(&server.url("tftp", "no/dir/f")), b"x", None)).contains("access refused")
    );
    assert!(said(files().write(&url(&server.url("tftp", "")), b"x", None)).contains("it is empty"));
    assert!(said(files().read(&url(&server.url("tftp", "a%00b")), None)).contains("control character"));
    let long = url(&server.url("tftp", &"n".repeat(600)));
    assert!(said(files().read(&long, None)).contains("it is too long"));
}

#[test]
fn ftp_writes_reads_lists_and_deletes() {
    for host in ["127.0.0.1", "::1"] {
        let server = fileservers::ftp(host, "");
        fs::create_dir(server.root().join("a dir")).unwrap();
        let (files, login) = (files(), login());
        let base = server.url("ftp", "a%20dir");
        round_trips(&files, &base, Some(&login));
        assert_eq!(names(&files, &base, Some(&login)), ["mycs#6101CA.cer"]);
        let top = files.list(&url(&server.url("ftp", "")), Some(&login)).unwrap();
        assert_eq!((top.entries[0].name.as_str(), top.entries[0].directory), ("a dir", true));
        let entry = &files.list(&url(&base), Some(&login)).unwrap().entries[0];
        assert_eq!((entry.size, entry.directory, entry.writable), (70_000, false, true));
        assert!(entry.modified.is_some());
        // The password in the URL wins; `//` leads to the root, not to the user's directory.
        let absolute = format!("ftp://{USER}:{PASSWORD_IN_URL}@{}/", &server.url("ftp", "")[6..]);
        let absolute = format!("{}{}/a%20dir/mycs#6101CA.cer", absolute.trim_end_matches('/'), "//")
            .replace("///a%20dir", &format!("/{}/a%20dir", server.root().display()));
        assert!(files.read(&url(&absolute), Some(&stranger())).unwrap() == octets(70_000));
        deletes(&files, &base, Some(&login));
    }
}

#[test]
fn ftp_says_why_not() {
    let server =
        fileservers::ftp("127.0.0.1", "<Directory />\n<Limit READ>\nDenyAll\n</Limit>\n</Directory>");
    let (files, login) = (files(), login());
    let file = url(&server.url("ftp", "f"));
    for login in [Some(&stranger()), None] {
        let error = files.read(&file, login).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("user name or password refused: 530") && text.contains("\nhint: "), "{text}");
        assert!(!error.is_temporary() && !text.contains("wrong"));
    }
    fs::write(server.root().join("f"), "x").unwrap();
    assert!(said(files.read(&file, Some(&login))).contains("access refused: 550"));
    let text = said(files.write(&url(&server.url("ftp", "no/dir/f")), b"x", Some(&login)));
    assert!(text.contains("no such directory"), "{text}");
    let text = said(files.list(&url(&server.url("ftp", "no/dir")), Some(&login)));
    assert!(text.contains("no such directory"), "{text}");
    assert!(
        said(files.delete(&url(&server.url("ftp", "a%0D%0ADELE%20f")), Some(&login))).contains("control")
    );
    assert!(server.root().join("f").exists());
}

/// The server takes so much and no more; and it is killed while a file comes in.
#[test]
fn an_ftp_server_that_goes_away_in_the_middle_keeps_the_old_file() {
    let login = login();
    let small = fileservers::ftp("127.0.0.1", "MaxStoreFileSize 4 Kb");
    let file = url(&small.url("ftp", "f"));
    files().write(&file, b"old", Some(&login)).unwrap();
    let error = files().write(&file, &octets(1_000_000), Some(&login)).unwrap_err();
    assert!(error.is_temporary(), "{error}");
    assert_eq!(files().read(&file, Some(&login)).unwrap(), b"old");
    assert_eq!(names(&files(), &small.url("ftp", ""), Some(&login)), ["f"]);

    let mut slow = fileservers::ftp("127.0.0.1", "TransferRate STOR 16");
    let file = url(&slow.url("ftp", "f"));
    files().write(&file, b"old", Some(&login)).unwrap();
    let writer = std::thread::spawn({
        let (file, login) = (file.clone(), login.clone());
        move || files().write(&file, &octets(8_000_000), Some(&login))
    });
    let new = slow.root().join("f.new");
    until("a part of the new file is there", || fs::metadata(&new).ok().filter(|new| new.len() > 0));
    slow.stop();
    let error = writer.join().unwrap().unwrap_err();
    assert!(error.is_temporary(), "{error}");
    assert_eq!(fs::read(slow.root().join("f")).unwrap(), b"old");
}

#[test]
fn http_puts_gets_and_deletes() {
    for host in ["127.0.0.1", "::1"] {
        let server = fileservers::http(host, None);
        let files = files();
        // Directories on the way are made by the server.
        let open = server.url("http", "open/new/dir");
        round_trips(&files, &open, None);
        assert!(server.root().join("open/new/dir/mycs#6101CA.cer").exists());
        deletes(&files, &open, None);

        let closed = server.url("http", "closed");
        round_trips(&files, &closed, Some(&login()));
        deletes(&files, &closed, Some(&login()));
    }
}

#[test]
fn http_says_why_not() {
    let server = fileservers::http("127.0.0.1", None);
    let files = files();
    let at = |path: &str| url(&server.url("http", path));
    for login in [None, Some(&stranger())] {
        for text in [
            said(files.read(&at("closed/f"), login)),
            said(files.write(&at("closed/f"), b"x", login)),
            said(files.delete(&at("closed/f"), login)),
        ] {
            assert!(text.contains("user name or password refused: 401 Unauthorized\nhint: "), "{text}");
        }
    }
    let busy = files.write(&at("busy/f"), b"x", None).unwrap_err();
    assert!(busy.is_temporary() && busy.to_string().contains("503 Service Unavailable"), "{busy}");
    assert!(said(files.read(&at("secret/f"), None)).contains("access refused: 403 Forbidden"));
    assert!(said(files.write(&at("f"), b"x", None)).contains("the server takes no files by PUT"));
    assert!(said(files.write(&at("open/"), b"x", None)).contains("it is empty"));
    assert!(said(files.list(&at("open/"), None)).contains("HTTP does not list directories"));
    let large = files.write(&at("open/f"), &octets(2_000_000), None).unwrap_err();
    assert!(large.to_string().contains("413") && !large.is_temporary(), "{large}");
    // Another place is read from, and not written to.
    files.write(&at("open/f"), b"there", None).unwrap();
    assert_eq!(files.read(&at("moved/f"), None).unwrap(), b"there");
    assert!(said(files.write(&at("moved/f"), b"x", None)).contains("302 Found"));
    assert_eq!(files.read(&at("open/f"), None).unwrap(), b"there");
}

#[test]
fn https_trusts_only_known_authorities() {
    let keys = tempfile::tempdir().unwrap();
    let authority = fileservers::certify(keys.path());
    let server = fileservers::http("127.0.0.1", Some(keys.path()));
    let base = server.url("https", "open").replace("127.0.0.1", "localhost");
    let places = Places { authorities: vec![authority.clone()], ..Places::default() };
    let trusting = Files::new(places);
    round_trips(&trusting, &base, None);
    // What is asked for by TLS is not taken without.
    let clear = base.replace("/open", "/clear/f");
    assert!(said(trusting.read(&url(&clear), None)).contains("another place, which has no TLS"));

    let error = files().read(&url(&base).join("f"), None).unwrap_err();
    assert!(error.to_string().contains("TLS: ") && error.to_string().contains("\nhint: "), "{error}");
    assert!(!error.is_temporary());
    // The certificate is for another name.
    let places = Places { authorities: vec![authority], ..Places::default() };
    let error = Files::new(places).read(&url(&server.url("https", "open/f")), None).unwrap_err();
    assert!(error.to_string().contains("TLS: "), "{error}");
}

#[test]
fn s3_writes_reads_lists_and_deletes() {
    let server = fileservers::s3();
    let (files, login) = (files(), login());
    let at = |path: &str| format!("s3://{BUCKET}/{path}?endpoint=http://127.0.0.1:{}", server.port);
    for base in ["", "ca/new dir"] {
        round_trips(&files, &at(base), Some(&login));
        assert!(names(&files, &at(base), Some(&login)).contains(&"mycs#6101CA.cer".to_owned()));
    }
    let top = files.list(&url(&at("")), Some(&login)).unwrap().entries;
    let top: Vec<_> = top.iter().map(|entry| (entry.name.as_str(), entry.directory, entry.size)).collect();
    assert_eq!(top, [("ca", true, 0), ("mycs#6101CA.cer", false, 70_000)]);
    assert!(files.list(&url(&at("")), Some(&login)).unwrap().entries[1].modified.is_some());
    deletes(&files, &at("ca/new dir"), Some(&login));

    let file = url(&at("mycs#6101CA.cer"));
    let other = Login { username: "somebody".into(), ..login.clone() };
    for login in [&stranger(), &other] {
        for text in [
            said(files.read(&file, Some(login))),
            said(files.write(&file, b"x", Some(login))),
            said(files.list(&url(&at("")), Some(login))),
        ] {
            assert!(text.contains("user name or password refused: "), "{text}");
        }
    }
    let nowhere = at("f").replace(BUCKET, "nowhere");
    assert!(said(files.write(&url(&nowhere), b"x", Some(&login))).contains("no such directory"));
    let text = said(files.read(&url("s3://pki/f?endpoint=ftp://host"), Some(&login)));
    assert!(text.contains("the endpoint must be http://HOST"), "{text}");
}

#[test]
fn a_server_that_is_down_is_noticed_at_once() {
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for scheme in ["ftp", "http", "https"] {
        let file = url(&format!("{scheme}://127.0.0.1:{port}/f"));
        let start = Instant::now();
        for error in [files().read(&file, None).unwrap_err(), files().write(&file, b"x", None).unwrap_err()] {
            assert!(error.is_temporary() && error.to_string().contains("cannot be reached"), "{error}");
        }
        assert!(start.elapsed() < Duration::from_secs(5));
    }
    let error = files().read(&url(&format!("s3://b/f?endpoint=http://127.0.0.1:{port}")), None).unwrap_err();
    assert!(error.is_temporary() && error.to_string().contains("cannot be reached"), "{error}");
}

#[test]
fn a_server_that_says_nothing_is_not_waited_for_longer_than_told() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let silent_too = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let udp = silent_too.local_addr().unwrap().port();
    let millis = Duration::from_millis;
    let impatient = Timeouts { connect: millis(700), silence: millis(700), total: millis(1500) };
    let files = files().with_timeouts(impatient);
    for name in [
        format!("ftp://127.0.0.1:{port}/f"),
        format!("http://127.0.0.1:{port}/f"),
        format!("https://127.0.0.1:{port}/f"),
        format!("s3://b/f?endpoint=http://127.0.0.1:{port}"),
        format!("tftp://127.0.0.1:{udp}/f"),
    ] {
        for write in [false, true] {
            let start = Instant::now();
            let error = match write {
                true => files.write(&url(&name), b"x", None).unwrap_err(),
                false => files.read(&url(&name), None).unwrap_err(),
            };
            assert!(error.is_temporary() && error.to_string().contains("timed out"), "{error}");
            assert!(start.elapsed() < Duration::from_secs(10), "{name}: {:?}", start.elapsed());
        }
    }
}

#[test]
fn hosts_are_found_by_configured_names_first() {
    let server = fileservers::tftp("127.0.0.1", &[]);
    let dir = tempfile::tempdir().unwrap();
    let hosts = [("Backup".to_owned(), "127.0.0.1".parse().unwrap())].into();
    let files = Files::new(Places { hosts, ..places(dir.path()) }).with_timeouts(short());
    let http: FileServer = fileservers::http("127.0.0.1", None);
    for name in [format!("tftp://backup:{}/f", server.port), format!("http://backup:{}/open/f", http.port)] {
        files.write(&url(&name), b"x", None).unwrap();
        assert_eq!(files.read(&url(&name), None).unwrap(), b"x");
    }
    let error = files.read(&url("tftp://nowhere.invalid/f"), None).unwrap_err();
    assert!(error.is_temporary(), "{error}");
    assert!(error.to_string().contains("the host nowhere.invalid has no known address\nhint: `ip host"));
}
