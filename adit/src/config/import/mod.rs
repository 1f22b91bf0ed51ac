//! `adit import`: what other programs are configured with, as a TOML file of connections.
//!
//! Every key is either taken over or named in a comment with the reason why not; a comment never holds a value, as it may be a
//! secret. Secrets and certificates that are inside of a file become files of their own.

mod dirs;
mod ike;
mod ipsec;
mod profiles;
mod settings;
mod swanctl;
mod trust;
mod write;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use adit_tunnel::Secret;

use super::{
    Kind, Problems, Questions,
    files::{is_utf16, without_mark},
    ovpn,
    reading::Reading,
    unknown_extension,
};
use crate::error::{Error, Exit};

/// What was understood of a file, and what was not.
#[derive(Default)]
pub(crate) struct Import {
    /// What it was made from.
    source: PathBuf,
    connections: Vec<Made>,
    losses: Vec<String>,
    files: Vec<NewFile>,
}

/// A connection of the new file.
#[derive(Default)]
struct Made {
    name: String,
    /// What somebody has to know of it.
    notes: Vec<String>,
    keys: Vec<(&'static str, Value)>,
}

enum Value {
    Text(String),
    Texts(Vec<String>),
    Number(i64),
    Flag(bool),
    /// Files that are there already.
    Path(PathBuf),
    Paths(Vec<PathBuf>),
    /// A file that is made, by its name, and a secret in it.
    NewFile(String),
    NewFiles(Vec<String>),
    NewSecret(String),
    /// As it is to be written.
    Toml(String),
}

/// Something that was inside of the file, and has to be a file of its own.
struct NewFile {
    name: String,
    /// What it is, with its article, and where it was.
    what: String,
    content: Secret,
}

impl Import {
    /// Reads a file of any kind that is known. `name` is that of its connection, where there is one.
    ///
    /// # Errors
    /// Everything that makes it unusable, at once.
    pub(crate) fn read(path: &Path, name: Option<&str>) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let import = Self::understand(path, name, &mut problems);
        import.filter(|_| problems.errors() == 0).ok_or(problems)
    }

    fn understand(path: &Path, name: Option<&str>, problems: &mut Problems) -> Option<Self> {
        let questions = Questions::noted();
        let mut reading = Reading::new(&questions, "", problems);
        let bytes = reading
            .file(path)
            .map_err(|error| Error::new(Exit::Usage, format!("cannot read {}: {error}", path.display())));
        let bytes = reading.problems.catch(bytes)?;
        let mut import = Self { source: path.to_owned(), ..Self::default() };
        if is_utf16(&bytes) {
            let error = Error::new(Exit::Usage, format!("{}: it is UTF-16", path.display()));
            problems.error(error.hint("save it as UTF-8"));
            return None;
        }
        match sort(path, &bytes) {
            Some(Sort::Sswan) => profiles::sswan(path, &bytes, &mut import, reading.problems)?,
            Some(Sort::Ovpn) => profiles::ovpn(path, &bytes, &mut import, &mut reading)?,
            Some(Sort::Swanctl) => swanctl::import(path, &bytes, &mut import, reading.problems)?,
            Some(Sort::Ipsec) => ipsec::import(path, &bytes, &mut import, reading.problems)?,
            Some(Sort::Toml) => {
                let error =
                    Error::new(Exit::Usage, format!("{}: this is a TOML file of connections already", path.display()));
                problems.error(error.hint("`adit check` says whether it can be used"));
                return None;
            }
            Some(Sort::WireGuard) => {
                problems.error(ovpn::wireguard(path));
                return None;
            }
            None => {
                problems.error(unknown_extension(path));
                return None;
            }
        }
        match (name, &mut import.connections[..]) {
            (_, []) => {
                let problem = format!("{}: there is no connection in it that could be taken over", path.display());
                let hint = import.losses.first().map_or("is it the right file?", |loss| loss.as_str());
                problems.error(Error::new(Exit::Usage, problem).hint(hint));
                return None;
            }
            (Some(name), [one]) => one.name = name.to_owned(),
            (Some(_), several) => {
                let names: Vec<_> = several.iter().map(|made| format!("`{}`", made.name)).collect();
                let problem = format!("{}: there are several connections in it: {}", path.display(), names.join(", "));
                problems.error(Error::new(Exit::Usage, problem).hint("leave --name away; they keep their names"));
                return None;
            }
            (None, _) => {}
        }
        Some(import)
    }

    /// A key that has no equivalent. `why` says what becomes of it.
    fn lose(&mut self, place: impl fmt::Display, key: impl fmt::Display, why: impl fmt::Display) {
        let loss = format!("{place}: `{key}`: {why}");
        if !self.losses.contains(&loss) {
            self.losses.push(loss);
        }
    }

    /// A file of its own for something that was inside; its name.
    fn new_file(&mut self, name: String, what: String, content: Secret) -> String {
        let name = write::file_name(&name);
        if !self.files.iter().any(|file| file.name == name) {
            self.files.push(NewFile { name: name.clone(), what, content });
        }
        name
    }
}

impl Made {
    fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    fn set(&mut self, key: &'static str, value: Value) {
        self.keys.retain(|(known, _)| *known != key);
        self.keys.push((key, value));
    }

    fn text(&mut self, key: &'static str, text: impl Into<String>) {
        self.set(key, Value::Text(text.into()));
    }

    fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Sswan,
    Ovpn,
    Swanctl,
    Ipsec,
    Toml,
    WireGuard,
}

/// By the end of the name, or, as `.conf` may be many things, by what is in it, or by the rest of the name and where it stands.
fn sort(path: &Path, bytes: &[u8]) -> Option<Sort> {
    match Kind::of(path)? {
        Kind::Toml => return Some(Sort::Toml),
        Kind::Sswan => return Some(Sort::Sswan),
        Kind::Ovpn => {}
    }
    let text = String::from_utf8_lossy(without_mark(bytes));
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let section = |line: &str, word: &str| {
        line.strip_prefix(word).map(str::trim_start).is_some_and(|rest| rest.is_empty() || rest.starts_with(['{', ':']))
    };
    if ovpn::is_wireguard(&text) {
        return Some(Sort::WireGuard);
    }
    for line in lines() {
        if ["connections", "secrets", "authorities", "pools"].iter().any(|word| section(line, word)) {
            return Some(Sort::Swanctl);
        }
        let mut words = line.split_whitespace();
        if matches!(
            (words.next(), words.next(), words.next()),
            (Some("conn"), Some(_), None) | (Some("config"), Some("setup"), None)
        ) {
            return Some(Sort::Ipsec);
        }
    }
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_lowercase();
    let directory = |wanted: &str| path.ancestors().skip(1).take(2).any(|parent| parent.ends_with(wanted));
    let is_conf = name.ends_with(".conf");
    // Where something is wrong in it, it is told what is wrong in such a file, and not in another.
    Some(match () {
        () if name.ends_with("swanctl.conf") || is_conf && directory("swanctl") => Sort::Swanctl,
        () if name.ends_with("ipsec.conf") || is_conf && directory("ipsec.d") => Sort::Ipsec,
        () if lines().next().is_some_and(|line| line.starts_with('{')) => Sort::Sswan,
        // No directive of a profile ends in a brace.
        () if is_conf && lines().any(|line| line == "}" || line.ends_with('{')) => Sort::Swanctl,
        () => Sort::Ovpn,
    })
}
