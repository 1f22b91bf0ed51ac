//! Addresses and routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adit_tunnel::{IpNet, NetworkConfig, Route, RouteVia};

use super::{
    dns::DnsOptions,
    note::{NoteReason, OptionError},
    parse::{self, Malformed},
};

/// What the two addresses of `ifconfig` mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Topology {
    /// Our address and that of a peer of our own in a network of four; OpenVPN 2.6's default.
    #[default]
    Net30,
    /// Our address and the server's.
    P2p,
    /// Our address and the netmask shared by all clients.
    Subnet,
}

/// What was said about the network so far. Options may come in any order, so they are resolved only at the end.
#[derive(Debug, Clone, Default)]
pub(super) struct Network {
    topology: Topology,
    ifconfig: Option<(Ipv4Addr, Ipv4Addr)>,
    ifconfig6: Option<(IpNet, Option<Ipv6Addr>)>,
    route_gateway: Option<Ipv4Addr>,
    route_gateway6: Option<Ipv6Addr>,
    route_metric: Option<u32>,
    routes: Vec<RouteOption>,
    redirect4: bool,
    redirect6: bool,
    block_ipv6: bool,
    dns: DnsOptions,
}

/// `route` or `route-ipv6`, as written.
#[derive(Debug, Clone)]
struct RouteOption {
    destination: Place,
    gateway: Option<Place>,
    metric: Option<u32>,
}

/// An address, or one of the words that stand for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Net(IpNet),
    VpnGateway,
    NetGateway,
    RemoteHost,
}

type Applied = Result<Option<NoteReason>, Malformed>;

impl Network {
    /// Applies the option if it is about the network; else `None`.
    pub(super) fn apply(&mut self, name: &str, arguments: &[&str]) -> Option<Applied> {
        Some(match name {
            "topology" => set(&mut self.topology, topology(arguments)),
            "ifconfig" => set(&mut self.ifconfig, ifconfig(arguments).map(Some)),
            "ifconfig-ipv6" => set(&mut self.ifconfig6, ifconfig6(arguments).map(Some)),
            "route-gateway" => self.route_gateway(arguments),
            "route-ipv6-gateway" => set(&mut self.route_gateway6, parse::one(arguments).and_then(address6).map(Some)),
            "route-metric" => set(&mut self.route_metric, parse::one(arguments).and_then(metric).map(Some)),
            "route" => self.route(route4(arguments)),
            "route-ipv6" => self.route(route6(arguments)),
            "redirect-gateway" => self.redirect(arguments),
            "redirect-private" => redirect_flags(arguments).map(|flags| flags.unsupported),
            "block-ipv6" => none(arguments).map(|()| self.block_ipv6 = true).map(|()| None),
            "dhcp-option" => self.dns.dhcp_option(arguments),
            "dns" => self.dns.dns(arguments),
            "block-outside-dns" => none(arguments).map(|()| self.dns.block_outside = true).map(|()| None),
            _ => return None,
        })
    }

