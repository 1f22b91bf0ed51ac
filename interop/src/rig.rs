//! What a case has in its hands: a network, a PKI, and the processes it starts.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};

use crate::{
    client::{Client, ClientConfig},
    config::Lines,
    net::{Net, Place, WEB, WEB_V6},
    pki::Pki,
    process::{Process, run},
    server::{Counters, Server},
    tools::{fetch::Answer, pattern::Body, probe::Found, relay, say, serve::HELLO},
};

/// Where a relay tells its counters.
const RELAY_COUNTERS: &str = "127.0.0.1:1196";

/// The means of one case.
pub(crate) struct Rig {
    pub(crate) dir: PathBuf,
    pub(crate) pki: Pki,
    pub(crate) net: Net,
    /// This program, where every user can run it.
    pub(crate) interop: PathBuf,
    /// The program under test, likewise.
    pub(crate) adit: PathBuf,
    /// `openvpn` or strongSwan takes the client's place.
    pub(crate) reference: bool,
    processes: AtomicU32,
    /// Rows of `docs/states.md` that were shown.
    rows: Mutex<BTreeSet<String>>,
}

impl Rig {
    pub(crate) fn new(run_dir: &Path, case: &str, prefix: &str, reference: bool) -> Result<Self> {
        let dir = run_dir.join(case);
        std::fs::create_dir_all(&dir)?;
        let net = Net::create(prefix)?;
        let (interop, adit) = (run_dir.join("bin/interop"), run_dir.join("bin/adit"));
        Ok(Self {
            dir,
            pki: Pki::open(&run_dir.join("pki")),
            net,
            interop,
            adit,
            reference,
            processes: AtomicU32::new(0),
            rows: Mutex::default(),
        })
    }

    /// A row of `docs/states.md` was read from all that tells of it.
    pub(crate) fn shows_row(&self, id: &str) {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
    }

    /// Demands that these rows were shown, and no others.
    pub(crate) fn prove_rows(&self, wanted: &BTreeSet<&str>) -> Result<()> {
        let shown = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let shown: BTreeSet<&str> = shown.iter().map(String::as_str).collect();
        ensure!(shown == *wanted, "rows of docs/states.md: shown {shown:?}, but named {wanted:?}");
        if !shown.is_empty() {
            self.note(&format!("rows of docs/states.md: {}", Vec::from_iter(shown).join(" ")))?;
        }
        Ok(())
    }

    /// A name of its own for each process, also for the second server of a case.
    pub(crate) fn process_name(&self, kind: &str) -> String {
        format!("{:02}-{kind}", self.processes.fetch_add(1, Ordering::Relaxed))
    }

    /// Tells something worth knowing about a case that passed.
    pub(crate) fn note(&self, text: &str) -> Result<()> {
        say(&format!("note: {text}"))
    }

    /// Tells what a case has measured; the summary of the run shows it once more.
    pub(crate) fn measured(&self, text: &str) -> Result<()> {
        say(&format!("measured: {text}"))
    }

    /// Demands that the client is gone from its namespace: no process, no open port.
    pub(crate) fn prove_gone(&self) -> Result<()> {
        self.prove_only(&[], &[])
    }

    /// Demands that at the client's place nothing runs and nothing is open but these.
    pub(crate) fn prove_only(&self, processes: &[&Process], open: &[u16]) -> Result<()> {
        let known: Vec<u32> = processes.iter().map(|process| process.pid()).collect();
        let left: Vec<u32> = self.net.client_pids()?.into_iter().filter(|pid| !known.contains(pid)).collect();
        ensure!(left.is_empty(), "the processes {left:?} were left behind");
        let mut ports = self.net.client_ports()?;
        ports.sort_unstable();
        ports.dedup();
        ensure!(ports == open, "the open ports are {ports:?} instead of {open:?}");
        Ok(())
    }

    /// Runs one of our tools at a place of the network.
    pub(crate) fn tool(&self, place: Place, args: &[&str]) -> Command {
        let mut command = self.net.command(place, &self.interop);
        command.args(args);
        command
    }

    /// Starts the host in the lan.
    pub(crate) fn start_lan(&self) -> Result<Process> {
        let args = ["serve", "--web", "[::]:8080", "--echo", "[::]:9000", "--dns", "[::]:53"];
        let mut command = self.tool(Place::Lan, &args);
        let lan = Process::spawn(&self.process_name("lan"), &self.dir, &mut command)?;
        lan.wait_text(0, "ready", Duration::from_secs(10))?;
        Ok(lan)
    }

