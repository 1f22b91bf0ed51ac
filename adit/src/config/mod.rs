//! From what describes a connection, and the secrets that are not in it, to a configuration.

mod build;
mod draft;
mod files;
mod flags;
mod ovpn;
mod schema;
pub(crate) mod serve;
mod source;
mod sswan;
mod tables;
#[cfg(test)]
mod tests;

use std::path::Path;

use adit_driver::Any;

pub(crate) use self::draft::Method;
use self::{draft::Draft, tables::Connection};
use crate::{
    arguments::Forward,
    error::{Error, Exit},
    plan::Login,
};

/// What a tunnel is made from.
#[derive(Debug)]
pub enum Configuration {
    /// An IKEv2 gateway.
    Ikev2(Box<ikev2::Config>),
    /// An OpenVPN server.
    OpenVpn(Box<openvpn::Config>),
}

impl From<Configuration> for Any {
    fn from(configuration: Configuration) -> Self {
        match configuration {
            Configuration::Ikev2(config) => (*config).into(),
            Configuration::OpenVpn(config) => (*config).into(),
        }
    }
}

/// Reads what the arguments name, and asks for what is missing.
pub(crate) fn load(arguments: &Forward) -> Result<Configuration, Error> {
    let Some(path) = &arguments.config else {
        let host = arguments.ikev2.as_deref().unwrap_or_default();
        return ikev2(flags::quick(host, arguments)?);
    };
    let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_lowercase);
    if arguments.connection.is_some() && extension.as_deref() != Some("toml") {
        let error = Error::new(Exit::Usage, format!("--connection has no use with {}", path.display()));
        return Err(error.hint("only a TOML file has several connections"));
    }
    match extension.as_deref() {
        Some("toml") => {
            flags::refuse(arguments, &path.display().to_string(), true)?;
            match tables::load(path, arguments.connection.as_deref())? {
                Connection::Ikev2(draft) => ikev2(*draft),
                Connection::OpenVpn(profile, given) => openvpn(&profile, &given),
            }
        }
        Some("sswan") => {
            let mut draft = sswan::load(path)?;
            flags::add(&mut draft, arguments)?;
            ikev2(draft)
        }
        Some("ovpn" | "conf") | None => {
            flags::refuse(arguments, &path.display().to_string(), false)?;
            openvpn(path, &flags::of_openvpn(arguments))
        }
        Some(_) => {
            let error = Error::new(Exit::Usage, format!("{}: nothing is known by this extension", path.display()));
            Err(error.hint(
                "an OpenVPN profile ends in .ovpn or .conf, a strongSwan profile in .sswan, connections in .toml",
            ))
        }
    }
}

/// The first two lines of a file: who may use a proxy.
pub(crate) fn read_login(file: &Path) -> Result<Login, Error> {
    let hint = "its first line has to be the user name, its second the password";
    let mut lines = files::lines(file)?;
    let user = lines.next_line("the user name", hint)?;
    let password = lines.next_line("the password", hint)?;
    let too_long = [&user, &password].iter().any(|secret| secret.expose().len() > 255);
    let user = String::from_utf8(user.expose().to_vec()).ok().filter(|_| !too_long);
    match user {
        Some(user) => Ok(Login { user, password }),
        None => Err(Error::new(Exit::Usage, format!("{}: a name or password of more than 255 bytes", file.display()))),
    }
}

fn ikev2(draft: Draft) -> Result<Configuration, Error> {
    build::build(draft).map(|config| Configuration::Ikev2(Box::new(config)))
}

fn openvpn(profile: &Path, given: &ovpn::Given) -> Result<Configuration, Error> {
    ovpn::load(profile, given).map(|config| Configuration::OpenVpn(Box::new(config)))
}
