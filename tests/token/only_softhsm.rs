//! What is shown by pulling at SoftHSM itself, by its habits, or by another program beside it.

use tokenca::pki::{EcPrivateKey, PrivateKey, RsaPrivateKey};
use tokenca::token::TokenUri;

use super::support::modules::installed;
use super::support::modules::service::Service;
use super::support::run;
use super::transfer::Given;
use super::*;

softhsm_stories! {

/// A key that is not what was asked for is deleted.
fn insecure_keys_are_refused(dir: &Path) {
    // Without CKA_DECRYPT in the template, SoftHSM makes keys that decrypt.
    let profile = "[keygen]\nprivate = [\"CKA_TOKEN\", \"CKA_PRIVATE\", \"CKA_SENSITIVE\", \
                   \"CKA_EXTRACTABLE\", \"CKA_LABEL\", \"CKA_ID\", \"CKA_SIGN\"]\n";
    let token = Token::open(&with_profile(dir, profile)).unwrap();
    let error = token.generate("loose", RSA, SIGN, false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "token \"usbtoken0\": the generated key \"loose\" was refused and deleted: CKA_DECRYPT is true"
    );
    assert!(token.find("loose").unwrap().is_none());
    assert!(!pkcs11_tool(&["-l", "--pin", pin(), "-O"]).contains("loose"));
}

/// One of several tokens is found by label or serial number, and never guessed.
fn tokens_are_told_apart(dir: &Path) {
    softhsm2_util(&["--init-token", "--free", "--label", "second", "--pin", "24680", "--so-pin", "13579"]);
    let second = TokenConfig {
        name: "usbtoken1".into(),
        selector: Selector::label("second "),
        pin: PinSource::Given("24680".into()),
        ..config(dir)
    };
    let (first, second) = (Token::open(&config(dir)).unwrap(), Token::open(&second).unwrap());
    let infos = [first.info().unwrap(), second.info().unwrap()];
    assert_eq!([&*infos[0].label, &*infos[1].label], ["tokenca", "second"]);
    assert_ne!(infos[0].serial, infos[1].serial);

    // Each has its own keys, and its own login.
    first.generate("mine", P256, SIGN, false).unwrap();
    assert!(second.find("mine").unwrap().is_none());
    signs(&second.generate("mine", P256, SIGN, false).unwrap());

    let serial = Some(infos[1].serial.clone());
    let by_serial = TokenConfig { selector: Selector { serial, ..Selector::default() }, ..config(dir) };
    assert_eq!(Token::open(&by_serial).unwrap().info().unwrap().label, "second");

    // By its URI, which another program understands as well.
    let uri = TokenUri::of(&infos[1]);
    assert_eq!(tokens_of_p11_kit(dir, &uri), ["second"]);
    let with = |uri: &str| {
        let selector = uri.parse::<TokenUri>().unwrap().selector().clone();
        Token::open(&TokenConfig { selector, ..config(dir) })
    };
    for uri in [
        uri.as_str(),
        "pkcs11:token=second;library-manufacturer=SoftHSM;slot-manufacturer=SoftHSM%20project",
        "pkcs11:token=second;library-version=2.6;model=SoftHSM%20v2",
    ] {
        assert_eq!(with(uri).unwrap().info().unwrap().label, "second", "{uri}");
    }
    for part in ["library-version=1.0", "library-description=x", "slot-description=x", "model=x"] {
        let error = with(&format!("pkcs11:token=second;{part}")).unwrap_err();
        assert!(matches!(error.problem(), Problem::NoToken { .. }), "{error}");
    }

    let any = TokenConfig { selector: Selector::default(), ..config(dir) };
    let error = Token::open(&any).unwrap_err();
    assert!(matches!(error.problem(), Problem::ManyTokens { seen, .. } if seen.len() == 2), "{error}");
}

/// A refused PIN is tried once, also by a program that is started again and again.
fn wrong_pin_is_tried_once(dir: &Path) {
    let lockout = dir.join("refused-pins");
    let with = |pin: &str| TokenConfig {
        pin: PinSource::Given(SecretString::from(pin)),
        lockout: Some(lockout.clone()),
        sessions: Some(4),
        ..config(dir)
    };
    let tried = || pkcs11_tool(&["-T"]).contains("user PIN count low");

    assert!(!tried());
    assert_eq!(
        Token::open(&with("11111")).unwrap_err().to_string(),
        "token \"usbtoken0\": C_Login returned CKR_PIN_INCORRECT\n\
         hint: wrong PIN; it is not tried again until another one is given"
    );
    assert!(tried());
    // A right login clears the token's flag: it shows whether there was another try.
    Token::open(&config(dir)).unwrap();
    assert!(!tried());
    let error = Token::open(&with("11111")).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "token \"usbtoken0\": the PIN was not tried: the token has refused it before\n\
             hint: give another PIN; to have this one tried again, remove {}",
            lockout.display()
        )
    );
    assert_eq!(error.kind(), KeyErrorKind::Unavailable);
    assert!(!tried());

    // Another wrong one is tried, and then neither is.
    assert!(matches!(Token::open(&with("22222")).unwrap_err().problem(), Problem::Call(_)));
    for pin in ["11111", "22222"] {
        assert!(matches!(Token::open(&with(pin)).unwrap_err().problem(), Problem::PinRefused { .. }));
    }
    let kept = fs::read_to_string(&lockout).unwrap();
    assert!(!kept.contains("11111") && !kept.contains("22222"));

    Token::open(&with(pin())).unwrap();
    assert!(!lockout.exists());
}

