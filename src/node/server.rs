//! One `crypto pki server`, as the operator's commands see it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use crate::ca::{Ca, CaError, Gate, Meter};
use crate::config::{FileType, SerialNumber, ServerMode, ServerSection, TrustpointSection};
use crate::pki::archive::ios::{self, FileName};
use crate::pki::{Certificate, KeyErrorKind, PublicKey, Time, chain};
use crate::ra::{Answer, Asked, Fetches};
use crate::store::{Phase, Role, Store};
use crate::token::Token;

use super::NodeError;
use super::clock::Clock;
use super::import;
use super::publish::{Publisher, Settled};
use super::standby::Standby;
use super::start::{Acting, Notes, Start, Started};
use super::surroundings::Surroundings;
use super::takeover;
use super::tokens::Tokens;

/// One `crypto pki server`, as the operator's commands see it.
pub struct CertServer {
    pub(super) label: String,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<Clock>,
    /// Shut while its files cannot be written.
    gate: Arc<Gate>,
    publisher: Publisher,
    state: RwLock<Status>,
    /// Held while the server starts, stops or rolls over.
    starting: Mutex<()>,
    /// Who has asked for the next CA certificate.
    pub(super) fetches: Arc<Fetches>,
    /// Of an RA: held by the one that asks the CA above.
    turn: Arc<Mutex<()>>,
    /// When a rollover that has failed is tried again.
    rolls_again: Mutex<Time>,
}

/// What is configured and what runs.
#[derive(Clone)]
pub(super) struct Status {
    pub(super) section: ServerSection,
    pub(super) trustpoint: TrustpointSection,
    pub(super) around: Surroundings,
    pub(super) running: Option<Arc<Started>>,
    pub(super) last_error: Option<String>,
    /// Whether that is no error: its certificate is on the way.
    pub(super) waiting: bool,
    /// Whether its token is away or locked, which is why it does not run.
    pub(super) without_token: bool,
    /// What is given meanwhile.
    standby: Option<Arc<Standby>>,
    /// Whether it was deleted. Whoever still has it must not make it again.
    deleted: bool,
}

impl Status {
    pub(super) fn may_run(&self) -> bool {
        !self.section.shutdown && !self.deleted
    }
}

impl CertServer {
    pub(super) fn new(
        label: &str,
        store: Arc<dyn Store>,
        clock: Arc<Clock>,
        around: Surroundings,
    ) -> Result<Self, NodeError> {
        let gate = Arc::<Gate>::default();
        let publisher = Publisher::start(label, store.clone(), gate.clone())
            .map_err(|source| NodeError::Io { what: format!("starting a thread for {label}"), source })?;
        Ok(Self {
            label: label.to_owned(),
            store,
            clock,
            gate,
            publisher,
            state: RwLock::new(Status {
                section: ServerSection::default(),
                trustpoint: TrustpointSection::default(),
                around,
                running: None,
                last_error: None,
                waiting: false,
                without_token: false,
                standby: None,
                deleted: false,
            }),
            starting: Mutex::default(),
            fetches: Arc::default(),
            turn: Arc::default(),
            rolls_again: Mutex::default(),
        })
    }

    /// Its label.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Takes a new configuration; starts, restarts or stops by it. Returns what the operator should read.
    pub(super) fn configure(
        &self,
        section: ServerSection,
        trustpoint: TrustpointSection,
        around: Surroundings,
        now: Time,
    ) -> Vec<String> {
        let before = self.status();
        let unchanged =
            before.section == section && before.trustpoint == trustpoint && before.around.same_as(&around);
        // What could not start is tried again by upkeep, and its error was told when it was new.
        if unchanged {
            self.change(|status| status.around = around);
            return Vec::new();
        }
        let was_running = before.running.is_some();
        self.change(|status| {
            status.section = section;
            status.trustpoint = trustpoint;
            status.around = around;
        });
        match (self.status().section.shutdown, was_running) {
            (true, _) => {
                self.change(|status| {
                    status.running = None;
                    status.last_error = None;
                    status.waiting = false;
                    status.without_token = false;
                    status.standby = None;
                });
                // Whoever shuts a server copies its files next.
                self.publisher.hurry();
                self.publisher.plan(None);
                if !was_running {
                    return Vec::new();
                }
                tracing::debug!(target: "CRYPTO_CS", "cs config has been unlocked");
                tracing::info!(target: "PKI-6-CS_DISABLED", "Certificate server {} now disabled.", self.label);
                vec!["% Certificate Server disabled.".to_owned()]
            }
            (false, _) => match self.start(now).and_then(|notes| Ok((notes, self.publisher.settle()?))) {
                Ok((notes, settled)) => {
                    let late = (settled == Settled::StillWriting).then(|| STILL_WRITING.to_owned());
                    if was_running {
                        return late.into_iter().collect();
                    }
                    let enabled = "% Certificate Server enabled.".to_owned();
                    notes.before.into_iter().chain([enabled]).chain(notes.after).chain(late).collect()
                }
                Err(error) if self.status().waiting => {
                    vec![format!("% Certificate Server {} is not enabled yet: {error}", self.label)]
                }
                Err(error) => vec![format!("% Certificate Server {} could not start: {error}", self.label)],
            },
        }
    }

