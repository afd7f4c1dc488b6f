//! The host: names and addresses, clock, directories for files, who may use the command socket.

use std::fmt;
use std::path::PathBuf;

use crate::config::grammar::{Args, Refusal};
use crate::config::line::{Line, Verb};
use crate::config::secret::Password;
use crate::config::{Configuration, Editor, check_label};

use super::is_host_label;

/// `ip ftp …`: the login at FTP servers for which none is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ftp {
    /// `ip ftp username`.
    pub username: Option<String>,
    /// `ip ftp password`.
    pub password: Option<Password>,
}

/// `clock …`, kept as typed: the host keeps the time, and times are shown in UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// `clock timezone`.
    pub timezone: Option<String>,
    /// `clock summer-time`.
    pub summer_time: Option<String>,
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.timezone.iter().try_for_each(|zone| writeln!(f, "clock timezone {zone}"))?;
        self.summer_time.iter().try_for_each(|zone| writeln!(f, "clock summer-time {zone}"))
    }
}

/// The lines of this file, but for clock and NTP.
pub(in crate::config) struct Host<'c>(pub(in crate::config) &'c Configuration);

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Configuration { hosts, ftp, directories, socket_group, .. } = self.0;
        hosts.iter().try_for_each(|(name, address)| writeln!(f, "ip host {name} {address}"))?;
        ftp.username.iter().try_for_each(|name| writeln!(f, "ip ftp username {name}"))?;
        let password = Password::written(ftp.password.as_ref());
        if !password.is_empty() {
            writeln!(f, "ip ftp{password}")?;
        }
        for (name, path) in directories {
            writeln!(f, "file system {name}: {}", path.display())?;
        }
        socket_group.iter().try_for_each(|group| writeln!(f, "socket group {group}"))
    }
}

pub(in crate::config) const FILE_SYSTEM: &str = "file system <device> <path...>";

pub(super) const LINES: &[Line<Editor>] = &[
    Line {
        words: "ip/ipv6 host <name> <address>",
        no: Some("ip/ipv6 host <name>"),
        about: "Gives a host an address, before DNS is asked",
        help: &[("host", "Address of a host"), ("<name>", "Its name"), ("<address>", "IPv4 or IPv6 address")],
        run: host,
    },
    Line {
        words: "ip ftp username <username>",
        no: Some("ip ftp username"),
        about: "Logs in at FTP servers with this name, where no other is configured",
        help: &[("ftp", "FTP")],
        run: |editor, verb, args| {
            let name = args.get("username").filter(|_| verb == Verb::Set);
            editor.configuration.ftp.username = name.map(str::to_owned);
            Ok(())
        },
    },
    Line {
        words: "ip ftp password {0 <password> | 6 <sealed> | 7 <hidden> | <password>}",
        no: Some("ip ftp password"),
        about: "Logs in at FTP servers with this password, where no other is configured",
        help: &[("ftp", "FTP")],
        run: |editor, verb, args| {
            editor.configuration.ftp.password = match verb {
                Verb::Set => Password::of(args)?,
                Verb::No | Verb::Default => None,
            };
            Ok(())
        },
    },
    Line {
        words: "clock timezone <zone> <hours> [<minutes:0-59>]",
        no: Some("clock timezone"),
        about: "Kept only: the host keeps the time, and times are shown in UTC",
        help: &[
            ("clock", "Time of day"),
            ("timezone", "Time zone"),
            ("<zone>", "Its name"),
            ("<hours>", "Hours from UTC, -23 to 23"),
            ("<minutes>", "Minutes from UTC"),
        ],
        run: timezone,
    },
    Line {
        words: "clock summer-time <zone> {recurring [<from...>] | date <from...>}",
        no: Some("clock summer-time"),
        about: "Kept only: the host keeps the time, and times are shown in UTC",
        help: &[
            ("clock", "Time of day"),
            ("summer-time", "Summer time"),
            ("<zone>", "Name of its time zone"),
            ("recurring", "Each year"),
            ("date", "In one year"),
            ("<from>", "When it begins and ends"),
        ],
        run: |editor, verb, args| {
            editor.configuration.clock.summer_time = (verb == Verb::Set).then(|| {
                let kind = if args.has("date") { "date" } else { "recurring" };
                let text = [args.get("zone"), Some(kind), args.get("from")];
                text.into_iter().flatten().collect::<Vec<_>>().join(" ")
            });
            Ok(())
        },
    },
    Line {
        words: "ntp {server | peer} <address> [<options...>]",
        no: Some("ntp [{server | peer} <address>]"),
        about: "Kept only: the host keeps the time",
        help: &[
            ("ntp", "Network time protocol"),
            ("server", "Server to ask"),
            ("peer", "Peer to agree with"),
            ("<address>", "Its address or name"),
            ("<options>", "How it is asked"),
        ],
        run: ntp,
    },
    Line {
        words: FILE_SYSTEM,
        no: Some("file system <device>"),
        about: "Makes a directory a file system for file URLs; a relative path starts at the state \
                directory; not an IOS line",
        help: &[
            ("file", "Files"),
            ("system", "Directory that is a file system"),
            ("<device>", "Its name, as in flash:"),
            ("<path>", "Directory, as in /srv/ca/flash"),
        ],
        run: file_system,
    },
    Line {
        words: "socket group <name>",
        no: Some("socket group"),
        about: "Lets the members of this group of the host use the command socket; not an IOS line",
        help: &[("socket", "Command socket"), ("group", "Group that may use it"), ("<name>", "Its name")],
        run: |editor, verb, args| {
            editor.configuration.socket_group = match verb {
                Verb::Set => Some(group(args)?),
                Verb::No | Verb::Default => None,
            };
            Ok(())
        },
    },
];

