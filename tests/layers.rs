//! Reads the sources: imports point down only, each foreign world is named in one layer, nothing is
//! unsafe, no file is too long.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Layers and their ranks. An import goes from a higher rank to a lower one, or stays in its layer.
const LAYERS: &[(&str, u8)] = &[
    ("daemon", 7),
    ("cli", 6),
    ("http", 6),
    ("node", 5),
    ("config", 4),
    ("ra", 4),
    ("ca", 3),
    ("trustpoint", 3),
    ("files", 2),
    ("policy", 2),
    ("scep", 2),
    ("store", 2),
    ("token", 2),
    ("pki", 1),
    ("log", 0),
];

/// Crates that one layer alone may name.
const OWNED: &[(&str, &str)] = &[
    ("cryptoki", "token"),
    ("cryptoki_sys", "token"),
    ("rusqlite", "store"),
    ("hyper", "http"),
    ("hyper_util", "http"),
    ("http_body_util", "http"),
    ("ureq", "files"),
    ("suppaftp", "files"),
    ("rusty_s3", "files"),
    ("httpdate", "http"),
    ("tokio_rustls", "http"),
];

/// Layers without files, sockets, processes or a clock of their own.
const PURE: &[&str] = &["pki", "policy", "scep"];

/// The only files that may hold `unsafe`.
const UNSAFE: &[&str] = &["token/sys/library.rs"];

const MAX_LINES: usize = 900;

#[test]
fn the_sources_keep_the_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 10, "only {} files below {}", files.len(), root.display());

    let mut report = String::new();
    for file in files {
        let name = file.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
        let text = fs::read_to_string(&file).unwrap();
        for broken in check(&name, &text) {
            writeln!(report, "src/{name}: {broken}").unwrap();
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn every_layer_is_ranked() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(
            name == "lib" || name == "main" || rank(&name).is_some(),
            "src/{name} has no rank: add it to LAYERS and to src/lib.rs"
        );
    }
}

#[test]
fn the_check_sees_what_it_should() {
    let broken = |file: &str, text: &str| check(file, text).join("; ");
    for (file, text, complaint) in [
        ("ca/issue.rs", "use crate::ra::Ra;", "imports ra"),
        ("ca/issue.rs", "fn f() { crate::http::serve() }", "imports http"),
        ("ca/issue.rs", "use crate::{pki::Serial, node::{Node, X}};", "imports node"),
        ("ca/issue.rs", "use crate::{\n    pki,\n    config,\n};", "imports config"),
        ("ca/issue.rs", "use super::super::daemon;", "imports daemon"),
        ("ca/mod.rs", "use super::cli::Shell;", "imports cli"),
        ("ca/mod.rs", "#[cfg(test)] mod tests { use super::super::ra; }", "imports ra"),
        ("scep/mod.rs", "use crate::token::Token;", "imports token"),
        ("cli/mod.rs", "use crate::http::Server;", "imports http"),
        ("pki/key.rs", "pub(in crate::scep) fn f() {}", "imports scep"),
        ("ra/mod.rs", "use cryptoki::session::Session;", "names cryptoki"),
        ("ra/mod.rs", "fn f(e: ::rusqlite::Error) {}", "names rusqlite"),
        ("node/mod.rs", "use hyper::Request;", "names hyper"),
        ("node/mod.rs", "const Q: &str = \"SELECT id FROM request\";", "speaks SQL"),
        ("node/mod.rs", "const Q: &str = r#\"\n  insert into request values\"#;", "speaks SQL"),
        ("token/pool.rs", "unsafe impl Send for X {}", "unsafe"),
        ("scep/mod.rs", "let x = std::fs::read(p);", "std::fs"),
        ("policy/mod.rs", "use std::net::TcpStream;", "std::net"),
        ("policy/mod.rs", "let now = Time::now();", "Time::now"),
        ("pki/long.rs", &"//\n".repeat(MAX_LINES + 1), "lines"),
    ] {
        assert!(broken(file, text).contains(complaint), "{file}: {text}: {:?}", broken(file, text));
    }
    for (file, text) in [
        ("ca/issue.rs", "use crate::pki::Serial; use crate::{store::Store, policy};"),
        ("ca/issue.rs", "use super::node; use self::http::X; use crate::ca::record;"),
        ("ca/issue.rs", "// crate::ra\n/* crate::http /* unsafe */ crate::ra */ /// [`crate::daemon`]\n"),
        ("ca/issue.rs", "let s = \"crate::ra \\\" unsafe\"; let c = '\"'; fn f<'a>(x: &'a str) {}"),
        ("ca/issue.rs", "let s = \"select a certificate; update the database\";"),
        ("ra/mod.rs", "mod tests { use super::Ra; }"),
        ("token/mod.rs", "use cryptoki::context::Pkcs11;"),
        ("store/sqlite.rs", "const Q: &str = \"SELECT id FROM request\";"),
        ("scep/mod.rs", "fn f() {}\n#[cfg(test)]\nmod tests { fn g() { std::fs::read(p); } }"),
        ("main.rs", "fn main() { tokenca::daemon::main() }"),
    ] {
        assert_eq!(broken(file, text), "", "{file}: {text}");
    }
}

