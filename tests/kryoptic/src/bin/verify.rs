//! What OpenSSL, recent enough for ML-DSA, thinks of a signature.
//!
//! ```text
//! verify certificate CERTIFICATE ISSUER
//! verify crl CRL ISSUER
//! verify request REQUEST
//! verify signature CERTIFICATE MESSAGE SIGNATURE
//! verify cms MESSAGE CERTIFICATE CONTENT
//! ```
//!
//! Certificates, CRLs and requests are PEM; a signature is as X.509 would carry it, over SHA-256 where the algorithm
//! takes a digest; a CMS message is DER, its content beside it in `CONTENT`. Exits with 0 when the signature is
//! right, with 1 when it is wrong or cannot be read, and prints which and why. Only the signature is looked at:
//! neither names nor dates.

use std::error::Error;
use std::process::ExitCode;
use std::{env, fs};

use openssl::cms::{CMSOptions, CmsContentInfo};
use openssl::hash::MessageDigest;
use openssl::pkey::{Id, PKey, Public};
use openssl::sign::Verifier;
use openssl::stack::Stack;
use openssl::x509::{X509, X509Crl, X509Req};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match verify(&arguments) {
        Ok(true) => {
            println!("the signature is right ({})", openssl::version::version());
            ExitCode::SUCCESS
        }
        Ok(false) => {
            println!("the signature is wrong ({})", openssl::version::version());
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn verify(arguments: &[&str]) -> Result<bool, Box<dyn Error>> {
    Ok(match *arguments {
        ["certificate", certificate, issuer] => self::certificate(certificate)?.verify(&*key(issuer)?)?,
        ["crl", crl, issuer] => X509Crl::from_pem(&read(crl)?)?.verify(&*key(issuer)?)?,
        ["request", request] => {
            let request = X509Req::from_pem(&read(request)?)?;
            request.verify(&*request.public_key()?)?
        }
        ["signature", certificate, message, signature] => {
            let key = key(certificate)?;
            let mut verifier = match key.id() {
                Id::RSA | Id::EC => Verifier::new(MessageDigest::sha256(), &key)?,
                _ => Verifier::new_without_digest(&key)?,
            };
            verifier.verify_oneshot(&read(signature)?, &read(message)?)?
        }
        ["cms", message, certificate, content] => {
            let mut signers = Stack::new()?;
            signers.push(self::certificate(certificate)?)?;
            // Who the signer is and what the certificate is for, others ask.
            let flags = CMSOptions::NO_SIGNER_CERT_VERIFY | CMSOptions::BINARY | CMSOptions::NOINTERN;
            let mut message = CmsContentInfo::from_der(&read(message)?)?;
            message.verify(Some(&signers), None, Some(&read(content)?), None, flags)?;
            true
        }
        _ => return Err("usage: verify certificate|crl|request|signature|cms FILE...".into()),
    })
}

fn key(certificate: &str) -> Result<PKey<Public>, Box<dyn Error>> {
    Ok(self::certificate(certificate)?.public_key()?)
}

fn certificate(path: &str) -> Result<X509, Box<dyn Error>> {
    Ok(X509::from_pem(&read(path)?)?)
}

fn read(path: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    fs::read(path).map_err(|error| format!("{path}: {error}").into())
}
