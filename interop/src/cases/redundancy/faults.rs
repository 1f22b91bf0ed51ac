//! The gateway in use fails in each of the ways it can, under a steady rate of requests, with the other standing by.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use super::{NAME, UP, WEB, World, both, case, connection, gateway};
use crate::{
    cases::Case,
    net::{self, Place},
    process::Process,
    rig::Rig,
    running::Running,
    tools::load::{Outcome, Report},
};

/// What the fault has to be noticed and answered in with `liveness = "fast"`, in seconds.
const FAST: f64 = 3.0;
/// A machine that is so late with the requests themselves, in milliseconds, says nothing about the program.
const TOO_LATE: u32 = 1000;

/// How the gateway fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Its daemon is killed; the port answers with ICMP errors.
    Killed,
    /// Its daemon hangs: the port is open, and nobody answers.
    Frozen,
    /// Whatever is sent to it vanishes without a word.
    Blackholed,
}

/// How soon silence counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Liveness {
    Fast,
    Normal,
}

impl Liveness {
    const fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Normal => "normal",
        }
    }

    /// Seconds of load after the fault, and before the case gives up.
    const fn seconds(self) -> u32 {
        match self {
            Self::Fast => 8,
            Self::Normal => 75,
        }
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for liveness in [Liveness::Fast, Liveness::Normal] {
        for (name, fault) in [("killed", Fault::Killed), ("frozen", Fault::Frozen), ("blackholed", Fault::Blackholed)] {
            let name = format!("gateway_{name}_{}", liveness.name());
            let seconds = u64::from(liveness.seconds()) + 15;
            cases.push(case(&name, seconds, "C1 C4 G1 G2 G3 G7 G8", move |rig: &Rig| fails(rig, fault, liveness)));
        }
    }
    cases.push(case("lan_lost_behind_one", 30, "C1 C4 G1 G2 G3 G6 G7 G8", lan_lost));
    cases
}

/// The connection stays connected, by the other gateway.
fn fails(rig: &Rig, fault: Fault, liveness: Liveness) -> Result<()> {
    let world = World::start(rig)?;
    let keys = format!("liveness = {:?}\nstandby = \"hot\"\nfail_back_seconds = \"never\"", liveness.name());
    let running = Running::start(rig, &connection(rig, &keys)?)?;
    let mut story = both(rig, &running)?;
    rig.hello(WEB.parse()?)?;

    let seconds = liveness.seconds() + 3;
    let file = rig.dir.join("load.json");
    let args =
        ["load", WEB, "--rate", "50", "--seconds", &seconds.to_string(), "--report", &file.display().to_string()];
    let load = Process::spawn(&rig.process_name("load"), &rig.dir, &mut rig.tool(Place::Client, &args))?;
    load.wait_text(0, "ready", Duration::from_secs(10))?;
    // Requests of the time before the fault are wanted, too: two seconds of them.
    std::thread::sleep(Duration::from_secs(2));
    let at = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;
    match fault {
        Fault::Killed => world.a.process.signal("KILL")?,
        Fault::Frozen => world.a.process.signal("STOP")?,
        Fault::Blackholed => rig.net.change(Place::Gateway, "route add blackhole 203.0.113.2/32\n")?,
    }
    load.wait_output(Duration::from_secs(u64::from(seconds) + 40))?;
    let report: Report = serde_json::from_str(&std::fs::read_to_string(&file)?)?;

    let (answered, failed, wrong) =
        (report.count(Outcome::Answered), report.count(Outcome::Failed), report.count(Outcome::Wrong));
    let recovered = report.recovered_after(at);
    let lag = report.worst_lag();
    rig.measured(&format!(
        "gateway {fault:?}, liveness {}: new requests succeed {} after the fault; {answered} answered, {failed} failed, \
         {wrong} wrong; the slowest answer took {} ms; the load itself was at most {lag} ms late; failures: {:?}",
        liveness.name(),
        recovered.map_or_else(|| "never".to_owned(), |seconds| format!("{seconds:.2} s")),
        report.slowest(),
        report.failures,
    ))?;
    ensure!(wrong == 0, "{wrong} answers were wrong");
    let recovered = recovered.context("requests fail to the end")?;
    if liveness == Liveness::Fast && lag >= TOO_LATE {
        rig.measured(&format!(
            "NOT JUDGED: that new requests succeed within {FAST} s; the load itself was {lag} ms late, so this machine is too busy to tell"
        ))?;
    } else if liveness == Liveness::Fast {
        ensure!(recovered <= FAST, "new requests succeed {recovered:.2} s after the fault");
    }

    story.shows(UP, "G7:a G8:b")?;
    if fault == Fault::Frozen {
        // A stopped process cannot be ended politely.
        world.a.process.signal("CONT")?;
    }
    running.terminate(Duration::from_secs(45))
}

/// The gateway lives, and its tunnel is as well as ever, but what is behind it is not there any more: only the probe can tell.
fn lan_lost(rig: &Rig) -> Result<()> {
    let world = World::start(rig)?;
    let keys = format!(
        "standby = \"hot\"\nfail_back_seconds = \"never\"\nprobe = {{ tcp = {:?}, interval_ms = 300 }}",
        net::WEB.to_string()
    );
    let running = Running::start(rig, &connection(rig, &keys)?)?;
    let mut story = both(rig, &running)?;
    rig.hello(WEB.parse()?)?;
    running.wait(rig, NAME, "probes that are answered", UP, |connection| {
        ["a", "b"].iter().all(|name| gateway(connection, name)["probe"]["state"] == "answered")
    })?;
    let dark = Instant::now();
    rig.net.change(Place::Gateway, "route add blackhole 192.168.100.30/32\n")?;
    // The gateway lets us in again at once, and its probe, which was never answered in this tunnel, ends nothing.
    story.shows(UP, "G7:a G8:b G6:a G3:a")?;
    let all = running.activity()?;
    let lost = all.iter().find(|entry| entry["kind"] == "disconnected").context("nothing was lost")?;
    let reason = lost["reason"].as_str().unwrap_or_default();
    ensure!(
        lost["gateway"] == "a" && reason.contains("does not carry: 192.168.100.30:8080"),
        "what was lost is {lost}"
    );
    rig.measured(&format!(
        "lan lost behind a: b carries, and a stands by, {:.1} s later",
        dark.elapsed().as_secs_f64()
    ))?;
    rig.hello(WEB.parse()?)?;
    ensure!(world.a.process.is_running(), "gateway a has ended");
    rig.net.change(Place::Gateway, "route del blackhole 192.168.100.30/32\n")?;
    running.wait(rig, NAME, "an answered probe of a", UP, |connection| {
        gateway(connection, "a")["probe"]["state"] == "answered"
    })?;
    story.shows(UP, "")?;
    running.terminate(Duration::from_secs(45))
}