fn host(editor: &mut Editor, verb: Verb, args: &Args) -> Result<(), Refusal> {
    let name = args.text("name").to_ascii_lowercase();
    if verb != Verb::Set {
        let known = editor.configuration.hosts.remove(&name);
        return known.map(drop).ok_or_else(|| args.refuse("name", "there is no such host"));
    }
    if name.len() > 253 || !name.split('.').all(is_host_label) {
        return Err(args.refuse("name", "a name has parts of letters, digits and hyphens, at most 63 each"));
    }
    let address = args.text("address").parse();
    let address = address.map_err(|_| args.refuse("address", "this is not an IPv4 or IPv6 address"))?;
    editor.configuration.hosts.insert(name, address);
    Ok(())
}

fn timezone(editor: &mut Editor, verb: Verb, args: &Args) -> Result<(), Refusal> {
    if verb != Verb::Set {
        editor.configuration.clock.timezone = None;
        return Ok(());
    }
    let hours = args.text("hours").parse::<i8>().ok().filter(|hours| hours.abs() < 24);
    let hours = hours.ok_or_else(|| args.refuse("hours", "hours from UTC are a number from -23 to 23"))?;
    let minutes = args.number("minutes").filter(|minutes| *minutes > 0);
    let minutes = minutes.map(|minutes| format!(" {minutes}")).unwrap_or_default();
    editor.configuration.clock.timezone = Some(format!("{} {hours}{minutes}", args.text("zone")));
    Ok(())
}

fn ntp(editor: &mut Editor, verb: Verb, args: &Args) -> Result<(), Refusal> {
    let kind = if args.has("peer") { "peer" } else { "server" };
    let Some(address) = args.get("address") else {
        editor.configuration.ntp.clear();
        return Ok(());
    };
    let line = format!("{kind} {address}");
    // With whatever options it was typed.
    editor.configuration.ntp.retain(|known| *known != line && !known.starts_with(&format!("{line} ")));
    if verb == Verb::Set {
        let options = args.get("options").map(|options| format!(" {options}")).unwrap_or_default();
        editor.configuration.ntp.insert(line + &options);
    }
    Ok(())
}

fn file_system(editor: &mut Editor, verb: Verb, args: &Args) -> Result<(), Refusal> {
    let name = args.text("device").trim_end_matches(':').to_ascii_lowercase();
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if name.len() > 64 || !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(inner) {
        let reason = "a file system has a name of letters, digits, hyphens and underscores, as in flash:";
        return Err(args.refuse("device", reason));
    }
    if verb != Verb::Set {
        let known = editor.configuration.directories.remove(&name);
        return known.map(drop).ok_or_else(|| args.refuse("device", "there is no such file system"));
    }
    if RESERVED.contains(&name.as_str()) {
        return Err(args.refuse("device", format!("{name}: is something else already")));
    }
    editor.configuration.directories.insert(name, PathBuf::from(args.text("path")));
    Ok(())
}

fn group(args: &Args) -> Result<String, Refusal> {
    let name = args.text("name");
    check_label(name).map_err(|reason| args.refuse("name", reason))?;
    Ok(name.to_owned())
}

/// Names in URLs that are not directories.
const RESERVED: &[&str] =
    &["nvram", "system", "terminal", "file", "tftp", "ftp", "http", "https", "scp", "sftp", "rcp", "s3"];
