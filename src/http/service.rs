//! One request: limits, route, a place in the pool, the node's answer.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode};
use tokio::sync::Semaphore;

use crate::node::Node;
use crate::ra::{Answer, Asked};

use super::response::{Whole, closing, later, plain, render};
use super::route::{self, Route, Server as ServerName, route};
use super::sources::Sources;
use super::{Limits, READ_TIMEOUT};

/// What all connections of a listener share.
pub struct Service {
    node: Arc<Node>,
    limits: RwLock<Limits>,
    work: Arc<Semaphore>,
    sources: Sources,
}

impl Service {
    pub fn new(node: Arc<Node>, limits: Limits) -> Self {
        let work = Arc::new(Semaphore::new(MAX_WAITING));
        Self { node, limits: RwLock::new(limits), work, sources: Sources::default() }
    }

    /// What clients may take from now on.
    pub fn set_limits(&self, limits: Limits) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    /// Lets `peer` ask for an operation of the token, or says how long to wait.
    pub fn admit(&self, peer: IpAddr) -> Result<(), Duration> {
        self.sources.take(peer, self.limits().rate, Instant::now())
    }

    fn limits(&self) -> Limits {
        *self.limits.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers the request of `peer`.
    pub async fn respond(&self, request: Request<Incoming>, peer: IpAddr) -> Whole {
        let mut response = match self.answer(request, peer).await {
            Ok(response) | Err(response) => response,
        };
        response.headers_mut().insert(header::SERVER, HeaderValue::from_static("tokenca"));
        response
    }

    async fn answer(&self, request: Request<Incoming>, peer: IpAddr) -> Result<Whole, Whole> {
        let (head, body) = request.into_parts();
        let method = match head.method {
            Method::GET | Method::HEAD => route::Method::Get,
            Method::POST => route::Method::Post,
            _ => return Err(not_allowed()),
        };
        // The body is read before anything is answered: a client that is still sending sees no answer.
        let body = self.body(&head.headers, body).await?;
        let route = route(method, head.uri.path(), head.uri.query().unwrap_or(""), body)
            .map_err(|why| plain(StatusCode::BAD_REQUEST, &format!("{why}\n")))?;
        if let Asked::PkiOperation(_) = route.asked {
            self.admit(peer).map_err(|wait| {
                later(StatusCode::TOO_MANY_REQUESTS, "too many requests from your address\n", wait)
            })?;
        }
        Ok(render(self.ask(route, peer).await, &head.headers))
    }

    async fn ask(&self, route: Route, peer: IpAddr) -> Answer {
        if route.is_cheap() {
            return answer(&self.node, route, peer);
        }
        let Ok(permit) = self.work.clone().try_acquire_owned() else { return Answer::busy() };
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

    async fn body(&self, headers: &HeaderMap, body: Incoming) -> Result<Vec<u8>, Whole> {
        let limit = self.limits().body;
        let too_large = || {
            let text = format!(
                "the request is larger than {limit} octets (\"ip http max-request-size\")
"
            );
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
        Some(server) => server.answer(route.asked, peer, node.now()),
        None => Answer::not_found("there is no such certificate server here"),
    }
}

fn not_allowed() -> Whole {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "GET and POST are served here\n");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
    response
}

/// Requests that wait for a thread, the token or the database at once.
const MAX_WAITING: usize = 256;
