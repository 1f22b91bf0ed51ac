//! From start to the first byte, next to `openvpn`'s own time in the same network.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::Case;
use crate::{
    client::{Client, ClientConfig},
    config::{self, Transport},
    net::{Place, WEB},
    process::{Process, run},
    rig::{Rig, Session},
    server::Server,
    tools::{fetch::Answer, probe::Found},
};

/// How often each is measured; the middle counts.
const ROUNDS: usize = 5;

pub(super) fn cases() -> Vec<Case> {
    vec![Case::new("first_byte_time", first_byte_time).takes(8)]
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
    rig.note(&format!("from start to the first byte: adit {}, openvpn {}", summary(&mut ours), summary(&mut theirs)))?;
    drop(lan);
    Ok(())
}

fn summary(times: &mut [Duration]) -> String {
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
    server.process.wait_text(before, "PUSH_REPLY", Duration::from_secs(5))?;
    client.interrupt()?;
    Ok(time)
}

fn openvpn(rig: &Rig, server: &Server, profile: &config::Lines) -> Result<Duration> {
    let path = rig.dir.join("reference.ovpn");
    std::fs::write(&path, profile.text())?;
    let found: Found = serde_json::from_str(&run(&mut rig.tool(Place::Client, &["probe", &WEB.to_string()]))?)?;
    anyhow::ensure!(!found.open, "{WEB} answers without a tunnel");
    let before = server.process.mark();
    let request = request(rig, &WEB.to_string())?;
    let mut command = rig.net.command(Place::Client, "openvpn");
    command.current_dir(&rig.dir).arg("--config").arg(path);
    let started = SystemTime::now();
    let client = Process::spawn(&rig.process_name("openvpn"), &rig.dir, &mut command)?;
    let time = first_byte(&request, started)?;
    server.process.wait_text(before, "PUSH_REPLY", Duration::from_secs(5))?;
    client.signal("INT")?;
    client.wait_exit(Duration::from_secs(10))?;
    Ok(time)
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
