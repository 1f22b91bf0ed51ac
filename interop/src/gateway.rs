//! `adit serve` as the gateway of a case, and the clients of others at it.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{
    client::{client_file, unprivileged_at},
    ike::charon::{Charon, CharonConfig},
    net::{ECHO, Place, WEB},
    process::Process,
    rig::{Rig, check_body},
    tools::{fetch::Answer, pattern::Body, serve::HELLO, stream::Report},
};

/// Long enough for a loaded machine.
const READY: Duration = Duration::from_secs(20);

/// How inner packets leave the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WayOut {
    /// Through ordinary sockets, as a user without any rights.
    Sockets,
    /// Through a TUN device and the kernel's routes, as root.
    Tun,
}

impl WayOut {
    pub(crate) const ALL: [Self; 2] = [Self::Sockets, Self::Tun];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sockets => "sockets",
            Self::Tun => "tun",
        }
    }
}

/// A running gateway of ours.
pub(crate) struct Gateway {
    pub(crate) process: Process,
}

impl Gateway {
    /// Starts a gateway with one `[serve.…]` table; `@PKI` stands for the folder of the PKI, and every secret is a file that
    /// only the gateway's user can read.
    pub(crate) fn start(rig: &Rig, table: &str, secrets: &[(&str, &str)], out: WayOut) -> Result<Self> {
        for (file, text) in secrets {
            client_file(&rig.dir.join(file), &format!("{text}\n"))?;
        }
        let file = client_file(&rig.dir.join("serve.toml"), &with_files(rig, table)?)?;
        let mut command = match out {
            WayOut::Sockets => {
                let mut command = unprivileged_at(rig, Place::Gateway, false);
                command.arg(&rig.adit);
                command
            }
            WayOut::Tun => rig.net.command(Place::Gateway, &rig.adit),
        };
        command.args(["serve", "--log-format", "json", "--verbose", "--config"]).arg(file);
        if out == WayOut::Tun {
            command.arg("--tun");
        }
        let process = Process::spawn(&rig.process_name("adit-serve"), &rig.dir, &mut command)?;
        process.wait_text(0, "ready ", READY).context("adit serve does not start")?;
        Ok(Self { process })
    }

    /// Waits for a line of the log, from its beginning.
    pub(crate) fn wait(&self, text: &str) -> Result<String> {
        self.process.wait_text(0, text, READY).context("log of adit serve")
    }

    /// Ends it as a service manager does: in bounded time, and without a panic ever.
    pub(crate) fn close(self) -> Result<()> {
        self.process.signal("TERM")?;
        self.process.wait_end(Duration::from_secs(10)).context("after SIGTERM")?;
        ensure!(self.process.count("panicked at") == 0, "the gateway panicked");
        Ok(())
    }
}

/// The table with files of its own in place of those of the PKI, which only root can read.
fn with_files(rig: &Rig, table: &str) -> Result<String> {
    let mut parts = table.split("@PKI/");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (path, rest) = part.split_once('"').context("the path of a file ends with a quotation mark")?;
        let name = path.replace('/', "-");
        client_file(&rig.dir.join(&name), &std::fs::read_to_string(rig.pki.path(path))?)?;
        text += &format!("{name}\"{rest}");
    }
    Ok(text)
}

/// A client of somebody else at a place of the network, whose kernel routes to the lan through it.
pub(crate) struct Stranger {
    place: Place,
    kind: Kind,
}

enum Kind {
    OpenVpn(Process),
    /// The daemon alone: what told it to connect is done.
    StrongSwan(Charon),
}

