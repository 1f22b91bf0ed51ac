//! Debian's `openvpn` as a server in the gateway namespace, and what its log tells.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{
    config::Lines,
    net::Place,
    process::{Process, run},
    rig::Rig,
};

/// Long enough for a loaded machine.
pub(crate) const START: Duration = Duration::from_secs(15);

/// A running server.
pub(crate) struct Server {
    pub(crate) process: Process,
}

/// What the server counted for its clients, in bytes of the outer packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// How many clients there are.
    pub(crate) clients: usize,
    /// From the clients.
    pub(crate) received: u64,
    /// To the clients.
    pub(crate) sent: u64,
}

impl Server {
    /// Starts a server and waits until it serves.
    pub(crate) fn start(rig: &Rig, config: &Lines) -> Result<Self> {
        Self::start_at(rig, Place::Gateway, config)
    }

    /// The same at another place.
    pub(crate) fn start_at(rig: &Rig, place: Place, config: &Lines) -> Result<Self> {
        let name = rig.process_name("server");
        let path = rig.dir.join(format!("{name}.conf"));
        fs::write(&path, config.text())?;
        let mut command = rig.net.command(place, "openvpn");
        command.current_dir(&rig.dir).arg("--config").arg(path);
        let server = Self { process: Process::spawn(&name, &rig.dir, &mut command)? };
        server.wait_ready()?;
        Ok(server)
    }

    /// Starts the customers' `/etc/openvpn/server.conf` in a mount namespace with an `/etc/openvpn` of its own, a
    /// `/var/log/openvpn.log` we can read, and users of its own.
    pub(crate) fn start_customers(rig: &Rig, config: &str, user: (&str, &str)) -> Result<Self> {
        let etc = rig.dir.join("etc");
        let keys = etc.join("keys");
        fs::create_dir_all(&keys)?;
        fs::write(etc.join("server.conf"), config)?;
        for (file, name) in [
            ("rsa-ca.crt", "ca.crt"),
            ("rsa-server.crt", "server.crt"),
            ("rsa-server.key", "server.key"),
            ("dh2048.pem", "dh2048.pem"),
        ] {
            fs::copy(rig.pki.path(file), keys.join(name))?;
        }
        add_user(rig, user)?;
        let fifo = rig.dir.join("openvpn.log.fifo");
        run(std::process::Command::new("mkfifo").arg(&fifo))?;
        let mut command = rig.net.command(Place::Gateway, "unshare");
        command.current_dir(&rig.dir).args(["--mount", "sh", "-ec", CUSTOMERS_START]);
        let process = Process::spawn(&rig.process_name("server"), &rig.dir, &mut command)?;
        process.follow(fifo);
        let server = Self { process };
        server.wait_ready()?;
        Ok(server)
    }

    fn wait_ready(&self) -> Result<()> {
        self.process
            .wait_text(0, "Initialization Sequence Completed", START)
            .context("the server does not start")
            .map(drop)
    }

    /// Asks the server for its counters, which it writes to its log.
    pub(crate) fn counters(&self) -> Result<Counters> {
        let mark = self.process.mark();
        self.process.signal("USR2")?;
        let ends = |text: &str| text.ends_with(" END") || text == "END";
        self.process.wait_for(mark, "the status", Duration::from_secs(10), |line| ends(&line.text).then_some(()))?;
        let lines = self.process.lines(mark, |line| Some(line.text.clone()));
        let rows = lines
            .iter()
            .skip_while(|line| !line.contains("Common Name,Real Address"))
            .skip(1)
            .take_while(|line| !line.ends_with("ROUTING TABLE"));
        let mut counters = Counters::default();
        for row in rows {
            // CN, address, received, sent, since; a CN may be empty.
            let mut fields = row.rsplit(',').skip(1);
            let mut number = || fields.next().and_then(|field| field.parse::<u64>().ok());
            let (Some(sent), Some(received)) = (number(), number()) else { continue };
            counters.clients += 1;
            counters.sent += sent;
            counters.received += received;
        }
        // It forgets the signal only after its last line (2.6.14): another one that came before would be forgotten with it.
        self.process.wait_asleep(Duration::from_secs(5))?;
        Ok(counters)
    }

    /// Waits for a line of the log, from its beginning.
    pub(crate) fn wait(&self, text: &str, limit: Duration) -> Result<String> {
        self.process.wait_text(0, text, limit).context("server log")
    }

    /// Demands a line that must be there by now.
    pub(crate) fn expect(&self, text: &str) -> Result<()> {
        ensure!(self.process.count(text) > 0, "the server's log has no {text:?}");
        Ok(())
    }

    /// Demands that no line has this text.
    pub(crate) fn expect_none(&self, text: &str) -> Result<()> {
        let lines = self.process.lines(0, |line| line.text.contains(text).then(|| line.text.clone()));
        ensure!(lines.is_empty(), "the server's log says {:?}", lines.first());
        Ok(())
    }

    /// Renegotiations that have led to keys so far, whoever began them.
    pub(crate) fn renegotiations(&self) -> usize {
        self.process.count("Outgoing Data Channel: Cipher").saturating_sub(1)
    }

    /// The options pushed last.
    pub(crate) fn pushed(&self) -> Result<String> {
        let pushed = self.process.lines(0, |line| {
            let (_, text) = line.text.split_once("SENT CONTROL")?;
            text.contains("PUSH_REPLY").then(|| text.to_owned())
        });
        pushed.last().cloned().context("the server pushed nothing")
    }
}

/// `adduser`, but seen by this server alone.
fn add_user(rig: &Rig, (name, password): (&str, &str)) -> Result<()> {
    let hash = run(std::process::Command::new("openssl").args(["passwd", "-6", password]))?;
    let append = |file: &str, line: String| -> Result<()> {
        let text = fs::read_to_string(format!("/etc/{file}"))?;
        fs::write(rig.dir.join(file), format!("{}\n{line}\n", text.trim_end()))?;
        Ok(())
    };
    append("passwd", format!("{name}:x:4242:4242::/:/usr/sbin/nologin"))?;
    append("shadow", format!("{name}:{}:19000:0:99999:7:::", hash.trim()))
}

/// Runs with the case's directory as working directory.
const CUSTOMERS_START: &str = "\
mount --make-rprivate /
mount --bind passwd /etc/passwd
mount --bind shadow /etc/shadow
mount -t tmpfs none /var/log
touch /var/log/openvpn.log
mount --bind openvpn.log.fifo /var/log/openvpn.log
mount --bind etc /etc/openvpn
cd /etc/openvpn
exec openvpn --config /etc/openvpn/server.conf
";
