//! What fails closed leaks nothing while the tunnel is down, as a capture on the outer link sees it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::{Case, case, profile};
use crate::{
    cases::redundancy,
    config::{self, Transport},
    needs::Need,
    net::Place,
    process::{Process, run},
    rig::Rig,
    server::Server,
    up::{self, Up},
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("tun_fail_closed", |rig| fail_closed(rig, true)).takes(40).needs(Need::Tcpdump),
        case("tun_fail_open", |rig| fail_closed(rig, false)).takes(20).needs(Need::Tcpdump),
    ]
}

/// The server is stopped, and the client reconnects to nobody for a while, with traffic all the time. Without the option the same
/// traffic is seen: so the capture would see a leak. With it nothing is seen either when the client is killed and started again,
/// where its gateway's name means nothing any more, when another connection comes and goes in between, and when the gateway refuses it
/// for good.
fn fail_closed(rig: &Rig, closed: bool) -> Result<()> {
    let _lan = rig.start_lan()?;
    // A machine in the wild has a way out for everything.
    rig.net.change(Place::Client, "route add default via 203.0.113.1\nroute add ::/0 via 2001:db8::1\n")?;
    let hosts = Hosts::new(rig)?;
    let server_config = config::server(&rig.pki, Transport::Udp).replace("keepalive 1 4");
    let server = Server::start(rig, &server_config)?;
    let before = up::picture(rig, Place::Client)?;
    let profile = profile(rig)?.replace(&format!("remote {GATEWAY} 1194"));
    let args: &[&str] = if closed { &["--full", "--fail-closed"] } else { &["--full"] };
    let up = Up::openvpn(rig, &profile, args)?;
    up.exchange(rig)?;
    let pcap = rig.dir.join("outer.pcap");
    let mut command = rig.net.command(Place::Gateway, "tcpdump");
    command.args(["-U", "-n", "-i", "client", "-w"]).arg(&pcap);
    let capture = Process::spawn(&rig.process_name("tcpdump"), &rig.dir, &mut command)?;
    capture.wait_text(0, "listening on", Duration::from_secs(10))?;
    let mut noise = rig.net.command(Place::Client, "sh");
    noise.args(["-c", NOISE]);
    let noise = Process::spawn(&rig.process_name("noise"), &rig.dir, &mut noise)?;
    let mark = up.process.mark();
    server.process.signal("KILL")?;
    up.process.wait_text(mark, "tunnel lost", up::UP)?;
    // It tries again, in vain, and all who have something to send do so several times.
    let lost = up.process.mark();
    up.process.wait_text(lost, "connecting to ", Duration::from_secs(60))?;
    wait_rounds(&noise, 3)?;
    let again = up.process.mark();
    let server = Server::start(rig, &server_config)?;
    up.process.wait_text(again, "\"device up\"", Duration::from_secs(90))?;
    if !closed {
        let strangers = captured(&noise, &capture, &pcap)?;
        for leaked in ["198.51.100.7", "2001:db8:7::7"] {
            ensure!(strangers.iter().any(|line| line.contains(leaked)), "no capture would see {leaked}: {strangers:?}");
        }
        rig.note(&format!("{} packets past the tunnel were captured", strangers.len()))?;
        up.exchange(rig)?;
        up.close()?;
        up::prove_undone(rig, &before)?;
        return rig.prove_gone();
    }
    up.exchange(rig)?;
    up.end("KILL", None)?;
    wait_rounds(&noise, 3)?;
    // Another connection, which takes any device, takes none with which something is blocked.
    let other = Up::openvpn(rig, &profile.clone().replace("remote 203.0.113.1 1194"), &["--route", "10.99.0.0/16"])?;
    other.process.wait_text(0, "another device is taken", up::UP)?;
    wait_rounds(&noise, 2)?;
    other.close()?;
    wait_rounds(&noise, 2)?;
    hosts.forget()?;
    let up = Up::openvpn(rig, &profile, args)?;
    up.process.wait_text(0, "stays blocked until a tunnel is up", up::UP)?;
    up.process.wait_text(0, "trying the addresses it had before", up::UP)?;
    up.exchange(rig)?;
    server.process.signal("KILL")?;
    server.process.wait_exit(Duration::from_secs(15))?;
    let server = Server::start(rig, &redundancy::refusing(rig, &server_config)?)?;
    let ended = up.process.wait_end(Duration::from_secs(90)).context("after it was refused")?;
    ensure!(ended.code() == Some(5), "refused, it ended with {ended}");
    wait_rounds(&noise, 3)?;
    let strangers = captured(&noise, &capture, &pcap)?;
    ensure!(strangers.is_empty(), "on the outer link: {strangers:?}");
    rig.note("0 packets past the tunnel were captured: down, killed, started again, refused")?;
    let mut down = rig.net.command(Place::Client, &rig.adit);
    run(down.args(["down", "--state-dir"]).arg(up::state_dir(rig)))?;
    up::prove_undone(rig, &before)?;
    drop(server);
    rig.prove_gone()
}

