//! `adit up` at the client's place, and what the machine looks like around it.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{
    client::client_file,
    config::Lines,
    ike::setup::IkeClient,
    net::{ECHO, Place, TARGET},
    process::{Process, Stream, run},
    rig::{Rig, check_body},
    tools::{fetch::Answer, pattern::Body, serve::HELLO, stream::Report},
};

/// How long a tunnel may take to come up, here or after a while.
pub(crate) const UP: Duration = Duration::from_secs(30);
/// How long it may take to undo everything.
const DOWN: Duration = Duration::from_secs(15);

/// A running `adit up`.
pub(crate) struct Up {
    pub(crate) process: Process,
    /// Where programs have the tunnel.
    pub(crate) inside: Place,
}

impl Up {
    /// Starts it with an OpenVPN profile, and waits until it is up.
    pub(crate) fn openvpn(rig: &Rig, profile: &Lines, args: &[&str]) -> Result<Self> {
        let name = rig.process_name("up");
        let file = client_file(&rig.dir.join(format!("{name}.ovpn")), &profile.text())?;
        Self::start(rig, &name, &["--config".to_owned(), file.display().to_string()], args)
    }

    /// Starts it with an IKEv2 connection, and waits until it is up.
    pub(crate) fn ikev2(rig: &Rig, client: &IkeClient, args: &[&str]) -> Result<Self> {
        let name = rig.process_name("up");
        Self::start(rig, &name, &client.source(rig, &name)?, args)
    }

    /// Starts it with a configuration of one connection, and waits until it is up.
    pub(crate) fn toml(rig: &Rig, text: &str, args: &[&str]) -> Result<Self> {
        let name = rig.process_name("up");
        let file = client_file(&rig.dir.join(format!("{name}.toml")), text)?;
        Self::start(rig, &name, &["--config".to_owned(), file.display().to_string()], args)
    }

    fn start(rig: &Rig, name: &str, source: &[String], args: &[&str]) -> Result<Self> {
        let mut command = up_command(rig, source, args);
        let process = Process::spawn(name, &rig.dir, &mut command)?;
        let up = Self { process, inside: Place::Client };
        up.wait_up(0)?;
        Ok(up)
    }

    /// Waits until its one line is there.
    fn wait_up(&self, mark: usize) -> Result<()> {
        self.process.wait_for(mark, "the line about the device", UP, |line| {
            (line.stream == Stream::Out && line.text.starts_with("up ")).then_some(())
        })
    }

    /// Programs have the tunnel elsewhere.
    pub(crate) fn at(mut self, place: Place) -> Self {
        self.inside = place;
        self
    }

    /// A ping, curl, a megabyte down and a quarter up, and datagrams: through the device, by the kernel's own TCP.
    pub(crate) fn exchange(&self, rig: &Rig) -> Result<()> {
        self.ping(rig, &TARGET.to_string())?;
        let web = crate::net::WEB.to_string();
        let said =
            run(rig.net.command(self.inside, "curl").args(["--silent", "--show-error", "--max-time", "20", &web]))?;
        ensure!(said == HELLO, "curl printed {said:?}");
        for answer in self.fetch(rig, &web, &format!("/bytes/{}", 1 << 20), &[])? {
            check_body(&answer, 1 << 20)?;
        }
        for answer in self.fetch(rig, &web, "/sink", &["--upload", &(1 << 18).to_string()])? {
            ensure!(answer.text == Body::sha256(1 << 18), "the upload arrived as {}", answer.text);
        }
        let echo = ECHO.to_string();
        let args = ["stream", &echo, "--count", "50", "--interval", "5", "--size", "400"];
        let report: Report = serde_json::from_str(&run(&mut rig.tool(self.inside, &args))?)?;
        ensure!(report.lost.is_empty() && report.corrupted == 0, "the echo is {report:?}");
        Ok(())
    }

    pub(crate) fn ping(&self, rig: &Rig, to: &str) -> Result<()> {
        run(rig.net.command(self.inside, "ping").args(["-n", "-c", "3", "-i", "0.2", "-W", "5", to])).map(drop)
    }

