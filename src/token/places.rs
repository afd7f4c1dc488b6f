//! Keys with fixed places: on some tokens, PIV cards above all, a key is in one of a few slots, which its
//! `CKA_ID` names, and its label is what the token says.
//!
//! There a label leads to a key in two ways. A slot has a name (`piv-9c`), by the profile; that is the label
//! of the key in it, on every machine. Any other label that a key was made with is remembered, with the slot
//! that the key got, in a file of the state directory. It is written before the key is made, so that a key
//! that was made is found by its label, whatever happened then.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cryptoki::object::Attribute;

use super::durable::replace;
use super::error::Problem;

/// The slots of one token and the labels of the keys in them.
#[derive(Default)]
pub(super) struct Places {
    /// `CKA_ID` by name; empty for a token whose keys have labels of their own.
    slots: BTreeMap<String, u8>,
    file: Option<PathBuf>,
    /// By name of the slot.
    labels: Mutex<BTreeMap<String, String>>,
}

impl Places {
    /// These slots, with what `file` remembers.
    pub fn new(slots: BTreeMap<String, u8>, file: Option<PathBuf>) -> Result<Self, Problem> {
        let read = |path: &PathBuf| match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            other => other.map_err(|source| Problem::Labels { path: path.clone(), source }),
        };
        let text = match &file {
            Some(path) if !slots.is_empty() => read(path)?,
            _ => String::new(),
        };
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.split_once(' '));
        let labels = pairs.map(|(slot, label)| (slot.to_owned(), label.to_owned())).collect();
        Ok(Self { slots, file, labels: Mutex::new(labels) })
    }

    /// Whether keys have places instead of labels.
    pub fn are_fixed(&self) -> bool {
        !self.slots.is_empty()
    }

    /// By what a key with this label is found. `None` when there is no such key.
    pub fn attribute(&self, label: &str) -> Option<Attribute> {
        match self.are_fixed() {
            true => self.id(label).map(|id| Attribute::Id(vec![id])),
            false => Some(Attribute::Label(label.as_bytes().to_vec())),
        }
    }

    /// The place of the key with this label, if it has one.
    pub fn id(&self, label: &str) -> Option<u8> {
        let labels = self.lock();
        let given = labels.iter().find(|(_, given)| *given == label).map(|(slot, _)| slot.as_str());
        self.slots.get(given.unwrap_or(label)).copied()
    }

    /// The label of the key in this place: what it was made with, else the name of its slot.
    pub fn label(&self, id: &[u8]) -> Option<String> {
        let (slot, _) = self.slots.iter().find(|(_, slot)| [**slot] == *id)?;
        Some(self.lock().get(slot).unwrap_or(slot).clone())
    }

    /// The places of the slots with these names, and the names.
    pub fn among<'n>(&self, names: &'n [String]) -> impl Iterator<Item = (u8, &'n str)> {
        names.iter().filter_map(|name| Some((*self.slots.get(name)?, name.as_str())))
    }

    /// From now on the key in this place has this label. What had it before, has it no more.
    pub fn give(&self, id: u8, label: &str) -> Result<(), Problem> {
        let Some((slot, _)) = self.slots.iter().find(|(_, slot)| **slot == id) else { return Ok(()) };
        let unfit = label.is_empty() || label.contains(char::is_control);
        if unfit || slot != label && self.slots.contains_key(label) {
            return Err(Problem::BadLabel { label: label.into() });
        }
        self.change(|labels| {
            labels.retain(|_, given| given != label);
            match slot == label {
                true => labels.remove(slot),
                false => labels.insert(slot.clone(), label.to_owned()),
            };
        })
    }

    /// No key has this label any more.
    pub fn forget(&self, label: &str) -> Result<(), Problem> {
        self.change(|labels| labels.retain(|_, given| given != label))
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, String>)) -> Result<(), Problem> {
        let mut labels = self.lock();
        let mut new = labels.clone();
        change(&mut new);
        if new == *labels {
            return Ok(());
        }
        if let Some(path) = &self.file {
            let lines: String = new.iter().map(|(slot, label)| format!("{slot} {label}\n")).collect();
            let written = replace(path, &format!("{HEADER}{lines}"));
            written.map_err(|source| Problem::Labels { path: path.clone(), source })?;
        }
        *labels = new;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.labels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const HEADER: &str = "# Slots of the token and the labels that the keys in them were made with.\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn places(file: Option<PathBuf>) -> Places {
        let slots = [("piv-9c", 2), ("piv-9d", 3)].map(|(name, id)| (name.to_owned(), id));
        Places::new(slots.into(), file).unwrap()
    }

    #[test]
    fn labels_are_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let file = Some(folder.path().join("labels"));
        places(file.clone()).give(3, "my cs#2").unwrap();

        let again = places(file.clone());
        assert_eq!(again.id("my cs#2"), Some(3));
        assert_eq!(again.label(&[3]).as_deref(), Some("my cs#2"));
        assert_eq!(again.id("piv-9d"), Some(3), "the slot keeps its name");
        assert_eq!(again.label(&[2]).as_deref(), Some("piv-9c"));
        assert_eq!((again.id("another"), again.label(&[9])), (None, None));

        again.give(3, "another").unwrap();
        assert_eq!((again.id("my cs#2"), again.id("another")), (None, Some(3)));
        again.forget("another").unwrap();
        assert_eq!(places(file).label(&[3]).as_deref(), Some("piv-9d"));
    }

    #[test]
    fn the_name_of_a_slot_is_no_label_for_another() {
        let places = places(None);
        assert!(matches!(places.give(3, "piv-9c"), Err(Problem::BadLabel { .. })));
        assert!(matches!(places.give(3, "a\nb"), Err(Problem::BadLabel { .. })));
        places.give(2, "piv-9c").unwrap();
        assert_eq!(places.id("piv-9c"), Some(2));
    }

    #[test]
    fn tokens_with_labels_have_no_places() {
        let places = Places::default();
        assert!(!places.are_fixed());
        assert_eq!(places.attribute("k"), Some(Attribute::Label(b"k".to_vec())));
        assert_eq!(places.label(&[3]), None);
    }
}
