//! URLs in configuration lines.

use super::grammar::{Args, Refusal};

/// The place of files that was typed: a file system (`nvram:`, the colon may be missing) or a URL.
pub(super) fn file(args: &Args, name: &str) -> Result<String, Refusal> {
    let typed = args.text(name);
    let refuse = |reason: &str| Err(args.refuse(name, reason));
    let url = if typed.contains(':') { typed.to_owned() } else { format!("{typed}:") };
    // Printed and read again, word by word.
    if url.len() > MAX_URL || url.contains(char::is_whitespace) {
        return refuse("a URL has at most 1024 octets");
    }
    let Some((scheme, rest)) = url.split_once(':') else { return refuse(WHAT) };
    let first = scheme.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !first || !scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+')) {
        return refuse(WHAT);
    }
    let Some(rest) = rest.strip_prefix("//") else { return Ok(url) };
    let host = rest.split('/').next().unwrap_or_default();
    if host.contains('@') {
        return refuse("a user in a URL would be shown with it; type `username NAME password PASSWORD`");
    }
    if host.is_empty() && !scheme.eq_ignore_ascii_case("file") {
        return refuse(WHAT);
    }
    Ok(url)
}

const WHAT: &str = "a place is a file system as in nvram: or flash:, or a URL as in tftp://192.0.2.1/ca";
/// Octets of a URL.
const MAX_URL: usize = 1024;
