//! Debian's strongSwan, as a gateway or as a client to compare with: one daemon in a namespace, with a `/run` of its own.
//!
//! ESP is strongSwan's own (kernel-libipsec): the kernel needs no IPsec, and the daemon counts the packets itself.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::settings::Settings;
use crate::{
    net::Place,
    pki::Pki,
    process::{Process, run},
    rig::Rig,
};

/// Long enough for a loaded machine.
pub(crate) const START: Duration = Duration::from_secs(15);

/// The gateway's name in its certificates, and what it calls itself.
pub(crate) const GATEWAY_ID: &str = "vpn.example.org";

const PLUGINS: &str = "random nonce aes sha1 sha2 md5 hmac kdf mgf1 gmp openssl pem pkcs1 pkcs8 pkcs12 x509 revocation \
     constraints pubkey curve25519 gcm ccm ctr chapoly kernel-libipsec kernel-netlink socket-default vici eap-identity \
     eap-mschapv2 eap-tls eap-ttls eap-md5 eap-gtc xauth-generic updown attr";

/// What a daemon is started with: `swanctl.conf`, `strongswan.conf` and the files beside them.
#[derive(Debug, Clone)]
pub(crate) struct CharonConfig {
    /// `swanctl.conf`.
    pub(crate) swanctl: Settings,
    /// `strongswan.conf`.
    pub(crate) daemon: Settings,
    plugins: Vec<String>,
    /// Folder below the swanctl directory, and file of the PKI.
    files: Vec<(String, String)>,
}

impl CharonConfig {
    /// A gateway that gives addresses of 10.10.10.0/24 and leads everywhere; how anybody proves himself is still open.
    pub(crate) fn gateway() -> Self {
        Self::new()
            .conn("pools", "p4")
            .conn("local.id", GATEWAY_ID)
            .child("local_ts", "0.0.0.0/0")
            .pool("p4.addrs", "10.10.10.0/24")
            .pool("p4.dns", "192.168.100.30")
    }

    /// A client that wants an address and everything behind the gateway.
    pub(crate) fn client() -> Self {
        Self::new()
            .conn("remote_addrs", "203.0.113.1")
            .conn("vips", "0.0.0.0")
            .conn("remote.id", GATEWAY_ID)
            .child("remote_ts", "0.0.0.0/0")
    }

    /// A daemon that is told everything later.
    pub(crate) fn empty() -> Self {
        let mut empty = Self::new();
        empty.swanctl = Settings::default();
        empty
    }

    fn new() -> Self {
        let mut daemon = Settings::default();
        for (path, value) in [
            ("charon.filelog.stderr.default", "1"),
            ("charon.filelog.stderr.ike", "2"),
            ("charon.filelog.stderr.flush_line", "yes"),
            ("charon.plugins.kernel-libipsec.allow_peer_ts", "yes"),
            // What the daemon itself sends goes past its own routes into the tunnel.
            ("charon.plugins.kernel-netlink.fwmark", "!0x42"),
            ("charon.plugins.socket-default.fwmark", "0x42"),
        ] {
            daemon.set(path, value);
        }
        let plugins = PLUGINS.split_whitespace().map(str::to_owned).collect();
        Self { swanctl: Settings::default(), daemon, plugins, files: Vec::new() }.conn("version", "2")
    }

    /// Sets something of the connection, which is called `gw`.
    pub(crate) fn conn(mut self, path: &str, value: &str) -> Self {
        self.swanctl.set(&format!("connections.gw.{path}"), value);
        self
    }

    /// Sets something of the child, which is called `net`.
    pub(crate) fn child(self, path: &str, value: &str) -> Self {
        self.conn(&format!("children.net.{path}"), value)
    }

    /// Takes something of the connection out.
    pub(crate) fn without(mut self, path: &str) -> Self {
        self.swanctl.remove(&format!("connections.gw.{path}"));
        self
    }

    /// Sets something of a pool: `p4.addrs`.
    pub(crate) fn pool(mut self, path: &str, value: &str) -> Self {
        self.swanctl.set(&format!("pools.{path}"), value);
        self
    }

    /// Sets something of a secret: `eap-alice.secret`.
    pub(crate) fn secret(mut self, path: &str, value: &str) -> Self {
        self.swanctl.set(&format!("secrets.{path}"), value);
        self
    }

    /// Sets something of the daemon: `charon.fragment_size`, without the first word.
    pub(crate) fn daemon(mut self, path: &str, value: &str) -> Self {
        self.daemon.set(&format!("charon.{path}"), value);
        self
    }

    /// Loads a plugin before another: the first that can do something does it.
    pub(crate) fn plugin_before(mut self, plugin: &str, other: &str) -> Self {
        let place = self.plugins.iter().position(|known| known == other).unwrap_or(self.plugins.len());
        self.plugins.insert(place, plugin.to_owned());
        self
    }

