//! Names and contents of the files of an IOS certificate server.

use std::fmt;

use super::{Serial, Time};

/// `LABEL.ser`: the serial number given out last. Its `Display` is the file, byte for byte.
pub struct Ser {
    /// The serial number.
    pub last_serial: Serial,
}

/// `SERIAL.cnm`: whom a certificate names and when it ends. Its `Display` is the file, byte for byte.
pub struct Cnm {
    /// Subject, in the notation of IOS.
    pub subject: String,
    /// notAfter.
    pub expiration: Time,
}

impl fmt::Display for Ser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "db_version = 1\nlast_serial = {}", self.last_serial)
    }
}

impl fmt::Display for Cnm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "subjectname_str = {}\nexpiration = {}", self.subject, self.expiration)
    }
}

/// The file of a certificate server with this label: its last serial number.
pub fn ser_name(label: &str) -> String {
    format!("{label}.ser")
}

/// Its CRL.
pub fn crl_name(label: &str) -> String {
    format!("{label}.crl")
}

/// The file of a certificate: its name.
pub fn cnm_name(serial: &Serial) -> String {
    format!("{}.cnm", digits(serial))
}

/// The certificate itself.
pub fn crt_name(serial: &Serial) -> String {
    format!("{}.crt", digits(serial))
}

/// Hex digits without leading zeros.
fn digits(serial: &Serial) -> String {
    serial.to_string().trim_start_matches("0x").to_owned()
}
