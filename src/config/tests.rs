//! The configuration as a whole: read, written, read back.

use super::grammar::{Atom, Kind, Row, Syntax, help_of};
use super::line::Line;
use super::*;

const EXAMPLE: &str = "\
hostname ca1
ip http server
ip http port 8080
!
crypto pki token usbtoken0
 profile softhsm2
 label tokenca
 user-pin file pin.txt
!
crypto pki trustpoint mycs
 rsakeypair mycs 2048
 on usbtoken0:
!
crypto ca server mycs
 issuer-name CN=mycs, O=Example, C=US
 database level complete
 grant auto
 no shutdown
end
";

#[test]
fn the_example_of_the_manual() {
    let configuration = Configuration::parse(EXAMPLE).unwrap();
    assert_eq!(configuration.http.port, 8080);
    assert_eq!(configuration.tokens["usbtoken0"].user_pin, Some(PinSource::File("pin.txt".into())));
    assert_eq!(configuration.trustpoints["mycs"].on.as_deref(), Some("usbtoken0"));
    let server = &configuration.servers["mycs"];
    assert_eq!(server.issuer_name("mycs"), "CN=mycs, O=Example, C=US");
    assert_eq!((server.grant, server.shutdown), (Grant::Auto, false));
    assert_eq!(server.lifetime.ca_certificate.seconds(), 1095 * 86_400);
    assert_eq!(Configuration::parse(&configuration.to_text()).unwrap(), configuration);
}

#[test]
fn defaults_are_those_of_ios() {
    let configuration = Configuration::parse("cr pki ser x").unwrap();
    let server = &configuration.servers["x"];
    assert_eq!(*server, ServerSection::default());
    assert!(server.shutdown);
    assert_eq!(server.issuer_name("x"), "cn=x");
    assert_eq!(server.grant, Grant::Manual);
    assert_eq!(server.lifetime.crl, Lifetime::hours(168));
    let typed = "crypto pki server x\n lifetime crl 24\n hash sha512\n shut\n database level minimal\n";
    let taken_back = format!("{typed} no lifetime crl 24\n default hash\n default shutdown\n");
    assert_eq!(Configuration::parse(&taken_back).unwrap(), configuration);
}

#[test]
fn a_bad_line_is_shown_with_its_number_and_a_caret() {
    let error = |text: &str| Configuration::parse(text).unwrap_err().to_string();
    assert_eq!(
        error("hostname a\ncrypto pki server x\n lifetime crl 400\n"),
        "line 3:\n lifetime crl 400\n              ^\n% Invalid input detected at '^' marker.\n\
         % 400 is not in the range <1-336> (hours)"
    );
    assert_eq!(
        error("crypto pki server x\n cdp-url tftp://a\n"),
        "line 2:\n cdp-url tftp://a\n         ^\n% a distribution point is an http, https, ldap or ftp URL \
         in ASCII"
    );
    // In a section: whichever mode understood more of the line.
    assert!(error("crypto pki server x\ncrypto pki serve y z").contains("\n                   ^\n"));
    assert!(error("crypto pki server x\nhash").contains("% Incomplete command."));
    assert!(error("crypto pki server ../x").contains("a name has"));
    assert!(error("crypto pki token a\n user-pin").contains("Incomplete"));
}

#[test]
fn broken_digests_need_a_word_of_their_own() {
    let server = |lines: &str| Configuration::parse(&format!("crypto pki server x\n{lines}"));
    assert!(server("hash md5").unwrap_err().to_string().contains("crypto legacy md5"));
    assert!(server("crypto legacy sha1\nhash md5").is_err());
    assert!(server("crypto legacy sha1\nhash sha1\nno crypto legacy").is_err());
    let allowed = server("crypto legacy sha1\nhash sha1").unwrap();
    assert_eq!(allowed.servers["x"].hash(), crate::pki::Hash::Sha1);
    assert_eq!(Configuration::parse(&allowed.to_text()).unwrap(), allowed);
}

#[test]
fn small_rsa_keys_need_the_word_of_their_server() {
    let small = "crypto pki trustpoint x\n rsakeypair x 1024\n";
    assert!(Configuration::parse(small).unwrap_err().to_string().contains("crypto legacy rsa-1024"));
    let allowed = format!("{small}crypto pki server x\n crypto legacy rsa-1024\n");
    assert!(Configuration::parse(&allowed).is_ok());
}

#[test]
fn no_removes_a_section_also_from_inside() {
    let text = "crypto pki server x\n grant auto\nno crypto pki server x\nhostname b\n";
    let configuration = Configuration::parse(text).unwrap();
    assert!(configuration.servers.is_empty());
    assert!(Configuration::parse("no crypto pki server x").is_err());
}

#[test]
fn edits_stand_on_what_is_there() {
    let before = Configuration::parse(EXAMPLE).unwrap();
    let after = before.edited("crypto pki server mycs\n no grant auto\n shutdown").unwrap();
    assert_eq!(after.servers["mycs"].grant, Grant::Manual);
    assert!(after.servers["mycs"].shutdown);
    assert_eq!(after.tokens, before.tokens);
    assert_eq!(before.edited("!").unwrap(), before);
}

