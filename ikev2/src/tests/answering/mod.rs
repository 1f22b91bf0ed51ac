//! The gateway's end, with our own client before it: who is let in, what strangers can do, and what becomes of a client.

mod addresses;
mod credentials;
mod ends;
mod limits;
mod paths;
mod strangers;
mod verdicts;

use adit_tunnel::CloseKind;

use super::{
    millis, secs,
    simulation::{Ends, Plan, World, certificates, password},
};
use crate::ServerError;

fn plan(change: impl FnOnce(&mut Ends)) -> Plan {
    Ends::new(change).plan()
}

fn up(change: impl FnOnce(&mut Ends)) -> World {
    plan(change).up(1)
}

/// A client that is turned away: how that ended for it, and why the gateway did.
fn turned_away(change: impl FnOnce(&mut Ends)) -> (CloseKind, ServerError) {
    let mut world = plan(change).start(1);
    world.run(secs(70));
    let kind = world.clients[0].driven.closed().expect("the client has ended").kind;
    let census = world.census();
    assert_eq!((census.peers, census.deadlines, census.openers), (0, 0, 0));
    (kind, why(&world))
}

/// Why the gateway's only end so far is no more.
fn why(world: &World) -> ServerError {
    let [(_, _, closed)] = &world.listener.departed[..] else { panic!("{:?}", world.listener.departed) };
    closed.source.downcast_ref::<ServerError>().expect("a ServerError").clone()
}
