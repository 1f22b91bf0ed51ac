//! What people and their machines tell `adit run`: orders, new secrets, the end.

use std::{fs, os::unix::fs::chown, os::unix::fs::symlink, path::Path, thread, time::Duration};

use anyhow::{Result, anyhow, ensure};

use super::{Case, NAME, UP, WEB, World, alone, both, case, connection, gateway, gateway_a, gateway_b, over, server_b};
use crate::{
    client::client_file,
    ike::{
        charon::Charon,
        setup::{PSK, Setup},
    },
    net::Place,
    pki::CLIENT_UID,
    process::run,
    rig::{Rig, check_body},
    running::Running,
    story::Story,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("orders", 25, "C1 C4 C11 C20 G1 G2 G15", orders),
        case("orders_in_vain", 40, "C1 C6 C7 C8 C20 G1 G4 G15", orders_in_vain),
        case("orders_while_lost", 45, "C1 C4 C9 C15 C16 C17 C20 G1 G2 G7 G15", orders_while_lost),
        case("term_drains", 30, "C1 C4 C12 C18 C20 G1 G2", term_drains),
        case("drain_cut_short", 20, "C1 C4 C12 C19 C20 G1 G2", drain_cut_short),
        case("edited", 40, "C1 C4 C9 C13 G1 G2 G3 G11 G16", edited),
        case("secret_swap", 40, "C1 C3 C4 C5 G1 G2 G3 G5 G14", secret_swap),
    ]
}

/// Each is in the activity log with who it was.
fn orders(rig: &Rig) -> Result<()> {
    let world = World::start(rig)?;
    let running = Running::start(rig, &over("", &[gateway_a(rig)?]))?;
    let mut story = alone(rig, &running)?;
    rig.hello(WEB.parse()?)?;
    // Nobody can be asked here.
    ensure!(run(&mut running.tell(rig, &["disconnect", NAME])).is_err(), "it did not ask");
    story.shows(UP, "")?;
    run(&mut running.tell(rig, &["disconnect", "--yes", NAME]))?;
    story.shows(UP, "C11 C20 G15:a")?;
    ensure!(rig.fetch(WEB.parse()?, "/", &[]).is_err(), "its forward still listens");
    ensure!(world.a.counters()?.sas == 0, "the gateway was not told");
    let entry = running.expect_activity(NAME, "disconnected")?;
    // That is what the user without rights is called everywhere.
    ensure!(entry["by"] == "user nobody", "by whom is not in {entry}");
    ensure!(run(&mut running.tell(rig, &["disconnect", "--yes", NAME])).is_err(), "it was disconnected twice");
    run(&mut running.tell(rig, &["connect", NAME]))?;
    story.shows(UP, "C1 C4 G1:a G2:a")?;
    rig.hello(WEB.parse()?)?;
    ensure!(running.activities("connected")? == 2, "there are {} connects", running.activities("connected")?);
    running.terminate(Duration::from_secs(45))
}

/// An attempt that leads nowhere is ended by `adit cancel`, by `adit disconnect`, and by the end of the process.
fn orders_in_vain(rig: &Rig) -> Result<()> {
    let world = World::start(rig)?;
    world.kill_a()?;
    let running = Running::start(rig, &over("", &[gateway_a(rig)?]))?;
    let mut story = Story::new(rig, &running, NAME);
    story.shows(UP, "C1 G1:a G4:a")?;
    run(&mut running.tell(rig, &["cancel", NAME]))?;
    story.shows(UP, "C6 C20 G15:a")?;
    run(&mut running.tell(rig, &["connect", NAME]))?;
    story.shows(UP, "C1 G1:a")?;
    run(&mut running.tell(rig, &["disconnect", "--yes", NAME]))?;
    story.shows(UP, "C7 C20 G15:a")?;
    run(&mut running.tell(rig, &["connect", NAME]))?;
    story.shows(UP, "C1 G1:a")?;
    running.end(Duration::from_secs(45))?;
    story.ends("C8 C20")
}

/// The same while a tunnel that was up is gone.
fn orders_while_lost(rig: &Rig) -> Result<()> {
    let mut world = World::start(rig)?;
    let running = Running::start(rig, &over("liveness = \"fast\"", &[gateway_a(rig)?]))?;
    let mut story = Story::new(rig, &running, NAME);
    for (order, rows) in [
        (Some(["cancel", NAME].as_slice()), "C15 C20"),
        (Some(&["disconnect", "--yes", NAME]), "C16 C20"),
        (None, "C17 C20"),
    ] {
        story.shows(UP, "C1 C4 G1:a G2:a")?;
        world.kill_a()?;
        story.shows(UP, "C9 G7:a")?;
        let Some(order) = order else {
            running.end(Duration::from_secs(45))?;
            return story.ends(rows);
        };
        run(&mut running.tell(rig, order))?;
        story.shows(UP, &format!("{rows} G15:a"))?;
        world.a = Charon::start(rig, Place::Gateway, &Setup::psk().gateway)?;
        run(&mut running.tell(rig, &["connect", NAME]))?;
    }
    Ok(())
}

