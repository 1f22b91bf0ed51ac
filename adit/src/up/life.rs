//! From making the device to undoing everything.

use std::{io, io::Write, sync::Arc, time::Duration};

use adit_driver::{
    redundancy::{RedundancyEvent, Redundant},
    system::recover,
};
use adit_tunnel::NetworkConfig;
use tokio::task::JoinSet;

use super::{
    Down, Followed, Surroundings,
    options::{TunOptions, User},
    rights,
};
use crate::{
    environment::way,
    error::{Error, Exit},
    forward::{Bound, ForwardCounters, Stop, Stopper},
    plan::ConnectionPlan,
    prompt::Person,
    signals::Signals,
};

/// Runs the connection with its device until it is ended. The thread it runs on must be the only one, where rights are to be
/// given up.
pub(crate) async fn life(connection: ConnectionPlan, options: &TunOptions) -> Result<Exit, Error> {
    options.check()?;
    let user = options.user.as_deref().map(User::find).transpose()?;
    let mut signals = Signals::new()?;
    // All that takes rights, and anything that may be in use, is said before connecting.
    let bound = Bound::bind_all(&connection.forwards)?;
    let mut surroundings = Surroundings::open(options)?;
    if let Some(user) = user {
        if !surroundings.outlives_rights() {
            let error = Error::new(Exit::Usage, "`resolvconf` cannot be run again once root is given up");
            return Err(error.hint("say --dns file or --no-dns, or leave --run-as away"));
        }
        rights::give_up(user).map_err(|error| Error::new(Exit::LocalSocket, format!("--run-as: {error}")))?;
    }
    let mut redundancy = connection.redundancy;
    redundancy.tunnel.mark = Surroundings::mark(options);
    redundancy.tunnel.names = Some(surroundings.names().clone());
    redundancy.tunnel.wait_for_tunnel = connection.wait;
    let redundant = Redundant::start(connection.gateways.clone(), redundancy, Arc::new(Person::new()));
    surroundings.attach(&redundant, &connection.gateways)?;
    let (stopper, stop) = Stopper::new();
    let mut connected = Connected { surroundings, redundant, wait: connection.wait, bound, stop };
    let ended = connected.run(&mut signals).await;
    // Goodbye first: what fails closed is closed until the end.
    let closed = match ended {
        Ok(exit) => {
            tracing::info!("closing the tunnel");
            // Nobody is let in any more, who would be cut with the others.
            stopper.drain();
            tokio::select! {
                () = connected.redundant.close() => Ok(exit),
                again = signals.next() => Ok(again),
            }
        }
        // Nobody has asked for the end: what fails closed stays closed.
        Err(error) if connected.surroundings.blocks() => {
            let name = connected.surroundings.name();
            tracing::warn!(
                device = name,
                "what belongs in the tunnel stays blocked: the next start takes that over, `adit down --name {name}` ends it"
            );
            return Err(error);
        }
        Err(error) => Err(error),
    };
    connected.surroundings.undo();
    closed
}

/// Undoes what a process has left that died.
pub(crate) fn down(arguments: &Down) -> Result<Exit, Error> {
    match recover(&arguments.state_dir, &arguments.name) {
        Ok(count) => {
            tracing::info!(device = arguments.name, changes = count, "undid what was left behind");
            Ok(Exit::Ok)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let error = Error::new(Exit::LocalSocket, format!("{} belongs to a process that lives", arguments.name));
            Err(error.hint("end that process: it undoes everything itself"))
        }
        Err(error) => Err(Error::new(Exit::LocalSocket, error)),
    }
}

struct Connected {
    surroundings: Surroundings,
    redundant: Redundant,
    /// How long forwards wait for a tunnel.
    wait: Duration,
    /// Until a tunnel is up for the first time.
    bound: Vec<Bound>,
    stop: Stop,
}

impl Connected {
    async fn run(&mut self, signals: &mut Signals) -> Result<Exit, Error> {
        let mut events = self.redundant.events();
        let mut forwards = JoinSet::new();
        loop {
            let event = tokio::select! {
                biased;
                exit = signals.next() => return Ok(exit),
                event = events.next() => event,
            };
            match event {
                Some(RedundancyEvent::Closed(failure)) => return Err(failure.into()),
                Some(RedundancyEvent::DeviceLost) => return Err(self.surroundings.lost()),
                // Events may be missed, the snapshot is never wrong.
                Some(_) => {
                    if let Followed::First(network) = self.surroundings.follow(&self.redundant.status())? {
                        self.begin(&network, &mut forwards)?;
                    }
                }
                None => return Err(self.redundant.closed().await.into()),
            }
        }
    }

    fn begin(&mut self, network: &NetworkConfig, forwards: &mut JoinSet<Result<(), Error>>) -> Result<(), Error> {
        self.announce(network)?;
        for bound in self.bound.drain(..) {
            let counters = Arc::new(ForwardCounters::default());
            let way = way(&self.redundant, bound.plan(), self.wait);
            forwards.spawn(bound.serve(way, counters, self.stop.clone()));
        }
        Ok(())
    }

    /// For whoever waits for the device and the forwards.
    fn announce(&self, network: &NetworkConfig) -> Result<(), Error> {
        let mut stdout = io::stdout().lock();
        let addresses: Vec<String> = network.addresses.iter().map(ToString::to_string).collect();
        let written = writeln!(stdout, "up {} {}", self.surroundings.name(), addresses.join(" "));
        let written = written.and_then(|()| stdout.flush());
        drop(stdout);
        written.map_err(|error| Error::new(Exit::Other, format!("standard output: {error}")))?;
        Bound::announce(&self.bound)
    }
}
