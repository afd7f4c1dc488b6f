//! `ip http …`: how HTTP is served.

use std::fmt;
use std::net::IpAddr;

use crate::config::Editor;
use crate::config::line::{Line, Verb};

/// `ip http …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Whether HTTP is served.
    pub server: bool,
    /// TCP port; 0 for any that is free.
    pub port: u16,
    /// Whether HTTPS is served.
    pub secure_server: bool,
    /// TCP port of HTTPS; 0 for any that is free.
    pub secure_port: u16,
    /// Address to listen at; every one when absent.
    pub bind: Option<IpAddr>,
    /// Octets of the largest request body accepted.
    pub max_body: usize,
    /// PKIOperations, or TLS handshakes, a second from one address, 0 for any number. Absent: 50, and what
    /// comes from this host does not count.
    pub rate_limit: Option<u32>,
}

impl Default for Http {
    fn default() -> Self {
        // 64 KiB: the largest request seen in the wild, an RSA 8192 renewal with its chain, has a third.
        Self {
            server: false,
            port: 80,
            secure_server: false,
            secure_port: 443,
            bind: None,
            max_body: 64 << 10,
            rate_limit: None,
        }
    }
}

impl fmt::Display for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Self::default();
        writeln!(f, "{}ip http server", if self.server { "" } else { "no " })?;
        if self.port != default.port {
            writeln!(f, "ip http port {}", self.port)?;
        }
        if self.secure_server {
            writeln!(f, "ip http secure-server")?;
        }
        if self.secure_port != default.secure_port {
            writeln!(f, "ip http secure-port {}", self.secure_port)?;
        }
        if let Some(address) = self.bind {
            writeln!(f, "ip http bind {address}")?;
        }
        if self.max_body != default.max_body {
            writeln!(f, "ip http max-request-size {}", self.max_body)?;
        }
        if let Some(rate) = self.rate_limit {
            writeln!(f, "ip http rate-limit {rate}")?;
        }
        Ok(())
    }
}

pub(super) const LINES: &[Line<Editor>] = &[
    Line {
        words: "ip http server",
        no: Some("ip http server"),
        about: "Serves SCEP and CRLs over HTTP",
        help: &[("server", "Serve HTTP")],
        run: |editor, verb, _| {
            editor.configuration.http.server = verb == Verb::Set;
            Ok(())
        },
    },
    Line {
        words: "ip http port <port:0-65535>",
        no: Some("ip http port"),
        about: "Listens on this TCP port, 80 by default; 0 takes one that is free",
        help: &[("port", "TCP port to listen on"), ("<port>", "Port; 0 for one that is free")],
        run: |editor, verb, args| {
            let port = args.number("port").and_then(|port| u16::try_from(port).ok());
            let typed = port.filter(|_| verb == Verb::Set);
            editor.configuration.http.port = typed.unwrap_or(Http::default().port);
            Ok(())
        },
    },
    Line {
        words: "ip http secure-server",
        no: Some("ip http secure-server"),
        about: "Serves SCEP and CRLs over HTTPS",
        help: &[("secure-server", "Serve HTTPS")],
        run: |editor, verb, _| {
            editor.configuration.http.secure_server = verb == Verb::Set;
            Ok(())
        },
    },
    Line {
        words: "ip http secure-port <port:0-65535>",
        no: Some("ip http secure-port"),
        about: "Listens on this TCP port for HTTPS, 443 by default; 0 takes one that is free",
        help: &[("secure-port", "TCP port for HTTPS"), ("<port>", "Port; 0 for one that is free")],
        run: |editor, verb, args| {
            let port = args.number("port").and_then(|port| u16::try_from(port).ok());
            let typed = port.filter(|_| verb == Verb::Set);
            editor.configuration.http.secure_port = typed.unwrap_or(Http::default().secure_port);
            Ok(())
        },
    },
    Line {
        words: "ip http bind <address>",
        no: Some("ip http bind"),
        about: "Listens at this address only; not an IOS line",
        help: &[("bind", "Address to listen at"), ("<address>", "IPv4 or IPv6 address of this host")],
        run: |editor, verb, args| {
            editor.configuration.http.bind = match verb {
                Verb::Set => {
                    let address = args.text("address").parse();
                    Some(address.map_err(|_| args.refuse("address", "this is not an IPv4 or IPv6 address"))?)
                }
                _ => None,
            };
            Ok(())
        },
    },
    Line {
        words: "ip http max-request-size <bytes:1024-16777216>",
        no: Some("ip http max-request-size"),
        about: "Refuses requests with a larger body, 65536 bytes by default; not an IOS line",
        help: &[("max-request-size", "Largest request body"), ("<bytes>", "Bytes")],
        run: |editor, verb, args| {
            let bytes = args.number("bytes").and_then(|bytes| usize::try_from(bytes).ok());
            let typed = bytes.filter(|_| verb == Verb::Set);
            editor.configuration.http.max_body = typed.unwrap_or(Http::default().max_body);
            Ok(())
        },
    },
    Line {
        words: "ip http rate-limit <rate:0-10000>",
        no: Some("ip http rate-limit"),
        about: "Takes so many SCEP messages, or TLS handshakes, a second from one address, and four times as many at once; 50 by \
                default, with no limit for this host itself. 0 is no limit; not an IOS line",
        help: &[
            ("rate-limit", "SCEP messages a second from one address"),
            ("<rate>", "Messages; 0 for any number"),
        ],
        run: |editor, verb, args| {
            let rate = args.number("rate").and_then(|rate| u32::try_from(rate).ok());
            editor.configuration.http.rate_limit = rate.filter(|_| verb == Verb::Set);
            Ok(())
        },
    },
];