/// Somebody else in the process logs everybody out: the next signature logs in again.
fn lost_login_is_recovered(dir: &Path) {
    // Not every module is the same one when it is asked for its functions again.
    let token = Token::open(&config(dir)).unwrap();
    let key = token.generate("logged out", RSA, BOTH, false).unwrap();
    let module = Pkcs11::new(&subject().library).unwrap();
    for _ in 0..3 {
        let slot = cryptoki::slot::Slot::try_from(token.info().unwrap().slot).unwrap();
        module.open_ro_session(slot).unwrap().logout().unwrap();
        signs(&key);
        let wrapped = key.public_key().encrypt(KeyTransport::Pkcs1v15, &[3; 16]).unwrap();
        module.open_ro_session(slot).unwrap().logout().unwrap();
        assert_eq!(*key.unwrap_key(KeyTransport::Pkcs1v15, &wrapped, 16).unwrap(), [3; 16]);
    }
    token.delete("logged out").unwrap();
}

/// The token goes away and comes back: requests wait meanwhile, and nobody restarts anything.
fn unplugged_token_comes_back(dir: &Path) {
    goes_and_comes_back(dir, &config(dir));
}

/// The same with the module in a process of its own.
fn unplugged_isolated_token_comes_back(dir: &Path) {
    goes_and_comes_back(dir, &TokenConfig { apart: Some(subject::program()), ..config(dir) });
}

/// Other programs read what is public, and what they write for us is read.
fn files_are_shared(dir: &Path) {
    let token = Token::open(&config(dir)).unwrap();
    token.write_file("ca.crl", b"for everybody", false).unwrap();
    token.write_file("ca.p12", b"for us", true).unwrap();
    let shown = pkcs11_tool(&["-O", "--type", "data"]);
    assert!(shown.contains("label:          'ca.crl'\n"), "{shown}");
    assert!(shown.contains("application:    'tokenca'\n"), "{shown}");
    assert!(!shown.contains("ca.p12"), "{shown}");
    let shown = pkcs11_tool(&["-l", "--pin", pin(), "-O", "--type", "data"]);
    assert!(shown.contains("label:          'ca.p12'\n"), "{shown}");
    assert_eq!(read_by_another(dir, &["--type", "data", "--label", "ca.crl"]), b"for everybody");

    let given = dir.join("given");
    fs::write(&given, "by another").unwrap();
    let given = given.to_str().unwrap();
    let write = ["-l", "--pin", pin(), "--write-object", given, "--type", "data"];
    pkcs11_tool(&[&write[..], &["--label", "note", "--application-label", "tokenca"]].concat());
    pkcs11_tool(&[&write[..], &["--label", "theirs", "--application-label", "another"]].concat());
    assert_eq!(token.read_file("note").unwrap(), b"by another");
    assert!(token.files().unwrap().iter().all(|file| file.name != "theirs"));
    assert!(token.read_file("theirs").is_err());
}

