//! Options of `adit up` and `adit down`.

use std::path::PathBuf;

use adit_tunnel::IpNet;
use clap::Args;

use super::options::{DnsWay, Routing, STATE_DIR, TunOptions, network};
use crate::arguments::Forward;

/// Options of the device: they stand behind those of the connection.
const DEVICE: &str = "Device options";

/// Options of `adit up`.
#[derive(Debug, Clone, Args)]
#[command(mut_group("way", |way| way.required(false)))]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) connection: Forward,

    #[command(flatten)]
    device: Device,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = DEVICE)]
struct Device {
    /// What the kernel calls the device; the first of adit0, adit1, ... that is free unless given
    #[arg(long, value_name = "DEVICE")]
    name: Option<String>,

    /// Puts the device into this network namespace (`ip netns add NAME` makes one): programs there have the tunnel, others have
    /// not. The tunnel's own datagrams leave from here
    #[arg(long, value_name = "NAME")]
    netns: Option<String>,

    /// Sends this network through the tunnel, in place of those the gateway names; may be repeated
    #[arg(long = "route", value_name = "CIDR", value_parser = network, conflicts_with_all = ["full", "split"])]
    routes: Vec<IpNet>,

    /// Sends everything through the tunnel, whatever the gateway says
    #[arg(long, conflicts_with = "split")]
    full: bool,

    /// Sends only networks behind the gateway through the tunnel, also where it asks for everything
    #[arg(long)]
    split: bool,

    /// Leaves name resolution as it is
    #[arg(long, conflicts_with = "dns")]
    no_dns: bool,

    /// How the gateway's DNS servers are set; unless given, systemd-resolved where it runs, else resolvconf, else the file
    #[arg(long, value_name = "HOW", value_enum)]
    dns: Option<DnsMethod>,

    /// The MTU of the device in bytes; unless given, what the tunnel takes
    #[arg(long, value_name = "BYTES")]
    mtu: Option<u16>,

    /// The most payload of a TCP segment through the device, in bytes; unless given, what fits the tunnel
    #[arg(long, value_name = "BYTES")]
    mss: Option<u16>,

    /// Becomes this user before connecting, and keeps no right but CAP_NET_ADMIN
    #[arg(long, value_name = "USER[:GROUP]")]
    run_as: Option<String>,

    /// Drops what belongs in the tunnel while it is down; after a crash, too, until the next start or `adit down`. With a full
    /// tunnel nothing leaves the machine then but datagrams to the gateway
    #[arg(long, visible_alias = "kill-switch")]
    fail_closed: bool,

    /// Blocks IPv6 where all IPv4 goes through a tunnel that has no IPv6
    #[arg(long)]
    block_ipv6: bool,

    /// Where the journal is kept of what is to be undone; /run/adit unless given
    #[arg(long, value_name = "FOLDER")]
    state_dir: Option<PathBuf>,
}

/// Who is told of DNS servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum DnsMethod {
    /// systemd-resolved, over D-Bus.
    Resolved,
    /// The program `resolvconf`.
    Resolvconf,
    /// `/etc/resolv.conf`, rewritten.
    File,
    /// Nobody: the same as `--no-dns`.
    Off,
}

/// Options of `adit down`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Down {
    /// The device of the process that died
    #[arg(long, value_name = "DEVICE", default_value = "adit0")]
    pub(crate) name: String,

    /// Where its journal was kept
    #[arg(long, value_name = "FOLDER", default_value = STATE_DIR)]
    pub(crate) state_dir: PathBuf,

    /// Forgets what cannot be undone, once it was done by hand: the log says what that is, and how
    #[arg(long)]
    pub(crate) force: bool,
}

