//! Files as they were when they were looked at.

use std::{
    collections::hash_map::DefaultHasher,
    fs,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
};

/// A file that a configuration is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) path: PathBuf,
    /// From before it is read: what is written meanwhile is another.
    pub(crate) content: Fingerprint,
}

/// Stands for what is in a file, within this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint(u64);

impl Fingerprint {
    /// Of what is there now. Blocks. Only a file is read: what comes out of a pipe would be gone.
    pub(crate) fn of(path: &Path) -> Self {
        let mut hasher = DefaultHasher::new();
        match fs::metadata(path).and_then(|data| if data.is_file() { fs::read(path).map(Some) } else { Ok(None) }) {
            Ok(Some(bytes)) => zeroize::Zeroizing::new(bytes).hash(&mut hasher),
            Ok(None) => {}
            Err(error) => error.kind().hash(&mut hasher),
        }
        Self(hasher.finish())
    }
}
