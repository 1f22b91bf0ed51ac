//! From what describes a connection, and the secrets that are not in it, to a configuration.

mod address;
mod assemble;
mod build;
mod check;
mod clashes;
mod connection;
mod document;
mod draft;
mod files;
mod flags;
mod import;
mod keys;
mod ovpn;
mod problems;
mod questions;
mod reading;
mod schema;
mod seen;
pub(crate) mod serve;
mod source;
mod sswan;
mod tables;
#[cfg(test)]
mod tests;
mod tun;
mod unclosed;
mod ways;

use std::path::Path;

use adit_driver::{
    Any,
    redundancy::{Gateway, RedundancyOptions},
};

pub(crate) use self::{
    check::check,
    draft::Method,
    import::Import,
    problems::{Position, Problem, Problems, Severity},
    questions::{OpenQuestion, Questions},
    seen::{Fingerprint, Seen},
};
use self::{draft::Draft, reading::Reading};
use crate::{
    arguments::Forward,
    error::{Error, Exit},
    forward,
    plan::{ConnectionPlan, GatewayLabel, Login, Plan},
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

/// What is done with a configuration before it is used: nothing by the program itself, tests withhold features.
pub(crate) type Adjust<'a> = &'a mut dyn FnMut(&mut Configuration);

/// Reads a TOML file of connections and everything it names. `only` chooses some of them, once the whole file was
/// understood; none: all.
/// Warnings are said in the log.
///
/// # Errors
/// Everything that is wrong, at once, and the files to watch for it to become right.
pub(crate) fn plan(path: &Path, only: &[String], questions: &Questions, adjust: Adjust<'_>) -> Result<Plan, Problems> {
    let mut problems = Problems::default();
    let plan = assemble::plan(path, only, questions, adjust, &mut problems);
    problems.log_warnings();
    plan.ok_or(problems)
}

/// Reads what the arguments of `adit forward` name, and asks for what is missing: one connection, with the forwards that its
/// file has.
///
/// # Errors
/// Everything that is wrong, at once.
pub(crate) fn connection(
    arguments: &Forward,
    questions: &Questions,
    adjust: Adjust<'_>,
) -> Result<ConnectionPlan, Problems> {
    let mut problems = Problems::default();
    let connection = one(arguments, questions, adjust, &mut problems);
    problems.log_warnings();
    connection.ok_or(problems)
}

fn one(
    arguments: &Forward,
    questions: &Questions,
    adjust: Adjust<'_>,
    problems: &mut Problems,
) -> Option<ConnectionPlan> {
    if let Some(path) = arguments.config.as_deref().filter(|path| Kind::of(path) == Some(Kind::Toml)) {
        problems.catch(flags::refuse(arguments, &path.display().to_string(), true))?;
        return assemble::one(path, arguments.connection.as_deref(), questions, adjust, problems);
    }
    let mut reading = Reading::new(questions, "", problems);
    let mut configuration = flat(arguments, &mut reading)?;
    adjust(&mut configuration);
    let label = configuration.label();
    Some(alone(configuration, label, reading.fingerprint()))
}

/// A connection of one gateway, with nothing else said.
fn alone(configuration: Configuration, label: GatewayLabel, fingerprint: u64) -> ConnectionPlan {
    let name = label.name.clone();
    let gateway = Gateway { name: name.clone(), protocol: configuration.into(), fingerprint, probe: None };
    ConnectionPlan {
        name,
        description: String::new(),
        autostart: true,
        gateways: vec![gateway],
        gateway_labels: vec![label],
        redundancy: RedundancyOptions { tunnel: forward::options(), ..RedundancyOptions::default() },
        wait: connection::WAIT,
        forwards: Vec::new(),
        tun: None,
    }
}

/// Reads what the arguments name, and asks for what is missing: the first gateway alone.
#[cfg(test)]
pub(crate) fn load(arguments: &Forward) -> Result<Configuration, Error> {
    let mut problems = Problems::default();
    let questions = Questions::of_the_terminal();
    let configuration = match arguments.config.as_deref().filter(|path| Kind::of(path) == Some(Kind::Toml)) {
        Some(path) => problems
            .catch(flags::refuse(arguments, &path.display().to_string(), true))
            .and_then(|()| assemble::first_gateway(path, arguments.connection.as_deref(), &questions, &mut problems)),
        None => flat(arguments, &mut Reading::new(&questions, "", &mut problems)),
    };
    problems.log_warnings();
    match problems.into_error() {
        Some(error) => Err(error),
        None => configuration.ok_or_else(|| Error::new(Exit::Other, "the configuration came to nothing")),
    }
}

/// What is in a file, by the end of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Toml,
    Sswan,
    Ovpn,
}

