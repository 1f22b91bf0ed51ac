//! What the machine should look like for a network: addresses, routes and rules, as values.

use std::{fmt, net::IpAddr, str::FromStr};

use adit_tunnel::{IpNet, NetworkConfig, RouteVia};
use serde::{Deserialize, Serialize};

use super::{MARK, dns::DnsSettings};

/// What the user wants of the device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// What goes through the tunnel.
    pub mode: Mode,
    /// Networks behind the tunnel, in place of those the gateway names; empty takes the gateway's.
    pub routes: Vec<IpNet>,
    /// While the tunnel is down, what belongs in it is dropped, also after this process has died.
    pub fail_closed: bool,
    /// Where all IPv4 goes through a tunnel that has no IPv6, IPv6 is blocked. `fail_closed` has that, too.
    pub block_ipv6: bool,
    /// Whether the tunnel's DNS servers are used.
    pub dns: bool,
    /// The device is in a namespace of its own, where the tunnel's datagrams do not pass.
    pub apart: bool,
    /// The routing table for a full tunnel; one for each device, by its last 16 bits, too.
    pub table: u32,
}

/// What goes through the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// What the gateway says.
    #[default]
    Pushed,
    /// The networks behind it, also where the gateway asks for everything.
    Split,
    /// Everything.
    Full,
}

/// Something that is so, or is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The device has this address.
    Address(Net),
    /// Packets to a network go somewhere.
    Route {
        /// The network.
        to: Net,
        /// The routing table; 254 is the main one.
        table: u32,
        /// Where they go.
        target: Target,
        /// Lower is preferred.
        metric: u32,
    },
    /// What routes of a table say is followed, but for its default route.
    RuleSpecific {
        /// The family.
        v6: bool,
        /// The table.
        table: u32,
        /// Lower comes first.
        priority: u32,
    },
    /// All packets without the mark follow a table.
    RuleUnmarked {
        /// The family.
        v6: bool,
        /// The mark.
        mark: u32,
        /// The table.
        table: u32,
        /// Lower comes first.
        priority: u32,
    },
    /// Names are resolved so.
    Dns(DnsSettings),
}

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Into the device.
    Device,
    /// Nowhere: whoever sends is told so.
    Unreachable,
    /// On to the next table.
    Throw,
}

/// A network as text: `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Net(pub IpNet);

/// Routes of everybody.
const MAIN: u32 = 254;
/// Before those of the system (32766), and of other programs that want to be last before them.
const PRIORITY: u32 = 5200;
/// The least preferred there is.
const LAST: u32 = u32::MAX;

/// What should be so while the tunnel is up; `gateways` are the addresses that the tunnel itself is spoken to at. With `up` false, what
/// should be so while it is not: nothing but the addresses, unless it fails closed.
///
/// Routes for single networks go into the main table, where the longest prefix wins, and the gateway's own addresses are cut out of
/// them. A full tunnel has a table of its own, for all packets that do not carry the mark of the tunnel's datagrams. So those
/// follow the machine's own routes, whatever becomes of these, and neither the main table's default route nor a route to the gateway
/// is ever touched. What a crash leaves behind is a rule that leads into an empty table, which is as good as none; routes
/// through the device vanish with it.
#[must_use]
pub fn plan(network: &NetworkConfig, wanted: &Wanted, gateways: &[IpAddr], up: bool) -> Vec<Change> {
    let mut changes: Vec<Change> = network.addresses.iter().map(|net| Change::Address(Net(*net))).collect();
    if !up && !wanted.fail_closed {
        return changes;
    }
    let has = |v6| network.addresses.iter().any(|net| net.address().is_ipv6() == v6);
    let gateways = if wanted.apart { &[] } else { gateways };
    let metric_of =
        |net: &IpNet| network.routes.iter().find(|route| route.destination == *net).and_then(|route| route.metric);
    for net in tunnel_networks(network, wanted) {
        if !has(net.address().is_ipv6()) {
            continue;
        }
        let metric = metric_of(&net).unwrap_or(0);
        for to in without(net, gateways) {
            if wanted.fail_closed {
                // Each device has its own: what another one undoes opens nothing.
                let metric = LAST - (wanted.table & 0xffff);
                changes.push(Change::Route { to: Net(to), table: MAIN, target: Target::Unreachable, metric });
            }
            changes.push(Change::Route { to: Net(to), table: MAIN, target: Target::Device, metric });
        }
    }
    for v6 in [false, true] {
        let everything = is_full(network, wanted, v6);
        let blocked = v6 && !has(true) && is_full(network, wanted, false);
        let blocked = blocked && (wanted.block_ipv6 || wanted.fail_closed || network.block_ipv6);
        if everything && has(v6) || blocked {
            changes.extend(whole_family(network, wanted, v6, !blocked));
        }
    }
    if wanted.dns && !network.dns.servers.is_empty() {
        changes.insert(network.addresses.len(), Change::Dns(DnsSettings::of(&network.dns)));
    }
    changes
}

