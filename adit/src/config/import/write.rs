//! Writing what was imported: the TOML file, and files for what was inside of the old one.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use super::{Import, Value};
use crate::error::{Error, Exit};

impl Import {
    /// Writes the new file and those beside it, none of which may be there yet; their names.
    ///
    /// # Errors
    /// One that cannot be written, or is there already.
    pub(crate) fn write(&self, out: &Path) -> Result<Vec<PathBuf>, Error> {
        let beside = out.parent().unwrap_or_else(|| Path::new(""));
        let mut paths = vec![out.to_owned()];
        paths.extend(self.files.iter().map(|file| beside.join(&file.name)));
        if let Some(path) = paths.iter().find(|path| path.symlink_metadata().is_ok()) {
            let error = Error::new(Exit::Usage, format!("{} is there already", path.display()));
            return Err(error.hint("move it away, or write into another directory: `-o DIRECTORY/NAME.toml`"));
        }
        let failed = |path: &Path, error: io::Error| {
            Error::new(Exit::Usage, format!("cannot write {}: {error}", path.display()))
        };
        for (file, path) in self.files.iter().zip(&paths[1..]) {
            create(path, file.content.expose()).map_err(|error| failed(path, error))?;
        }
        create(out, self.text(Some(out)).as_bytes()).map_err(|error| failed(out, error))?;
        Ok(paths)
    }

    /// The new file. `out` is where it goes; without, it is for standard output, and names the files that are to be made.
    pub(crate) fn text(&self, out: Option<&Path>) -> String {
        let mut text = String::new();
        let name = self.source.file_name().unwrap_or_default().to_string_lossy();
        line(&mut text, &format!("# Made from {} by `adit import`.", one_line(&name)));
        if !self.losses.is_empty() {
            line(&mut text, "#\n# Not taken over:");
            for loss in &self.losses {
                line(&mut text, &format!("#   {}", one_line(loss)));
            }
        }
        if out.is_none() && !self.files.is_empty() {
            line(
                &mut text,
                "#\n# Files to make beside this one, for its owner alone (mode 0600); `adit import -o FILE` makes them:",
            );
            for file in &self.files {
                line(&mut text, &format!("#   {}: {}", file.name, one_line(&file.what)));
            }
        }
        for made in &self.connections {
            text.push('\n');
            for note in &made.notes {
                line(&mut text, &format!("# {}", one_line(note)));
            }
            line(&mut text, &format!("[connection.{}]", key(&made.name)));
            for (key, value) in &made.keys {
                line(&mut text, &format!("{key} = {}", written(value, out)));
            }
        }
        text
    }
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// For its owner alone, and never in place of another.
fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(content)
}

fn written(value: &Value, out: Option<&Path>) -> String {
    match value {
        Value::Text(text) | Value::NewFile(text) => quoted(text),
        Value::Texts(texts) | Value::NewFiles(texts) => list(texts.iter().map(|text| quoted(text))),
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::Path(path) => quoted(&shown(path, out)),
        Value::Paths(paths) => list(paths.iter().map(|path| quoted(&shown(path, out)))),
        Value::NewSecret(name) => format!("{{ file = {} }}", quoted(name)),
        Value::Toml(text) => text.clone(),
    }
}

fn list(values: impl Iterator<Item = String>) -> String {
    format!("[{}]", values.collect::<Vec<_>>().join(", "))
}

/// A path as the new file can name it: beside it, or from the root.
fn shown(path: &Path, out: Option<&Path>) -> String {
    let full = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let beside = out.and_then(|out| std::path::absolute(out).ok()).and_then(|out| out.parent().map(Path::to_owned));
    let shown = beside.and_then(|beside| full.strip_prefix(beside).map(Path::to_owned).ok()).unwrap_or(full);
    shown.to_string_lossy().into_owned()
}

pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(letter))),
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

fn key(name: &str) -> String {
    let bare =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if bare { name.to_owned() } else { quoted(name) }
}

/// A comment stays on its line.
fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// A name that needs no quotation marks anywhere, and leads to no other directory.
pub(super) fn file_name(name: &str) -> String {
    let safe = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let name: String = name.chars().map(|letter| if safe(letter) { letter } else { '-' }).collect();
    name.trim_start_matches('.').to_owned()
}
