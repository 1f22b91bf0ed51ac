//! The world, put to the test by a toy protocol: what it promises, and that it notices who breaks the contract.

mod breaches;
mod by_hand;
mod toy;
mod world;

use std::time::Duration;

use crate::{Pair, Setup};
use toy::{Faults, ToyClient, ToyListener};

type World = Pair<ToyClient, ToyListener>;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn world(change: impl FnOnce(&mut Setup)) -> World {
    broken_world(Faults::default(), change)
}

fn broken_world(faults: Faults, change: impl FnOnce(&mut Setup)) -> World {
    let mut setup = Setup::default();
    change(&mut setup);
    Pair::new(setup, move |birth| ToyClient::new(birth, faults), move |birth| ToyListener::new(birth, faults))
}
