//! PINs that a token has refused: remembered over restarts, as salted PBKDF2 hashes in a file.

use std::fs;
use std::io;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::durable::replace;
use super::error::Problem;

/// A PIN that the token with this serial number refused.
pub(super) struct Refused {
    pub serial: String,
    rounds: u32,
    salt: [u8; 16],
    hash: [u8; 32],
}

impl Refused {
    pub fn new(pin: &SecretString, serial: &str) -> Result<Self, Problem> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(Problem::NoRandomness)?;
        let hash = pbkdf2(pin.expose_secret().as_bytes(), &salt, ROUNDS);
        Ok(Self { serial: serial.into(), rounds: ROUNDS, salt, hash })
    }

    pub fn is(&self, pin: &SecretString, serial: &str) -> bool {
        self.serial == serial
            && bool::from(pbkdf2(pin.expose_secret().as_bytes(), &self.salt, self.rounds).ct_eq(&self.hash))
    }

    fn to_line(&self) -> String {
        format!("{} {} {} {}\n", self.rounds, hex(&self.salt), hex(&self.hash), hex(self.serial.as_bytes()))
    }

    fn from_line(line: &str) -> Option<Self> {
        let mut fields = line.split(' ');
        let rounds = fields.next()?.parse().ok().filter(|rounds| (1..=MOST_ROUNDS).contains(rounds))?;
        let salt = unhex(fields.next()?)?.try_into().ok()?;
        let hash = unhex(fields.next()?)?.try_into().ok()?;
        let serial = String::from_utf8(unhex(fields.next()?)?).ok()?;
        fields.next().is_none().then_some(Self { serial, rounds, salt, hash })
    }
}

/// What the file remembers; nothing where there is none.
pub(super) fn read_lockout(path: &Path) -> io::Result<Vec<Refused>> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| Refused::from_line(line).ok_or_else(|| io::Error::other("malformed line"))).collect()
}

/// Has the file remember these.
pub(super) fn write_lockout(path: &Path, refused: &[Refused]) -> io::Result<()> {
    let mut text = String::from(HEADER);
    text.extend(refused.iter().map(Refused::to_line));
    replace(path, &text)
}

/// PBKDF2-HMAC-SHA-256 (RFC 8018, 5.2).
fn pbkdf2(password: &[u8], salt: &[u8], rounds: u32) -> [u8; 32] {
    let mut hash = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, rounds, &mut hash);
    hash
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

const HEADER: &str = "# PINs that the token refused, hashed. They are not tried again while this file is here.\n\
                      # rounds, salt, PBKDF2-HMAC-SHA-256, serial number\n";
/// Some tens of milliseconds: PINs are too short for any number to save them, so the file's mode must; but
/// nobody reads one off the screen.
const ROUNDS: u32 = 200_000;
const MOST_ROUNDS: u32 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pbkdf2_known_answers() {
        // RFC 7914, 11 has others; these are the usual ones for 32 octets.
        for (rounds, expected) in [
            (1, "120fb6cffcf8b32c43e7225256c4f837a86548c92ccc35480805987cb70be17b"),
            (4096, "c5e478d59288c841aa530db6845c4c8d962893a001ce4e11a4963873aa98134a"),
        ] {
            assert_eq!(hex(&pbkdf2(b"password", b"salt", rounds)), expected);
        }
    }

    #[test]
    fn refused_pins_are_known_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("refused");
        let [wrong, other] = ["1111", "2222"].map(SecretString::from);
        write_lockout(&path, &[Refused::new(&wrong, "12 ab").unwrap()]).unwrap();

        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("1111"));
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);

        let read = read_lockout(&path).unwrap();
        assert_eq!(read.len(), 1);
        assert!(read[0].is(&wrong, "12 ab"));
        assert!(!read[0].is(&other, "12 ab"));
        assert!(!read[0].is(&wrong, "another token"));
    }

    #[test]
    fn malformed_lockout_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("refused");
        assert!(read_lockout(&path).unwrap().is_empty());
        fs::write(&path, "600000 00\n").unwrap();
        assert!(read_lockout(&path).is_err());
    }
}
