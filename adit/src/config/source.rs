//! The text of a TOML file: its tables by name, and where in it things stand.

use std::{
    collections::BTreeMap,
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
    schema::{self, Kind, Manner},
};
use crate::error::{Error, Exit};

/// A file, for errors about it and for what stands beside it.
pub(super) struct Source {
    name: String,
    text: String,
    beside: PathBuf,
}

/// What the tables of a file describe.
pub(super) struct Section {
    /// The first part of their names.
    pub(super) key: &'static str,
    pub(super) what: &'static str,
    pub(super) manner: &'static Manner,
}

/// Which protocol a table is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Ikev2,
    OpenVpn,
}

/// A table, with its name and without its protocol, before its keys are looked at.
pub(super) struct RawTable<'a> {
    pub(super) name: &'a str,
    pub(super) protocol: Protocol,
    span: Range<usize>,
    table: DeTable<'a>,
    section: &'static Section,
}

/// `{ file = "…" }`, `{ env = "…" }` or `{ credential = "…" }`, or `"file:…"` and so on: no secret stands in the file itself.
#[derive(Deserialize)]
#[serde(from = "SecretForm")]
pub(super) enum SecretTable {
    File(PathBuf),
    Variable(String),
    Credential(String),
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
        Ok(Self { name, text, beside: path.parent().unwrap_or_else(|| Path::new("")).to_owned() })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Every table of the section, each made into something; there may be no other section.
    pub(super) fn tables<T>(
        &self,
        section: &'static Section,
        make: impl Fn(RawTable<'_>) -> Result<T, Error>,
    ) -> Result<BTreeMap<String, (Range<usize>, T)>, Error> {
        let Section { key: wanted, what, .. } = section;
        let file = DeTable::parse(&self.text).map_err(|error| self.error(&error))?;
        let mut tables = BTreeMap::new();
        for (key, value) in file.into_inner() {
            if key.get_ref() != wanted {
                let problem = format!("unknown table `{}`", key.get_ref());
                let hint = format!("{what}s are described in [{wanted}.NAME]");
                return Err(self.wrong(&key.span(), problem).hint(hint));
            }
            let span = value.span();
            let DeValue::Table(named) = value.into_inner() else {
                let error = self.wrong(&span, format!("`{wanted}` is no table"));
                return Err(error.hint(format!("write [{wanted}.NAME]")));
            };
            for (name, table) in named {
                let made = make(self.raw(section, name.get_ref(), table)?)?;
                tables.insert(name.get_ref().to_string(), (name.span(), made));
            }
        }
        Ok(tables)
    }

    fn raw<'a>(
        &self,
        section: &'static Section,
        name: &'a str,
        value: Spanned<DeValue<'a>>,
    ) -> Result<RawTable<'a>, Error> {
        let span = value.span();
        let what = section.what;
        let DeValue::Table(mut table) = value.into_inner() else {
            let error = self.wrong(&span, format!("`{name}` is no {what}"));
            return Err(error.hint(format!("write [{}.NAME]", section.key)));
        };
        let Some(protocol) = table.remove("protocol") else {
            let error = self.wrong(&span, format!("the {what} `{name}` has no `protocol`"));
            return Err(error.hint("add `protocol = \"ikev2\"` or `protocol = \"openvpn\"`"));
        };
        let protocol = self.protocol(&protocol)?;
        Ok(RawTable { name, protocol, span, table, section })
    }

    pub(super) fn protocol(&self, value: &Spanned<DeValue<'_>>) -> Result<Protocol, Error> {
        match value.get_ref().as_str() {
            Some("ikev2") => Ok(Protocol::Ikev2),
            Some("openvpn") => Ok(Protocol::OpenVpn),
            Some(_) | None => {
                let error = self.wrong(&value.span(), "this protocol is unknown");
                Err(error.hint("write `protocol = \"ikev2\"` or `protocol = \"openvpn\"`"))
            }
        }
    }

    /// Checks the keys of a table, and reads it. Each key of `needed` must be there; what to add comes with it.
    pub(super) fn checked<T: DeserializeOwned>(
        &self,
        mut raw: RawTable<'_>,
        keys: &[(&str, Kind)],
        needed: &[(&str, &str)],
    ) -> Result<T, Error> {
        let mut mistakes = Vec::new();
        schema::check(&mut raw.table, keys, "", raw.section.manner, &mut mistakes);
        if let Some(mistake) = mistakes.into_iter().next() {
            return Err(self.mistake(mistake));
        }
        if let Some((key, example)) = needed.iter().find(|(key, _)| !raw.table.contains_key(*key)) {
            let problem = format!("the {} `{}` has no `{key}`", raw.section.what, raw.name);
            return Err(self.wrong(&raw.span, problem).hint(format!("add {example}")));
        }
        self.deserialized(Spanned::new(raw.span, DeValue::Table(raw.table)))
    }

    /// Reads a value whose keys were checked.
    pub(super) fn deserialized<T: DeserializeOwned>(&self, value: Spanned<DeValue<'_>>) -> Result<T, Error> {
        T::deserialize(ValueDeserializer::from(value)).map_err(|error| self.error(&error))
    }

    /// The file as a table, and what is wrong with its syntax: then the table has what could be understood.
    pub(super) fn document(&self) -> (DeTable<'_>, Vec<Error>) {
        let (table, errors) = DeTable::parse_recoverable(&self.text);
        (table.into_inner(), errors.iter().map(|error| self.error(error)).collect())
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
