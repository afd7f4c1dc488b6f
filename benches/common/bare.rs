//! What a module does without us.

use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use tokenca::pki::{Hash, KeyKind, PublicKey, SignatureAlgorithm};

/// The bare module: the crate `cryptoki`, a session and a kept handle for each thread, a digest made before.
///
/// The token layer must have opened the token in this process before: it gives the module its parameters.
pub struct Bare {
    context: Pkcs11,
    slot: Slot,
    pin: AuthPin,
    label: String,
    kind: KeyKind,
}

impl Bare {
    /// The key of this label on the token of this label, or in this slot.
    pub fn open(
        library: &Path,
        slot: Option<u64>,
        token: &str,
        pin: &str,
        label: &str,
        kind: KeyKind,
    ) -> Self {
        let context = Pkcs11::new(library).expect("the module");
        // The token layer has done it, unless the module is another one each time that it is asked.
        let _ = context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
        let wanted = |candidate: &Slot| match slot {
            Some(slot) => candidate.id() == slot,
            None => context.get_token_info(*candidate).is_ok_and(|info| info.label().trim() == token),
        };
        let slot = context.get_slots_with_token().expect("slots").into_iter().find(wanted);
        let slot = slot.expect("the token's slot");
        // Never unloaded: openCryptoki does not survive that.
        std::mem::forget(context.clone());
        Self { context, slot, pin: AuthPin::from(pin.to_owned()), label: label.to_owned(), kind }
    }

    /// Signs each time that it is called, and with a public key verifies that as the token layer does.
    pub fn signer(&self, verify: Option<&PublicKey>) -> impl FnMut() + Send + 'static {
        let session = self.context.open_rw_session(self.slot).expect("a session");
        // The first one has logged in, or the token layer, for the whole process.
        let _ = session.login(UserType::User, Some(&self.pin));
        let template =
            [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label(self.label.as_bytes().to_vec())];
        let key = session.find_objects(&template).expect("objects")[0];
        let digest = Hash::Sha256.digest(&[MESSAGE]);
        let rsa = matches!(self.kind, KeyKind::Rsa { .. });
        let data = if rsa { Hash::Sha256.digest_info(&digest) } else { digest };
        let (algorithm, verify) = (SignatureAlgorithm::for_key(self.kind, Hash::Sha256), verify.cloned());
        move || {
            let mechanism = if rsa { Mechanism::RsaPkcs } else { Mechanism::Ecdsa };
            let mut signature = session.sign(&mechanism, key, &data).expect("a signature");
            let Some(key) = &verify else { return };
            if !rsa {
                let rs = p256::ecdsa::Signature::from_slice(&signature).expect("r and s");
                signature = rs.to_der().as_bytes().to_vec();
            }
            key.verify(algorithm, MESSAGE, &signature).expect("it verifies");
        }
    }
}

/// Signatures per second by so many threads.
pub fn rate<S: FnMut() + Send + 'static>(threads: usize, span: Duration, make: impl Fn() -> S) -> f64 {
    let (stop, done, barrier) = (AtomicBool::new(false), AtomicU64::new(0), Barrier::new(threads + 1));
    let mut took = Duration::ZERO;
    thread::scope(|scope| {
        for mut sign in (0..threads).map(|_| make()) {
            let (stop, done, barrier) = (&stop, &done, &barrier);
            scope.spawn(move || {
                sign();
                barrier.wait();
                let mut mine = 0;
                while !stop.load(Ordering::Relaxed) {
                    sign();
                    mine += 1;
                }
                done.fetch_add(mine, Ordering::Relaxed);
            });
        }
        barrier.wait();
        let start = Instant::now();
        thread::sleep(span);
        stop.store(true, Ordering::Relaxed);
        took = start.elapsed();
    });
    done.load(Ordering::Relaxed) as f64 / took.as_secs_f64()
}

/// The one in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What is signed.
pub const MESSAGE: &[u8] = b"to be signed";