    pub(crate) fn fetch(&self, rig: &Rig, from: &str, path: &str, args: &[&str]) -> Result<Vec<Answer>> {
        let mut all = vec!["fetch", from, path];
        all.extend(args);
        serde_json::from_str(&run(&mut rig.tool(self.inside, &all))?).context("answers")
    }

    /// Mbit/s in one direction, over a few seconds, as `iperf3` has it.
    pub(crate) fn iperf(&self, rig: &Rig, down: bool) -> Result<f64> {
        let server = Process::spawn(
            &rig.process_name("iperf3"),
            &rig.dir,
            rig.net.command(Place::Lan, "iperf3").args(["--server", "--one-off", "--forceflush"]),
        )?;
        server.wait_text(0, "Server listening", Duration::from_secs(10))?;
        let target = TARGET.to_string();
        let mut client = rig.net.command(self.inside, "iperf3");
        client.args(["--client", &target, "--time", "3", "--json", "--connect-timeout", "10000"]);
        if down {
            client.arg("--reverse");
        }
        let said: serde_json::Value = serde_json::from_str(&run(&mut client)?)?;
        let rate = said.pointer("/end/sum_received/bits_per_second").and_then(serde_json::Value::as_f64);
        Ok(rate.context("iperf3 measured nothing")? / 1e6)
    }

    /// Ends it as a service manager does.
    pub(crate) fn close(self) -> Result<()> {
        self.end("TERM", Some(0))
    }

    /// Ends it by a signal.
    pub(crate) fn end(self, signal: &str, code: Option<i32>) -> Result<()> {
        self.process.signal(signal)?;
        let status = self.process.wait_end(DOWN).with_context(|| format!("after SIG{signal}"))?;
        ensure!(status.code() == code, "after SIG{signal} it ended with {status}");
        ensure!(self.process.count("panicked at") == 0, "it panicked");
        Ok(())
    }
}

/// The command, as root; DNS stays as it is unless the arguments say otherwise: the file would be the machine's own.
pub(crate) fn up_command(rig: &Rig, source: &[String], args: &[&str]) -> Command {
    up_with(rig.net.command(Place::Client, &rig.adit), rig, source, args)
}

/// The same with the rights that `adit-tun@.service` leaves: root with one capability, and without a way to more.
pub(crate) fn unit_command(rig: &Rig, source: &[String], args: &[&str]) -> Command {
    let mut command = rig.net.command(Place::Client, "setpriv");
    command.args(["--bounding-set", "-all,+net_admin", "--inh-caps", "-all", "--no-new-privs"]).arg(&rig.adit);
    up_with(command, rig, source, args)
}

fn up_with(mut command: Command, rig: &Rig, source: &[String], args: &[&str]) -> Command {
    command.args(["up", "--log-format", "json", "--verbose", "--state-dir"]).arg(state_dir(rig)).args(source);
    if !args.iter().any(|arg| arg.starts_with("--dns") || *arg == "--netns") {
        command.arg("--no-dns");
    }
    command.args(args);
    command
}

/// Where journals are.
pub(crate) fn state_dir(rig: &Rig) -> PathBuf {
    rig.dir.join("state")
}

/// Devices (without the number and the address that the kernel draws for each), addresses, routes of all tables, rules, filters (where
/// `nft` can tell them: `adit` makes none), the settings that may be changed, and `resolv.conf`, at a place.
pub(crate) fn picture(rig: &Rig, place: Place) -> Result<String> {
    // The kernel takes a second to make sure of its own IPv6 addresses.
    let script = "for turn in $(seq 200); do ip -o addr | grep -q tentative || break; sleep 0.05; done; \
                  ip -o link | sed -E 's/^[0-9]+: //; s/ link\\/.*//'; ip -o addr; ip -4 route show table all; ip -6 route show table all; ip -4 rule; ip -6 rule; \
                  if command -v nft >/dev/null; then nft list ruleset || exit 1; fi; \
                  cat /proc/sys/net/ipv4/conf/all/src_valid_mark /etc/resolv.conf";
    run(rig.net.command(place, "sh").args(["-c", script]))
}

/// Demands that everything is as it was.
pub(crate) fn prove_undone(rig: &Rig, before: &str) -> Result<()> {
    let after = picture(rig, Place::Client)?;
    ensure!(after == before, "not everything is as before; before:\n{before}\nafter:\n{after}");
    Ok(())
}
