//! The network of a case: three namespaces joined by two cables.
//!
//! ```text
//!  client                    gateway                      lan
//!  203.0.113.2   --- veth --- 203.0.113.1
//!  2001:db8::2                2001:db8::1
//!                             203.0.113.9 (a stranger)
//!                             192.168.100.1  --- veth --- 192.168.100.30
//!                             fd00:64::1                  fd00:64::30
//! ```
//!
//! The client has no route to the lan and no default route: what reaches the lan went through a tunnel.
//!
//! [`Net::add_nat`] puts a fourth namespace between client and gateway, whose only way to each other it is then:
//!
//! ```text
//!  client                      nat                            gateway
//!  10.0.0.2  --- veth --- 10.0.0.1, 198.51.100.2  --- veth --- 198.51.100.1
//! ```
//!
//! [`Net::add_second_gateway`] makes another gateway to the same lan, with cables of its own:
//!
//! ```text
//!  client                    gateway2                     lan
//!  203.0.115.2   --- veth --- 203.0.115.1
//!                             192.168.101.1  --- veth --- 192.168.101.30
//! ```
//!
//! The lan answers everybody through the first gateway; [`Net::lead_back`] names the networks it answers through the second.

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::process::{kill, run};

/// The host behind the gateway.
pub(crate) const TARGET: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 100, 30));
/// The host behind the gateway over IPv6.
pub(crate) const TARGET_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x64, 0, 0, 0, 0, 0, 0x30));
/// Its web server.
pub(crate) const WEB: SocketAddr = SocketAddr::new(TARGET, 8080);
/// Its web server over IPv6.
pub(crate) const WEB_V6: SocketAddr = SocketAddr::new(TARGET_V6, 8080);
/// Its UDP echo.
pub(crate) const ECHO: SocketAddr = SocketAddr::new(TARGET, 9000);

const GATEWAY_SETUP: &str = "\
link set lo up
link add client type veth peer name eth0 netns @C
link add lan type veth peer name eth0 netns @L
link set client up
link set lan up
addr add 203.0.113.1/24 dev client
addr add 203.0.113.9/24 dev client
addr add 2001:db8::1/64 dev client nodad
addr add 192.168.100.1/24 dev lan
addr add fd00:64::1/64 dev lan nodad
";
const CLIENT_SETUP: &str = "\
link set lo up
link set eth0 up
addr add 203.0.113.2/24 dev eth0
addr add 2001:db8::2/64 dev eth0 nodad
";
const LAN_SETUP: &str = "\
link set lo up
link set eth0 up
addr add 192.168.100.30/24 dev eth0
addr add fd00:64::30/64 dev eth0 nodad
route add default via 192.168.100.1
route add ::/0 via fd00:64::1
";
const NAT_SETUP: &str = "\
link set lo up
link add inside type veth peer name inside netns @C
link add outside type veth peer name nat netns @G
link set inside up
link set outside up
addr add 10.0.0.1/24 dev inside
addr add 198.51.100.2/24 dev outside
";
const NEIGHBOUR_SETUP: &str = "\
link set lo up
link add eth0 type veth peer name neighbour netns @G
link set eth0 up
addr add 203.0.114.2/24 dev eth0
";
const SECOND_SETUP: &str = "\
link set lo up
link add client type veth peer name eth1 netns @C
link add lan type veth peer name eth1 netns @L
link set client up
link set lan up
addr add 203.0.115.1/24 dev client
addr add 192.168.101.1/24 dev lan
route add 192.168.100.0/24 via 192.168.101.30
";
const FORWARDING: &str = "echo 1 > /proc/sys/net/ipv4/ip_forward && echo 1 > /proc/sys/net/ipv6/conf/all/forwarding";

/// Where in the network something runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Client,
    Gateway,
    Lan,
    /// Between client and gateway, in some cases; in others a second client's.
    Nat,
    /// The other gateway to the lan, where a case has two.
    Gateway2,
}

/// The namespaces of one case. Their names are made of the runner's process id and the case's number, so that no two
/// cases on a machine share one. The runner removes them.
#[derive(Debug)]
pub(crate) struct Net {
    prefix: String,
}

impl Net {
    /// Makes the namespaces `PREFIX-client`, `PREFIX-gateway` and `PREFIX-lan`.
    pub(crate) fn create(prefix: &str) -> Result<Self> {
        let net = Self { prefix: prefix.to_owned() };
        let [client, gateway, lan, ..] = names(prefix);
        batch(None, &format!("netns add {client}\nnetns add {gateway}\nnetns add {lan}\n"))?;
        batch(Some(&gateway), &GATEWAY_SETUP.replace("@C", &client).replace("@L", &lan))?;
        batch(Some(&client), CLIENT_SETUP)?;
        batch(Some(&lan), LAN_SETUP)?;
        run(net.command(Place::Gateway, "sh").args(["-c", FORWARDING]))?;
        Ok(net)
    }

