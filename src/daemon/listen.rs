//! HTTP and HTTPS, each listened for where it is configured.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crate::config::Http;
use crate::http::{Limits, Server};
use crate::node::Node;

use super::DaemonError;

/// The listeners of a process.
pub struct Listeners {
    node: Arc<Node>,
    settings: Http,
    plain: Option<Server>,
    secure: Option<Server>,
}

#[derive(Clone, Copy)]
enum Kind {
    Plain,
    Secure,
}

impl Listeners {
    /// Listens as configured, and tells the node where.
    pub async fn start(settings: Http, node: &Arc<Node>) -> Result<Self, DaemonError> {
        let plain = listen(Kind::Plain, &settings, node).await?;
        let secure = listen(Kind::Secure, &settings, node).await?;
        Ok(Self { node: node.clone(), settings, plain, secure })
    }

    /// Listens as configured now. Connections are kept as long as the address is.
    pub async fn change(&mut self, wanted: Http) {
        for kind in [Kind::Plain, Kind::Secure] {
            let server = match kind {
                Kind::Plain => &mut self.plain,
                Kind::Secure => &mut self.secure,
            };
            match server {
                Some(server) if kind.place(&wanted) == kind.place(&self.settings) => {
                    server.set_limits(limits(&wanted));
                }
                None if wanted == self.settings => {}
                _ => {
                    drop(server.take());
                    *server = listen(kind, &wanted, &self.node).await.unwrap_or_else(|error| {
                        tracing::error!(%error, "{} is not served", kind.name());
                        None
                    });
                }
            }
        }
        self.settings = wanted;
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "HTTP",
            Self::Secure => "HTTPS",
        }
    }

    /// Where it is to be served, when it is.
    fn place(self, settings: &Http) -> Option<(Option<IpAddr>, u16)> {
        let (served, port) = match self {
            Self::Plain => (settings.server, settings.port),
            Self::Secure => (settings.secure_server, settings.secure_port),
        };
        served.then_some((settings.bind, port))
    }

    fn tell(self, node: &Node, address: Option<SocketAddr>) {
        match self {
            Self::Plain => node.set_http_address(address),
            Self::Secure => node.set_https_address(address),
        }
    }
}

fn limits(settings: &Http) -> Limits {
    Limits { body: settings.max_body, rate: settings.rate_limit }
}

async fn listen(kind: Kind, settings: &Http, node: &Arc<Node>) -> Result<Option<Server>, DaemonError> {
    kind.tell(node, None);
    let Some((bind, port)) = kind.place(settings) else { return Ok(None) };
    // [::] takes IPv4 as well on Linux, unless the host has no IPv6.
    let addresses: &[IpAddr] = match bind {
        Some(address) => &[address],
        None => &[IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
    };
    let mut last = None;
    for address in addresses {
        let address = SocketAddr::new(*address, port);
        let started = match kind {
            Kind::Plain => Server::start(address, limits(settings), node.clone()).await,
            Kind::Secure => Server::start_secure(address, limits(settings), node.clone()).await,
        };
        match started {
            Ok(server) => {
                kind.tell(node, Some(server.address()));
                tracing::info!(address = %server.address(), "{} is listened for", kind.name());
                return Ok(Some(server));
            }
            Err(source) => last = Some(DaemonError::Listen { address, source }),
        }
    }
    Err(last.expect("at least one address was tried"))
}
