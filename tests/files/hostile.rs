//! Servers and networks that misbehave.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use tokenca::files::{FileError, Files, Places, Timeouts};

use crate::support::{fileservers, until};
use crate::url;

fn patient(total: u64) -> Files {
    let seconds = Duration::from_secs;
    let timeouts = Timeouts { connect: seconds(10), silence: seconds(10), total: seconds(total) };
    Files::new(Places::default()).with_timeouts(timeouts)
}

/// Serves every connection with this, until the process ends.
fn serve(serve: impl Fn(TcpStream) + Send + Clone + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (serve, stream) = (serve.clone(), stream.unwrap());
            thread::spawn(move || serve(stream));
        }
    });
    port
}

/// Sends `first`, then `again` five times a second until the client is gone.
fn drip(first: &'static [u8], again: &'static [u8]) -> u16 {
    serve(move |mut stream| {
        let mut sent = stream.write_all(first);
        while sent.is_ok() {
            thread::sleep(Duration::from_millis(200));
            sent = stream.write_all(again);
        }
    })
}

#[test]
fn a_server_that_sends_an_octet_now_and_then_is_not_waited_for() {
    let ftp = drip(b"220", b"-");
    let ftp_lines = drip(b"220-hello\r\n", b"220-hello\r\n");
    let http = drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x");
    let http_head = drip(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n");
    for name in [
        format!("ftp://127.0.0.1:{ftp}/f"),
        format!("ftp://127.0.0.1:{ftp_lines}/f"),
        format!("http://127.0.0.1:{http}/f"),
        format!("http://127.0.0.1:{http_head}/f"),
        format!("s3://b/f?endpoint=http://127.0.0.1:{http}"),
    ] {
        let start = Instant::now();
        let error = patient(1).read(&url(&name), None).unwrap_err();
        assert!(error.is_temporary() && error.to_string().contains("timed out"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(8), "{name}: {:?}", start.elapsed());
    }
}

#[test]
fn an_answer_without_end_is_not_kept() {
    let endless = serve(|mut stream| {
        let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while sent.is_ok() {
            sent = stream.write_all(&[b'x'; 1 << 16]);
        }
    });
    let error = patient(60).read(&url(&format!("http://127.0.0.1:{endless}/f")), None).unwrap_err();
    assert!(error.to_string().contains("more than 67108864 bytes"), "{error}");
}

#[test]
fn what_is_not_the_protocol_is_an_error() {
    let nonsense = serve(|mut stream| {
        let _ = stream.write_all(b"\xff\xff\xff\xff nonsense\r\n\r\n");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let closed = serve(drop);
    let cut = serve(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    });
    let read = |scheme: &str, port: u16| -> FileError {
        patient(60).read(&url(&format!("{scheme}://127.0.0.1:{port}/f")), None).unwrap_err()
    };
    for scheme in ["ftp", "http", "https"] {
        read(scheme, nonsense);
        let error = read(scheme, closed);
        assert!(error.is_temporary(), "{error}");
    }
    let error = read("http", cut);
    assert!(error.is_temporary(), "half a file is not a file: {error}");
    // A listing that is no XML.
    let page = serve(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>");
    });
    let error = patient(60).list(&url(&format!("s3://b/?endpoint=http://127.0.0.1:{page}")), None);
    assert!(error.unwrap_err().to_string().contains("is not understood"));
}

#[test]
fn what_a_server_says_moves_no_cursor() {
    let ftp = serve(|mut stream| {
        let _ = stream.write_all(b"500 \x1b[2Jgo away\x07\r\n");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tftp = socket.local_addr().unwrap().port();
    thread::spawn(move || {
        let (_, client) = socket.recv_from(&mut [0; 600]).unwrap();
        socket.send_to(b"\0\x05\0\0\x1b[2Jgo\naway\0", client).unwrap();
    });
    for name in [format!("ftp://127.0.0.1:{ftp}/f"), format!("tftp://127.0.0.1:{tftp}/f")] {
        let text = patient(10).read(&url(&name), None).unwrap_err().to_string();
        assert!(text.contains("\\u{1b}[2Jgo"), "{text:?}");
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}

/// Every fifth packet is lost, every third comes twice.
#[test]
fn tftp_gets_through_a_bad_network() {
    let server = fileservers::tftp("127.0.0.1", &[]);
    let port = bad_network(([127, 0, 0, 1], server.port).into());
    let octets: Vec<u8> = (0..15_000).map(|n| (n % 251) as u8).collect();
    let file = url(&format!("tftp://127.0.0.1:{port}/f"));
    patient(120).write(&file, &octets, None).unwrap();
    until("atftpd has closed the file", || {
        let stored = std::fs::read(server.root().join("f")).unwrap_or_default();
        (stored.len() == octets.len()).then_some(())
    });
    assert!(patient(120).read(&file, None).unwrap() == octets);
}

/// A relay to this TFTP server.
fn bad_network(server: SocketAddr) -> u16 {
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = ours.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut packet = [0; 2048];
        let mut beyond: Option<UdpSocket> = None;
        let mut count = 0;
        loop {
            let (length, client) = ours.recv_from(&mut packet).unwrap();
            // A request: another transfer, to the port for those.
            if packet[1] <= 2 {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                let (back, replies) = (ours.try_clone().unwrap(), socket.try_clone().unwrap());
                socket.send_to(&packet[..length], server).unwrap();
                thread::spawn(move || {
                    let mut packet = [0; 2048];
                    let mut count = 0;
                    loop {
                        let (length, from) = replies.recv_from(&mut packet).unwrap();
                        let _ = replies.connect(from);
                        count += 1;
                        for _ in 0..times(count) {
                            let _ = back.send_to(&packet[..length], client);
                        }
                    }
                });
                beyond = Some(socket);
                continue;
            }
            count += 1;
            for _ in 0..times(count) {
                let _ = beyond.as_ref().map(|socket| socket.send(&packet[..length]));
            }
        }
    });
    port
}

fn times(count: usize) -> usize {
    match count {
        count if count % 5 == 0 => 0,
        count if count % 3 == 0 => 2,
        _ => 1,
    }
}

/// Packets of others do not get into a file.
#[test]
fn tftp_listens_to_its_server_only() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let mut packet = [0; 2048];
        let (length, client) = socket.recv_from(&mut packet).unwrap();
        assert!(packet[..length].starts_with(b"\x00\x01f\x00octet\x00blksize\x001400\x00tsize\x000\x00"));
        let transfer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        let elsewhere = UdpSocket::bind("127.0.0.2:0").unwrap();
        // From another machine before, from another port after the first answer; and half a packet.
        elsewhere.send_to(b"\x00\x03\x00\x01wrong", client).unwrap();
        transfer.send_to(b"\x00\x06blksize\x008\x00", client).unwrap();
        assert_eq!(transfer.recv_from(&mut packet).unwrap(), (4, client));
        stranger.send_to(b"\x00\x03\x00\x01wrong", client).unwrap();
        stranger.send_to(b"\x00\x05\x00\x01wrong\x00", client).unwrap();
        transfer.send_to(b"\x00\x03\x00", client).unwrap();
        transfer.send_to(b"\x00\x03\x00\x01eight by", client).unwrap();
        assert_eq!(transfer.recv_from(&mut packet).unwrap(), (4, client));
        transfer.send_to(b"\x00\x03\x00\x01eight by", client).unwrap();
        transfer.send_to(b"\x00\x03\x00\x02tes", client).unwrap();
        assert_eq!(transfer.recv_from(&mut packet).unwrap(), (4, client));
        assert_eq!(packet[..4], [0, 4, 0, 2]);
    });
    let read = patient(60).read(&url(&format!("tftp://127.0.0.1:{port}/f")), None);
    assert_eq!(read.unwrap(), b"eight bytes");
    server.join().unwrap();
}

/// A server that refuses options, and one that announces too much.
#[test]
fn tftp_goes_on_without_options() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut packet = [0; 2048];
        for answer in
            [&b"\x00\x05\x00\x08options\x00"[..], b"\x00\x03\x00\x01x", b"\x00\x06tsize\x0099999999999\x00"]
        {
            let (_, client) = loop {
                let (length, client) = socket.recv_from(&mut packet).unwrap();
                // The last acknowledgement of the transfer before goes to the same port here.
                if packet[1] == 1 {
                    break (length, client);
                }
            };
            socket.send_to(answer, client).unwrap();
        }
    });
    let file = url(&format!("tftp://127.0.0.1:{port}/f"));
    assert_eq!(patient(60).read(&file, None).unwrap(), b"x");
    let error = patient(60).read(&file, None).unwrap_err();
    assert!(error.to_string().contains("more than 67108864 bytes"), "{error}");
}
