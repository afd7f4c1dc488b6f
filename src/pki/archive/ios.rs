//! The files of an IOS certificate server: their names, and what is in those that are text.
//!
//! Written byte for byte as IOS does; read as editors, file transfers and other time zones left them. The
//! `.crl`, `.crt` and `.cer` files are DER, `.p12` and `.pem` archives.

use std::fmt;

use der::DateTime;

use crate::pki::{Serial, Time, hex};

/// What a certificate server calls its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileName {
    /// `<serial>.cnm`: subject and expiration of an issued certificate, a [`Cnm`].
    Cnm(Serial),
    /// `<serial>.crt`: an issued certificate, DER.
    Crt(Serial),
    /// `<label>.ser`: the last serial number, see [`read_ser`].
    Ser(String),
    /// `<label>.crl`: the CRL, DER.
    Crl(String),
    /// `<label>.p12`: the archive of the CA, PKCS#12.
    P12(String),
    /// `<label>.pem`: the archive of the CA, PEM.
    Pem(String),
    /// `<label>#61<serial>CA.cer` and `<label>#61<serial>.cer`: a certificate of a trustpoint, DER.
    Cer {
        /// The trustpoint.
        label: String,
        /// Its serial number.
        serial: Serial,
        /// Whether it is that of the CA itself. A serial number that ends in the octet CA reads as one:
        /// the certificate in the file tells.
        ca: bool,
    },
}

impl FileName {
    /// Reads a name without its directory, in any case. `None` for names that are not of a certificate
    /// server.
    pub fn parse(name: &str) -> Option<Self> {
        let (stem, extension) = name.rsplit_once('.')?;
        let label = || (!stem.is_empty()).then(|| stem.to_owned());
        Some(match extension.to_ascii_lowercase().as_str() {
            "cnm" => Self::Cnm(serial(stem)?),
            "crt" => Self::Crt(serial(stem)?),
            "ser" => Self::Ser(label()?),
            "crl" => Self::Crl(label()?),
            "p12" => Self::P12(label()?),
            "pem" => Self::Pem(label()?),
            "cer" => {
                let (label, number) = stem.rsplit_once('#')?;
                let number = number.strip_prefix("61")?;
                let number = number.to_ascii_uppercase();
                let own = number.strip_suffix("CA");
                let serial = serial(own.unwrap_or(&number))?;
                Self::Cer { label: label.to_owned(), serial, ca: own.is_some() }
            }
            _ => return None,
        })
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = |serial: &Serial| serial.to_string().trim_start_matches("0x").to_owned();
        match self {
            Self::Cnm(serial) => write!(f, "{}.cnm", digits(serial)),
            Self::Crt(serial) => write!(f, "{}.crt", digits(serial)),
            Self::Ser(label) => write!(f, "{label}.ser"),
            Self::Crl(label) => write!(f, "{label}.crl"),
            Self::P12(label) => write!(f, "{label}.p12"),
            Self::Pem(label) => write!(f, "{label}.pem"),
            Self::Cer { label, serial, ca } => {
                write!(f, "{label}#61{}{}.cer", hex(serial.as_be_bytes()), if *ca { "CA" } else { "" })
            }
        }
    }
}

/// The contents of a `.ser` file: the serial number of the last certificate issued.
pub fn write_ser(last: &Serial) -> String {
    format!("db_version = {DB_VERSION}\nlast_serial = {last}")
}

/// The last serial number in a `.ser` file. Hex digits with or without `0x`; digits alone are decimal.
pub fn read_ser(bytes: &[u8]) -> Result<Serial, IosFileError> {
    let fields = Fields::read(bytes)?;
    if let Some(version) = fields.find("db_version")? {
        let number: Result<Serial, _> = version.parse();
        if number != Ok(Serial::from(DB_VERSION)) {
            return Err(IosFileError::Version(version.to_owned()));
        }
    }
    let text = fields.need("last_serial")?;
    let invalid = |_| IosFileError::Value("last_serial", text.to_owned());
    // IOS writes 0x; who edited the file may have forgotten it.
    text.parse().or_else(|_| format!("0x{text}").parse()).map_err(invalid)
}

