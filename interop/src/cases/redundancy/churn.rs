//! Ten minutes of everything that happens to a process in months.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Case, NAME, UP, WEB, World, both, case, connection, forward, server_b};
use crate::{
    ike::{charon::Charon, setup::Setup},
    net::Place,
    process::run,
    rig::Rig,
    running::Running,
    server::Server,
};

/// How long it goes on.
const LONG: Duration = Duration::from_secs(600);
/// What an allocator may keep: less than a tunnel with its buffers.
const GROWTH_KIB: u64 = 8 * 1024;
/// Forwards that come and go.
const MORE: usize = 10;
/// Long enough for what is tried ever more slowly.
const AGAIN: Duration = Duration::from_secs(90);

pub(super) fn soak() -> Vec<Case> {
    vec![case("churn", LONG.as_secs() + 120, "C1 C4 C11 C20 G1 G2 G3 G6 G7 G8 G9 G10 G11 G12 G15", churn)]
}

/// Connect and disconnect, forwards added and removed by reloads, gateways killed and started again; nothing is left behind.
fn churn(rig: &Rig) -> Result<()> {
    let mut world = World::start(rig)?;
    let keys = "liveness = \"fast\"\nstandby = \"hot\"\nfail_back_seconds = 2\ndrain_seconds = 2";
    let few = connection(rig, keys)?;
    let further = |index: usize| format!("127.0.0.1:{}", 33100 + index);
    let more: String = (0..MORE).map(|index| forward(&format!("more-{index}"), &further(index), "")).collect();
    let more = few.clone() + &more;
    let running = Running::start(rig, &few)?;
    let mut story = both(rig, &running)?;
    rig.hello(WEB.parse()?)?;
    let started = Instant::now();
    let (mut rounds, mut before) = (0, None);
    while started.elapsed() < LONG || rounds < 2 {
        reload(rig, &running, &more, 1 + MORE)?;
        for index in 0..MORE {
            rig.hello(further(index).parse()?)?;
        }
        reload(rig, &running, &few, 1)?;
        run(&mut running.tell(rig, &["disconnect", "--yes", NAME]))?;
        story.shows(UP, "C11 C20 G15:a G15:b")?;
        run(&mut running.tell(rig, &["connect", NAME]))?;
        // What fails over is counted from the latest connect.
        story = both(rig, &running)?;
        world.kill_b()?;
        story.shows(UP, "G9:b")?;
        rig.hello(WEB.parse()?)?;
        world.b = Server::start_at(rig, Place::Gateway2, &server_b(rig))?;
        story.shows(AGAIN, "G6:b G3:b")?;
        world.kill_a()?;
        story.shows(UP, "G7:a G8:b")?;
        rig.hello(WEB.parse()?)?;
        world.a = Charon::start(rig, Place::Gateway, &Setup::psk().gateway)?;
        story.shows(AGAIN, "G6:a G3:a G10:a G11:b G12:b")?;
        rig.hello(WEB.parse()?)?;
        rounds += 1;
        // What is made at the first time only is part of what there is before.
        let holds = (running.holds()?, running.tasks(rig)?);
        before.get_or_insert(holds);
    }
    let (after, tasks_after) = (running.holds()?, running.tasks(rig)?);
    let Some((before, tasks_before)) = before else { anyhow::bail!("there was no round") };
    rig.measured(&format!(
        "{rounds} rounds in {:.0} s; descriptors {} then {}, tasks {tasks_before} then {tasks_after}, threads {} then {}, resident {} kB then {} kB",
        started.elapsed().as_secs_f64(),
        before.descriptors,
        after.descriptors,
        before.threads,
        after.threads,
        before.resident_kib,
        after.resident_kib,
    ))?;
    ensure!(after.descriptors <= before.descriptors + 2, "descriptors were left behind: {before:?}, {after:?}");
    ensure!(tasks_after <= tasks_before, "tasks were left behind: {tasks_before}, then {tasks_after}");
    ensure!(after.threads <= before.threads + 2, "threads were left behind: {before:?}, {after:?}");
    ensure!(after.resident_kib <= before.resident_kib + GROWTH_KIB, "it has grown: {before:?}, {after:?}");
    running.terminate(Duration::from_secs(45))
}

fn reload(rig: &Rig, running: &Running, text: &str, forwards: usize) -> Result<()> {
    running.reload(rig, text)?;
    running.wait(rig, NAME, "its forwards", UP, |connection| {
        connection["forwards"].as_array().is_some_and(|all| all.len() == forwards)
    })?;
    Ok(())
}
