//! Everything that is wrong with a configuration, found at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
};

use super::{
    schema::Spoiled,
    seen::{Fingerprint, Seen},
};
use crate::error::{Error, Exit};

/// More than so many help nobody: it is another file, or the first ones are the cause.
const SHOWN: usize = 50;

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
    /// What is in the list, as it is said.
    said: BTreeSet<String>,
    files: BTreeMap<PathBuf, Fingerprint>,
    /// Keys of the TOML file that are there, and wrong.
    spoiled: Spoiled,
    /// Whether this machine is looked at, too: what is not there yet may be when it is needed.
    looks_around: bool,
}

/// A place in a file, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) file: Option<String>,
    pub(crate) line: Option<usize>,
    pub(crate) column: Option<usize>,
}

impl Severity {
    /// What a line begins with.
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl Problem {
    /// Such as `office.toml line 4 column 1`.
    pub(crate) fn place(&self) -> Option<&str> {
        self.error.place()
    }

    /// The same, taken apart: `files` are those that were looked at.
    pub(crate) fn position<'a>(&self, files: impl IntoIterator<Item = &'a PathBuf>) -> Position {
        let text = self.place().unwrap_or_else(|| self.problem());
        let text = text.strip_prefix("profile ").unwrap_or(text);
        let names = files.into_iter().map(|file| file.display().to_string());
        let begins = |name: &String| {
            text.strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', ':']))
        };
        let Some(file) = names.filter(begins).max_by_key(String::len) else { return Position::default() };
        let rest = text.strip_prefix(file.as_str()).unwrap_or_default();
        let line = numbered(rest, " line ");
        let column = line.and_then(|(_, rest)| numbered(rest, " column "));
        // A profile's own mistakes begin with their line.
        let inside = || numbered(self.problem(), "line ");
        let line = line.or_else(|| self.place().and_then(|_| inside())).map(|(line, _)| line);
        Position { file: Some(file), line, column: column.map(|(column, _)| column) }
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
        if self.said.insert(error.to_string()) {
            self.list.push(Problem { severity, error });
        }
    }

    /// The value, or else the error in the list.
    pub(super) fn catch<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        result.map_err(|error| self.error(error)).ok()
    }

    /// Notes keys that are there, and wrong.
    pub(super) fn spoil(&mut self, spoiled: Spoiled) {
        self.spoiled.append(spoiled);
    }

    /// Whether the table that begins at `table` has this key, if perhaps by another name, and wrong.
    pub(super) fn is_spoiled(&self, table: usize, key: &str) -> bool {
        self.spoiled.has(table, key)
    }

    /// A file that is to be looked at next, be it there or not.
    pub(super) fn file(&mut self, path: PathBuf) {
        self.files.entry(path).or_insert_with_key(|path| Fingerprint::of(path));
    }

    /// Of what is described, what has to be there on this machine is looked for, too.
    pub(super) fn look_around(&mut self) {
        self.looks_around = true;
    }

    /// Whether this machine is looked at, too.
    pub(super) fn looks_around(&self) -> bool {
        self.looks_around
    }

    /// How many errors there are so far.
    pub(super) fn errors(&self) -> usize {
        self.list.iter().filter(|problem| problem.severity == Severity::Error).count()
    }

    /// Errors and warnings, those of one file in the order of its lines.
    pub(crate) fn sorted(&self) -> Vec<&Problem> {
        let mut list: Vec<_> = self.list.iter().collect();
        list.sort_by_cached_key(|problem| self.order(problem));
        list
    }

    /// File, line and column, to sort by; first what has no place.
    fn order(&self, problem: &Problem) -> (String, usize, usize) {
        let Position { file, line, column } = problem.position(self.files.keys());
        let file = file.or_else(|| problem.place().map(str::to_owned)).unwrap_or_default();
        (file, line.unwrap_or_default(), column.unwrap_or_default())
    }

    /// Every file that was looked at: what is missing today may be there tomorrow.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.keys()
    }

    /// The same, as they were before they were read.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.files.iter().map(|(path, content)| Seen { path: path.clone(), content: *content }).collect()
    }

    /// Errors and warnings, a line each; of very many the first, errors before warnings, and how many more there are. `all` says
    /// how to see them.
    pub(crate) fn complaints(&self, all: &str) -> String {
        let mut list = self.sorted();
        if list.len() > SHOWN {
            list.sort_by_key(|problem| problem.severity);
        }
        let (shown, hidden) = list.split_at(list.len().min(SHOWN));
        let mut text: String =
            shown.iter().map(|problem| format!("{}: {problem}\n", problem.severity.word())).collect();
        if let Some(first) = hidden.first() {
            text.push_str(&format!("{}: {} more; hint: {all}\n", first.severity.word(), hidden.len()));
        }
        text
    }

    /// Says every warning in the log.
    pub(crate) fn log_warnings(&self) {
        for problem in self.sorted() {
            if problem.severity == Severity::Warning {
                tracing::warn!("{problem}");
            }
        }
    }

    /// The same, where there has to be one.
    pub(crate) fn last(self) -> Error {
        self.into_error().unwrap_or_else(|| Error::new(Exit::Other, "the configuration came to nothing"))
    }

    /// Says every error but the last in the log, of very many the first; the last one ends the program. `None` if there is none.
    pub(crate) fn into_error(mut self) -> Option<Error> {
        self.list.retain(|problem| problem.severity == Severity::Error);
        let mut list = std::mem::take(&mut self.list);
        list.sort_by_cached_key(|problem| self.order(problem));
        let last = list.pop()?;
        for problem in list.iter().take(SHOWN) {
            tracing::error!("{problem}");
        }
        if let hidden @ 1.. = list.len().saturating_sub(SHOWN) {
            tracing::error!("{hidden} more");
        }
        Some(last.error)
    }
}

/// The number behind these words, with which the text begins, and what follows it.
fn numbered<'a>(text: &'a str, words: &str) -> Option<(usize, &'a str)> {
    let rest = text.strip_prefix(words)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, rest) = rest.split_at(end);
    Some((digits.parse().ok()?, rest))
}
