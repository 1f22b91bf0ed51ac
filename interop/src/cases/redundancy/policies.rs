//! Which gateway new connections take.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{Case, NAME, UP, WEB, World, case, connection, expect_state, forward, gateway, gateway_state};
use crate::{rig::Rig, running::Running};

/// The web server through gateway `b` alone.
const PINNED: &str = "127.0.0.1:33010";

pub(super) fn cases() -> Vec<Case> {
    vec![case("pinned", 25, pinned), case("round_robin", 20, round_robin)]
}

/// What has come through a gateway so far.
fn received(connection: &Value, name: &str) -> u64 {
    gateway(connection, name)["received_bytes"].as_u64().unwrap_or_default()
}

/// G1: a forward with a gateway of its own goes through that one, and through no other when it is gone.
fn pinned(rig: &Rig) -> Result<()> {
    const LENGTH: usize = 1 << 20;
    let world = World::start(rig)?;
    let keys = "liveness = \"fast\"\nstandby = \"cold\"\nwhile_down = \"refuse\"";
    let text = connection(rig, keys)? + &forward("pinned", PINNED, "gateway = \"b\"");
    let running = Running::start(rig, &text)?;
    running.wait(rig, NAME, "a active, and b up for the forward", UP, |connection| {
        gateway_state(connection, "a") == "active" && gateway_state(connection, "b") == "standby"
    })?;
    rig.download(PINNED.parse()?, LENGTH)?;
    let through = running.connection(rig, NAME)?;
    let (a, b) = (received(&through, "a"), received(&through, "b"));
    rig.note(&format!("received of a {a}, of b {b} bytes"))?;
    ensure!(b > LENGTH as u64 && a < LENGTH as u64, "received of a {a}, of b {b} bytes");
    rig.download(WEB.parse()?, LENGTH)?;
    let a = received(&running.connection(rig, NAME)?, "a");
    ensure!(a > LENGTH as u64, "the other forward did not go through a: {a} bytes");
    world.kill_b()?;
    running.wait(rig, NAME, "b lost", Duration::from_secs(60), |connection| {
        !["active", "standby"].contains(&gateway_state(connection, "b"))
    })?;
    ensure!(rig.fetch(PINNED.parse()?, "/", &[]).is_err(), "the forward went through another gateway");
    rig.hello(WEB.parse()?)?;
    expect_state(rig, &running, "connected")?;
    rig.note("rows of docs/states.md: G1 G9")?;
    running.terminate(Duration::from_secs(45))
}

/// G2 of both: each carries its share.
fn round_robin(rig: &Rig) -> Result<()> {
    const LENGTH: usize = 1 << 18;
    let world = World::start(rig)?;
    let running = Running::start(rig, &connection(rig, "policy = \"round-robin\"\nliveness = \"fast\"")?)?;
    running.wait(rig, NAME, "both active", UP, |connection| {
        ["a", "b"].iter().all(|name| gateway_state(connection, name) == "active")
    })?;
    let before = running.connection(rig, NAME)?;
    for _ in 0..8 {
        rig.download(WEB.parse()?, LENGTH)?;
    }
    let after = running.connection(rig, NAME)?;
    let grown = |name| received(&after, name) - received(&before, name);
    rig.measured(&format!("of 8 × {LENGTH} bytes {} through a, {} through b", grown("a"), grown("b")))?;
    for name in ["a", "b"] {
        ensure!(grown(name) >= 3 * LENGTH as u64, "{name} carried {} bytes only", grown(name));
        let active = running.metric(rig, "vpn_active_server", &[("connection", NAME), ("server", name)])?;
        ensure!(active == Some(1.0), "the metric of {name} is {active:?}");
    }
    world.kill_a()?;
    running.wait(rig, NAME, "b alone", Duration::from_secs(60), |connection| {
        gateway_state(connection, "a") != "active" && gateway_state(connection, "b") == "active"
    })?;
    for _ in 0..4 {
        rig.hello(WEB.parse()?)?;
    }
    expect_state(rig, &running, "connected")?;
    rig.note("rows of docs/states.md: G2 G7")?;
    running.terminate(Duration::from_secs(45))
}
