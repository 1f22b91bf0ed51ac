//! Gateways that come back, or are to be found elsewhere; a client that is.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};

use super::{
    Case, NAME, UP, WEB, World, case, connection, expect_state, gateway, gateway_a, gateway_state, over, server_b,
    wait_both,
};
use crate::{
    client::{client_file, without_rights},
    config::{self, Transport},
    ike::{charon::Charon, setup::Setup},
    net::Place,
    rig::{Rig, check_body},
    running::Running,
    server::Server,
};

/// Long enough for what a client tries ever more slowly.
const AGAIN: Duration = Duration::from_secs(90);

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("fail_back", 60, fail_back),
        case("blackout", 60, blackout),
        case("client_moves", 20, client_moves),
        case("name_changes", 30, name_changes),
    ]
}

/// G7, G8, then G4 and G6 until it is back: G3, G10 and G11; G12 when the live connection has ended.
fn fail_back(rig: &Rig) -> Result<()> {
    const LENGTH: usize = 1 << 20;
    let mut world = World::start(rig)?;
    let keys = "liveness = \"fast\"\nstandby = \"hot\"\nfail_back_seconds = 5\ndrain_seconds = 90";
    let running = Running::start(rig, &connection(rig, keys)?)?;
    wait_both(rig, &running)?;
    world.kill_a()?;
    running.wait(rig, NAME, "b active", UP, |connection| gateway_state(connection, "b") == "active")?;
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
        running.wait(rig, NAME, "fail-back, and b draining", AGAIN, |connection| {
            gateway_state(connection, "a") == "active" && gateway_state(connection, "b") == "draining"
        })?;
        rig.measured(&format!(
            "fail-back {:.1} s after it was up again, of 5 s wanted",
            since.elapsed().as_secs_f64()
        ))?;
        ensure!(!early, "it was gone back to at once");
        rig.hello(WEB.parse()?)?;
        for answer in download.join().map_err(|_| anyhow!("the download panicked"))?? {
            check_body(&answer, LENGTH)?;
        }
        running.wait(rig, NAME, "b standby", UP, |connection| gateway_state(connection, "b") == "standby")
    })?;
    expect_state(rig, &running, "connected")?;
    ensure!(running.activities("switched")? >= 2, "not both switches are in the activity log");
    rig.note("rows of docs/states.md: G7 G8 G3 G10 G11 G12")?;
    running.terminate(Duration::from_secs(45))
}

/// C9, G7 and G9; C13 when it is over. Nobody can be reached for half a minute.
fn blackout(rig: &Rig) -> Result<()> {
    const DARK: Duration = Duration::from_secs(30);
    let _world = World::start(rig)?;
    let keys = "liveness = \"fast\"\nstandby = \"hot\"\nwhile_down = \"refuse\"";
    let running = Running::start(rig, &connection(rig, keys)?)?;
    wait_both(rig, &running)?;
    let dark = Instant::now();
    rig.net.change(Place::Gateway, "route add blackhole 203.0.113.2/32\n")?;
    rig.net.change(Place::Gateway2, "route add blackhole 203.0.115.2/32\n")?;
    running.wait_state(rig, NAME, "reconnecting", UP)?;
    let noticed = dark.elapsed();
    expect_state(rig, &running, "reconnecting")?;
    ensure!(rig.fetch(WEB.parse()?, "/", &[]).is_err(), "somebody answered in the dark");
    // The length of the darkness is what is asked for.
    thread::sleep(DARK.saturating_sub(dark.elapsed()));
    rig.net.change(Place::Gateway, "route del blackhole 203.0.113.2/32\n")?;
    rig.net.change(Place::Gateway2, "route del blackhole 203.0.115.2/32\n")?;
    let light = Instant::now();
    let connection = running.wait_state(rig, NAME, "connected", AGAIN)?;
    let back = light.elapsed();
    expect_state(rig, &running, "connected")?;
    rig.hello(WEB.parse()?)?;
    running.expect_activity(NAME, "restored")?;
    let attempts = |name| gateway(&connection, name)["attempts"].to_string();
    rig.measured(&format!(
        "blackout noticed after {:.1} s, connected {:.1} s after its end; attempts: a {}, b {}",
        noticed.as_secs_f64(),
        back.as_secs_f64(),
        attempts("a"),
        attempts("b"),
    ))?;
    rig.note("rows of docs/states.md: C9 C13 G7 G9 G4 G6")?;
    running.terminate(Duration::from_secs(45))
}

