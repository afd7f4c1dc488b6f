//! The software token of openCryptoki.
//!
//! A machine has one openCryptoki: one configuration, one token directory, one daemon with its socket and shared
//! memory. A test has it in mount and IPC namespaces of its own, where all of these are other ones.

use std::process::Command;

use nix::unistd::Uid;

use super::super::run;
use super::service::Service;
use super::{TestModule, installed, step};

pub fn start(mut module: TestModule) -> Result<TestModule, String> {
    module.library = installed("pkcs11/libopencryptoki.so")?;
    installed("/usr/sbin/pkcsslotd")?;
    if !Uid::effective().is_root() {
        return Err("openCryptoki wants root".into());
    }
    let allowed = run(&mut unshare("true"));
    if allowed.code != Some(0) {
        return Err(format!("openCryptoki wants namespaces of its own: {}", allowed.stderr));
    }
    module.write_pins();
    module.slot = Some(3);

    let mut daemon = Service::start("pkcsslotd", &module.dir, unshare(OWN_MACHINE).arg(&module.dir));
    module.within = Some(daemon.id());
    daemon.until("listens", || {
        run(module.command("/usr/bin/test").args(["-S", "/run/pkcsslotd.socket"])).code == Some(0)
    });
    module.services.push(daemon);

    // Both PINs must be changed after they were set by another, before they are good for anything.
    let so_pin = module.so_pin.clone().unwrap_or_default();
    let so = ["--login", "--login-type", "so", "--so-pin"];
    step(module.pkcs11_tool().args(["--init-token", "--label", &module.label, "--so-pin", FACTORY_SO_PIN]));
    step(module.pkcs11_tool().args(so).args([FACTORY_SO_PIN, "--change-pin", "--new-pin", &so_pin]));
    step(module.pkcs11_tool().args(so).args([&so_pin, "--init-pin", "--pin", FIRST_PIN]));
    step(module.pkcs11_tool().args([
        "--login",
        "--pin",
        FIRST_PIN,
        "--change-pin",
        "--new-pin",
        &module.pin,
    ]));
    Ok(module)
}

/// A shell that runs `script` with `$1` and so on being what is added, with mounts and shared memory of its own.
fn unshare(script: &str) -> Command {
    let mut command = Command::new("/usr/bin/unshare");
    command.args(["--mount", "--ipc", "sh", "-ec", script, "sh"]);
    command
}

/// The daemon, with `$1` for its configuration and its tokens.
const OWN_MACHINE: &str = r#"
mount -t tmpfs none /run
mount -t tmpfs none /dev/shm
mkdir -p "$1/etc" "$1/lib/swtok/TOK_OBJ" /run/lock/opencryptoki/swtok
printf 'version opencryptoki-3.1\nslot 3\n{\nstdll = libpkcs11_sw.so\ntokname = swtok\n}\n' \
    >"$1/etc/opencryptoki.conf"
chgrp -R pkcs11 "$1/lib" /run/lock/opencryptoki
mount --bind "$1/etc" /etc/opencryptoki
mount --bind "$1/lib" /var/lib/opencryptoki
exec /usr/sbin/pkcsslotd -f
"#;

/// What a new token has.
const FACTORY_SO_PIN: &str = "87654321";

/// What the security officer gives the user.
const FIRST_PIN: &str = "12345678";
