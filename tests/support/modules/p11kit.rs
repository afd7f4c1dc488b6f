//! A module of another process: p11-kit's client, with its server over a SoftHSM token.

use std::process::Command;

use super::service::Service;
use super::{TestModule, installed, softhsm};

pub fn start(module: TestModule) -> Result<TestModule, String> {
    let client = installed("pkcs11/p11-kit-client.so")?;
    let program = installed("/usr/bin/p11-kit")?;
    let mut module = softhsm::start(module)?;
    let socket = module.dir.join("p11-kit");
    let mut server = Command::new(program);
    // The server alone sees the token itself.
    server.envs(module.environment.drain(..)).args(["server", "--foreground", "--provider"]);
    server.arg(&module.library).arg("--name").arg(&socket).arg(format!("pkcs11:token={}", module.label));
    let mut server = Service::start("p11-kit-server", &module.dir, &mut server);
    server.listens(&socket);
    module.services.push(server);
    module.library = client;
    module.variable("P11_KIT_SERVER_ADDRESS", format!("unix:path={}", socket.display()));
    Ok(module)
}
