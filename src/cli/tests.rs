//! The command language on a node without tokens.

use std::io;

use super::*;
use crate::config::Configuration;
use crate::config::grammar::{Row, Syntax, help_of};

struct Typist {
    said: String,
    asked: String,
    answer: &'static str,
}

impl Console for Typist {
    fn say(&mut self, text: &str) -> io::Result<()> {
        self.said += text;
        Ok(())
    }

    fn ask(&mut self, question: &str) -> io::Result<String> {
        self.asked += question;
        Ok(self.answer.to_owned())
    }

    fn ask_secret(&mut self, question: &str) -> io::Result<SecretString> {
        self.ask(question).map(SecretString::from)
    }

    fn paste(&mut self, prompt: &str) -> io::Result<String> {
        self.ask(prompt)
    }
}

#[test]
fn what_is_pasted_ends_with_a_blank_line_or_quit() {
    let pasted = |text: &str| {
        let mut pasted = Pasted::default();
        let taken = text.lines().take_while(|line| pasted.line(line)).count();
        (pasted.text, taken)
    };
    assert_eq!(pasted("MII\r\nAB  \n\nhostname a"), ("MII\nAB\n".into(), 2));
    assert_eq!(pasted("MII\nquit\nhostname a"), ("MII\n".into(), 1));
    // An encrypted key of RFC 1421 has a blank line after its headers.
    let key =
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMII\n-----END RSA PRIVATE KEY-----\n";
    assert_eq!(pasted(&format!("{key}\nhostname a")), (key.into(), 5));
}

fn typist(answer: &'static str) -> Typist {
    Typist { said: String::new(), asked: String::new(), answer }
}

struct Fixture {
    node: std::sync::Arc<Node>,
    state: tempfile::TempDir,
}

impl Fixture {
    fn new(text: &str) -> Self {
        let state = tempfile::tempdir().unwrap();
        let configuration = Configuration::parse(text).unwrap();
        Self { node: Node::start(state.path().to_owned(), configuration).unwrap(), state }
    }

    fn run(&self, line: &str) -> Result<String, String> {
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        execute(&self.node, &words, Options::default(), &mut typist(""))
            .map(|output| output.render(false))
            .map_err(|error| error.to_string())
    }
}

#[test]
fn abbreviations_and_errors() {
    let fixture = Fixture::new("hostname a");
    assert!(fixture.run("sh ver").unwrap().starts_with("tokenca, Version "));
    assert_eq!(
        fixture.run("sh ip http sever status").unwrap_err(),
        "sh ip http sever status\n           ^\n% Invalid input detected at '^' marker."
    );
    assert_eq!(fixture.run("sh cr pk").unwrap_err(), "sh cr pk\n% Incomplete command.");
    assert_eq!(
        fixture.run("crypto pki server x re all").unwrap_err(),
        "% Ambiguous command:  \"crypto pki server x re all\"\n% It could be: reject, remove, request, revoke"
    );
    assert_eq!(fixture.run("sh cr ca ser y").unwrap_err(), "% there is no certificate server \"y\"");
}

#[test]
fn exit_codes_tell_wrong_usage_from_refusal() {
    let fixture = Fixture::new("");
    let code = |line: &str| {
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        execute(&fixture.node, &words, Options::default(), &mut typist("")).err().map(|e| e.exit_code())
    };
    assert_eq!(code("show version"), None);
    assert_eq!(code("show nothing"), Some(2));
    assert_eq!(code("show crypto pki server x"), Some(1));
    assert_eq!(code("crypto pki server x grant x-y"), Some(1));
    assert_eq!(code("crypto key generate rsa modulus 1024"), Some(1));
}

#[test]
fn a_question_mark_shows_what_may_stand_there() {
    let fixture = Fixture::new("");
    let help = fixture.run("crypto pki server x info ?").unwrap();
    assert_eq!(
        help,
        "  crl       The CRL\n  requests  Enrollment requests\n  rollover  How far a rollover has come\n  \
         takeover  What was taken over\n"
    );
    assert_eq!(fixture.run("sh cr pki ser?").unwrap(), "  server  Certificate servers\n");
    assert!(fixture.run("?").unwrap().contains("  show"));
    assert!(fixture.run("show version ?").unwrap().contains("<cr>"));
}

