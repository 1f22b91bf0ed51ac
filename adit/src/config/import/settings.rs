//! The format of `swanctl.conf`: sections in braces, keys, references to other sections, files that are included.

use std::path::{Path, PathBuf};

use super::dirs::matching;
use crate::{
    config::{Problems, files::read},
    error::Error,
};

/// Files within files.
const MAX_DEPTH: usize = 10;
/// References within references.
const MAX_REFERENCES: usize = 6;
/// Sections within sections that are of any use: references may make more without an end.
const MAX_LEVELS: usize = 8;
/// Sections within sections.
const MAX_NESTING: usize = 50;

/// A section: its keys and sections, in the order in which they stand.
#[derive(Debug, Clone, Default)]
pub(super) struct Section {
    pub(super) keys: Vec<Key>,
    pub(super) sections: Vec<(String, Self)>,
    references: Vec<String>,
}

/// A key and its value; the place never shows the value.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) place: String,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.place)
    }
}

/// Reads a file and those it includes.
pub(super) fn load(path: &Path, bytes: &[u8], problems: &mut Problems) -> Option<Section> {
    let mut root = Section::default();
    let errors = problems.errors();
    parse(path, bytes, 0, &mut Vec::new(), &mut root, problems);
    (problems.errors() == errors).then(|| resolved(&root, &root, 0))
}

fn parse(
    path: &Path,
    bytes: &[u8],
    depth: usize,
    within: &mut Vec<String>,
    root: &mut Section,
    problems: &mut Problems,
) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let text = String::from_utf8_lossy(crate::config::files::without_mark(bytes)).into_owned();
    let mut tokens = Tokens { text: &text, at: 0, line: 1 };
    let base = within.len();
    while let Some((token, line)) = tokens.next() {
        let place = format!("{name} line {line}");
        match token {
            Token::Close if within.len() > base => {
                within.pop();
            }
            Token::Close => problems.error(Error::at(&place, "this brace closes nothing")),
            Token::Unterminated => problems.error(Error::at(&place, "a quotation mark is not closed")),
            Token::Open => problems.error(Error::at(&place, "a section has no name")),
            Token::Include(pattern) => include(path, &pattern, &place, depth, within, root, problems),
            Token::Key(key, value) => {
                let section = at(root, within);
                // The later one is right.
                section.keys.retain(|known| known.name != key);
                section.keys.push(Key { name: key, value, place });
            }
            Token::Section(name, references) => {
                if within.len() >= MAX_NESTING {
                    problems.error(Error::at(&place, "there are too many sections within sections"));
                    return;
                }
                within.push(name);
                at(root, within).references.extend(references);
            }
        }
    }
    if within.len() > base {
        let error = Error::at(&name, format!("the section `{}` is not closed", within.join(".").escape_debug()));
        problems.error(error.hint("add `}`"));
        within.truncate(base);
    }
}

fn include(
    path: &Path,
    pattern: &str,
    place: &str,
    depth: usize,
    within: &mut Vec<String>,
    root: &mut Section,
    problems: &mut Problems,
) {
    if depth >= MAX_DEPTH {
        problems.error(Error::at(place, "files include each other too deeply"));
        return;
    }
    let beside = path.parent().unwrap_or_else(|| Path::new(""));
    let files: Vec<PathBuf> = matching(&beside.join(pattern));
    for file in files {
        problems.file(file.clone());
        match read(&file) {
            Ok(bytes) => parse(&file, &bytes, depth + 1, within, root, problems),
            Err(error) => {
                problems.error(Error::at(place, format!("cannot read {}: {error}", file.display())));
            }
        }
    }
}

/// The section with this path, made if it is not there.
fn at<'a>(root: &'a mut Section, path: &[String]) -> &'a mut Section {
    path.iter().fold(root, |section, name| {
        let index = section.sections.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            section.sections.push((name.clone(), Section::default()));
            section.sections.len() - 1
        });
        &mut section.sections[index].1
    })
}

/// With everything that the sections it refers to have, and it has not.
fn resolved(section: &Section, root: &Section, level: usize) -> Section {
    let mut made = flattened(section, root, 0);
    // A key with nothing behind it is as if it stood nowhere, neither here nor in what is referred to.
    made.keys.retain(|key| !key.value.is_empty());
    let sections = std::mem::take(&mut made.sections);
    if level < MAX_LEVELS {
        made.sections = sections.into_iter().map(|(name, inner)| (name, resolved(&inner, root, level + 1))).collect();
    }
    made
}

/// A section with what it refers to.
fn flattened(section: &Section, root: &Section, depth: usize) -> Section {
    let mut made = Section { references: Vec::new(), ..section.clone() };
    if depth < MAX_REFERENCES {
        for reference in &section.references {
            if let Some(referred) = find(root, reference) {
                merge(&mut made, &flattened(referred, root, depth + 1));
            }
        }
    }
    made
}