/// After SIGTERM a live connection goes on to its end, and new ones are refused.
fn term_drains(rig: &Rig) -> Result<()> {
    const LENGTH: usize = 1 << 20;
    let _world = World::start(rig)?;
    let running = Running::start(rig, &over("drain_seconds = 60", &[gateway_a(rig)?]))?;
    let mut story = alone(rig, &running)?;
    thread::scope(|scope| {
        let download = scope.spawn(|| rig.fetch(WEB.parse()?, &format!("/paced/{LENGTH}/12"), &["--patience", "30"]));
        running.wait(rig, NAME, "a connection", UP, |connection| connection["forwards"][0]["open"] == 1)?;
        running.process.signal("TERM")?;
        story.shows(UP, "C12")?;
        ensure!(rig.fetch(WEB.parse()?, "/", &[]).is_err(), "a new connection was accepted");
        for answer in download.join().map_err(|_| anyhow!("the download panicked"))?? {
            check_body(&answer, LENGTH)?;
        }
        anyhow::Ok(())
    })?;
    running.ended(Duration::from_secs(45))?;
    story.ends("C18 C20")
}

/// Somebody has no time for that: `adit disconnect` resets the live connection.
fn drain_cut_short(rig: &Rig) -> Result<()> {
    const LENGTH: usize = 1 << 20;
    let _world = World::start(rig)?;
    let running = Running::start(rig, &over("drain_seconds = 300", &[gateway_a(rig)?]))?;
    let mut story = alone(rig, &running)?;
    thread::scope(|scope| {
        let download = scope.spawn(|| rig.fetch(WEB.parse()?, &format!("/paced/{LENGTH}/60"), &["--patience", "90"]));
        running.wait(rig, NAME, "a connection", UP, |connection| connection["forwards"][0]["open"] == 1)?;
        running.process.signal("TERM")?;
        story.shows(UP, "C12")?;
        run(&mut running.tell(rig, &["disconnect", "--yes", NAME]))?;
        let cut = download.join().map_err(|_| anyhow!("the download panicked"))?;
        ensure!(cut.is_err(), "the download was not cut: {cut:?}");
        anyhow::Ok(())
    })?;
    running.ended(Duration::from_secs(45))?;
    story.ends("C19 C20")
}

/// All gateways are changed at once: whoever is connected stays, and the connection is never down. Of a single gateway nobody can take over.
fn edited(rig: &Rig) -> Result<()> {
    const LENGTH: usize = 1 << 20;
    let _world = World::start(rig)?;
    let keys = "drain_seconds = 60\nfail_back_seconds = \"never\"";
    // Which is a setting of each of them.
    let fast = format!("{keys}\nliveness = \"fast\"");
    let running = Running::start(rig, &connection(rig, keys)?)?;
    let mut story = both(rig, &running)?;
    thread::scope(|scope| {
        let download = scope.spawn(|| rig.fetch(WEB.parse()?, &format!("/paced/{LENGTH}/10"), &["--patience", "30"]));
        running.wait(rig, NAME, "a connection", UP, |connection| connection["forwards"][0]["open"] == 1)?;
        running.reload(rig, &connection(rig, &fast)?)?;
        story.shows(UP, "G16:b G2:b G11:a")?;
        rig.hello(WEB.parse()?)?;
        for answer in download.join().map_err(|_| anyhow!("the download panicked"))?? {
            check_body(&answer, LENGTH)?;
        }
        anyhow::Ok(())
    })?;
    story.shows(UP, "G16:a G3:a")?;
    ensure!(running.activities("restored")? == 0, "the connection was down");
    // What was there is counted on.
    let connection = running.connection(rig, NAME)?;
    ensure!(gateway(&connection, "a")["attempts"] == 2, "{connection:#}");

    running.reload(rig, &over(&fast, &[gateway_b(rig)?]))?;
    running
        .wait(rig, NAME, "one gateway", UP, |connection| connection["gateways"].as_array().map(Vec::len) == Some(1))?;
    running.reload(rig, &over(keys, &[gateway_b(rig)?]))?;
    let mut alone = Story::new(rig, &running, NAME);
    alone.shows(UP, "C1 C4 C9 C13 G1:b G2:b G16:b G2:b")?;
    rig.hello(WEB.parse()?)?;
    running.terminate(Duration::from_secs(45))
}

/// Beside a connection that does not change: a secret that Kubernetes swaps is read anew, and cuts nobody else.
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
    let mut story = both(rig, &running)?;
    let mut of_other = Story::new(rig, &running, "other");
    of_other.shows(UP, "C1 G1:a G5:a C5")?;
    let attempts = |connection: &serde_json::Value| gateway(connection, "a")["attempts"].to_string();
    let before = attempts(&running.connection(rig, NAME)?);
    thread::scope(|scope| {
        let download = scope.spawn(|| rig.fetch(WEB.parse()?, &format!("/paced/{LENGTH}/15"), &["--patience", "30"]));
        running.wait(rig, NAME, "a connection", UP, |connection| connection["forwards"][0]["open"] == 1)?;
        version(&mount, "..2", PSK)?;
        symlink("..2", mount.join("..data_tmp"))?;
        fs::rename(mount.join("..data_tmp"), mount.join("..data"))?;
        of_other.shows(Duration::from_secs(60), "C3 C4 G14:a G2:a")?;
        for answer in download.join().map_err(|_| anyhow!("the download panicked"))?? {
            check_body(&answer, LENGTH)?;
        }
        anyhow::Ok(())
    })?;
    rig.hello(OTHER.parse()?)?;
    let after = attempts(&running.connection(rig, NAME)?);
    ensure!(before == after, "what did not change was connected again: {before} attempts, then {after}");
    story.shows(UP, "")?;
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
