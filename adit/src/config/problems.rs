//! Everything that is wrong with a configuration, found at once.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use super::seen::{Fingerprint, Seen};
use crate::error::Error;

/// Whether the configuration can be used all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    Error,
    Warning,
}

/// One thing that is wrong, on one line: where, what, and what can be done.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) severity: Severity,
    error: Error,
}

/// What was found while a configuration was read, and the files that were looked at.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    list: Vec<Problem>,
    files: BTreeMap<PathBuf, Fingerprint>,
}

impl Problem {
    /// Such as `office.toml line 4 column 1`.
    pub(crate) fn place(&self) -> Option<&str> {
        self.error.place()
    }

    pub(crate) fn problem(&self) -> &str {
        self.error.problem()
    }

    pub(crate) fn hint(&self) -> Option<&str> {
        self.error.hint_text()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Problems {
    /// Something that makes the configuration unusable.
    pub(super) fn error(&mut self, error: Error) {
        self.push(Severity::Error, error);
    }

    /// Something that is allowed, and probably not meant.
    pub(super) fn warning(&mut self, error: Error) {
        self.push(Severity::Warning, error);
    }

    fn push(&mut self, severity: Severity, error: Error) {
        // A value that several gateways inherit is wrong once.
        let known = self.list.iter().any(|known| known.error.to_string() == error.to_string());
        if !known {
            self.list.push(Problem { severity, error });
        }
    }

    /// The value, or else the error in the list.
    pub(super) fn catch<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        result.map_err(|error| self.error(error)).ok()
    }

    /// A file that is to be looked at next, be it there or not.
    pub(super) fn file(&mut self, path: PathBuf) {
        self.files.entry(path).or_insert_with_key(|path| Fingerprint::of(path));
    }

    /// How many errors there are so far.
    pub(super) fn errors(&self) -> usize {
        self.list.iter().filter(|problem| problem.severity == Severity::Error).count()
    }

    /// Errors and warnings, those of one file in the order of its lines.
    pub(crate) fn sorted(&self) -> Vec<&Problem> {
        let mut list: Vec<_> = self.list.iter().collect();
        list.sort_by_key(|problem| problem.place().map_or_else(Default::default, order));
        list
    }

    /// Every file that was looked at: what is missing today may be there tomorrow.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.keys()
    }

    /// The same, as they were before they were read.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.files.iter().map(|(path, content)| Seen { path: path.clone(), content: *content }).collect()
    }

    /// Says every warning in the log.
    pub(crate) fn log_warnings(&self) {
        for problem in self.sorted() {
            if problem.severity == Severity::Warning {
                tracing::warn!("{problem}");
            }
        }
    }

    /// Says every error but the last in the log; that one ends the program. `None` if there is none.
    pub(crate) fn into_error(mut self) -> Option<Error> {
        self.list.retain(|problem| problem.severity == Severity::Error);
        self.list.sort_by_key(|problem| problem.place().map_or_else(Default::default, order));
        let last = self.list.pop()?;
        for problem in &self.list {
            tracing::error!("{problem}");
        }
        Some(last.error)
    }
}

/// File, line and column of a place, to sort by.
fn order(place: &str) -> (String, usize, usize) {
    let number = |text: &str| text.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok());
    match place.split_once(" line ") {
        Some((file, rest)) => {
            let column = rest.split_once(" column ").and_then(|(_, column)| number(column));
            (file.to_owned(), number(rest).unwrap_or(0), column.unwrap_or(0))
        }
        None => (place.to_owned(), 0, 0),
    }
}