/// No row: the tunnel moves along (MOBIKE), or is made anew; the connection is connected in the end, and a request succeeds.
fn client_moves(rig: &Rig) -> Result<()> {
    let world = World::start(rig)?;
    let running = Running::start(rig, &over("liveness = \"fast\"", &[gateway_a(rig)?]))?;
    running.wait_state(rig, NAME, "connected", UP)?;
    rig.hello(WEB.parse()?)?;
    let moved = Instant::now();
    rig.net.change(Place::Client, "addr del 203.0.113.2/24 dev eth0\naddr add 203.0.113.77/24 dev eth0\n")?;
    let answers = rig.fetch(WEB.parse()?, "/", &["--retry", "60"])?;
    ensure!(answers.iter().all(|answer| answer.status.contains("200")), "the answer is {answers:?}");
    let took = moved.elapsed();
    let connection = running.wait_state(rig, NAME, "connected", AGAIN)?;
    expect_state(rig, &running, "connected")?;
    let established = world.a.process.count("established with SPIs");
    rig.measured(&format!(
        "client moved: a request succeeds {:.1} s later; CHILD_SAs made {established}, attempts {}",
        took.as_secs_f64(),
        gateway(&connection, "a")["attempts"]
    ))?;
    ensure!(world.a.process.count("203.0.113.77") > 0, "the gateway never saw the new address");
    rig.note("row of docs/states.md: C4, and C9 with C13 if the tunnel is made anew")?;
    running.terminate(Duration::from_secs(45))
}

/// C9, then C13 at another address: the name is resolved anew at each attempt (G6).
fn name_changes(rig: &Rig) -> Result<()> {
    const HOST: &str = "gw.example.org";
    // Silence counts after four seconds.
    let server = server_b(rig).replace("keepalive 1 4");
    // The same server at both places: the first in the namespace of gateway `a`, whose daemon is in nobody's way.
    let world = World::start_with(rig, &Setup::psk().gateway, &server)?;
    let first = Server::start_at(rig, Place::Gateway, &server)?;
    let hosts = rig.dir.join("hosts");
    fs::write(&hosts, format!("127.0.0.1 localhost\n203.0.113.1 {HOST}\n"))?;
    let profile = config::profile(&rig.pki, Transport::Udp)?.replace(&format!("remote {HOST} 1194"));
    let file = client_file(&rig.dir.join("named.ovpn"), &profile.text())?.display().to_string();
    let table = format!("[[connection.{NAME}.gateway]]\nname = \"a\"\nprotocol = \"openvpn\"\nprofile = {file:?}\n\n");
    let mut command = rig.net.command(Place::Client, "unshare");
    let script = "mount --make-rprivate /; mount --bind \"$1\" /etc/hosts; shift; exec setpriv \"$@\"";
    command.args(["--mount", "sh", "-ec", script, "sh"]).arg(&hosts);
    without_rights(&mut command);
    let running = Running::start_by(rig, &over("", &[table]), command)?;
    let before = running.wait_state(rig, NAME, "connected", UP)?;
    let remote = |connection: &serde_json::Value| gateway(connection, "a")["remote"].to_string();
    ensure!(remote(&before).contains("203.0.113.1"), "it is connected to {}", remote(&before));
    first.process.signal("KILL")?;
    // In place: the mount is of this very file.
    fs::write(&hosts, format!("127.0.0.1 localhost\n203.0.115.1 {HOST}\n"))?;
    // What comes between may be over too soon to be seen; it is in the activity log.
    running.wait(rig, NAME, "a tunnel to the other address", AGAIN, |connection| {
        connection["state"] == "connected" && remote(connection).contains("203.0.115.1")
    })?;
    expect_state(rig, &running, "connected")?;
    rig.hello(WEB.parse()?)?;
    running.expect_activity(NAME, "disconnected")?;
    running.expect_activity(NAME, "restored")?;
    world.b.wait("Peer Connection Initiated", UP)?;
    rig.note("rows of docs/states.md: C9 G7 G6 C13")?;
    running.terminate(Duration::from_secs(45))
}
