//! The text of a TOML file: its tables by name, and where in it things stand.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    io::ErrorKind,
    ops::Range,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

use super::{
    draft::Given,
    files::{Content, SecretSource, read},
    problems::Problems,
    schema,
    unclosed::{self, Unclosed},
};
use crate::error::{Error, Exit};

/// A file, for errors about it and for what stands beside it.
pub(super) struct Source {
    name: String,
    text: String,
    /// What was closed in the text to understand the rest.
    unclosed: Vec<Unclosed>,
    beside: PathBuf,
}

/// Which protocol a table is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Ikev2,
    OpenVpn,
}

/// `{ file = "…" }`, `{ env = "…" }` or `{ credential = "…" }`, or `"file:…"` and so on: no secret stands in the file itself.
#[derive(Deserialize)]
#[serde(from = "SecretForm")]
pub(super) enum SecretTable {
    File(PathBuf),
    Variable(String),
    Credential(String),
}

impl SecretTable {
    /// The file it is in, unless that is one of systemd's, which sees to it itself.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Variable(_) | Self::Credential(_) => None,
        }
    }
}

/// As it is written.
#[derive(Deserialize)]
#[serde(untagged)]
enum SecretForm {
    Text(String),
    Table(BTreeMap<String, String>),
}

impl From<SecretForm> for SecretTable {
    fn from(form: SecretForm) -> Self {
        // The schema has seen to it that there is one place, of those that are known.
        let (place, name) = match form {
            SecretForm::Text(text) => text.split_once(':').map(|(a, b)| (a.to_owned(), b.to_owned())),
            SecretForm::Table(table) => table.into_iter().next(),
        }
        .unwrap_or_default();
        match place.as_str() {
            "env" => Self::Variable(name),
            "credential" => Self::Credential(name),
            _ => Self::File(name.into()),
        }
    }
}

