//! What must be true of a profile beyond its syntax, and the lines of what is wrong with it.

use toml::de::{DeTable, DeValue};

use crate::pki::Hash;

use super::fields::{KeyAttribute, KnownError, ProfileFile, Sessions, Way};

impl ProfileFile {
    /// Says what is wrong, with the field as it is typed (`keygen.private`): by it the line is found.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let no = |wrong: bool, what| if wrong { Err(what) } else { Ok(()) };
        no(matches!(self.sessions, Sessions::Count(0)), "sessions is 0")?;
        no(self.queue == 0, "queue is 0")?;
        no(self.timeout == 0, "timeout is 0")?;
        no(self.keygen_timeout == 0, "keygen_timeout is 0")?;
        // It would recognise every module.
        no(self.recognise.as_deref() == Some(""), "recognise is empty")?;
        no(self.mechanisms.oaep.contains(&Hash::Md5), "mechanisms.oaep has md5")?;
        // What is not said must be true by itself: read back after generation it is refused otherwise,
        // but by then the key exists.
        let said = |attribute| self.keygen.private.contains(&attribute);
        no(!said(KeyAttribute::Token), "keygen.private lacks CKA_TOKEN")?;
        let keygen = &self.keygen;
        let fixed = !keygen.slots.is_empty();
        no(!fixed && !said(KeyAttribute::Label), "keygen.private lacks CKA_LABEL")?;
        no(fixed && !said(KeyAttribute::Id), "keygen.slots, and keygen.private lacks CKA_ID")?;
        no(keygen.slots.keys().any(|name| name.contains(' ')), "keygen.slots has a name with a blank")?;
        let mut ids: Vec<_> = keygen.slots.values().collect();
        ids.sort();
        no(ids.windows(2).any(|pair| pair[0] == pair[1]), "keygen.slots has the same slot twice")?;
        let known = |names: &[String]| names.iter().all(|name| keygen.slots.contains_key(name));
        no(!known(&keygen.slots_sign), "keygen.slots_sign names what is not in keygen.slots")?;
        no(!known(&keygen.slots_decrypt), "keygen.slots_decrypt names what is not in keygen.slots")?;
        no(self.transfer.export.contains(&Way::CreateObject), "transfer.export has C_CreateObject")?;
        let attested = &self.attestation;
        let pattern = attested.certificate.as_ref().map(|pattern| pattern.0.as_str());
        no(pattern == Some(""), "attestation.certificate is empty")?;
        let stars = pattern.unwrap_or_default().matches('*').count();
        no(stars > 1, "attestation.certificate has more than one *")?;
        no(attested.issuer.as_deref() == Some(""), "attestation.issuer is empty")?;
        let alone = attested.issuer.is_some() && pattern.is_none();
        no(alone, "attestation.issuer without attestation.certificate")?;
        let any = |error: &KnownError| error.call.is_none() && error.code.is_none();
        no(self.error.iter().any(any), "one error has neither call nor code")
    }
}

/// The line of an octet, counted from one.
pub(super) fn line_at(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|octet| **octet == b'\n').count() + 1
}

/// The line of the first field that `what` names.
pub(super) fn line_of(text: &str, what: &str) -> Option<usize> {
    let table = DeTable::parse(text).ok()?;
    what.split([' ', ',', ':']).find_map(|word| find(text, table.get_ref(), word))
}

