//! A PIV card in a process, for tests: `vcard PORT DIR` connects to the reader that vsmartcard's vpcd has on
//! this port of this host, and is its card until the connection ends. What the card remembers is in `DIR`.
//!
//! The applet is Nitrokey's, [`piv_authenticator`], on the storage and cryptography of [`trussed`]; it speaks
//! Yubico's extensions too. See `apdu` for what a card does below an applet, and `attest` for what this one says of
//! its keys.

mod apdu;
mod attest;
mod platform;
mod tlv;

use std::path::Path;

use piv_authenticator::{Authenticator, Options};

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(port), Some(dir), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        eprintln!("usage: vcard PORT DIR");
        std::process::exit(2);
    };
    let connection = vpicc::connect_socket(format!("127.0.0.1:{port}"))?;
    let attester = attest::Attester::open(Path::new(&dir))?;
    platform::with_client(Path::new(&dir), |client| {
        let applet = Authenticator::new(client, Options::new());
        connection.run(&mut apdu::Card::new(applet, attester))
    })
}
