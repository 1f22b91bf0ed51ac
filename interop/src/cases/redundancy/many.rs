//! Many connections of one process to one gateway, and many through them.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Case, case};
use crate::{
    client::{client_file, without_rights},
    ike::{
        charon::Charon,
        setup::{PSK, Setup},
    },
    net::Place,
    process::Process,
    rig::Rig,
    running::Running,
    story::{Look, Story},
    tools::hold::Report,
};

/// Connections of the configuration, each with a tunnel and a forward of its own.
const TUNNELS: u16 = 200;
/// TCP connections through each forward.
const EACH: usize = 25;
const FIRST: u16 = 34000;
const LIMIT: Duration = Duration::from_secs(180);

pub(super) fn cases() -> Vec<Case> {
    vec![case("200_connections", 90, "C1 C4", many)]
}

/// 5,000 TCP connections are open through their forwards at once, and each is answered.
fn many(rig: &Rig) -> Result<()> {
    let _lan = rig.start_lan()?;
    rig.prove_unreachable()?;
    // All are the same client to the gateway: one must not throw the other out.
    let a = Charon::start(rig, Place::Gateway, &Setup::psk().gateway.conn("unique", "never"))?;
    let psk = client_file(&rig.dir.join("psk.txt"), &format!("{PSK}\n"))?.display().to_string();
    let table = |index: u16| {
        format!(
            "[connection.c{index}]\nprotocol = \"ikev2\"\nremotes = [\"203.0.113.1\"]\nremote_id = \"vpn.example.org\"\n\
             auth = \"psk\"\nlocal_id = \"client@example.org\"\npsk = {{ file = {psk:?} }}\n\
             [[connection.c{index}.forward]]\nname = \"web\"\nlisten = \"127.0.0.1:{}\"\n\
             to = \"192.168.100.30:8080\"\n\n",
            FIRST + index
        )
    };
    let text: String = (0..TUNNELS).map(table).collect();
    let mut command = rig.net.command(Place::Client, "prlimit");
    command.args(["--nofile=16384:16384", "setpriv"]);
    without_rights(&mut command);
    let started = Instant::now();
    let running = Running::start_by(rig, &text, command)?;
    all(rig, &running, "all connected", |connections| {
        connections.iter().filter(|connection| connection["state"] == "connected").count() == usize::from(TUNNELS)
    })?;
    let up = started.elapsed().as_secs_f64();
    let mut stories: Vec<Story<'_>> = (0..TUNNELS).map(|i| Story::new(rig, &running, &format!("c{i}"))).collect();
    Story::all_show(&mut stories, &Look::take(rig, &running)?, "C1 C4")?;
    let idle = running.holds()?;
    ensure!(a.counters()?.sas == usize::from(TUNNELS), "the gateway has {:?}", a.counters()?);

    let until = rig.dir.join("enough");
    let (first, ports, each) = (FIRST.to_string(), TUNNELS.to_string(), EACH.to_string());
    let end = until.display().to_string();
    let args = ["hold", "--first", &first, "--ports", &ports, "--each", &each, "--until", &end];
    let hold = Process::spawn(&rig.process_name("hold"), &rig.dir, &mut rig.tool(Place::Client, &args))?;
    hold.wait_text(0, "open", LIMIT)?;
    let wanted = u64::from(TUNNELS) * EACH as u64;
    all(rig, &running, "all open at once", |connections| {
        let open = |connection: &Value| connection["forwards"][0]["open"].as_u64().unwrap_or_default();
        connections.iter().map(open).sum::<u64>() == wanted
    })?;
    let busy = running.holds()?;
    fs::write(&until, "")?;
    let said = hold.wait_output(LIMIT)?;
    let report: Report = serde_json::from_str(said.lines().last().unwrap_or_default())?;
    rig.measured(&format!(
        "{TUNNELS} tunnels up in {up:.1} s: {} descriptors, {} threads, resident {} kB; {wanted} connections opened in \
         {:.1} s: {} descriptors, resident {} kB, at most {} kB; answered {} in {:.1} s",
        idle.descriptors,
        idle.threads,
        idle.resident_kib,
        report.opening,
        busy.descriptors,
        busy.resident_kib,
        running.holds()?.most_kib,
        report.answered,
        report.answering,
    ))?;
    ensure!(report.answered as u64 == wanted && report.wrong == 0, "what became of them: {report:?}");
    all(rig, &running, "all closed", |connections| {
        connections.iter().all(|connection| connection["forwards"][0]["open"] == 0)
    })?;
    let after = running.holds()?;
    ensure!(after.descriptors <= idle.descriptors, "descriptors were left behind: {idle:?}, {after:?}");
    running.terminate(Duration::from_secs(60))
}

/// Waits until the connections together are as wanted.
fn all(rig: &Rig, running: &Running, what: &str, wanted: impl Fn(&[Value]) -> bool) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        // It may not listen yet.
        if let Ok(status) = running.status(rig)
            && wanted(status["connections"].as_array().context("connections")?)
        {
            return Ok(());
        }
        ensure!(running.process.is_running(), "adit has ended while waiting for {what}");
        ensure!(Instant::now() < deadline, "not {what} within {LIMIT:?}");
        // Each look is a program that is started, and a long answer.
        std::thread::sleep(Duration::from_millis(200));
    }
}
