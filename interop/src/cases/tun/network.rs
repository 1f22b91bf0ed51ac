//! Full tunnels, IPv6, namespaces, sizes.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Case, case, profile};
use crate::{
    config::{self, Transport},
    ike::{charon::Charon, setup::Setup},
    needs::Need,
    net::{Place, TARGET, TARGET_V6},
    process::{Process, run},
    rig::Rig,
    server::Server,
    up::{self, Up},
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("tun_full", full),
        case("tun_ikev2_ipv6", ikev2_ipv6).needs(Need::StrongSwan),
        case("tun_two_alike", two_alike).takes(10),
        case("tun_tcp_outside", tcp_outside),
        case("tun_netns", netns),
        case("tun_netns_own", netns_own),
        case("tun_mss", mss).needs(Need::Tcpdump),
        case("tun_reconnects", reconnects).takes(10),
        case("tun_ipv6_blocked", ipv6_blocked),
    ]
}

fn ipv6_server(rig: &Rig) -> config::Lines {
    config::server(&rig.pki, Transport::Udp)
        .with("server-ipv6 fd00:8::/64\npush \"route-ipv6 fd00:64::/64\"\npush \"redirect-gateway def1 ipv6\"")
}

/// Both families, as the server asks for it: also what is next to us goes through the tunnel, but the tunnel itself does not.
fn full(rig: &Rig) -> Result<()> {
    let _lan = rig.start_lan()?;
    rig.prove_unreachable()?;
    let _server = Server::start(rig, &ipv6_server(rig))?;
    let before = up::picture(rig, Place::Client)?;
    let up = Up::openvpn(rig, &profile(rig)?, &[])?;
    up.exchange(rig)?;
    up.ping(rig, &TARGET_V6.to_string())?;
    rig.hello(crate::net::WEB_V6)?;
    // Where nobody has said anything about.
    for (family, far) in [("-4", "198.51.100.77"), ("-6", "2001:db8:77::1")] {
        let way = run(rig.net.command(Place::Client, "ip").args([family, "route", "get", far]))?;
        ensure!(way.contains("dev adit0"), "{far} goes {way}");
        let marked = ["route", "get", "203.0.113.1", "mark", "0x61646974"];
        let way = run(rig.net.command(Place::Client, "ip").args(marked))?;
        ensure!(way.contains("dev eth0"), "datagrams to the gateway go {way}");
    }
    up.close()?;
    up::prove_undone(rig, &before)?;
    rig.prove_gone()
}

fn ikev2_ipv6(rig: &Rig) -> Result<()> {
    let _lan = rig.start_lan()?;
    rig.prove_unreachable()?;
    let setup = Setup::eap("eap-mschapv2").gateway(|gateway| {
        gateway.conn("pools", "p4, p6").pool("p6.addrs", "fd00:10::/112").child("local_ts", "0.0.0.0/0, ::/0")
    });
    let _gateway = Charon::start(rig, Place::Gateway, &setup.gateway)?;
    let before = up::picture(rig, Place::Client)?;
    let up = Up::ikev2(rig, &setup.client, &[])?;
    up.exchange(rig)?;
    up.ping(rig, &TARGET_V6.to_string())?;
    rig.hello(crate::net::WEB_V6)?;
    up.close()?;
    up::prove_undone(rig, &before)?;
    rig.prove_gone()
}

/// A stream outside, whose socket needs the mark as well.
fn tcp_outside(rig: &Rig) -> Result<()> {
    let _lan = rig.start_lan()?;
    let _server = Server::start(rig, &config::server(&rig.pki, Transport::Tcp))?;
    // It can be carried all the same, as the gateway is next to us; one that is farther away could not be.
    let strict = "echo 1 > /proc/sys/net/ipv4/conf/eth0/rp_filter";
    run(rig.net.command(Place::Client, "sh").args(["-c", strict]))?;
    let before = up::picture(rig, Place::Client)?;
    let up = Up::openvpn(rig, &config::profile(&rig.pki, Transport::Tcp)?, &["--full"])?;
    up.process.wait_text(0, "net.ipv4.conf.eth0.rp_filter is 1", up::UP)?;
    up.exchange(rig)?;
    up.close()?;
    up::prove_undone(rig, &before)?;
    // Where it fails closed that way past the tunnel is blocked, too; what the log says lets it in.
    let up = Up::openvpn(rig, &config::profile(&rig.pki, Transport::Tcp)?, &["--full", "--fail-closed"])?;
    up.process.wait_text(0, "`sysctl -w net.ipv4.conf.eth0.rp_filter=2` lets it in", up::UP)?;
    let ping = ["-n", "-c", "3", "-i", "0.2", "-W", "1", &TARGET.to_string()];
    ensure!(run(rig.net.command(Place::Client, "ping").args(ping)).is_err(), "a strict filter does no harm");
    let loose = "echo 2 > /proc/sys/net/ipv4/conf/eth0/rp_filter";
    run(rig.net.command(Place::Client, "sh").args(["-c", loose]))?;
    up.exchange(rig)?;
    up.close()?;
    up::prove_undone(rig, &before)?;
    rig.prove_gone()
}

