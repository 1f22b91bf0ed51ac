//! A tunnel that comes again, or another that takes over, with the same address inside: connections live on.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};
use serde_json::Value;

use super::{Case, NAME, UP, WEB, World, both, case, connection, gateway_a, gateway_b, over, server_b};
use crate::{
    ike::{charon::Charon, setup::Setup},
    net::Place,
    rig::{Rig, check_body},
    running::Running,
    server::Server,
    story::Story,
};

/// A download over a gateway that is started again. In a build for development it takes the machine a minute.
const LENGTH: usize = 1 << 30;
/// One that another gateway takes over.
const SHORTER: usize = 128 << 20;
/// So much has come before anything happens.
const SOME: u64 = 8 << 20;

/// Which gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ike,
    OpenVpn,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Ike, Self::OpenVpn];

    const fn name(self) -> &'static str {
        match self {
            Self::Ike => "ikev2",
            Self::OpenVpn => "openvpn",
        }
    }
}

pub(super) fn cases() -> Vec<Case> {
    let restart = |kind: Kind| {
        let name = format!("restart_keeps_1_gib_{}", kind.name());
        case(&name, 90, RESTART, move |rig: &Rig| restart(rig, kind))
    };
    let mut cases: Vec<Case> = Kind::ALL.map(restart).into();
    cases.push(case("takeover_keeps_download", 30, "C1 C4 G1 G2 G3 G7 G8", takeover));
    cases
}

/// The rows of a restart.
const RESTART: &str = "C1 C4 C9 C13 G1 G2 G6 G7";

/// The gateway is stopped in good order and started again, and gives the same address.
fn restart(rig: &Rig, kind: Kind) -> Result<()> {
    // In good order: it tells its clients.
    let b = server_b(rig).with("explicit-exit-notify 1");
    let mut world = World::start_with(rig, &Setup::psk().gateway, &b)?;
    let (name, table) = if kind == Kind::Ike { ("a", gateway_a(rig)?) } else { ("b", gateway_b(rig)?) };
    let running = Running::start(rig, &over("", &[table]))?;
    let mut story = Story::new(rig, &running, NAME);
    story.shows(UP, &format!("C1 C4 G1:{name} G2:{name}"))?;
    let before = running.connection(rig, NAME)?;
    during_download(rig, &running, LENGTH, || {
        match kind {
            Kind::Ike => {
                world.a.process.signal("TERM")?;
                world.a.process.wait_exit(Duration::from_secs(15))?;
                world.a = Charon::start(rig, Place::Gateway, &Setup::psk().gateway)?;
            }
            Kind::OpenVpn => {
                world.b.process.signal("TERM")?;
                world.b.process.wait_exit(Duration::from_secs(15))?;
                world.b = Server::start_at(rig, Place::Gateway2, &b)?;
            }
        }
        Ok(())
    })?;
    story.shows(UP, &format!("C9 G7:{name} C13 G6:{name} G2:{name}"))?;
    let after = running.connection(rig, NAME)?;
    let addresses = |connection: &Value| connection["gateways"][0]["addresses"].to_string();
    ensure!(
        addresses(&before) == addresses(&after),
        "the address is {}, was {}",
        addresses(&after),
        addresses(&before)
    );
    running.terminate(Duration::from_secs(45))
}

/// The other gateway gives the same address, and its tunnel takes the connection over.
fn takeover(rig: &Rig) -> Result<()> {
    let a = Setup::psk().gateway.pool("p4.addrs", "10.8.0.2-10.8.0.9");
    let world = World::start_with(rig, &a, &server_b(rig))?;
    // Until it dies, the lan answers through the first.
    rig.net.change(Place::Lan, "route replace 10.8.0.0/24 via 192.168.100.1\n")?;
    let keys = "liveness = \"fast\"\nstandby = \"hot\"\nfail_back_seconds = \"never\"";
    let running = Running::start(rig, &connection(rig, keys)?)?;
    let mut story = both(rig, &running)?;
    let status = running.connection(rig, NAME)?;
    let addresses = |name| super::gateway(&status, name)["addresses"].to_string();
    rig.note(&format!("addresses: a {}, b {}", addresses("a"), addresses("b")))?;
    during_download(rig, &running, SHORTER, || {
        world.kill_a()?;
        rig.net.lead_back("10.8.0.0/24")
    })?;
    story.shows(UP, "G7:a G8:b")?;
    running.terminate(Duration::from_secs(45))
}

/// Something happens in the middle of a download, which must arrive whole, on the connection it began on.
fn during_download(rig: &Rig, running: &Running, length: usize, happens: impl FnOnce() -> Result<()>) -> Result<()> {
    let started = Instant::now();
    thread::scope(|scope| {
        let download = scope.spawn(|| rig.fetch(WEB.parse()?, &format!("/bytes/{length}"), &["--patience", "90"]));
        running.wait(rig, NAME, "the first megabytes", Duration::from_secs(60), |connection| {
            connection["forwards"][0]["received_bytes"].as_u64().is_some_and(|bytes| bytes > SOME)
        })?;
        happens()?;
        let answers = download.join().map_err(|_| anyhow!("the download panicked"))??;
        answers.iter().try_for_each(|answer| check_body(answer, length))
    })?;
    let forward = running.connection(rig, NAME)?["forwards"][0].clone();
    ensure!(forward["total"] == 1, "there were {} connections", forward["total"]);
    let seconds = started.elapsed().as_secs_f64();
    rig.measured(&format!("{} MiB over the interruption in {seconds:.1} s", length >> 20))
}
