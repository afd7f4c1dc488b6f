//! The software token of NSS, whose place is said in `pReserved` alone. Debian's `libnss3`.

use super::{TestModule, installed, step};

pub fn start(mut module: TestModule) -> Result<TestModule, String> {
    module.library = installed("libsoftokn3.so")?;
    installed("/usr/bin/certutil")?;
    module.label = "NSS Certificate DB".into();
    // A database is made with its user's password.
    module.so_pin = None;
    module.write_pins();
    let dir = format!("sql:{}", module.dir.display());
    step(module.command("certutil").args(["-N", "-d", &dir, "-f"]).arg(module.pin_file()));
    module.parameters =
        Some(format!("configdir='{dir}' certPrefix='' keyPrefix='' secmod='secmod.db' flags="));
    Ok(module)
}
