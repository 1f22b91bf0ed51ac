//! `adit run` at the client's place, as a user without rights; what it says of itself by its control socket, its admin port and
//! its activity log.

use std::{
    fs,
    os::unix::fs::chown,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    client::{client_file, unprivileged},
    net::Place,
    pki::CLIENT_UID,
    process::{Process, run},
    rig::Rig,
    story::Sample,
};

/// Where its admin port is.
pub(crate) const ADMIN: &str = "127.0.0.1:9002";
/// Between looks at what has no event here.
const LOOK: Duration = Duration::from_millis(50);

/// A running `adit run`.
pub(crate) struct Running {
    pub(crate) process: Process,
    /// Its configuration, its control socket and its activity log are here, and belong to its user.
    dir: PathBuf,
    config: PathBuf,
    /// It runs as root, and whoever speaks with it does.
    root: bool,
}

/// What a process holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holds {
    pub(crate) descriptors: usize,
    pub(crate) resident_kib: u64,
    /// The most it ever was.
    pub(crate) most_kib: u64,
    pub(crate) threads: u64,
}

impl Running {
    /// Starts it with these connections, and with a control socket, an admin port and an activity log of its own.
    pub(crate) fn start(rig: &Rig, connections: &str) -> Result<Self> {
        Self::start_by(rig, connections, unprivileged(rig, false))
    }

    /// The same as root: for devices.
    pub(crate) fn start_root(rig: &Rig, connections: &str) -> Result<Self> {
        Ok(Self { root: true, ..Self::start_by(rig, connections, rig.net.command(Place::Client, "env"))? })
    }

    /// The same by another command, which ends where the program and its arguments begin.
    pub(crate) fn start_by(rig: &Rig, connections: &str, mut command: Command) -> Result<Self> {
        ensure!(!rig.reference, "this case needs adit");
        let name = rig.process_name("run");
        let dir = rig.dir.join(&name);
        fs::create_dir_all(&dir)?;
        chown(&dir, Some(CLIENT_UID), Some(CLIENT_UID))?;
        let config = dir.join("adit.toml");
        write(&config, &dir, connections)?;
        command.arg(&rig.adit).args(["run", "--log-format", "json", "--config"]).arg(&config);
        let process = Process::spawn(&name, &rig.dir, &mut command)?;
        Ok(Self { process, dir, config, root: false })
    }

    /// Writes another configuration, and has it read.
    pub(crate) fn reload(&self, rig: &Rig, connections: &str) -> Result<()> {
        write(&self.config, &self.dir, connections)?;
        run(&mut self.tell(rig, &["reload"])).map(drop)
    }