/// A name in the client's `/etc/hosts`, as `ip netns exec` shows it.
struct Hosts(PathBuf);

/// Of the server.
const GATEWAY: &str = "gateway.corp.example";

impl Hosts {
    fn new(rig: &Rig) -> Result<Self> {
        let path = Path::new("/etc/netns").join(rig.net.name(Place::Client)).join("hosts");
        fs::create_dir_all(path.parent().context("a file in a folder")?)?;
        fs::write(&path, format!("203.0.113.1 {GATEWAY}\n"))?;
        Ok(Self(path))
    }

    /// From now on nobody knows it.
    fn forget(&self) -> Result<()> {
        Ok(fs::write(&self.0, "")?)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        self.0.parent().map(fs::remove_dir_all);
    }
}

/// Everybody has sent something so many times from now on.
fn wait_rounds(noise: &Process, count: usize) -> Result<()> {
    let mut rounds = 0;
    noise.wait_for(noise.mark(), "rounds of traffic", Duration::from_secs(60), |line| {
        rounds += usize::from(line.text == "round");
        (rounds == count).then_some(())
    })
}

/// Ends both; what was captured that is neither of the tunnel nor about addresses on the link itself.
fn captured(noise: &Process, capture: &Process, pcap: &Path) -> Result<Vec<String>> {
    noise.signal("KILL")?;
    capture.signal("INT")?;
    capture.wait_end(Duration::from_secs(10))?;
    strangers(pcap)
}

/// To the world, to a neighbour, to the lan, by both families, until it is ended; nobody needs to answer.
const NOISE: &str = "\
while :; do
    for to in 198.51.100.7 203.0.113.9 192.168.100.30 2001:db8:7::7 2001:db8::9; do
        ping -n -c 1 -W 1 $to > /dev/null 2>&1 &
    done
    curl --silent --max-time 1 http://198.51.100.7/ > /dev/null 2>&1
    sleep 0.1
    wait
    echo round
done
";

fn strangers(pcap: &Path) -> Result<Vec<String>> {
    let tunnel = "not (udp port 1194 and host 203.0.113.1) and not arp";
    let neighbours =
        "not (icmp6 and ip6[40] >= 133 and ip6[40] <= 137) and not (icmp6 and ip6[40] == 143) and not ip6 proto 0";
    let said = run(std::process::Command::new("tcpdump")
        .args(["-n", "-r"])
        .arg(pcap)
        .arg(format!("{tunnel} and {neighbours}")))
    .context("reading the capture")?;
    // That nobody listened at the gateway's port is about the tunnel, too.
    let about_tunnel = |line: &&str| !line.contains("udp port 1194 unreachable");
    Ok(said.lines().filter(about_tunnel).map(str::to_owned).collect())
}
