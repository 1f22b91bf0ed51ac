//! How fast packets pass in TUN mode, and how much work they are: ours at both ends, beside OpenVPN's own and no tunnel at all.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context, Result};

use super::Case;
use crate::{
    config::{self, Transport},
    gateway::{Gateway, Stranger, WayOut},
    ike::{
        charon::GATEWAY_ID,
        setup::{PSK, Setup},
    },
    needs::Need,
    net::{Place, TARGET},
    process::{Process, run},
    rig::Rig,
    server::Server,
    up::Up,
};

/// Cases of their own, on request: what they tell depends on what else the machine does.
pub(super) fn cases() -> Vec<Case> {
    let case = |name, run: fn(&Rig) -> Result<()>| Case::new(name, run).takes(300).needs(Need::Iperf3);
    vec![case("speed_tun", tun), case("speed_tun_wire", wire)]
}

/// The cable passes segmented sends as they are, as a network card with every offload does, or one host to another.
fn tun(rig: &Rig) -> Result<()> {
    compare(rig, &[Tunnel::None, Tunnel::Reference, Tunnel::OpenVpn, Tunnel::Ikev2])
}

/// The cable takes datagrams one by one.
fn wire(rig: &Rig) -> Result<()> {
    rig.net.change(Place::Client, "link set eth0 gso_max_segs 1\n")?;
    rig.net.change(Place::Gateway, "link set client gso_max_segs 1\n")?;
    compare(rig, &[Tunnel::Reference, Tunnel::OpenVpn, Tunnel::Ikev2])
}

/// What packets go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tunnel {
    /// Routed.
    None,
    /// Debian's `openvpn` at both ends, without its kernel module.
    Reference,
    /// `adit up` and `adit serve --tun`.
    OpenVpn,
    /// The same.
    Ikev2,
}

/// One load: TCP by this many connections in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Load {
    down: bool,
    streams: u32,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
struct Figure {
    /// Mbit/s of payload.
    rate: f64,
    /// Seconds of processor time per GiB of payload, at the client's end and the gateway's.
    work: [f64; 2],
}

const LOADS: [Load; 4] = [
    Load { down: false, streams: 1 },
    Load { down: false, streams: 4 },
    Load { down: true, streams: 1 },
    Load { down: true, streams: 4 },
];
/// All tunnels take turns, so that what else the machine does hits all of them.
const ROUNDS: usize = 3;
/// Seconds for each figure.
const SECONDS: u32 = 4;

fn compare(rig: &Rig, tunnels: &[Tunnel]) -> Result<()> {
    let mut figures = vec![[const { Vec::new() }; LOADS.len()]; tunnels.len()];
    for _ in 0..ROUNDS {
        for (tunnel, of_tunnel) in tunnels.iter().zip(&mut figures) {
            let ends = tunnel.open(rig)?;
            for (load, of_load) in LOADS.iter().zip(of_tunnel) {
                of_load.push(load.measure(rig, &ends.processes())?);
            }
            ends.close(rig)?;
        }
    }
    let heads: Vec<String> = LOADS.iter().map(Load::name).collect();
    rig.measured(&format!("| Mbit/s, CPU s/GiB client + gateway | {} |", heads.join(" | ")))?;
    for (tunnel, of_tunnel) in tunnels.iter().zip(&figures) {
        let cells: Vec<String> = of_tunnel.iter().map(|of_load| Figure::median(of_load).to_string()).collect();
        rig.measured(&format!("| {} | {} |", tunnel.name(), cells.join(" | ")))?;
    }
    Ok(())
}

/// Both ends of a tunnel.
enum Ends {
    None,
    Reference(Stranger, Server),
    Ours(Up, Gateway),
}

impl Tunnel {
    const fn name(self) -> &'static str {
        match self {
            Self::None => "no tunnel",
            Self::Reference => "`openvpn`",
            Self::OpenVpn => "adit, OpenVPN",
            Self::Ikev2 => "adit, IKEv2",
        }
    }

    fn open(self, rig: &Rig) -> Result<Ends> {
        const NETWORKS: &str = "pool = [\"10.99.0.0/24\"]\nroutes = [\"192.168.100.0/24\"]\n";
        match self {
            Self::None => {
                rig.net.change(Place::Client, "route add 192.168.100.0/24 via 203.0.113.1\n")?;
                Ok(Ends::None)
            }
            Self::Reference => {
                let server = Server::start(rig, &config::server(&rig.pki, Transport::Udp).with("disable-dco"))?;
                let profile = config::profile(&rig.pki, Transport::Udp)?.with("disable-dco");
                Ok(Ends::Reference(Stranger::openvpn(rig, Place::Client, &profile.text(), None)?, server))
            }
            Self::OpenVpn => {
                let table = format!(
                    "[serve.speed]\nprotocol = \"openvpn\"\nlisten = [\"203.0.113.1:1194\"]\nclient_ca = [\"@PKI/ca.crt\"]\n\
                     certificate = \"@PKI/server.crt\"\nkey = \"@PKI/server.key\"\n{NETWORKS}"
                );
                let gateway = Gateway::start(rig, &table, &[], WayOut::Tun)?;
                Ok(Ends::Ours(Up::openvpn(rig, &config::profile(&rig.pki, Transport::Udp)?, &[])?, gateway))
            }
            Self::Ikev2 => {
                let table = format!(
                    "[serve.speed]\nprotocol = \"ikev2\"\nlisten = [\"203.0.113.1:4500\"]\nidentity = {GATEWAY_ID:?}\n\
                     psk = [{{ key = {{ file = \"psk.txt\" }}, identity = \"client@example.org\" }}]\n{NETWORKS}"
                );
                let gateway = Gateway::start(rig, &table, &[("psk.txt", PSK)], WayOut::Tun)?;
                let client = Setup::psk().client.set("remotes", "[\"203.0.113.1:4500\"]");
                Ok(Ends::Ours(Up::ikev2(rig, &client, &[])?, gateway))
            }
        }
    }
}

