//! What a NAT does to a tunnel, and a network that loses, swaps and doubles; and a client that moves.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Case, case, paced::Transfer};
use crate::{
    ike::{session::IkeSession, setup::Setup},
    net::Place,
    rig::Rig,
};

/// The way to the gateway through a NAT.
const NAT: &str = "10.0.0.1";
/// How the gateway sees the client then.
const OUTSIDE: &str = "198.51.100.2";
/// After so much silence the client asks whether the gateway is there.
const LIVENESS: Duration = Duration::from_secs(4);
/// What a loaded machine may need beyond.
const SLACK: Duration = Duration::from_millis(1500);

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("nat", nat).takes(6),
        case("nat_eap", nat_eap).takes(4),
        case("nat_port_4500", nat_port_4500),
        case("nat_port_change_mobike", |rig| port_changes(rig, true)).takes(25).paced(),
        case("nat_port_change", |rig| port_changes(rig, false)).takes(25).paced(),
        case("address_change_mobike", |rig| address_changes(rig, true)).takes(25).paced(),
        case("address_change", |rig| address_changes(rig, false)).takes(25).paced(),
        case("loss_3_percent", loss).takes(10),
    ]
}

/// The client is told the NAT's address for the gateway.
pub(super) fn behind(setup: Setup) -> Setup {
    setup.client(|client| {
        client.set("remotes", &format!("[{NAT:?}]")).reference(|charon| charon.conn("remote_addrs", NAT))
    })
}

/// A tunnel of keys, with liveness checks soon.
fn nervous(mobike: bool) -> Setup {
    let word = if mobike { "yes" } else { "no" };
    Setup::psk().gateway(|gateway| gateway.conn("mobike", word)).client(|client| {
        let client = client.set("mobike", if mobike { "true" } else { "false" });
        client
            .set("liveness_seconds", &LIVENESS.as_secs().to_string())
            .reference(|charon| charon.conn("mobike", word).conn("dpd_delay", &format!("{}s", LIVENESS.as_secs())))
    })
}

/// The mapping is kept by keepalives when nothing else is sent.
fn nat(rig: &Rig) -> Result<()> {
    let _nat = rig.start_nat(&[])?;
    let setup = behind(Setup::psk()).client(|client| client.set("nat_keepalive_seconds", "1"));
    let mut session = IkeSession::open(rig, &setup)?;
    let identity = Identity::of(&session)?;
    ensure!(identity.host == OUTSIDE, "the gateway sees the client at {identity:?}");
    ensure!(identity.port != "4500" && identity.port != "500", "the NAT has not changed the port: {identity:?}");
    session.exchange()?;
    if !rig.reference {
        rig.wait_relay(Place::Nat, "keepalives", |counters| counters.up.keepalives >= 3)?;
    }
    session.exchange()?;
    session.close()
}

fn nat_eap(rig: &Rig) -> Result<()> {
    let _nat = rig.start_nat(&[])?;
    let mut session = IkeSession::open(rig, &behind(Setup::eap("eap-mschapv2")))?;
    session.exchange()?;
    session.close()
}

/// One port alone: no float.
fn nat_port_4500(rig: &Rig) -> Result<()> {
    ensure!(!rig.reference, "strongSwan floats only from port 500; this case needs adit");
    let _nat = rig.start_nat(&[])?;
    let setup = behind(Setup::psk()).client(|client| {
        client.set("remotes", &format!("[\"{NAT}:4500\"]")).reference(|charon| charon.conn("remote_port", "4500"))
    });
    let mut session = IkeSession::open(rig, &setup)?;
    session.exchange()?;
    session.close()
}

