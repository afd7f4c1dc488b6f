//! The HTTP edge: the only code naming hyper. Limits and time-outs, then one call into the node.
//!
//! What is answered from memory is answered on the spot. What needs the token or the database goes to a
//! bounded pool of threads; when that is full, the answer is 503 with `Retry-After`, never an unbounded
//! wait.

mod route;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::node::Node;
use crate::pki::Time;
use crate::ra::{Answer, Body};

pub use route::{Route, Server as ServerName, route};

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
}

impl Server {
    /// Listens on `address` and serves `node`. Must be called within a tokio runtime.
    pub async fn start(address: SocketAddr, limits: Limits, node: Arc<Node>) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let work = Arc::new(Semaphore::new(MAX_WAITING));
        let service = Arc::new(Service { node, limits: RwLock::new(limits), work });
        tokio::spawn(accept(listener, service.clone(), stopped));
        Ok(Self { address, service, stop })
    }

    /// What clients may take from now on, on the connections that there are as well.
    pub fn set_limits(&self, limits: Limits) {
        *self.service.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
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

struct Service {
    node: Arc<Node>,
    limits: RwLock<Limits>,
    work: Arc<Semaphore>,
}

async fn accept(listener: TcpListener, service: Arc<Service>, mut stopped: watch::Receiver<bool>) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let permit = connections.clone().acquire_owned();
        let Ok(permit) = permit.await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (service, stopped) = (service.clone(), stopped.clone());
                tokio::spawn(async move {
                    connection(stream, peer, service, stopped).await;
                    drop(permit);
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

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    service: Arc<Service>,
    mut stopped: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let handler = hyper::service::service_fn(move |request| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.respond(request, peer.ip()).await) }
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
        let _ = stopped.wait_for(|stop| *stop).await;
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

impl Service {
    async fn respond(&self, request: Request<Incoming>, peer: IpAddr) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let method = match head.method {
            Method::GET | Method::HEAD => route::Method::Get,
            Method::POST => route::Method::Post,
            _ => return plain(StatusCode::METHOD_NOT_ALLOWED, "GET and POST are served here\n"),
        };
        // The body is read before anything is answered: a client that is still sending sees no answer.
        let body = match self.body(&head.headers, body).await {
            Ok(body) => body,
            Err(response) => return response,
        };
        let route = match route(method, head.uri.path(), head.uri.query().unwrap_or(""), body) {
            Ok(route) => route,
            Err(why) => return plain(StatusCode::BAD_REQUEST, &format!("{why}\n")),
        };
        let answer = match route.is_cheap() {
            true => answer(&self.node, route, peer),
            false => {
                let Ok(permit) = self.work.clone().try_acquire_owned() else {
                    return render(Answer::busy(), &head.headers);
                };
                let node = self.node.clone();
                let work = move || {
                    let answer = answer(&node, route, peer);
                    drop(permit);
                    answer
                };
                tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| {
                    tracing::error!(%panic, "a request was not answered");
                    Answer::failed()
                })
            }
        };
        render(answer, &head.headers)
    }

    async fn body(
        &self,
        headers: &header::HeaderMap,
        body: Incoming,
    ) -> Result<Vec<u8>, Response<Full<Bytes>>> {
        let limit = self.limits.read().unwrap_or_else(PoisonError::into_inner).body;
        let too_large = || {
            let text = format!("the request is larger than {limit} octets (\"ip http max-request-size\")\n");
            closing(plain(StatusCode::PAYLOAD_TOO_LARGE, &text))
        };
        let announced =
            headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > limit as u64) {
            return Err(too_large());
        }
        match tokio::time::timeout(READ_TIMEOUT, Limited::new(body, limit).collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes().to_vec()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
            Ok(Err(_)) => Err(closing(plain(StatusCode::BAD_REQUEST, "the request ended early\n"))),
            Err(_) => Err(closing(plain(StatusCode::REQUEST_TIMEOUT, "the request took too long\n"))),
        }
    }
}

fn answer(node: &Node, route: Route, peer: IpAddr) -> Answer {
    let server = match route.server {
        ServerName::Named(label) => node.server(&label).ok(),
        ServerName::Maybe(labels) => {
            labels.iter().find_map(|label| node.server(label).ok()).or_else(|| node.default_server())
        }
    };
    match server {
        Some(server) => server.answer(route.asked, peer, Time::now()),
        None => Answer::not_found("there is no such certificate server here"),
    }
}

fn render(answer: Answer, request: &header::HeaderMap) -> Response<Full<Bytes>> {
    let (status, body) = match answer.body {
        Body::Ok { content_type, octets } => {
            let mut response = Response::new(Full::new(octets));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            return match answer.cache {
                None => uncached(response),
                Some(cache) => cached(response, &cache, request),
            };
        }
        Body::BadRequest(text) => (StatusCode::BAD_REQUEST, text),
        Body::NotFound(text) => (StatusCode::NOT_FOUND, text),
        Body::Failed => (StatusCode::INTERNAL_SERVER_ERROR, "the request could not be answered".into()),
        Body::Unavailable { retry_after } => {
            let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, "try again later\n");
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after.as_secs()));
            return response;
        }
    };
    plain(status, &format!("{body}\n"))
}

/// The headers of IOS: nothing between client and CA may keep an answer.
fn uncached(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-cache, must-revalidate"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

fn cached(
    mut response: Response<Full<Bytes>>,
    cache: &crate::ra::Cache,
    request: &header::HeaderMap,
) -> Response<Full<Bytes>> {
    let known = request.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    if known.is_some_and(|known| known.split(',').any(|tag| tag.trim() == cache.etag || tag.trim() == "*")) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Full::default();
    }
    let headers = response.headers_mut();
    // Made of digits and hex digits: always a header value.
    for (name, value) in [
        (header::ETAG, cache.etag.clone()),
        (header::CACHE_CONTROL, format!("public, max-age={}", cache.max_age.as_secs())),
        (header::LAST_MODIFIED, cache.modified.to_http()),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    response
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// The rest of the request was not read, so the connection is of no more use.
fn closing(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// For a head, a body, and for idling between requests.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Request line and headers. A GET carries a whole message in base64 and %-escapes; `Uri` takes 64 KiB.
const MAX_HEAD: usize = 96 * 1024;
/// Connections beyond which further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 2048;
/// Requests that wait for a thread, the token or the database at once.
const MAX_WAITING: usize = 256;
