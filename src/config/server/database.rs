//! `database …`: where the files of a server go, and what is written to them.

use std::collections::BTreeMap;
use std::fmt;

use crate::config::grammar::{Args, Refusal};
use crate::config::line::{Line, Verb};
use crate::config::secret::{Login, Password};
use crate::config::url;

use super::ServerSection;

/// `database …` of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Database {
    /// `database level`.
    pub level: DatabaseLevel,
    /// `database url ROOT`: where files go that have no place of their own; `nvram:` when absent.
    pub url: Option<String>,
    /// `database url TYPE ROOT`: where files of one type go.
    pub by_type: BTreeMap<FileType, String>,
    /// `database url TYPE publish ROOT`: where copies of files go; one place, for the CRL several.
    pub publish: BTreeMap<FileType, Vec<Publish>>,
    /// `database username`: for the places of `url` and `by_type`.
    pub login: Option<Login>,
    /// `database archive`; PKCS#12 with a password that is asked for when absent.
    pub archive: Option<Archive>,
}

/// What is written to files for each certificate; the database keeps everything in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DatabaseLevel {
    /// Nothing.
    #[default]
    Minimum,
    /// Subject name and expiration.
    Names,
    /// The certificate as well.
    Complete,
}

/// A type of file, by its extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileType {
    /// Name and expiration of a certificate.
    Cnm,
    /// The CRL.
    Crl,
    /// A certificate.
    Crt,
    /// The archive of the CA in PKCS#12.
    P12,
    /// The archive of the CA in PEM.
    Pem,
    /// The last serial number.
    Ser,
}

/// A place where copies of files go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// The place.
    pub url: String,
    /// Who may write there; [`Database::login`] is not for these places.
    pub login: Option<Login>,
}

/// `database archive`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// In which format.
    pub format: ArchiveFormat,
    /// Encrypted with this password; with one that is asked for when absent.
    pub password: Option<Password>,
}

/// The format of an archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ArchiveFormat {
    /// A `.p12` file.
    #[default]
    Pkcs12,
    /// A `.pem` file.
    Pem,
}

impl Database {
    /// Where files of this type go: the most specific place configured, else `nvram:`.
    pub fn place(&self, file: FileType) -> &str {
        self.by_type.get(&file).or(self.url.as_ref()).map_or(DEFAULT_URL, String::as_str)
    }

    /// Where files go that have no place of their own.
    pub fn primary(&self) -> &str {
        self.url.as_deref().unwrap_or(DEFAULT_URL)
    }

    /// The format of the archive.
    pub fn archive_format(&self) -> ArchiveFormat {
        self.archive.as_ref().map(|archive| archive.format).unwrap_or_default()
    }

    /// With every password sealed by `seal`.
    pub(in crate::config) fn sealed(mut self, seal: &impl Fn(Password) -> Password) -> Self {
        let seal_login = |login: &mut Login| login.password = login.password.take().map(seal);
        self.publish.values_mut().flatten().filter_map(|place| place.login.as_mut()).for_each(seal_login);
        self.login.iter_mut().for_each(seal_login);
        self.archive.iter_mut().for_each(|archive| archive.password = archive.password.take().map(seal));
        self
    }
}

impl FileType {
    /// Every type, in the order of [`FileType::extension`].
    pub const ALL: [Self; 6] = [Self::Cnm, Self::Crl, Self::Crt, Self::P12, Self::Pem, Self::Ser];

    /// The extension of its files: `crl`.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Cnm => "cnm",
            Self::Crl => "crl",
            Self::Crt => "crt",
            Self::P12 => "p12",
            Self::Pem => "pem",
            Self::Ser => "ser",
        }
    }

    fn of(args: &Args) -> Option<Self> {
        Self::ALL.into_iter().find(|file| args.has(file.extension()))
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.level != DatabaseLevel::default() {
            writeln!(f, " database level {}", self.level)?;
        }
        if let Some(archive) = &self.archive {
            let password = Password::written(archive.password.as_ref());
            writeln!(f, " database archive {}{password}", archive.format)?;
        }
        self.url.iter().try_for_each(|url| writeln!(f, " database url {url}"))?;
        for file in FileType::ALL {
            for place in self.publish.get(&file).into_iter().flatten() {
                write!(f, " database url {} publish {}", file.extension(), place.url)?;
                writeln!(f, "{}", place.login.as_ref().map(Login::written).unwrap_or_default())?;
            }
            if let Some(url) = self.by_type.get(&file) {
                writeln!(f, " database url {} {url}", file.extension())?;
            }
        }
        match &self.login {
            Some(login) => writeln!(f, " database{}", login.written()),
            None => Ok(()),
        }
    }
}

impl fmt::Display for DatabaseLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Minimum => "minimum",
            Self::Names => "names",
            Self::Complete => "complete",
        })
    }
}

impl fmt::Display for ArchiveFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pkcs12 => "pkcs12",
            Self::Pem => "pem",
        })
    }
}