/// What is wrong with the source `text` of `file`, a path below `src`.
fn check(file: &str, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let lines = text.lines().count();
    if lines > MAX_LINES {
        broken.push(format!("{lines} lines; split it below {MAX_LINES}"));
    }

    let layer = file.split(['/', '.']).next().unwrap_or_default();
    let source = Source::read(text);
    for target in imports(file, &source.tokens) {
        let allowed = match (rank(layer), rank(&target)) {
            _ if layer == target => true,
            (Some(from), Some(to)) => from > to,
            // lib.rs, main.rs, or no layer at all.
            _ => true,
        };
        if !allowed {
            broken.push(format!("imports {target}, which is not below {layer}"));
        }
    }
    for (name, owner) in OWNED {
        if layer != *owner && source.tokens.iter().any(|token| token == name) {
            broken.push(format!("names {name}, which is for {owner} alone"));
        }
    }
    if layer != "store" {
        for string in source.strings.iter().filter(|string| is_sql(string)) {
            broken.push(format!("speaks SQL, which is for store alone: {string:?}"));
        }
    }
    if !UNSAFE.contains(&file) && source.tokens.iter().any(|token| token == "unsafe") {
        broken.push("unsafe".to_owned());
    }
    if PURE.contains(&layer) {
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        let tokens = Source::read(product).tokens;
        for world in
            [["std", "fs"], ["std", "net"], ["std", "process"], ["Time", "now"], ["SystemTime", "now"]]
        {
            let path = [world[0], ":", ":", world[1]];
            // The definition of the clock is in pki; using it is for the edges.
            if file != "pki/time.rs" && tokens.windows(4).any(|window| window == path) {
                broken.push(format!("{}::{} in a layer without a world", world[0], world[1]));
            }
        }
    }
    broken
}

/// Layers named by paths from the crate's root.
fn imports(file: &str, tokens: &[String]) -> Vec<String> {
    // How many `super` lead from the file's own module to the root.
    let depth = file.trim_end_matches(".rs").trim_end_matches("/mod").split('/').count();
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let start = at;
        at += 1;
        let path = |at: usize| tokens.get(at..at + 2).is_some_and(|t| t[0] == ":" && t[1] == ":");
        let mut next = start + 1;
        match tokens[start].as_str() {
            "crate" => {}
            "super" => {
                let mut supers = 1;
                while path(next) && tokens.get(next + 2).is_some_and(|t| t == "super") {
                    supers += 1;
                    next += 3;
                }
                at = next;
                if supers < depth {
                    continue;
                }
            }
            _ => continue,
        }
        if !path(next) {
            continue;
        }
        next += 2;
        match tokens.get(next).map(String::as_str) {
            Some("{") => found.extend(group(&tokens[next + 1..])),
            Some(name) => found.push(name.to_owned()),
            None => {}
        }
    }
    found.retain(|name| rank(name).is_some());
    found
}