/// The contents of a `.cnm` file: to whom a certificate was issued, and until when it is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cnm {
    /// The subject as IOS shows names: `cn=r1,ou=Lab`, most specific first.
    pub subject: String,
    /// notAfter.
    pub expiration: ClockTime,
}

impl Cnm {
    /// Of a certificate with this subject, as [`Name`](crate::pki::Name) displays it.
    pub fn new(subject: impl fmt::Display, expiration: Time) -> Self {
        let expiration = ClockTime { time: expiration, unknown_zone: None };
        Self { subject: subject.to_string(), expiration }
    }

    /// As IOS writes it; the time is in UTC, which certificates carry anyway.
    pub fn write(&self) -> String {
        format!("subjectname_str = {}\nexpiration = {}", self.subject, self.expiration.time)
    }

    /// Reads one.
    pub fn read(bytes: &[u8]) -> Result<Self, IosFileError> {
        let fields = Fields::read(bytes)?;
        let text = fields.need("expiration")?;
        let expiration = ClockTime::parse(text);
        let expiration = expiration.ok_or_else(|| IosFileError::Value("expiration", text.to_owned()))?;
        Ok(Self { subject: fields.need("subjectname_str")?.to_owned(), expiration })
    }
}

/// An instant as a router's clock showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockTime {
    /// The instant.
    pub time: Time,
    /// The name of the zone when it is not one that everybody means the same by: taken for UTC then. An
    /// operator names the zone of a router at will (`clock timezone`).
    pub unknown_zone: Option<String>,
}

impl ClockTime {
    /// Reads `15:40:01 EDT Oct 10 2004`, also with a fraction of a second, a weekday, and the `*` or `.` of
    /// a clock that is not trusted.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.trim_start_matches(['*', '.']).split_whitespace();
        let mut clock = words.next()?.split([':', '.']);
        let mut number = || clock.next()?.parse::<u8>().ok();
        let (hour, minute, second) = (number()?, number()?, number()?);
        let words: Vec<&str> = words.collect();
        let (before, [month, day, year]) = words.split_last_chunk::<3>()?;
        // With a zone, with zone and weekday, or without both.
        let zone = *before.first().unwrap_or(&"UTC");
        let month = 1 + MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))? as u8;
        let (day, year) = (day.parse().ok()?, year.parse().ok()?);
        let local = Time::from(DateTime::new(year, month, day, hour, minute, second).ok()?);
        let known = ZONES.iter().find(|(name, _)| name.eq_ignore_ascii_case(zone));
        let offset = known.map_or(0, |(_, minutes)| *minutes);
        let seconds = i64::try_from(local.unix()).ok()? - 60 * offset;
        Some(Self {
            time: Time::from_unix(u64::try_from(seconds).ok()?),
            unknown_zone: known.is_none().then(|| zone.to_owned()),
        })
    }
}

