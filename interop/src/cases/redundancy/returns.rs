//! Gateways that come back, and a client that is to be found elsewhere.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};

use super::{Case, NAME, UP, WEB, World, alone, both, case, connection, gateway, gateway_a, gateway_state, over};
use crate::{
    ike::{charon::Charon, setup::Setup},
    net::Place,
    rig::{Rig, check_body},
    running::Running,
};

/// Long enough for what a client tries ever more slowly.
const AGAIN: Duration = Duration::from_secs(90);

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("fail_back", 60, "C1 C4 G1 G2 G3 G6 G7 G8 G10 G11 G12", fail_back),
        case("blackout", 75, "C1 C4 C9 C13 G1 G2 G3 G6 G7 G9", blackout),
        case("client_moves", 20, "C1 C4 G1 G2", client_moves),
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

/// The tunnel moves along (MOBIKE), which is no change of state; the connection is connected in the end, and a request succeeds.
fn client_moves(rig: &Rig) -> Result<()> {
    let world = World::start(rig)?;
    let running = Running::start(rig, &over("liveness = \"fast\"", &[gateway_a(rig)?]))?;
    let mut story = alone(rig, &running)?;
    rig.hello(WEB.parse()?)?;
    let moved = Instant::now();
    rig.net.change(Place::Client, "addr del 203.0.113.2/24 dev eth0\naddr add 203.0.113.77/24 dev eth0\n")?;
    let answers = rig.fetch(WEB.parse()?, "/", &["--retry", "60"])?;
    ensure!(answers.iter().all(|answer| answer.status.contains("200")), "the answer is {answers:?}");
    let took = moved.elapsed();
    let connection = running.wait_state(rig, NAME, "connected", AGAIN)?;
    let established = world.a.process.count("established with SPIs");
    rig.measured(&format!(
        "client moved: a request succeeds {:.1} s later; CHILD_SAs made {established}, attempts {}",
        took.as_secs_f64(),
        gateway(&connection, "a")["attempts"]
    ))?;
    ensure!(world.a.process.count("203.0.113.77") > 0, "the gateway never saw the new address");
    story.shows(UP, "")?;
    running.terminate(Duration::from_secs(45))
}
