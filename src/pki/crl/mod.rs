//! Certificate revocation lists (RFC 5280, 5): made to be signed, and read.

mod check;
mod places;
mod read;
mod write;

pub use check::CrlFault;
pub use places::{CrlPlace, places};
pub use read::{Crl, CrlError, Entry};
pub use write::{CrlBuilder, CrlHeader, UnsignedCrl};