    /// Goes without a plugin.
    pub(crate) fn without_plugin(mut self, plugin: &str) -> Self {
        self.plugins.retain(|known| known != plugin);
        self
    }

    /// Puts a file of the PKI into a folder: `x509`, `x509ca`, `x509crl`, `private`.
    pub(crate) fn file(mut self, folder: &str, name: &str) -> Self {
        self.files.push((folder.to_owned(), name.to_owned()));
        self
    }

    /// Proves itself with a certificate and key of the PKI.
    pub(crate) fn certificate(self, name: &str) -> Self {
        let (certificate, key) = (format!("{name}.crt"), format!("{name}.key"));
        self.conn("local.auth", "pubkey")
            .conn("local.certs", &certificate)
            .file("x509", &certificate)
            .file("private", &key)
    }

    fn write(&self, dir: &Path, pki: &Pki) -> Result<()> {
        // `swanctl` complains about every folder that is not there.
        const FOLDERS: [&str; 13] = [
            "run", "x509", "x509ca", "x509ocsp", "x509aa", "x509ac", "x509crl", "pubkey", "private", "rsa", "ecdsa",
            "pkcs8", "pkcs12",
        ];
        for folder in FOLDERS.into_iter().chain(["bliss"]) {
            fs::create_dir_all(dir.join(folder))?;
        }
        for (folder, name) in &self.files {
            let target = dir.join(folder).join(name);
            fs::copy(pki.ike(name), &target).with_context(|| format!("{name} for {}", target.display()))?;
        }
        let mut daemon = self.daemon.clone();
        daemon.set("charon.load", &self.plugins.join(" "));
        daemon.set("charon.plugins.vici.socket", &socket(dir));
        fs::write(dir.join("strongswan.conf"), daemon.to_text())?;
        fs::write(dir.join("swanctl.conf"), self.swanctl.to_text())?;
        Ok(())
    }
}

/// A running daemon.
pub(crate) struct Charon {
    pub(crate) process: Process,
    dir: PathBuf,
}

/// What the daemon counted, in bytes of inner packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Established IKE SAs.
    pub(crate) sas: usize,
    /// Installed CHILD_SAs.
    pub(crate) children: usize,
    /// From the other end, by all CHILD_SAs there are.
    pub(crate) received: u64,
    /// To the other end.
    pub(crate) sent: u64,
}

impl Charon {
    /// Starts a daemon and loads its configuration.
    pub(crate) fn start(rig: &Rig, place: Place, config: &CharonConfig) -> Result<Self> {
        let name = rig.process_name(if place == Place::Client { "charon-client" } else { "charon" });
        let dir = rig.dir.join(&name);
        config.write(&dir, &rig.pki)?;
        let mut command = rig.net.command(place, "unshare");
        command.current_dir(&dir).args(["--mount", "sh", "-ec", START_SCRIPT]);
        let process = Process::spawn(&name, &rig.dir, &mut command)?;
        let charon = Self { process, dir };
        charon.wait_ready()?;
        let loaded = charon.swanctl(&["--load-all", "--noprompt"])?;
        ensure!(!loaded.contains("failed"), "strongSwan does not take its configuration: {loaded}");
        Ok(charon)
    }

    /// Starts the customers' `ipsec.conf` and `ipsec.secrets` with `starter`, in a mount namespace with an `/etc` of its
    /// own. Files of the PKI go below `/etc/ipsec.d`.
    pub(crate) fn start_customers(rig: &Rig, conf: &str, secrets: &str, files: &[(&str, &str)]) -> Result<Self> {
        Self::start_with_starter(rig, conf, secrets, files, &[])
    }

    /// The same with further files of text, which `ipsec.conf` includes by names beside it.
    pub(crate) fn start_with_starter(
        rig: &Rig,
        conf: &str,
        secrets: &str,
        files: &[(&str, &str)],
        texts: &[(&str, &str)],
    ) -> Result<Self> {
        let name = rig.process_name("starter");
        let dir = rig.dir.join(&name);
        // `stroke` tells of connections as they were in the file, and no passwords.
        let config = CharonConfig::new().plugin_before("stroke", "vici").daemon("filelog.stderr.cfg", "2");
        config.write(&dir, &rig.pki)?;
        for folder in ["cacerts", "certs", "private", "crls", "ocspcerts", "aacerts", "acerts"] {
            fs::create_dir_all(dir.join("ipsec.d").join(folder))?;
        }
        for (file, target) in files {
            fs::copy(rig.pki.ike(file), dir.join("ipsec.d").join(target)).with_context(|| format!("file {file}"))?;
        }
        fs::write(dir.join("ipsec.conf"), conf)?;
        fs::write(dir.join("ipsec.secrets"), secrets)?;
        for (file, text) in texts {
            let path = dir.join(file);
            fs::create_dir_all(path.parent().context("no folder")?)?;
            fs::write(path, text)?;
        }
        let mut command = rig.net.command(Place::Gateway, "unshare");
        command.current_dir(&dir).args(["--mount", "sh", "-ec", STARTER_SCRIPT]);
        let process = Process::spawn(&name, &rig.dir, &mut command)?;
        let charon = Self { process, dir };
        charon.wait_ready()?;
        charon.wait("added configuration", START)?;
        Ok(charon)
    }