/// The NAT forgets the mapping in the midst of it all. strongSwan goes on sending to the old port until an exchange tells it
/// of the new one; with MOBIKE it has to be UPDATE_SA_ADDRESSES.
fn port_changes(rig: &Rig, mobike: bool) -> Result<()> {
    ensure!(!(rig.reference && mobike), "strongSwan's own client does not notice; this case needs adit");
    let _nat = rig.start_nat(&[])?;
    let mut session = IkeSession::open(rig, &behind(nervous(mobike)))?;
    let before = Identity::of(&session)?;
    let ended = Transfer { seconds: 20 }.run_beside(&session, || rig.rebind_nat())?;
    check_moved(&session, &before, mobike, ended.outage())?;
    let stale = rig.relay_counters_at(Place::Nat)?.down.stale;
    rig.note(&format!("{stale} datagrams came to the old port"))?;
    ensure!(stale > 0, "nothing was ever sent to the old port");
    session.exchange()?;
    session.close()
}

/// Another lease in the midst of it all.
fn address_changes(rig: &Rig, mobike: bool) -> Result<()> {
    let mut session = IkeSession::open(rig, &nervous(mobike))?;
    let before = Identity::of(&session)?;
    ensure!(before.host == "203.0.113.2", "the gateway sees the client at {before:?}");
    let move_on = "addr del 203.0.113.2/24 dev eth0\naddr add 203.0.113.77/24 dev eth0\n";
    let ended = Transfer { seconds: 20 }.run_beside(&session, || rig.net.change(Place::Client, move_on))?;
    let after = check_moved(&session, &before, mobike, ended.outage())?;
    ensure!(after.host == "203.0.113.77", "the gateway sees the client at {after:?}");
    session.exchange()?;
    session.close()
}

/// The same IKE SA goes on elsewhere, and soon.
fn check_moved(session: &IkeSession<'_>, before: &Identity, mobike: bool, outage: Duration) -> Result<Identity> {
    let after = Identity::of(session)?;
    session.rig.measured(&format!("without an echo for {:.2} s", outage.as_secs_f64()))?;
    ensure!(after.spis == before.spis, "another IKE SA: {before:?}, then {after:?}");
    ensure!((&after.host, &after.port) != (&before.host, &before.port), "the gateway has not moved: {after:?}");
    ensure!(!outage.is_zero(), "not one datagram was lost: nothing has changed");
    ensure!(outage <= LIVENESS + SLACK, "nothing came for {outage:?}");
    ensure!(session.client.events("tunnel up").len() <= 1, "the tunnel was set up again");
    if mobike {
        session.gateway.expect("N(UPD_SA_ADDR)")?;
    } else {
        session.gateway.expect_none("N(UPD_SA_ADDR)")?;
    }
    Ok(after)
}

fn loss(rig: &Rig) -> Result<()> {
    let _nat = rig.start_nat(&["--loss", "30", "--swap", "50", "--double", "20"])?;
    let mut session = IkeSession::open(rig, &behind(Setup::eap("eap-mschapv2")))?;
    session.exchange()?;
    let counters = rig.relay_counters_at(Place::Nat)?;
    rig.note(&format!("up {:?}", counters.up))?;
    rig.note(&format!("down {:?}", counters.down))?;
    for passed in [counters.up, counters.down] {
        ensure!(passed.lost > 0 && passed.swapped > 0 && passed.doubled > 0, "the relay did nothing: {passed:?}");
    }
    session.close()
}

/// Which IKE SA the gateway has, and where it sees its client.
#[derive(Debug)]
struct Identity {
    spis: [String; 2],
    host: String,
    port: String,
}

impl Identity {
    fn of(session: &IkeSession<'_>) -> Result<Self> {
        let sas = session.gateway.sas()?;
        let [sa] = sas.as_slice() else { anyhow::bail!("the gateway has {} IKE SAs", sas.len()) };
        let text = |name: &str| sa.text(name).map(str::to_owned).with_context(|| format!("no {name} in {sa:?}"));
        Ok(Self {
            spis: [text("initiator-spi")?, text("responder-spi")?],
            host: text("remote-host")?,
            port: text("remote-port")?,
        })
    }
}