    /// Starts a relay in the gateway namespace that listens on port 1195 and passes on to the server.
    pub(crate) fn start_relay(&self, args: &[&str]) -> Result<Process> {
        self.start_relay_at(Place::Gateway, "203.0.113.1", args)
    }

    /// The same in the namespace of another gateway, at this address of its.
    pub(crate) fn start_relay_at(&self, place: Place, address: &str, args: &[&str]) -> Result<Process> {
        let seed = seed();
        self.note(&format!("relay with TUNNEL_TEST_SEED={seed}"))?;
        let (seed, listen, upstream) = (seed.to_string(), format!("{address}:1195"), format!("{address}:1194"));
        let mut all = vec!["relay", "--listen", &listen, "--upstream", &upstream];
        all.extend(["--counters", RELAY_COUNTERS, "--seed", &seed]);
        all.extend(args);
        let relay = Process::spawn(&self.process_name("relay"), &self.dir, &mut self.tool(place, &all))?;
        relay.wait_text(0, "ready", Duration::from_secs(10))?;
        Ok(relay)
    }

    /// Puts a NAT between client and gateway, whose two IKE ports it passes on: `10.0.0.1` is the way to the gateway.
    pub(crate) fn start_nat(&self, args: &[&str]) -> Result<Process> {
        let seed = seed();
        self.note(&format!("NAT with TUNNEL_TEST_SEED={seed}"))?;
        self.net.add_nat()?;
        let seed = seed.to_string();
        let mut all = vec!["relay", "--counters", RELAY_COUNTERS, "--seed", &seed, "--outward", "198.51.100.2"];
        all.extend(["--listen", "10.0.0.1:500", "--upstream", "198.51.100.1:500"]);
        all.extend(["--listen", "10.0.0.1:4500", "--upstream", "198.51.100.1:4500"]);
        all.extend(args);
        let nat = Process::spawn(&self.process_name("nat"), &self.dir, &mut self.tool(Place::Nat, &all))?;
        nat.wait_text(0, "ready", Duration::from_secs(10))?;
        Ok(nat)
    }

    /// The NAT forgets its mappings: what the client sends next comes from another port.
    pub(crate) fn rebind_nat(&self) -> Result<()> {
        run(&mut self.tool(Place::Nat, &["fetch", RELAY_COUNTERS, "/rebind"])).map(drop)
    }

    /// From now on the way through the relay at a place takes so many milliseconds up, and so many down.
    pub(crate) fn delay_relay(&self, place: Place, (up, down): (u64, u64)) -> Result<()> {
        run(&mut self.tool(place, &["fetch", RELAY_COUNTERS, &format!("/delay/{up}/{down}")])).map(drop)
    }

    /// What passed the relay so far.
    pub(crate) fn relay_counters(&self) -> Result<relay::Counters> {
        self.relay_counters_at(Place::Gateway)
    }

