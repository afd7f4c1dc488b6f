//! The HTTP edge: the only code naming hyper. Limits and time-outs, then one call into the node.
//!
//! What is answered from memory is answered on the spot. What needs the token or the database goes to a
//! bounded pool of threads; when that is full, the answer is 503 with `Retry-After`, never an unbounded
//! wait.

mod response;
mod route;
mod service;
mod sources;
mod tls;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::node::Node;

pub use route::{Route, Server as ServerName, route};

use service::Service;
use sources::Connections;
use tls::Acceptor;

/// A listener that serves until it is dropped; connections then get a little time to finish.
pub struct Server {
    address: SocketAddr,
    service: Arc<Service>,
    stop: watch::Sender<bool>,
}

/// What a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Octets of a request body.
    pub body: usize,
    /// PKIOperations, or TLS handshakes, a second from one address, 0 for any number. Without one it is 50, and
    /// what comes from this host does not count.
    pub rate: Option<u32>,
}

impl Server {
    /// Listens on `address` and serves `node`. Must be called within a tokio runtime.
    pub async fn start(address: SocketAddr, limits: Limits, node: Arc<Node>) -> std::io::Result<Self> {
        Self::listen(address, limits, node, None).await
    }

    /// The same over TLS, with what the node has for it: while that is nothing, connections are closed.
    /// Must be called within a multi-threaded tokio runtime.
    pub async fn start_secure(address: SocketAddr, limits: Limits, node: Arc<Node>) -> std::io::Result<Self> {
        let tls = Acceptor::new(node.clone())?;
        Self::listen(address, limits, node, Some(tls)).await
    }

    async fn listen(
        address: SocketAddr,
        limits: Limits,
        node: Arc<Node>,
        tls: Option<Acceptor>,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let service = Arc::new(Service::new(node, limits));
        let front = Front { service: service.clone(), tls: tls.map(Arc::new), stopped };
        tokio::spawn(front.accept(listener));
        Ok(Self { address, service, stop })
    }

    /// What clients may take from now on, on the connections that there are as well.
    pub fn set_limits(&self, limits: Limits) {
        self.service.set_limits(limits);
    }

    /// Where it listens; the port is a real one even when 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// What every connection of a listener needs.
#[derive(Clone)]
struct Front {
    service: Arc<Service>,
    tls: Option<Arc<Acceptor>>,
    stopped: watch::Receiver<bool>,
}

impl Front {
    async fn accept(mut self, listener: TcpListener) {
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let sources = Connections::default();
        loop {
            let permit = connections.clone().acquire_owned();
            let Ok(permit) = permit.await else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = self.stopped.wait_for(|stop| *stop) => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let Some(presence) = sources.enter(peer.ip()) else {
                        tracing::debug!(%peer, "too many connections from this address");
                        continue;
                    };
                    let front = self.clone();
                    tokio::spawn(async move {
                        front.connection(stream, peer).await;
                        drop((permit, presence));
                    });
                }
                Err(error) => {
                    // Out of file descriptors, mostly: the listener is fine and the next accept may be.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn connection(mut self, stream: TcpStream, peer: SocketAddr) {
        let _ = stream.set_nodelay(true);
        // A listener at [::] sees IPv4 addresses inside of IPv6 ones.
        let peer = peer.ip().to_canonical();
        let Some(tls) = self.tls.take() else { return self.serve(stream, peer).await };
        if self.service.admit(peer).is_err() {
            return tracing::debug!(%peer, "too many handshakes from this address");
        }
        let accepted = tokio::select! {
            accepted = tls.accept(stream) => accepted,
            _ = self.stopped.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok(stream) => self.serve(stream, peer).await,
            Err(error) => tracing::debug!(%peer, %error, "no TLS connection"),
        }
    }

    async fn serve<S>(mut self, stream: S, peer: IpAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = self.service;
        let handler = hyper::service::service_fn(move |request| {
            let service = service.clone();
            async move { Ok::<_, Infallible>(service.respond(request, peer).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(READ_TIMEOUT)
            .max_buf_size(MAX_HEAD)
            // Old routers close their sending side once the request is out.
            .half_close(true)
            .serve_connection(TokioIo::new(stream), handler);
        tokio::pin!(connection);
        let stop = async {
            let _ = self.stopped.wait_for(|stop| *stop).await;
        };
        let ended = tokio::select! {
            result = connection.as_mut() => Some(result),
            () = stop => None,
        };
        let result = match ended {
            Some(result) => result,
            None => {
                connection.as_mut().graceful_shutdown();
                tokio::time::timeout(READ_TIMEOUT, connection.as_mut()).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = result {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }
}

/// For a head, a body, and for idling between requests.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Request line and headers. A GET carries a whole message in base64 and %-escapes; `Uri` takes 64 KiB.
const MAX_HEAD: usize = 96 * 1024;
/// Connections beyond which further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 2048;