/// The line where the field `path`, its tables before it, is said.
fn find(text: &str, table: &DeTable<'_>, path: &str) -> Option<usize> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == first)?;
    match (rest, value.get_ref()) {
        (None, _) => Some(line_at(text, key.span().start)),
        (Some(rest), DeValue::Table(table)) => find(text, table, rest),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::Pattern;
    use super::super::{Profile, SHIPPED};

    fn refusal(text: &str) -> String {
        Profile::parse("p", text).unwrap_err().to_string()
    }

    #[test]
    fn what_is_unknown_is_refused_with_its_line() {
        for (text, what) in [
            ("sessions = 1\nthreads = 2", "profile p, line 2: unknown field `threads`"),
            ("\n[login]\nrole = \"so\"", "profile p, line 3: unknown field `role`"),
            ("\n[logins]\ncontext = \"auto\"", "profile p, line 2: unknown field `logins`"),
            ("sessions = \"many\"", "profile p, line 1: a number of sessions or \"cores\""),
            ("\nqueue = \"long\"", "profile p, line 2: invalid type: string \"long\""),
            ("\nreinitialise = \"yes\"", "profile p, line 2: invalid type: string \"yes\""),
            ("[login]\n\ncontext = \"often\"", "profile p, line 3: unknown variant `often`"),
            (
                "[keygen]\nprivate = [\n    \"CKA_TOKEN\",\n    \"CKA_NOSUCH\",\n]",
                "profile p, line 4: unknown variant `CKA_NOSUCH`",
            ),
            ("[mechanisms]\nrsa_sign = [\"CKM_RSA\"]", "profile p, line 2: unknown variant `CKM_RSA`"),
            ("[mechanisms]\noaep = [\n\"sha3\"]", "profile p, line 3: unknown variant `sha3`"),
            ("[transfer]\nimport = [\"CKM_DES3_CBC_PAD\"]", "profile p, line 2: unknown variant"),
            ("[attestation]\ncertificates = \"a\"", "profile p, line 2: unknown field `certificates`"),
            ("[format]\n\nec_point = \"bare\"", "profile p, line 3: unknown variant `bare`"),
            (
                "[[error]]\ncode = \"CKR_OK\"\nhint = \"\"\n[[error]]\ncode = \"OK\"",
                "profile p, line 5: the code",
            ),
            ("[[error]]\ncode = \"0x80\"\nhint = \"\"", "profile p, line 2: the code"),
            ("[[error]]\ncode = \"CKR_OK\"", "profile p, line 1: missing field `hint`"),
            ("timeout = 1\ntimeout = 2", "profile p, line 2: duplicate key"),
            ("timeout = 1\n\nqueue =", "profile p, line 3: "),
            ("recognise = \"Some\nlibrary = []", "profile p, line 1: "),
        ] {
            let refusal = refusal(text);
            assert!(refusal.starts_with(what), "{text}: {refusal}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_its_line() {
        for (text, what) in [
            ("sessions = 0", "profile p, line 1: sessions is 0"),
            ("\nqueue = 0", "profile p, line 2: queue is 0"),
            ("queue = 1\ntimeout = 0", "profile p, line 2: timeout is 0"),
            ("keygen_timeout = 0", "profile p, line 1: keygen_timeout is 0"),
            ("# everybody\nrecognise = \"\"", "profile p, line 2: recognise is empty"),
            ("[mechanisms]\noaep = [\"md5\"]", "profile p, line 2: mechanisms.oaep has md5"),
            (
                "[keygen]\nserialize = true\nprivate = [\"CKA_TOKEN\"]",
                "profile p, line 3: keygen.private lacks CKA_LABEL",
            ),
            ("\n[keygen.slots]\na = 1\nb = 1", "profile p, line 2: keygen.slots has the same slot twice"),
            (
                "[keygen]\nslots_sign = [\"a\"]",
                "profile p, line 2: keygen.slots_sign names what is not in keygen.slots",
            ),
            (
                "[transfer]\nexport = [\"C_CreateObject\"]",
                "profile p, line 2: transfer.export has C_CreateObject",
            ),
            ("\n[[error]]\nhint = \"\"", "profile p, line 2: one error has neither call nor code"),
            ("[attestation]\ncertificate = \"\"", "profile p, line 2: attestation.certificate is empty"),
            (
                "[attestation]\n\ncertificate = \"a * of *\"",
                "profile p, line 3: attestation.certificate has more than one *",
            ),
            (
                "[attestation]\ncertificate = \"a\"\nissuer = \"\"",
                "profile p, line 3: attestation.issuer is empty",
            ),
            (
                "[attestation]\nissuer = \"a\"",
                "profile p, line 2: attestation.issuer without attestation.certificate",
            ),
        ] {
            assert_eq!(refusal(text), what);
        }
    }

    #[test]
    fn a_pattern_stands_for_many_texts() {
        let fits = |pattern: &str, text| Pattern(pattern.into()).fits(text);
        assert!(fits("slot *", "slot 9a") && fits("slot *", "slot ") && fits("* of 9a", "attestation of 9a"));
        assert!(!fits("slot *", "slot") && !fits("slot", "slot 9a") && !fits("ab*ba", "aba"));
    }

    #[test]
    fn a_shipped_profile_says_what_it_rests_on() {
        let refusal = |text| Profile::shipped("p", text).map(drop).map_err(|error| error.to_string());
        let error = Err("profile p: neither tested nor source is said".into());
        assert_eq!(refusal("about = \"a token\""), error);
        assert_eq!(refusal("tested = \"1.0\""), Ok(()));
        assert_eq!(refusal("source = [\"its manual\"]"), Ok(()));
        // An operator's own need not.
        assert!(Profile::parse("p", "").is_ok());
    }

    #[test]
    fn shipped_profiles_say_what_they_are() {
        for (name, _) in SHIPPED {
            let profile = Profile::named(name).unwrap();
            assert!(profile.about().is_some_and(|about| !about.is_empty()), "{name}");
            let sentence = |line: &String| !line.ends_with('.') && !line.contains('\n') && line.len() < 160;
            assert!(profile.cannot().iter().all(sentence), "{name}");
            assert!(
                *name == "generic" || profile.libraries().iter().all(|path| path.is_absolute()),
                "{name}"
            );
        }
    }

    #[test]
    fn no_two_profiles_recognise_the_same_module() {
        let starts: Vec<_> = SHIPPED
            .iter()
            .filter_map(|(name, _)| Some((name, Profile::named(name).unwrap().file.recognise?)))
            .collect();
        for (name, start) in &starts {
            assert_eq!(Profile::recognising(start).name(), **name, "{start}");
            let start = start.to_ascii_lowercase();
            let others = starts.iter().filter(|(other, _)| other != name);
            for (other, theirs) in others {
                assert!(!start.starts_with(&theirs.to_ascii_lowercase()), "{name} and {other}");
            }
        }
    }
}
