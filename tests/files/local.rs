//! Files of this host.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use tokenca::files::{Fault, FileError, Files, Places};

use crate::support::run;
use crate::{files, names, places, url};

#[test]
fn nvram_and_flash_are_written_read_listed_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let files = files(dir.path());
    fs::create_dir(dir.path().join("flash/certs")).unwrap();
    let host = format!("file:{}/f", dir.path().display());
    for name in ["nvram:mycs.ser", "mycs#6101CA.cer", "flash:f", "flash:/certs/1.cnm", &host] {
        let url = url(name);
        assert_eq!(files.read(&url, None).unwrap_err().to_string(), format!("{url}: no such file"));
        for octets in [&b"db_version = 1\nlast_serial = 0x1"[..], b"", &[0xff; 100_000]] {
            files.write(&url, octets, None).unwrap();
            assert_eq!(files.read(&url, None).unwrap(), octets);
        }
    }
    assert_eq!(names(&files, "nvram:", None), ["mycs#6101CA.cer", "mycs.ser"]);
    assert_eq!(names(&files, "flash:", None), ["certs", "f"]);
    assert_eq!(names(&files, "flash:certs", None), ["1.cnm"]);
    let listing = files.list(&url("flash:"), None).unwrap();
    assert!(listing.entries[0].directory && !listing.entries[1].directory);
    assert_eq!(listing.entries[1].size, 100_000);
    assert!(listing.entries[1].modified.is_some() && listing.entries[1].writable);
    assert!(listing.free.unwrap() <= listing.total.unwrap());

    files.delete(&url("nvram:mycs.ser"), None).unwrap();
    assert!(files.delete(&url("nvram:mycs.ser"), None).unwrap_err().is_not_found());
    assert_eq!(names(&files, "nvram:", None), ["mycs#6101CA.cer"]);
    assert_eq!(files.systems(), ["nvram:", "flash:"]);
}

#[test]
fn a_file_is_private_unless_it_is_published() {
    let dir = tempfile::tempdir().unwrap();
    let files = files(dir.path());
    let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
    files.write(&url("nvram:mycs.p12"), b"key", None).unwrap();
    assert_eq!(mode("nvram/mycs.p12"), 0o600);
    files.publish(&url("flash:mycs.crl"), b"crl", None).unwrap();
    assert_eq!(mode("flash/mycs.crl") & 0o604, 0o604);
}

#[test]
fn reserved_names_are_not_files() {
    let dir = tempfile::tempdir().unwrap();
    let files = files(dir.path());
    let nvram = dir.path().join("nvram");
    let reserved = ["tokenca.db", "tokenca.db-wal", "lock", "startup-config.new", ".x.new", ".hidden"];
    for name in reserved {
        fs::write(nvram.join(name), "ours").unwrap();
    }
    fs::write(nvram.join("startup-config"), "hostname a\n").unwrap();
    assert_eq!(names(&files, "nvram:", None), ["startup-config"]);
    // On no way: also not by the directory's own path, or through a link to it.
    symlink(&nvram, dir.path().join("link")).unwrap();
    for name in reserved {
        for path in ["nvram:", "file:DIR/nvram/", "file:DIR/link/", "file:DIR/flash/../nvram/"] {
            let path = path.replace("DIR", dir.path().to_str().unwrap());
            let url = url(&format!("{path}{name}"));
            files.read(&url, None).unwrap_err();
            files.write(&url, b"theirs", None).unwrap_err();
            files.delete(&url, None).unwrap_err();
            assert_eq!(fs::read_to_string(nvram.join(name)).unwrap(), "ours", "{url}");
        }
    }
    let error = files.read(&url("nvram:tokenca.db"), None).unwrap_err();
    assert_eq!(error.to_string(), "nvram:tokenca.db: this is not a file for operators");
}

#[test]
fn a_pin_is_no_file_wherever_it_lies() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let secrets = ["flash/pin.txt", "outside/link", "outside/later"].map(at).to_vec();
    let files = Files::new(Places { secrets, ..places(dir.path()) });
    fs::create_dir(at("outside")).unwrap();
    fs::write(at("flash/pin.txt"), "1234").unwrap();
    fs::write(at("outside/target"), "1234").unwrap();
    fs::hard_link(at("flash/pin.txt"), at("nvram/copy")).unwrap();
    symlink("target", at("outside/link")).unwrap();
    symlink(at("outside"), at("way")).unwrap();
    for name in [
        "flash:pin.txt",
        "nvram:copy",
        "file:DIR/flash/pin.txt",
        "file:DIR/outside/target",
        "file:DIR/outside/link",
        "file:DIR/outside/later",
        "file:DIR/way/../outside/target",
        "file:DIR/way/later",
    ] {
        let url = url(&name.replace("DIR", dir.path().to_str().unwrap()));
        let why = |error: FileError| assert!(matches!(error.fault, Fault::Reserved), "{error}");
        why(files.read(&url, None).unwrap_err());
        why(files.write(&url, b"9999", None).unwrap_err());
        why(files.delete(&url, None).unwrap_err());
    }
    // Nor is what this process was told in its environment.
    files.read(&url("file:/proc/self/environ"), None).unwrap_err();
}