fn whole_family(network: &NetworkConfig, wanted: &Wanted, v6: bool, carried: bool) -> Vec<Change> {
    let table = wanted.table;
    let route = |to, target, metric| Change::Route { to: Net(to), table, target, metric };
    let mut changes = Vec::new();
    if wanted.fail_closed || !carried {
        changes.push(route(default_of(v6), Target::Unreachable, LAST));
    }
    if carried {
        changes.push(route(default_of(v6), Target::Device, 0));
    }
    let past = network.routes.iter().filter(|route| route.via == RouteVia::Underlay);
    let past = past.filter(|route| route.destination.address().is_ipv6() == v6);
    changes.extend(past.map(|past| route(masked(past.destination), Target::Throw, 0)));
    if !wanted.fail_closed {
        changes.push(Change::RuleSpecific { v6, table: MAIN, priority: PRIORITY });
    }
    changes.push(Change::RuleUnmarked { v6, mark: MARK, table, priority: PRIORITY + 1 });
    changes
}

/// Whether all of a family is meant for the tunnel.
fn is_full(network: &NetworkConfig, wanted: &Wanted, v6: bool) -> bool {
    let asked = || {
        let redirect = if v6 { network.redirect6 } else { network.redirect4 };
        redirect
            || network.routes.iter().any(|route| is_default(&route.destination, v6) && route.via == RouteVia::Tunnel)
    };
    match wanted.mode {
        Mode::Full => true,
        Mode::Split => wanted.routes.iter().any(|net| is_default(net, v6)),
        Mode::Pushed if wanted.routes.is_empty() => asked(),
        Mode::Pushed => wanted.routes.iter().any(|net| is_default(net, v6)),
    }
}

fn is_default(net: &IpNet, v6: bool) -> bool {
    net.prefix() == 0 && net.address().is_ipv6() == v6
}

fn default_of(v6: bool) -> IpNet {
    let unspecified: IpAddr =
        if v6 { std::net::Ipv6Addr::UNSPECIFIED.into() } else { std::net::Ipv4Addr::UNSPECIFIED.into() };
    masked(IpNet::new(unspecified, 0).unwrap_or_else(|| IpNet::host(unspecified)))
}

/// Those with a route of their own, each once.
fn tunnel_networks(network: &NetworkConfig, wanted: &Wanted) -> Vec<IpNet> {
    let pushed = network.routes.iter().filter(|route| route.via == RouteVia::Tunnel).map(|route| route.destination);
    let all: Vec<IpNet> = if wanted.routes.is_empty() { pushed.collect() } else { wanted.routes.clone() };
    // Of a point-to-point link, whose other end is in no network of ours.
    let ends = network.gateway4.map(IpAddr::from).into_iter().chain(network.gateway6.map(IpAddr::from));
    let ends = ends.filter(|end| !network.addresses.iter().any(|net| net.contains(*end))).map(IpNet::host);
    let mut networks = Vec::new();
    for net in all.into_iter().filter(|net| net.prefix() > 0).map(masked).chain(ends) {
        // The kernel makes a route for the network of an address itself.
        let own = network.addresses.iter().any(|own| masked(*own) == net);
        if !own && !networks.contains(&net) {
            networks.push(net);
        }
    }
    networks
}

/// The network without its host bits.
fn masked(net: IpNet) -> IpNet {
    let prefix = u32::from(net.prefix());
    let address: IpAddr = match net.address() {
        IpAddr::V4(v4) => (u32::from(v4) & u32::MAX.checked_shl(32 - prefix).unwrap_or(0)).to_be_bytes().into(),
        IpAddr::V6(v6) => (u128::from(v6) & u128::MAX.checked_shl(128 - prefix).unwrap_or(0)).to_be_bytes().into(),
    };
    IpNet::new(address, net.prefix()).unwrap_or(net)
}

/// The networks that make up this one without those addresses: halved again and again around each of them.
fn without(net: IpNet, addresses: &[IpAddr]) -> Vec<IpNet> {
    if !addresses.iter().any(|address| net.contains(*address)) {
        return vec![net];
    }
    match halves(net) {
        Some(halves) => halves.into_iter().flat_map(|half| without(half, addresses)).collect(),
        None => Vec::new(),
    }
}

/// `None` for a single address.
fn halves(net: IpNet) -> Option<[IpNet; 2]> {
    let prefix = net.prefix() + 1;
    let upper: IpAddr = match net.address() {
        IpAddr::V4(v4) => (u32::from(v4) | 1u32.checked_shl(32u32.checked_sub(prefix.into())?)?).to_be_bytes().into(),
        IpAddr::V6(v6) => {
            (u128::from(v6) | 1u128.checked_shl(128u32.checked_sub(prefix.into())?)?).to_be_bytes().into()
        }
    };
    Some([IpNet::new(net.address(), prefix)?, IpNet::new(upper, prefix)?])
}

