//! SoftHSM: <https://www.softhsm.org>.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{TestModule, installed, step};

pub fn start(mut module: TestModule) -> Result<TestModule, String> {
    module.library = installed("/usr/lib/softhsm/libsofthsm2.so")?;
    installed("/usr/bin/softhsm2-util")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("softhsm/new-token");
    step(Command::new(script).arg(&module.dir).args([&module.label, &module.pin]));
    let so_pin = fs::read_to_string(module.so_pin_file()).expect("the security officer's PIN");
    module.so_pin = Some(so_pin.trim_end().to_owned());
    module.variable("SOFTHSM2_CONF", module.dir.join("softhsm2.conf"));
    Ok(module)
}
