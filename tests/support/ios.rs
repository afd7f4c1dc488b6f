//! A certificate server as a router was one, made with OpenSSL: RSA 1024, MD5, a CRL of version 1, its files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Ca, Ran, run};

/// The CA of a router, and its files as they lie in its NVRAM.
pub struct IosCa {
    dir: tempfile::TempDir,
    digest: &'static str,
}

impl IosCa {
    /// A CA `cn= ese-ios-ca`, its server labelled `mycs`, that signs with this digest (`-md5`, `-sha1`) and has issued nothing yet. The values of
    /// its name begin with a blank, as in the document.
    pub fn new(digest: &'static str) -> Self {
        Self::named(digest, " ese-ios-ca")
    }

    /// The same with this common name alone, or the whole name of the document.
    pub fn named(digest: &'static str, name: &str) -> Self {
        let ca = Self { dir: tempfile::tempdir().expect("a directory"), digest };
        let whole = "ST = \" NC\"\nL = \" Raleigh\"\nO = \" Cisco Systems Inc\"\nOU = \" ESE\"\n";
        let rest = if name == " ese-ios-ca" { whole } else { "" };
        ca.write("ca.cnf", CONFIGURATION.replace("{NAME}", &format!("{rest}CN = \"{name}\"")));
        ca.write("index.txt", "");
        ca.openssl("genrsa -traditional -out ca.key 1024");
        ca.openssl(&format!(
            "req -x509 -new -key ca.key {digest} -set_serial 1 -days 508 -config ca.cnf -out ca.pem"
        ));
        ca.openssl("x509 -in ca.pem -outform DER -out ca.cer");
        ca
    }

    /// A CA of this certificate and this key, encrypted under `cisco123`.
    pub fn of_pem(certificate: &str, key: &str, digest: &'static str) -> Self {
        let ca = Self { dir: tempfile::tempdir().expect("a directory"), digest };
        ca.write("ca.cnf", CONFIGURATION.replace("{NAME}", "CN = mycs"));
        ca.write("ca.pem", certificate);
        ca.write("ca.prv", key);
        ca.openssl("rsa -in ca.prv -passin pass:cisco123 -traditional -out ca.key");
        ca
    }

    /// A file of this CA: `ca.pem`, `ca.key`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The contents of a file.
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The same as text.
    pub fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).expect("text")
    }

    /// Writes a file.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.file(name), contents).expect("its own directory");
    }

    /// Issues a certificate to a new key of 1024 bits: `NAME.key`, `NAME.pem`.
    pub fn issue(&self, serial: u64, name: &str) {
        self.openssl(&format!("genrsa -traditional -out {name}.key 1024"));
        self.openssl(&format!("req -new -key {name}.key -subj /unstructuredName={name} -out {name}.csr"));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -set_serial {serial} {} -days 254 -out {name}.pem",
            self.digest
        ));
    }

    /// The CRL, with these serial numbers on it: `ca.crl`, of version 1.
    pub fn revoke(&self, serials: &[u64]) {
        let entry =
            |serial: &u64| format!("R\t350101000000Z\t260202143124Z\t{serial:02X}\tunknown\t/CN=r{serial}\n");
        self.write("index.txt", serials.iter().map(entry).collect::<String>());
        let digest = self.digest.trim_start_matches('-');
        self.openssl(&format!(
            "ca -config ca.cnf -gencrl -cert ca.pem -keyfile ca.key -md {digest} -crldays 7 -out crl.pem"
        ));
        self.openssl("crl -in crl.pem -outform DER -out ca.crl");
    }

    /// The `.ser` file, to the byte.
    pub fn ser(last: u64) -> String {
        format!("db_version = 1\nlast_serial = 0x{last:X}")
    }

    /// A `.cnm` file as a router in New York writes it.
    pub fn cnm(subject: &str) -> String {
        format!("subjectname_str = {subject}\nexpiration = 15:40:01 EDT Oct 10 2035")
    }

    /// The private key in PEM as routers export it, under `cisco123`; the cipher is `-des3` or `-des`.
    pub fn pem_key(&self, cipher: &str) -> String {
        self.openssl(&format!(
            "rsa -provider legacy -provider default -in ca.key {cipher} -traditional -passout pass:cisco123 -out \
             ca.prv"
        ));
        self.text("ca.prv")
    }

    /// The public key in PEM.
    pub fn pem_public_key(&self) -> String {
        self.openssl("rsa -in ca.key -pubout -out ca.pub");
        self.text("ca.pub")
    }

    /// The archive under `cisco123` with RC2 of 40 bits and triple DES, as of 2004: `ca.p12`.
    pub fn pkcs12(&self) -> Vec<u8> {
        self.openssl("pkcs12 -export -legacy -in ca.pem -inkey ca.key -passout pass:cisco123 -out ca.p12");
        self.read("ca.p12")
    }

    /// Copies the files of the database into the state directory: `.ser`, `.crl` and `.cnm` up to `last`.
    pub fn copy_database(&self, state: &Path, last: u64) {
        let put =
            |name: String, octets: &[u8]| fs::write(state.join(name), octets).expect("a state directory");
        put("mycs.ser".into(), Self::ser(last).as_bytes());
        put("mycs.crl".into(), &self.read("ca.crl"));
        put("1.cnm".into(), Self::cnm("cn=ese-ios-ca,ou=ESE,o=Cisco Systems Inc,l=Raleigh,st=NC").as_bytes());
        for serial in 2..=last {
            put(format!("{serial:X}.cnm"), Self::cnm(&format!("hostname=r{serial}.cisco.com")).as_bytes());
        }
    }

    fn openssl(&self, line: &str) -> Ran {
        run(Command::new("openssl").current_dir(self.dir.path()).args(line.split_whitespace())).success()
    }
}

/// A server process without a certificate server, with a token: what a new machine is before a restore.
pub fn bare() -> Ca {
    Ca::with_configuration(
        "hostname ca2\n\
         ip http server\n\
         ip http port 0\n\
         ip http bind 127.0.0.1\n\
         crypto pki token usbtoken0\n profile softhsm2\n label tokenca\n user-pin file pin.txt\n",
    )
}

/// Types lines into the shell of a server, from `configure terminal` on or not; what is shown.
pub fn shell(ca: &Ca, lines: &str) -> String {
    use std::io::Write;
    let mut child = ca
        .program()
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(lines.as_bytes()).expect("it reads");
    drop(stdin);
    let ran = Ran::of(lines, child.wait_with_output().expect("it ends"));
    ran.stdout + &ran.stderr
}

const CONFIGURATION: &str = "\
[req]
distinguished_name = dn
prompt = no
x509_extensions = v3
[dn]
{NAME}
[v3]
basicConstraints = critical,CA:TRUE
keyUsage = critical,digitalSignature,keyCertSign,cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[ca]
default_ca = d
[d]
database = index.txt
";