    /// Whether what was said fits together.
    pub(super) fn check(&self) -> Result<(), OptionError> {
        match self.ifconfig {
            Some((local, netmask))
                if self.topology == Topology::Subnet && IpNet::from_netmask(local, netmask).is_none() =>
            {
                Err(OptionError::Malformed {
                    option: format!("ifconfig {local} {netmask}"),
                    reason: "with `topology subnet` the second address must be a netmask".into(),
                })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn config(&self, server: IpAddr) -> NetworkConfig {
        let mut config = NetworkConfig {
            redirect4: self.redirect4,
            redirect6: self.redirect6,
            block_ipv6: self.block_ipv6,
            block_outside_dns: self.dns.block_outside,
            dns: self.dns.config(),
            ..NetworkConfig::default()
        };
        if let Some((local, second)) = self.ifconfig {
            match self.netmask(local, second) {
                Some(net) => config.addresses.push(net),
                None => {
                    config.addresses.push(IpNet::host(local));
                    config.gateway4 = Some(second);
                }
            }
        }
        if let Some((net, gateway)) = self.ifconfig6 {
            config.addresses.push(net);
            config.gateway6 = gateway;
        }
        config.gateway4 = self.route_gateway.or(config.gateway4);
        config.gateway6 = self.route_gateway6.or(config.gateway6);
        config.routes = self.routes.iter().filter_map(|route| self.resolve(route, server, &config)).collect();
        config
    }

    /// The subnet of `ifconfig`. A second address that can only be a netmask is taken as one in every topology: servers whose
    /// default is `subnet` (OpenVPN 2.7) forget to push it.
    fn netmask(&self, local: Ipv4Addr, second: Ipv4Addr) -> Option<IpNet> {
        let netmask = self.topology == Topology::Subnet || second.octets().first() == Some(&255);
        if netmask { IpNet::from_netmask(local, second) } else { None }
    }

    fn resolve(&self, route: &RouteOption, server: IpAddr, config: &NetworkConfig) -> Option<Route> {
        let destination = match route.destination {
            Place::Net(net) => net,
            Place::VpnGateway => IpNet::host(config.gateway4?),
            Place::RemoteHost => IpNet::host(server),
            Place::NetGateway => return None,
        };
        let via = match route.gateway {
            None | Some(Place::VpnGateway) => RouteVia::Tunnel,
            Some(Place::NetGateway | Place::RemoteHost) => RouteVia::Underlay,
            Some(Place::Net(gateway)) => via(gateway.address(), config),
        };
        Some(Route { destination, via, metric: route.metric.or(self.route_metric) })
    }

    fn route(&mut self, route: Result<RouteOption, Malformed>) -> Applied {
        let route = route?;
        if self.routes.len() == MAX_ROUTES {
            return Ok(Some(NoteReason::TooMany { what: "routes", limit: MAX_ROUTES }));
        }
        self.routes.push(route);
        Ok(None)
    }

    fn route_gateway(&mut self, arguments: &[&str]) -> Applied {
        match parse::one(arguments)? {
            "dhcp" => Ok(Some(NoteReason::Unsupported("DHCP exists only with `dev tap`"))),
            gateway => set(&mut self.route_gateway, address4(gateway).map(Some)),
        }
    }

    fn redirect(&mut self, arguments: &[&str]) -> Applied {
        let flags = redirect_flags(arguments)?;
        self.redirect4 = flags.ipv4;
        self.redirect6 |= flags.ipv6;
        Ok(flags.unsupported)
    }
}

/// A gateway inside the tunnel leads into it; any other is a router beside us.
fn via(gateway: IpAddr, config: &NetworkConfig) -> RouteVia {
    let peer = match gateway {
        IpAddr::V4(gateway) => config.gateway4 == Some(gateway),
        IpAddr::V6(gateway) => config.gateway6 == Some(gateway),
    };
    if peer || config.addresses.iter().any(|net| net.contains(gateway)) { RouteVia::Tunnel } else { RouteVia::Underlay }
}

/// The flags of `redirect-gateway`.
struct RedirectFlags {
    ipv4: bool,
    ipv6: bool,
    unsupported: Option<NoteReason>,
}

/// `def1` and the `bypass-` flags say how the machine's routes are to be changed, which is not ours to decide.
fn redirect_flags(flags: &[&str]) -> Result<RedirectFlags, Malformed> {
    let mut result = RedirectFlags { ipv4: true, ipv6: false, unsupported: None };
    for flag in flags {
        match *flag {
            "ipv6" => result.ipv6 = true,
            "!ipv4" => result.ipv4 = false,
            "def1" | "local" | "autolocal" | "bypass-dhcp" | "bypass-dns" => {}
            "block-local" => result.unsupported = Some(NoteReason::Unsupported("`block-local`")),
            _ => return Err("a flag is unknown".into()),
        }
    }
    Ok(result)
}

fn topology(arguments: &[&str]) -> Result<Topology, Malformed> {
    match parse::one(arguments)? {
        "net30" => Ok(Topology::Net30),
        "p2p" => Ok(Topology::P2p),
        "subnet" => Ok(Topology::Subnet),
        _ => Err("the topology is unknown".into()),
    }
}

fn ifconfig(arguments: &[&str]) -> Result<(Ipv4Addr, Ipv4Addr), Malformed> {
    match arguments {
        [local, second] => Ok((address4(local)?, address4(second)?)),
        _ => Err("it needs two addresses".into()),
    }
}

fn ifconfig6(arguments: &[&str]) -> Result<(IpNet, Option<Ipv6Addr>), Malformed> {
    match arguments {
        [local] => Ok((net6(local)?, None)),
        [local, remote] => Ok((net6(local)?, Some(address6(remote)?))),
        _ => Err("it needs an address with prefix, and the peer's address".into()),
    }
}

/// `route NETWORK [NETMASK [GATEWAY [METRIC]]]`.
fn route4(arguments: &[&str]) -> Result<RouteOption, Malformed> {
    let (network, rest) = arguments.split_first().ok_or("its network is missing")?;
    if rest.len() > 3 {
        return Err("it has too many values".into());
    }
    let given = |index: usize| rest.get(index).copied().filter(|word| !word.is_empty() && *word != "default");
    let netmask = given(0).map_or(Ok(Ipv4Addr::BROADCAST), address4)?;
    let destination = match keyword(network) {
        Some(place) => place,
        None => Place::Net(masked4(address4(network)?, netmask)?),
    };
    if destination == Place::NetGateway {
        return Err("`net_gateway` can only be its gateway".into());
    }
    Ok(RouteOption {
        destination,
        gateway: given(1).map(gateway4).transpose()?,
        metric: given(2).map(metric).transpose()?,
    })
}

/// `route-ipv6 NETWORK/BITS [GATEWAY [METRIC]]`.
fn route6(arguments: &[&str]) -> Result<RouteOption, Malformed> {
    let (network, rest) = arguments.split_first().ok_or("its network is missing")?;
    if rest.len() > 2 {
        return Err("it has too many values".into());
    }
    let given = |index: usize| rest.get(index).copied().filter(|word| !word.is_empty() && *word != "default");
    let destination = Place::Net(masked6(net6(network)?));
    Ok(RouteOption {
        destination,
        gateway: given(0).map(gateway6).transpose()?,
        metric: given(1).map(metric).transpose()?,
    })
}

fn gateway4(word: &str) -> Result<Place, Malformed> {
    match keyword(word) {
        Some(place) => Ok(place),
        None => Ok(Place::Net(IpNet::host(address4(word)?))),
    }
}

fn gateway6(word: &str) -> Result<Place, Malformed> {
    match keyword(word) {
        Some(place) => Ok(place),
        None => Ok(Place::Net(IpNet::host(address6(word)?))),
    }
}

fn keyword(word: &str) -> Option<Place> {
    match word {
        "vpn_gateway" => Some(Place::VpnGateway),
        "net_gateway" | "net_gateway_ipv6" => Some(Place::NetGateway),
        "remote_host" | "remote_host_ipv6" => Some(Place::RemoteHost),
        _ => None,
    }
}

fn address4(word: &str) -> Result<Ipv4Addr, Malformed> {
    word.parse().map_err(|_| "an IPv4 address is expected".into())
}

fn address6(word: &str) -> Result<Ipv6Addr, Malformed> {
    word.parse().map_err(|_| "an IPv6 address is expected".into())
}

/// `ADDRESS[/BITS]`; without the prefix a single address.
fn net6(word: &str) -> Result<IpNet, Malformed> {
    let (address, bits) = word.split_once('/').unwrap_or((word, "128"));
    let bits = bits.parse().map_err(|_| "the length of a prefix is expected after `/`")?;
    IpNet::new(address6(address)?, bits).ok_or_else(|| "the prefix is longer than the address".into())
}

fn masked4(address: Ipv4Addr, netmask: Ipv4Addr) -> Result<IpNet, Malformed> {
    let network = Ipv4Addr::from(u32::from(address) & u32::from(netmask));
    IpNet::from_netmask(network, netmask).ok_or_else(|| "the netmask has holes".into())
}

fn masked6(net: IpNet) -> IpNet {
    let IpAddr::V6(address) = net.address() else { return net };
    let mask = u128::MAX.checked_shl(128 - u32::from(net.prefix())).unwrap_or(0);
    IpNet::new(Ipv6Addr::from(u128::from(address) & mask), net.prefix()).unwrap_or(net)
}

fn metric(word: &str) -> Result<u32, Malformed> {
    parse::number(word, 0..=i32::MAX as u32)
}

fn none(arguments: &[&str]) -> Result<(), Malformed> {
    if arguments.is_empty() { Ok(()) } else { Err("it takes no values".into()) }
}

fn set<T>(field: &mut T, value: Result<T, Malformed>) -> Applied {
    *field = value?;
    Ok(None)
}

/// Most routes that are used. OpenVPN 2.3 allowed 100, later versions as many as fit; our judgement.
const MAX_ROUTES: usize = 4096;
