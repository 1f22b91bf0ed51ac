//! The activity log, read from its files.

use std::{collections::VecDeque, fs, io, path::Path};

use super::{Entry, file::numbered};

/// The latest entries of a file and of the older ones besides it, the oldest first. What is no entry is left out.
pub(crate) fn last_of_file(path: &Path, count: usize, connection: Option<&str>) -> io::Result<Vec<Entry>> {
    let text = fs::read(path)?;
    // A log that is full of other things is none; a last line may be cut short.
    if !text.trim_ascii().is_empty() && !text.split(|byte| *byte == b'\n').any(is_entry) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "this is no activity log"));
    }
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
    let mut more = add(&text);
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

fn is_entry(line: &[u8]) -> bool {
    serde_json::from_slice::<Entry>(line).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Folder;

    #[test]
    fn a_file_that_is_no_log_is_told_and_an_empty_one_is_a_log() {
        let folder = Folder::new();
        let path = folder.path().join("file");
        fs::write(&path, "[connection.office]\nprotocol = \"ikev2\"\n").unwrap();
        let error = last_of_file(&path, 20, None).unwrap_err();
        assert_eq!(error.to_string(), "this is no activity log");
        fs::write(&path, "").unwrap();
        assert!(last_of_file(&path, 20, None).unwrap().is_empty());
    }
}
