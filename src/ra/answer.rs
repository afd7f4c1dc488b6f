//! What goes back to HTTP.

use std::time::Duration;

use bytes::Bytes;

use crate::pki::Time;

/// An answer, before HTTP makes a response of it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status and content.
    pub body: Body,
    /// How long a cache may keep it; not at all when `None`.
    pub cache: Option<Cache>,
}

/// Status and content of an answer.
#[derive(Clone, Debug)]
pub enum Body {
    /// 200.
    Ok {
        /// Content-Type.
        content_type: &'static str,
        /// The content, shared where many get the same.
        octets: Bytes,
    },
    /// 400: it is not SCEP at all.
    BadRequest(String),
    /// 404.
    NotFound(String),
    /// 500: our own fault.
    Failed,
    /// 503: token, database or queue.
    Unavailable {
        /// When to come again.
        retry_after: Duration,
    },
}

/// What caches are told.
#[derive(Clone, Debug)]
pub struct Cache {
    /// ETag, quotes included; printable ASCII.
    pub etag: String,
    /// Last-Modified.
    pub modified: Time,
    /// max-age.
    pub max_age: Duration,
    /// Expires: when the content says that it is out of date. HTTP/1.1 goes by `max_age` before.
    pub expires: Option<Time>,
}

impl Answer {
    /// 200 with this content.
    pub fn ok(content_type: &'static str, octets: impl Into<Bytes>) -> Self {
        Body::Ok { content_type, octets: octets.into() }.into()
    }

    /// 400, and why.
    pub fn bad_request(why: impl Into<String>) -> Self {
        Body::BadRequest(why.into()).into()
    }

    /// 404, and what is not there.
    pub fn not_found(what: impl Into<String>) -> Self {
        Body::NotFound(what.into()).into()
    }

    /// 503: come again soon.
    pub fn busy() -> Self {
        Body::Unavailable { retry_after: RETRY_AFTER }.into()
    }

    /// 500; the log has the rest.
    pub fn failed() -> Self {
        Body::Failed.into()
    }

    /// The same, for caches to keep.
    pub fn cached(self, cache: Cache) -> Self {
        Self { cache: Some(cache), ..self }
    }
}

impl From<Body> for Answer {
    fn from(body: Body) -> Self {
        Self { body, cache: None }
    }
}

const RETRY_AFTER: Duration = Duration::from_secs(5);
