//! A PKI made with OpenSSL in a directory: what others issue.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tokenca::pki::Certificate;
use tokenca::pki::archive::pem;

use super::{Ran, run};

/// Keys and certificates by name. All keys are EC but where an argument says otherwise.
pub struct OpensslPki {
    dir: tempfile::TempDir,
}

impl OpensslPki {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.file(name).to_str().expect("a path of ASCII").to_owned()
    }

    /// A root: a key, and a certificate signed with it.
    pub fn root(&self, name: &str, subject: &str) {
        self.issue(name, subject, name, CA, &[]);
    }

    /// A certificate from `issuer`, with these lines of extensions. Arguments are those of `openssl x509 -req`;
    /// `-newkey ALGORITHM` among them chooses the key. A key of this name that is there is used again.
    pub fn issue(&self, name: &str, subject: &str, issuer: &str, extensions: &str, arguments: &[&str]) {
        let (key, request) = (format!("{name}.key"), format!("{name}.csr"));
        let mut arguments = arguments.to_vec();
        let mut algorithm = "ec";
        if let Some(at) = arguments.iter().position(|argument| *argument == "-newkey") {
            algorithm = arguments.remove(at + 1);
            arguments.remove(at);
        }
        if !self.file(&key).exists() {
            let mut generate = Command::new("openssl");
            match algorithm.strip_prefix("rsa:") {
                Some(bits) => generate.args(["genrsa", "-out", &self.text(&key), bits]),
                None => generate
                    .args(["ecparam", "-genkey", "-noout", "-name", "prime256v1"])
                    .args(["-out", &self.text(&key)]),
            };
            run(&mut generate).success();
        }
        fs::write(self.file("ext"), extensions).expect("extensions");
        fs::write(self.file("req.cnf"), "[req]\ndistinguished_name=dn\n[dn]\n").expect("a configuration");
        run(Command::new("openssl")
            .args(["req", "-new", "-utf8", "-config", &self.text("req.cnf"), "-key", &self.text(&key)])
            .args(["-subj", subject, "-out", &self.text(&request)]))
        .success();
        let mut sign = Command::new("openssl");
        sign.args(["x509", "-req", "-in", &self.text(&request), "-out", &self.text(&format!("{name}.pem"))]);
        match issuer == name {
            true => sign.args(["-signkey", &self.text(&key)]),
            false => sign
                .args(["-CA", &self.text(&format!("{issuer}.pem"))])
                .args(["-CAkey", &self.text(&format!("{issuer}.key"))]),
        };
        if !arguments.contains(&"-days") {
            sign.args(["-days", "3650"]);
        }
        if !arguments.contains(&"-set_serial") {
            let entries = fs::read_dir(self.dir.path()).expect("a directory").count();
            sign.args(["-set_serial", &(entries + 100).to_string()]);
        }
        if !extensions.is_empty() {
            sign.args(["-extfile", &self.text("ext")]);
        }
        run(sign.args(arguments)).success();
    }

    /// The certificate of this name.
    pub fn certificate(&self, name: &str) -> Certificate {
        let text = fs::read_to_string(self.file(&format!("{name}.pem"))).expect("it was issued");
        let der = pem::certificates(&text).expect("OpenSSL writes PEM").remove(0);
        Certificate::parse(&der).expect("OpenSSL makes certificates")
    }

    pub fn certificates(&self, names: &[&str]) -> Vec<Certificate> {
        names.iter().map(|name| self.certificate(name)).collect()
    }

    /// PEM of several in one file.
    pub fn bundle(&self, file: &str, names: &[&str]) -> String {
        let pem = |name: &&str| fs::read_to_string(self.file(&format!("{name}.pem"))).expect("a certificate");
        fs::write(self.file(file), names.iter().map(pem).collect::<String>()).expect("a bundle");
        self.text(file)
    }

    /// What OpenSSL thinks of the certificate of this name at this time.
    pub fn verify(&self, name: &str, others: &[&str], anchors: &[&str], at: u64, arguments: &[&str]) -> Ran {
        let mut verify = Command::new("openssl");
        // A trusted intermediate is enough for us, too.
        verify.args(["verify", "-partial_chain", "-no-CAfile", "-no-CApath", "-no-CAstore"]);
        verify.args(["-attime", &at.to_string()]).args(arguments);
        for (option, file, names) in
            [("-trusted", "trusted.pem", anchors), ("-untrusted", "others.pem", others)]
        {
            // OpenSSL takes no file without a certificate.
            if !names.is_empty() {
                verify.args([option, &self.bundle(file, names)]);
            }
        }
        run(verify.arg(self.text(&format!("{name}.pem"))))
    }

    /// A CRL of `issuer` with these serial numbers, DER.
    pub fn crl(&self, issuer: &str, revoked: &[u64], arguments: &[&str]) -> Vec<u8> {
        self.index(revoked);
        let out = self.text(&format!("{issuer}.crl"));
        run(Command::new("openssl")
            .args(["ca", "-gencrl", "-config", &self.ca_configuration(), "-md", "sha256"])
            .args(["-cert", &self.text(&format!("{issuer}.pem"))])
            .args(["-keyfile", &self.text(&format!("{issuer}.key")), "-out", &out])
            .args(arguments))
        .success();
        let der = format!("{out}.der");
        run(Command::new("openssl").args(["crl", "-in", &out, "-outform", "DER", "-out", &der])).success();
        fs::read(der).expect("it was written")
    }

    /// The database of `openssl ca` and `openssl ocsp`, with these serial numbers revoked; valid are those of
    /// every certificate that is there.
    pub fn index(&self, revoked: &[u64]) -> PathBuf {
        let mut lines = String::new();
        for serial in 1..1000 {
            // Of those that were issued or are nobody's, none but the revoked matters to a CRL.
            match revoked.contains(&serial) {
                true => {
                    lines += &format!(
                        "R\t491231235959Z\t260101000000Z,keyCompromise\t{serial:04X}\tunknown\t/CN={serial}\n"
                    )
                }
                false if (100..500).contains(&serial) => {
                    lines += &format!("V\t491231235959Z\t\t{serial:04X}\tunknown\t/CN={serial}\n");
                }
                false => {}
            }
        }
        fs::write(self.file("index"), lines).expect("a database");
        self.file("index")
    }

    fn ca_configuration(&self) -> String {
        let text = format!(
            "[ca]\ndefault_ca=x\n[x]\ndatabase={}\ndefault_crl_days=7\ncrlnumber={}\ncrl_extensions=e\n\
             [e]\nauthorityKeyIdentifier=keyid\n[idp]\nissuingDistributionPoint=critical,@point\n\
             [point]\nonlyuser=TRUE\n[delta]\n2.5.29.27=critical,ASN1:INTEGER:1\n",
            self.text("index"),
            self.text("number"),
        );
        fs::write(self.file("ca.cnf"), text).expect("a configuration");
        if !self.file("number").exists() {
            fs::write(self.file("number"), "01\n").expect("a number");
        }
        self.text("ca.cnf")
    }
}

/// Extensions of a CA.
pub const CA: &str = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n\
                      subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n";

/// Extensions of a device.
pub const DEVICE: &str = "basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\n\
                          subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n";