    /// A command that runs at a place of the network.
    pub(crate) fn command(&self, place: Place, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(place)]).arg(program);
        command
    }

    /// A name that no other case on this machine has.
    pub(crate) fn unique(&self, what: &str) -> String {
        format!("{}-{what}", self.prefix)
    }

    /// The namespace's name.
    pub(crate) fn name(&self, place: Place) -> String {
        let [client, gateway, lan, nat, second] = names(&self.prefix);
        match place {
            Place::Client => client,
            Place::Gateway => gateway,
            Place::Lan => lan,
            Place::Nat => nat,
            Place::Gateway2 => second,
        }
    }

    /// Puts the namespace `PREFIX-nat` between client and gateway, and takes away their direct cable.
    pub(crate) fn add_nat(&self) -> Result<()> {
        let [client, gateway, _, nat, _] = names(&self.prefix);
        batch(None, &format!("netns add {nat}\n"))?;
        batch(Some(&nat), &NAT_SETUP.replace("@C", &client).replace("@G", &gateway))?;
        batch(Some(&client), "link set eth0 down\nlink set inside up\naddr add 10.0.0.2/24 dev inside\n")?;
        batch(Some(&gateway), "link set nat up\naddr add 198.51.100.1/24 dev nat\n")
    }

    /// Makes a namespace without any link at the place that else is the NAT's.
    pub(crate) fn add_empty(&self) -> Result<()> {
        let name = self.name(Place::Nat);
        batch(None, &format!("netns add {name}\n"))?;
        batch(Some(&name), "link set lo up\n")
    }

    /// Makes a second client beside the first of the place that else is the NAT's: 203.0.114.2, whose gateway is 203.0.114.1.
    pub(crate) fn add_neighbour(&self) -> Result<()> {
        let [_, gateway, _, neighbour, _] = names(&self.prefix);
        batch(None, &format!("netns add {neighbour}\n"))?;
        batch(Some(&neighbour), &NEIGHBOUR_SETUP.replace("@G", &gateway))?;
        batch(Some(&gateway), "link set neighbour up\naddr add 203.0.114.1/24 dev neighbour\n")
    }

    /// Makes the namespace `PREFIX-gateway2`: another gateway to the lan, at 203.0.115.1.
    pub(crate) fn add_second_gateway(&self) -> Result<()> {
        let [client, _, lan, _, second] = names(&self.prefix);
        batch(None, &format!("netns add {second}\n"))?;
        batch(Some(&second), &SECOND_SETUP.replace("@C", &client).replace("@L", &lan))?;
        batch(Some(&client), "link set eth1 up\naddr add 203.0.115.2/24 dev eth1\n")?;
        batch(Some(&lan), "link set eth1 up\naddr add 192.168.101.30/24 dev eth1\n")?;
        run(self.command(Place::Gateway2, "sh").args(["-c", FORWARDING])).map(drop)
    }

    /// From now on the lan answers this network through the second gateway, as a routing protocol would have it.
    pub(crate) fn lead_back(&self, network: &str) -> Result<()> {
        self.change(Place::Lan, &format!("route replace {network} via 192.168.101.1\n"))
    }

    /// Changes the network at a place: lines for `ip`.
    pub(crate) fn change(&self, place: Place, lines: &str) -> Result<()> {
        batch(Some(&self.name(place)), lines)
    }

    /// The processes that run at the client's place.
    pub(crate) fn client_pids(&self) -> Result<Vec<u32>> {
        pids(&names(&self.prefix)[0])
    }

    /// The ports at the client's place that somebody listens at, or receives datagrams at.
    pub(crate) fn client_ports(&self) -> Result<Vec<u16>> {
        let tables = ["tcp", "tcp6", "udp", "udp6"].map(|name| format!("/proc/net/{name}"));
        Ok(run(self.command(Place::Client, "cat").args(&tables))?.lines().filter_map(open_port).collect())
    }
}

/// The port of a line of `/proc/net/{tcp,udp}` whose socket is open: TCP's 0A is "listening", UDP has 07 and 01 only.
fn open_port(line: &str) -> Option<u16> {
    let mut fields = line.split_whitespace().skip(1);
    let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
    let port = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
    ["0A", "07", "01"].contains(&state).then_some(port)
}

/// Ends what still runs in the namespaces of a case, and removes them.
///
/// Everything inside was started by the case: nobody else knows these namespaces.
pub(crate) fn remove(prefix: &str) -> Result<()> {
    let existing = run(Command::new("ip").args(["netns", "list"]))?;
    let exists = |name: &String| existing.lines().any(|line| line.split(' ').next() == Some(name.as_str()));
    let names: Vec<_> = names(prefix).into_iter().filter(exists).collect();
    for name in &names {
        end_processes(name)?;
    }
    for name in &names {
        run(Command::new("ip").args(["netns", "delete", name]))?;
    }
    Ok(())
}

fn end_processes(namespace: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let pids = pids(namespace)?;
        if pids.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("processes {pids:?} in {namespace} do not end");
        }
        kill("KILL", &pids)?;
        // There is no event for the end of a process that is not a child of ours.
        thread::sleep(Duration::from_millis(5));
    }
}

fn pids(namespace: &str) -> Result<Vec<u32>> {
    let listed = run(Command::new("ip").args(["netns", "pids", namespace]))?;
    Ok(listed.lines().filter_map(|line| line.trim().parse().ok()).collect())
}

fn names(prefix: &str) -> [String; 5] {
    ["client", "gateway", "lan", "nat", "gateway2"].map(|place| format!("{prefix}-{place}"))
}

fn batch(namespace: Option<&str>, text: &str) -> Result<()> {
    let mut command = Command::new("ip");
    if let Some(name) = namespace {
        command.args(["-n", name]);
    }
    command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot run ip")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(text.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("ip -batch in {namespace:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_socket_is_open_and_one_that_waits_for_its_end_is_not() {
        let line = |state: &str| format!("   0: 0100007F:80E8 00000000:0000 {state} 00000000:00000000 00:00000000");
        assert_eq!(open_port(&line("0A")), Some(33000));
        assert_eq!(open_port(&line("06")), None);
        assert_eq!(open_port("  sl  local_address rem_address   st tx_queue rx_queue"), None);
    }
}