/// An imported key that is not what it should be is deleted again.
fn wrong_imports_are_deleted(dir: &Path) {
    // Without CKA_DECRYPT in the template, SoftHSM makes keys that decrypt.
    let profile = "[keygen]\nprivate = [\"CKA_TOKEN\", \"CKA_PRIVATE\", \"CKA_SENSITIVE\", \
                   \"CKA_EXTRACTABLE\", \"CKA_LABEL\", \"CKA_ID\", \"CKA_SIGN\"]\n";
    let token = Token::open(&with_profile(dir, profile)).unwrap();
    let given = Given::new(dir, "rsa:2048");
    assert_eq!(
        token.import("loose", &given.key, SIGN, false).unwrap_err().to_string(),
        "token \"usbtoken0\": the imported key \"loose\" was refused and deleted: CKA_DECRYPT is true"
    );

    // Keys whose public half is another's.
    let token = Token::open(&config(dir)).unwrap();
    let (PrivateKey::Rsa(one), PrivateKey::Rsa(two)) = (given.key, Given::new(dir, "rsa:2048").key) else {
        panic!("not RSA")
    };
    let rsa = RsaPrivateKey { modulus: two.modulus, ..one };
    let (PrivateKey::Ec(one), PrivateKey::Ec(two)) =
        (Given::new(dir, "ec:P-256").key, Given::new(dir, "ec:P-256").key)
    else {
        panic!("not EC")
    };
    let ec = EcPrivateKey { public_point: two.public_point, ..one };
    for wrong in [PrivateKey::Rsa(rsa), PrivateKey::Ec(ec)] {
        for way in ["CKM_AES_KEY_WRAP_PAD", "C_CreateObject"] {
            let profile = format!("[transfer]\nimport = [\"{way}\"]\n");
            let token = Token::open(&with_profile(dir, &profile)).unwrap();
            let error = token.import("chimera", &wrong, SIGN, false).unwrap_err();
            let failed = matches!(error.problem(), Problem::TestFailed { operation: "signature", .. });
            assert!(failed, "{wrong:?}, {way}: {error}");
            assert!(token.find("chimera").unwrap().is_none());
        }
    }
    assert!(token.keys().unwrap().is_empty());
    let shown = pkcs11_tool(&["-l", "--pin", pin(), "-O"]);
    assert!(!shown.contains("loose") && !shown.contains("chimera"), "{shown}");
}

}

/// What pkcs11-tool reads without a PIN.
pub fn read_by_another(dir: &Path, which: &[&str]) -> Vec<u8> {
    let path = dir.join("read");
    pkcs11_tool(&[&["--read-object", "-o", path.to_str().unwrap()], which].concat());
    fs::read(path).unwrap()
}

fn softhsm2_util(arguments: &[&str]) {
    assert!(Command::new("softhsm2-util").args(arguments).output().unwrap().status.success());
}

fn goes_and_comes_back(dir: &Path, config: &TokenConfig) {
    let token = Token::open(config).unwrap();
    let key = token.generate("here and there", RSA, BOTH, false).unwrap();
    let wrapped = key.public_key().encrypt(KeyTransport::Pkcs1v15, &[3; 16]).unwrap();
    for _ in 0..2 {
        softhsm::unplug(dir);
        for _ in 0..3 {
            let error = key.sign(Hash::Sha256, b"anybody there?").unwrap_err();
            assert_eq!(error.kind, KeyErrorKind::Unavailable, "{}", error.source);
            let error = key.unwrap_key(KeyTransport::Pkcs1v15, &wrapped, 16).unwrap_err();
            assert_eq!(error.kind, KeyErrorKind::Unavailable, "{}", error.source);
            assert!(token.find("here and there").is_err());
        }
        softhsm::plug(dir);
        // The module is not initialised again at every request.
        let back = Instant::now();
        while let Err(error) = key.self_test() {
            assert!(back.elapsed() < Duration::from_secs(30), "{error}");
            thread::sleep(Duration::from_millis(50));
        }
        signs(&key);
        assert_eq!(*key.unwrap_key(KeyTransport::Pkcs1v15, &wrapped, 16).unwrap(), [3; 16]);
    }
}

/// The labels of SoftHSM's tokens that p11-kit takes a URI for.
fn tokens_of_p11_kit(dir: &Path, uri: &str) -> Vec<String> {
    let (socket, softhsm) = (dir.join("p11-kit"), &subject().library);
    let mut server = Command::new("p11-kit");
    server.args(["server", "--foreground", "--provider"]).arg(softhsm).arg("--name").arg(&socket).arg(uri);
    let mut server = Service::start("p11-kit-server", dir, &mut server);
    server.listens(&socket);
    let client = installed("pkcs11/p11-kit-client.so").unwrap();
    let mut tool = Command::new("pkcs11-tool");
    tool.arg("--module").arg(client).arg("--list-slots");
    tool.env("P11_KIT_SERVER_ADDRESS", format!("unix:path={}", socket.display()));
    let slots = run(&mut tool).success().stdout;
    let labels = slots.lines().filter_map(|line| line.trim().strip_prefix("token label"));
    labels.map(|label| label.trim_start_matches([' ', ':']).to_owned()).collect()
}
