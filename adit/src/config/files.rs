//! Reading files, and the secrets that are in them, in the environment, or in somebody's head.

use std::{
    env,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use adit_tunnel::Secret;
use zeroize::Zeroizing;

use crate::error::{Error, Exit};

/// Profiles, keys, certificates and lists are smaller than this; what is larger is something else.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// Where systemd puts the credentials of a unit.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// What they are beneath where there are none.
const NO_CREDENTIALS: &str = "$CREDENTIALS_DIRECTORY";
/// What makes them be there.
pub(super) const LOAD_CREDENTIAL: &str = "systemd sets it for a unit with `LoadCredential=NAME:/path`";
/// How often a wrong passphrase, or an empty answer, may be typed.
pub(super) const ATTEMPTS: u32 = 3;

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SecretSource {
    /// In the first line of this file.
    File(PathBuf),
    /// In this variable of the environment.
    Variable(String),
    /// In the first line of this file of `$CREDENTIALS_DIRECTORY`: systemd put it there (`LoadCredential=`).
    Credential(String),
    /// Here.
    Value(Secret),
}

/// A file, or what would be in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// To be read.
    File(PathBuf),
    /// Never in a file of its own.
    Bytes(Secret),
    /// Read from this file already.
    Read(PathBuf, Secret),
}

impl SecretSource {
    /// Fetches it. `what` names it, with its article.
    pub(super) fn read(&self, what: &str) -> Result<Secret, Error> {
        match self {
            Self::File(path) => lines(path)?.next_line(what, &format!("its first line has to be {what}")),
            Self::Variable(name) => match env::var_os(name) {
                Some(value) => {
                    let value = Zeroizing::new(value.into_encoded_bytes());
                    let line = value.strip_suffix(b"\n").unwrap_or(&value);
                    let line = line.strip_suffix(b"\r").unwrap_or(line);
                    if line.is_empty() {
                        let error = format!("the variable {name} is empty; it has to be {what}");
                        return Err(Error::new(Exit::Usage, error));
                    }
                    Ok(Secret::new(line))
                }
                None => {
                    let error = Error::new(Exit::Usage, format!("the variable {name} is not set; it has to be {what}"));
                    Err(error.hint(format!("set {name} in the environment, or name a file instead")))
                }
            },
            Self::Credential(name) => {
                let path = credential(name)?;
                lines(&path)?.next_line(what, &format!("its first line has to be {what}"))
            }
            Self::Value(secret) => Ok(secret.clone()),
        }
    }
}

/// The file of a credential of systemd.
pub(super) fn credential(name: &str) -> Result<PathBuf, Error> {
    if name.contains('/') || name == ".." {
        return Err(Error::new(Exit::Usage, format!("the credential `{name}` is a name, not a path")));
    }
    match env::var_os(CREDENTIALS) {
        Some(directory) => Ok(Path::new(&directory).join(name)),
        None => {
            let error = format!("the credential `{name}` is not there: {CREDENTIALS} is not set");
            let hint = format!("systemd sets it for a unit with `LoadCredential={name}:/path`");
            Err(Error::new(Exit::Usage, error).hint(hint))
        }
    }
}

/// The same for what is a whole file. Where there is none, a path that says what is missing, and cannot be read.
pub(super) fn credential_file(name: &str) -> PathBuf {
    credential(name).unwrap_or_else(|_| Path::new(NO_CREDENTIALS).join(name))
}

pub(super) fn is_no_credential(path: &Path) -> bool {
    path.starts_with(NO_CREDENTIALS)
}

impl Content {
    pub(super) fn read(&self) -> Result<Secret, Error> {
        match self {
            Self::File(path) => match read(path) {
                Ok(bytes) => Ok(Secret::new(bytes)),
                Err(error) => {
                    let failed = Error::new(Exit::Usage, format!("cannot read {}: {error}", path.display()));
                    Err(if is_no_credential(path) { failed.hint(LOAD_CREDENTIAL) } else { failed })
                }
            },
            Self::Bytes(bytes) | Self::Read(_, bytes) => Ok(bytes.clone()),
        }
    }

    /// What to call it in an error.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File(path) | Self::Read(path, _) => format!("{}: ", path.display()),
            Self::Bytes(_) => String::new(),
        }
    }
}

/// The lines of a file of secrets.
pub(super) struct Lines<'a> {
    file: &'a Path,
    content: Secret,
    at: usize,
}

pub(super) fn lines(file: &Path) -> Result<Lines<'_>, Error> {
    match read(file) {
        Ok(content) => {
            let at = content.len() - without_mark(&content).len();
            Ok(Lines { file, content: Secret::new(content), at })
        }
        Err(error) => Err(Error::new(Exit::Usage, format!("cannot read {}: {error}", file.display()))),
    }
}

impl Lines<'_> {
    pub(super) fn next_line(&mut self, what: &str, hint: &str) -> Result<Secret, Error> {
        let rest = self.content.expose().get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        self.at += length + 1;
        let line = rest[..length].strip_suffix(b"\r").unwrap_or(&rest[..length]);
        if line.is_empty() {
            let error = Error::new(Exit::Usage, format!("{} lacks a line with {what}", self.file.display()));
            return Err(error.hint(hint));
        }
        Ok(Secret::new(line))
    }
}

/// Without the byte order mark that editors on Windows put before UTF-8.
pub(super) fn without_mark(content: &[u8]) -> &[u8] {
    content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content)
}

/// Whether it is text in units of two bytes, as some editors on Windows write it: with a mark, or each letter beside a zero.
pub(super) fn is_utf16(content: &[u8]) -> bool {
    content.starts_with(b"\xff\xfe")
        || content.starts_with(b"\xfe\xff")
        || matches!(content, [first, second, ..] if (*first == 0) != (*second == 0))
}

pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is too large"));
    }
    Ok(content)
}
