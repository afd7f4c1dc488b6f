//! URLs in configuration lines.

use crate::files::FileUrl;

use super::grammar::{Args, Refusal};

/// The place of files that was typed. Servers are kept as typed, file systems with their colon: `nvram`
/// becomes `nvram:`.
pub(super) fn file(args: &Args, name: &str) -> Result<String, Refusal> {
    let typed = args.text(name);
    if typed.len() > MAX_URL {
        return Err(args.refuse(name, format!("a URL has at most {MAX_URL} octets")));
    }
    let url = FileUrl::parse(typed).map_err(|error| args.refuse(name, error.to_string()))?;
    if url.login().is_some() {
        let reason = "a user and a password in a URL would be shown with it\n\
                      hint: type them after `username` and `password`, or as `ip ftp username` and `ip ftp password`";
        return Err(args.refuse(name, reason));
    }
    Ok(if url.is_remote() { typed.to_owned() } else { url.to_string() })
}

/// Octets of a URL.
const MAX_URL: usize = 1024;
