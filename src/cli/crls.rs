//! `show crypto pki crls` and `crypto pki crl request`: the CRLs of other CAs.

use std::fmt;

use serde::Serialize;

use super::{Command, Output, Run};
use crate::node::{CrlRow, Requested};

pub const COMMANDS: &[Command] = &[
    Command {
        words: "show crypto pki/ca crls",
        about: "Shows the CRLs of other CAs that are at hand; that of a server here is shown by `crypto pki server \
                LABEL info crl`",
        help: &[("crls", "CRLs of other CAs")],
        run: Run::OnNode(|node, _| Ok(Output::of(List(node.crls()?)))),
    },
    Command {
        words: "crypto pki/ca crl request <label>",
        about: "Fetches the CRLs of the CAs of a trustpoint now, whatever is at hand",
        help: &[("crl", "CRLs"), ("request", "Fetch it now"), ("<label>", "Trustpoint")],
        run: Run::OnNode(|node, call| {
            let requested = node.request_crls(call.args.text("label"))?;
            let failed = requested.iter().any(|requested| requested.error.is_some());
            let mut output = Output::of(Answers(requested));
            output.failed = failed;
            Ok(output)
        }),
    },
];

#[derive(Serialize)]
#[serde(transparent)]
struct List(Vec<CrlRow>);

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            writeln!(f, "% There is no CRL of another CA.")?;
        }
        for crl in &self.0 {
            writeln!(f, "CRL Issuer Name:")?;
            writeln!(f, "    {}", crl.issuer)?;
            writeln!(f, "    LastUpdate: {}", crl.this_update)?;
            writeln!(f, "    NextUpdate: {}", crl.next_update)?;
            writeln!(f, "    Retrieved from CRL Distribution Point:")?;
            match crl.by_scep {
                true => writeln!(f, "      ** CDP Not Published - Retrieved via SCEP")?,
                false => writeln!(f, "      {}", crl.source)?,
            }
        }
        Ok(())
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Answers(Vec<Requested>);

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Requested { issuer, source, entries, next_update, error } in &self.0 {
            match error {
                Some(error) => writeln!(f, "% The CRL of {issuer} could not be fetched: {error}")?,
                None => {
                    writeln!(f, "% The CRL of {issuer} was fetched.")?;
                    writeln!(f, "  From: {}", source.as_deref().unwrap_or("-"))?;
                    writeln!(f, "  NextUpdate: {}", next_update.as_deref().unwrap_or("-"))?;
                    writeln!(f, "  Number of CRL entries: {}", entries.unwrap_or(0))?;
                }
            }
        }
        Ok(())
    }
}
