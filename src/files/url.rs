//! Names of files as IOS writes them: `nvram:mycs.ser`, `flash:dir/f`, `tftp://host/dir/f`.

use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// Where a file or a directory is. Displayed as it is typed, without the password.
///
/// | form | meaning |
/// |---|---|
/// | `nvram:f`, `f` | a file of the state directory; `nvram:` and `nvram` are the directory |
/// | `flash:dir/f`, `disk0:f`, `usbtoken0:f` | a file of a configured directory or device |
/// | `file:/dir/f` | a file of the host, by its absolute path |
/// | `tftp://host[:port]/dir/f` | |
/// | `ftp://[user[:password]@]host[:port]/dir/f` | below the user's directory; `//dir/f` from the root |
/// | `http://…`, `https://…` | the same, and a query |
/// | `s3://bucket/dir/f[?endpoint=URL&region=R]` | |
///
/// IPv6 addresses stand in `[]`. In remote names `%20` and the like are octets, and `#` is a character of the
/// name: IOS calls certificates `mycs#6101CA.cer`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileUrl {
    pub(super) place: Place,
    login: Option<Login>,
}

/// What a [`FileUrl`] is inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A file system by its name without colon, and a path without a slash at its beginning.
    System { system: String, path: String },
    /// An absolute path of the host.
    Host { path: String },
    /// One of [`REMOTE`], without user and password.
    Remote(Url),
}

/// Who asks a server. The password is not shown.
#[derive(Clone, Debug)]
pub struct Login {
    /// The user, or the access key of S3.
    pub username: String,
    /// The password, or the secret access key of S3.
    pub password: SecretString,
}

/// Why a text names no file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Nothing stands there.
    #[error("the name of a file is missing")]
    Empty,
    /// Something else than what [`FileUrl`] lists.
    #[error(
        "\"{0}\" is no file system\nhint: nvram:, file:, those that are configured such as flash: or \
         usbtoken0:, and tftp://, ftp://, http://, https://, s3://"
    )]
    Unknown(String),
    /// No server stands after `//`.
    #[error("{0} needs a host: {0}//HOST/NAME")]
    NoHost(String),
    /// `file:` with a relative path.
    #[error("file: needs an absolute path: file:/DIRECTORY/NAME")]
    Relative,
    /// It does not parse.
    #[error("the URL is not well formed: {0}")]
    Malformed(String),
}

impl FileUrl {
    /// Reads the name of a file or directory.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(UrlError::Empty);
        }
        if text.contains(|c: char| c.is_ascii_control()) {
            return Err(UrlError::Malformed("it holds a control character".into()));
        }
        match text.split_once(':') {
            Some((scheme, rest)) if is_remote(scheme) => remote(&scheme.to_ascii_lowercase(), rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("file") => host(rest),
            Some((scheme, rest)) if rest.starts_with("//") => Err(UrlError::Unknown(format!("{scheme}://"))),
            Some((system, path)) if is_system_name(system) => Ok(Self::system(system, path)),
            Some((system, _)) => Err(UrlError::Unknown(format!("{system}:"))),
            None if is_usual_system(text) => Ok(Self::system(text, "")),
            None => Ok(Self::system(NVRAM, text)),
        }
    }

    /// A name in `nvram:`.
    pub fn nvram(name: &str) -> Self {
        Self::system(NVRAM, name)
    }

    /// A name in the file system `system`, which is written without its colon.
    pub fn system(system: &str, path: &str) -> Self {
        let place = Place::System {
            system: system.to_ascii_lowercase(),
            path: path.trim_start_matches('/').to_owned(),
        };
        Self { place, login: None }
    }

    /// The file `name` in this directory.
    pub fn join(&self, name: &str) -> Self {
        let below = |path: &str| match path {
            "" => name.to_owned(),
            path if path.ends_with('/') => format!("{path}{name}"),
            path => format!("{path}/{name}"),
        };
        let place = match &self.place {
            Place::System { system, path } => Place::System { system: system.clone(), path: below(path) },
            Place::Host { path } => Place::Host { path: below(path) },
            Place::Remote(url) => {
                let mut url = url.clone();
                let slash = if url.path().ends_with('/') { "" } else { "/" };
                url.set_path(&format!("{}{slash}{}", url.path(), utf8_percent_encode(name, IN_NAME)));
                Place::Remote(url)
            }
        };
        Self { place, login: self.login.clone() }
    }

    /// The file `name` beside this file, or in it when it is a directory.
    pub fn beside(&self, name: &str) -> Self {
        let parent = |path: &str| path.rfind('/').map_or(String::new(), |at| path[..=at].to_owned());
        let place = match &self.place {
            Place::System { system, path } => Place::System { system: system.clone(), path: parent(path) },
            Place::Host { path } => Place::Host { path: parent(path) },
            Place::Remote(url) => {
                let mut url = url.clone();
                let directory = parent(url.path());
                url.set_path(&directory);
                Place::Remote(url)
            }
        };
        Self { place, login: self.login.clone() }.join(name)
    }

    /// The last part of the path; none of a directory.
    pub fn file_name(&self) -> Option<String> {
        let name = match &self.place {
            Place::System { path, .. } | Place::Host { path } => {
                path.rsplit('/').next().unwrap_or_default().to_owned()
            }
            Place::Remote(url) => decoded(url.path().rsplit('/').next().unwrap_or_default()),
        };
        Some(name).filter(|name| !name.is_empty())
    }

    /// Whether it can only be a directory: it ends with `:` or `/`.
    pub fn is_directory(&self) -> bool {
        self.file_name().is_none()
    }

    /// Whether it lies on another machine.
    pub fn is_remote(&self) -> bool {
        matches!(self.place, Place::Remote(_))
    }

    /// What stands before the first colon: `nvram`, `flash`, `tftp`.
    pub fn scheme(&self) -> &str {
        match &self.place {
            Place::System { system, .. } => system,
            Place::Host { .. } => "file",
            Place::Remote(url) => url.scheme(),
        }
    }

    /// The user and password that stand in it.
    pub fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    /// The same without user and password.
    pub fn without_login(&self) -> Self {
        Self { place: self.place.clone(), login: None }
    }
}

