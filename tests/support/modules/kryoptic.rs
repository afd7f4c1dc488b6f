//! Kryoptic, built from `tests/kryoptic`: PKCS#11 3.2 with ML-DSA.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::run;
use super::TestModule;

pub fn start(mut module: TestModule) -> Result<TestModule, String> {
    module.library = built()?;
    module.write_pins();
    let conf = module.dir.join("kryoptic.conf");
    let store = module.dir.join("token.sql");
    let text = format!("[[slots]]\nslot = 1\ndbtype = \"sqlite\"\ndbargs = \"{}\"\n", store.display());
    fs::write(&conf, text).expect("a configuration");
    module.variable("KRYOPTIC_CONF", conf);

    module.initialise("1");
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
