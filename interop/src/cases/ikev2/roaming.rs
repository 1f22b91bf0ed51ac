//! The client's own address changes: another network, another lease.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Case, case};
use crate::{
    ike::{session::IkeSession, setup::Setup},
    net::Place,
    rig::Rig,
};

/// The client looks at its address every three seconds; the rest is for a busy machine.
const NOTICED: Duration = Duration::from_secs(15);

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("client_address_changes", |rig| another_address(rig, true)).takes(10),
        case("client_address_changes_without_mobike", |rig| another_address(rig, false)).takes(10),
        case("client_address_gone_for_a_while", gone_for_a_while).takes(12),
    ]
}

fn setup(mobike: bool) -> Setup {
    Setup::psk().client(|client| client.set("mobike", if mobike { "true" } else { "false" }))
}

/// The old address goes, the new one comes: the same IKE SA, the same connections.
fn another_address(rig: &Rig, mobike: bool) -> Result<()> {
    ensure!(!rig.reference, "what strongSwan does when its address changes is not what this shows");
    let mut session = IkeSession::open(rig, &setup(mobike))?;
    session.exchange()?;
    let mark = session.client.process.mark();
    rig.net.change(Place::Client, "addr del 203.0.113.2/24 dev eth0\naddr add 203.0.113.77/24 dev eth0\n")?;
    session.client.process.wait_text(mark, "our address towards the gateway is now 203.0.113.77", NOTICED)?;
    follows(&mut session, "203.0.113.77")?;
    session.close()
}

/// No address at all, then the old one again.
fn gone_for_a_while(rig: &Rig) -> Result<()> {
    ensure!(!rig.reference, "what strongSwan does when its address changes is not what this shows");
    let mut session = IkeSession::open(rig, &setup(true))?;
    session.exchange()?;
    let mark = session.client.process.mark();
    rig.net.change(Place::Client, "addr del 203.0.113.2/24 dev eth0\n")?;
    session.client.process.wait_text(mark, "no way to 203.0.113.1", NOTICED)?;
    rig.net.change(Place::Client, "addr add 203.0.113.2/24 dev eth0\n")?;
    session.client.process.wait_text(mark, "our address towards the gateway is now 203.0.113.2", NOTICED)?;
    follows(&mut session, "203.0.113.2")?;
    session.close()
}

/// Traffic goes on, from and to this address, through the tunnel that was there before.
fn follows(session: &mut IkeSession<'_>, address: &str) -> Result<()> {
    session.exchange()?;
    ensure!(session.client.events("tunnel up").len() == 1, "the tunnel was set up again");
    let sas = session.gateway.swanctl(&["--list-sas"])?;
    ensure!(sas.contains(address), "the gateway does not know the client at {address}: {sas}");
    Ok(())
}