impl Kind {
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_lowercase);
        match extension.as_deref() {
            Some("toml") => Some(Self::Toml),
            Some("sswan") => Some(Self::Sswan),
            Some("ovpn" | "conf") | None => Some(Self::Ovpn),
            Some(_) => None,
        }
    }
}

/// A gateway that is described by options, or by a file that describes no other.
fn flat(arguments: &Forward, reading: &mut Reading<'_>) -> Option<Configuration> {
    let Some(path) = &arguments.config else {
        let host = arguments.ikev2.as_deref().unwrap_or_default();
        let draft = reading.problems.catch(flags::quick(host, arguments))?;
        return ikev2(draft, reading);
    };
    if arguments.connection.is_some() {
        reading.problems.error(one_connection(path));
        return None;
    }
    match Kind::of(path) {
        Some(Kind::Sswan) => {
            let mut draft = sswan_draft(path, reading)?;
            reading.problems.catch(flags::add(&mut draft, arguments))?;
            ikev2(draft, reading)
        }
        Some(Kind::Ovpn) => {
            reading.problems.catch(flags::refuse(arguments, &path.display().to_string(), false))?;
            openvpn(path, &flags::of_openvpn(arguments), reading)
        }
        Some(Kind::Toml) | None => {
            reading.problems.error(unknown_extension(path));
            None
        }
    }
}

/// A strongSwan profile, before anything is made of it.
fn sswan_draft(path: &Path, reading: &mut Reading<'_>) -> Option<Draft> {
    let cannot = |error| Error::new(Exit::Usage, format!("cannot read {}: {error}", path.display()));
    let bytes = reading.file(path).map_err(cannot);
    let bytes = reading.problems.catch(bytes)?;
    sswan::parse(&path.display().to_string(), &bytes, reading.problems)
}

fn one_connection(path: &Path) -> Error {
    let error = Error::new(Exit::Usage, format!("--connection has no use with {}", path.display()));
    error.hint("only a TOML file has several connections")
}

fn unknown_extension(path: &Path) -> Error {
    let error = Error::new(Exit::Usage, format!("{}: nothing is known by this extension", path.display()));
    error.hint("an OpenVPN profile ends in .ovpn or .conf, a strongSwan profile in .sswan, connections in .toml")
}

/// Reads what the draft names, and makes a configuration of it. `None`: the reasons are in the list of problems.
fn ikev2(mut draft: Draft, reading: &mut Reading<'_>) -> Option<Configuration> {
    let errors = reading.problems.errors();
    reading::fetch(&mut draft, reading);
    build::judge(&mut draft, &|_| false, reading.problems);
    if reading.problems.errors() > errors {
        return None;
    }
    let built = build::build(draft, reading);
    // A question nobody was asked is no mistake.
    let config = if reading.is_blank() { built.ok() } else { reading.problems.catch(built) };
    config.map(|config| Configuration::Ikev2(Box::new(config)))
}

fn openvpn(profile: &Path, given: &ovpn::Given, reading: &mut Reading<'_>) -> Option<Configuration> {
    ovpn::load(profile, given, reading).map(|config| Configuration::OpenVpn(Box::new(config)))
}

impl Configuration {
    /// How its gateway is shown, by the host of its first remote.
    fn label(&self) -> GatewayLabel {
        let (protocol, remotes): (_, Vec<(&str, u16)>) = match self {
            Self::Ikev2(config) => {
                ("ikev2", config.remotes().iter().map(|remote| (remote.host.as_str(), remote.port)).collect())
            }
            Self::OpenVpn(config) => {
                ("openvpn", config.remotes().iter().map(|remote| (remote.host.as_str(), remote.port)).collect())
            }
        };
        let server = |(host, port): &(&str, u16)| host_and_port(host, *port);
        let name = remotes.first().map_or_else(String::new, |(host, _)| (*host).to_owned());
        GatewayLabel { name, protocol, servers: remotes.iter().map(server).collect(), subject: String::new() }
    }
}

fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
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