impl Ends {
    fn processes(&self) -> Vec<&Process> {
        match self {
            Self::None => Vec::new(),
            Self::Reference(client, server) => vec![client.process(), &server.process],
            Self::Ours(up, gateway) => vec![&up.process, &gateway.process],
        }
    }

    fn close(self, rig: &Rig) -> Result<()> {
        match self {
            Self::None => rig.net.change(Place::Client, "route del 192.168.100.0/24 via 203.0.113.1\n"),
            Self::Reference(client, server) => {
                client.close()?;
                server.process.signal("TERM")?;
                server.process.wait_end(Duration::from_secs(10)).map(drop)
            }
            Self::Ours(up, gateway) => {
                up.close()?;
                gateway.close()
            }
        }
    }
}

impl Load {
    fn name(&self) -> String {
        let direction = if self.down { "down" } else { "up" };
        format!("{direction}, {}", self.streams)
    }

    fn measure(self, rig: &Rig, processes: &[&Process]) -> Result<Figure> {
        let mut server = rig.net.command(Place::Lan, "iperf3");
        server.args(["--server", "--one-off", "--forceflush"]);
        let server = Process::spawn(&rig.process_name("iperf3"), &rig.dir, &mut server)?;
        server.wait_text(0, "Server listening", Duration::from_secs(10))?;
        let mut client = rig.net.command(Place::Client, "iperf3");
        // The machine's own congestion control may be one that looks for the bandwidth by the clock.
        client.args(["--client", &TARGET.to_string(), "--json", "--connect-timeout", "10000", "--congestion", "cubic"]);
        client.args(["--time", &SECONDS.to_string(), "--parallel", &self.streams.to_string()]);
        if self.down {
            client.arg("--reverse");
        }
        let before = spent(processes)?;
        let said: serde_json::Value = serde_json::from_str(&run(&mut client)?)?;
        let after = spent(processes)?;
        let number =
            |path: &str| said.pointer(path).and_then(serde_json::Value::as_f64).context("iperf3 measured nothing");
        let gibibytes = number("/end/sum_received/bytes")? / f64::from(1 << 30);
        let work = [0, 1].map(|end| {
            let seconds = after.get(end).zip(before.get(end)).map_or(0.0, |(after, before)| after - before);
            seconds / gibibytes
        });
        Ok(Figure { rate: number("/end/sum_received/bits_per_second")? / 1e6, work })
    }
}

impl Figure {
    /// Of each number by itself.
    fn median(figures: &[Self]) -> Self {
        let of = |number: &dyn Fn(&Self) -> f64| {
            let mut all: Vec<f64> = figures.iter().map(number).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
        };
        Self { rate: of(&|figure| figure.rate), work: [of(&|figure| figure.work[0]), of(&|figure| figure.work[1])] }
    }
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0}", self.rate)?;
        if self.work == [0.0; 2] {
            return Ok(());
        }
        write!(f, ", {:.2} + {:.2}", self.work[0], self.work[1])
    }
}

/// Seconds of processor time that each process has had, its own and the kernel's for it.
fn spent(processes: &[&Process]) -> Result<Vec<f64>> {
    let ticks: f64 = run(Command::new("getconf").arg("CLK_TCK"))?.trim().parse()?;
    let of = |process: &&Process| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid()))?;
        // The name before them may hold anything, brackets too; `utime` and `stime` are the 14th and 15th field.
        let fields = stat.rsplit_once(") ").context("no state of a process")?.1;
        let sum: f64 = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
        Ok(sum / ticks)
    };
    processes.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_of_each_number_by_itself() {
        let figures = [(3.0, 1.0), (1.0, 3.0), (2.0, 2.5)].map(|(rate, work)| Figure { rate, work: [work, 1.0] });
        assert_eq!(Figure::median(&figures).to_string(), "2, 2.50 + 1.00");
        assert_eq!(Figure { rate: 7.4, work: [0.0; 2] }.to_string(), "7");
    }
}
