//! The activity log, read from its files.

use std::{collections::VecDeque, fs, io, path::Path};

use super::{Entry, file::numbered};

/// The latest entries of a file and of the older ones besides it, the oldest first. What is no entry is left out.
pub(crate) fn last_of_file(path: &Path, count: usize, connection: Option<&str>) -> io::Result<Vec<Entry>> {
    let mut last = VecDeque::new();
    let mut add = |text: &[u8]| {
        for line in text.split(|byte| *byte == b'\n').rev() {
            if last.len() == count {
                return false;
            }
            if let Ok(entry) = serde_json::from_slice::<Entry>(line)
                && entry.is_about(connection)
            {
                last.push_front(entry);
            }
        }
        true
    };
    let mut more = add(&fs::read(path)?);
    for number in 1.. {
        if !more {
            break;
        }
        match fs::read(numbered(path, number)) {
            Ok(text) => more = add(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        }
    }
    Ok(last.into())
}
