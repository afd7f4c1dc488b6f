//! Sessions on a node without tokens.

use std::io;
use std::sync::Arc;

use secrecy::SecretString;

use super::*;

/// Answers in turn; nothing when they are used up.
#[derive(Default)]
struct Typist {
    answers: Vec<&'static str>,
    asked: String,
    said: String,
}

impl Typist {
    fn with(answers: &[&'static str]) -> Self {
        Self { answers: answers.iter().rev().copied().collect(), ..Self::default() }
    }
}

impl Console for Typist {
    fn say(&mut self, text: &str) -> io::Result<()> {
        self.said += text;
        Ok(())
    }

    fn ask(&mut self, question: &str) -> io::Result<String> {
        self.asked += question;
        Ok(self.answers.pop().unwrap_or_default().to_owned())
    }

    fn ask_secret(&mut self, question: &str) -> io::Result<SecretString> {
        self.ask(question).map(SecretString::from)
    }

    fn paste(&mut self, prompt: &str) -> io::Result<String> {
        self.ask(prompt)
    }
}

struct Fixture {
    node: Arc<Node>,
    _state: tempfile::TempDir,
}

impl Fixture {
    fn new(text: &str) -> Self {
        let state = tempfile::tempdir().unwrap();
        let configuration = Configuration::parse(text).unwrap();
        Self { node: Node::start(state.path().to_owned(), configuration).unwrap(), _state: state }
    }

    fn session(&self, yes: bool) -> Session {
        let options = Options { json: false, yes };
        Session::new(Source::Server(self.node.clone()), options, Operator::this())
    }

    /// What a script says, or its error.
    fn script(&self, text: &str, yes: bool) -> Result<String, String> {
        let mut console = Typist::default();
        let output = self.session(yes).script(text, &mut console);
        output.map(|output| console.said + &output.render(false)).map_err(|error| error.to_string())
    }

