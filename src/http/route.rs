//! From a request line and a body to what is asked: pure, and tolerant of every client's way.

use crate::ra::Asked;
use crate::scep::operation::{Operation, message_from_body, message_from_query, parameter};

/// The methods served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET and HEAD.
    Get,
    /// POST.
    Post,
}

/// Where a request goes.
#[derive(Clone, Debug)]
pub struct Route {
    /// The certificate servers it may mean, the likeliest first: one named in the path must exist, one
    /// named in `message=` may.
    pub server: Server,
    /// What it asks.
    pub asked: Asked,
}

/// Which certificate server is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// This one or none.
    Named(String),
    /// One of these labels if there is such a server, else the default one.
    Maybe(Vec<String>),
}

impl Route {
    /// Whether it is answered from memory.
    pub fn is_cheap(&self) -> bool {
        matches!(self.asked, Asked::CaCaps | Asked::CaCert | Asked::CaCertChain | Asked::NextCaCert)
    }
}

/// Reads a request: `/L.crl`, `/L-KEY.crl`, `/L.cer`, or SCEP at any path with an `operation` (RFC 8894,
/// 4.1). The first segment of the path and `message` of the CA operations may name a server; every other path
/// is that of the default one, `/cgi-bin/pkiclient.exe` among them.
pub fn route(method: Method, path: &str, query: &str, body: Vec<u8>) -> Result<Route, String> {
    let path = path.trim_matches('/');
    if method == Method::Get && !path.contains('/') {
        let file = |extension: &str| path.strip_suffix(extension).filter(|label| !label.is_empty());
        let named = |label: &str, asked| Ok(Route { server: Server::Named(label.to_owned()), asked });
        if let Some(name) = file(".crl") {
            return match of_key(name) {
                Some((label, key)) => named(label, Asked::CrlOf(key)),
                None => named(name, Asked::Crl),
            };
        }
        if let Some(label) = file(".cer") {
            return named(label, Asked::Certificate);
        }
    }
    let operation = match parameter(query, "operation") {
        Some(name) => Operation::from_text(&name)
            .ok_or_else(|| format!("unknown operation \"{}\"", name.escape_debug()))?,
        // RFC 8894, 4.3: a POST can only be a PKIOperation.
        None if method == Method::Post => Operation::PkiOperation,
        None => return Err("SCEP is served here: a request has operation=…".into()),
    };
    let message = parameter(query, "message");
    let mut labels: Vec<String> =
        path.split('/').next().filter(|s| !s.is_empty()).map(str::to_owned).into_iter().collect();
    if operation != Operation::PkiOperation {
        labels.extend(message.clone());
    }
    let asked = match operation {
        Operation::GetCaCaps => Asked::CaCaps,
        Operation::GetCaCert => Asked::CaCert,
        Operation::GetCaCertChain => Asked::CaCertChain,
        Operation::GetNextCaCert => Asked::NextCaCert,
        Operation::GetCrl => Asked::Crl,
        Operation::PkiOperation => Asked::PkiOperation(match method {
            Method::Post => message_from_body(body),
            Method::Get => message
                .as_deref()
                .and_then(message_from_query)
                .ok_or("the message of the PKIOperation is missing or not base64")?,
        }),
    };
    Ok(Route { server: Server::Maybe(labels), asked })
}

/// `L-KEY`: a label and a keyIdentifier of 20 octets in hex.
fn of_key(name: &str) -> Option<(&str, Vec<u8>)> {
    let (label, key) = name.rsplit_once('-').filter(|(label, key)| !label.is_empty() && key.len() == 40)?;
    let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    // A sign is none of the digits that `from_str_radix` takes it for.
    let digits = key.bytes().all(|digit| digit.is_ascii_hexdigit());
    let key = digits.then(|| key.as_bytes().chunks(2).map(octet).collect::<Option<Vec<u8>>>())??;
    Some((label, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str, query: &str) -> Route {
        route(Method::Get, path, query, Vec::new()).unwrap()
    }

    #[test]
    fn every_clients_path() {
        for path in [
            "/cgi-bin/pkiclient.exe",
            "/scep",
            "/scep/",
            "/certsrv/mscep/mscep.dll",
            "/certsrv/mscep/mscep.dll/pkiclient.exe",
            "/app/cert/scep/",
            "/",
        ] {
            assert!(matches!(get(path, "operation=GetCACaps").asked, Asked::CaCaps), "{path}");
            assert!(matches!(get(path, "message=x&OPERATION=getcacert").asked, Asked::CaCert), "{path}");
        }
        let Asked::PkiOperation(message) = get("/scep", "operation=PKIOperation&message=MAA%3D%0A").asked
        else {
            panic!()
        };
        assert_eq!(message, [0x30, 0]);
    }

    #[test]
    fn a_server_is_named_by_path_or_message() {
        let maybe = |labels: &[&str]| Server::Maybe(labels.iter().map(|l| l.to_string()).collect());
        assert_eq!(get("/mycs/pkiclient.exe", "operation=GetCACert&message=0").server, maybe(&["mycs", "0"]));
        assert_eq!(get("/", "operation=GetCACert&message=mycs").server, maybe(&["mycs"]));
        assert_eq!(get("/mycs.crl", "").server, Server::Named("mycs".into()));
        assert!(matches!(get("/mycs.cer", "").asked, Asked::Certificate));
        let key = "00aB".repeat(10);
        let of_key = get(&format!("/my-cs-{key}.crl"), "");
        assert_eq!(of_key.server, Server::Named("my-cs".into()));
        assert!(matches!(of_key.asked, Asked::CrlOf(key) if key == [0, 0xab].repeat(10)));
        for label in [format!("my-cs-{}", &key[1..]), format!("mycs-+{}", &key[1..]), format!("-{key}")] {
            let route = get(&format!("/{label}.crl"), "");
            assert!(matches!(route.asked, Asked::Crl), "{label}");
            assert_eq!(route.server, Server::Named(label));
        }
    }

    #[test]
    fn a_post_needs_no_operation() {
        let route = route(Method::Post, "/scep", "", vec![0x30, 0]).unwrap();
        assert!(matches!(route.asked, Asked::PkiOperation(message) if message == [0x30, 0]));
    }

    #[test]
    fn what_is_not_scep_is_said() {
        for (path, query) in
            [("/", ""), ("/scep", "operation=Destroy"), ("/scep", "operation=PKIOperation"), ("/.crl", "")]
        {
            assert!(route(Method::Get, path, query, Vec::new()).is_err(), "{path}?{query}");
        }
    }
}