    /// Starts, or starts anew by what is configured now. What runs goes on until the new one is ready.
    /// Returns what the operator should read.
    fn start(&self, now: Time) -> Result<Notes, String> {
        let _starting = self.starting();
        self.start_held(now)
    }

    /// The same by whoever holds [`starting`](Self::starting).
    pub(super) fn start_held(&self, now: Time) -> Result<Notes, String> {
        let status = self.status();
        if !status.may_run() {
            return Ok(Notes::default());
        }
        let result = self.make(&status, now);
        let waiting = matches!(result, Err(NodeError::Waiting(_)));
        let without_token = matches!(&result, Err(NodeError::Token(error))
            if error.kind() == KeyErrorKind::Unavailable);
        let result = result.map_err(|error| chain(&error));
        // Anew each time: a rollover goes on meanwhile.
        let standby = without_token.then(|| self.standby(&status.section)).flatten();
        if let (Err(error), true, false) = (&result, without_token, status.without_token) {
            tracing::warn!(
                target: "PKI-4-CS_WAITING", "Certificate server {} waits for its token: {error}", self.label
            );
        }
        self.change(|status| {
            status.waiting = waiting;
            status.without_token = without_token;
            status.standby = standby;
            status.last_error = result.as_ref().err().cloned();
            if result.is_err() {
                status.running = None;
            }
        });
        Ok(self.run(result?, status.running.is_some()))
    }

    /// What can be given without its key.
    fn standby(&self, section: &ServerSection) -> Option<Arc<Standby>> {
        match Standby::of(&self.store, &self.label, section) {
            Ok(standby) => standby.map(Arc::new),
            Err(error) => {
                tracing::warn!(server = self.label, error = %chain(&error), "nothing can be given meanwhile");
                None
            }
        }
    }

    /// Has what was started act. Returns what the operator should read.
    pub(super) fn run(&self, mut started: Started, was_running: bool) -> Notes {
        let notes = std::mem::take(&mut started.notes);
        let mut runs = false;
        self.change(|status| {
            // It may have been shut meanwhile.
            runs = status.may_run();
            status.running = runs.then(|| Arc::new(started));
        });
        if !runs {
            self.publisher.plan(None);
            return Notes::default();
        }
        if !was_running {
            tracing::debug!(target: "CRYPTO_CS", "SCEP server started");
            tracing::debug!(target: "CRYPTO_CS", "cs config has been locked");
            tracing::info!(target: "PKI-6-CS_ENABLED", "Certificate server {} now enabled.", self.label);
        }
        notes
    }

    /// 1. the clock can be right, the database is not an old copy
    /// 2. the next CA certificate takes over if its time has come
    /// 3. token, keys, certificates [token]
    /// 4. files, from now on
    pub(super) fn make(&self, status: &Status, now: Time) -> Result<Started, NodeError> {
        tracing::debug!(target: "CRYPTO_CS", "starting enabling checks");
        self.check_clock(now)?;
        self.check_age(status)?;
        let plan = status.around.plan(&status.section.database)?;
        self.activate_if_due(now)?;
        let start = Start {
            label: &self.label,
            section: &status.section,
            trustpoint: &status.trustpoint,
            around: &status.around,
            store: &self.store,
            gate: &self.gate,
            clock: &self.clock,
            fetches: &self.fetches,
            turn: &self.turn,
            now,
        };
        let started = start.run()?;
        // An RA issues nothing that files would tell of.
        self.publisher.plan(match &started.acting {
            Acting::Ca(ca) => Some(plan.of(ca.authority())),
            Acting::Registrar { .. } => None,
        });
        if let Err(error) = self.delete_taken_back() {
            tracing::warn!(server = self.label, error = %chain(&error), "a key that was taken back is not deleted");
        }
        Ok(started)
    }

