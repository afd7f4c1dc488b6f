//! A software TPM: tpm2-pkcs11 over swtpm.
//!
//! Between them is tpm2-abrmd, on a bus of its own. A TPM holds three keys at a time; the broker swaps them, as the
//! kernel does for a real one.

use std::fs;
use std::process::Command;

use super::super::run;
use super::service::Service;
use super::{TestModule, installed};

pub fn start(mut module: TestModule) -> Result<TestModule, String> {
    module.library = installed("pkcs11/libtpm2_pkcs11.so")?;
    let swtpm = installed("/usr/bin/swtpm")?;
    let dbus = installed("/usr/bin/dbus-daemon")?;
    let broker = installed("/usr/sbin/tpm2-abrmd")?;
    installed("libtss2-tcti-tabrmd.so.0")?;
    module.write_pins();
    let dir = module.dir.clone();
    for name in ["tpm", "store"] {
        fs::create_dir(dir.join(name)).expect("a directory");
    }

    let (tpm, control, bus) = (dir.join("tpm.sock"), dir.join("tpm.sock.ctrl"), dir.join("bus.sock"));
    let mut command = Command::new(swtpm);
    command.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"]);
    command.arg("--tpmstate").arg(format!("dir={}", dir.join("tpm").display()));
    command.arg("--server").arg(format!("type=unixio,path={}", tpm.display()));
    // Where the client of tpm2-tss expects it.
    command.arg("--ctrl").arg(format!("type=unixio,path={}", control.display()));
    let mut swtpm = Service::start("swtpm", &dir, &mut command);

    let address = format!("unix:path={}", bus.display());
    let mut command = Command::new(dbus);
    command.args(["--session", "--nofork", "--nopidfile", "--address", &address]);
    let mut dbus = Service::start("dbus-daemon", &dir, &mut command);

    swtpm.listens(&control);
    swtpm.listens(&tpm);
    dbus.listens(&bus);

    module.variable("DBUS_SESSION_BUS_ADDRESS", address);
    module.variable("TPM2TOOLS_TCTI", TCTI);
    module.variable("TPM2_PKCS11_TCTI", TCTI);
    module.variable("TPM2_PKCS11_STORE", dir.join("store"));
    // It warns of everything that a TPM may lack.
    module.variable("TSS2_LOG", "all+NONE");

    let mut command = module.command(broker);
    // A process may have used 27 keys unless told otherwise.
    command.args(["--session", "--allow-root", "--flush-all", "--max-transients=100"]);
    command.arg(format!("--tcti=swtpm:path={}", tpm.display()));
    let mut broker = Service::start("tpm2-abrmd", &dir, &mut command);
    broker.until("answers", || run(module.command("tpm2_getrandom").args(["--hex", "1"])).code == Some(0));
    module.services.extend([broker, dbus, swtpm]);

    // A store has an uninitialised token at its end. tpm2_ptool would take seconds for the same.
    module.initialise("1");
    Ok(module)
}

/// The TPM behind the broker.
const TCTI: &str = "tabrmd:bus_type=session";
