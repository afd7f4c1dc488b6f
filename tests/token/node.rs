//! Keys and files of tokens as the operator asks for them: through the node, by the configuration.

use std::sync::Arc;

use tokenca::config::Configuration;
use tokenca::files::{Fault, FileUrl};
use tokenca::node::{Node, Usage};
use tokenca::pki::PrivateKey;

use super::*;

softhsm_stories! {

/// Keys are brought and taken away by name; what was not made exportable stays, in the words of IOS.
fn keys_are_brought_and_taken(dir: &Path) {
    let node = node(dir);
    let made = node.generate_key(None, "movable", P256, Usage::General, true).unwrap();
    assert!(made.exportable && made.generated.is_some());
    let key = node.export_key("movable").unwrap();
    assert_eq!(key.public_key().unwrap(), made.public_key);

    let brought = node.import_key(Some("usbtoken0"), "copy", &key, Usage::General, false).unwrap();
    assert_eq!((brought.name.as_str(), brought.exportable), ("copy", false));
    assert_eq!(brought.public_key, made.public_key);
    let refused = |label: &str| node.export_key(label).unwrap_err().to_string();
    assert_eq!(refused("copy"), "EC keypair 'copy' is not exportable.");
    assert_eq!(refused("nosuch"), "there is no key \"nosuch\" on any configured token");

    // One name for two pairs, each for one use.
    let pair = node.generate_usage_keys(None, "branch", RSA, false).unwrap();
    assert_eq!(pair.each_ref().map(|key| key.name.as_str()), ["branch", "branch.encr"]);
    assert_eq!(pair.each_ref().map(|key| key.usage), [SIGN, DECRYPT]);
    assert!(pair.iter().all(|key| key.is_named("branch")) && !pair[0].is_named("branch.encr"));
    assert_eq!(refused("branch"), "RSA keypair 'branch' is not exportable.");
    node.zeroize_keys(&pair).unwrap();
    // Where one half has no place, the other is not left alone.
    node.generate_key(None, "branch", RSA, Usage::Signature, false).unwrap();
    assert!(node.generate_usage_keys(None, "branch", RSA, false).is_err());
    let rsa = node.generate_key(None, "out", RSA, Usage::Encryption, true).unwrap();
    assert_eq!(rsa.name, "out.encr");
    assert!(matches!(node.export_key("out.encr").unwrap(), PrivateKey::Rsa(_)));
    let names: Vec<_> = node.keys().unwrap().into_iter().map(|key| key.name).collect();
    assert_eq!(names, ["branch", "copy", "movable", "out.encr"]);
}

/// A token is a file system like others.
fn files_are_on_the_token(dir: &Path) {
    let node = node(dir);
    let files = node.files();
    let url = |text: &str| FileUrl::parse(text).unwrap();
    assert!(files.systems().contains(&"usbtoken0:".to_owned()));
    files.write(&url("usbtoken0:ca.ser"), b"00000001", None).unwrap();
    files.write(&url("usbtoken0:ca.ser"), b"00000002", None).unwrap();
    assert_eq!(files.read(&url("usbtoken0:ca.ser"), None).unwrap(), b"00000002");
    let listing = files.list(&url("usbtoken0:"), None).unwrap();
    let listed: Vec<_> = listing.entries.iter().map(|entry| (entry.name.as_str(), entry.size)).collect();
    assert_eq!(listed, [("ca.ser", 8)]);
    // Not for whoever has no PIN.
    assert!(!pkcs11_tool(&["-O", "--type", "data"]).contains("ca.ser"));

    files.delete(&url("usbtoken0:ca.ser"), None).unwrap();
    let error = files.read(&url("usbtoken0:ca.ser"), None).unwrap_err();
    assert!(matches!(error.fault, Fault::NotFound), "{error}");
    softhsm::unplug(dir);
    let error = files.list(&url("usbtoken0:"), None).unwrap_err();
    assert!(error.is_temporary(), "{error}");
    softhsm::plug(dir);
}

}

/// A node whose one token is that in `dir`.
fn node(dir: &Path) -> Arc<Node> {
    let state = dir.join("state");
    let pin = dir.join("pin.txt");
    let text = format!(
        "crypto pki token usbtoken0\n library {}\n label tokenca\n user-pin file {}\n",
        subject().library.display(),
        pin.display()
    );
    Node::start(state, Configuration::parse(&text).unwrap()).unwrap()
}
