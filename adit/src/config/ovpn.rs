//! From an OpenVPN profile on disk, and the secrets that are not in it, to a configuration.

use std::path::Path;

use adit_tunnel::Secret;
use openvpn::{Config, Credentials, Profile, Secrets};

use super::files::{ATTEMPTS, SecretSource, ask, ask_passphrase, ask_secret, lines, read, without_mark};
use crate::{
    error::{Error, Exit},
    prompt,
};

/// What is not in the profile.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// User name and password.
    pub(super) login: Login,
    pub(super) passphrase: Option<SecretSource>,
}

/// Where user name and password are.
#[derive(Debug, Default)]
pub(super) enum Login {
    /// In the profile, or to be asked for.
    #[default]
    Unknown,
    /// Each in a place of its own.
    Apart { user: Option<String>, password: Option<SecretSource> },
    /// In the first two lines of a file.
    File(std::path::PathBuf),
}

/// How a login can be given, and a passphrase.
const LOGIN_OPTION: &str = "put them into a file, a line each, and give it with --auth-user-pass FILE";
const PASSPHRASE_OPTION: &str = "put it into a file and give that with --askpass FILE";

/// Reads the profile and asks for what is missing.
pub(super) fn load(path: &Path, given: &Given) -> Result<Config, Error> {
    let name = path.display();
    let text =
        read(path).map_err(|error| Error::new(Exit::Usage, format!("cannot read the profile {name}: {error}")))?;
    if let Some(extension) = other_format(&text) {
        let error =
            Error::new(Exit::Usage, format!("{name}: this is no OpenVPN profile, but looks like a .{extension} file"));
        return Err(error.hint(format!("give it a name that ends in .{extension}")));
    }
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
    let config = configure(profile, path, given)?;
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

/// The extension of what looks like a connection, but not of OpenVPN.
fn other_format(text: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(without_mark(text));
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?;
    [("{", "sswan"), ("[connection", "toml")].into_iter().find(|(start, _)| first.starts_with(start)).map(|(_, e)| e)
}

fn configure(profile: Profile, path: &Path, given: &Given) -> Result<Config, Error> {
    let credentials = credentials(&profile, &given.login)?;
    let mut key_passphrase = given.passphrase.as_ref().map(|source| source.read("a passphrase")).transpose()?;
    let asks = key_passphrase.is_none() && profile.needs_key_passphrase();
    let mut attempts = 0;
    loop {
        attempts += 1;
        if asks {
            key_passphrase = Some(ask_passphrase(PASSPHRASE_OPTION)?);
        }
        let secrets = Secrets { credentials: credentials.clone(), key_passphrase: key_passphrase.clone() };
        match profile.clone().into_config(secrets) {
            Ok(config) => return Ok(config),
            Err(error) if asks && error.is_wrong_passphrase() && attempts < ATTEMPTS => {
                tracing::warn!("{error}");
            }
            Err(error) => {
                return Err(Error::new(Exit::Usage, format!("profile {}: {error}", path.display())));
            }
        }
    }
}

fn credentials(profile: &Profile, login: &Login) -> Result<Option<Credentials>, Error> {
    let (user, password) = match login {
        Login::File(file) => return from_file(file).map(Some),
        Login::Apart { user, password } => (user.clone(), password.clone()),
        Login::Unknown => (None, None),
    };
    let wanted = profile.needs_credentials();
    if user.is_none() && password.is_none() && wanted.is_none() {
        return Ok(None);
    }
    let missing = "the profile wants a user name and a password";
    let username = match user.or_else(|| wanted.and_then(|wanted| wanted.username)) {
        Some(username) => username,
        None => ask(missing, "User name: ", LOGIN_OPTION)?,
    };
    let password = match password {
        Some(source) => source.read("a password")?,
        None => ask_secret(missing, &format!("Password of {username}: "), LOGIN_OPTION)?,
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
