//! Lines of a router that are no business of a certificate authority. A router's whole configuration can
//! be read: these lines are left out, with what is indented below them, and that is said.

use super::grammar::Token;

/// A line left out, and which lines after it belong to it.
#[derive(Clone)]
pub(super) struct LeftOut {
    words: &'static str,
    // Of a banner: what ends it.
    end: Option<String>,
    ended: bool,
}

impl LeftOut {
    /// When the line, of these words without `no`, is one to leave out.
    pub fn of(words: &[Token<'_>]) -> Option<Self> {
        let fits = |entry: &&&str| {
            let mut expected = entry.split(' ').zip(words.iter().map(|word| word.text));
            words.len() >= entry.split(' ').count() && expected.all(|(a, b)| a.eq_ignore_ascii_case(b))
        };
        let words = FOREIGN.iter().find(fits)?;
        Some(Self { words, end: None, ended: false })
    }

    /// The beginning of a banner, which may have control characters and go on over many lines.
    pub fn of_banner(line: &str) -> Option<Self> {
        let text = line.strip_prefix("banner ")?.trim_start();
        let (_, text) = text.split_once(' ').unwrap_or(("", text));
        let text = text.trim_start();
        // In print, the delimiter Ctrl-C is two characters.
        let length = if text.starts_with("^C") { 2 } else { text.chars().next()?.len_utf8() };
        let (end, text) = text.split_at(length);
        Some(Self { words: "banner", end: Some(end.to_owned()), ended: text.contains(end) })
    }

    /// Whether this line belongs to it as well.
    pub fn takes(&mut self, line: &str) -> bool {
        match &self.end {
            Some(end) => {
                let takes = !self.ended;
                self.ended |= line.contains(end.as_str());
                takes
            }
            None => line.starts_with([' ', '\t']) && !line.trim().is_empty(),
        }
    }

    /// What is said of it. The line may hold a password: only its first words are shown.
    pub fn note(&self) -> String {
        format!("% `{}` is a line of a router: left out, with what is indented below it.", self.words)
    }
}

const FOREIGN: &[&str] = &[
    "aaa",
    "access-list",
    "alias",
    "archive",
    "arp",
    "banner",
    "boot",
    "boot-end-marker",
    "boot-start-marker",
    "bridge",
    "buffers",
    "call-home",
    "cdp",
    "class-map",
    "clock calendar-valid",
    "config-register",
    "control-plane",
    "controller",
    "crypto dynamic-map",
    "crypto engine",
    "crypto identity",
    "crypto ikev2",
    "crypto ipsec",
    "crypto isakmp",
    "crypto keyring",
    "crypto map",
    "dial-peer",
    "dot11",
    "enable",
    "exception",
    "gateway",
    "hw-module",
    "interface",
    "ip access-list",
    "ip arp",
    "ip audit",
    "ip bootp",
    "ip cef",
    "ip classless",
    "ip default-gateway",
    "ip dhcp",
    "ip domain lookup",
    "ip domain-lookup",
    "ip finger",
    "ip flow-export",
    "ip forward-protocol",
    "ip http authentication",
    "ip http path",
    "ip http timeout-policy",
    "ip icmp",
    "ip inspect",
    "ip local",
    "ip multicast",
    "ip multicast-routing",
    "ip name-server",
    "ip nat",
    "ip pim",
    "ip prefix-list",
    "ip radius",
    "ip rcmd",
    "ip route",
    "ip routing",
    "ip sla",
    "ip source-route",
    "ip ssh",
    "ip subnet-zero",
    "ip tacacs",
    "ip tcp",
    "ip tftp",
    "ip vrf",
    "ipv6 access-list",
    "ipv6 cef",
    "ipv6 route",
    "ipv6 unicast-routing",
    "isdn",
    "key chain",
    "l2tp-class",
    "license",
    "line",
    "lldp",
    "logging",
    "login",
    "mac-address-table",
    "memory-size",
    "mgcp",
    "mmi",
    "mpls",
    "multilink",
    "netconf",
    "network-clock-participate",
    "ntp authenticate",
    "ntp authentication-key",
    "ntp clock-period",
    "ntp logging",
    "ntp master",
    "ntp source",
    "ntp trusted-key",
    "ntp update-calendar",
    "object-group",
    "parameter-map",
    "parser",
    "platform",
    "policy-map",
    "port-channel",
    "power",
    "privilege",
    "process",
    "radius",
    "radius-server",
    "redundancy",
    "resource",
    "rmon",
    "route-map",
    "router",
    "scheduler",
    "security",
    "service",
    "snmp-server",
    "spanning-tree",
    "subscriber",
    "tacacs-server",
    "tftp-server",
    "track",
    "upgrade",
    "username",
    "version",
    "vlan",
    "voice",
    "voice-card",
    "voice-port",
    "vpdn",
    "vrf",
    "vtp",
    "webvpn",
    "zone",
    "zone-pair",
];