/// Whatever lines are accepted, what is written reads back to the same value. Lines are made from the
/// tables, so that a new kind of line is tested by being there.
#[test]
fn written_text_reads_back_to_the_same_value() {
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    let mut accepted = 0;
    for _ in 0..300 {
        let mut editor = Editor::new(Configuration::default());
        for _ in 0..random.below(40) {
            let line = random.line(editor.mode());
            accepted += usize::from(editor.line(&line).is_ok());
        }
        let Ok(configuration) = editor.finish() else { continue };
        let configuration = configuration.sealed(&vault());
        let text = configuration.to_text();
        assert_eq!(Configuration::parse(&text).as_ref(), Ok(&configuration), "{text}");
    }
    assert!(accepted > 3000, "only {accepted} lines were accepted: they are not random lines any more");
}

#[test]
fn every_word_has_help_and_every_line_a_use() {
    fn check<S>(lines: &[&'static Line<S>]) {
        for line in lines {
            for atom in line.notations().into_iter().flat_map(|n| Syntax::new(n).atoms()) {
                assert!(help_of(*line, atom).is_some(), "{}: no help for {atom:?}", line.words);
            }
            assert!(!line.about.is_empty() && !line.about.ends_with('.'), "{}", line.words);
            for (name, _) in line.help {
                assert!(line.notations().iter().any(|n| n.contains(name.trim_matches(['<', '>']))), "{name}");
            }
        }
    }
    check(global::TABLE.rows());
    check(token::TABLE.rows());
    check(trustpoint::TABLE.rows());
    check(server::TABLE.rows());
}

#[test]
fn help_for_the_shell() {
    let mut editor = Editor::new(Configuration::default());
    editor.line("crypto pki server x").unwrap();
    let words: Vec<_> = editor.next("lifetime", None).unwrap().into_iter().map(|(word, _)| word).collect();
    assert_eq!(words, ["ca-certificate", "certificate", "crl", "enrollment-request"]);
    let words: Vec<_> = editor.next("", Some("e")).unwrap().into_iter().map(|(word, _)| word).collect();
    assert_eq!(words, ["end", "exit"]);
    assert_eq!(editor.next("no lifetime crl", None).unwrap()[1].0, "<cr>");
}

fn vault() -> Vault {
    Vault::new(&[7; Vault::KEY_LEN])
}

// xorshift64: the same lines in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    fn line(&mut self, mode: &Mode) -> String {
        // Sections are left now and then.
        let mode = if self.below(8) == 0 { &Mode::Global } else { mode };
        match mode {
            Mode::Global => self.line_of(global::TABLE.rows()),
            Mode::Token(_) => self.line_of(token::TABLE.rows()),
            Mode::Trustpoint(_) => self.line_of(trustpoint::TABLE.rows()),
            Mode::Server(_) => self.line_of(server::TABLE.rows()),
        }
    }

    fn line_of<S>(&mut self, lines: &[&'static Line<S>]) -> String {
        let line = lines[self.below(lines.len())];
        let mut values = Random(self.0.rotate_left(17) | 1);
        let words = Syntax::new(line.words)
            .generate(&mut |n| self.below(n), &mut |name, kind| values.value(name, kind));
        match self.below(5) {
            0 => format!("no {words}"),
            1 => format!(" default {words}"),
            _ => words,
        }
    }

    fn value(&mut self, name: &str, kind: Kind) -> String {
        let pick = |random: &mut Self, from: &[&str]| from[random.below(from.len())].to_owned();
        match (kind, name) {
            (Kind::Number(min, max), _) => {
                let spread = usize::try_from(max - min + 1).unwrap();
                (min + self.below(spread) as u64).to_string()
            }
            (_, "url") => {
                pick(self, &["nvram:", "http://a.example/x.crl", "https://[::1]:8/?operation=GetCRL"])
            }
            (_, "address") => pick(self, &["192.0.2.1", "::1", "x"]),
            (_, "hours") => pick(self, &["-5", "23", "24"]),
            (_, "sealed") => vault().seal(&"secret".into()),
            (_, "hidden") => pick(self, &["12141C0713181F13253920", "12", "02050D480809"]),
            (_, "device") => pick(self, &["usbtoken0:", "usbtoken1", ":"]),
            (_, "dn") => pick(self, &["CN=a", "cn = a b,  o=\"x, y\"", "no name"]),
            (Kind::Rest, _) => pick(self, &["a b  c", "/x y/z", "! x", "exit"]),
            _ => pick(self, &["a", "b.c", "mycs", "no", "Z9_-"]),
        }
    }
}

// The generator itself: it must reach every word.
#[test]
fn the_generator_reaches_every_atom() {
    let syntax = Syntax::new("a {b | c <n:1-2>} [d] [e [f]]");
    let mut random = Random(7);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let line = syntax.generate(&mut |n| random.below(n), &mut |_, _| "1".to_owned());
        seen.extend(line.split(' ').map(str::to_owned).collect::<Vec<_>>());
    }
    assert_eq!(seen.len(), syntax.atoms().len(), "{seen:?}");
    assert!(syntax.atoms().contains(&Atom::Value("n", Kind::Number(1, 2))));
}