    /// Refuses a database that knows less than it has written into files once: a copy that was put back would
    /// give the same numbers out again and forget revocations. A file that cannot be read tells nothing here.
    fn check_age(&self, status: &Status) -> Result<(), NodeError> {
        let sequential = status.section.serial_number == SerialNumber::Sequential;
        if !sequential || status.running.is_some() || self.authority()?.is_none() {
            return Ok(());
        }
        let (around, database) = (&status.around, &status.section.database);
        let place = around.place(FileType::Ser, database.place(FileType::Ser), database.login.as_ref())?;
        let url = place.url.join(&FileName::Ser(self.label.clone()).to_string());
        let Ok(octets) = around.files.read(&url, place.login.as_ref()) else { return Ok(()) };
        let (Ok(written), Some(known)) = (ios::read_ser(&octets), self.store.last_serial(&self.label)?)
        else {
            return Ok(());
        };
        if written <= known {
            return Ok(());
        }
        Err(NodeError::Refused(format!(
            "{url} has the serial number {written}, and the database ends with {known}: it is older than its files\n\
             hint: put a newer copy of the database back, or begin from the files in an empty state directory; \
             if the file is wrong, delete it"
        )))
    }

    /// What time brings; see `Node::tick`.
    pub(super) fn tick(&self, now: Time) {
        let status = self.status();
        if !status.may_run() {
            return;
        }
        let result = match &status.running {
            None => self.start(now).map(|notes| {
                notes.before.iter().chain(&notes.after).for_each(|note| tracing::info!("{note}"));
            }),
            Some(started) => self.upkeep(started, &status, now).map_err(|error| chain(&error)),
        };
        if let Err(error) = result {
            // Once, not at each try.
            match status.last_error.as_ref() == Some(&error) {
                true => {}
                false if self.status().waiting => tracing::info!(server = self.label, "waiting: {error}"),
                false => tracing::warn!(server = self.label, %error, "upkeep failed; it is tried again"),
            }
            self.change(|status| status.last_error = Some(error));
        }
        self.publisher.wake();
    }

    /// Everything is tried; the first error is told.
    fn upkeep(&self, started: &Started, status: &Status, now: Time) -> Result<(), NodeError> {
        self.check_clock(now)?;
        let results = match &started.acting {
            Acting::Ca(ca) => vec![
                ca.recover(&Meter::new(), now).map(drop).map_err(NodeError::from),
                ca.issue_due_crls(&Meter::new(), now).map_err(NodeError::from),
                self.tick_rollover(ca, started, status, now),
                match status.section.mode {
                    ServerMode::SubCs => self.tick_subordinate(status, now),
                    ServerMode::Root | ServerMode::Ra { .. } => Ok(()),
                },
            ],
            Acting::Registrar { elsewhere, forwarder } => {
                forwarder.wake();
                vec![self.tick_registrar(elsewhere, status, now)]
            }
        };
        let before = now.minus(status.section.lifetime.enrollment_request.duration());
        self.store.expire(&self.label, before)?;
        self.store.expire_passwords(&self.label, before)?;
        results.into_iter().collect()
    }

    /// Something was issued or revoked that files tell of.
    pub(super) fn files_have_news(&self) {
        self.publisher.wake();
    }

    /// The same, for an operator, who looks at them next.
    pub(super) fn files_are_wanted(&self) {
        self.publisher.hurry();
    }

    /// Writes every file anew (`database write`); what could not be written is tried again. Returns what the
    /// operator should read.
    pub fn write_files(&self) -> Result<Vec<String>, NodeError> {
        self.ca()?;
        self.publisher.begin_anew()?;
        Ok(match self.publisher.settle().map_err(NodeError::Refused)? {
            Settled::Tried => Vec::new(),
            Settled::StillWriting => vec![STILL_WRITING.to_owned()],
        })
    }

    /// What its CA was when it was taken over; `None` when it was made here.
    pub fn takeover(&self) -> Result<Option<takeover::TakeoverReport>, NodeError> {
        takeover::report(self.store.as_ref(), &self.label)
    }

    /// Why nothing is issued although the server runs.
    pub(super) fn trouble(&self) -> Option<String> {
        self.publisher.trouble()
    }

    /// Deletes everything of the server: its data and, unless they are to be kept, its keys.
    /// What others need stays: `is_needed` says of a key whether they do.
    pub(super) fn delete(
        &self,
        tokens: &Tokens,
        keep_keys: bool,
        is_needed: &dyn Fn(&PublicKey) -> Result<bool, NodeError>,
    ) -> Result<(), NodeError> {
        let _starting = self.starting();
        if keep_keys {
            self.complete_files()?;
        }
        self.change(|status| status.running = None);
        self.publisher.stop();
        for authority in self.store.authorities(&self.label)? {
            if keep_keys {
                import::keep_authority(self.store.as_ref(), &self.label, authority)?;
                continue;
            }
            match tokens.get(Some(&authority.token)) {
                // Its key is gone, or soon will be nobody's.
                Err(_) if authority.phase == Phase::Discarded => continue,
                token => delete_key(&token?, &authority.key_label, is_needed)?,
            }
        }
        // Those of an RA, and of a subordinate CA that has waited for its certificate, are the trustpoint's.
        for own in self.store.trusted(&self.label)?.iter().filter(|own| own.kind.is_own() && !keep_keys) {
            if let (Some(token), Some(key_label)) = (&own.token, &own.key_label) {
                delete_key(&tokens.get(Some(token))?, key_label, is_needed)?;
            }
        }
        if !keep_keys {
            // Of a trustpoint whose key is gone no CA can be taken over.
            self.store.distrust(&self.label, None)?;
        }
        self.store.delete_server(&self.label)?;
        self.change(|status| status.deleted = true);
        Ok(())
    }