fn host(rest: &str) -> Result<FileUrl, UrlError> {
    // RFC 8089: file:///dir/f and file:/dir/f are the same.
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err(UrlError::Relative);
    }
    Ok(FileUrl { place: Place::Host { path: path.to_owned() }, login: None })
}

fn remote(scheme: &str, rest: &str) -> Result<FileUrl, UrlError> {
    let Some(rest) = rest.strip_prefix("//").filter(|rest| !rest.is_empty()) else {
        return Err(UrlError::NoHost(format!("{scheme}:")));
    };
    // `#` is a character of the name everywhere, `?` where there are no queries.
    let rest = rest.replace('#', "%23");
    let rest = if knows_queries(scheme) { rest } else { rest.replace('?', "%3F") };
    let malformed = |error: &dyn fmt::Display| UrlError::Malformed(error.to_string());
    let mut url = Url::parse(&format!("{scheme}://{rest}")).map_err(|error| malformed(&error))?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(UrlError::NoHost(format!("{scheme}:")));
    }
    let login = (!url.username().is_empty()).then(|| Login {
        username: decoded(url.username()),
        password: decoded(url.password().unwrap_or_default()).into(),
    });
    let cannot = |()| UrlError::Malformed("it cannot hold a user".into());
    url.set_username("").map_err(cannot)?;
    url.set_password(None).map_err(cannot)?;
    if url.path().is_empty() {
        url.set_path("/");
    }
    Ok(FileUrl { place: Place::Remote(url), login })
}

/// Percent-encoding undone; octets that are no UTF-8 are replaced.
pub(super) fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn is_remote(scheme: &str) -> bool {
    REMOTE.iter().any(|known| known.eq_ignore_ascii_case(scheme))
}

fn knows_queries(scheme: &str) -> bool {
    matches!(scheme, "http" | "https" | "s3")
}

/// Letters, digits, `-` and `_`, beginning with a letter.
fn is_system_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

/// What IOS calls file systems: these may stand without their colon.
fn is_usual_system(text: &str) -> bool {
    let stem = text.trim_end_matches(|c: char| c.is_ascii_digit()).to_ascii_lowercase();
    match stem.as_str() {
        "nvram" | "flash" | "bootflash" => stem.len() == text.len(),
        "disk" | "slot" | "usbflash" | "usbtoken" => stem.len() < text.len(),
        _ => false,
    }
}

impl PartialEq for Login {
    fn eq(&self, other: &Self) -> bool {
        self.username == other.username && self.password.expose_secret() == other.password.expose_secret()
    }
}

impl Eq for Login {}

impl fmt::Display for FileUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = match &self.place {
            Place::System { system, path } => return write!(f, "{system}:{path}"),
            Place::Host { path } => return write!(f, "file:{path}"),
            Place::Remote(url) => url,
        };
        write!(f, "{}://", url.scheme())?;
        if let Some(login) = &self.login {
            write!(f, "{}@", utf8_percent_encode(&login.username, IN_NAME))?;
        }
        f.write_str(url.host_str().unwrap_or_default())?;
        if let Some(port) = url.port() {
            write!(f, ":{port}")?;
        }
        let path = url.path().replace("%23", "#");
        f.write_str(&if knows_queries(url.scheme()) { path } else { path.replace("%3F", "?") })?;
        url.query().map_or(Ok(()), |query| write!(f, "?{query}"))
    }
}

/// The state directory.
pub const NVRAM: &str = "nvram";

/// Schemes with `//host`.
const REMOTE: &[&str] = &["tftp", "ftp", "http", "https", "s3"];

