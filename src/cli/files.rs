//! `dir`, `more`, `delete` and `show file systems`.

use std::fmt;

use serde::Serialize;

use super::command::Messages;
use super::{Call, Command, CommandError, Output, Run};
use crate::files::{Entry, FileError, FileUrl, Listing, NVRAM};
use crate::node::Node;
use crate::pki::{Time, chain};

pub const COMMANDS: &[Command] = &[
    Command {
        words: "dir [<url>]",
        about: "Lists the files of a file system or directory; those of nvram: when none is named",
        help: &[("dir", "List files"), ("<url>", "As in nvram:, flash:certs or ftp://192.0.2.1/ca/")],
        run: Run::OnNode(dir),
    },
    Command {
        words: "more <url>",
        about: "Shows a file: text as it is, anything else in hex",
        help: &[("more", "Show a file"), ("<url>", "As in nvram:1.cnm or tftp://192.0.2.1/mycs.ser")],
        run: Run::OnNode(|node, call| {
            let url = url(call, "url")?;
            let octets = node.files().read(&url, None).map_err(refused)?;
            Ok(Output::of(More::new(&url, octets)))
        }),
    },
    Command {
        words: "delete <url>",
        about: "Deletes a file",
        help: &[("delete", "Delete a file"), ("<url>", "As in nvram:1.cnm")],
        run: Run::OnNode(|node, call| {
            let url = url(call, "url")?;
            call.confirm(&format!("Delete {url}? [confirm]"))?;
            node.files().delete(&url, None).map_err(refused)?;
            Ok(Output::of(Messages { messages: Vec::new() }))
        }),
    },
    Command {
        words: "show file systems",
        about: "Lists the file systems with their size",
        help: &[("file", "Files"), ("systems", "File systems")],
        run: Run::OnNode(|node, _| Ok(Output::of(systems(node)))),
    },
];

/// A file URL of the line.
pub(super) fn url(call: &Call<'_>, name: &str) -> Result<FileUrl, CommandError> {
    FileUrl::parse(call.args.text(name)).map_err(|error| call.refuse(name, error.to_string()))
}

/// A file that could not be read or written.
pub(super) fn refused(error: FileError) -> CommandError {
    CommandError::Refused(chain(&error))
}

fn dir(node: &Node, call: &mut Call<'_>) -> Result<Output, CommandError> {
    let url = match call.args.get("url") {
        Some(_) => url(call, "url")?,
        None => FileUrl::system(NVRAM, ""),
    };
    let listing = node.files().list(&url, None).map_err(refused)?;
    Ok(Output::of(Dir::new(&url, listing)))
}

#[derive(Serialize)]
struct Dir {
    directory: String,
    files: Vec<Row>,
    total: Option<u64>,
    free: Option<u64>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    size: u64,
    modified: Option<String>,
    writable: bool,
    directory: bool,
}

impl Dir {
    fn new(url: &FileUrl, listing: Listing) -> Self {
        let mut directory = url.to_string();
        if !directory.ends_with('/') {
            directory.push('/');
        }
        let Listing { entries, total, free } = listing;
        Self { directory, files: entries.into_iter().map(Row::from).collect(), total, free }
    }
}

impl From<Entry> for Row {
    fn from(entry: Entry) -> Self {
        let Entry { name, size, modified, writable, directory } = entry;
        Self { name, size, modified: modified.map(date), writable, directory }
    }
}

/// As IOS shows the time of a file: `Oct 14 2026 19:44:57 +00:00`.
fn date(time: Time) -> String {
    let text = time.to_string();
    // HH:MM:SS UTC Mon D YYYY
    let mut parts = text.split(' ');
    let clock = parts.next().unwrap_or_default();
    let day: Vec<_> = parts.skip(1).collect();
    format!("{} {clock} +00:00", day.join(" "))
}

impl fmt::Display for Dir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Directory of {}\n", self.directory)?;
        for (index, row) in self.files.iter().enumerate() {
            let kind = if row.directory { 'd' } else { '-' };
            let write = if row.writable { 'w' } else { '-' };
            let date = row.modified.as_deref().unwrap_or("<no date>");
            // Names of other machines may hold anything.
            let name = row.name.escape_debug();
            writeln!(f, "{:5}  {kind}r{write}- {:11}  {date:>27}  {name}", index + 1, row.size)?;
        }
        if self.files.is_empty() {
            writeln!(f, "No files in directory")?;
        }
        match (self.total, self.free) {
            (Some(total), Some(free)) => writeln!(f, "\n{total} bytes total ({free} bytes free)"),
            (None, Some(free)) => writeln!(f, "\n{free} bytes free"),
            _ => Ok(()),
        }
    }
}

#[derive(Serialize)]
struct More {
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
    #[serde(skip)]
    octets: Vec<u8>,
}