    /// With a key that stays, the files are all that is known of its certificates: what they lacked would be
    /// valid again, and its numbers given out twice.
    fn complete_files(&self) -> Result<(), NodeError> {
        let Some(authority) = self.authority()? else { return Ok(()) };
        let status = self.status();
        let plan = status.around.plan(&status.section.database)?;
        self.publisher.plan(Some(plan.of(authority.id)));
        let trouble = match self.publisher.settle() {
            Ok(Settled::Tried) => return Ok(()),
            Ok(Settled::StillWriting) => "they are still being written; try again later".to_owned(),
            Err(trouble) => trouble,
        };
        if status.running.is_none() {
            self.publisher.plan(None);
        }
        Err(NodeError::Refused(format!(
            "the server is not deleted: its key stays, and its files are not complete: {trouble}"
        )))
    }

    /// Answers a SCEP or HTTP request.
    pub fn answer(&self, asked: Asked, peer: IpAddr, now: Time) -> Answer {
        let Some(started) = self.running() else {
            let standby = self.state.read().unwrap_or_else(|poisoned| poisoned.into_inner()).standby.clone();
            return standby.map_or_else(Answer::busy, |standby| standby.answer(&asked, now));
        };
        let may_issue = matches!(asked, Asked::PkiOperation(_));
        if may_issue && let Err(error) = self.check_clock(now) {
            tracing::warn!(server = self.label, error = %chain(&error), "a request is not answered");
            return Answer::busy();
        }
        let answer = started.ra.answer(asked, peer, now);
        if may_issue {
            self.files_have_news();
        }
        answer
    }

    /// Refuses what would be dated by a clock that cannot be right (S11).
    pub(super) fn check_clock(&self, now: Time) -> Result<(), NodeError> {
        self.clock.check(now)?.map_err(|wrong| NodeError::Refused(wrong.to_string()))
    }

    pub(super) fn ca(&self) -> Result<Arc<Ca>, NodeError> {
        match &self.started()?.acting {
            Acting::Ca(ca) => Ok(ca.clone()),
            Acting::Registrar { .. } => Err(NodeError::Refused(format!(
                "certificate server \"{}\" is an RA: certificates and CRLs are those of the CA above",
                self.label
            ))),
        }
    }

    /// What runs; else why not.
    pub(super) fn started(&self) -> Result<Arc<Started>, NodeError> {
        self.running().ok_or_else(|| {
            let status = self.status();
            let why = match (status.section.shutdown, status.last_error) {
                (true, _) => "it is shut; start it with \"no shutdown\"".to_owned(),
                (false, Some(error)) => error,
                (false, None) => "it has not started yet".to_owned(),
            };
            NodeError::Refused(format!("certificate server \"{}\" is not enabled: {why}", self.label))
        })
    }

    pub(super) fn authority(&self) -> Result<Option<crate::store::Authority>, NodeError> {
        let authorities = self.store.authorities(&self.label)?;
        Ok(authorities.into_iter().find(|authority| authority.role == Role::Ca && authority.is_active()))
    }

    /// Held while the server starts, stops or rolls over.
    pub(super) fn starting(&self) -> MutexGuard<'_, ()> {
        self.starting.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// When a rollover that has failed is tried again.
    pub(super) fn again(&self) -> Time {
        *self.rolls_again.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(super) fn set_again(&self, at: Time) {
        *self.rolls_again.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = at;
    }

    pub(super) fn status(&self) -> Status {
        self.state.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// What runs, without a copy of everything configured: each request asks.
    fn running(&self) -> Option<Arc<Started>> {
        self.state.read().unwrap_or_else(|poisoned| poisoned.into_inner()).running.clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.state.write().unwrap_or_else(|poisoned| poisoned.into_inner()));
    }
}

/// Deletes a key that nobody needs.
fn delete_key(
    token: &Token,
    label: &str,
    is_needed: &dyn Fn(&PublicKey) -> Result<bool, NodeError>,
) -> Result<(), NodeError> {
    if let Some(key) = token.find(label)?
        && !is_needed(key.public_key())?
    {
        token.delete(label)?;
    }
    Ok(())
}

pub(super) fn parse(der: &[u8]) -> Result<Certificate, NodeError> {
    Certificate::parse(der).map_err(|error| NodeError::Ca(CaError::Damaged(error.to_string())))
}

const STILL_WRITING: &str = "% Its files are still being written.";