#[test]
fn nothing_leads_out_of_a_file_system() {
    let dir = tempfile::tempdir().unwrap();
    let files = files(dir.path());
    let secret = dir.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    fs::create_dir(dir.path().join("outside")).unwrap();
    fs::write(dir.path().join("outside/f"), "secret").unwrap();
    fs::create_dir(dir.path().join("nvram/d")).unwrap();
    fs::write(dir.path().join("nvram/d/f"), "secret").unwrap();
    for system in ["nvram", "flash"] {
        symlink(&secret, dir.path().join(system).join("link")).unwrap();
        symlink("nowhere", dir.path().join(system).join("dangling")).unwrap();
        symlink("../outside", dir.path().join(system).join("out")).unwrap();
        run(Command::new("mkfifo").arg(dir.path().join(system).join("fifo"))).success();
    }
    for name in [
        "nvram:../secret",
        "nvram:d/f",
        "nvram:link",
        "nvram:dangling",
        "nvram:fifo",
        "nvram:out/f",
        "nvram:",
        "nvram:d",
        "nvram:..",
        "nvram:.",
        "flash:../secret",
        "flash:a/../../secret",
        "flash:link",
        "flash:dangling",
        "flash:fifo",
        "flash:out/f",
        "flash:out",
        "flash:.hidden",
        "flash:./f",
    ] {
        let url = url(name);
        files.read(&url, None).expect_err(name);
        files.write(&url, b"mine", None).expect_err(name);
        files.delete(&url, None).expect_err(name);
    }
    for directory in ["nvram:d", "nvram:..", "flash:..", "flash:out", "flash:f", "flash:nowhere"] {
        files.list(&url(directory), None).expect_err(directory);
    }
    assert_eq!(names(&files, "nvram:", None), [""; 0]);
    assert_eq!(names(&files, "flash:", None), [""; 0]);
    assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
    assert_eq!(fs::read_to_string(dir.path().join("outside/f")).unwrap(), "secret");
    assert!(!dir.path().join("flash/nowhere").exists());
    // What is neither a file nor finite.
    files.read(&url("file:/dev/zero"), None).unwrap_err();
}

#[test]
fn an_error_says_what_and_what_may_help() {
    let dir = tempfile::tempdir().unwrap();
    let files = files(dir.path());
    let said = |name: &str| files.write(&url(name), b"x", None).unwrap_err().to_string();
    assert!(said("disk0:f").starts_with("disk0:f: there is no file system disk0:\nhint: "));
    assert!(said("flash:d/f").starts_with("flash:d/f: no such directory\nhint: "));
    let long = "n".repeat(300);
    assert_eq!(said(&long), format!("nvram:{long}: this cannot be the name of a file: it is too long"));
    let huge = vec![0; (64 << 20) + 1];
    let error = files.write(&url("nvram:huge"), &huge, None).unwrap_err();
    assert_eq!(error.to_string(), "nvram:huge: more than 67108864 bytes");
    fs::File::create(dir.path().join("nvram/huge")).unwrap().set_len(1 << 40).unwrap();
    let error = files.read(&url("nvram:huge"), None).unwrap_err();
    assert_eq!(error.to_string(), "nvram:huge: more than 67108864 bytes");
    assert!(!error.is_temporary());
}

/// Writing stops in the middle: files of more than 8 KiB cannot be made in the child.
#[test]
fn a_write_that_fails_leaves_the_old_file_whole() {
    const CHILD: &str = "TOKENCA_TEST_FILES_DIR";
    if let Some(dir) = std::env::var_os(CHILD) {
        let files = files(dir.as_ref());
        for name in ["nvram:f", "flash:f"] {
            files.write(&url(name), b"old", None).unwrap();
            let error = files.write(&url(name), &[1; 100_000], None).unwrap_err();
            assert!(error.is_temporary(), "{error}");
            assert_eq!(files.read(&url(name), None).unwrap(), b"old");
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let name = "local::a_write_that_fails_leaves_the_old_file_whole";
    // In blocks of 512 octets; without the signal the write fails.
    let script = "ulimit -f 16; trap '' XFSZ; exec \"$@\"";
    let test = std::env::current_exe().unwrap();
    let ran = run(Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(test)
        .args([name, "--exact", "--nocapture"])
        .env(CHILD, dir.path()));
    ran.success().says("1 passed");
    for system in ["nvram", "flash"] {
        let left: Vec<_> = fs::read_dir(dir.path().join(system)).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}
