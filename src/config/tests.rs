//! The configuration as a whole: read, written, read back.

use super::grammar::{Row, Syntax, help_of};
use super::line::Lines;
use super::*;
use crate::token::Selector;

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
    assert_eq!(server.issuer_name("x"), "CN=x");
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
fn a_token_may_be_named_by_its_uri() {
    let lines =
        "crypto pki token a\n uri pkcs11:token=my%20ca;serial=1?module-path=/m.so&pin-source=file:/pin\n";
    let configuration = Configuration::parse(lines).unwrap();
    let token = &configuration.tokens["a"];
    let selector = token.selector();
    assert_eq!((selector.label.as_deref(), selector.serial.as_deref()), (Some("my ca"), Some("1")));
    assert_eq!(token.module(), Some("/m.so".into()));
    assert_eq!(token.pin_source(), PinSource::File("/pin".into()));
    assert_eq!(Configuration::parse(&configuration.to_text()).unwrap(), configuration);
    // Lines of their own are preferred.
    let configuration = Configuration::parse(&format!("{lines} library /n.so\n user-pin prompt")).unwrap();
    let token = &configuration.tokens["a"];
    assert_eq!((token.module(), token.pin_source()), (Some("/n.so".into()), PinSource::Prompt));

    let error = |more: &str| Configuration::parse(&format!("{lines}{more}")).unwrap_err().to_string();
    assert!(error(" label b").contains("% `uri` says already which token it is: `no uri` first"));
    assert!(error(" no uri\n slot 3\n uri pkcs11:token=a").contains("`slot` says already which token"));
    assert!(error(" uri pkcs11:token=a;object=key").contains("object names an object"));
    let pin = error(" uri pkcs11:token=a?pin-value=87654&x");
    assert!(pin.contains("the PIN itself does not belong into a URI") && !pin.contains("87654"), "{pin}");
    let plain = Configuration::parse(&format!("{lines} no uri\n label b")).unwrap();
    assert_eq!(plain.tokens["a"].selector(), Selector::label("b"));
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

#[test]
fn every_word_has_help_and_every_line_a_use() {
    fn check<S>(lines: &Lines<S>) {
        for line in lines.shown.rows() {
            for atom in line.notations().into_iter().flat_map(|n| Syntax::new(n).atoms()) {
                assert!(help_of(*line, atom).is_some(), "{}: no help for {atom:?}", line.words);
            }
            assert!(!line.about.is_empty() && !line.about.ends_with('.'), "{}", line.words);
            for (name, _) in line.help {
                assert!(line.notations().iter().any(|n| n.contains(name.trim_matches(['<', '>']))), "{name}");
            }
        }
    }
    check(&global::LINES);
    check(&token::LINES);
    check(&trustpoint::LINES);
    check(&profile::LINES);
    check(&map::LINES);
    check(&server::LINES);
    check(&chain::LINES);
    check(&pubkey::CHAIN);
    check(&pubkey::LINES);
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

#[test]
fn a_line_that_cannot_be_read_hides_its_password_too() {
    for line in ["ip ftp password hunter2\u{7}x", "ip ftp username a\u{1b}[2J password hunter2"] {
        let error = Configuration::parse(line).unwrap_err().to_string();
        assert!(error.contains("control character") && error.contains("password *"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
        assert!(error.chars().all(|c| c == '\n' || !c.is_control()), "{error:?}");
    }
}
