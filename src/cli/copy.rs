//! `copy`: between file systems, and the configurations as files.

use std::fmt;
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use super::files::refused;
use super::key_files::file_name;
use super::startup::{self, STARTUP_CONFIG};
use super::{Call, Command, CommandError, Output, Run, Session};
use crate::config::Configuration;
use crate::files::{FileUrl, NVRAM};
use crate::node::Node;

pub const COMMANDS: &[Command] = &[Command {
    words: "copy {running-config | startup-config | <source>} {running-config | startup-config | <destination>}",
    about: "Copies a file. What is copied to running-config is applied line by line, as by `tokenca configure`; \
            what is copied to startup-config is the configuration of the next start",
    help: &[
        ("copy", "Copy a file"),
        ("running-config", "The running configuration"),
        ("startup-config", "The configuration of the next start"),
        ("<source>", "File, as in tftp://192.0.2.1/mycs.ser, nvram:mycs.ser or tftp:"),
        ("<destination>", "File, directory or file system, as in nvram:, flash:mycs.ser or tftp:"),
    ],
    run: Run::OnSession(copy),
}];

/// One end of a copy.
#[derive(Clone, PartialEq)]
enum End {
    Running,
    Startup,
    File(FileUrl),
}

fn copy(session: &mut Session, call: &mut Call<'_>) -> Result<Output, CommandError> {
    let node = session.node(call.console)?;
    let mut words = call.args.words().filter(|word| *word != "copy");
    // What is no word of the syntax is a value.
    let ends = ["source", "destination"].map(|name| match call.args.get(name) {
        Some(_) => name,
        None => words.next().unwrap_or_default(),
    });
    let source = end(call, ends[0])?;
    let destination = end(call, ends[1])?;
    if source == End::Running && destination == End::Startup {
        return startup::save(&node);
    }
    let source = named_source(call, source)?;
    let destination = named_destination(call, &node, &source, destination)?;
    if source == destination {
        return Err(CommandError::Refused(format!("{destination} is the source already")));
    }
    let start = Instant::now();
    let octets = read(&node, &source)?;
    let said = write(session, call, &node, &destination, &octets)?;
    let (source, destination) = (source.to_string(), destination.to_string());
    let copied = Copied { source, destination, bytes: octets.len(), seconds: seconds(start.elapsed()), said };
    Ok(Output::of(copied))
}

/// What was typed at this place: a word of the syntax, or the value of this name.
fn end(call: &mut Call<'_>, place: &str) -> Result<End, CommandError> {
    match place {
        "running-config" => return Ok(End::Running),
        "startup-config" => return Ok(End::Startup),
        _ => {}
    }
    let typed = call.args.text(place).to_owned();
    if typed.eq_ignore_ascii_case("system:running-config") {
        return Ok(End::Running);
    }
    let url = match typed.trim_end_matches('/').to_ascii_lowercase().as_str() {
        scheme @ ("tftp:" | "ftp:" | "http:" | "https:") => on_host(call, scheme)?,
        _ => FileUrl::parse(&typed).map_err(|error| call.refuse(place, error.to_string()))?,
    };
    Ok(if url == FileUrl::nvram(STARTUP_CONFIG) { End::Startup } else { End::File(url) })
}

/// `tftp:` alone: IOS asks for the host.
fn on_host(call: &mut Call<'_>, scheme: &str) -> Result<FileUrl, CommandError> {
    let host = call.console.ask("Address or name of remote host []? ")?;
    let host = match host.trim() {
        "" => return Err(CommandError::Refused(format!("{scheme} needs a host"))),
        host if host.parse::<Ipv6Addr>().is_ok() => format!("[{host}]"),
        host => host.to_owned(),
    };
    FileUrl::parse(&format!("{scheme}//{host}/")).map_err(|error| CommandError::Refused(error.to_string()))
}

fn named_source(call: &mut Call<'_>, source: End) -> Result<End, CommandError> {
    match source {
        End::File(url) if url.is_directory() => {
            let name = call.console.ask("Source filename []? ")?;
            named(url, name.trim()).map(End::File)
        }
        source => Ok(source),
    }
}

