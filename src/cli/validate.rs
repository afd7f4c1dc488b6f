//! `crypto pki certificate validate`: certificates are checked against a trustpoint.

use std::fmt;

use serde::Serialize;

use super::{Command, Output, Run};
use crate::files::FileUrl;
use crate::node::Validation;

pub const COMMANDS: &[Command] = &[Command {
    words: "crypto pki/ca certificate validate <label> [<url>]",
    about: "Checks the certificates of a trustpoint as a peer would: path, validity, revocation by its \
            `revocation-check`; with a file, the certificate in it, and the path that others there may help to find",
    help: &[
        ("certificate", "Certificates"),
        ("validate", "Check them"),
        ("<label>", "Trustpoint"),
        ("<url>", "Certificate of somebody else, PEM or DER, as in nvram:r1.pem; the one in question first"),
    ],
    run: Run::OnNode(|node, call| {
        let url = call.args.get("url").map(FileUrl::parse).transpose();
        let url = url.map_err(|error| call.refuse("url", error.to_string()))?;
        let validation = node.validate(call.args.text("label"), url.as_ref())?;
        let failed = validation.certificates.iter().any(|checked| !checked.valid);
        let mut output = Output::of(Shown(validation));
        output.failed = failed;
        Ok(output)
    }),
}];

#[derive(Serialize)]
#[serde(transparent)]
struct Shown(Validation);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Validation { trustpoint, certificates } = &self.0;
        for checked in certificates {
            writeln!(f, "Certificate of {}, serial number {}", checked.subject, checked.serial)?;
            match &checked.error {
                // A hint is a line of its own.
                Some(error) => writeln!(f, "% Validation Failed: {error}")?,
                None => {
                    let count = checked.path.len();
                    writeln!(f, "Chain has {count} certificate{}", if count == 1 { "" } else { "s" })?;
                    checked.path.iter().try_for_each(|subject| writeln!(f, "  {subject}"))?;
                    checked.revocation.iter().try_for_each(|asked| writeln!(f, "  {asked}"))?;
                    writeln!(f, "Certificate chain for {trustpoint} is valid")?;
                }
            }
        }
        Ok(())
    }
}
