//! From an OpenVPN profile on disk, and the secrets that are not in it, to a configuration.

use std::{io, path::Path};

use adit_tunnel::Secret;
use openvpn::{Config, Credentials, IntoConfigError, Profile, Secrets};

use super::{
    draft,
    files::{SecretSource, lines, without_mark},
    questions::Tried,
    reading::Reading,
};
use crate::error::{Error, Exit};

/// What is not in the profile.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// User name and password.
    pub(super) login: Login,
    pub(super) passphrase: Option<draft::Given<SecretSource>>,
    /// Where the profile is named.
    pub(super) named: Option<String>,
    /// How what is missing is said to be given.
    pub(super) wording: draft::Wording,
}

/// Looks at what is named beside the profile: a mistake in that is no reason to keep another for later.
pub(super) fn fetch(given: &Given, reading: &mut Reading<'_>) {
    let password = match &given.login {
        Login::Apart { password, .. } => password.as_ref(),
        Login::Unknown | Login::File(_) => None,
    };
    for (secret, what) in [(password, "a password"), (given.passphrase.as_ref(), "a passphrase")] {
        if let Some(secret) = secret {
            let read = reading.secret(secret, what);
            reading.problems.catch(read);
        }
    }
    if let Login::File(file) = &given.login {
        reading.problems.catch(login_of(file));
    }
}

/// Where user name and password are.
#[derive(Debug, Default)]
pub(super) enum Login {
    /// In the profile, or to be asked for.
    #[default]
    Unknown,
    /// Each in a place of its own.
    Apart { user: Option<String>, password: Option<draft::Given<SecretSource>> },
    /// In the first two lines of a file.
    File(std::path::PathBuf),
}

impl Given {
    /// How a login can be given.
    fn login_option(&self) -> &'static str {
        match self.wording {
            draft::Wording::Options => LOGIN_OPTIONS[0],
            draft::Wording::Keys => LOGIN_OPTIONS[1],
        }
    }

    /// How a passphrase can be given.
    fn passphrase_option(&self) -> &'static str {
        match self.wording {
            draft::Wording::Options => "put it into a file and give that with --askpass FILE",
            draft::Wording::Keys => "add `passphrase = { file = \"…\" }`",
        }
    }
}

/// How a login can be given: by an option, or in a TOML file.
pub(super) const LOGIN_OPTIONS: [&str; 2] = [
    "put them into a file, a line each, and give it with --auth-user-pass FILE",
    "add `user = \"…\"` and `password = { file = \"…\" }`",
];

/// Reads the profile and asks for what is missing. `None`: what is wrong is in the list of problems.
pub(super) fn load(path: &Path, given: &Given, reading: &mut Reading<'_>) -> Option<Config> {
    let made = understood(path, given, reading);
    if made.is_none() {
        fetch(given, reading);
    }
    made
}

fn understood(path: &Path, given: &Given, reading: &mut Reading<'_>) -> Option<Config> {
    let place = format!("profile {}", path.display());
    let text = reading.file(path).map_err(|error| unreadable(path, given.named.as_deref(), &error));
    let text = reading.problems.catch(text)?;
    if is_wireguard(&String::from_utf8_lossy(without_mark(&text))) {
        reading.problems.error(wireguard(path));
        return None;
    }
    if let Some(extension) = other_format(&text) {
        let name = path.display();
        let error =
            Error::at(&name.to_string(), format!("this is no OpenVPN profile, but looks like a .{extension} file"));
        reading.problems.error(error.hint(format!("give it a name that ends in .{extension}")));
        return None;
    }
    let beside = path.parent().unwrap_or_else(|| Path::new(""));
    let mut load = |file: &str| reading.file(&beside.join(file)).map_err(|error| error.to_string());
    let profile = match Profile::parse(&text, &mut load) {
        Ok(profile) => profile,
        Err(error) => {
            for refusal in error.refusals() {
                reading.problems.error(Error::at(&place, refusal));
            }
            if error.refusals().is_empty() {
                reading.problems.error(Error::at(&place, error));
            }
            return None;
        }
    };
    for warning in profile.warnings() {
        reading.problems.warning(Error::at(&place, warning));
    }
    // Before anybody is asked for what would be of no use.
    let mistakes = mistakes(&profile, given);
    if !mistakes.is_empty() {
        for mistake in mistakes {
            reading.problems.error(Error::at(&place, mistake));
        }
        return None;
    }
    let config = configure(profile, &place, given, reading);
    let config = reading.problems.catch(config)?;
    for warning in config.warnings() {
        reading.problems.warning(Error::at(&place, warning));
    }
    reading.judge_dates(config.certificates(), &place);
    match &config.settings().static_challenge {
        Some(challenge) if reading.is_answered_by_nobody() => {
            let text = format!(
                "the server will ask for `{}` (`static-challenge`), and nobody is there to answer",
                challenge.text
            );
            let hint = "run it at a terminal, or write the answer to its standard input";
            reading.problems.error(Error::new(Exit::Usage, text).hint(hint));
            None
        }
        _ => Some(config),
    }
}