impl Source {
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let bytes = read(path).map_err(|error| {
            let failed = Error::new(Exit::Usage, format!("cannot read {name}: {error}"));
            if error.kind() != ErrorKind::NotFound {
                return failed;
            }
            failed.hint("name a file that is there; `adit import PROFILE` makes one of a profile")
        })?;
        let text =
            String::from_utf8(bytes).map_err(|_| Error::new(Exit::Usage, format!("{name}: this is not UTF-8")))?;
        let (text, unclosed) = match DeTable::parse(&text) {
            Ok(_) => (text, Vec::new()),
            Err(_) => unclosed::close(&text),
        };
        Ok(Self { name, text, unclosed, beside: path.parent().unwrap_or_else(|| Path::new("")).to_owned() })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Which protocol is said; of an unknown one, that is in the list of problems, the one that was probably meant: then other
    /// mistakes can be told, too.
    pub(super) fn protocol(&self, value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<Protocol> {
        let known = |text: &str| match text {
            "ikev2" => Some(Protocol::Ikev2),
            "openvpn" => Some(Protocol::OpenVpn),
            _ => None,
        };
        let text = value.get_ref().as_str();
        if let Some(protocol) = text.and_then(known) {
            return Some(protocol);
        }
        let meant = text.and_then(|text| schema::nearest(&text.to_lowercase(), ["ikev2", "openvpn"]));
        let error = self.wrong(&value.span(), "this protocol is unknown");
        problems.error(match meant {
            Some(meant) => error.hint(format!("did you mean `protocol = \"{meant}\"`?")),
            None => error.hint("write `protocol = \"ikev2\"` or `protocol = \"openvpn\"`"),
        });
        meant.and_then(known)
    }

    /// Reads a value whose keys were checked.
    pub(super) fn deserialized<T: DeserializeOwned>(&self, value: Spanned<DeValue<'_>>) -> Result<T, Error> {
        T::deserialize(ValueDeserializer::from(value)).map_err(|error| self.error(&error))
    }

    /// The file as a table, and what is wrong with its syntax: then the table has what could be understood.
    pub(super) fn document(&self) -> (DeTable<'_>, Vec<Error>) {
        let (table, errors) = DeTable::parse_recoverable(&self.text);
        let unclosed = self.unclosed.iter().map(|unclosed| {
            let hint = format!("close it with `{}`", unclosed.closing);
            (unclosed.at, self.wrong(&(unclosed.at..unclosed.at), unclosed.problem()).hint(hint))
        });
        let errors = errors.iter().map(|error| (error.span().unwrap_or_default().start, self.error(error)));
        // Of what the parser makes of the rest of a line, the first is the cause.
        let mut lines = BTreeSet::new();
        let first = unclosed.chain(errors).filter(|(at, _)| lines.insert(self.line(*at)));
        (table.into_inner(), first.map(|(_, error)| error).collect())
    }

    /// The number of the line at this byte.
    fn line(&self, at: usize) -> usize {
        self.text.get(..at).unwrap_or(&self.text).matches('\n').count() + 1
    }

    /// Where each key stands.
    pub(super) fn keys(&self) -> Keys {
        let (table, _) = self.document();
        let mut keys = Keys { text: self.text.clone(), spans: Vec::new() };
        keys.table("", &table);
        keys
    }

    pub(super) fn place(&self, span: &Range<usize>) -> String {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
        format!("{} line {line} column {column}", self.name)
    }

    pub(super) fn wrong(&self, span: &Range<usize>, problem: impl fmt::Display) -> Error {
        Error::at(&self.place(span), problem)
    }

    pub(super) fn mistake(&self, mistake: schema::Mistake) -> Error {
        self.wrong(&mistake.span, mistake.problem).hint(mistake.hint)
    }

    /// The parser's message never quotes the line: it may hold a secret.
    fn error(&self, error: &toml::de::Error) -> Error {
        match error.span() {
            Some(span) => self.wrong(&span, error.message()),
            None => Error::at(&self.name, error.message()),
        }
    }

    pub(super) fn given<T>(&self, value: Spanned<T>) -> Given<T> {
        let place = self.place(&value.span());
        Given::new(value.into_inner(), place)
    }

    pub(super) fn file(&self, path: Spanned<PathBuf>) -> Given<Content> {
        let Given { value, place } = self.given(path);
        Given::new(Content::File(self.beside.join(value)), place)
    }

    pub(super) fn files(&self, paths: Vec<Spanned<PathBuf>>) -> Vec<Given<Content>> {
        paths.into_iter().map(|path| self.file(path)).collect()
    }

    pub(super) fn beside(&self, path: &Path) -> PathBuf {
        self.beside.join(path)
    }

    pub(super) fn secret(&self, secret: Spanned<SecretTable>) -> Given<SecretSource> {
        let Given { value, place } = self.given(secret);
        let source = match value {
            SecretTable::File(path) => SecretSource::File(self.beside.join(path)),
            SecretTable::Variable(name) => SecretSource::Variable(name),
            SecretTable::Credential(name) => SecretSource::Credential(name),
        };
        Given::new(source, place)
    }
}

/// Where each key of a file stands, with its whole name, such as `connection.office.forward[0].listen`.
#[derive(Debug, Default)]
pub(super) struct Keys {
    text: String,
    /// The span of a key or of its value; what is inside of another comes after it.
    spans: Vec<(Range<usize>, String)>,
}

impl Keys {
    /// The innermost key at a place; lines and columns begin at 1, columns are letters.
    pub(super) fn at(&self, line: usize, column: usize) -> Option<&str> {
        let before: usize = self.text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
        let within = self.text.get(before..)?.chars().take(column.checked_sub(1)?).map(char::len_utf8).sum::<usize>();
        let at = before + within;
        let covers = |span: &Range<usize>| span.contains(&at) || span.start == at;
        self.spans.iter().rev().find(|(span, _)| covers(span)).map(|(_, key)| key.as_str())
    }

    fn table(&mut self, within: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = format!("{within}{}", key.get_ref());
            self.spans.push((key.span(), name.clone()));
            self.value(name, value);
        }
    }

    fn value(&mut self, name: String, value: &Spanned<DeValue<'_>>) {
        self.spans.push((value.span(), name.clone()));
        match value.get_ref() {
            DeValue::Table(table) => self.table(&format!("{name}."), table),
            DeValue::Array(values) => {
                for (index, value) in values.iter().enumerate() {
                    self.value(format!("{name}[{index}]"), value);
                }
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }
}
