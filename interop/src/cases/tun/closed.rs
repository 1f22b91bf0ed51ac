//! What fails closed leaks nothing while the tunnel is down, as a capture on the outer link sees it.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{Case, case, profile};
use crate::{
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
        case("tun_fail_closed", |rig| fail_closed(rig, true)).takes(20).needs(Need::Tcpdump),
        case("tun_fail_open", |rig| fail_closed(rig, false)).takes(20).needs(Need::Tcpdump),
    ]
}

/// The server is stopped, and the client reconnects to nobody for a while, with traffic all the time. Without the option the same
/// traffic is seen: so the capture would see a leak.
fn fail_closed(rig: &Rig, closed: bool) -> Result<()> {
    let _lan = rig.start_lan()?;
    // A machine in the wild has a way out for everything.
    rig.net.change(Place::Client, "route add default via 203.0.113.1\nroute add ::/0 via 2001:db8::1\n")?;
    let server_config = config::server(&rig.pki, Transport::Udp).replace("keepalive 1 4");
    let server = Server::start(rig, &server_config)?;
    let before = up::picture(rig, Place::Client)?;
    let args: &[&str] = if closed { &["--full", "--fail-closed"] } else { &["--full"] };
    let up = Up::openvpn(rig, &profile(rig)?, args)?;
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
    let round = noise.mark();
    let mut rounds = 0;
    noise.wait_for(round, "rounds of traffic", Duration::from_secs(60), |line| {
        rounds += usize::from(line.text == "round");
        (rounds == 3).then_some(())
    })?;
    let again = up.process.mark();
    let server = Server::start(rig, &server_config)?;
    up.process.wait_text(again, "\"device up\"", Duration::from_secs(90))?;
    noise.signal("KILL")?;
    capture.signal("INT")?;
    capture.wait_end(Duration::from_secs(10))?;
    let strangers = strangers(&pcap)?;
    if closed {
        ensure!(strangers.is_empty(), "on the outer link: {strangers:?}");
    } else {
        for leaked in ["198.51.100.7", "2001:db8:7::7"] {
            ensure!(strangers.iter().any(|line| line.contains(leaked)), "no capture would see {leaked}: {strangers:?}");
        }
    }
    rig.note(&format!("{} packets past the tunnel were captured", strangers.len()))?;
    up.exchange(rig)?;
    up.close()?;
    up::prove_undone(rig, &before)?;
    drop(server);
    rig.prove_gone()
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

/// What was captured that is neither of the tunnel nor about addresses on the link itself.
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
