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

use crate::pki::hex;

use super::durable::replace;
use super::error::Problem;

/// The slots of one token and the labels of the keys in them.
#[derive(Default)]
pub(super) struct Places {
    /// `CKA_ID` by name; empty for a token whose keys have labels of their own.
    slots: BTreeMap<String, u8>,
    file: Option<PathBuf>,
    /// By name of the slot.
    memory: Mutex<Memory>,
}

#[derive(Clone, Default, PartialEq)]
struct Memory {
    labels: BTreeMap<String, String>,
    /// The fingerprint of the key that was put where one was deleted.
    deleted: BTreeMap<String, String>,
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
        Ok(Self { slots, file, memory: Mutex::new(Memory::read(&text)) })
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
        let memory = self.lock();
        let given = memory.labels.iter().find(|(_, given)| *given == label).map(|(slot, _)| slot.as_str());
        self.slots.get(given.unwrap_or(label)).copied()
    }

    /// The label of the key in this place: what it was made with, else the name of its slot.
    pub fn label(&self, id: &[u8]) -> Option<String> {
        let slot = self.name(id)?;
        Some(self.lock().labels.get(slot).unwrap_or(slot).clone())
    }

    /// The places of the slots with these names, and the names.
    pub fn among<'n>(&self, names: &'n [String]) -> impl Iterator<Item = (u8, &'n str)> {
        names.iter().filter_map(|name| Some((*self.slots.get(name)?, name.as_str())))
    }

    /// From now on the key in this place has this label. What had it before, has it no more.
    pub fn give(&self, id: u8, label: &str) -> Result<(), Problem> {
        let Some(slot) = self.name(&[id]) else { return Ok(()) };
        let unfit = label.is_empty() || label.contains(char::is_control);
        if unfit || slot != label && self.slots.contains_key(label) {
            return Err(Problem::BadLabel { label: label.into() });
        }
        self.change(|memory| {
            memory.labels.retain(|_, given| given != label);
            match slot == label {
                true => memory.labels.remove(slot),
                false => memory.labels.insert(slot.clone(), label.to_owned()),
            };
        })
    }

    /// No key has this label any more.
    pub fn forget(&self, label: &str) -> Result<(), Problem> {
        self.change(|memory| memory.labels.retain(|_, given| given != label))
    }

    /// The key with this fingerprint was put in this place to delete the one that was there.
    pub fn set_deleted(&self, id: u8, fingerprint: &[u8; 32]) -> Result<(), Problem> {
        let Some(slot) = self.name(&[id]) else { return Ok(()) };
        self.change(|memory| drop(memory.deleted.insert(slot.clone(), hex(fingerprint))))
    }

    /// Whether the key with this fingerprint is what a key in this place was deleted by.
    pub fn is_deleted(&self, id: &[u8], fingerprint: &[u8; 32]) -> bool {
        let slot = self.name(id);
        slot.is_some_and(|slot| self.lock().deleted.get(slot).is_some_and(|known| *known == hex(fingerprint)))
    }

    fn name(&self, id: &[u8]) -> Option<&String> {
        self.slots.iter().find(|(_, slot)| [**slot] == *id).map(|(name, _)| name)
    }

    fn change(&self, change: impl FnOnce(&mut Memory)) -> Result<(), Problem> {
        let mut memory = self.lock();
        let mut new = memory.clone();
        change(&mut new);
        if new == *memory {
            return Ok(());
        }
        if let Some(path) = &self.file {
            let written = replace(path, &new.write());
            written.map_err(|source| Problem::Labels { path: path.clone(), source })?;
        }
        *memory = new;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn read(text: &str) -> Self {
        let mut memory = Self::default();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        for (first, rest) in lines.filter_map(|line| line.split_once(' ')) {
            let pair = |(slot, value): (&str, &str)| (slot.to_owned(), value.to_owned());
            match first {
                DELETED => memory.deleted.extend(rest.split_once(' ').map(pair)),
                slot => memory.labels.extend([pair((slot, rest))]),
            }
        }
        memory
    }

    fn write(&self) -> String {
        let labels = self.labels.iter().map(|(slot, label)| format!("{slot} {label}\n"));
        let deleted = self.deleted.iter().map(|(slot, key)| format!("{DELETED} {slot} {key}\n"));
        [HEADER.to_owned()].into_iter().chain(labels).chain(deleted).collect()
    }
}

const HEADER: &str = "# Slots of the token and the labels that the keys in them were made with.\n\
                      # Deleted: the key there only took the place of another; SHA-256 of its public half.\n";
/// First word of such a line; no slot is called so.
const DELETED: &str = "deleted";

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
    fn what_a_key_was_deleted_by_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let file = Some(folder.path().join("labels"));
        let before = places(file.clone());
        before.give(2, "my cs").unwrap();
        before.set_deleted(3, &[7; 32]).unwrap();

        let again = places(file);
        assert!(again.is_deleted(&[3], &[7; 32]));
        assert!(!again.is_deleted(&[3], &[8; 32]) && !again.is_deleted(&[2], &[7; 32]));
        assert_eq!((again.id("my cs"), again.id("deleted")), (Some(2), None));
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
