//! Gateways that come back, and a client that is to be found elsewhere.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};

use super::{Case, NAME, UP, WEB, World, both, case, connection, gateway, gateway_a, gateway_b, gateway_state, over};
use crate::{
    ike::{charon::Charon, setup::Setup},
    net::Place,
    rig::{Rig, check_body},
    running::Running,
    story::Story,
};

/// Long enough for what a client tries ever more slowly.
const AGAIN: Duration = Duration::from_secs(90);

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("fail_back", 60, "C1 C4 G1 G2 G3 G6 G7 G8 G10 G11 G12", fail_back),
        case("blackout", 75, "C1 C4 C9 C13 G1 G2 G3 G6 G7 G9", blackout),
        case("client_moves", 20, "C1 C4 G1 G2", |rig| client_moves(rig, Carrier::Ikev2)),
        case("client_moves_openvpn", 20, "C1 C4 G1 G2", |rig| client_moves(rig, Carrier::OpenVpn)),
    ]
}

/// The better gateway is gone back to when it has been up for a while, and the other one is drained.
fn fail_back(rig: &Rig) -> Result<()> {
    const LENGTH: usize = 1 << 20;
    let mut world = World::start(rig)?;
    let keys = "liveness = \"fast\"\nstandby = \"hot\"\nfail_back_seconds = 5\ndrain_seconds = 90";
    let running = Running::start(rig, &connection(rig, keys)?)?;
    let mut story = both(rig, &running)?;
    world.kill_a()?;
    story.shows(UP, "G7:a G8:b")?;
    thread::scope(|scope| {
        let download = scope.spawn(|| rig.fetch(WEB.parse()?, &format!("/paced/{LENGTH}/50"), &["--patience", "60"]));
        running.wait(rig, NAME, "a connection through b", UP, |connection| {
            gateway(connection, "b")["connections"] == 1 || connection["forwards"][0]["open"] == 1
        })?;
        world.a = Charon::start(rig, Place::Gateway, &Setup::psk().gateway)?;
        let standby = running.wait(rig, NAME, "a up again", AGAIN, |connection| {
            ["standby", "active"].contains(&gateway_state(connection, "a"))
        })?;
        let since = Instant::now();
        let early = gateway_state(&standby, "a") == "active";
        story.shows(AGAIN, "G6:a G3:a G10:a G11:b")?;
        rig.measured(&format!(
            "fail-back {:.1} s after it was up again, of 5 s wanted",
            since.elapsed().as_secs_f64()
        ))?;
        ensure!(!early, "it was gone back to at once");
        rig.hello(WEB.parse()?)?;
        for answer in download.join().map_err(|_| anyhow!("the download panicked"))?? {
            check_body(&answer, LENGTH)?;
        }
        story.shows(UP, "G12:b")
    })?;
    running.terminate(Duration::from_secs(45))
}

/// Nobody can be reached for half a minute: first the one that stands by, then the one in use; and back again.
fn blackout(rig: &Rig) -> Result<()> {
    const DARK: Duration = Duration::from_secs(30);
    let _world = World::start(rig)?;
    let keys = "liveness = \"fast\"\nstandby = \"hot\"\nwhile_down = \"refuse\"";
    let running = Running::start(rig, &connection(rig, keys)?)?;
    let mut story = both(rig, &running)?;
    rig.net.change(Place::Gateway2, "route add blackhole 203.0.115.2/32\n")?;
    story.shows(UP, "G9:b")?;
    let dark = Instant::now();
    rig.net.change(Place::Gateway, "route add blackhole 203.0.113.2/32\n")?;
    running.wait_state(rig, NAME, "reconnecting", UP)?;
    let noticed = dark.elapsed();
    story.shows(UP, "C9 G7:a")?;
    ensure!(rig.fetch(WEB.parse()?, "/", &[]).is_err(), "somebody answered in the dark");
    // The length of the darkness is what is asked for.
    thread::sleep(DARK.saturating_sub(dark.elapsed()));
    rig.net.change(Place::Gateway, "route del blackhole 203.0.113.2/32\n")?;
    let light = Instant::now();
    let connection = running.wait_state(rig, NAME, "connected", AGAIN)?;
    let back = light.elapsed();
    story.shows(UP, "C13 G6:a G2:a")?;
    rig.hello(WEB.parse()?)?;
    let attempts = |name| gateway(&connection, name)["attempts"].to_string();
    rig.measured(&format!(
        "blackout noticed after {:.1} s, connected {:.1} s after its end; attempts: a {}, b {}",
        noticed.as_secs_f64(),
        back.as_secs_f64(),
        attempts("a"),
        attempts("b"),
    ))?;
    rig.net.change(Place::Gateway2, "route del blackhole 203.0.115.2/32\n")?;
    story.shows(AGAIN, "G6:b G3:b")?;
    running.terminate(Duration::from_secs(45))
}

/// Who has the tunnel that moves along with the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carrier {
    /// strongSwan, by MOBIKE.
    Ikev2,
    /// OpenVPN, by the peer-id of each packet.
    OpenVpn,
}

/// The tunnel moves along, which is no change of state: no new attempt, no second tunnel, and not a word in the activity log.
fn client_moves(rig: &Rig, carrier: Carrier) -> Result<()> {
    let world = World::start(rig)?;
    // What is said at the gateway for each tunnel that is set up. strongSwan makes new keys for an address (kernel-libipsec cannot move
    // those it has), within the same IKE SA.
    let (name, table, process, change, to, set_up) = match carrier {
        Carrier::Ikev2 => {
            let change = "addr del 203.0.113.2/24 dev eth0\naddr add 203.0.113.77/24 dev eth0\n";
            ("a", gateway_a(rig)?, &world.a.process, change, "203.0.113.77", "] established between")
        }
        Carrier::OpenVpn => {
            let change = "addr del 203.0.115.2/24 dev eth1\naddr add 203.0.115.77/24 dev eth1\n";
            let set_up = "multi_create_instance called";
            ("b", gateway_b(rig)?, &world.b.process, change, "203.0.115.77", set_up)
        }
    };
    let running = Running::start(rig, &over("liveness = \"fast\"", &[table]))?;
    let mut story = Story::new(rig, &running, NAME);
    story.shows(UP, &format!("C1 C4 G1:{name} G2:{name}"))?;
    rig.hello(WEB.parse()?)?;
    let (told, before) = (running.activity()?, gateway(&running.connection(rig, NAME)?, name).clone());
    let moved = Instant::now();
    rig.net.change(Place::Client, change)?;
    let answers = rig.fetch(WEB.parse()?, "/", &["--retry", "60"])?;
    ensure!(answers.iter().all(|answer| answer.status.contains("200")), "the answer is {answers:?}");
    rig.measured(&format!("client moved: a request succeeds {:.1} s later", moved.elapsed().as_secs_f64()))?;
    ensure!(process.count(to) > 0, "the gateway never saw the new address");
    ensure!(process.count(set_up) == 1, "{set_up:?} is at the gateway {} times", process.count(set_up));
    let now = gateway(&running.connection(rig, NAME)?, name).clone();
    for key in ["attempts", "since"] {
        ensure!(now[key] == before[key], "{key} of the gateway was {}, and is {}", before[key], now[key]);
    }
    ensure!(now["attempts"] == 1, "there were {} attempts", now["attempts"]);
    ensure!(running.activity()? == told, "the activity log tells of the move: {:?}", running.activity()?);
    story.shows(UP, "")?;
    running.terminate(Duration::from_secs(45))
}
