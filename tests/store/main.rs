//! The contract of [`Store`], sentence by sentence, for every backend.
//!
//! A backend is a [`Database`]: something that can be opened more than once, as several processes or one
//! after its crash would. `suite!` at the end runs every test on each of them.

mod adoption;
mod authorities;
mod certificates;
mod crowds;
mod enrollments;
mod facts;
mod fetched;
mod forwards;
mod revocation;
mod servers;
mod submission;
mod trustpoints;
mod values;

use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokenca::pki::{Serial, Time};
use tokenca::store::sqlite::Sqlite;
use tokenca::store::{
    Adopted, Adoption, Authority, Certificate, Class, Cost, Crl, CrlFacts, CrlOrigin, Enrollment, FetchedCrl,
    Forward, Intent, Issued, IssuedBy, JournalEntry, LeftBehind, NewAuthority, NewEnrollment, NewIntent,
    Omit, Password, Phase, Record, Reuse, Revocation, Role, SerialRule, Stage, State, Store, StoreError,
    Submission, Submitted, TrustedCertificate, TrustedKind, UpperPhase, UpperRequest,
};

use adoption::*;
use authorities::*;
use certificates::*;
use crowds::*;
use enrollments::*;
use facts::*;
use fetched::*;
use forwards::*;
use revocation::*;
use servers::*;
use submission::*;
use trustpoints::*;
use values::*;

/// A database that is new at the start of a test.
trait Database: Sync {
    /// Opens it once more.
    fn open(&self) -> Box<dyn Store>;
}

// ---- backends

struct SqliteFile {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl SqliteFile {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { path: dir.path().join("tokenca.db"), _dir: dir }
    }
}

impl Database for SqliteFile {
    fn open(&self) -> Box<dyn Store> {
        Box::new(Sqlite::open(&self.path).unwrap())
    }
}

/// One module per backend with every test of the contract. One that is not listed is dead code, and so
/// a warning.
macro_rules! suite {
    ($($backend:ident: $database:expr;)+ => $tests:tt) => {
        $(mod $backend {
            use super::*;
            suite!(@tests $database, $tests);
        })+
    };
    (@tests $database:expr, [$($test:ident,)+]) => {
        $(#[test]
        fn $test() {
            super::$test(&$database);
        })+
    };
}

suite! {
    sqlite: SqliteFile::new();
    => [
        authorities_are_listed_oldest_first,
        a_role_has_one_active_authority,
        a_next_authority_waits_and_takes_over,
        a_next_authority_of_scep_may_be_replaced,
        a_next_authority_is_taken_back_with_what_it_signed,
        what_an_authority_issued_is_counted,
        who_would_be_left_behind_is_known,
        devices_of_an_adopted_ca_may_be_left_behind,
        an_adopted_ca_goes_on,
        an_adopted_ca_is_the_first,
        what_is_known_twice_is_one,
        unknown_certificates_of_an_adopted_ca_are_revoked,
        random_numbers_of_an_adopted_ca,
        an_adoption_is_whole_or_nothing,
        a_submission_pends,
        request_numbers_count_per_server_and_never_return,
        a_transaction_is_found_by_identifier_and_key,
        a_transaction_may_ask_two_authorities,
        an_issue_is_recorded_with_its_intent,
        a_repetition_is_known,
        a_repetition_of_an_authorized_one_gets_its_intent,
        a_granted_one_is_repeated_in_the_first_half_of_its_life,
        a_revoked_one_is_not_repeated,
        the_newest_acceptable_one_is_repeated,
        no_more_than_the_limit_pend,
        a_malformed_request_is_kept_for_the_operator,
        a_password_is_claimed_once,
        a_refused_submission_gives_the_password_back,
        enrollments_come_in_pages,
        an_enrollment_advances_from_the_state_assumed,
        only_intents_and_certificates_authorize_and_grant,
        an_enrollment_is_removed_but_not_its_certificate,
        old_enrollments_expire,
        what_is_granted_here_is_asked_for_there,
        what_another_ca_does_not_answer_is_bounded,
        tries_are_counted_and_survive,
        the_certificate_of_another_ca_is_kept,
        other_cas_may_give_the_same_number,
        what_another_ca_refuses_is_denied,
        a_certificate_knows_as_what_it_was_granted,
        an_intent_authorizes_its_enrollment,
        an_intent_needs_no_enrollment,
        the_first_certificate_kept_wins,
        a_certificate_without_intent_is_not_kept,
        an_abandoned_intent_leaves_its_number_used,
        unfinished_intents_come_oldest_first,
        certificates_come_in_pages_in_the_order_of_issue,
        certificates_are_followed_in_the_order_in_which_they_were_kept,
        serial_numbers_follow_their_rule,
        a_serial_number_of_any_length_may_be_asked_for,
        a_certificate_is_revoked_once,
        revoked_certificates_are_listed_per_authority,
        what_was_on_no_list_stays,
        a_hold_may_end_in_revocation,
        the_list_is_a_snapshot,
        crl_numbers_ascend,
        a_long_crl_is_kept_whole,
        a_new_password_replaces_the_live_one_without_subject,
        expired_passwords_are_forgotten,
        a_trustpoint_has_its_certificates,
        crls_of_others_are_kept_until_they_end,
        cas_above_each_other_may_have_one_number,
        what_is_next_takes_its_place_in_one_step,
        a_request_is_followed_to_its_end,
        a_request_that_has_changed_is_left_alone,
        requests_go_with_their_trustpoint,
        the_journal_is_read_backwards,
        marks_are_set_and_forgotten,
        the_latest_time_is_remembered,
        a_secret_is_made_once,
        a_deleted_server_leaves_nothing,
        a_crash_leaves_the_intent,
        a_panicking_builder_changes_nothing,
        one_of_fifty_gets_in_with_one_password,
        fifty_repetitions_are_one_enrollment,
        serial_numbers_are_unique_and_without_gaps,
        everybody_gets_the_same_certificate,
        the_limit_holds_in_a_crowd,
        who_wrote_reads_it,
        a_hundred_thousand_may_pend,
    ]
}