impl Stranger {
    /// Debian's `openvpn`; waits until it is up.
    pub(crate) fn openvpn(rig: &Rig, place: Place, profile: &str, login: Option<(&str, &str)>) -> Result<Self> {
        let name = rig.process_name("openvpn");
        let profile = client_file(&rig.dir.join(format!("{name}.ovpn")), profile)?;
        let mut command = rig.net.command(place, "openvpn");
        command.current_dir(&rig.dir).arg("--config").arg(profile).args(["--verb", "4"]);
        if let Some((user, password)) = login {
            let file = client_file(&rig.dir.join(format!("{name}.login")), &format!("{user}\n{password}\n"))?;
            command.arg("--auth-user-pass").arg(file);
        }
        let process = Process::spawn(&name, &rig.dir, &mut command)?;
        process.wait_text(0, "Initialization Sequence Completed", READY).context("openvpn does not come up")?;
        Ok(Self { place, kind: Kind::OpenVpn(process) })
    }

    /// Debian's strongSwan; waits until it is up.
    pub(crate) fn strongswan(rig: &Rig, place: Place, config: &CharonConfig) -> Result<Self> {
        let charon = Charon::start(rig, place, config)?;
        let said = charon.swanctl(&["--initiate", "--child", "net"]).context("strongSwan does not come up")?;
        ensure!(said.contains("initiate completed successfully"), "strongSwan does not come up: {said}");
        Ok(Self { place, kind: Kind::StrongSwan(charon) })
    }

    /// Its process, whose log is its own account.
    pub(crate) fn process(&self) -> &Process {
        match &self.kind {
            Kind::OpenVpn(process) => process,
            Kind::StrongSwan(charon) => &charon.process,
        }
    }

    /// Runs `work`, and asks again for what strongSwan forgets to rekey ([`Charon::keep_rekeying`]).
    pub(crate) fn keep_rekeying<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, usize)> {
        match &self.kind {
            Kind::OpenVpn(_) => Ok((work()?, 0)),
            Kind::StrongSwan(charon) => charon.keep_rekeying("net", work),
        }
    }

    /// The Hello World, a megabyte down and a quarter up, through the kernel's own TCP.
    pub(crate) fn exchange(&self, rig: &Rig) -> Result<()> {
        self.hello(rig)?;
        for answer in self.fetch(rig, WEB, &format!("/bytes/{}", 1 << 20), &[])? {
            check_body(&answer, 1 << 20)?;
        }
        for answer in self.fetch(rig, WEB, "/sink", &["--upload", &(1 << 18).to_string()])? {
            ensure!(answer.text == Body::sha256(1 << 18), "the upload arrived as {}", answer.text);
        }
        let report = self.stream(rig, 50, 10)?;
        ensure!(report.lost.is_empty() && report.corrupted == 0, "the echo is {report:?}");
        Ok(())
    }

    pub(crate) fn hello(&self, rig: &Rig) -> Result<()> {
        let answers = self.fetch(rig, WEB, "/", &[])?;
        let texts: Vec<&str> = answers.iter().map(|answer| answer.text.as_str()).collect();
        ensure!(texts == [HELLO], "the answer is {texts:?}");
        Ok(())
    }

    pub(crate) fn fetch(&self, rig: &Rig, from: SocketAddr, path: &str, args: &[&str]) -> Result<Vec<Answer>> {
        let from = from.to_string();
        let mut all = vec!["fetch", &from, path];
        all.extend(args);
        let said = crate::process::run(&mut rig.tool(self.place, &all))?;
        serde_json::from_str(&said).context("answers")
    }

    /// Numbered datagrams to the echo in the lan, so many milliseconds apart.
    pub(crate) fn stream(&self, rig: &Rig, count: u64, interval: u64) -> Result<Report> {
        let (echo, count, interval) = (ECHO.to_string(), count.to_string(), interval.to_string());
        let args = ["stream", &echo, "--count", &count, "--interval", &interval, "--size", "400"];
        Ok(serde_json::from_str(&crate::process::run(&mut rig.tool(self.place, &args))?)?)
    }

    /// Ends it politely.
    pub(crate) fn close(self) -> Result<()> {
        if let Kind::StrongSwan(charon) = &self.kind {
            charon.swanctl(&["--terminate", "--ike", "gw"])?;
        }
        self.process().signal("TERM")?;
        self.process().wait_end(Duration::from_secs(10)).map(drop)
    }
}
