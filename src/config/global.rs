//! What stands outside of every section: the name of the host and its HTTP server.

use std::fmt;
use std::net::IpAddr;
use std::sync::LazyLock;

use super::grammar::{Args, Refusal, Table};
use super::line::{Line, Verb};
use super::{Editor, Mode, label};

/// `ip http …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Whether HTTP is served.
    pub server: bool,
    /// TCP port; 0 for any that is free.
    pub port: u16,
    /// Address to listen at; every one when absent.
    pub bind: Option<IpAddr>,
    /// Octets of the largest request body accepted.
    pub max_body: usize,
}

impl Default for Http {
    fn default() -> Self {
        // 64 KiB: the largest request seen in the wild, an RSA 8192 renewal with its chain, has a third.
        Self { server: false, port: 80, bind: None, max_body: 64 << 10 }
    }
}

impl fmt::Display for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Self::default();
        writeln!(f, "{}ip http server", if self.server { "" } else { "no " })?;
        if self.port != default.port {
            writeln!(f, "ip http port {}", self.port)?;
        }
        if let Some(address) = self.bind {
            writeln!(f, "ip http bind {address}")?;
        }
        if self.max_body != default.max_body {
            writeln!(f, "ip http max-request-size {}", self.max_body)?;
        }
        Ok(())
    }
}

/// The table of global lines.
pub static TABLE: LazyLock<Table<Line<Editor>>> = LazyLock::new(|| Table::new(LINES));

const LINES: &[Line<Editor>] = &[
    Line {
        words: "hostname <name>",
        no: Some("hostname"),
        about: "Names this host: the prompt, and the default name of keys",
        help: &[("hostname", "Name of this host"), ("<name>", "Letters, digits and hyphens")],
        run: |editor, verb, args| {
            editor.configuration.hostname = match verb {
                Verb::Set => host_name(args, false)?,
                _ => super::DEFAULT_HOSTNAME.to_owned(),
            };
            Ok(())
        },
    },
    Line {
        words: "ip domain name <name>",
        no: Some("ip domain name"),
        about: "Names the domain that completes the host name",
        help: &[
            ("domain", "Domain of this host"),
            ("name", "Its name"),
            ("<name>", "Domain name, as in example.com"),
        ],
        run: |editor, verb, args| {
            editor.configuration.domain_name = match verb {
                Verb::Set => Some(host_name(args, true)?),
                _ => None,
            };
            Ok(())
        },
    },
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
        words: "crypto pki/ca token <name>",
        no: Some("crypto pki/ca token <name>"),
        about: "Configures a token",
        help: &[("token", "Configure a token"), ("<name>", "Name of the token, as in usbtoken0")],
        run: |editor, verb, args| {
            let name = label(args, "name")?;
            if verb == Verb::Set {
                editor.configuration.tokens.entry(name.clone()).or_default();
                editor.mode = Mode::Token(name);
            } else {
                let known = editor.configuration.tokens.remove(&name);
                known.ok_or_else(|| args.refuse("name", "there is no such token"))?;
                editor.leave(&Mode::Token(name));
            }
            Ok(())
        },
    },
    Line {
        words: "crypto pki/ca trustpoint <label>",
        no: Some("crypto pki/ca trustpoint <label>"),
        about: "Configures a trustpoint; that of a server, of the same name, says which key it uses",
        help: &[("trustpoint", "Configure a trustpoint")],
        run: |editor, verb, args| {
            let name = label(args, "label")?;
            if verb == Verb::Set {
                editor.configuration.trustpoints.entry(name.clone()).or_default();
                editor.mode = Mode::Trustpoint(name);
            } else {
                let known = editor.configuration.trustpoints.remove(&name);
                known.ok_or_else(|| args.refuse("label", "there is no such trustpoint"))?;
                editor.leave(&Mode::Trustpoint(name));
            }
            Ok(())
        },
    },
    Line {
        words: "crypto pki/ca server <label>",
        no: Some("crypto pki/ca server <label>"),
        about: "Configures a certificate server; `no` deletes it with its key and its database",
        help: &[("server", "Configure a certificate server")],
        run: |editor, verb, args| {
            let name = label(args, "label")?;
            if verb == Verb::Set {
                editor.configuration.servers.entry(name.clone()).or_default();
                editor.mode = Mode::Server(name);
            } else {
                let known = editor.configuration.servers.remove(&name);
                known.ok_or_else(|| args.refuse("label", "there is no such certificate server"))?;
                editor.leave(&Mode::Server(name));
            }
            Ok(())
        },
    },
];

fn host_name(args: &Args, dots: bool) -> Result<String, Refusal> {
    let name = args.text("name");
    let part = |part: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=63).contains(&part.len()) && part.chars().all(inner) && !part.starts_with('-')
    };
    let good = if dots { name.len() <= 253 && name.split('.').all(part) } else { part(name) };
    if !good {
        return Err(args.refuse("name", "a name has letters, digits and hyphens, at most 63"));
    }
    Ok(name.to_owned())
}
