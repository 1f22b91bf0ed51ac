//! `adit probe`: what gateways say, without a tunnel.

mod arguments;
mod facts;
mod json;
mod text;

use std::{io::Write, sync::Arc, time::Duration};

use adit_driver::{Any, Failure, FailureKind, ProbeOptions, RemoteProbe};

pub(crate) use self::arguments::{ABOUT, EXIT_CODES, Probe};
use crate::{
    arguments::Forward,
    config::{self, Problems, Questions},
    error::{Error, Exit},
    plan::ConnectionPlan,
    prompt::Person,
    signals::Signals,
};

/// What is known of one gateway of a connection.
struct GatewayProbe {
    name: String,
    protocol: &'static str,
    remotes: Vec<RemoteProbe>,
}

impl GatewayProbe {
    /// Why there is no way to it; `None` if there is one.
    fn failure(&self) -> Option<&Failure> {
        let mut found = None;
        for remote in &self.remotes {
            let failures: Vec<Option<&Failure>> = match &remote.addresses {
                Ok(addresses) => addresses.iter().map(|address| address.result.as_ref().err()).collect(),
                Err(failure) => vec![Some(failure)],
            };
            for failure in failures {
                let failure = failure?;
                // Whoever answered tells more than whoever did not.
                if found.is_none_or(|found| rank(failure) > rank(found)) {
                    found = Some(failure);
                }
            }
        }
        found
    }
}

fn rank(failure: &Failure) -> u8 {
    match failure.kind() {
        FailureKind::Resolve | FailureKind::Unreachable => 0,
        FailureKind::LocalSocket => 1,
        FailureKind::Configuration
        | FailureKind::PeerNotAuthenticated
        | FailureKind::AuthFailed
        | FailureKind::NoAgreement
        | FailureKind::PeerClosed
        | FailureKind::Disconnected
        | FailureKind::PeerMisbehaved
        | FailureKind::Closed
        | FailureKind::Internal => 2,
    }
}

/// Probes every gateway of a connection, and writes what came of it to standard output.
pub(crate) async fn run(arguments: &Probe) -> Result<Exit, Error> {
    let mut signals = Signals::new()?;
    let gateways = tokio::select! {
        biased;
        exit = signals.next() => return Ok(exit),
        gateways = gateways(arguments) => gateways?,
    };
    let options = ProbeOptions { login: arguments.login, patience: Duration::from_secs(arguments.timeout.into()) };
    let probes = tokio::select! {
        biased;
        exit = signals.next() => return Ok(exit),
        probes = probe(gateways, options) => probes,
    };
    let shown = if arguments.json { json::of(&probes) } else { text::of(&probes) };
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(shown.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| Error::new(Exit::Other, format!("standard output: {error}")))?;
    match probes.iter().find_map(GatewayProbe::failure) {
        Some(failure) => Err(failure.clone().into()),
        None => Ok(Exit::Ok),
    }
}

/// Beside each other; one after another where a login is tried, and none after one that was refused.
async fn probe(gateways: Vec<(String, Any)>, mut options: ProbeOptions) -> Vec<GatewayProbe> {
    let person = Arc::new(Person::new());
    let mut probes = Vec::new();
    if options.login {
        for (name, config) in gateways {
            let probe = one(name, config, options, Arc::clone(&person)).await;
            let refused = |failure: &Failure| Error::from(failure.clone()).exit() == Exit::AuthFailed;
            options.login &= !probe.failure().is_some_and(refused);
            probes.push(probe);
        }
        return probes;
    }
    let running: Vec<_> = gateways
        .into_iter()
        .map(|(name, config)| tokio::spawn(one(name, config, options, Arc::clone(&person))))
        .collect();
    for running in running {
        // A probe that panicked has said so already.
        probes.extend(running.await.ok());
    }
    probes
}

async fn one(name: String, config: Any, options: ProbeOptions, person: Arc<Person>) -> GatewayProbe {
    let protocol = match &config {
        Any::Ikev2(_) => "ikev2",
        Any::OpenVpn(_) => "openvpn",
    };
    GatewayProbe { name, protocol, remotes: adit_driver::probe(config, options, person).await }
}

/// The gateways of the connection, by name. On a thread of its own: it may ask for secrets.
async fn gateways(arguments: &Probe) -> Result<Vec<(String, Any)>, Error> {
    let (source, login) = (arguments.source(), arguments.login);
    let loaded = tokio::task::spawn_blocking(move || connection(&source, login)).await;
    let connection = loaded.map_err(|error| Error::new(Exit::Other, error))??;
    let mut gateways: Vec<_> = connection.gateways.into_iter().map(|it| (it.name, it.protocol)).collect();
    if let Some(wanted) = &arguments.gateway {
        let names: Vec<_> = gateways.iter().map(|(name, _)| format!("`{name}`")).collect();
        gateways.retain(|(name, _)| name == wanted);
        if gateways.is_empty() {
            let error = Error::new(Exit::Usage, format!("there is no gateway `{wanted}` in this connection"));
            return Err(error.hint(format!("it has {}", names.join(", "))));
        }
    }
    Ok(gateways)
}

fn connection(source: &Forward, login: bool) -> Result<ConnectionPlan, Error> {
    // What will not be shown need not be asked for.
    let questions = if login { Questions::of_the_terminal() } else { Questions::before_the_login() };
    config::connection(source, &questions, &mut |_| {}).map_err(Problems::last)
}