/// Two devices that want the same: the log of the second names the first, which carries it, and stays as it is when the second ends.
fn two_alike(rig: &Rig) -> Result<()> {
    let _lan = rig.start_lan()?;
    let _server = Server::start(rig, &config::server(&rig.pki, Transport::Udp).with("duplicate-cn"))?;
    let before = up::picture(rig, Place::Client)?;
    let profile = profile(rig)?;
    for (args, far, said) in [
        (
            &[][..],
            "192.168.100.30",
            "adit0 has a route to 192.168.100.0/24 as well: what is sent there goes through adit0",
        ),
        (
            &["--full"][..],
            "198.51.100.7",
            "adit0 is a full tunnel as well: all IPv4 goes through adit0 until that has ended",
        ),
    ] {
        let one = Up::openvpn(rig, &profile, args)?;
        let alone = up::picture(rig, Place::Client)?;
        let two = Up::openvpn(rig, &profile, args)?;
        two.process.wait_text(0, "up adit1 10.8.0.", up::UP)?;
        two.process.wait_text(0, said, up::UP)?;
        two.process.wait_text(0, "adit0 has the address 10.8.0.", up::UP)?;
        ensure!(one.process.count("adit1") == 0, "the first speaks of the second");
        for to in [far, "10.8.0.1"] {
            let way = run(rig.net.command(Place::Client, "ip").args(["route", "get", to]))?;
            ensure!(way.contains("dev adit0"), "{to} goes {way}");
        }
        two.close()?;
        let after = up::picture(rig, Place::Client)?;
        ensure!(after == alone, "the end of the second has changed {alone} to {after}");
        one.exchange(rig)?;
        one.close()?;
        up::prove_undone(rig, &before)?;
    }
    rig.prove_gone()
}

/// Programs in a namespace of their own have the tunnel, and nothing else; those of the machine have not.
fn netns(rig: &Rig) -> Result<()> {
    let _lan = rig.start_lan()?;
    rig.net.add_empty()?;
    let server = config::server(&rig.pki, Transport::Udp).with("push \"dhcp-option DNS 192.168.100.30\"");
    let _server = Server::start(rig, &server)?;
    let before = (up::picture(rig, Place::Client)?, up::picture(rig, Place::Nat)?);
    let name = rig.net.name(Place::Nat);
    let up = Up::openvpn(rig, &profile(rig)?, &["--netns", &name, "--full"])?.at(Place::Nat);
    up.exchange(rig)?;
    rig.prove_unreachable()?;
    let page = format!("http://{}:8080/", crate::tools::dns::NAME);
    let said = run(rig.net.command(Place::Nat, "curl").args(["--silent", "--show-error", "--max-time", "20", &page]))?;
    ensure!(said == crate::tools::serve::HELLO, "by name it is {said:?}");
    ensure!(up::picture(rig, Place::Client)? == before.0, "the machine itself was changed");
    up.close()?;
    let after = up::picture(rig, Place::Nat)?;
    ensure!(after == before.1, "not everything is as before: {after}");
    // The folder was not there before.
    let left = std::path::Path::new("/etc/netns").join(&name);
    ensure!(!left.exists(), "the folder for resolv.conf of the namespace was left behind");
    rig.prove_gone()
}

/// The namespace is named that we are in already: the tunnel's own datagrams go past it all the same, and nothing else does.
fn netns_own(rig: &Rig) -> Result<()> {
    let _lan = rig.start_lan()?;
    let _server = Server::start(rig, &config::server(&rig.pki, Transport::Udp))?;
    let before = up::picture(rig, Place::Client)?;
    let name = rig.net.name(Place::Client);
    let up = Up::openvpn(rig, &profile(rig)?, &["--netns", &name, "--full", "--fail-closed"])?;
    let way = |args: &[&str]| run(rig.net.command(Place::Client, "ip").args(["route", "get"]).args(args));
    ensure!(way(&["203.0.113.1"])?.contains("dev adit0"), "not everything goes through the tunnel");
    ensure!(way(&["203.0.113.1", "mark", "0x61646974"])?.contains("dev eth0"), "the tunnel goes through itself");
    up.exchange(rig)?;
    up.close()?;
    up::prove_undone(rig, &before)?;
    rig.prove_gone()
}