impl More {
    fn new(url: &FileUrl, octets: Vec<u8>) -> Self {
        // Control characters would be obeyed by the terminal.
        let plain = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
        let text = std::str::from_utf8(&octets).ok().filter(|text| text.chars().all(plain));
        let hex = || octets.iter().map(|octet| format!("{octet:02x}")).collect();
        Self {
            url: url.to_string(),
            text: text.map(str::to_owned),
            hex: text.is_none().then(hex),
            octets: if text.is_none() { octets } else { Vec::new() },
        }
    }
}

impl fmt::Display for More {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = &self.text {
            return f.write_str(text);
        }
        for (index, line) in self.octets.chunks(16).enumerate() {
            write!(f, "{:08X}: ", index * 16)?;
            for at in 0..16 {
                match line.get(at) {
                    Some(octet) => write!(f, "{octet:02X}")?,
                    None => f.write_str("  ")?,
                }
                f.write_str(if at % 4 == 3 { " " } else { "" })?;
            }
            let shown = |octet: &u8| if octet.is_ascii_graphic() { char::from(*octet) } else { '.' };
            writeln!(f, " {}", line.iter().map(shown).collect::<String>())?;
        }
        Ok(())
    }
}

/// The file systems.
#[derive(Serialize)]
#[serde(transparent)]
struct Systems(Vec<System>);

#[derive(Serialize)]
struct System {
    prefix: String,
    kind: &'static str,
    total: Option<u64>,
    free: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

fn systems(node: &Node) -> Systems {
    let configuration = node.configuration();
    let files = node.files();
    let local = files.systems().into_iter().map(|prefix| {
        let name = prefix.trim_end_matches(':');
        let kind = match name {
            NVRAM => "nvram",
            name if configuration.directories.contains_key(name) => "disk",
            _ => "usbtoken",
        };
        let (space, error) = match files.list(&FileUrl::system(name, ""), None) {
            Ok(listing) => ((listing.total, listing.free), None),
            Err(error) => ((None, None), Some(chain(&error))),
        };
        System { prefix, kind, total: space.0, free: space.1, error }
    });
    let other =
        |prefix: &str, kind| System { prefix: prefix.to_owned(), kind, total: None, free: None, error: None };
    let network = ["tftp:", "ftp:", "http:", "https:", "s3:"].map(|prefix| other(prefix, "network"));
    Systems(local.chain([other("file:", "disk")]).chain(network).collect())
}

impl fmt::Display for Systems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "File Systems:\n\n{:>16} {:>16}  {:>10}  Flags  Prefixes", "Size(b)", "Free(b)", "Type")?;
        let octets = |octets: Option<u64>| octets.map_or("-".to_owned(), |octets| octets.to_string());
        for System { prefix, kind, total, free, error } in &self.0 {
            writeln!(f, "{:>16} {:>16}  {kind:>10}     rw  {prefix}", octets(*total), octets(*free))?;
            if let Some(error) = error {
                writeln!(f, "% {error}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_looks_as_on_ios() {
        let entry = |name: &str, size, modified, directory| Entry {
            name: name.to_owned(),
            size,
            modified,
            writable: true,
            directory,
        };
        let time = Some(Time::from_unix(1_792_007_097));
        let entries = vec![entry("certs", 0, None, true), entry("mycs.ser", 32, time, false)];
        let url = FileUrl::parse("flash:").unwrap();
        let listing = Listing { entries, total: Some(57336), free: Some(43574) };
        assert_eq!(
            Dir::new(&url, listing).to_string(),
            "Directory of flash:/\n\n\
             \x20   1  drw-           0                    <no date>  certs\n\
             \x20   2  -rw-          32  Oct 14 2026 19:44:57 +00:00  mycs.ser\n\
             \n57336 bytes total (43574 bytes free)\n"
        );
        let url = FileUrl::parse("usbtoken0:").unwrap();
        let text = Dir::new(&url, Listing { free: Some(7), ..Listing::default() }).to_string();
        assert_eq!(text, "Directory of usbtoken0:/\n\nNo files in directory\n\n7 bytes free\n");
    }

    #[test]
    fn text_is_shown_as_it_is_and_the_rest_in_hex() {
        let more = |octets: &[u8]| More::new(&FileUrl::nvram("f"), octets.to_vec()).to_string();
        assert_eq!(
            more("subjectname_str = cn=ä\n\texpiration".as_bytes()),
            "subjectname_str = cn=ä\n\texpiration"
        );
        assert_eq!(more(b""), "");
        assert_eq!(
            more(b"0\x82\x01,0\x81\xd6\x02\x01\x010\x0d\x06\x09*\x86H\x86\xf7"),
            "00000000: 3082012C 3081D602 0101300D 06092A86  0..,0.....0...*.\n\
             00000010: 4886F7                               H..\n"
        );
        assert_eq!(more(b"\x1b[2J"), "00000000: 1B5B324A                             .[2J\n");
    }
}