/// A directory becomes the file in it that IOS would propose, or another when the operator says so.
fn named_destination(
    call: &mut Call<'_>,
    node: &Node,
    source: &End,
    destination: End,
) -> Result<End, CommandError> {
    let url = match destination {
        End::File(url) if url.is_directory() => url,
        destination => return Ok(destination),
    };
    let proposed = match source {
        End::File(url) => url.file_name().unwrap_or_default(),
        End::Startup if url.scheme() == NVRAM => STARTUP_CONFIG.to_owned(),
        End::Running | End::Startup => {
            format!("{}-confg", node.configuration().hostname.to_ascii_lowercase())
        }
    };
    let answer = match call.options.yes {
        true => String::new(),
        false => call.console.ask(&format!("Destination filename [{proposed}]? "))?,
    };
    let name = if answer.trim().is_empty() { proposed.as_str() } else { answer.trim() };
    let url = named(url, name)?;
    Ok(if url == FileUrl::nvram(STARTUP_CONFIG) { End::Startup } else { End::File(url) })
}

/// A file of this directory or below it.
fn named(directory: FileUrl, name: &str) -> Result<FileUrl, CommandError> {
    if name.is_empty() {
        return Err(CommandError::Refused(format!("no file of {directory} is named, nothing was done")));
    }
    let name = file_name(name)?;
    Ok(name.split('/').filter(|part| !part.is_empty()).fold(directory, |url, part| url.join(part)))
}

fn read(node: &Node, source: &End) -> Result<Vec<u8>, CommandError> {
    match source {
        End::Running => Ok(node.configuration().to_text().into_bytes()),
        End::Startup => node.files().read(&FileUrl::nvram(STARTUP_CONFIG), None).map_err(refused),
        End::File(url) => node.files().read(url, None).map_err(refused),
    }
}

/// Returns what was said meanwhile, for JSON.
fn write(
    session: &mut Session,
    call: &mut Call<'_>,
    node: &Node,
    destination: &End,
    octets: &[u8],
) -> Result<Option<Value>, CommandError> {
    let text = || {
        let text = std::str::from_utf8(octets);
        text.map_err(|_| CommandError::Refused("the file is no configuration: it is not text".into()))
    };
    match destination {
        End::File(url) => node.files().write(url, octets, None).map_err(refused).map(|()| None),
        End::Running => Ok(Some(session.merge(text()?, call.console)?.value())),
        End::Startup => {
            // Read first: with lines that are wrong there would be no next start.
            let (configuration, notes) = Configuration::read(text()?)?;
            startup::write(node.state(), &node.sealed(configuration))?;
            notes.iter().try_for_each(|note| call.say(&format!("{note}\n")))?;
            Ok(Some(Value::from(notes)).filter(|notes| notes.as_array().is_some_and(|all| !all.is_empty())))
        }
    }
}

/// To the millisecond, one at least.
fn seconds(elapsed: Duration) -> f64 {
    elapsed.as_secs_f64().max(0.001)
}

#[derive(Serialize)]
struct Copied {
    source: String,
    destination: String,
    bytes: usize,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    said: Option<Value>,
}

impl fmt::Display for Copied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = (self.bytes as f64 / self.seconds).round();
        writeln!(f, "{} bytes copied in {:.3} secs ({rate} bytes/sec)", self.bytes, self.seconds)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("running-config"),
            Self::Startup => f.write_str("startup-config"),
            Self::File(url) => url.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_copied_is_told_as_ios_does() {
        let copied = |bytes, seconds| {
            let (source, destination) = (String::new(), String::new());
            Copied { source, destination, bytes, seconds, said: None }.to_string()
        };
        assert_eq!(copied(32, 1.32), "32 bytes copied in 1.320 secs (24 bytes/sec)\n");
        assert_eq!(copied(214, 1.324), "214 bytes copied in 1.324 secs (162 bytes/sec)\n");
        assert_eq!(copied(0, seconds(Duration::ZERO)), "0 bytes copied in 0.001 secs (0 bytes/sec)\n");
    }
}
