//! One key on two tokens.

use std::sync::Arc;

use tokenca::pki::PrivateKey;
use tokenca::token::Place;

use super::*;

softhsm_stories! {

/// Both tokens are used, and either may be away; what only one has is not taken for a copy.
fn the_load_is_spread_and_either_may_be_away(dir: &Path) {
    let init = ["--init-token", "--free", "--label", "spare", "--pin", pin(), "--so-pin", pin()];
    assert!(Command::new("softhsm2-util").args(init).output().unwrap().status.success());
    let first = Token::open(&config(dir)).unwrap();
    let spare = TokenConfig { name: "usbtoken1".into(), selector: Selector::label("spare"), ..config(dir) };
    let spare = Token::open(&spare).unwrap();

    let pem = dir.join("pair.pem");
    let pem = pem.to_str().unwrap();
    let openssl = |arguments: &[&str]| Command::new("openssl").args(arguments).output().unwrap().stdout;
    openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", pem]);
    let pair = openssl(&["pkcs8", "-topk8", "-nocrypt", "-in", pem, "-outform", "DER"]);
    let pair = PrivateKey::from_pkcs8_der(&pair).unwrap();
    let key = first.import("ca", &pair, BOTH, false).unwrap();
    // Another key of that name is no copy.
    spare.generate("ca", RSA, BOTH, false).unwrap();
    let places = || -> Vec<Arc<dyn Place>> { vec![Arc::new(Here(spare.clone()))] };
    let lonely = key.also_in(places());
    let before = spare.counters().signatures;
    (0..4).for_each(|_| drop(lonely.sign(Hash::Sha256, b"alone").unwrap()));
    assert_eq!(spare.counters().signatures, before);

    spare.delete("ca").unwrap();
    spare.import("ca", &pair, BOTH, false).unwrap();
    let key = key.also_in(places());
    let before = [first.counters().signatures, spare.counters().signatures];
    for _ in 0..10 {
        key.sign(Hash::Sha256, b"together").unwrap();
    }
    assert_eq!([first.counters().signatures, spare.counters().signatures], before.map(|count| count + 5));

    let wrapped = key.public_key().encrypt(KeyTransport::Pkcs1v15, &[3; 16]).unwrap();
    for away in [&first, &spare] {
        away.logout().unwrap();
        signs(&key);
        assert_eq!(*key.unwrap_key(KeyTransport::Pkcs1v15, &wrapped, 16).unwrap(), [3; 16]);
        away.login(None).unwrap();
    }
    first.logout().unwrap();
    spare.logout().unwrap();
    let error = key.sign(Hash::Sha256, b"nobody").unwrap_err();
    assert_eq!(error.kind, KeyErrorKind::Unavailable, "{}", error.source);
    assert!(error.source.to_string().contains("logged out"), "{}", error.source);
    first.login(None).unwrap();
    signs(&key);
}

}

struct Here(Token);

impl Place for Here {
    fn token(&self) -> Option<Token> {
        Some(self.0.clone())
    }
}
