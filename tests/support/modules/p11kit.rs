//! A module of another process: p11-kit's client, with its server over a SoftHSM token.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::service::Service;
use super::{TestModule, installed, softhsm};

pub fn start(module: TestModule) -> Result<TestModule, String> {
    let client = installed("pkcs11/p11-kit-client.so")?;
    let mut module = softhsm::start(module)?;
    // The server alone sees the token itself.
    module.environment.clear();
    module.library = client;
    module.variable("P11_KIT_SERVER_ADDRESS", format!("unix:path={}", socket(&module).display()));
    serve(&mut module)?;
    Ok(module)
}

/// Starts the server.
pub fn serve(module: &mut TestModule) -> Result<(), String> {
    let (token, socket) = (installed("/usr/lib/softhsm/libsofthsm2.so")?, socket(module));
    // That of a server before.
    let _ = fs::remove_file(&socket);
    let mut server = Command::new(installed("/usr/bin/p11-kit")?);
    server.env("SOFTHSM2_CONF", module.dir.join("softhsm2.conf"));
    server.args(["server", "--foreground", "--provider"]).arg(token);
    server.arg("--name").arg(&socket).arg(format!("pkcs11:token={}", module.label));
    let mut server = Service::start("p11-kit-server", &module.dir, &mut server);
    server.listens(&socket);
    module.services.push(server);
    Ok(())
}

fn socket(module: &TestModule) -> PathBuf {
    module.dir.join("p11-kit")
}
