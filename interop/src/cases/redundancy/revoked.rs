//! Credentials that are revoked while a tunnel is up.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use anyhow::{Result, ensure};

use super::{Case, NAME, UP, WEB, World, case, connection, expect_state, gateway_state, server_b, wait_both};
use crate::{
    config::Lines,
    ike::{charon::Charon, setup::Setup},
    net::Place,
    rig::Rig,
    running::Running,
    server::Server,
};

/// Nobody may try again in that time, which is several times the first waits between attempts.
const QUIET: Duration = Duration::from_secs(12);

pub(super) fn cases() -> Vec<Case> {
    vec![case("credentials_revoked", 50, revoked)]
}

/// G5, or G13: the first gateway refuses, the second carries; then both refuse, and the connection is failed (C10 or C14). Each
/// gateway refuses once.
fn revoked(rig: &Rig) -> Result<()> {
    let mut world = World::start(rig)?;
    let running = Running::start(rig, &connection(rig, "liveness = \"fast\"\nstandby = \"hot\"")?)?;
    wait_both(rig, &running)?;

    world.kill_a()?;
    let gateway = Setup::psk().gateway.secret("ike.secret", "another key altogether");
    world.a = Charon::start(rig, Place::Gateway, &gateway)?;
    running.wait(rig, NAME, "a refused", Duration::from_secs(90), |connection| {
        gateway_state(connection, "a") == "refused"
    })?;
    expect_state(rig, &running, "connected")?;
    rig.hello(WEB.parse()?)?;
    let again = world.a.process.mark();
    let tried = world.a.process.wait_text(again, "parsed IKE_SA_INIT request", QUIET);
    let at_a = world.a.process.count("parsed IKE_AUTH request");
    ensure!(tried.is_err() && at_a == 1, "a was tried {at_a} times after it had refused: {tried:?}");

    world.kill_b()?;
    world.b = Server::start_at(rig, Place::Gateway2, &refusing(rig, &server_b(rig))?)?;
    running.wait_state(rig, NAME, "failed", Duration::from_secs(120))?;
    expect_state(rig, &running, "failed")?;
    let again = world.b.process.mark();
    let tried = world.b.process.wait_text(again, "multi_create_instance called", QUIET);
    let at_b = world.b.process.count("multi_create_instance called");
    rig.measured(&format!("credentials revoked: attempts at a {at_a}, at b {at_b}, in {QUIET:?} after each refusal"))?;
    ensure!(tried.is_err() && at_b == 1, "b was tried {at_b} times after it had refused: {tried:?}");
    let connection = running.connection(rig, NAME)?;
    ensure!(gateway_state(&connection, "b") == "refused", "b is {}", gateway_state(&connection, "b"));
    running.expect_activity(NAME, "failed")?;
    ensure!(running.wait_state(rig, NAME, "failed", UP).is_ok(), "it did not stay failed");
    rig.note("rows of docs/states.md: G5 or G13, then C14")?;
    running.terminate(Duration::from_secs(45))
}

/// An OpenVPN server, after it was told to let nobody in any more.
pub(in crate::cases) fn refusing(rig: &Rig, server: &Lines) -> Result<Lines> {
    let script = rig.dir.join("refuse.sh");
    fs::write(&script, "#!/bin/sh\nexit 1\n")?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let script = script.display().to_string();
    Ok(server.clone().with(&format!("script-security 2\nclient-connect {script}")))
}
