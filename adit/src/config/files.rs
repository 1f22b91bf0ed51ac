//! Reading files, and the secrets that are in them, in the environment, or in somebody's head.

use std::{
    env,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use adit_pki::KeyError;
use adit_tunnel::Secret;

use crate::{
    error::{Error, Exit},
    prompt,
};

/// Profiles, keys, certificates and lists are smaller than this; what is larger is something else.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// How often a wrong passphrase, or an empty answer, may be typed.
pub(super) const ATTEMPTS: u32 = 3;

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SecretSource {
    /// In the first line of this file.
    File(PathBuf),
    /// In this variable of the environment.
    Variable(String),
    /// Here.
    Value(Secret),
}

/// A file, or what would be in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// To be read.
    File(PathBuf),
    /// Read already.
    Bytes(Secret),
}

impl SecretSource {
    /// Fetches it. `what` names it, with its article.
    pub(super) fn read(&self, what: &str) -> Result<Secret, Error> {
        match self {
            Self::File(path) => lines(path)?.next_line(what, &format!("its first line has to be {what}")),
            Self::Variable(name) => match env::var_os(name) {
                Some(value) => Ok(Secret::new(value.into_encoded_bytes())),
                None => {
                    let error = Error::new(Exit::Usage, format!("the variable {name} is not set; it has to be {what}"));
                    Err(error.hint(format!("set {name} in the environment, or name a file instead")))
                }
            },
            Self::Value(secret) => Ok(secret.clone()),
        }
    }
}

impl Content {
    pub(super) fn read(&self) -> Result<Secret, Error> {
        match self {
            Self::File(path) => match read(path) {
                Ok(bytes) => Ok(Secret::new(bytes)),
                Err(error) => Err(Error::new(Exit::Usage, format!("cannot read {}: {error}", path.display()))),
            },
            Self::Bytes(bytes) => Ok(bytes.clone()),
        }
    }

    /// What to call it in an error.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File(path) => format!("{}: ", path.display()),
            Self::Bytes(_) => String::new(),
        }
    }
}

/// Opens what may have a passphrase, with the one that is known, or else with those somebody types. `option` says how the
/// passphrase could have been given.
pub(super) fn unlock<T>(
    known: Option<Secret>,
    option: &str,
    open: impl Fn(Option<&Secret>) -> Result<T, KeyError>,
) -> Result<T, Error> {
    let unusable = |error: KeyError| Error::new(Exit::Usage, error);
    if known.is_some() {
        return open(known.as_ref()).map_err(unusable);
    }
    let mut opened = open(None);
    for attempt in 0..ATTEMPTS {
        match opened {
            Err(KeyError::PassphraseNeeded) if attempt == 0 => {}
            Err(KeyError::WrongPassphrase) => tracing::warn!("{}", KeyError::WrongPassphrase),
            other => return other.map_err(unusable),
        }
        opened = open(Some(&ask_passphrase(option)?));
    }
    opened.map_err(unusable)
}

/// Asks for the passphrase of a private key, which may be empty. `option` says how it could have been given.
pub(super) fn ask_passphrase(option: &str) -> Result<Secret, Error> {
    somebody("the private key has a passphrase", option)?;
    prompt::ask_secret("Passphrase of the private key: ").map_err(not_asked)
}

/// Asks for a secret. `wanted` is said where nobody is there to ask.
pub(super) fn ask_secret(wanted: &str, question: &str, option: &str) -> Result<Secret, Error> {
    somebody(wanted, option)?;
    insist(|| prompt::ask_secret(question), |secret| secret.expose().is_empty())
}

/// Asks for something that may be seen.
pub(super) fn ask(wanted: &str, question: &str, option: &str) -> Result<String, Error> {
    somebody(wanted, option)?;
    insist(|| prompt::ask(question), String::is_empty)
}

/// Asks again when the answer is empty.
fn insist<T>(mut ask: impl FnMut() -> io::Result<T>, is_empty: impl Fn(&T) -> bool) -> Result<T, Error> {
    for _ in 0..ATTEMPTS {
        let answer = ask().map_err(not_asked)?;
        if !is_empty(&answer) {
            return Ok(answer);
        }
    }
    Err(Error::new(Exit::Usage, "the answer at the terminal was empty"))
}

fn somebody(wanted: &str, option: &str) -> Result<(), Error> {
    if prompt::is_interactive() {
        return Ok(());
    }
    Err(Error::new(Exit::Usage, format!("{wanted}, and nobody is there to ask for it")).hint(option))
}

fn not_asked(error: io::Error) -> Error {
    Error::new(Exit::Usage, format!("no answer from the terminal: {error}"))
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

pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is too large"));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_answer_is_asked_for_again_a_few_times() {
        let mut answers = ["", "", "secret"].into_iter();
        let asked = insist(|| Ok(answers.next().unwrap().to_owned()), String::is_empty);
        assert_eq!(asked.unwrap(), "secret");
        let mut count = 0;
        let never = || {
            count += 1;
            Ok(String::new())
        };
        let error = insist(never, String::is_empty).unwrap_err();
        assert!(error.exit() == Exit::Usage && error.to_string().contains("empty"), "{error}");
        assert_eq!(count, ATTEMPTS);
        let ended = insist(|| Err::<String, _>(io::ErrorKind::UnexpectedEof.into()), String::is_empty);
        assert!(ended.unwrap_err().to_string().contains("no answer"));
    }
}
