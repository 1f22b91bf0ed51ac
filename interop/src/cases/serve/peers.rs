//! Two clients at once, who want to go to the same place.

use anyhow::Result;

use super::{Case, openvpn, strongswan};
use crate::{
    config::{self, Transport},
    gateway::{Stranger, WayOut},
    net::Place,
    rig::Rig,
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for out in WayOut::ALL {
        cases.push(Case::new(format!("serve_two_openvpn_peers_{}", out.name()), move |rig| two_openvpn(rig, out)));
        let name = format!("serve_two_strongswan_peers_{}", out.name());
        cases.push(strongswan::case(&name, move |rig| two_strongswan(rig, out)));
    }
    cases
}

fn two_openvpn(rig: &Rig, out: WayOut) -> Result<()> {
    let table = openvpn::table(Transport::Udp);
    let text = table.text.replace("listen = [\"203.0.113.1:1194/udp\"", "listen = [\"0.0.0.0:1194/udp\"");
    let profile = config::profile(&rig.pki, Transport::Udp)?;
    let neighbour = profile.clone().replace("remote 203.0.114.1 1194");
    both(rig, &super::Table { text, ..table }, out, |place| {
        let profile = if place == Place::Client { &profile } else { &neighbour };
        Stranger::openvpn(rig, place, &profile.text(), None)
    })
}

fn two_strongswan(rig: &Rig, out: WayOut) -> Result<()> {
    let table = strongswan::Way::Psk.table();
    let text = table
        .text
        .replace("203.0.113.1:4500", "0.0.0.0:4500")
        // One key for all, so that the two may have different identities.
        .replace(", identity = \"client@example.org\" }", " }");
    both(rig, &super::Table { text, ..table }, out, |place| {
        let config = strongswan::Way::Psk.client();
        let config = match place {
            Place::Nat => config.conn("remote_addrs", "203.0.114.1").conn("local.id", "neighbour@example.org"),
            Place::Client | Place::Gateway | Place::Gateway2 | Place::Lan => config,
        };
        Stranger::strongswan(rig, place, &config)
    })
}

/// Each reaches the same host, while the other does, too; and one that goes does not take the other along.
fn both(rig: &Rig, table: &super::Table, out: WayOut, start: impl Fn(Place) -> Result<Stranger>) -> Result<()> {
    let _lan = rig.start_lan()?;
    rig.net.add_neighbour()?;
    rig.prove_unreachable()?;
    let gateway = table.start(rig, out)?;
    let (first, second) = (start(Place::Client)?, start(Place::Nat)?);
    std::thread::scope(|scope| {
        let one = scope.spawn(|| first.exchange(rig));
        let other = second.exchange(rig);
        one.join().map_err(|_| anyhow::anyhow!("the first exchange panicked"))?.and(other)
    })?;
    first.close()?;
    gateway.wait(" is down: ")?;
    second.exchange(rig)?;
    second.close()?;
    gateway.close()
}