#[test]
fn json_is_the_same_value() {
    let fixture = Fixture::new("ip http server\nip http port 0\n");
    let words = ["show", "ip", "http", "server", "status"].map(str::to_owned);
    let output = execute(&fixture.node, &words, Options::default(), &mut typist("")).unwrap();
    assert!(output.render(false).starts_with("HTTP server status: Enabled\n"));
    let value: serde_json::Value = serde_json::from_str(&output.render(true)).unwrap();
    assert_eq!((&value["enabled"], &value["port"]), (&true.into(), &0.into()));
}

#[test]
fn what_running_config_shows_configures_the_same() {
    let fixture = Fixture::new("hostname a\ncrypto pki server x\n grant auto\n");
    let shown = fixture.run("show run").unwrap();
    assert_eq!(Configuration::parse(&shown).unwrap(), fixture.node.configuration());
    assert!(fixture.run("show run section crypto pki server").unwrap().starts_with("crypto pki server x\n"));
    assert_eq!(fixture.run("wr").unwrap(), "Building configuration...\n[OK]\n");
    assert_eq!(startup::read(fixture.state.path()).unwrap(), fixture.node.configuration());
}

#[test]
fn configuring_is_all_or_nothing_and_asks_before_it_deletes() {
    let fixture = Fixture::new("crypto pki server x\n");
    let configure = |text: &str, yes, console: &mut Typist| {
        configure(&fixture.node, text, Options { json: false, yes }, console)
    };
    let error = configure("hostname b\nhostnam c d", false, &mut typist("")).err().unwrap();
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().starts_with("line 2:\nhostnam c d\n"), "{error}");
    assert_eq!(fixture.node.configuration().hostname, "tokenca");

    let mut no = typist("n");
    assert!(configure("no crypto pki server x", false, &mut no).is_err());
    assert!(no.asked.contains("% This will stop the Certificate Server process"), "{}", no.asked);
    assert_eq!(fixture.node.servers(), ["x"]);
    let mut silent = typist("");
    configure("no crypto pki server x", true, &mut silent).unwrap();
    assert!(silent.asked.is_empty());
    assert!(fixture.node.servers().is_empty());
}

#[test]
fn small_keys_are_refused_with_the_way_to_have_them() {
    let fixture = Fixture::new("");
    let refused = fixture.run("crypto key generate rsa label k modulus 1024").unwrap_err();
    assert!(refused.contains(&format!("\n{:40}^\n", "")), "{refused}");
    assert!(refused.contains("crypto legacy rsa-1024"), "{refused}");
    // The word is there, and now only the token is missing.
    let fixture = Fixture::new("crypto pki server k\n crypto legacy rsa-1024\n");
    let refused = fixture.run("crypto key generate rsa label k modulus 1024").unwrap_err();
    assert!(refused.contains("no token is configured"), "{refused}");
}

#[test]
fn progress_is_shown_as_text_only() {
    let fixture = Fixture::new("hostname r1\nip domain name example.com");
    let words = ["crypto", "key", "generate", "rsa"].map(str::to_owned);
    let mut console = typist("");
    execute(&fixture.node, &words, Options::default(), &mut console).err().unwrap();
    assert_eq!(
        console.said,
        "The name for the keys will be: r1.example.com\n% The key modulus size is 2048 bits\n\
         % Generating 2048 bit RSA keys, keys will be on-token, non-exportable...\n"
    );
    let mut console = typist("");
    execute(&fixture.node, &words, Options { json: true, yes: false }, &mut console).err().unwrap();
    assert_eq!(console.said, "");
}

#[test]
fn every_word_has_help() {
    for command in COMMANDS.rows() {
        for atom in Syntax::new(command.words).atoms() {
            assert!(help_of(*command, atom).is_some(), "{}: no help for {atom:?}", command.words);
        }
        assert!(!command.about.is_empty() && !command.about.ends_with('.'), "{}", command.words);
        for (name, _) in command.help() {
            assert!(command.words.contains(name.trim_matches(['<', '>'])), "{}: {name}", command.words);
        }
    }
}

#[test]
fn lines_with_secrets_stay_out_of_the_history() {
    for line in [
        "crypto pki token usbtoken0 login 1234",
        "do crypto pki token usbtoken0: log 1234",
        "crypto pki export mycs pkcs12 nvram: cisco123",
        "database archive pkcs12 password cisco123",
    ] {
        assert!(holds_secret(line), "{line}");
    }
    for line in ["crypto pki token usbtoken0 login", "show version", "configure terminal", "hostname ca1"] {
        assert!(!holds_secret(line), "{line}");
    }
}