    fn has(&self, line: &str) -> bool {
        self.node.configuration().to_text().contains(&format!("{line}\n"))
    }
}

fn shown(session: &mut Session, line: &str, console: &mut Typist) -> String {
    match session.line(line, console) {
        Ok(output) => output.render(false),
        Err(error) => format!("{error}\n"),
    }
}

#[test]
fn the_prompt_tells_the_mode() {
    let fixture = Fixture::new("hostname ca1");
    let mut session = fixture.session(false);
    let mut console = Typist::default();
    let mut prompts = Vec::new();
    for line in [
        "",
        "configure terminal",
        "crypto pki server x",
        "hostname ca2",
        "crypto pki trustpoint x",
        "exit",
        "exit",
        "conf t",
        "crypto pki token t",
        "do show version",
        "\u{1a}",
        "logout",
    ] {
        shown(&mut session, line, &mut console);
        prompts.push(session.prompt());
    }
    assert_eq!(
        prompts,
        [
            "ca1#",
            "ca1(config)#",
            "ca1(cs-server)#",
            "ca2(config)#",
            "ca2(ca-trustpoint)#",
            "ca2(config)#",
            "ca2#",
            "ca2(config)#",
            "ca2(config-token)#",
            "ca2(config-token)#",
            "ca2#",
            "ca2#"
        ]
    );
    assert!(session.has_ended());
}

#[test]
fn a_typed_line_is_applied_at_once_and_a_wrong_one_changes_nothing() {
    let fixture = Fixture::new("crypto pki server x");
    let mut session = fixture.session(false);
    let mut console = Typist::default();
    for line in ["conf t", "hostname ca1", "crypto pki server x", "lifetime crl 24"] {
        assert!(!shown(&mut session, line, &mut console).contains('^'), "{line}");
    }
    assert!(fixture.has("hostname ca1") && fixture.has(" lifetime crl 24"));
    assert!(shown(&mut session, "lifetime crl 400", &mut console).contains("^\n"));
    // What sections say together is checked too, and told without a line number.
    let weak = shown(&mut session, "hash md5", &mut console);
    assert!(weak.starts_with("hash md5\n     ^\n"), "{weak}");
    assert!(!fixture.has(" hash md5"));
    // Another terminal has changed it meanwhile: both hold.
    fixture.session(false).script("hostname ca9\n", &mut Typist::default()).unwrap();
    assert_eq!(session.prompt(), "ca9(cs-server)#");
    shown(&mut session, "lifetime crl 48", &mut console);
    assert!(fixture.has("hostname ca9") && fixture.has(" lifetime crl 48"));
    // And the section is gone.
    fixture.session(true).script("no crypto pki server x\n", &mut Typist::default()).unwrap();
    let gone = shown(&mut session, "lifetime crl 24", &mut console);
    assert!(gone.contains("Invalid input"), "{gone}");
    assert_eq!(session.prompt(), "ca9(config)#");
}

#[test]
fn a_script_is_applied_as_one() {
    let fixture = Fixture::new("");
    let error = fixture.script("hostname a\ncrypto pki server x\nlifetime crl 400", false).unwrap_err();
    assert!(error.starts_with("line 3:\nlifetime crl 400\n             ^\n"), "{error}");
    assert!(fixture.has("hostname tokenca"));
    // An exec command needs what stands before it.
    let error = fixture.script("hostname a\ndo write\nhostname b\nhostname c d", false).unwrap_err();
    assert!(error.starts_with("line 4:\n"), "{error}");
    assert!(error.ends_with("\n% The lines up to line 1 are applied."), "{error}");
    assert!(fixture.has("hostname a"));
    // One that needs nothing does not apply anything.
    let error = fixture.script("hostname b\ndo show version\nno such line", false).unwrap_err();
    assert!(!error.contains("applied") && fixture.has("hostname a"), "{error}");
    // What is wrong with all lines together names the line too.
    let error = fixture.script("hostname b\ndo show version\ncrypto pki server x\n hash md5", false);
    assert!(error.unwrap_err().starts_with("line 4:\n hash md5\n"));
}

#[test]
fn a_script_may_leave_the_configuration_and_come_back() {
    let fixture = Fixture::new("");
    let script = "enable\nconf t\nhostname a\nend\nshow running-config | include hostname\n\
                  configure terminal\nhostname b\nexit\nexit\n! nothing";
    let said = fixture.script(script, false).unwrap();
    let commands = "Enter configuration commands, one per line.  End with CNTL/Z.\n";
    assert_eq!(said, format!("{commands}hostname a\n{commands}"));
    assert!(fixture.has("hostname b"));
    let error = fixture.script("exit\nexit\nhostname c", false).unwrap_err();
    assert!(error.contains("line 3:\n% the session has ended before"), "{error}");
    let failed = fixture.script("crypto pki server y info crl", false).unwrap_err();
    assert_eq!(failed, "line 1:\n% there is no certificate server \"y\"");
}

#[test]
fn questions_are_answered_by_the_next_line_or_the_terminal() {
    let block = "crypto pki server x\n database level names\n grant auto\n yes\n no shutdown\n\
                 ! % Once you start the server, you can no longer change some of\n\
                 ! Are you sure you want to do this? [yes/no]:\n yes\nend\n";
    for yes in [false, true] {
        let fixture = Fixture::new("");
        // There is no token to start with; the lines are taken.
        assert!(fixture.script(block, yes).unwrap().contains("could not start"));
        assert!(fixture.has(" grant auto") && fixture.has(" no shutdown"));
    }
    let fixture = Fixture::new("");
    let unanswered = "hostname a\ncrypto pki server x\n grant auto\n lifetime crl 24\n";
    let error = fixture.script(unanswered, false).unwrap_err();
    assert_eq!(error, "line 3:\n% not confirmed, nothing was done; answer yes, or use --yes");
    assert!(fixture.has("hostname tokenca"));
    assert_eq!(fixture.script(unanswered, true).unwrap(), "");
    assert!(fixture.script("crypto pki server x\ngrant none\ngrant auto\nno", true).is_err());

    let mut console = Typist::with(&["y"]);
    fixture.session(false).script("crypto pki server x\nno grant\ngrant auto", &mut console).unwrap();
    assert_eq!(
        console.asked,
        "% This will cause all certificate requests to be automatically granted.\n\
         Are you sure you want to do this? [yes/no]: "
    );
    let mut console = Typist::default();
    assert!(fixture.session(false).script("crypto pki server x\nno shut", &mut console).is_err());
    assert_eq!(console.asked, format!("{FIXED}\n{SURE}"));
}

#[test]
fn a_server_goes_with_its_trustpoint_or_without() {
    let text = "crypto pki trustpoint x\n rsakeypair k\ncrypto pki server x\n lifetime crl 24\n";
    for (answer, stays) in [("yes", false), ("no", true)] {
        let fixture = Fixture::new(text);
        let script = format!("no crypto pki server x\nyes\n{answer}\n");
        assert_eq!(fixture.script(&script, false).unwrap(), "% Certificate Server Process stopped\n");
        assert!(fixture.node.servers().is_empty());
        assert_eq!(fixture.has("crypto pki trustpoint x"), stays);
    }
    // Made anew in the same script, it is another server.
    let fixture = Fixture::new(text);
    let said = fixture.script("no crypto pki server x\nyes\nyes\ncrypto pki server x\n", false).unwrap();
    assert_eq!(said, "% Certificate Server Process stopped\n");
    assert!(fixture.has("crypto pki server x") && !fixture.has(" lifetime crl 24"));
}

#[test]
fn exec_commands_in_configuration_mode_are_found_by_what_is_understood() {
    let fixture = Fixture::new("crypto pki server x");
    let mut session = fixture.session(false);
    let mut console = Typist::default();
    let mut say = |line: &str| shown(&mut session, line, &mut console);
    say("conf t");
    assert!(say("crypto pki server x info crl").starts_with("% certificate server \"x\" is not enabled"));
    assert!(say("crypto pki server x grat all").contains("\n                    ^\n"));
    assert!(say("crypto pki server x re all").contains("It could be: reject, remove"));
    // `show` needs its `do`.
    assert!(say("show version").contains("Invalid input"));
    assert!(say("do sh ver").starts_with("tokenca, Version"));
    assert_eq!(say("crypto pki server x"), "");
    assert!(say("crypto pki server x info requests").starts_with("Enrollment Request Database"));
    assert_eq!(say("lifetime crl 24"), "");
    assert!(fixture.has(" lifetime crl 24"));
}

#[test]
fn help_and_completion_know_the_mode() {
    let fixture = Fixture::new("");
    let mut session = fixture.session(false);
    let mut console = Typist::default();
    assert_eq!(session.complete("sh ver"), ["version"]);
    assert_eq!(session.complete("crypto pki server x info r"), ["requests", "rollover"]);
    assert_eq!(session.complete("no such "), [""; 0]);
    shown(&mut session, "conf t", &mut console);
    let help = shown(&mut session, "crypto pki server x ?", &mut console);
    assert!(help.contains("  grant") && help.contains("<cr>"), "{help}");
    assert!(session.complete("crypto k").contains(&"key".to_owned()));
    assert_eq!(session.complete("do sh ver"), ["version"]);
    shown(&mut session, "crypto pki server x", &mut console);
    assert_eq!(session.complete("lifetime c"), ["ca-certificate", "certificate", "crl"]);
    // Behind Ctrl-V it is a letter.
    assert_eq!(shown(&mut session, "cdp-url http://h/\u{16}?", &mut console), "");
    assert!(fixture.has(" cdp-url http://h/?"));
}

#[test]
fn json_of_a_script_is_one_value() {
    let fixture = Fixture::new("");
    let script = "hostname a\ndo show version\nno crypto pki server y";
    let options = Options { json: true, yes: true };
    let mut session = Session::new(Source::Server(fixture.node.clone()), options, Operator::this());
    assert!(session.script(script, &mut Typist::default()).is_err());
    let mut session = Session::new(Source::Server(fixture.node.clone()), options, Operator::this());
    let mut console = Typist::default();
    let output = session.script("crypto pki server y\ndo show version\nno crypto pki server y", &mut console);
    let value: serde_json::Value = serde_json::from_str(&output.unwrap().render(true)).unwrap();
    assert_eq!(value["results"][0]["name"], "tokenca");
    assert_eq!(value["messages"].as_array().map(Vec::len), Some(0));
    assert_eq!(console.said, "");
}
