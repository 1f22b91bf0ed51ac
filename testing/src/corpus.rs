//! The corpus of fuzz targets, `testdata/fuzz/TARGET/*`, and damage done to its files.

use std::{fs, path::Path};

use proptest::{
    collection,
    prelude::{Strategy, any, prop_oneof},
    sample::Index,
};

/// The fuzz targets of a crate that have a corpus, by name. `root` is its `CARGO_MANIFEST_DIR`.
///
/// # Panics
/// If there is none: a test cannot go on without it.
#[must_use]
pub fn corpora(root: impl AsRef<Path>) -> Vec<String> {
    named(&root.as_ref().join("testdata/fuzz")).into_iter().map(|(name, _)| name).collect()
}

/// Every file of a target's corpus, in the order of their names.
///
/// # Panics
/// If it cannot be read: a test cannot go on without it.
#[must_use]
pub fn corpus(root: impl AsRef<Path>, target: &str) -> Vec<Vec<u8>> {
    let files = named(&root.as_ref().join("testdata/fuzz").join(target));
    files
        .iter()
        .map(|(_, entry)| fs::read(entry.path()).unwrap_or_else(|e| panic!("{}: {e}", entry.path().display())))
        .collect()
}

fn named(folder: &Path) -> Vec<(String, fs::DirEntry)> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut named: Vec<_> = entries.flatten().map(|e| (e.file_name().to_string_lossy().into_owned(), e)).collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    named
}

/// One change to a file.
#[derive(Debug, Clone)]
pub enum Damage {
    /// A byte becomes another.
    Set(Index, u8),
    /// A bit is turned.
    Flip(Index, u8),
    /// A stretch is missing.
    Remove(Index, Index),
    /// A stretch stands again at the end.
    Repeat(Index, Index),
    /// Something stands between.
    Insert(Index, Vec<u8>),
    /// The end is missing.
    Cut(Index),
}

impl Damage {
    /// Any damage.
    pub fn any() -> impl Strategy<Value = Self> {
        let at = any::<Index>;
        prop_oneof![
            (at(), any::<u8>()).prop_map(|(at, byte)| Self::Set(at, byte)),
            (at(), 0..8u8).prop_map(|(at, bit)| Self::Flip(at, bit)),
            (at(), at()).prop_map(|(from, to)| Self::Remove(from, to)),
            (at(), at()).prop_map(|(from, to)| Self::Repeat(from, to)),
            (at(), collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Self::Insert(at, bytes)),
            at().prop_map(Self::Cut),
        ]
    }

    /// Does it.
    pub fn apply(&self, file: &mut Vec<u8>) {
        let end = file.len() + 1;
        let range = |from: &Index, to: &Index| {
            let (from, to) = (from.index(end), to.index(end));
            from.min(to)..from.max(to)
        };
        match self {
            Self::Set(at, byte) => file.iter_mut().skip(at.index(end)).take(1).for_each(|b| *b = *byte),
            Self::Flip(at, bit) => file.iter_mut().skip(at.index(end)).take(1).for_each(|b| *b ^= 1 << bit),
            Self::Remove(from, to) => drop(file.drain(range(from, to))),
            Self::Repeat(from, to) => file.extend_from_within(range(from, to)),
            Self::Insert(at, bytes) => drop(file.splice(at.index(end)..at.index(end), bytes.iter().copied())),
            Self::Cut(at) => file.truncate(at.index(end)),
        }
    }
}
