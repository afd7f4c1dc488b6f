//! How a section writes itself.

use std::fmt;

use super::{Grant, GrantRollover, Lifetime, Lifetimes, Scep, SerialNumber, ServerMode, ServerSection};
use crate::pki::Hash;

impl fmt::Display for ServerSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Where IOS has it.
        if self.shutdown {
            writeln!(f, " shutdown")?;
        }
        // `crypto legacy` first: what it allows is refused before it.
        write!(f, "{}", self.legacy)?;
        self.issuer_name.iter().try_for_each(|name| writeln!(f, " issuer-name {name}"))?;
        write!(f, "{}", self.database)?;
        if self.grant != Grant::default() {
            writeln!(f, " grant {}", self.grant)?;
        }
        self.grant_trustpoints.iter().try_for_each(|label| writeln!(f, " grant auto trustpoint {label}"))?;
        write!(f, "{}", self.grant_rollover)?;
        write!(f, "{}", self.lifetime)?;
        match self.mode {
            ServerMode::Root => {}
            ServerMode::SubCs => writeln!(f, " mode sub-cs")?,
            ServerMode::Ra { transparent: false } => writeln!(f, " mode ra")?,
            ServerMode::Ra { transparent: true } => writeln!(f, " mode ra transparent")?,
        }
        if let Some(before) = self.auto_rollover {
            writeln!(f, " auto-rollover {}", before.seconds / DAY)?;
        }
        self.rollover_on.iter().try_for_each(|device| writeln!(f, " rollover on {device}:"))?;
        if self.hash != Hash::Sha256 {
            writeln!(f, " hash {}", self.hash.name())?;
        }
        self.cdp_url.iter().try_for_each(|url| writeln!(f, " cdp-url {url}"))?;
        if self.serial_number == SerialNumber::Random {
            writeln!(f, " serial-number random")?;
        }
        write!(f, "{}", self.scep)?;
        if self.shutdown { Ok(()) } else { writeln!(f, " no shutdown") }
    }
}

impl fmt::Display for Lifetimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Self::default();
        let days = [
            ("ca-certificate", self.ca_certificate, default.ca_certificate),
            ("certificate", self.certificate, default.certificate),
        ];
        for (word, lifetime, default) in days {
            if lifetime != default {
                writeln!(f, " lifetime {word} {lifetime}")?;
            }
        }
        let hours = [
            ("crl", self.crl, default.crl),
            ("enrollment-request", self.enrollment_request, default.enrollment_request),
        ];
        for (word, lifetime, default) in hours {
            if lifetime != default {
                writeln!(f, " lifetime {word} {}", lifetime.seconds / 3600)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Lifetime {
    /// `days [hours [minutes]]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.seconds / 60;
        let (days, hours, minutes) = (minutes / (24 * 60), minutes / 60 % 24, minutes % 60);
        match (hours, minutes) {
            (0, 0) => write!(f, "{days}"),
            (_, 0) => write!(f, "{days} {hours}"),
            _ => write!(f, "{days} {hours} {minutes}"),
        }
    }
}

impl fmt::Display for Scep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.separate_key {
            Some(Some(device)) => writeln!(f, " scep key separate on {device}:")?,
            Some(None) => writeln!(f, " scep key separate")?,
            None => {}
        }
        if self.duplicates_new {
            writeln!(f, " scep duplicates new")?;
        }
        if self.include_chain {
            writeln!(f, " scep include-chain")?;
        }
        if self.ca_alone {
            writeln!(f, " scep ca-certificate alone")?;
        }
        if self.max_pending != Self::default().max_pending {
            writeln!(f, " scep max-pending {}", self.max_pending)?;
        }
        Ok(())
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Manual => "manual",
            Self::Auto => "auto",
            Self::None => "none",
            Self::RaAuto => "ra-auto",
        })
    }
}

impl fmt::Display for GrantRollover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (word, granted) in [("ca-cert", self.ca_cert), ("ra-cert", self.ra_cert)] {
            if granted {
                writeln!(f, " grant auto rollover {word}")?;
            }
        }
        Ok(())
    }
}

const DAY: u64 = 24 * 60 * 60;
