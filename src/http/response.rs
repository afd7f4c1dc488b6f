//! From an answer to a response, and what caches are told.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use crate::ra::{Answer, Body, Cache};

/// A response whose content is in memory.
pub type Whole = Response<Full<Bytes>>;

/// The response to a request with these headers. Its content is not copied.
pub fn render(answer: Answer, request: &HeaderMap) -> Whole {
    let (status, text) = match answer.body {
        Body::Ok { content_type, octets } => {
            return match answer.cache {
                Some(cache) if is_known(&cache, request) => not_modified(&cache),
                Some(cache) => cached(content(content_type, octets), &cache),
                None => uncached(content(content_type, octets)),
            };
        }
        Body::BadRequest(text) => (StatusCode::BAD_REQUEST, text),
        Body::NotFound(text) => (StatusCode::NOT_FOUND, text),
        Body::Failed => (StatusCode::INTERNAL_SERVER_ERROR, "the request could not be answered".into()),
        Body::Unavailable { retry_after } => {
            return later(StatusCode::SERVICE_UNAVAILABLE, "try again later\n", retry_after);
        }
    };
    plain(status, &format!("{text}\n"))
}

/// A sentence for whoever reads it.
pub fn plain(status: StatusCode, text: &str) -> Whole {
    let mut response = content("text/plain", Bytes::copy_from_slice(text.as_bytes()));
    *response.status_mut() = status;
    response
}

/// Not now: 429 or 503, and when to come again.
pub fn later(status: StatusCode, text: &str, retry_after: Duration) -> Whole {
    let mut response = plain(status, text);
    // Whole seconds; 0 would be an invitation.
    let seconds = retry_after.as_secs_f64().ceil().max(1.0) as u64;
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// The rest of the request was not read, so the connection is of no more use.
pub fn closing(mut response: Whole) -> Whole {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn content(content_type: &'static str, octets: Bytes) -> Whole {
    let mut response = Response::new(Full::new(octets));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The headers of IOS: nothing between client and CA may keep an answer.
fn uncached(mut response: Whole) -> Whole {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-cache, must-revalidate"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

fn cached(mut response: Whole, cache: &Cache) -> Whole {
    let headers = response.headers_mut();
    let mut insert = |name: HeaderName, value: String| {
        // Made of digits, letters and punctuation: always a header value.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    insert(header::ETAG, cache.etag.clone());
    insert(header::CACHE_CONTROL, format!("public, max-age={}", cache.max_age.as_secs()));
    insert(header::LAST_MODIFIED, cache.modified.to_http());
    cache.expires.iter().for_each(|expires| insert(header::EXPIRES, expires.to_http()));
    response
}

fn not_modified(cache: &Cache) -> Whole {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    cached(response, cache)
}

/// Whether the client has this already. A date counts only where there is no tag (RFC 9110, 13.1.3).
fn is_known(cache: &Cache, request: &HeaderMap) -> bool {
    let text = |name| request.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    match text(header::IF_NONE_MATCH) {
        // Weak comparison, RFC 9110, 13.1.2: a proxy that compresses weakens a tag.
        Some(tags) => tags
            .split(',')
            .map(|tag| tag.trim().trim_start_matches("W/"))
            .any(|tag| tag == cache.etag || tag == "*"),
        None => text(header::IF_MODIFIED_SINCE)
            .and_then(|date| httpdate::parse_http_date(date).ok())
            .is_some_and(|date| date >= SystemTime::UNIX_EPOCH + Duration::from_secs(cache.modified.unix())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::Time;

    #[test]
    fn who_has_it_is_not_sent_it() {
        let modified = Time::from_unix(1_792_007_097);
        let cache = Cache { etag: "\"7\"".into(), modified, max_age: Duration::from_secs(60), expires: None };
        let known = |name: HeaderName, value: &str| {
            is_known(&cache, &HeaderMap::from_iter([(name, value.parse().unwrap())]))
        };
        for tags in ["\"7\"", "\"6\", \"7\"", "W/\"7\"", "*"] {
            assert!(known(header::IF_NONE_MATCH, tags), "{tags}");
        }
        assert!(!known(header::IF_NONE_MATCH, "\"6\"") && !known(header::IF_NONE_MATCH, "7"));
        for date in [
            "Wed, 14 Oct 2026 19:44:57 GMT",
            "Thu, 15 Oct 2026 00:00:00 GMT",
            "Wednesday, 14-Oct-26 19:44:57 GMT",
            "Wed Oct 14 19:44:57 2026",
        ] {
            assert!(known(header::IF_MODIFIED_SINCE, date), "{date}");
        }
        for date in ["Wed, 14 Oct 2026 19:44:56 GMT", "yesterday", ""] {
            assert!(!known(header::IF_MODIFIED_SINCE, date), "{date}");
        }
        // Another tag and a late date: the tag is what counts.
        let both = HeaderMap::from_iter([
            (header::IF_NONE_MATCH, "\"6\"".parse().unwrap()),
            (header::IF_MODIFIED_SINCE, "Thu, 15 Oct 2026 00:00:00 GMT".parse().unwrap()),
        ]);
        assert!(!is_known(&cache, &both));
    }
}