    /// Waits until the counters of the relay at a place are as wanted.
    pub(crate) fn wait_relay(&self, place: Place, what: &str, wanted: fn(&relay::Counters) -> bool) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !wanted(&self.relay_counters_at(place)?) {
            ensure!(Instant::now() < deadline, "no {what} at the relay: {:?}", self.relay_counters_at(place)?);
            // It tells only when it is asked.
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// What passed the relay at a place so far.
    pub(crate) fn relay_counters_at(&self, place: Place) -> Result<relay::Counters> {
        let answers = run(&mut self.tool(place, &["fetch", RELAY_COUNTERS, "/"]))?;
        let answers: Vec<Answer> = serde_json::from_str(&answers)?;
        let text = &answers.first().context("no answer from the relay")?.text;
        serde_json::from_str(text).with_context(|| format!("counters {text:?}"))
    }

    /// Demands that the lan cannot be reached from the client, although it can from the gateway.
    pub(crate) fn prove_unreachable(&self) -> Result<()> {
        for target in [WEB, WEB_V6] {
            let found = self.probe(Place::Gateway, target)?;
            ensure!(found.open, "{target} does not answer even the gateway: {}", found.error);
            let found = self.probe(Place::Client, target)?;
            ensure!(!found.open, "{target} answers the client without a tunnel");
            ensure!(found.error.contains("unreachable"), "{target}: not unreachable at once but {:?}", found.error);
        }
        Ok(())
    }

    pub(crate) fn probe(&self, place: Place, address: SocketAddr) -> Result<Found> {
        Ok(serde_json::from_str(&run(&mut self.tool(place, &["probe", &address.to_string()]))?)?)
    }

    /// Asks for something from the client's namespace.
    pub(crate) fn fetch(&self, address: SocketAddr, path: &str, args: &[&str]) -> Result<Vec<Answer>> {
        let address = address.to_string();
        let mut all = vec!["fetch", &address, path];
        all.extend(args);
        serde_json::from_str(&run(&mut self.tool(Place::Client, &all))?).context("answers")
    }

    /// The Hello World must come, at the first attempt: a tunnel that is up loses nothing.
    pub(crate) fn hello(&self, address: SocketAddr) -> Result<()> {
        let answers = self.fetch(address, "/", &[])?;
        let texts: Vec<&str> = answers.iter().map(|answer| answer.text.as_str()).collect();
        ensure!(texts == [HELLO], "the answer is {texts:?}");
        Ok(())
    }

    /// A body of this length must come as it was sent.
    pub(crate) fn download(&self, address: SocketAddr, length: usize) -> Result<()> {
        for answer in self.fetch(address, &format!("/bytes/{length}"), &[])? {
            check_body(&answer, length)?;
        }
        Ok(())
    }

    /// A body of this length must arrive as it was sent.
    pub(crate) fn upload(&self, address: SocketAddr, length: usize) -> Result<()> {
        for answer in self.fetch(address, "/sink", &["--upload", &length.to_string()])? {
            ensure!(answer.text == Body::sha256(length), "the upload of {length} bytes arrived as {}", answer.text);
        }
        Ok(())
    }
}

/// Demands that the body is the one for this length.
pub(crate) fn check_body(answer: &Answer, length: usize) -> Result<()> {
    ensure!(answer.bytes == length, "{} of {length} bytes came", answer.bytes);
    ensure!(answer.sha256 == Body::sha256(length), "{length} bytes came, but not those sent");
    Ok(())
}

/// From `TUNNEL_TEST_SEED`, else from the clock.
pub(crate) fn seed() -> u64 {
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::from(since.subsec_nanos()));
    std::env::var("TUNNEL_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(clock)
}

/// A server and a client with a tunnel between them, and a host behind.
pub(crate) struct Session<'a> {
    pub(crate) rig: &'a Rig,
    pub(crate) lan: Process,
    pub(crate) server: Server,
    pub(crate) client: Client,
    before: Counters,
}

impl<'a> Session<'a> {
    /// Proves that the target cannot be reached, then sets up the tunnel.
    pub(crate) fn open(rig: &'a Rig, server: &Lines, client: &ClientConfig) -> Result<Self> {
        Self::open_with(rig, || Server::start(rig, server), client)
    }

    /// The same with a server started in another way.
    pub(crate) fn open_with(
        rig: &'a Rig,
        server: impl FnOnce() -> Result<Server>,
        client: &ClientConfig,
    ) -> Result<Self> {
        let lan = rig.start_lan()?;
        rig.prove_unreachable()?;
        let server = server()?;
        let client = Client::start(rig, client)?;
        client.wait_up()?;
        let before = server.counters()?;
        Ok(Self { rig, lan, server, client, before })
    }

    /// The Hello World, a megabyte down and a quarter up; then the server's counters must show it.
    pub(crate) fn exchange(&self) -> Result<()> {
        self.rig.hello(self.client.web())?;
        self.rig.download(self.client.web(), 1 << 20)?;
        self.rig.upload(self.client.web(), 1 << 18)?;
        self.check_counters(1 << 18, 1 << 20)
    }

    /// The server's own counters for this client must have grown by at least so much since the tunnel came up.
    pub(crate) fn check_counters(&self, received: u64, sent: u64) -> Result<()> {
        let now = self.server.counters()?;
        ensure!(now.clients == 1, "the server knows {} clients", now.clients);
        let grown = (now.received.saturating_sub(self.before.received), now.sent.saturating_sub(self.before.sent));
        ensure!(
            grown.0 >= received && grown.1 >= sent,
            "the server counted {grown:?} bytes received and sent, expected at least {:?}",
            (received, sent)
        );
        Ok(())
    }

    /// The server has begun to count anew: the client has connected again.
    pub(crate) fn reconnected(&mut self) -> Result<()> {
        self.before = self.server.counters()?;
        Ok(())
    }

    /// Ends the client, which must leave nothing behind.
    pub(crate) fn close(self) -> Result<()> {
        self.client.interrupt()?;
        self.rig.prove_gone()
    }
}
