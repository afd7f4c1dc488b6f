//! Our own SCEP client (RFC 8894): what is asked of a CA elsewhere, and whether its answer may be believed.
//!
//! An [`Upper`] is a SCEP server seen from below. It knows a URL and a way to reach it, no key and no
//! certificate: those come with each [`ClientRequest`]. What is remembered, when is asked again, and which key
//! is on which token, is the node's.

mod certificates;
mod error;
pub mod profile;
mod transport;
mod upper;

pub use certificates::{CaCertificates, certificates};
pub use error::ClientError;
pub use transport::{Proxied, Transport};
pub use upper::{Answered, ClientRequest, Upper};
