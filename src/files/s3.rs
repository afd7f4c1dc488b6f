//! S3 and what speaks like it: `s3://bucket/key?endpoint=https://host&region=R`.
//!
//! Without `endpoint` the environment decides (`AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`), else it is Amazon's;
//! without `region` `AWS_REGION`, `AWS_DEFAULT_REGION`, else us-east-1. The login is the access key and its
//! secret; without one the environment's (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
//! `AWS_SESSION_TOKEN`), and without that requests are not signed. A file is one PUT: whole or not at all.

use std::borrow::Cow;
use std::env;
use std::time::Duration;

use rusty_s3::actions::{DeleteObject, GetObject, HeadObject, ListObjectsV2, PutObject, S3Action};
use rusty_s3::{Bucket, Credentials, UrlStyle};
use secrecy::ExposeSecret;
use ureq::http::Method;
use url::Url;

use super::remote::Remote;
use super::web::Answer;
use super::{Entry, Fault, Listing};
use crate::pki::Time;

pub fn read(remote: &Remote<'_>) -> Result<Vec<u8>, Fault> {
    let (key, place) = (remote.file_path()?, S3::of(remote)?);
    let action = GetObject::new(&place.bucket, place.credentials.as_ref(), &key);
    Ok(place.ask(Method::GET, action, None)?.body)
}

pub fn write(remote: &Remote<'_>, octets: &[u8]) -> Result<(), Fault> {
    let (key, place) = (remote.file_path()?, S3::of(remote)?);
    let action = PutObject::new(&place.bucket, place.credentials.as_ref(), &key);
    place.ask(Method::PUT, action, Some(octets)).map(drop)
}

/// S3 deletes what is not there without a word, so it is looked at first.
pub fn delete(remote: &Remote<'_>) -> Result<(), Fault> {
    let (key, place) = (remote.file_path()?, S3::of(remote)?);
    place.ask(Method::HEAD, HeadObject::new(&place.bucket, place.credentials.as_ref(), &key), None)?;
    let action = DeleteObject::new(&place.bucket, place.credentials.as_ref(), &key);
    place.ask(Method::DELETE, action, None).map(drop)
}

pub fn list(remote: &Remote<'_>) -> Result<Listing, Fault> {
    let place = S3::of(remote)?;
    let mut prefix = remote.path()?;
    if !prefix.is_empty() && !prefix.ends_with('/') {
        prefix.push('/');
    }
    let mut listing = Listing::default();
    let mut next: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let mut action = ListObjectsV2::new(&place.bucket, place.credentials.as_ref());
        action.with_prefix(prefix.as_str());
        action.with_delimiter("/");
        if let Some(next) = next.take() {
            action.with_continuation_token(next);
        }
        let page = place.ask(Method::GET, action, None)?;
        let page = ListObjectsV2::parse_response(&String::from_utf8_lossy(&page.body))
            .map_err(|error| Fault::Protocol(error.to_string()))?;
        let below = |key: &str| key.strip_prefix(&prefix).map(|name| name.trim_end_matches('/').to_owned());
        listing.entries.extend(page.contents.iter().filter_map(|object| {
            Some(Entry {
                // A key that is the prefix itself stands for the directory.
                name: below(&object.key).filter(|name| !name.is_empty())?,
                size: object.size.unwrap_or_default(),
                modified: object.last_modified.as_deref().and_then(time),
                writable: true,
                directory: false,
            })
        }));
        listing.entries.extend(page.common_prefixes.iter().filter_map(|directory| {
            let name = below(&directory.prefix).filter(|name| !name.is_empty())?;
            Some(Entry { name, size: 0, modified: None, writable: true, directory: true })
        }));
        match page.next_continuation_token {
            Some(token) => next = Some(token),
            None => return Ok(listing),
        }
    }
    Err(Fault::Unsupported("there are too many files to list"))
}

/// A bucket, and who asks.
struct S3<'r> {
    remote: &'r Remote<'r>,
    bucket: Bucket,
    credentials: Option<Credentials>,
}

impl<'r> S3<'r> {
    fn of(remote: &'r Remote<'r>) -> Result<Self, Fault> {
        let option = |name: &str| {
            let mut pairs = remote.url.query_pairs();
            pairs.find(|(key, _)| key == name).map(|(_, value)| Cow::into_owned(value))
        };
        let region = option("region").or_else(|| variable(&["AWS_REGION", "AWS_DEFAULT_REGION"]));
        let region = region.unwrap_or_else(|| "us-east-1".to_owned());
        let endpoint = option("endpoint").or_else(|| variable(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]));
        // Amazon wants the bucket in the host's name; others have certificates for one name only.
        let (endpoint, style) = match endpoint {
            Some(endpoint) => (endpoint, UrlStyle::Path),
            None => (format!("https://s3.{region}.amazonaws.com"), UrlStyle::VirtualHost),
        };
        let endpoint = Url::parse(&endpoint).map_err(|_| Fault::Name(NO_ENDPOINT))?;
        let name = remote.url.host_str().unwrap_or_default().to_owned();
        let bucket = Bucket::new(endpoint, style, name, region).map_err(|_| Fault::Name(NO_ENDPOINT))?;
        let credentials = match remote.login {
            Some(login) => Some(Credentials::new(&login.username, login.password.expose_secret())),
            None => Credentials::from_env(),
        };
        Ok(Self { remote, bucket, credentials })
    }

    fn ask<'a>(
        &self,
        method: Method,
        action: impl S3Action<'a>,
        body: Option<&[u8]>,
    ) -> Result<Answer, Fault> {
        let answer = self.remote.web().ask(method.clone(), &action.sign(VALID), None, body)?;
        let method = match method {
            Method::PUT => "PUT",
            Method::DELETE => "DELETE",
            _ => "GET",
        };
        match (answer.fault(method), code(&answer.body)) {
            (None, _) => Ok(answer),
            (Some(_), Some("NoSuchBucket")) => Err(Fault::NoDirectory),
            (Some(_), Some(code @ ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken"))) => {
                Err(Fault::Login(code.to_owned()))
            }
            (Some(Fault::Denied(_)), Some(code)) => Err(Fault::Denied(code.to_owned())),
            (Some(Fault::Server { temporary, said }), Some(code)) => {
                Err(Fault::Server { said: format!("{said}, {code}"), temporary })
            }
            (Some(fault), _) => Err(fault),
        }
    }
}

/// The `Code` of an error, which is XML.
fn code(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?;
    let code = text.split_once("<Code>")?.1.split_once("</Code>")?.0;
    code.chars().all(|c| c.is_ascii_alphanumeric()).then_some(code)
}

/// `2026-10-14T19:44:57.000Z`, to the second.
fn time(text: &str) -> Option<Time> {
    let seconds = text.get(..19)?;
    format!("{seconds}Z").parse::<der::DateTime>().ok().map(Time::from)
}

fn variable(names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| env::var(name).ok()).filter(|value| !value.is_empty())
}

/// How long a signature is good for: clocks differ.
const VALID: Duration = Duration::from_secs(300);
/// Of a thousand files each.
const MAX_PAGES: usize = 100;
const NO_ENDPOINT: &str = "the endpoint must be http://HOST or https://HOST";
