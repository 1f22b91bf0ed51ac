//! From a profile on disk, and the secrets that are not in it, to a configuration.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use adit_tunnel::Secret;
use openvpn::{Config, Credentials, Profile, Secrets};

use crate::{
    arguments::Forward,
    error::{Error, Exit},
    prompt,
};

/// Profiles, keys, certificates and lists are smaller than this; what is larger is something else.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// How often a wrong passphrase may be typed.
const PASSPHRASE_ATTEMPTS: u32 = 3;

/// Reads the profile and asks for what is missing.
pub(crate) fn load(arguments: &Forward) -> Result<Config, Error> {
    let path = &arguments.config;
    let name = path.display();
    let text =
        read(path).map_err(|error| Error::new(Exit::Usage, format!("cannot read the profile {name}: {error}")))?;
    let beside = path.parent().unwrap_or_else(|| Path::new(""));
    let mut load = |file: &str| read(&beside.join(file)).map_err(|error| error.to_string());
    let profile = Profile::parse(&text, &mut load).map_err(|error| {
        for refusal in error.refusals().iter().skip(1) {
            tracing::error!("profile {name}: {refusal}");
        }
        Error::new(Exit::Usage, format!("profile {name}: {error}"))
    })?;
    for warning in profile.warnings() {
        tracing::warn!("profile {name}: {warning}");
    }
    let config = configure(profile, arguments)?;
    for warning in config.warnings() {
        tracing::warn!("profile {name}: {warning}");
    }
    match &config.settings().static_challenge {
        Some(challenge) if prompt::is_at_end() => {
            let text = format!(
                "the server will ask for `{}` (`static-challenge`), and nobody is there to answer",
                challenge.text
            );
            Err(Error::new(Exit::Usage, text).hint("run it at a terminal, or write the answer to its standard input"))
        }
        _ => Ok(config),
    }
}

fn configure(profile: Profile, arguments: &Forward) -> Result<Config, Error> {
    let credentials = credentials(&profile, arguments)?;
    let mut key_passphrase = match &arguments.askpass {
        Some(file) => {
            let hint = "its first line has to be the passphrase";
            Some(Secret::new(lines(file)?.next_line("a passphrase", hint)?))
        }
        None => None,
    };
    let asks = key_passphrase.is_none() && profile.needs_key_passphrase();
    let mut attempts = 0;
    loop {
        attempts += 1;
        if asks {
            key_passphrase = Some(ask_passphrase()?);
        }
        let secrets = Secrets { credentials: credentials.clone(), key_passphrase: key_passphrase.clone() };
        match profile.clone().into_config(secrets) {
            Ok(config) => return Ok(config),
            Err(error) if asks && error.is_wrong_passphrase() && attempts < PASSPHRASE_ATTEMPTS => {
                tracing::warn!("{error}");
            }
            Err(error) => {
                return Err(Error::new(Exit::Usage, format!("profile {}: {error}", arguments.config.display())));
            }
        }
    }
}

fn credentials(profile: &Profile, arguments: &Forward) -> Result<Option<Credentials>, Error> {
    if let Some(file) = &arguments.auth_user_pass {
        let mut lines = lines(file)?;
        let hint = "its first line has to be the user name, its second the password";
        let username = String::from_utf8_lossy(&lines.next_line("a user name", hint)?).into_owned();
        return Ok(Some(Credentials { username, password: Secret::new(lines.next_line("a password", hint)?) }));
    }
    let Some(wanted) = profile.needs_credentials() else { return Ok(None) };
    if !prompt::is_interactive() {
        let error = Error::new(Exit::Usage, "the profile wants a user name and a password, and nobody is there to ask");
        return Err(error.hint("put them into a file, a line each, and give it with --auth-user-pass FILE"));
    }
    let username = match wanted.username {
        Some(username) => username,
        None => prompt::ask("User name: ").map_err(not_asked)?,
    };
    let password = prompt::ask_secret(&format!("Password of {username}: ")).map_err(not_asked)?;
    Ok(Some(Credentials { username, password }))
}

fn ask_passphrase() -> Result<Secret, Error> {
    if !prompt::is_interactive() {
        let error = Error::new(Exit::Usage, "the private key has a passphrase, and nobody is there to ask for it");
        return Err(error.hint("put it into a file and give that with --askpass FILE"));
    }
    prompt::ask_secret("Passphrase of the private key: ").map_err(not_asked)
}

fn not_asked(error: io::Error) -> Error {
    Error::new(Exit::Usage, format!("no answer from the terminal: {error}"))
}

/// The lines of a file of secrets.
struct Lines<'a> {
    file: &'a Path,
    content: Secret,
    at: usize,
}

fn lines(file: &Path) -> Result<Lines<'_>, Error> {
    match read(file) {
        Ok(content) => Ok(Lines { file, content: Secret::new(content), at: 0 }),
        Err(error) => Err(Error::new(Exit::Usage, format!("cannot read {}: {error}", file.display()))),
    }
}

impl Lines<'_> {
    fn next_line(&mut self, what: &str, hint: &str) -> Result<Vec<u8>, Error> {
        let rest = self.content.expose().get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        self.at += length + 1;
        let line = rest[..length].strip_suffix(b"\r").unwrap_or(&rest[..length]);
        if line.is_empty() {
            let error = Error::new(Exit::Usage, format!("{} lacks a line with {what}", self.file.display()));
            return Err(error.hint(hint));
        }
        Ok(line.to_vec())
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is too large"));
    }
    Ok(content)
}
