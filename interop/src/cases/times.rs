//! From start to the first byte, next to `openvpn`'s own time in the same network.

use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};

use super::Case;
use crate::{
    client::{Client, ClientConfig, UP},
    config::{self, Transport},
    net::{Place, WEB},
    process::{Process, run},
    rig::{Rig, Session},
    server::Server,
    tools::{fetch::Answer, probe::Found, serve::HELLO},
};

/// How often each is measured; the middle counts.
const ROUNDS: usize = 5;

pub(super) fn cases() -> Vec<Case> {
    vec![Case::new("first_byte_time", first_byte_time).takes(8)]
}

pub(super) fn soak() -> Vec<Case> {
    vec![Case::new("bulk", bulk).takes(120)]
}

/// A large transfer each way, and `openvpn`'s time for the same; prints what it came to.
fn bulk(rig: &Rig) -> Result<()> {
    const LENGTH: usize = 512 << 20;
    let server = config::server(&rig.pki, Transport::Udp);
    let profile = config::profile(&rig.pki, Transport::Udp)?;
    let session = Session::open(rig, &server, &ClientConfig::new(profile.clone()))?;
    transfer(rig, "adit", session.client.web(), LENGTH)?;
    session.check_counters(LENGTH as u64, LENGTH as u64)?;
    let Session { client, lan, server, .. } = session;
    client.interrupt()?;
    let reference = start_openvpn(rig, &profile)?;
    reference.wait_text(0, "Initialization Sequence Completed", UP)?;
    transfer(rig, "openvpn", WEB, LENGTH)?;
    drop((reference, server, lan));
    Ok(())
}

fn transfer(rig: &Rig, who: &str, web: SocketAddr, length: usize) -> Result<()> {
    let rate = |started: Instant| length as f64 * 8.0 / 1e6 / started.elapsed().as_secs_f64();
    let started = Instant::now();
    rig.download(web, length)?;
    let down = rate(started);
    let started = Instant::now();
    rig.upload(web, length)?;
    rig.measured(&format!("{who}: {down:.0} Mbit/s down, {:.0} Mbit/s up, {} MiB each", rate(started), length >> 20))
}

/// Asserts that both work, and prints the times: they depend on the machine.
fn first_byte_time(rig: &Rig) -> Result<()> {
    let server = config::server(&rig.pki, Transport::Udp);
    let profile = config::profile(&rig.pki, Transport::Udp)?;
    let session = Session::open(rig, &server, &ClientConfig::new(profile.clone()))?;
    session.exchange()?;
    let Session { server, lan, client, .. } = session;
    client.interrupt()?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(adit(rig, &server, &profile)?);
        theirs.push(openvpn(rig, &server, &profile)?);
    }
    rig.measured(&format!(
        "from start to the first byte: adit {}, openvpn {}",
        summary(&mut ours),
        summary(&mut theirs)
    ))?;
    drop(lan);
    Ok(())
}

pub(super) fn summary(times: &mut [Duration]) -> String {
    times.sort();
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    let (least, most) = (times.first().copied().unwrap_or_default(), times.last().copied().unwrap_or_default());
    format!("{:.1?} (of {} runs: {:.1?} to {:.1?})", middle, times.len(), least, most)
}

fn adit(rig: &Rig, server: &Server, profile: &config::Lines) -> Result<Duration> {
    let before = server.process.mark();
    let request = request(rig, "127.0.0.1:33000")?;
    let started = SystemTime::now();
    let client = Client::start(rig, &ClientConfig::new(profile.clone()))?;
    let time = first_byte(&request, started)?;
    check_counted(server, before)?;
    client.interrupt()?;
    Ok(time)
}

fn openvpn(rig: &Rig, server: &Server, profile: &config::Lines) -> Result<Duration> {
    let found: Found = serde_json::from_str(&run(&mut rig.tool(Place::Client, &["probe", &WEB.to_string()]))?)?;
    ensure!(!found.open, "{WEB} answers without a tunnel");
    let before = server.process.mark();
    let request = request(rig, &WEB.to_string())?;
    let started = SystemTime::now();
    let client = start_openvpn(rig, profile)?;
    let time = first_byte(&request, started)?;
    check_counted(server, before)?;
    client.signal("INT")?;
    client.wait_exit(Duration::from_secs(10))?;
    Ok(time)
}

/// The first byte came through a session of its own, and the server counted it.
fn check_counted(server: &Server, before: usize) -> Result<()> {
    server.process.wait_text(before, "PUSH_REPLY", Duration::from_secs(15))?;
    let counters = server.counters()?;
    ensure!(counters.clients == 1, "the server knows {} clients", counters.clients);
    let least = HELLO.len() as u64;
    ensure!(counters.sent > least && counters.received > least, "the server counted {counters:?}");
    Ok(())
}

fn start_openvpn(rig: &Rig, profile: &config::Lines) -> Result<Process> {
    let path = rig.dir.join("reference.ovpn");
    std::fs::write(&path, profile.text())?;
    let mut command = rig.net.command(Place::Client, "openvpn");
    command.current_dir(&rig.dir).arg("--config").arg(path);
    Process::spawn(&rig.process_name("openvpn"), &rig.dir, &mut command)
}

/// Starts to ask before there is anything to answer, and asks until something does.
fn request(rig: &Rig, address: &str) -> Result<Process> {
    let mut command = rig.tool(Place::Client, &["fetch", address, "/", "--retry", "20"]);
    Process::spawn(&rig.process_name("fetch"), &rig.dir, &mut command)
}

fn first_byte(request: &Process, started: SystemTime) -> Result<Duration> {
    let answers: Vec<Answer> = serde_json::from_str(&request.wait_output(Duration::from_secs(30))?)?;
    let first = answers.first().context("no answer")?.first_byte;
    let started = started.duration_since(UNIX_EPOCH)?;
    Ok(Duration::from_nanos(first).saturating_sub(started))
}
