//! Many connections of one process to one gateway, and many through them.

use std::{
    fs,
    path::PathBuf,
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
    running::{Holds, Running},
    story::{Look, Story},
    tools::hold::Report,
};

/// Connections of the configuration, each with a tunnel and a forward of its own.
const TUNNELS: u64 = 200;
/// TCP connections through each forward.
const EACH: usize = 25;
const FIRST: u16 = 34000;
const LIMIT: Duration = Duration::from_secs(180);

/// What one more connection may cost the process in kilobytes while it is idle, and when ten have just gone through it.
const IDLE_KIB: u64 = 40;
const USED_KIB: u64 = 120;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("200_connections", 90, "C1 C4", many),
        case("5000_through_one", 60, "C1 C4", through_one),
        case("memory_is_bounded", 30, "C1 C4", bounded),
    ]
}

/// 5,000 TCP connections are open through their forwards at once, and each is answered.
fn many(rig: &Rig) -> Result<()> {
    let wanted = TUNNELS * EACH as u64;
    let mut crowd = Crowd::start(rig, TUNNELS, "", "")?;
    let idle = crowd.running.holds()?;
    crowd.open(EACH, 0)?;
    crowd.wait_open(wanted)?;
    let busy = crowd.running.holds()?;
    let report = crowd.finish()?;
    let most = crowd.running.holds()?.most_kib;
    rig.measured(&format!(
        "{TUNNELS} tunnels up in {:.1} s: {} descriptors, {} threads, resident {} kB; {wanted} connections opened in \
         {:.1} s: {} descriptors, resident {} kB, at most {most} kB; answered {} in {:.1} s",
        crowd.up,
        idle.descriptors,
        idle.threads,
        idle.resident_kib,
        report.opening,
        busy.descriptors,
        busy.resident_kib,
        report.answered,
        report.answering,
    ))?;
    ensure!(report.answered as u64 == wanted && report.wrong == 0, "what became of them: {report:?}");
    let (each, each_at_most) = (cost(idle, busy.resident_kib, wanted), cost(idle, most, wanted));
    ensure!(each <= IDLE_KIB && each_at_most <= USED_KIB, "{each} kB each, at most {each_at_most} kB");
    crowd.end(idle)
}

/// 5,000 TCP connections through one tunnel, as many as it may have and one more, and ten kilobytes through each.
fn through_one(rig: &Rig) -> Result<()> {
    const FILL: usize = 10_000;
    let wanted = 5000;
    let mut crowd = Crowd::start(rig, 1, "max_connections = 5000\n", "")?;
    let idle = crowd.running.holds()?;
    crowd.open(5001, FILL)?;
    crowd.wait_open(wanted)?;
    let busy = crowd.running.holds()?;
    let connection = crowd.running.connection(rig, "c0")?;
    let report = crowd.finish()?;
    let most = crowd.running.holds()?.most_kib;
    rig.measured(&format!(
        "one tunnel, resident {} kB; {wanted} connections with {FILL} bytes each opened in {:.1} s: resident {} kB, at most \
         {most} kB; answered {} in {:.1} s",
        idle.resident_kib, report.opening, busy.resident_kib, report.answered, report.answering,
    ))?;
    ensure!(report.answered as u64 == wanted && report.wrong == 0, "what became of them: {report:?}");
    let drops = &connection["gateways"][0]["drops"];
    ensure!(drops["too_many_connections"] == 1 && drops["no_memory"] == 0, "{drops}");
    let error = connection["forwards"][0]["last_error"].to_string();
    ensure!(error.contains("too many connections"), "{error}");
    let each = cost(idle, most, wanted);
    ensure!(each <= USED_KIB, "{each} kB each");
    crowd.end(idle)
}

/// The memory for connections is used up by two tunnels together: more are refused, those there are go on, and their end makes room.
fn bounded(rig: &Rig) -> Result<()> {
    let mut crowd = Crowd::start(rig, 2, "", "[limits]\nmemory_mib = 8\n")?;
    let idle = crowd.running.holds()?;
    crowd.open(250, 0)?;
    let dropped = |connections: &[Value]| -> u64 {
        connections.iter().filter_map(|connection| connection["gateways"][0]["drops"]["no_memory"].as_u64()).sum()
    };
    // Sixteen kilobytes to receive, eight to send, two for the rest.
    let room = 8 * 1024 / 26;
    crowd.wait("as many as there is room for", |connections| {
        open(connections) == room && dropped(connections) == 500 - room
    })?;
    let status = crowd.running.status(rig)?;
    let (used, limit) = (status["memory"]["used_bytes"].as_u64(), status["memory"]["limit_bytes"].as_u64());
    ensure!(limit == Some(8 << 20) && used <= limit && used > Some(7 << 20), "{used:?} of {limit:?}");
    let errors = status["connections"].as_array().context("connections")?.iter();
    let errors: Vec<_> = errors.map(|connection| connection["forwards"][0]["last_error"].to_string()).collect();
    ensure!(errors.iter().any(|error| error.contains("memory for the connections of all tunnels")), "{errors:?}");
    let report = crowd.finish()?;
    rig.measured(&format!("{room} connections in 8 MiB, {} refused, {} answered", 500 - room, report.answered))?;
    ensure!(report.answered as u64 == room && report.wrong == 0, "what became of them: {report:?}");
    crowd.wait("all closed", |connections| open(connections) == 0)?;
    rig.hello(std::net::SocketAddr::from(([127, 0, 0, 1], FIRST)))?;
    crowd.end(idle)
}

