//! Which gateway new connections take.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{Case, NAME, UP, WEB, World, case, connection, forward, gateway, over, server_b};
use crate::{
    client::client_file,
    config::{self, Lines, Transport},
    net::{self, Place},
    process::Process,
    rig::Rig,
    running::Running,
    server::Server,
    story::Story,
};

/// The web server through gateway `b` alone.
const PINNED: &str = "127.0.0.1:33010";

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("pinned", 40, "C1 C4 G1 G2 G3 G4 G6 G9", pinned),
        case("round_robin", 20, "C1 C4 G1 G2 G7", round_robin),
        case("lowest_latency", 45, "C1 C4 G1 G2 G3 G4 G6 G10 G11 G12", lowest_latency),
    ]
}

/// What has come through a gateway so far.
fn received(connection: &Value, name: &str) -> u64 {
    gateway(connection, name)["received_bytes"].as_u64().unwrap_or_default()
}

/// A forward with a gateway of its own goes through that one, and through no other when it is gone.
fn pinned(rig: &Rig) -> Result<()> {
    const LENGTH: usize = 1 << 20;
    let mut world = World::start(rig)?;
    world.kill_b()?;
    let keys = "liveness = \"fast\"\nstandby = \"cold\"\nwhile_down = \"refuse\"";
    let text = connection(rig, keys)? + &forward("pinned", PINNED, "gateway = \"b\"");
    let running = Running::start(rig, &text)?;
    let mut story = Story::new(rig, &running, NAME);
    // Both are dialled at once, for the forward wants the other one: which must not be there first, for it would be kept.
    story.shows(UP, "C1 C4 G1:a G2:a G1:b G4:b")?;
    world.b = Server::start_at(rig, Place::Gateway2, &server_b(rig))?;
    story.shows(Duration::from_secs(60), "G6:b G3:b")?;
    rig.download(PINNED.parse()?, LENGTH)?;
    let through = running.connection(rig, NAME)?;
    let (a, b) = (received(&through, "a"), received(&through, "b"));
    rig.note(&format!("received of a {a}, of b {b} bytes"))?;
    ensure!(b > LENGTH as u64 && a < LENGTH as u64, "received of a {a}, of b {b} bytes");
    rig.download(WEB.parse()?, LENGTH)?;
    let a = received(&running.connection(rig, NAME)?, "a");
    ensure!(a > LENGTH as u64, "the other forward did not go through a: {a} bytes");
    world.kill_b()?;
    story.shows(Duration::from_secs(60), "G9:b")?;
    ensure!(rig.fetch(PINNED.parse()?, "/", &[]).is_err(), "the forward went through another gateway");
    rig.hello(WEB.parse()?)?;
    story.shows(UP, "")?;
    running.terminate(Duration::from_secs(45))
}

/// Each carries its share.
fn round_robin(rig: &Rig) -> Result<()> {
    const LENGTH: usize = 1 << 18;
    let world = World::start(rig)?;
    let running = Running::start(rig, &connection(rig, "policy = \"round-robin\"\nliveness = \"fast\"")?)?;
    let mut story = Story::new(rig, &running, NAME);
    story.shows(UP, "C1 C4 G1:a G2:a G1:b G2:b")?;
    let before = running.connection(rig, NAME)?;
    for _ in 0..8 {
        rig.download(WEB.parse()?, LENGTH)?;
    }
    let after = running.connection(rig, NAME)?;
    let grown = |name| received(&after, name) - received(&before, name);
    rig.measured(&format!("of 8 × {LENGTH} bytes {} through a, {} through b", grown("a"), grown("b")))?;
    for name in ["a", "b"] {
        ensure!(grown(name) >= 3 * LENGTH as u64, "{name} carried {} bytes only", grown(name));
    }
    world.kill_a()?;
    if after["active"] == "a" {
        story.fails_over();
    }
    story.shows(Duration::from_secs(60), "G7:a")?;
    for _ in 0..4 {
        rig.hello(WEB.parse()?)?;
    }
    story.shows(UP, "")?;
    running.terminate(Duration::from_secs(45))
}