/// Adds what is missing.
fn merge(own: &mut Section, other: &Section) {
    for key in &other.keys {
        if !own.keys.iter().any(|known| known.name == key.name) {
            own.keys.push(key.clone());
        }
    }
    for (name, section) in &other.sections {
        match own.sections.iter_mut().find(|(known, _)| known == name) {
            Some((_, inner)) => merge(inner, section),
            None => own.sections.push((name.clone(), section.clone())),
        }
    }
    own.references.extend(other.references.iter().cloned());
}

fn find<'a>(root: &'a Section, path: &str) -> Option<&'a Section> {
    path.split('.').try_fold(root, |section, name| section.section(name))
}

impl Section {
    pub(super) fn section(&self, name: &str) -> Option<&Self> {
        self.sections.iter().find(|(known, _)| known == name).map(|(_, section)| section)
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.keys.iter().find(|key| key.name == name).map(|key| key.value.as_str())
    }
}

enum Token {
    Key(String, String),
    Section(String, Vec<String>),
    Include(String),
    Open,
    Close,
    Unterminated,
}

struct Tokens<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl Tokens<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip(&mut self, bytes: usize) -> String {
        let taken = self.rest().get(..bytes).unwrap_or_default().to_owned();
        self.line += taken.matches('\n').count();
        self.at += bytes;
        taken
    }

    /// White space and comments.
    fn blank(&mut self, lines: bool) {
        loop {
            let rest = self.rest();
            let length = match rest.chars().next() {
                Some('#') => rest.find('\n').unwrap_or(rest.len()),
                Some('\n') if !lines => return,
                Some(letter) if letter.is_whitespace() => letter.len_utf8(),
                _ => return,
            };
            self.skip(length);
        }
    }

    /// The next token, and the line it begins in.
    fn next(&mut self) -> Option<(Token, usize)> {
        self.blank(true);
        let line = self.line;
        let rest = self.rest();
        let first = rest.chars().next()?;
        if first == '{' || first == '}' {
            self.skip(1);
            return Some((if first == '{' { Token::Open } else { Token::Close }, line));
        }
        let end = rest.find(['=', '{', '}', '\n', '#', ':']).unwrap_or(rest.len());
        let head = rest.get(..end).unwrap_or_default().trim();
        if let Some(pattern) = head.strip_prefix("include").filter(|rest| rest.starts_with([' ', '\t', '"'])) {
            // A pattern may have a colon or a mark of its own.
            let length = rest.find('\n').unwrap_or(rest.len());
            let whole = rest.get(..length).unwrap_or_default().trim_start_matches("include").trim();
            let pattern = if whole.is_empty() { pattern } else { whole };
            let pattern = pattern.trim_matches('"').to_owned();
            self.skip(length);
            return Some((Token::Include(pattern), line));
        }
        let head = head.to_owned();
        match rest.get(end..).and_then(|rest| rest.chars().next()) {
            Some('=') => {
                self.skip(end + 1);
                match self.value() {
                    Some(value) => Some((Token::Key(head, value), line)),
                    None => Some((Token::Unterminated, line)),
                }
            }
            Some(':') => {
                let (references, length) = {
                    let after = rest.get(end + 1..).unwrap_or_default();
                    let length = after.find(['{', '\n']).unwrap_or(after.len());
                    (after.get(..length).unwrap_or_default().to_owned(), end + 1 + length)
                };
                self.skip(length);
                self.opened(head, references.split(',').map(|name| name.trim().to_owned()).collect(), line)
            }
            // A name alone: its brace may stand in the next line.
            _ => {
                self.skip(end);
                self.opened(head, Vec::new(), line)
            }
        }
    }

    fn opened(&mut self, name: String, references: Vec<String>, line: usize) -> Option<(Token, usize)> {
        self.blank(true);
        if self.rest().starts_with('{') {
            self.skip(1);
            return Some((Token::Section(name, references), line));
        }
        // A word without a value: as an empty one.
        Some((Token::Key(name, String::new()), line))
    }

    /// A value, quoted or not; `None` if its quotation mark is not closed.
    fn value(&mut self) -> Option<String> {
        self.blank(false);
        if !self.rest().starts_with('"') {
            let rest = self.rest();
            let length = rest.find(['\n', '#', '}']).unwrap_or(rest.len());
            return Some(self.skip(length).trim().to_owned());
        }
        self.skip(1);
        let mut value = String::new();
        let mut escaped = false;
        let mut length = 0;
        for letter in self.rest().chars() {
            length += letter.len_utf8();
            match (escaped, letter) {
                (false, '"') => {
                    self.skip(length);
                    return Some(value);
                }
                (false, '\\') => {
                    escaped = true;
                    continue;
                }
                (true, 'n') => value.push('\n'),
                (true, 't') => value.push('\t'),
                (true, 'r') => value.push('\r'),
                // A line that goes on in the next.
                (true, '\n') => {}
                (_, letter) => value.push(letter),
            }
            escaped = false;
        }
        self.skip(length);
        None
    }
}
