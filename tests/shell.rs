//! Terminals and the running server: what an operator does there, and what clients notice of it.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use support::{Ca, until};

/// A connection that is kept between requests.
struct Kept {
    reader: BufReader<TcpStream>,
    host: String,
}

impl Kept {
    fn new(ca: &Ca) -> Self {
        let stream = TcpStream::connect(ca.address()).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
        Self { reader: BufReader::new(stream), host: ca.address().to_owned() }
    }

    /// The status of the response to a POST of so many octets.
    fn post(&mut self, octets: usize) -> u16 {
        let head = format!(
            "POST /scep?operation=GetCACaps HTTP/1.1\r\nHost: {}\r\nContent-Length: {octets}\r\n\r\n",
            self.host
        );
        let request = [head.into_bytes(), vec![b'x'; octets]].concat();
        self.reader.get_mut().write_all(&request).expect("the connection is there");
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("a response");
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let mut length = 0;
        while line.trim_end() != "" {
            line.clear();
            self.reader.read_line(&mut line).expect("a header");
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
        }
        self.reader.read_exact(&mut vec![0; length]).expect("a body");
        status.unwrap_or_else(|| panic!("{line:?} is no status line"))
    }
}

#[test]
fn settings_are_applied_without_dropping_connections() {
    let ca = Ca::new(&["grant auto"]);
    let mut kept = Kept::new(&ca);
    assert_eq!(kept.post(3000), 200);
    let address = ca.address().to_owned();
    ca.configure("ip http max-request-size 2000\nhostname ca2\ncrypto pki server mycs\n lifetime crl 24\n");
    until("what is set holds", || (Kept::new(&ca).post(3000) == 413).then_some(()));
    // Also for the connection that there was.
    assert_eq!(kept.post(1000), 200);
    assert_eq!(kept.post(3000), 413);
    assert_eq!(ca.json("show ip http server status")["listening"], *address);

    ca.configure("no ip http server");
    until("nothing listens there any more", || TcpStream::connect(&address).err());
}