/// Both ends are asked for segments that fit, whatever they would have sent.
fn mss(rig: &Rig) -> Result<()> {
    let _lan = rig.start_lan()?;
    let _server = Server::start(rig, &ipv6_server(rig))?;
    let up = Up::openvpn(rig, &profile(rig)?, &["--mss", "1111"])?;
    let mut command = rig.net.command(Place::Lan, "tcpdump");
    command.args(["-l", "-n", "-i", "eth0", "tcp[tcpflags] & tcp-syn != 0 or (ip6 and ip6[6] == 6)"]);
    let capture = Process::spawn(&rig.process_name("tcpdump"), &rig.dir, &mut command)?;
    capture.wait_text(0, "listening on", Duration::from_secs(10))?;
    rig.hello(crate::net::WEB)?;
    capture.wait_text(0, "mss 1111", Duration::from_secs(10))?;
    rig.hello(crate::net::WEB_V6)?;
    capture.wait_for(0, "a SYN over IPv6", Duration::from_secs(10), |line| {
        (line.text.contains("IP6") && line.text.contains("mss 1111")).then_some(())
    })?;
    // The answer came through as well: what the client's kernel was told.
    let mut ss = rig.net.command(Place::Client, "sh");
    let script = "curl --silent --max-time 20 http://192.168.100.30:8080/paced/400000/5 --output /dev/null & \
                  for turn in $(seq 100); do ss -tin dst 192.168.100.30 | grep -o ' mss:[0-9]*' && break; sleep 0.05; done; wait";
    let told = run(ss.args(["-c", script]))?;
    let mss: Option<u32> = told.trim().lines().next().and_then(|line| line.trim().strip_prefix("mss:")?.parse().ok());
    ensure!(mss.is_some_and(|mss| mss <= 1111), "the client's kernel sends segments of {told:?}");
    up.close()?;
    rig.prove_gone()
}

/// The device stays, and the kernel's connections live on, while the server restarts and gives the same address.
fn reconnects(rig: &Rig) -> Result<()> {
    let _lan = rig.start_lan()?;
    let server = Server::start(rig, &config::server(&rig.pki, Transport::Udp).replace("keepalive 1 4"))?;
    let before = up::picture(rig, Place::Client)?;
    let up = Up::openvpn(rig, &profile(rig)?, &["--fail-closed"])?;
    let mut fetch = rig.tool(Place::Client, &["fetch", "192.168.100.30:8080", "/paced/2000000/8", "--patience", "60"]);
    let download = Process::spawn(&rig.process_name("fetch"), &rig.dir, &mut fetch)?;
    let mark = up.process.mark();
    server.process.signal("HUP")?;
    up.process.wait_text(mark, "tunnel lost", up::UP)?;
    up.process.wait_text(mark, "\"device up\"", up::UP)?;
    let answers: Vec<crate::tools::fetch::Answer> =
        serde_json::from_str(&download.wait_output(Duration::from_secs(90))?)?;
    for answer in &answers {
        crate::rig::check_body(answer, 2_000_000)?;
    }
    up.exchange(rig)?;
    up.close()?;
    up::prove_undone(rig, &before)?;
    rig.prove_gone()
}

/// All IPv4 goes through a tunnel that has no IPv6: nothing goes past it by IPv6, if that is asked for.
fn ipv6_blocked(rig: &Rig) -> Result<()> {
    let _lan = rig.start_lan()?;
    let _server = Server::start(rig, &config::server(&rig.pki, Transport::Udp))?;
    rig.net.change(Place::Client, "route add ::/0 via 2001:db8::1\n")?;
    let before = up::picture(rig, Place::Client)?;
    let way = |args: &[&str]| run(rig.net.command(Place::Client, "ip").args(["-6", "route", "get"]).args(args));
    let far = "2001:db8:77::1";
    let up = Up::openvpn(rig, &profile(rig)?, &["--full"])?;
    ensure!(way(&[far])?.contains("dev eth0"), "without the option IPv6 is left alone");
    up.close()?;
    let up = Up::openvpn(rig, &profile(rig)?, &["--full", "--block-ipv6"])?;
    ensure!(way(&[far]).is_err(), "{far} can be reached: {}", way(&[far])?);
    ensure!(way(&[far, "mark", "0x61646974"])?.contains("dev eth0"), "the tunnel itself could not use IPv6");
    up.exchange(rig)?;
    up.close()?;
    up::prove_undone(rig, &before)?;
    rig.prove_gone()
}
