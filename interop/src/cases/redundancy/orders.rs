//! What people and their machines tell `adit run`: orders, new secrets, the end.

use std::{fs, os::unix::fs::chown, os::unix::fs::symlink, path::Path, thread, time::Duration};

use anyhow::{Result, anyhow, ensure};

use super::{Case, NAME, UP, WEB, World, case, connection, expect_state, gateway, gateway_a, over, server_b};
use crate::{
    client::client_file,
    ike::setup::{PSK, Setup},
    pki::CLIENT_UID,
    process::run,
    rig::{Rig, check_body},
    running::Running,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("orders", 25, orders),
        case("cancel", 20, cancel),
        case("term_drains", 30, term_drains),
        case("secret_swap", 40, secret_swap),
    ]
}

/// C11 and C20 by `adit disconnect`, C1 by `adit connect`; each is in the activity log with who it was.
fn orders(rig: &Rig) -> Result<()> {
    let world = World::start(rig)?;
    let running = Running::start(rig, &over("", &[gateway_a(rig)?]))?;
    running.wait_state(rig, NAME, "connected", UP)?;
    rig.hello(WEB.parse()?)?;
    // Nobody can be asked here.
    ensure!(run(&mut running.tell(rig, &["disconnect", NAME])).is_err(), "it did not ask");
    expect_state(rig, &running, "connected")?;
    run(&mut running.tell(rig, &["disconnect", "--yes", NAME]))?;
    running.wait_state(rig, NAME, "idle", UP)?;
    expect_state(rig, &running, "idle")?;
    ensure!(rig.fetch(WEB.parse()?, "/", &[]).is_err(), "its forward still listens");
    ensure!(world.a.counters()?.sas == 0, "the gateway was not told");
    let entry = running.expect_activity(NAME, "disconnected")?;
    // That is what the user without rights is called everywhere.
    ensure!(entry["by"] == "user nobody", "by whom is not in {entry}");
    ensure!(run(&mut running.tell(rig, &["disconnect", "--yes", NAME])).is_err(), "it was disconnected twice");
    run(&mut running.tell(rig, &["connect", NAME]))?;
    running.wait_state(rig, NAME, "connected", UP)?;
    rig.hello(WEB.parse()?)?;
    ensure!(running.activities("connected")? == 2, "there are {} connects", running.activities("connected")?);
    rig.note("rows of docs/states.md: C4 C11 C20 C1 C4")?;
    running.terminate(Duration::from_secs(45))
}

/// C6 and C20: an attempt that leads nowhere is ended by `adit cancel`.
fn cancel(rig: &Rig) -> Result<()> {
    let world = World::start(rig)?;
    world.kill_a()?;
    let running = Running::start(rig, &over("", &[gateway_a(rig)?]))?;
    running.wait_state(rig, NAME, "connecting", UP)?;
    run(&mut running.tell(rig, &["cancel", NAME]))?;
    running.wait_state(rig, NAME, "idle", UP)?;
    expect_state(rig, &running, "idle")?;
    running.expect_activity(NAME, "cancelled")?;
    rig.note("rows of docs/states.md: C1 C6 C20")?;
    running.terminate(Duration::from_secs(45))
}

/// C12 and C18: after SIGTERM a live connection goes on to its end, and new ones are refused.
fn term_drains(rig: &Rig) -> Result<()> {
    const LENGTH: usize = 1 << 20;
    let _world = World::start(rig)?;
    let running = Running::start(rig, &over("drain_seconds = 60", &[gateway_a(rig)?]))?;
    running.wait_state(rig, NAME, "connected", UP)?;
    thread::scope(|scope| {
        let download = scope.spawn(|| rig.fetch(WEB.parse()?, &format!("/paced/{LENGTH}/12"), &["--patience", "30"]));
        running.wait(rig, NAME, "a connection", UP, |connection| connection["forwards"][0]["open"] == 1)?;
        running.process.signal("TERM")?;
        running.wait_state(rig, NAME, "draining", UP)?;
        ensure!(rig.fetch(WEB.parse()?, "/", &[]).is_err(), "a new connection was accepted");
        for answer in download.join().map_err(|_| anyhow!("the download panicked"))?? {
            check_body(&answer, LENGTH)?;
        }
        anyhow::Ok(())
    })?;
    let status = running.process.wait_end(Duration::from_secs(45))?;
    ensure!(status.code() == Some(0), "it ended with {status}");
    running.expect_activity(NAME, "disconnected")?;
    rig.note("rows of docs/states.md: C12 C18 C20")
}

/// C3 beside a connection that does not change: a secret that Kubernetes swaps is read anew, and cuts nobody else.
fn secret_swap(rig: &Rig) -> Result<()> {
    const LENGTH: usize = 1 << 20;
    const OTHER: &str = "127.0.0.1:33020";
    // Both connections are the same client to the gateway: one must not throw the other out.
    let gateway_of_both = Setup::psk().gateway.conn("unique", "never");
    let _world = World::start_with(rig, &gateway_of_both, &server_b(rig))?;
    // As the kubelet does: `..data` leads to a folder, and is swapped as a whole.
    let mount = rig.dir.join("secret");
    folder(&mount)?;
    version(&mount, "..1", "a password of before")?;
    symlink("..1", mount.join("..data"))?;
    symlink("..data/psk", mount.join("psk"))?;
    let own = format!("psk = {{ file = {:?} }}", mount.join("psk").display().to_string());
    let table = gateway_a(rig)?;
    let changed = table.lines().map(|line| if line.starts_with("psk = ") { own.as_str() } else { line });
    let changed: String = changed.flat_map(|line| [line, "\n"]).collect();
    let other =
        over("", &[changed + "\n"]).replace(&format!("connection.{NAME}"), "connection.other").replace(WEB, OTHER);
    let running = Running::start(rig, &(connection(rig, "")? + &other))?;
    running.wait_state(rig, NAME, "connected", UP)?;
    running.wait_state(rig, "other", "failed", UP)?;
    let attempts = |connection: &serde_json::Value| gateway(connection, "a")["attempts"].to_string();
    let before = attempts(&running.connection(rig, NAME)?);
    thread::scope(|scope| {
        let download = scope.spawn(|| rig.fetch(WEB.parse()?, &format!("/paced/{LENGTH}/15"), &["--patience", "30"]));
        running.wait(rig, NAME, "a connection", UP, |connection| connection["forwards"][0]["open"] == 1)?;
        version(&mount, "..2", PSK)?;
        symlink("..2", mount.join("..data_tmp"))?;
        fs::rename(mount.join("..data_tmp"), mount.join("..data"))?;
        running.wait_state(rig, "other", "connected", Duration::from_secs(60))?;
        for answer in download.join().map_err(|_| anyhow!("the download panicked"))?? {
            check_body(&answer, LENGTH)?;
        }
        anyhow::Ok(())
    })?;
    rig.hello(OTHER.parse()?)?;
    let after = attempts(&running.connection(rig, NAME)?);
    ensure!(before == after, "what did not change was connected again: {before} attempts, then {after}");
    running.expect_activity("other", "failed")?;
    running.expect_activity("other", "edited")?;
    rig.note("rows of docs/states.md: C5 C3 C4, and G14")?;
    running.terminate(Duration::from_secs(45))
}

/// A folder of the client's user.
fn folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path)?;
    Ok(chown(path, Some(CLIENT_UID), Some(CLIENT_UID))?)
}

/// One state of the secret.
fn version(mount: &Path, name: &str, secret: &str) -> Result<()> {
    folder(&mount.join(name))?;
    client_file(&mount.join(name).join("psk"), &format!("{secret}\n")).map(drop)
}
