//! Kryoptic, built from `tests/kryoptic`: PKCS#11 3.2 with ML-DSA.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::run;
use super::{TestModule, step};

pub fn start(mut module: TestModule) -> Result<TestModule, String> {
    module.library = built()?;
    module.write_pins();
    let conf = module.dir.join("kryoptic.conf");
    let store = module.dir.join("token.sql");
    let text = format!("[[slots]]\nslot = 1\ndbtype = \"sqlite\"\ndbargs = \"{}\"\n", store.display());
    fs::write(&conf, text).expect("a configuration");
    module.variable("KRYOPTIC_CONF", conf);

    let so_pin = module.so_pin.clone().unwrap_or_default();
    let tool = || {
        let mut command = module.command("pkcs11-tool");
        command.arg("--module").arg(&module.library).args(["--slot", "1", "--so-pin", &so_pin]);
        command
    };
    step(tool().args(["--init-token", "--label", &module.label]));
    step(tool().args(["--login", "--login-type", "so", "--init-pin", "--pin", &module.pin]));
    Ok(module)
}

/// A program with Kryoptic's OpenSSL that verifies signatures; `tests/kryoptic/src/bin/verify.rs` says how.
pub fn verifier() -> Result<PathBuf, String> {
    Ok(built()?.with_file_name("verify"))
}

fn built() -> Result<PathBuf, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/build-kryoptic");
    let ran = run(Command::new(script).arg("--built"));
    if ran.code == Some(0) { Ok(ran.stdout.trim_end().into()) } else { Err(ran.stderr) }
}