impl Up {
    /// What the options say, in place of what the connection's own table says.
    pub(crate) fn options(&self, table: TunOptions) -> TunOptions {
        let device = self.device.clone();
        TunOptions {
            device: device.name.or(table.device),
            netns: device.netns.or(table.netns),
            routing: match (device.full, device.split) {
                (true, _) => Routing::Full,
                (false, true) => Routing::Split,
                (false, false) if device.routes.is_empty() => table.routing,
                (false, false) => Routing::Only(device.routes),
            },
            dns: match device.dns {
                _ if device.no_dns => DnsWay::Off,
                None => table.dns,
                Some(DnsMethod::Resolved) => DnsWay::Resolved,
                Some(DnsMethod::Resolvconf) => DnsWay::Resolvconf,
                Some(DnsMethod::File) => DnsWay::File,
                Some(DnsMethod::Off) => DnsWay::Off,
            },
            mtu: device.mtu.or(table.mtu),
            mss: device.mss.or(table.mss),
            user: device.run_as.or(table.user),
            fail_closed: device.fail_closed || table.fail_closed,
            block_ipv6: device.block_ipv6 || table.block_ipv6,
            state_dir: device.state_dir.or(table.state_dir),
        }
    }
}

pub(crate) const UP: &str = "\
Puts the machine behind the gateway: a TUN device with the addresses, routes and DNS servers the gateway gives (Linux).

It needs CAP_NET_ADMIN, /dev/net/tun, and for DNS mostly root; --run-as gives up all of that but CAP_NET_ADMIN before anything is
received. What it changes it undoes at its end, and after a crash at its next start, or by `adit down`. Without such rights,
`adit forward` reaches single hosts.";

pub(crate) const UP_EXAMPLES: &str = "\
Examples:
  With what the gateway gives
      adit up --config office.ovpn

  Everything, with nothing past the tunnel while it is down, as a user without rights
      adit up -c office.ovpn --full --fail-closed --run-as nobody

  Only one network, without DNS, through an IKEv2 gateway
      adit up --ikev2 vpn.example --user alice --ca ca.pem --route 192.168.100.0/24 --no-dns

  Only for programs in a namespace
      ip netns add office; adit up -c office.ovpn --netns office &
      ip netns exec office curl http://192.168.100.30:8080/

When the tunnel is up, standard output has one line, `up adit0 10.8.0.2/24`, and one for each -L. Ctrl-C, SIGTERM and SIGHUP
(unless `nohup` has it ignored) undo everything and close the tunnel.
";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::{Arguments, Command};

    fn up(line: &str) -> Result<TunOptions, clap::Error> {
        let arguments = Arguments::try_parse_from(format!("adit up {line}").split_whitespace())?;
        let Command::Up(up) = arguments.command else { panic!("another command") };
        Ok(up.options(TunOptions::default()))
    }

    #[test]
    fn without_options_the_gateway_is_followed() {
        assert_eq!(up("-c x.ovpn").unwrap(), TunOptions::default());
    }

    #[test]
    fn each_option_has_its_place() {
        let options =
            up("-c x.ovpn --name vpn1 --netns blue --route 10.0.0.0/8 --route fd00::/8 --dns file --mtu 1400 \
                          --mss 1300 --run-as vpn:users --kill-switch --block-ipv6 --state-dir /tmp/x -L 1:h:2");
        let expected = TunOptions {
            device: Some("vpn1".into()),
            netns: Some("blue".into()),
            routing: Routing::Only(vec![network("10.0.0.0/8").unwrap(), network("fd00::/8").unwrap()]),
            dns: DnsWay::File,
            mtu: Some(1400),
            mss: Some(1300),
            user: Some("vpn:users".into()),
            fail_closed: true,
            block_ipv6: true,
            state_dir: Some("/tmp/x".into()),
        };
        assert_eq!(options.unwrap(), expected);
        assert_eq!(up("-c x.ovpn --full").unwrap().routing, Routing::Full);
        for off in ["--no-dns", "--dns off"] {
            assert_eq!(up(&format!("-c x.ovpn --split {off}")).unwrap().dns, DnsWay::Off);
        }
        for wrong in ["--full --split", "--full --route 10.0.0.0/8", "--no-dns --dns file", "--route office"] {
            assert!(up(&format!("-c x.ovpn {wrong}")).is_err(), "{wrong}");
        }
        assert!(up("--full").is_err(), "no connection");
    }
}