pub(super) const LINES: &[Line<ServerSection>] = &[
    Line {
        words: "database level {minimum/minimal | names | complete}",
        no: Some("database level"),
        about: "Says what is written to files for each certificate; the database keeps everything in any case",
        help: &[
            ("database", "Files of this server"),
            ("level", "What is written for each certificate"),
            ("minimum", "Nothing"),
            ("names", "Subject name and expiration, as SERIAL.cnm"),
            ("complete", "The certificate as well, as SERIAL.crt"),
        ],
        run: |server, verb, args| {
            server.database.level = match verb {
                Verb::Set if args.has("names") => DatabaseLevel::Names,
                Verb::Set if args.has("complete") => DatabaseLevel::Complete,
                _ => DatabaseLevel::Minimum,
            };
            Ok(())
        },
    },
    Line {
        words: "database url <url>",
        no: Some("database url"),
        about: "Says where files go that have no place of their own; nvram:, the state directory, by default",
        help: &[
            ("database", "Files of this server"),
            ("url", "Where they go"),
            ("<url>", "As in nvram:, flash: or tftp://192.0.2.1/ca"),
        ],
        run: |server, verb, args| {
            server.database.url = match verb {
                Verb::Set => Some(url::file(args, "url")?).filter(|url| url != DEFAULT_URL),
                Verb::No | Verb::Default => None,
            };
            Ok(())
        },
    },
    Line {
        words: "database url {cnm | crl | crt | p12 | pem | ser} <url>",
        no: Some("database url {cnm | crl | crt | p12 | pem | ser}"),
        about: "Says where files of one type go",
        help: TYPE_HELP,
        run: |server, verb, args| {
            let Some(file) = FileType::of(args) else { return Ok(()) };
            match verb {
                Verb::Set => server.database.by_type.insert(file, url::file(args, "url")?),
                Verb::No | Verb::Default => server.database.by_type.remove(&file),
            };
            Ok(())
        },
    },
    Line {
        words: "database url {cnm | crl | crt} publish <url> [username <username> [password {0 <password> | \
                6 <sealed> | 7 <hidden> | <password>}]]",
        no: Some("database url {cnm | crl | crt} publish"),
        about: "Says where copies of files of one type go; for the CRL, several places",
        help: PUBLISH_HELP,
        run: publish,
    },
    Line {
        words: "database username <username> [password {0 <password> | 6 <sealed> | 7 <hidden> | <password>}]",
        no: Some("database username"),
        about: "Says who may write to the places of files; not for those of copies",
        help: &[("database", "Files of this server"), ("username", "User for the places of files")],
        run: |server, verb, args| {
            server.database.login = match verb {
                Verb::Set => Login::of(args)?,
                Verb::No | Verb::Default => None,
            };
            Ok(())
        },
    },
    Line {
        words: "database archive {pkcs12 | pem} [password {0 <password> | 6 <sealed> | 7 <hidden> | <password>}]",
        no: Some("database archive"),
        about: "Says how the CA is archived when it is created: pkcs12 by default, with a password that is \
                asked for",
        help: &[
            ("database", "Files of this server"),
            ("archive", "Archive of the CA"),
            ("pkcs12", "As LABEL.p12"),
            ("pem", "As LABEL.pem"),
        ],
        run: |server, verb, args| {
            server.database.archive = match verb {
                Verb::Set => {
                    let format = if args.has("pem") { ArchiveFormat::Pem } else { ArchiveFormat::Pkcs12 };
                    Some(Archive { format, password: Password::of(args)? })
                }
                Verb::No | Verb::Default => None,
            };
            Ok(())
        },
    },
];

fn publish(server: &mut ServerSection, verb: Verb, args: &Args) -> Result<(), Refusal> {
    let Some(file) = FileType::of(args) else { return Ok(()) };
    let mut places = server.database.publish.get(&file).cloned().unwrap_or_default();
    match (verb, args.get("url")) {
        (Verb::Set, _) => {
            let place = Publish { url: url::file(args, "url")?, login: Login::of(args)? };
            // One place only, but for the CRL.
            places.retain(|known| file == FileType::Crl && known.url != place.url);
            places.push(place);
            if places.len() > MAX_PLACES {
                return Err(args.refuse("url", format!("at most {MAX_PLACES} places")));
            }
        }
        (_, Some(_)) => {
            let url = url::file(args, "url")?;
            places.retain(|known| known.url != url);
        }
        (_, None) => places.clear(),
    }
    match places.is_empty() {
        true => server.database.publish.remove(&file),
        false => server.database.publish.insert(file, places),
    };
    Ok(())
}

/// Where files go by default: the state directory.
const DEFAULT_URL: &str = "nvram:";
/// Each is written to with every CRL.
const MAX_PLACES: usize = 16;

const TYPE_HELP: &[(&str, &str)] = &[
    ("database", "Files of this server"),
    ("url", "Where they go"),
    ("cnm", "Names and expirations of certificates"),
    ("crl", "The CRL"),
    ("crt", "Certificates"),
    ("p12", "The archive of the CA, in PKCS#12"),
    ("pem", "The archive of the CA, in PEM"),
    ("ser", "The last serial number"),
    ("<url>", "As in nvram:, flash: or tftp://192.0.2.1/ca"),
];

const PUBLISH_HELP: &[(&str, &str)] = &[
    ("database", "Files of this server"),
    ("url", "Where they go"),
    ("cnm", "Names and expirations of certificates"),
    ("crl", "The CRL"),
    ("crt", "Certificates"),
    ("publish", "Where copies go"),
    ("<url>", "As in ftp://192.0.2.1/crl"),
];
