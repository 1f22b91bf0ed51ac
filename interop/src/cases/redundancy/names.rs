//! A gateway that is known by its name, whose addresses change.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Case, NAME, UP, WEB, World, alone, case, gateway, over, server_b};
use crate::{
    client::client_file,
    config::{self, Transport},
    ike::setup::Setup,
    net::Place,
    process::Process,
    resolv_conf::ResolvConf,
    rig::Rig,
    running::Running,
    server::Server,
};

const HOST: &str = "gw.example.org";
/// Somebody in the outer network who is neither client nor gateway.
const NAME_SERVER: &str = "203.0.113.9:53";
/// Addresses where nobody is.
const DEAD: [&str; 2] = ["203.0.113.99", "2001:db8::99"];
const FIRST: &str = "203.0.113.1";
const SECOND: &str = "203.0.115.1";
const SECOND_V6: &str = "2001:db8:1::1";
/// Long enough for what a client tries ever more slowly.
const AGAIN: Duration = Duration::from_secs(90);

pub(super) fn cases() -> Vec<Case> {
    vec![case("name_changes", 60, "C1 C4 C9 C13 G1 G2 G4 G6 G7", name_changes)]
}

/// The name server of the outer network, whose answer can be changed. Whoever asks is told that it is good for five minutes.
struct NameServer {
    process: Process,
    zone: PathBuf,
    _resolver: ResolvConf,
}

impl NameServer {
    fn start(rig: &Rig, addresses: &[&str]) -> Result<Self> {
        let zone = rig.dir.join("zone");
        write(&zone, addresses)?;
        let path = zone.display().to_string();
        let mut command = rig.tool(Place::Gateway, &["names", NAME_SERVER, &path]);
        let process = Process::spawn(&rig.process_name("names"), &rig.dir, &mut command)?;
        process.wait_text(0, "ready", Duration::from_secs(10))?;
        let address = NAME_SERVER.split(':').next().unwrap_or_default();
        let resolver = ResolvConf::new(rig, Place::Client, &format!("nameserver {address}\n"))?;
        Ok(Self { process, zone, _resolver: resolver })
    }

    /// From now on the name means something else.
    fn change(&self, addresses: &[&str]) -> Result<()> {
        write(&self.zone, addresses)
    }

    /// How often it was asked for the addresses of this family.
    fn asked(&self, kind: &str) -> usize {
        self.process.count(&format!("asked {HOST} {kind}:"))
    }
}

/// As a whole: it may be read at any moment.
fn write(zone: &PathBuf, addresses: &[&str]) -> Result<()> {
    let text: String = addresses.iter().map(|address| format!("{HOST} {address}\n")).collect();
    let new = zone.with_extension("new");
    fs::write(&new, text)?;
    Ok(fs::rename(new, zone)?)
}

/// The name is resolved anew at each attempt, and all it means is tried, IPv6 and IPv4: twice the only gateway that is left is
/// behind the last address, and it is another one each time.
fn name_changes(rig: &Rig) -> Result<()> {
    // Silence counts after four seconds; and it listens to both families.
    let server = server_b(rig).replace("keepalive 1 4").replace("proto udp6").with("multihome");
    // The same server at both places: the first in the namespace of gateway `a`, whose daemon is in nobody's way.
    let world = World::start_with(rig, &Setup::psk().gateway, &server)?;
    rig.net.change(Place::Gateway2, &format!("addr add {SECOND_V6}/64 dev client nodad\n"))?;
    rig.net.change(Place::Client, "addr add 2001:db8:1::2/64 dev eth1 nodad\n")?;
    let first = Server::start_at(rig, Place::Gateway, &server)?;
    rig.net.change(Place::Lan, "route replace 10.8.0.0/24 via 192.168.100.1\n")?;
    let names = NameServer::start(rig, &[DEAD[0], DEAD[1], FIRST])?;
    let profile = config::profile(&rig.pki, Transport::Udp)?.replace(&format!("remote {HOST} 1194"));
    let profile = profile.with("server-poll-timeout 6");
    let file = client_file(&rig.dir.join("named.ovpn"), &profile.text())?.display().to_string();
    let table = format!("[[connection.{NAME}.gateway]]\nname = \"a\"\nprotocol = \"openvpn\"\nprofile = {file:?}\n\n");
    let running = Running::start(rig, &over("", &[table]))?;
    let mut story = alone(rig, &running)?;
    let status = |running: &Running| running.connection(rig, NAME);
    expect_remote(&status(&running)?, FIRST)?;
    ensure!(attempts(&status(&running)?) == 1, "one attempt tries all addresses: {}", status(&running)?);
    ensure!(names.asked("A") > 0 && names.asked("AAAA") > 0, "not both families were asked for");
    rig.hello(WEB.parse()?)?;

    first.process.signal("KILL")?;
    story.shows(UP, "C9 G7:a")?;
    // As long as the answer is the same, it is asked for again and again.
    let tried = running.wait(rig, NAME, "three attempts more", AGAIN, |connection| attempts(connection) >= 4)?;
    story.shows(UP, "G6:a G4:a")?;
    let (before, tried) = (names.asked("A"), attempts(&tried));
    ensure!(before as u64 >= tried - 1, "{tried} attempts, but only {before} questions for the address");
    rig.net.lead_back("10.8.0.0/24")?;
    names.change(&[DEAD[0], SECOND_V6])?;
    let changed = Instant::now();
    // What comes between may be over too soon to be seen; it is in the activity log.
    story.shows(AGAIN, "G6:a G2:a C13")?;
    expect_remote(&status(&running)?, SECOND_V6)?;
    rig.measured(&format!(
        "connected to the other address {:.1} s after the name had changed; {tried} attempts and {before} questions before, {} after",
        changed.elapsed().as_secs_f64(),
        names.asked("A") - before,
    ))?;
    ensure!(names.asked("A") > before, "nobody has asked again");
    rig.hello(WEB.parse()?)?;

    // Now IPv6 leads nowhere, and IPv4 does.
    names.change(&[DEAD[1], SECOND])?;
    rig.net.change(Place::Gateway2, &format!("addr del {SECOND_V6}/64 dev client\n"))?;
    story.shows(UP, "C9 G7:a")?;
    story.shows(AGAIN, "G6:a G2:a C13")?;
    expect_remote(&status(&running)?, SECOND)?;
    rig.hello(WEB.parse()?)?;
    world.b.wait("Peer Connection Initiated", UP)?;
    running.terminate(Duration::from_secs(45))
}

fn attempts(connection: &Value) -> u64 {
    gateway(connection, "a")["attempts"].as_u64().unwrap_or_default()
}

/// Demands that the tunnel goes to this address.
fn expect_remote(connection: &Value, address: &str) -> Result<()> {
    let remote = gateway(connection, "a")["remote"].as_str().unwrap_or_default();
    let found: SocketAddr = remote.parse().with_context(|| format!("remote {remote:?}"))?;
    ensure!(found.ip() == address.parse::<IpAddr>()?, "it is connected to {remote}, not {address}");
    Ok(())
}
