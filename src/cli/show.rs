//! `show` for what is neither server, key nor token.

use std::fmt;
use std::net::SocketAddr;

use serde::Serialize;

use crate::node::TlsReport;

use super::{Command, Output, Run};

pub const COMMANDS: &[Command] = &[
    Command {
        words: "show version",
        about: "Shows which version this is",
        help: &[("version", "Version of this program")],
        run: Run::Alone(|_| Ok(Output::of(Version { name: "tokenca", version: env!("CARGO_PKG_VERSION") }))),
    },
    Command {
        words: "show running-config [section <filter...>]",
        about: "Shows the running configuration, or the sections whose first line contains the filter",
        help: &[
            ("running-config", "The running configuration"),
            ("section", "Certain sections only"),
            ("<filter>", "Text in the first line of a section, as in crypto pki"),
        ],
        run: Run::OnNode(|node, call| {
            let text = node.configuration().to_text();
            let filter = call.args.get("filter");
            let configuration = filter.map_or_else(|| text.clone(), |filter| sections(&text, filter));
            Ok(Output::of(RunningConfig { configuration, whole: filter.is_none() }))
        }),
    },
    Command {
        words: "show ip http server status",
        about: "Shows whether and where HTTP and HTTPS are served, and with which certificate",
        help: &[("server", "The server"), ("status", "Whether and where it listens")],
        run: Run::OnNode(|node, _| {
            let http = node.configuration().http;
            Ok(Output::of(HttpStatus {
                enabled: http.server,
                port: http.port,
                listening: node.http_address(),
                max_request_size: http.max_body,
                rate_limit: http.rate_limit,
                secure: Secure {
                    enabled: http.secure_server,
                    port: http.secure_port,
                    report: node.tls_report(),
                },
            }))
        }),
    },
];

#[derive(Serialize)]
struct Version {
    name: &'static str,
    version: &'static str,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, Version {}", self.name, self.version)
    }
}

#[derive(Serialize)]
struct RunningConfig {
    configuration: String,
    #[serde(skip)]
    whole: bool,
}

impl fmt::Display for RunningConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As comments, unlike IOS: what is shown can be read back as it is.
        if self.whole {
            write!(f, "!\n! Current configuration : {} bytes\n!\n", self.configuration.len())?;
        }
        f.write_str(&self.configuration)
    }
}

/// The sections whose first line contains `filter`.
fn sections(text: &str, filter: &str) -> String {
    let mut shown = false;
    let wanted = |line: &&str| {
        if !line.starts_with(' ') {
            shown = line.contains(filter) && *line != "!";
        }
        shown
    };
    text.lines().filter(wanted).fold(String::new(), |all, line| all + line + "\n")
}

#[derive(Serialize)]
struct HttpStatus {
    enabled: bool,
    port: u16,
    listening: Option<SocketAddr>,
    max_request_size: usize,
    rate_limit: Option<u32>,
    secure: Secure,
}

#[derive(Serialize)]
struct Secure {
    enabled: bool,
    port: u16,
    #[serde(flatten)]
    report: TlsReport,
}

impl fmt::Display for HttpStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "HTTP server status: {}", if self.enabled { "Enabled" } else { "Disabled" })?;
        writeln!(f, "HTTP server port: {}", self.listening.map_or(self.port, |address| address.port()))?;
        match self.listening {
            Some(address) => writeln!(f, "HTTP server address: {}", address.ip())?,
            None => writeln!(f, "HTTP server address: not listening")?,
        }
        writeln!(f, "HTTP server maximum request size: {} bytes", self.max_request_size)?;
        match self.rate_limit {
            None => writeln!(f, "HTTP server rate limit: default"),
            Some(0) => writeln!(f, "HTTP server rate limit: none"),
            Some(rate) => writeln!(f, "HTTP server rate limit: {rate} messages per second and address"),
        }?;
        self.secure.fmt(f)
    }
}

impl fmt::Display for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = &self.report;
        let status = match (self.enabled, &report.error) {
            (false, _) => "Disabled",
            (true, None) => "Enabled",
            (true, Some(_)) => "Enabled, not served",
        };
        writeln!(f, "HTTP secure server status: {status}")?;
        writeln!(
            f,
            "HTTP secure server port: {}",
            report.address.map_or(self.port, |address| address.port())
        )?;
        if !self.enabled {
            return Ok(());
        }
        match report.address {
            Some(address) => writeln!(f, "HTTP secure server address: {}", address.ip())?,
            None => writeln!(f, "HTTP secure server address: not listening")?,
        }
        let mut line = |what: &str, value: &Option<String>| {
            value.iter().try_for_each(|value| writeln!(f, "HTTP secure server {what}: {value}"))
        };
        line("trustpoint", &report.trustpoint)?;
        line("key", &report.key)?;
        line("certificate fingerprint SHA256", &report.fingerprint_sha256)?;
        line("certificate expires", &report.expires)?;
        line("last error", &report.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_shown_whole() {
        let text =
            "hostname a\n!\ncrypto pki server x\n grant auto\n shutdown\n!\nno ip http server\n!\nend\n";
        assert_eq!(sections(text, "crypto pki server"), "crypto pki server x\n grant auto\n shutdown\n");
        assert_eq!(sections(text, "nothing"), "");
        assert_eq!(sections(text, "grant"), "");
    }
}
