//! A certificate authority whose every private-key operation happens on a PKCS#11 token.
//!
//! The modules are layers, imports point down only, and `tests/layers.rs` reads the sources to see
//! that it is so:
//!
//! ```text
//! daemon                           wiring, ordered start and stop
//! cli        http                  the two edges: command language, hyper
//! node                             the running configuration made real: what both edges ask
//! config     ra        trustpoint  running-config text, one SCEP request whole, our SCEP client
//! ca                               issue, revoke, CRL: knows neither SCEP nor HTTP nor PKCS#11
//! policy   scep   token   store    decisions, RFC 8894 codec, PKCS#11, database
//! files                            nvram:, usbtoken0:, tftp://, ftp://, https://, s3://
//! pki                              X.509 values and rules: no I/O, no clock, no token
//! log                              the log, debugging, terminals that watch: everybody emits, only edges set up
//! ```

pub mod ca;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod files;
pub mod http;
pub mod log;
pub mod node;
pub mod pki;
pub mod policy;
pub mod ra;
pub mod scep;
pub mod store;
pub mod token;
pub mod trustpoint;
