//! `show crypto pki server`.

use std::fmt;

use serde::Serialize;

use super::command::{Messages, groups};
use super::{Call, Command, CommandError, Output, Run};
use crate::node::{CertServer, Node, NodeError, ServerReport, ServerStatus};

pub const COMMANDS: &[Command] = &[
    Command {
        words: "crypto pki/ca server <label> database write",
        about: "Writes the files of a server anew to all their places; not an IOS command",
        help: &[("database", "Files of the server"), ("write", "Write them anew")],
        run: Run::OnNode(|node, call| {
            let mut messages = server(node, call)?.write_files()?;
            if messages.is_empty() {
                messages.push("[OK]".to_owned());
            }
            Ok(Output::of(Messages { messages }))
        }),
    },
    Command {
        words: "show crypto pki/ca server [<label>]",
        about: "Shows the state of the certificate servers",
        help: &[("server", "Certificate servers")],
        run: Run::OnNode(|node, call| {
            let labels = match call.args.get("label") {
                Some(label) => vec![label.to_owned()],
                None => node.servers(),
            };
            let report = |label: String| node.server(&label)?.report();
            Ok(Output::of(Servers(labels.into_iter().map(report).collect::<Result<_, NodeError>>()?)))
        }),
    },
];

/// The server that the command names.
pub fn server(node: &Node, call: &Call<'_>) -> Result<std::sync::Arc<CertServer>, CommandError> {
    Ok(node.server(call.args.text("label"))?)
}

#[derive(Serialize)]
struct Servers(Vec<ServerReport>);

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            writeln!(f, "% No certificate server is configured.")?;
        }
        for (i, report) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            state(f, report)?;
        }
        Ok(())
    }
}

fn state(f: &mut fmt::Formatter<'_>, report: &ServerReport) -> fmt::Result {
    writeln!(f, "Certificate Server {}:", report.label)?;
    writeln!(
        f,
        "  Status: {}",
        match report.status {
            ServerStatus::Enabled => "enabled",
            ServerStatus::Disabled => "disabled",
            ServerStatus::CheckFailed => "check failed",
            // IOS calls that "check failed", too.
            ServerStatus::Waiting => "waiting for its certificate",
            ServerStatus::WaitingForToken => "waiting for its token",
            // As IOS: it returns to its state by itself.
            ServerStatus::Suspended => "disabled, storage inaccessible",
        }
    )?;
    match report.locked {
        true => writeln!(f, "  Server's configuration is locked (enter \"shut\" to unlock it)")?,
        false => writeln!(f, "  Server's configuration is unlocked (enter \"no shut\" to lock it)")?,
    }
    writeln!(f, "  Issuer name: {}", report.issuer_name)?;
    let md5 = report.fingerprint_md5.as_deref().map_or("-Not found-".to_owned(), groups);
    writeln!(f, "  CA cert fingerprint: {md5}")?;
    let is_ra = place(f, report)?;
    writeln!(f, "  Granting mode is: {}", report.granting)?;
    if !is_ra {
        let serial = report.last_serial.as_ref().map_or("0x0".to_owned(), ToString::to_string);
        writeln!(f, "  Last certificate issued serial number: {serial}")?;
        writeln!(f, "  CA certificate expiration timer: {}", report.ca_expires.unwrap_or_default())?;
        match report.crl_next_update {
            Some(time) => writeln!(f, "  CRL NextUpdate timer: {time}")?,
            None => writeln!(f, "  CRL not present.")?,
        }
    }
    let primary = if report.storage_by_type.is_empty() { "" } else { "primary " };
    writeln!(f, "  Current {primary}storage dir: {}", report.storage)?;
    for (what, url) in &report.storage_by_type {
        writeln!(f, "  Current storage dir for .{what} files: {url}")?;
    }
    for (what, url) in &report.published {
        writeln!(f, "  Current publish dir for .{what} files: {url}")?;
    }
    writeln!(
        f,
        "  Database Level: {}",
        match report.database_level.as_str() {
            "names" => "Names - subject name data written as <serialnum>.cnm",
            "complete" => "Complete - all issued certs written as <serialnum>.crt",
            _ => "Minimum - no cert data written to storage",
        }
    )?;
    super::rollover::state(f, &report.rollover)?;
    // What IOS does not say.
    if let Some(sha256) = &report.fingerprint_sha256 {
        writeln!(f, "  CA cert fingerprint SHA256: {}", groups(sha256))?;
    }
    if let Some(sha256) = &report.upper_fingerprint_sha256 {
        writeln!(f, "  Upper CA cert fingerprint SHA256: {}", groups(sha256))?;
    }
    if !is_ra {
        writeln!(f, "  CA key: {}", report.key)?;
    }
    writeln!(f, "  SCEP key: {}", report.scep_key)?;
    writeln!(f, "  Pending requests: {}", report.pending)?;
    if !report.scep {
        writeln!(f, "  HTTP server: not enabled, requests come by hand only (\"ip http server\")")?;
    }
    let last = report.last_error.as_ref().map(|error| error.replace('\n', "\n    "));
    let what = match report.status {
        ServerStatus::Waiting | ServerStatus::WaitingForToken => "Waiting",
        _ => "Last error",
    };
    last.iter().try_for_each(|error| writeln!(f, "  {what}: {error}"))
}

