//! The fuzz targets with every seed and every vector, by an ordinary compiler. How to fuzz: `fuzz/README.md`.

use std::fs;
use std::path::Path;

#[path = "../fuzz/entry.rs"]
mod entry;

#[test]
fn ber() {
    run("ber", entry::ber);
}

#[test]
fn csr() {
    run("csr", entry::csr);
}

#[test]
fn scep() {
    run("scep", entry::scep);
}

#[test]
fn revocation() {
    run("revocation", entry::revocation);
}

#[test]
fn archive() {
    run("archive", entry::archive);
}

/// Each seed and vector as it is, and cut in the middle.
fn run(target: &str, entry: fn(&[u8])) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut ran = 0;
    let seeds = ["ber", "csr", "scep", "revocation", "archive"].map(|target| format!("fuzz/seeds/{target}"));
    let vectors = ["tests/vectors/scep", "tests/vectors/ios"].map(str::to_owned);
    for folder in seeds.iter().chain(&vectors) {
        for file in fs::read_dir(root.join(folder)).unwrap() {
            let path = file.unwrap().path();
            let octets = fs::read(&path).unwrap();
            println!("{target}: {}", path.display());
            entry(&octets);
            entry(&octets[..octets.len() / 2]);
            ran += 1;
        }
    }
    assert!(ran > 20, "{ran} seeds");
}