/// First names in a `{…}` of a `use`.
fn group(tokens: &[String]) -> Vec<String> {
    let mut names = Vec::new();
    let (mut depth, mut first) = (0, true);
    for token in tokens {
        match token.as_str() {
            "{" => depth += 1,
            "}" if depth == 0 => break,
            "}" => depth -= 1,
            "," if depth == 0 => first = true,
            name if first && depth == 0 => {
                names.push(name.to_owned());
                first = false;
            }
            _ => {}
        }
    }
    names
}

fn rank(layer: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == layer).map(|(_, rank)| *rank)
}

/// Whether a string literal begins like a statement, in the usual spelling of one.
fn is_sql(string: &str) -> bool {
    let text = string.trim_start().to_ascii_lowercase();
    let pairs = [
        ("select ", " from "),
        ("insert ", " into "),
        ("update ", " set "),
        ("delete ", " from "),
        ("create ", " table "),
    ];
    pairs.iter().any(|(verb, with)| text.starts_with(verb) && text.contains(with))
        || text.starts_with("pragma ")
}

/// A source file without its comments: identifiers and signs, and string literals aside.
struct Source {
    tokens: Vec<String>,
    strings: Vec<String>,
}

impl Source {
    fn read(text: &str) -> Self {
        let mut source = Self { tokens: Vec::new(), strings: Vec::new() };
        let chars: Vec<char> = text.chars().collect();
        let mut at = 0;
        while at < chars.len() {
            at = source.token(&chars, at);
        }
        source
    }

    /// Reads one token or comment at `at`; returns where the next begins.
    fn token(&mut self, chars: &[char], at: usize) -> usize {
        let c = chars[at];
        let peek = |n: usize| chars.get(at + n).copied().unwrap_or('\0');
        match c {
            '/' if peek(1) == '/' => find(chars, at, '\n'),
            '/' if peek(1) == '*' => comment(chars, at),
            '"' => self.string(chars, at + 1),
            'r' if peek(1) == '"' || (peek(1) == '#' && matches!(peek(2), '"' | '#')) => {
                self.raw(chars, at + 1)
            }
            'b' if peek(1) == '"' => self.string(chars, at + 2),
            // A character, or a lifetime: 'x' has its quote two on, '\…' later.
            '\'' if peek(1) == '\\' => find(chars, at + 3, '\'') + 1,
            '\'' if peek(2) == '\'' => at + 3,
            c if c.is_alphanumeric() || c == '_' => {
                let end = (at..chars.len()).find(|i| !(chars[*i].is_alphanumeric() || chars[*i] == '_'));
                let end = end.unwrap_or(chars.len());
                self.tokens.push(chars[at..end].iter().collect());
                end
            }
            c if c.is_whitespace() => at + 1,
            c => {
                self.tokens.push(c.to_string());
                at + 1
            }
        }
    }

    fn string(&mut self, chars: &[char], start: usize) -> usize {
        let mut end = start;
        while end < chars.len() && chars[end] != '"' {
            end += if chars[end] == '\\' { 2 } else { 1 };
        }
        self.strings.push(chars[start..end.min(chars.len())].iter().collect());
        end + 1
    }

    fn raw(&mut self, chars: &[char], start: usize) -> usize {
        let hashes = chars[start..].iter().take_while(|c| **c == '#').count();
        let begin = start + hashes + 1;
        let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
        let end = (begin..chars.len()).find(|i| chars[*i..].starts_with(&close)).unwrap_or(chars.len());
        self.strings.push(chars[begin.min(end)..end].iter().collect());
        end + close.len()
    }
}

fn find(chars: &[char], from: usize, wanted: char) -> usize {
    (from..chars.len()).find(|i| chars[*i] == wanted).unwrap_or(chars.len())
}

fn comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