/// What it is to other CAs; whether it is an RA.
fn place(f: &mut fmt::Formatter<'_>, report: &ServerReport) -> Result<bool, fmt::Error> {
    let found =
        |fingerprint: &Option<String>| fingerprint.as_deref().map_or("-Not found-".to_owned(), groups);
    match report.mode {
        "root" => return Ok(false),
        "sub-cs" => {
            writeln!(f, "  Server configured in subordinate server mode")?;
            writeln!(f, "  Upper CA cert fingerprint: {}", found(&report.upper_fingerprint_md5))?;
            return Ok(false);
        }
        "ra" => writeln!(f, "  Server configured in RA mode")?,
        _ => writeln!(f, "  Server configured in RA mode, transparent")?,
    }
    writeln!(f, "  RA cert fingerprint: {}", found(&report.ra_fingerprint_md5))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{Serial, Time};

    fn report() -> ServerReport {
        ServerReport {
            label: "sub".into(),
            status: ServerStatus::Enabled,
            last_error: None,
            locked: true,
            issuer_name: "cn=sub".into(),
            mode: "root",
            upper_fingerprint_md5: None,
            upper_fingerprint_sha256: None,
            ra_fingerprint_md5: None,
            fingerprint_md5: Some("11b586ee3b354f3314a25ddd7bd39187".into()),
            fingerprint_sha1: None,
            fingerprint_sha256: None,
            granting: "manual".into(),
            last_serial: Some(Serial::from(1)),
            ca_expires: Some(Time::from_unix(1_792_007_097)),
            crl_next_update: Some(Time::from_unix(1_792_007_097)),
            storage: "nvram:".into(),
            storage_by_type: Vec::new(),
            published: Vec::new(),
            database_level: "minimum".into(),
            key: "usbtoken0:sub".into(),
            scep_key: "the CA key".into(),
            pending: 0,
            rollover: crate::node::RolloverReport::default(),
            scep: true,
        }
    }

    #[test]
    fn the_server_is_shown_as_ios_does() {
        let text = Servers(vec![report()]).to_string();
        assert!(
            text.starts_with(
                "Certificate Server sub:\n  Status: enabled\n  Server's configuration is locked (enter \
                 \"shut\" to unlock it)\n  Issuer name: cn=sub\n  CA cert fingerprint: 11B586EE 3B354F33 \
                 14A25DDD 7BD39187\n  Granting mode is: manual\n  Last certificate issued serial number: \
                 0x1\n  CA certificate expiration timer: 19:44:57 UTC Oct 14 2026\n  CRL NextUpdate timer: \
                 19:44:57 UTC Oct 14 2026\n  Current storage dir: nvram:\n  Database Level: Minimum - no \
                 cert data written to storage\n"
            ),
            "{text}"
        );
        let bare = ServerReport {
            status: ServerStatus::CheckFailed,
            last_error: Some("no token".into()),
            fingerprint_md5: None,
            last_serial: None,
            ca_expires: None,
            crl_next_update: None,
            ..report()
        };
        let text = Servers(vec![bare]).to_string();
        for line in
            ["Status: check failed", "-Not found-", "number: 0x0", "CRL not present.", "Last error: no token"]
        {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