impl From<Net> for String {
    fn from(net: Net) -> Self {
        net.0.to_string()
    }
}

impl TryFrom<String> for Net {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Net {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no network such as 10.0.0.0/8");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let net = match prefix {
            Some(prefix) => IpNet::new(address, prefix.parse().map_err(|_| wrong())?).ok_or_else(wrong)?,
            None => IpNet::host(address),
        };
        Ok(Self(net))
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(net) => write!(f, "address {net}"),
            Self::Route { to, table, target, .. } => {
                let target = match target {
                    Target::Device => "",
                    Target::Unreachable => "unreachable ",
                    Target::Throw => "throw ",
                };
                write!(f, "{target}route to {to}")?;
                if *table == MAIN { Ok(()) } else { write!(f, " in table {table}") }
            }
            Self::RuleSpecific { priority, .. } | Self::RuleUnmarked { priority, .. } => write!(f, "rule {priority}"),
            Self::Dns(settings) => write!(f, "DNS servers {:?}", settings.servers),
        }
    }
}

#[cfg(test)]
mod tests {
    use adit_tunnel::{Dns, Route};

    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse::<Net>().unwrap().0
    }

    fn route(to: &str, via: RouteVia) -> Route {
        Route { destination: net(to), via, metric: None }
    }

    fn network() -> NetworkConfig {
        NetworkConfig {
            addresses: vec![net("10.8.0.2/24"), net("fd00:8::2/64")],
            routes: vec![route("192.168.100.0/24", RouteVia::Tunnel), route("fd00:64::/64", RouteVia::Tunnel)],
            ..NetworkConfig::default()
        }
    }

    /// As `ip` would be told, about.
    fn shown(network: &NetworkConfig, wanted: &Wanted, gateways: &[&str], up: bool) -> Vec<String> {
        let gateways: Vec<IpAddr> = gateways.iter().map(|gateway| gateway.parse().unwrap()).collect();
        let changes = plan(network, wanted, &gateways, up);
        let family = |v6: &bool| if *v6 { "-6 " } else { "" };
        let line = |change: &Change| match change {
            Change::RuleSpecific { v6, .. } => format!("{}{change} specific", family(v6)),
            Change::RuleUnmarked { v6, table, .. } => format!("{}{change} unmarked to {table}", family(v6)),
            Change::Address(_) | Change::Route { .. } | Change::Dns(_) => change.to_string(),
        };
        changes.iter().map(line).collect()
    }

    fn wanted() -> Wanted {
        Wanted { table: 7, ..Wanted::default() }
    }

    const ADDRESSES: [&str; 2] = ["address 10.8.0.2/24", "address fd00:8::2/64"];

    #[test]
    fn a_split_tunnel_has_routes_in_the_main_table_alone() {
        let all = shown(&network(), &wanted(), &["203.0.113.1"], true);
        assert_eq!(all[..2], ADDRESSES);
        assert_eq!(all[2..], ["route to 192.168.100.0/24", "route to fd00:64::/64"]);
        assert_eq!(shown(&network(), &wanted(), &["203.0.113.1"], false), ADDRESSES);
    }

    #[test]
    fn own_routes_take_the_place_of_those_of_the_gateway() {
        let wanted = Wanted { routes: vec![net("172.16.1.1/12"), net("10.8.0.0/24")], ..wanted() };
        // The kernel has the network of the address itself.
        assert_eq!(shown(&network(), &wanted, &[], true)[2..], ["route to 172.16.0.0/12"]);
    }

    #[test]
    fn the_gateways_own_address_is_cut_out_of_a_route() {
        let network = NetworkConfig { routes: vec![route("203.0.113.0/29", RouteVia::Tunnel)], ..network() };
        let all = shown(&network, &wanted(), &["203.0.113.1"], true);
        assert_eq!(all[2..], ["route to 203.0.113.0/32", "route to 203.0.113.2/31", "route to 203.0.113.4/30"]);
        // Not where the tunnel's datagrams do not pass.
        let apart = Wanted { apart: true, ..wanted() };
        assert_eq!(shown(&network, &apart, &["203.0.113.1"], true)[2..], ["route to 203.0.113.0/29"]);
        let alone = NetworkConfig { routes: vec![route("203.0.113.1/32", RouteVia::Tunnel)], ..network };
        assert_eq!(shown(&alone, &wanted(), &["203.0.113.1"], true), ADDRESSES);
    }

    #[test]
    fn a_full_tunnel_has_a_table_of_its_own_for_what_carries_no_mark() {
        for (network, wanted) in [
            (NetworkConfig { redirect4: true, redirect6: true, routes: Vec::new(), ..network() }, wanted()),
            (NetworkConfig { routes: Vec::new(), ..network() }, Wanted { mode: Mode::Full, ..wanted() }),
            (
                NetworkConfig {
                    routes: vec![route("0.0.0.0/0", RouteVia::Tunnel), route("::/0", RouteVia::Tunnel)],
                    ..network()
                },
                wanted(),
            ),
        ] {
            let all = shown(&network, &wanted, &["203.0.113.1"], true);
            assert_eq!(
                all[2..],
                [
                    "route to 0.0.0.0/0 in table 7",
                    "rule 5200 specific",
                    "rule 5201 unmarked to 7",
                    "route to ::/0 in table 7",
                    "-6 rule 5200 specific",
                    "-6 rule 5201 unmarked to 7",
                ]
            );
        }
        let split = Wanted { mode: Mode::Split, ..wanted() };
        let redirecting = NetworkConfig { redirect4: true, ..network() };
        assert_eq!(shown(&redirecting, &split, &[], true).len(), 4);
    }

    #[test]
    fn networks_that_the_gateway_leaves_out_go_past_a_full_tunnel() {
        let network =
            NetworkConfig { redirect4: true, routes: vec![route("10.9.0.0/16", RouteVia::Underlay)], ..network() };
        let all = shown(&network, &wanted(), &[], true);
        assert!(all.contains(&"throw route to 10.9.0.0/16 in table 7".to_owned()), "{all:?}");
    }

    #[test]
    fn what_fails_closed_stays_closed_while_the_tunnel_is_down() {
        let wanted = Wanted { fail_closed: true, mode: Mode::Full, ..wanted() };
        let up = shown(&network(), &wanted, &[], true);
        assert_eq!(up, shown(&network(), &wanted, &[], false));
        assert_eq!(
            up[2..],
            [
                "unreachable route to 192.168.100.0/24",
                "route to 192.168.100.0/24",
                "unreachable route to fd00:64::/64",
                "route to fd00:64::/64",
                "unreachable route to 0.0.0.0/0 in table 7",
                "route to 0.0.0.0/0 in table 7",
                "rule 5201 unmarked to 7",
                "unreachable route to ::/0 in table 7",
                "route to ::/0 in table 7",
                "-6 rule 5201 unmarked to 7",
            ]
        );
    }

    #[test]
    fn ipv6_does_not_go_past_a_full_tunnel_without_it_where_that_is_not_wanted() {
        let network =
            NetworkConfig { addresses: vec![net("10.8.0.2/24")], redirect4: true, ..NetworkConfig::default() };
        let six = |wanted: &Wanted, network: &NetworkConfig| {
            let all = shown(network, wanted, &[], true);
            all.into_iter().filter(|line| line.contains("::") || line.contains("-6")).collect::<Vec<_>>()
        };
        assert_eq!(six(&wanted(), &network), Vec::<String>::new());
        let blocked = ["unreachable route to ::/0 in table 7", "-6 rule 5200 specific", "-6 rule 5201 unmarked to 7"];
        assert_eq!(six(&Wanted { block_ipv6: true, ..wanted() }, &network), blocked);
        assert_eq!(six(&wanted(), &NetworkConfig { block_ipv6: true, ..network.clone() }), blocked);
        let closed = Wanted { fail_closed: true, ..wanted() };
        assert_eq!(six(&closed, &network), [blocked[0], blocked[2]]);
    }

    #[test]
    fn the_other_end_of_a_point_to_point_link_has_a_route() {
        let network = NetworkConfig {
            addresses: vec![net("10.8.0.6/32")],
            gateway4: Some("10.8.0.5".parse().unwrap()),
            ..NetworkConfig::default()
        };
        assert_eq!(shown(&network, &wanted(), &[], true)[1..], ["route to 10.8.0.5/32"]);
    }

    #[test]
    fn dns_is_set_before_anything_is_routed() {
        let dns = Dns { servers: vec!["10.8.0.1".parse().unwrap()], ..Dns::default() };
        let network = NetworkConfig { dns, ..network() };
        let all = shown(&network, &Wanted { dns: true, ..wanted() }, &[], true);
        assert_eq!(all[2], "DNS servers [10.8.0.1]");
        assert_eq!(shown(&network, &wanted(), &[], true).len(), 4);
    }

    #[test]
    fn networks_are_read_as_they_are_written() {
        for text in ["10.0.0.0/8", "fd00::/64", "10.8.0.1/32"] {
            assert_eq!(text.parse::<Net>().unwrap().to_string(), text);
        }
        assert_eq!("10.8.0.1".parse::<Net>().unwrap().to_string(), "10.8.0.1/32");
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "x/8", "10.0.0.0/"] {
            assert!(wrong.parse::<Net>().is_err(), "{wrong}");
        }
    }
}
