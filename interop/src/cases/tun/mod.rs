//! `adit up`: the machine behind the gateway, and afterwards as before.

mod closed;
mod dns;
mod gateways;
mod network;
mod run;
mod undone;

use anyhow::{Result, ensure};

use super::Case;
use crate::{
    config::{self, Lines, Transport},
    ike::{charon::Charon, setup::Setup},
    needs::Need,
    net::Place,
    process::run,
    resolv_conf::ResolvConf,
    rig::Rig,
    server::Server,
    up::{self, Up},
};

pub(super) fn cases() -> Vec<Case> {
    let groups = [
        vec![
            case("tun_openvpn", openvpn).takes(12).needs(Need::Iperf3),
            case("tun_ikev2", ikev2).takes(12).needs(Need::Iperf3).needs(Need::StrongSwan),
            case("tun_killed", killed).takes(8),
            case("tun_run_as", run_as).takes(8),
        ],
        network::cases(),
        closed::cases(),
        dns::cases(),
        gateways::cases(),
        run::cases(),
        undone::cases(),
    ];
    groups.into_iter().flatten().collect()
}

fn case(name: &str, run: impl Fn(&Rig) -> Result<()> + Send + Sync + 'static) -> Case {
    Case::new(name, run).takes(5).needs(Need::Curl)
}

/// A split tunnel, as the server pushes it; with a forward beside it, whose connections are the stack's.
fn openvpn(rig: &Rig) -> Result<()> {
    let _lan = rig.start_lan()?;
    rig.prove_unreachable()?;
    let server = Server::start(rig, &config::server(&rig.pki, Transport::Udp))?;
    let before = up::picture(rig, Place::Client)?;
    let up = Up::openvpn(rig, &profile(rig)?, &["-L", "33000:192.168.100.30:8080"])?;
    up.process.wait_text(0, "up adit0 10.8.0.2/24", up::UP)?;
    up.exchange(rig)?;
    rig.hello("127.0.0.1:33000".parse()?)?;
    // Both at once: what is the stack's does not get to the kernel, which would reset it.
    rig.download("127.0.0.1:33000".parse()?, 1 << 20)?;
    ensure!(server.counters()?.sent > 2 << 20, "the server has sent {:?}", server.counters()?);
    measure(rig, &up, "openvpn")?;
    up.close()?;
    up::prove_undone(rig, &before)?;
    rig.prove_gone()
}

/// Everything, as the selectors have it; strongSwan's own client would do the same.
fn ikev2(rig: &Rig) -> Result<()> {
    let _lan = rig.start_lan()?;
    rig.prove_unreachable()?;
    let setup = Setup::eap("eap-mschapv2");
    let gateway = Charon::start(rig, Place::Gateway, &setup.gateway)?;
    let before = up::picture(rig, Place::Client)?;
    let up = Up::ikev2(rig, &setup.client, &[])?;
    up.process.wait_text(0, "up adit0 10.10.10.1/32", up::UP)?;
    up.exchange(rig)?;
    measure(rig, &up, "ikev2")?;
    up.close()?;
    up::prove_undone(rig, &before)?;
    let left = gateway.counters()?;
    ensure!(left.sas == 0, "nobody told the gateway that the client leaves: {left:?}");
    rig.prove_gone()
}

fn measure(rig: &Rig, up: &Up, what: &str) -> Result<()> {
    let (upwards, down) = (up.iperf(rig, false)?, up.iperf(rig, true)?);
    rig.measured(&format!("tun {what}: {upwards:.0} Mbit/s up, {down:.0} Mbit/s down by iperf3 through the device"))
}