    /// Where its files are.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its sockets are open when its threads run.
    fn wait_ready(&self) -> Result<()> {
        self.process.wait_text(0, "spawning 16 worker threads", START).context("strongSwan does not start").map(drop)
    }

    /// Runs `swanctl` for this daemon, and returns what it says.
    pub(crate) fn swanctl(&self, args: &[&str]) -> Result<String> {
        run(&mut self.swanctl_command(args))
    }

    /// The command itself.
    pub(crate) fn swanctl_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("swanctl");
        command.env("SWANCTL_DIR", &self.dir).env("STRONGSWAN_CONF", self.dir.join("strongswan.conf"));
        command.args(args).args(["--uri", &socket(&self.dir)]);
        command
    }

    /// The IKE SAs as the daemon sees them.
    pub(crate) fn sas(&self) -> Result<Vec<Settings>> {
        let raw = Settings::parse_raw(&self.swanctl(&["--list-sas", "--raw"])?);
        // One event for each, named after its connection.
        let events = raw.sections().filter(|(name, _)| *name == "event");
        Ok(events.flat_map(|(_, event)| event.sections()).map(|(_, sa)| sa.clone()).collect())
    }

    /// Adds up the counters of the CHILD_SAs.
    pub(crate) fn counters(&self) -> Result<Counters> {
        let mut counters = Counters::default();
        for sa in self.sas()?.iter().filter(|sa| sa.text("state") == Some("ESTABLISHED")) {
            counters.sas += 1;
            for (_, child) in sa.section("child-sas").into_iter().flat_map(Settings::sections) {
                counters.children += usize::from(child.text("state") == Some("INSTALLED"));
                counters.received += child.number("bytes-in");
                counters.sent += child.number("bytes-out");
            }
        }
        Ok(counters)
    }

    /// What it has sent into tunnels so far, by all CHILD_SAs there ever were.
    pub(crate) fn sent(&self) -> Result<u64> {
        // "closing CHILD_SA net{1} with SPIs c0_i (12 bytes, 1s ago) c1_o (34 bytes, 1s ago) and TS …"
        let closed = self.process.lines(0, |line| {
            let (_, outbound) = line.text.split_once("closing CHILD_SA")?.1.split_once("_o (")?;
            outbound.split_once(" bytes")?.0.parse::<u64>().ok()
        });
        Ok(closed.iter().sum::<u64>() + self.counters()?.sent)
    }

    /// Runs `work`, and asks again for each rekeying of a child that strongSwan 5.9.8 loses meanwhile: where its job runs in the
    /// instant in which the children move to a new IKE SA, it finds no child, and no other would come before the hard lifetime.
    pub(crate) fn keep_rekeying<T>(&self, child: &str, work: impl FnOnce() -> Result<T>) -> Result<(T, usize)> {
        let ask = || self.swanctl(&["--rekey", "--child", child]).map(drop);
        self.process.on_line("not found for rekey", ask, work)
    }

    /// Waits for a line of the log, from its beginning.
    pub(crate) fn wait(&self, text: &str, limit: Duration) -> Result<String> {
        self.process.wait_text(0, text, limit).context("log of strongSwan")
    }

    /// Demands a line that must be there by now.
    pub(crate) fn expect(&self, text: &str) -> Result<()> {
        ensure!(self.process.count(text) > 0, "the log of strongSwan has no {text:?}");
        Ok(())
    }

    /// Demands that no line has this text.
    pub(crate) fn expect_none(&self, text: &str) -> Result<()> {
        let lines = self.process.lines(0, |line| line.text.contains(text).then(|| line.text.clone()));
        ensure!(lines.is_empty(), "the log of strongSwan says {:?}", lines.first());
        Ok(())
    }
}

fn socket(dir: &Path) -> String {
    format!("unix://{}/vici.sock", dir.display())
}

/// Runs with the daemon's directory as working directory.
const START_SCRIPT: &str = "\
mount --make-rprivate /
export STRONGSWAN_CONF=\"$PWD/strongswan.conf\"
mount --bind run /run
exec /usr/lib/ipsec/charon
";

/// The same for `starter`, which reads files of `/etc`.
const STARTER_SCRIPT: &str = "\
mount --make-rprivate /
for file in ipsec.conf ipsec.secrets strongswan.conf; do mount --bind $file /etc/$file; done
mount --bind ipsec.d /etc/ipsec.d
mount --bind run /run
exec /usr/lib/ipsec/starter --daemon charon --nofork
";