fn open(connections: &[Value]) -> u64 {
    connections.iter().map(|connection| connection["forwards"][0]["open"].as_u64().unwrap_or_default()).sum()
}

/// Kilobytes for each of so many.
const fn cost(idle: Holds, resident_kib: u64, connections: u64) -> u64 {
    resident_kib.saturating_sub(idle.resident_kib).div_ceil(connections)
}

/// Tunnels to one gateway, each with a forward, and connections through these.
struct Crowd<'a> {
    rig: &'a Rig,
    _lan: Process,
    gateway: Charon,
    running: Running,
    tunnels: u64,
    /// How long it took until all were connected, in seconds.
    up: f64,
    until: PathBuf,
    hold: Option<Process>,
}

impl<'a> Crowd<'a> {
    /// With these keys for each of them, and these tables besides.
    fn start(rig: &'a Rig, tunnels: u64, keys: &str, tables: &str) -> Result<Self> {
        let lan = rig.start_lan()?;
        rig.prove_unreachable()?;
        // All are the same client to the gateway: one must not throw the other out.
        let gateway = Charon::start(rig, Place::Gateway, &Setup::psk().gateway.conn("unique", "never"))?;
        let psk = client_file(&rig.dir.join("psk.txt"), &format!("{PSK}\n"))?.display().to_string();
        let table = |index: u64| {
            format!(
                "[connection.c{index}]\nprotocol = \"ikev2\"\nremotes = [\"203.0.113.1\"]\n\
                 remote_id = \"vpn.example.org\"\nauth = \"psk\"\nlocal_id = \"client@example.org\"\n\
                 psk = {{ file = {psk:?} }}\n{keys}[[connection.c{index}.forward]]\nname = \"web\"\n\
                 listen = \"127.0.0.1:{}\"\nto = \"192.168.100.30:8080\"\n\n",
                u64::from(FIRST) + index
            )
        };
        let text: String = (0..tunnels).map(table).collect();
        let mut command = rig.net.command(Place::Client, "prlimit");
        command.args(["--nofile=16384:16384", "setpriv"]);
        without_rights(&mut command);
        let started = Instant::now();
        let running = Running::start_by(rig, &format!("{tables}{text}"), command)?;
        let until = rig.dir.join("enough");
        let mut crowd = Self { rig, _lan: lan, gateway, running, tunnels, up: 0.0, until, hold: None };
        crowd.wait("all connected", |connections| {
            connections.iter().filter(|connection| connection["state"] == "connected").count() as u64 == tunnels
        })?;
        crowd.up = started.elapsed().as_secs_f64();
        let story = |index: u64| Story::new(rig, &crowd.running, &format!("c{index}"));
        let mut stories: Vec<Story<'_>> = (0..tunnels).map(story).collect();
        Story::all_show(&mut stories, &Look::take(rig, &crowd.running)?, "C1 C4")?;
        let counters = crowd.gateway.counters()?;
        ensure!(counters.sas as u64 == tunnels, "the gateway has {counters:?}");
        Ok(crowd)
    }

    /// So many through each, and so many bytes through each of them.
    fn open(&mut self, each: usize, fill: usize) -> Result<()> {
        let numbers = [u64::from(FIRST), self.tunnels, each as u64, fill as u64].map(|number| number.to_string());
        let [first, ports, each, fill] = &numbers;
        let until = self.until.display().to_string();
        let args = ["hold", "--first", first, "--ports", ports, "--each", each, "--fill", fill, "--until", &until];
        let rig = self.rig;
        let hold = Process::spawn(&rig.process_name("hold"), &rig.dir, &mut rig.tool(Place::Client, &args))?;
        hold.wait_text(0, "open", LIMIT)?;
        self.hold = Some(hold);
        Ok(())
    }

    fn wait_open(&self, wanted: u64) -> Result<()> {
        self.wait("all open at once", |connections| open(connections) == wanted)
    }

    /// Asks through all of them.
    fn finish(&self) -> Result<Report> {
        fs::write(&self.until, "")?;
        let said = self.hold.as_ref().context("nothing is held")?.wait_output(LIMIT)?;
        Ok(serde_json::from_str(said.lines().last().unwrap_or_default())?)
    }

    /// Nothing is left of the connections.
    fn end(self, idle: Holds) -> Result<()> {
        self.wait("all closed", |connections| open(connections) == 0)?;
        // The last ones are closed a moment after the connections have ended.
        let deadline = Instant::now() + LIMIT;
        loop {
            let after = self.running.holds()?;
            if after.descriptors <= idle.descriptors {
                break;
            }
            ensure!(Instant::now() < deadline, "descriptors were left behind: {idle:?}, {after:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
        self.running.terminate(Duration::from_secs(60))
    }

    /// Waits until the connections together are as wanted.
    fn wait(&self, what: &str, wanted: impl Fn(&[Value]) -> bool) -> Result<()> {
        all(self.rig, &self.running, what, wanted)
    }
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
