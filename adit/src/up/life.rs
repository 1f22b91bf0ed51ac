//! From making the device to undoing everything.

use std::{io, io::Write, path::Path, sync::Arc, time::Duration};

use adit_driver::{
    Names,
    redundancy::{RedundancyEvent, Redundant},
    system::{Recovered, recover},
};
use adit_tunnel::NetworkConfig;
use tokio::task::JoinSet;

use super::{
    Down, Keeper, Told,
    keeper::Surround,
    lost, mark,
    options::{TunOptions, User},
    rights,
    surroundings::Surroundings,
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
    let names = Names::default();
    let mut surroundings = Surroundings::open(options, &connection.name, &names)?;
    if let Err(error) = surroundings.renew() {
        warn_of_block(surroundings.name());
        return Err(error);
    }
    if let Some(user) = user {
        if !surroundings.outlives_rights() {
            let error = Error::new(Exit::Usage, "`resolvconf` cannot be run again once root is given up");
            return Err(error.hint("say --dns file or --no-dns, or leave --run-as away"));
        }
        rights::give_up(user).map_err(|error| Error::new(Exit::LocalSocket, format!("--run-as: {error}")))?;
    }
    let mut redundancy = connection.redundancy;
    redundancy.tunnel.mark = mark(options);
    redundancy.tunnel.names = Some(names);
    redundancy.tunnel.wait_for_tunnel = connection.wait;
    // From here on what hangs holds up nothing else: a thread that begins now has no more rights than this one.
    let mut keeper = Keeper::start(move || Ok(Box::new(surroundings)))?;
    let redundant = Redundant::start(connection.gateways.clone(), redundancy, Arc::new(Person::new()));
    keeper.attach(&redundant, &connection.gateways);
    let (stopper, stop) = Stopper::new();
    let name = String::new();
    let mut connected = Connected { keeper, name, redundant, wait: connection.wait, bound, stop };
    match connected.run(&mut signals).await {
        Ok(exit) => {
            tracing::info!("closing the tunnel");
            // Nobody is let in any more, who would be cut with the others.
            stopper.drain();
            let ended = async {
                // Goodbye first: what fails closed is closed until the end.
                connected.redundant.close().await;
                connected.keeper.undo(None);
                connected.until_gone().await;
                exit
            };
            // Told once more, it says no goodbye.
            let again = tokio::select! {
                exit = ended => return Ok(exit),
                again = signals.next() => again,
            };
            connected.keeper.undo(None);
            connected.until_gone().await;
            Ok(again)
        }
        Err(error) => {
            // Nobody has asked for the end: what fails closed stays closed.
            connected.keeper.rest(None);
            connected.keeper.leave(None);
            connected.until_gone().await;
            Err(error)
        }
    }
}

/// Undoes what a process has left that died.
pub(crate) fn down(arguments: &Down) -> Result<Exit, Error> {
    let Down { name, state_dir, force } = arguments;
    match recover(state_dir, name, *force) {
        Ok(Recovered { undone: 0, failed }) if failed.is_empty() => {
            tracing::info!("{}", nothing_left(state_dir, name));
            Ok(Exit::Ok)
        }
        Ok(Recovered { undone, failed }) => {
            if undone > 0 {
                tracing::info!(device = name, changes = undone, "undid what was left behind");
            }
            for failed in &failed {
                tracing::warn!(device = name, "{failed}");
            }
            if failed.is_empty() {
                return Ok(Exit::Ok);
            }
            if *force {
                tracing::warn!(device = name, changes = failed.len(), "forgot what cannot be undone");
                return Ok(Exit::Ok);
            }
            let text = format!("not everything that {name} has left behind could be undone: {}", failed.len());
            let hint = format!("do it by hand, as it says above, then `adit down --name {name} --force` forgets it");
            Err(Error::new(Exit::LocalSocket, text).hint(hint))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let error = Error::new(Exit::LocalSocket, format!("{name} belongs to a process that lives"));
            Err(error.hint("end that process: it undoes everything itself"))
        }
        Err(error) => Err(Error::new(Exit::LocalSocket, error)),
    }
}

/// That there was nothing to undo, and for which names there may be.
fn nothing_left(state_dir: &Path, name: &str) -> String {
    let mut journals: Vec<String> = std::fs::read_dir(state_dir)
        .into_iter()
        .flatten()
        .flatten()
        // They stay after their process, and are empty where nothing is left.
        .filter(|entry| entry.metadata().is_ok_and(|data| data.len() > 0))
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".journal").map(str::to_owned))
        .collect();
    journals.sort();
    let folder = state_dir.display();
    match journals.is_empty() {
        true => format!("nothing was left behind by {name}; {folder} has no journal of any device"),
        false => format!("nothing was left behind by {name}; journals in {folder}: {}", journals.join(", ")),
    }
}

fn warn_of_block(name: &str) {
    tracing::warn!(
        device = name,
        "what belongs in the tunnel stays blocked: the next start takes that over, `adit down --name {name}` ends it"
    );
}

struct Connected {
    keeper: Keeper,
    /// Of the device.
    name: String,
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
                told = self.keeper.next() => {
                    match told {
                        Told::Opened(name) => self.name = name,
                        Told::Fits(Some(shape)) if shape.first => self.begin(&shape.network, &mut forwards)?,
                        Told::Fits(_) | Told::Replaced(_) | Told::Rested { .. } | Told::Gone => {}
                        Told::Failed(error) | Told::Lost(error) => return Err(error),
                    }
                    continue;
                }
                event = events.next() => event,
            };
            match event {
                Some(RedundancyEvent::Closed(failure)) => return Err(failure.into()),
                Some(RedundancyEvent::DeviceLost) => return Err(lost(&self.name)),
                // Events may be missed, the snapshot is never wrong.
                Some(_) => self.keeper.follow(self.redundant.status()),
                None => return Err(self.redundant.closed().await.into()),
            }
        }
    }

    /// Waits until nothing is left of the device.
    async fn until_gone(&mut self) {
        loop {
            match self.keeper.next().await {
                Told::Gone => return,
                Told::Lost(error) => return tracing::warn!(device = self.name, "not everything is undone: {error}"),
                Told::Rested { blocks: true } => {
                    warn_of_block(&self.name);
                }
                Told::Failed(error) => tracing::warn!(device = self.name, "{error}"),
                Told::Rested { blocks: false } | Told::Opened(_) | Told::Replaced(_) | Told::Fits(_) => {}
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
        let written = writeln!(stdout, "up {} {}", self.name, addresses.join(" "));
        let written = written.and_then(|()| stdout.flush());
        drop(stdout);
        written.map_err(|error| Error::new(Exit::Other, format!("standard output: {error}")))?;
        Bound::announce(&self.bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Folder;

    #[test]
    fn where_nothing_was_left_it_says_so_and_names_the_journals_that_are_there() {
        let folder = Folder::new();
        let none = nothing_left(&folder.path().join("none"), "nosuch0");
        assert!(none.starts_with("nothing was left behind by nosuch0; ") && none.ends_with("no journal of any device"));
        for (file, text) in [("vpn1.journal", "{}\n"), ("vpn0.journal", "{}\n"), ("done.journal", ""), ("other", "x")] {
            std::fs::write(folder.path().join(file), text).unwrap();
        }
        let some = nothing_left(folder.path(), "nosuch0");
        assert!(some.ends_with(": vpn0, vpn1"), "{some}");
    }
}
