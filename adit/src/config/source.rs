//! The text of a TOML file: its tables by name, and where in it things stand.

use std::{
    collections::BTreeMap,
    fmt,
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

/// `{ file = "…" }` or `{ env = "…" }`: no secret stands in the file itself.
#[derive(Deserialize)]
pub(super) enum SecretTable {
    #[serde(rename = "file")]
    File(PathBuf),
    #[serde(rename = "env")]
    Variable(String),
}

impl Source {
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let bytes = read(path).map_err(|error| Error::new(Exit::Usage, format!("cannot read {name}: {error}")))?;
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
        let protocol = match protocol.get_ref().as_str() {
            Some("ikev2") => Protocol::Ikev2,
            Some("openvpn") => Protocol::OpenVpn,
            Some(_) | None => {
                let error = self.wrong(&protocol.span(), "this protocol is unknown");
                return Err(error.hint("write `protocol = \"ikev2\"` or `protocol = \"openvpn\"`"));
            }
        };
        Ok(RawTable { name, protocol, span, table, section })
    }

    /// Checks the keys of a table, and reads it. Each key of `needed` must be there; what to add comes with it.
    pub(super) fn checked<T: DeserializeOwned>(
        &self,
        mut raw: RawTable<'_>,
        keys: &[(&str, Kind)],
        needed: &[(&str, &str)],
    ) -> Result<T, Error> {
        schema::check(&mut raw.table, keys, "", raw.section.manner).map_err(|mistake| self.mistake(mistake))?;
        if let Some((key, example)) = needed.iter().find(|(key, _)| !raw.table.contains_key(*key)) {
            let problem = format!("the {} `{}` has no `{key}`", raw.section.what, raw.name);
            return Err(self.wrong(&raw.span, problem).hint(format!("add {example}")));
        }
        let deserializer = ValueDeserializer::from(Spanned::new(raw.span, DeValue::Table(raw.table)));
        T::deserialize(deserializer).map_err(|error| self.error(&error))
    }

    pub(super) fn place(&self, span: &Range<usize>) -> String {
        let line = self.text.get(..span.start).unwrap_or(&self.text).matches('\n').count() + 1;
        format!("{} line {line}", self.name)
    }

    fn wrong(&self, span: &Range<usize>, problem: impl fmt::Display) -> Error {
        Error::new(Exit::Usage, format!("{}: {problem}", self.place(span)))
    }

    fn mistake(&self, mistake: schema::Mistake) -> Error {
        self.wrong(&mistake.span, mistake.problem).hint(mistake.hint)
    }

    /// The parser's message never quotes the line: it may hold a secret.
    fn error(&self, error: &toml::de::Error) -> Error {
        match error.span() {
            Some(span) => self.wrong(&span, error.message()),
            None => Error::new(Exit::Usage, format!("{}: {}", self.name, error.message())),
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
        };
        Given::new(source, place)
    }
}