/// `named`: where its path stands.
fn unreadable(path: &Path, named: Option<&str>, error: &io::Error) -> Error {
    let path = path.display();
    let Some(place) = named else { return Error::new(Exit::Usage, format!("cannot read {path}: {error}")) };
    let unreadable = Error::at(place, format!("cannot read {path}, the `profile`: {error}"));
    if error.kind() == io::ErrorKind::NotFound {
        return unreadable.hint("name a file that is there; its path begins in the folder of this one");
    }
    unreadable
}

/// The extension of what looks like a connection, but not of OpenVPN.
fn other_format(text: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(without_mark(text));
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?;
    [("{", "sswan"), ("[connection", "toml")].into_iter().find(|(start, _)| first.starts_with(start)).map(|(_, e)| e)
}

/// What WireGuard's `.conf` begins with, which others have, too.
pub(super) fn is_wireguard(text: &str) -> bool {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    matches!(first, Some("[Interface]" | "[Peer]"))
}

pub(super) fn wireguard(path: &Path) -> Error {
    let error = format!("{}: this is a configuration of WireGuard, which is not supported", path.display());
    Error::new(Exit::Usage, error).hint("there are IKEv2 and OpenVPN")
}

/// What is wrong with the profile, whatever secrets there are.
fn mistakes(profile: &Profile, given: &Given) -> Vec<IntoConfigError> {
    let anybody = Credentials { username: String::new(), password: Secret::from("") };
    let passphrase = given.passphrase.as_ref().and_then(|source| source.value.read("a passphrase").ok());
    let locked = passphrase.is_none() && profile.needs_key_passphrase();
    let mut mistakes = profile.mistakes(Secrets { credentials: Some(anybody), key_passphrase: passphrase });
    mistakes.retain(|mistake| match mistake {
        IntoConfigError::Key { .. } | IntoConfigError::Pkcs12 { .. } => !locked,
        IntoConfigError::CredentialsMissing { .. } => false,
        IntoConfigError::Config { .. } => true,
    });
    mistakes
}

fn configure(profile: Profile, place: &str, given: &Given, reading: &mut Reading<'_>) -> Result<Config, Error> {
    let passphrase = given.passphrase.as_ref().map(|source| reading.secret(source, "a passphrase")).transpose();
    // Both are looked at, also where the first is wrong.
    let credentials = credentials(&profile, given, reading)?;
    let passphrase = passphrase?;
    let made = |passphrase: Option<Secret>| {
        let secrets = Secrets { credentials: credentials.clone(), key_passphrase: passphrase };
        match profile.clone().into_config(secrets) {
            Err(error) if error.is_wrong_passphrase() => Tried::Wrong(Error::at(place, error)),
            other => Tried::Done(other.map_err(|error| Error::at(place, error))),
        }
    };
    if passphrase.is_none() && profile.needs_key_passphrase() {
        return reading.passphrases(given.passphrase_option(), |passphrase| made(Some(passphrase.clone())));
    }
    match made(passphrase) {
        Tried::Done(config) => config,
        Tried::Wrong(error) => Err(error),
    }
}

fn credentials(profile: &Profile, given: &Given, reading: &mut Reading<'_>) -> Result<Option<Credentials>, Error> {
    let option = given.login_option();
    let (user, password) = match &given.login {
        Login::File(file) => return from_file(file).map(Some),
        Login::Apart { user, password } => (user.clone(), password.as_ref()),
        Login::Unknown => (None, None),
    };
    let wanted = profile.needs_credentials();
    if user.is_none() && password.is_none() && wanted.is_none() {
        return Ok(None);
    }
    let missing = "the profile wants a user name and a password";
    let named = user.or_else(|| wanted.and_then(|wanted| wanted.username)).filter(|name| !name.is_empty());
    let username = match named {
        Some(username) => username,
        None => reading.ask(missing, "User name: ", option)?,
    };
    let password = match password {
        Some(source) => reading.secret(source, "a password")?,
        None => reading.ask_secret(missing, &format!("Password of {username}: "), option)?,
    };
    Ok(Some(Credentials { username, password }))
}

fn from_file(file: &Path) -> Result<Credentials, Error> {
    let (username, password) = login_of(file)?;
    Ok(Credentials { username, password })
}

/// User name and password in the first two lines of a file.
pub(super) fn login_of(file: &Path) -> Result<(String, Secret), Error> {
    let mut lines = lines(file)?;
    let hint = "its first line has to be the user name, its second the password";
    let username = String::from_utf8_lossy(lines.next_line("a user name", hint)?.expose()).into_owned();
    Ok((username, lines.next_line("a password", hint)?))
}