/// The quicker of two gateways is taken once it was quicker for a while, and so is the other when it has become the quicker one.
/// Nobody goes to and fro, and no gateway was lost.
fn lowest_latency(rig: &Rig) -> Result<()> {
    /// Milliseconds there and back.
    const QUICK: (u64, u64) = (2, 3);
    const SLOW: (u64, u64) = (20, 20);
    const PATIENCE: Duration = Duration::from_secs(3);
    /// Round trips are smoothed: some more probes, on a machine with other work.
    const NOTICED: Duration = Duration::from_secs(7);
    /// Long enough to go to and fro twice.
    const CALM: Duration = Duration::from_secs(15);
    rig.net.add_second_gateway()?;
    rig.net.lead_back("10.8.0.0/24")?;
    let _lan = rig.start_lan()?;
    rig.prove_unreachable()?;
    let network = config::server(&rig.pki, Transport::Udp);
    let tables = [distant_table(rig, "a", FIRST)?, distant_table(rig, "b", SECOND)?];
    let a =
        Distant::start(rig, Place::Gateway, FIRST, SLOW, &network.clone().replace("server 10.9.0.0 255.255.255.0"))?;
    let keys = format!(
        "policy = \"lowest-latency\"\nfail_back_seconds = {}\ndrain_seconds = 1\nprobe = {{ tcp = {:?}, interval_ms = 200 }}",
        PATIENCE.as_secs(),
        net::WEB.to_string()
    );
    let running = Running::start(rig, &over(&keys, &tables))?;
    let mut story = Story::new(rig, &running, NAME);
    // Nobody is there yet at the quick one.
    story.shows(UP, "C1 C4 G1:a G2:a G1:b G4:b")?;
    let b = Distant::start(rig, Place::Gateway2, SECOND, QUICK, &network)?;
    story.shows(Duration::from_secs(90), "G6:b G3:b")?;
    let up = Instant::now();
    story.shows(PATIENCE + NOTICED, "G10:b G11:a G12:a")?;
    let first = up.elapsed().as_secs_f64();
    let before = round_trips(&running.connection(rig, NAME)?);
    rig.hello(WEB.parse()?)?;
    let swapped = Instant::now();
    rig.delay_relay(Place::Gateway, QUICK)?;
    rig.delay_relay(Place::Gateway2, SLOW)?;
    running.wait(rig, NAME, "a active", PATIENCE + NOTICED, |connection| connection["active"] == "a")?;
    let second = swapped.elapsed();
    story.shows(UP, "G10:a G11:b G12:b")?;
    rig.hello(WEB.parse()?)?;
    // That nothing more happens has no event.
    thread::sleep(CALM);
    story.shows(UP, "")?;
    let (after, switches) = (round_trips(&running.connection(rig, NAME)?), running.activities("switched")?);
    rig.measured(&format!(
        "with round trips of {before} the quicker one was taken {first:.1} s after it was up; with {after} the other one, {:.1} s \
         after the ways were swapped, where it has to be the quicker one for {PATIENCE:?}; switches: {switches}",
        second.as_secs_f64(),
    ))?;
    ensure!(second >= PATIENCE, "the other one was gone to after {second:?}");
    ensure!(switches == 2, "it was switched {switches} times");
    running.terminate(Duration::from_secs(45))?;
    ensure!(a.is_running() && b.is_running(), "a gateway has ended");
    Ok(())
}

/// As the probes have them.
fn round_trips(connection: &Value) -> String {
    let of = |name| gateway(connection, name)["probe_rtt_ms"].as_f64().unwrap_or_default();
    format!("{:.0} and {:.0} ms", of("a"), of("b"))
}

/// Where the two of them are.
const FIRST: &str = "203.0.113.1";
const SECOND: &str = "203.0.115.1";

/// An OpenVPN server behind a relay that makes the way to it longer.
struct Distant {
    server: Server,
    relay: Process,
}

impl Distant {
    /// So many milliseconds away in each direction.
    fn start(rig: &Rig, place: Place, address: &str, (up, down): (u64, u64), server: &Lines) -> Result<Self> {
        let server = Server::start_at(rig, place, server)?;
        let (up, down) = (up.to_string(), down.to_string());
        let relay = rig.start_relay_at(place, address, &["--delay-up", &up, "--delay-down", &down])?;
        Ok(Self { server, relay })
    }

    fn is_running(&self) -> bool {
        self.server.process.is_running() && self.relay.is_running()
    }
}

/// The table of a gateway that is reached by its relay.
fn distant_table(rig: &Rig, name: &str, address: &str) -> Result<String> {
    let profile = config::profile(&rig.pki, Transport::Udp)?.replace(&format!("remote {address} 1195"));
    let file = client_file(&rig.dir.join(format!("{name}.ovpn")), &profile.text())?.display().to_string();
    Ok(format!("[[connection.{NAME}.gateway]]\nname = {name:?}\nprotocol = \"openvpn\"\nprofile = {file:?}\n\n"))
}
