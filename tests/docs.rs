//! The tests that the documents name exist, no requirement is missing from the coverage, no link is dead.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn tests_named_exist() {
    for document in ["docs/conformance.md", "docs/coverage.md"] {
        let named = named(&read(document));
        assert!(named.len() > 20, "{document} names {} tests", named.len());
        for test in named {
            assert!(exists(&test), "{document} names {test}, which is not there");
        }
    }
    assert!(!exists("layers::no_such_test") && !exists("pki::name::no_such_test"));
}

#[test]
fn every_requirement_is_listed() {
    let text = read("docs/coverage.md");
    let rows: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next()).collect();
    for (group, count) in [("K", 11), ("F", 3), ("S", 24), ("P", 6), ("T", 10), ("H", 2)] {
        for number in 1..=count {
            let id = format!("{group}{number}");
            assert!(rows.contains(id.as_str()), "docs/coverage.md has no row {id}");
        }
    }
}

#[test]
fn links_lead_somewhere() {
    let documents = [
        "README.md",
        "docs/architecture.md",
        "docs/conformance.md",
        "docs/coverage.md",
        "docs/migrating-from-ios.md",
        "docs/operator-guide.md",
        "docs/takeover.md",
        "docs/tokens.md",
    ];
    for document in documents {
        let text = read(document);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if link.starts_with("https://") || file.is_empty() {
                continue;
            }
            let target = root().join(document).with_file_name(file);
            assert!(target.exists(), "{document} links to {link}, which is not there");
        }
    }
}

/// What stands in backticks and is a path: `file::test`.
fn named(text: &str) -> BTreeSet<String> {
    let is_path = |word: &&str| {
        word.contains("::") && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
    };
    text.split('`').skip(1).step_by(2).filter(is_path).map(str::to_owned).collect()
}

/// `file::test` in `tests/file.rs` or a file of `tests/file/`, or `module::test` in the sources of that module.
fn exists(path: &str) -> bool {
    let (module, test) = path.rsplit_once("::").expect("it is a path");
    let module = module.replace("::", "/");
    let files = [format!("tests/{module}.rs"), format!("src/{module}.rs"), format!("src/{module}/mod.rs")];
    let parts = fs::read_dir(root().join("tests").join(&module)).into_iter().flatten();
    let parts = parts.map(|entry| entry.expect("an entry").path());
    files.iter().map(|file| root().join(file)).chain(parts).any(|file| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.contains(&format!("fn {test}("))
    })
}

fn read(document: &str) -> String {
    fs::read_to_string(root().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}
