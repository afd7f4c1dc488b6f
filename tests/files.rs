//! The file systems: what is written is read back, on this host and on other makers' servers.

mod support;

#[path = "files/commands.rs"]
mod commands;
#[path = "files/hostile.rs"]
mod hostile;
#[path = "files/local.rs"]
mod local;
#[path = "files/remote.rs"]
mod remote;

use std::collections::BTreeMap;
use std::path::Path;

use tokenca::files::{FileUrl, Files, Login, Places};

/// `nvram:` in `dir/nvram`, `flash:` in `dir/flash`.
fn places(dir: &Path) -> Places {
    for name in ["nvram", "flash"] {
        std::fs::create_dir_all(dir.join(name)).unwrap();
    }
    Places {
        nvram: dir.join("nvram"),
        reserved: ["tokenca.db*", "lock", "*.new"].map(str::to_owned).to_vec(),
        directories: BTreeMap::from([("flash".to_owned(), dir.join("flash"))]),
        ..Places::default()
    }
}

fn files(dir: &Path) -> Files {
    Files::new(places(dir))
}

#[track_caller]
fn url(text: &str) -> FileUrl {
    FileUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[track_caller]
fn names(files: &Files, directory: &str, login: Option<&Login>) -> Vec<String> {
    files.list(&url(directory), login).unwrap().entries.into_iter().map(|entry| entry.name).collect()
}