/// What a name may not hold as it is when it becomes a part of a URL.
const IN_NAME: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b':')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'@')
    .add(b'\\')
    .add(b'`')
    .add(b'{')
    .add(b'}');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_displayed_and_reads_back() {
        for (typed, shown, scheme, name) in [
            ("nvram:mycs.ser", "nvram:mycs.ser", "nvram", Some("mycs.ser")),
            ("NVRAM:/mycs#6101CA.cer", "nvram:mycs#6101CA.cer", "nvram", Some("mycs#6101CA.cer")),
            ("nvram:", "nvram:", "nvram", None),
            ("nvram", "nvram:", "nvram", None),
            ("startup-config", "nvram:startup-config", "nvram", Some("startup-config")),
            ("flash", "flash:", "flash", None),
            ("disk0", "disk0:", "disk0", None),
            ("disk", "nvram:disk", "nvram", Some("disk")),
            ("flash:/dir/f", "flash:dir/f", "flash", Some("f")),
            ("flash:dir/", "flash:dir/", "flash", None),
            ("usbtoken0:f", "usbtoken0:f", "usbtoken0", Some("f")),
            ("file:/etc/a b", "file:/etc/a b", "file", Some("a b")),
            ("file:///etc/f", "file:/etc/f", "file", Some("f")),
            ("tftp://192.0.2.71/backup.ser", "tftp://192.0.2.71/backup.ser", "tftp", Some("backup.ser")),
            ("tftp://[2001:DB8::1]:6969/f", "tftp://[2001:db8::1]:6969/f", "tftp", Some("f")),
            ("tftp://host/a?b#c", "tftp://host/a?b#c", "tftp", Some("a?b#c")),
            (
                "ftp://u:p%40w@host/d/mycs#6101CA.cer",
                "ftp://u@host/d/mycs#6101CA.cer",
                "ftp",
                Some("mycs#6101CA.cer"),
            ),
            ("ftp://host:2121//abs/f", "ftp://host:2121//abs/f", "ftp", Some("f")),
            ("http://host", "http://host/", "http", None),
            ("https://[::1]:8443/crl/x.crl?v=1", "https://[::1]:8443/crl/x.crl?v=1", "https", Some("x.crl")),
            (
                "s3://bucket/ca?endpoint=http://127.0.0.1:9",
                "s3://bucket/ca?endpoint=http://127.0.0.1:9",
                "s3",
                Some("ca"),
            ),
        ] {
            let url = FileUrl::parse(typed).unwrap_or_else(|error| panic!("{typed}: {error}"));
            assert_eq!(url.to_string(), shown, "{typed}");
            assert_eq!((url.scheme(), url.file_name().as_deref()), (scheme, name), "{typed}");
            assert_eq!(FileUrl::parse(shown).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn a_name_is_joined_as_it_is() {
        for (directory, name, joined) in [
            ("nvram:", "1.cnm", "nvram:1.cnm"),
            ("nvram", "1.cnm", "nvram:1.cnm"),
            ("flash:certs", "1.cnm", "flash:certs/1.cnm"),
            ("file:/srv/", "1.cnm", "file:/srv/1.cnm"),
            ("tftp://h", "mycs#6101CA.cer", "tftp://h/mycs#6101CA.cer"),
            ("http://h/d?x=y", "a b?", "http://h/d/a%20b%3F?x=y"),
            ("s3://b/p/?region=x", "1.cnm", "s3://b/p/1.cnm?region=x"),
        ] {
            let url = FileUrl::parse(directory).unwrap().join(name);
            assert_eq!(url.to_string(), joined);
            assert_eq!(url.file_name().as_deref(), Some(name));
        }
    }

    #[test]
    fn a_file_has_others_beside_it() {
        for (file, name, beside) in [
            ("nvram:", "a.prv", "nvram:a.prv"),
            ("nvram:e", "e.pub", "nvram:e.pub"),
            ("flash:keys/e", "f", "flash:keys/f"),
            ("file:/srv/e", "f", "file:/srv/f"),
            ("tftp://h/d/backup.p12", "backup.ser", "tftp://h/d/backup.ser"),
            ("http://h", "f", "http://h/f"),
            ("ftp://h//d/e", "f", "ftp://h//d/f"),
        ] {
            assert_eq!(FileUrl::parse(file).unwrap().beside(name).to_string(), beside);
        }
    }

    #[test]
    fn the_password_is_kept_and_not_shown() {
        let url = FileUrl::parse("ftp://me:s3cr%3At@host/f").unwrap().join("g");
        let login = url.login().unwrap();
        assert_eq!((login.username.as_str(), login.password.expose_secret()), ("me", "s3cr:t"));
        for shown in [format!("{url}"), format!("{url:?}"), format!("{:?}", url.place)] {
            assert!(!shown.contains("s3cr"), "{shown}");
        }
        assert_eq!(url.without_login().to_string(), "ftp://host/f/g");
    }

    #[test]
    fn what_names_no_file_is_refused() {
        for (typed, complaint) in [
            ("", "missing"),
            ("gopher://host/f", "\"gopher://\" is no file system"),
            ("a b:f", "\"a b:\" is no file system"),
            ("tftp:", "tftp: needs a host"),
            ("tftp:///f", "tftp: needs a host"),
            ("http:/host/f", "http: needs a host"),
            ("file:f", "absolute path"),
            ("ftp://[::1/f", "not well formed"),
            ("nvram:a\nb", "control character"),
        ] {
            let error = FileUrl::parse(typed).expect_err(typed);
            assert!(error.to_string().contains(complaint), "{typed}: {error}");
        }
    }
}
