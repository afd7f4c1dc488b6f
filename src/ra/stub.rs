#![allow(missing_docs)]
pub use crate::pki::ber::Limits;
use crate::pki::*;
pub struct AlgorithmPolicy {
    pub legacy_des: bool,
    pub legacy_md5: bool,
}
pub struct Recipient<'a> {
    pub certificate: &'a Certificate,
    pub key: &'a dyn DecryptionKey,
}
pub fn certs_only(_: &[&[u8]]) -> Result<Vec<u8>, der::Error> {
    todo!()
}
pub struct Capabilities;
impl Capabilities {
    pub fn serving(_: &AlgorithmPolicy) -> String {
        todo!()
    }
}
pub const CA_RA_CERT: &str = "";
pub const CA_CERT: &str = "";
pub const CA_CERT_CHAIN: &str = "";
pub const PKI_MESSAGE: &str = "";