    /// What the process holds now.
    pub(crate) fn holds(&self) -> Result<Holds> {
        let pid = self.process.pid();
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).with_context(|| format!("no {name}"))
        };
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        Ok(Holds {
            descriptors,
            resident_kib: number("VmRSS")?,
            most_kib: number("VmHWM")?,
            threads: number("Threads")?,
        })
    }

    /// A command of `adit` that speaks with it.
    pub(crate) fn tell(&self, rig: &Rig, args: &[&str]) -> Command {
        let mut command = if self.root { rig.net.command(Place::Client, "env") } else { unprivileged(rig, false) };
        command.arg(&rig.adit).args(args).arg("--control").arg(self.dir.join("control.sock"));
        command
    }

    /// `adit status --json`.
    pub(crate) fn status(&self, rig: &Rig) -> Result<Value> {
        Ok(serde_json::from_str(&run(&mut self.tell(rig, &["status", "--json"]))?)?)
    }

    /// Tasks of the runtime that have not ended.
    pub(crate) fn tasks(&self, rig: &Rig) -> Result<u64> {
        self.status(rig)?["tasks"].as_u64().context("tasks")
    }

    /// One connection of the status.
    pub(crate) fn connection(&self, rig: &Rig, name: &str) -> Result<Value> {
        let status = self.status(rig)?;
        let connections = status["connections"].as_array().context("connections")?;
        let found = connections.iter().find(|connection| connection["name"] == name);
        found.cloned().with_context(|| format!("no connection {name} in {status}"))
    }

    /// Waits until a connection is as wanted, and returns it.
    pub(crate) fn wait(
        &self,
        rig: &Rig,
        name: &str,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let deadline = Instant::now() + limit;
        loop {
            // It may not listen yet.
            let found = self.connection(rig, name);
            if let Ok(connection) = &found
                && wanted(connection)
            {
                return found;
            }
            ensure!(self.process.is_running(), "adit has ended while waiting for {what}");
            ensure!(Instant::now() < deadline, "no {what} within {limit:?}: {found:?}");
            thread::sleep(LOOK);
        }
    }

    /// Waits until a connection is in this state.
    pub(crate) fn wait_state(&self, rig: &Rig, name: &str, state: &str, limit: Duration) -> Result<Value> {
        self.wait(rig, name, &format!("state {state}"), limit, |connection| connection["state"] == state)
    }

    /// The value of a metric with these labels, if there is one.
    pub(crate) fn metric(&self, rig: &Rig, name: &str, labels: &[(&str, &str)]) -> Result<Option<f64>> {
        Ok(self.metrics(rig)?.iter().find(|sample| sample.is(name, labels)).map(|sample| sample.value))
    }

    /// All metrics over the admin port.
    pub(crate) fn metrics(&self, rig: &Rig) -> Result<Vec<Sample>> {
        let mut curl = rig.net.command(Place::Client, "curl");
        curl.args(["-sS", "--fail", "--max-time", "20", &format!("http://{ADMIN}/metrics")]);
        Ok(run(&mut curl)?.lines().filter_map(Sample::parse).collect())
    }

    /// The activity log: an object for each entry.
    pub(crate) fn activity(&self) -> Result<Vec<Value>> {
        let text = fs::read_to_string(self.dir.join("activity.log"))?;
        text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("activity {line}"))).collect()
    }

    /// Demands an entry of this kind about this connection.
    pub(crate) fn expect_activity(&self, connection: &str, kind: &str) -> Result<Value> {
        let all = self.activity()?;
        let fits = |entry: &&Value| entry["connection"] == connection && entry["kind"] == kind;
        all.iter().find(fits).cloned().with_context(|| format!("no activity {kind} of {connection} in {all:?}"))
    }

    /// How many entries of this kind there are.
    pub(crate) fn activities(&self, kind: &str) -> Result<usize> {
        Ok(self.activity()?.iter().filter(|entry| entry["kind"] == kind).count())
    }

    /// Ends it as a service manager does, and demands that all went well.
    pub(crate) fn terminate(self, limit: Duration) -> Result<()> {
        self.end(limit)
    }

    /// The same for one whose activity log is still to be read.
    pub(crate) fn end(&self, limit: Duration) -> Result<()> {
        self.process.signal("TERM")?;
        self.ended(limit)
    }

    /// Waits for the end of one that was told to, and demands that all went well.
    pub(crate) fn ended(&self, limit: Duration) -> Result<()> {
        let status = self.process.wait_end(limit).context("after SIGTERM")?;
        ensure!(status.code() == Some(0), "after SIGTERM it ended with {status}");
        ensure!(self.process.count("panicked at") == 0, "adit panicked");
        Ok(())
    }
}

fn write(config: &std::path::Path, dir: &std::path::Path, connections: &str) -> Result<()> {
    let path = |name: &str| dir.join(name).display().to_string();
    let (control, activity) = (path("control.sock"), path("activity.log"));
    let text = format!(
        "[admin]\nlisten = {ADMIN:?}\n[control]\nsocket = {control:?}\n[activity]\nfile = {activity:?}\n\n{connections}"
    );
    // Put in place as a whole: it may be read at any moment.
    let new = client_file(&config.with_extension("new"), &text)?;
    Ok(fs::rename(new, config)?)
}