/// Why a file of an IOS certificate server cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IosFileError {
    /// Such a file has some hundred octets.
    #[error("the file is too long for its kind")]
    TooLong,
    /// Not `name = value`.
    #[error("\"{0}\" is not of the form name = value")]
    Line(String),
    /// A line is missing.
    #[error("there is no line {0} = …")]
    Missing(&'static str),
    /// A line stands there twice, and not with the same value.
    #[error("there are different lines {0} = …")]
    Ambiguous(&'static str),
    /// A line makes no sense.
    #[error("{0} = {1} cannot be read")]
    Value(&'static str, String),
    /// Of a release that is not known.
    #[error("db_version = {0} is not known; it should be {DB_VERSION}")]
    Version(String),
}

/// Lines of `name = value`.
struct Fields(Vec<(String, String)>);

impl Fields {
    /// Blank lines and comments are passed over, and the end-of-file marks of old file transfers.
    fn read(bytes: &[u8]) -> Result<Self, IosFileError> {
        if bytes.len() > MAX_LENGTH {
            return Err(IosFileError::TooLong);
        }
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_matches(|c: char| c.is_control() || c.is_whitespace() || c == '\u{feff}');
        let lines = text.split(['\n', '\r']).map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with(['!', '#']));
        let field = |line: &str| {
            let (name, value) = line.split_once('=').ok_or_else(|| IosFileError::Line(line.to_owned()))?;
            Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        };
        lines.map(field).collect::<Result<_, _>>().map(Self)
    }

    fn find(&self, name: &'static str) -> Result<Option<&str>, IosFileError> {
        let mut values = self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let first = values.next();
        if values.any(|value| Some(value) != first) {
            return Err(IosFileError::Ambiguous(name));
        }
        Ok(first)
    }

    fn need(&self, name: &'static str) -> Result<&str, IosFileError> {
        self.find(name)?.ok_or(IosFileError::Missing(name))
    }
}

/// Hex digits, at least one.
fn serial(digits: &str) -> Option<Serial> {
    let hex = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if hex { format!("0x{digits}").parse().ok() } else { None }
}

/// The only version of the `.ser` file there is.
const DB_VERSION: u64 = 1;

/// Octets of a text file: a name of a few thousand letters fits.
const MAX_LENGTH: usize = 64 * 1024;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Minutes east of Greenwich, of names that mean one thing only where routers are.
const ZONES: [(&str, i64); 26] = [
    ("UTC", 0),
    ("GMT", 0),
    ("UCT", 0),
    ("Z", 0),
    ("WET", 0),
    ("WEST", 60),
    ("BST", 60),
    ("CET", 60),
    ("MET", 60),
    ("CEST", 120),
    ("MEST", 120),
    ("EET", 120),
    ("EEST", 180),
    ("MSK", 180),
    ("JST", 540),
    ("EST", -300),
    ("EDT", -240),
    ("CST", -360),
    ("CDT", -300),
    ("MST", -420),
    ("MDT", -360),
    ("PST", -480),
    ("PDT", -420),
    ("AKST", -540),
    ("AKDT", -480),
    ("HST", -600),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// 2004-10-10T19:40:01Z.
    const EXPIRATION: Time = Time::from_unix(1_097_437_201);

    #[test]
    fn the_files_of_the_documents_to_the_byte() {
        assert_eq!(write_ser(&Serial::from(1)), "db_version = 1\nlast_serial = 0x1");
        assert_eq!(write_ser(&Serial::from(1)).len(), 32);
        for (subject, len) in [
            ("hostname=ese-cryagg.ese.cisco.com", 89),
            ("cn=ese-ios-ca,ou=ESE,o=Cisco Systems Inc,l=Raleigh,st=NC", 112),
        ] {
            let text = Cnm::new(subject, EXPIRATION).write();
            assert_eq!(text, format!("subjectname_str = {subject}\nexpiration = 19:40:01 UTC Oct 10 2004"));
            assert_eq!(text.len(), len);

            let router = text.replace("19:40:01 UTC", "15:40:01 EDT");
            assert_eq!(Cnm::read(router.as_bytes()).unwrap(), Cnm::new(subject, EXPIRATION));
        }
    }

    #[test]
    fn what_was_written_is_read() {
        for serial in [0, 1, 0x1f, 0xabcdef, u64::MAX].map(Serial::from) {
            assert_eq!(read_ser(write_ser(&serial).as_bytes()), Ok(serial));
        }
        let cnm = Cnm::new("cn=a\\=b,o=c = d", EXPIRATION);
        assert_eq!(Cnm::read(cnm.write().as_bytes()), Ok(cnm));
    }

    #[test]
    fn serial_files_as_editors_leave_them() {
        for text in [
            "db_version = 1\r\nlast_serial = 0x1F\r\n",
            "last_serial=0X1f\ndb_version=1",
            "\u{feff}DB_VERSION =1\r\rLast_Serial   =   1F  \n\n\u{1a}",
            "last_serial = 31",
            "! restored by hand\nlast_serial = 0x1f\nlast_serial = 0x1f\nnew_field = 7\n",
        ] {
            assert_eq!(read_ser(text.as_bytes()), Ok(Serial::from(31)), "{text:?}");
        }
        for (text, error) in [
            ("", IosFileError::Missing("last_serial")),
            ("db_version = 2\nlast_serial = 1", IosFileError::Version("2".into())),
            ("last_serial = 0xg", IosFileError::Value("last_serial", "0xg".into())),
            ("last_serial = -1", IosFileError::Value("last_serial", "-1".into())),
            ("last_serial =", IosFileError::Value("last_serial", "".into())),
            ("last_serial = 1\nlast_serial = 2", IosFileError::Ambiguous("last_serial")),
            ("last_serial 1", IosFileError::Line("last_serial 1".into())),
            (&"\0".repeat(MAX_LENGTH + 1), IosFileError::TooLong),
        ] {
            assert_eq!(read_ser(text.as_bytes()), Err(error));
        }
        assert!(read_ser(&[0x30, 0x82, 0xff, 0xfe]).is_err());
    }

    #[test]
    fn clocks_of_routers() {
        let read = |text| ClockTime::parse(text).map(|read| (read.time.unix(), read.unknown_zone));
        let noon = 1_097_409_600; // 2004-10-10T12:00:00Z
        for (text, hours) in [
            ("12:00:00 UTC Oct 10 2004", 0),
            ("12:00:00 GMT Oct 10 2004", 0),
            ("12:00:00 EST Oct 10 2004", 5),
            ("12:00:00 CDT Oct 10 2004", 5),
            ("12:00:00 PST Oct 10 2004", 8),
            ("12:00:00 cest oct 10 2004", -2),
            ("*12:00:00.123 CET Sun Oct 10 2004", -1),
            (".12:00:00 Oct 10 2004", 0),
        ] {
            assert_eq!(read(text), Some(((noon + hours * 3600) as u64, None)), "{text}");
        }
        let unknown = Some((noon as u64, Some("lab".to_owned())));
        assert_eq!(read("12:00:00 lab Oct 10 2004"), unknown);
        for text in [
            "",
            "12:00:00",
            "12:00 UTC Oct 10 2004",
            "25:00:00 UTC Oct 10 2004",
            "12:00:00 UTC Okt 10 2004",
            "12:00:00 UTC Feb 30 2004",
            "12:00:00 CET Jan 1 0",
            "00:00:00 CET Jan 1 1970",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn names_of_files() {
        for name in ["1.cnm", "1F.crt", "mycs.ser", "mycs.crl", "my.cs.p12", "mycs.pem"] {
            assert_eq!(FileName::parse(name).unwrap().to_string(), name);
        }
        let cer = |serial, ca| FileName::Cer { label: "ese-ios-ca".into(), serial: Serial::from(serial), ca };
        for (name, parsed) in [
            ("ese-ios-ca#6101CA.cer", cer(1, true)),
            ("ese-ios-ca#6102.cer", cer(2, false)),
            ("ese-ios-ca#610CAB.cer", cer(0xcab, false)),
            ("ese-ios-ca#6112CACA.cer", cer(0x12ca, true)),
        ] {
            assert_eq!(FileName::parse(name), Some(parsed.clone()), "{name}");
            assert_eq!(parsed.to_string(), name);
        }
        assert_eq!(FileName::parse("ese-ios-ca#6101cA.CER"), Some(cer(1, true)));
        assert_eq!(FileName::parse("0A.CNM"), Some(FileName::Cnm(Serial::from(10))));
        for name in ["", ".ser", "mycs", "mycs.crt", ".cnm", "0x1.cnm", "+1.cnm", "mycs#01CA.cer", "#61.cer"]
        {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
    }
}