/// What SIGKILL leaves behind is undone at the next start, or by `adit down`; ended by SIGINT, there is nothing left.
fn killed(rig: &Rig) -> Result<()> {
    let _lan = rig.start_lan()?;
    let _server = Server::start(rig, &config::server(&rig.pki, Transport::Udp))?;
    let before = up::picture(rig, Place::Client)?;
    let profile = profile(rig)?;
    let args = ["--full", "--fail-closed"];
    Up::openvpn(rig, &profile, &args)?.end("KILL", None)?;
    let left = up::picture(rig, Place::Client)?;
    ensure!(left != before && left.contains("unreachable"), "nothing was left to undo: {left}");
    let again = Up::openvpn(rig, &profile, &args)?;
    again.process.wait_text(0, "stays blocked until a tunnel is up", up::UP)?;
    again.exchange(rig)?;
    again.end("KILL", None)?;
    // One that does not fail closed takes nothing over.
    let again = Up::openvpn(rig, &profile, &["--full"])?;
    again.process.wait_text(0, "undid what an earlier process has left behind", up::UP)?;
    again.exchange(rig)?;
    again.end("INT", Some(130))?;
    up::prove_undone(rig, &before)?;
    Up::openvpn(rig, &profile, &args)?.end("KILL", None)?;
    let mut down = rig.net.command(Place::Client, &rig.adit);
    run(down.args(["down", "--state-dir"]).arg(up::state_dir(rig)))?;
    up::prove_undone(rig, &before)?;
    rig.prove_gone()
}

/// Root is given up before anything is received, and what is left suffices to reconnect and to undo.
fn run_as(rig: &Rig) -> Result<()> {
    let _lan = rig.start_lan()?;
    let resolver = ResolvConf::new(rig, Place::Client, dns::BEFORE)?;
    let with_dns = config::server(&rig.pki, Transport::Udp).with("push \"dhcp-option DNS 192.168.100.30\"");
    let server = Server::start(rig, &with_dns.replace("keepalive 1 4"))?;
    let before = up::picture(rig, Place::Client)?;
    let up = Up::openvpn(rig, &profile(rig)?, &["--full", "--dns", "file", "--run-as", "65534:65533"])?;
    // `ip netns exec` has become the program: its id is the process's own.
    let status = std::fs::read_to_string(format!("/proc/{}/status", up.process.pid()))?;
    let field = |name: &str| field_of(&status, name);
    let net_admin = "0000000000001000";
    for (name, wanted) in [
        ("Uid:", "65534 65534 65534 65534"),
        ("Gid:", "65533 65533 65533 65533"),
        ("Groups:", ""),
        ("CapInh:", "0000000000000000"),
        ("CapPrm:", net_admin),
        ("CapEff:", net_admin),
        ("CapBnd:", net_admin),
        ("CapAmb:", "0000000000000000"),
        ("NoNewPrivs:", "1"),
    ] {
        ensure!(field(name) == wanted, "{name} {:?} instead of {wanted:?}", field(name));
        // Rights are a thread's own.
        for thread in std::fs::read_dir(format!("/proc/{}/task", up.process.pid()))? {
            let status = std::fs::read_to_string(thread?.path().join("status"))?;
            let own = field_of(&status, name);
            ensure!(own == wanted, "{name} {own:?} of a thread instead of {wanted:?}");
        }
    }
    up.exchange(rig)?;
    let mark = up.process.mark();
    server.process.signal("HUP")?;
    up.process.wait_text(mark, "tunnel lost", up::UP)?;
    up.process.wait_text(mark, "\"device up\"", up::UP)?;
    rig.hello(crate::net::WEB)?;
    ensure!(resolver.text()?.contains("192.168.100.30"), "the resolver is {:?}", resolver.text()?);
    up.close()?;
    up::prove_undone(rig, &before)?;
    // It may not be removed any more, but there is nothing in it.
    ensure!(std::fs::read_to_string(up::state_dir(rig).join("adit0.journal"))?.is_empty(), "something is left to undo");
    rig.prove_gone()
}

fn field_of(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn profile(rig: &Rig) -> Result<Lines> {
    config::profile(&rig.pki, Transport::Udp)
}
