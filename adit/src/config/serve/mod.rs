//! From a TOML file of gateways, and the files and secrets it names, to what they are run with.

mod identity;
mod ikev2;
mod openvpn;
mod schema;
mod tables;
#[cfg(test)]
mod tests;

use std::{path::Path, sync::Arc};

use adit_driver::gateway::{BadPool, Listen, Pool};
use adit_tunnel::{IpNet, NetworkConfig, Route, RouteVia, Secret};

use self::tables::Draft;
use super::source::{self, Source};
use crate::error::Error;

/// A gateway to run.
pub(crate) struct Gateway {
    pub(crate) name: String,
    pub(crate) protocol: Protocol,
    pub(crate) listen: Vec<Listen>,
    /// The peers' addresses inside their tunnels.
    pub(crate) pool: Pool,
    /// What peers are told about the network.
    pub(crate) network: NetworkConfig,
    /// What peers may reach through sockets of this machine; everything ordinary if empty.
    pub(crate) allow: Vec<IpNet>,
    pub(crate) tun_name: Option<String>,
    /// One tunnel for each identity.
    pub(crate) single: bool,
    pub(crate) max_peers: Option<usize>,
}

/// What a gateway speaks.
pub(crate) enum Protocol {
    Ikev2(Arc<::ikev2::ResponderConfig>),
    OpenVpn {
        config: Arc<::openvpn::ServerConfig>,
        /// Its users, if it has any: then everybody needs a password.
        passwords: Vec<(String, Secret)>,
    },
}

/// Reads the file and all it names.
pub(crate) fn load(path: &Path) -> Result<Vec<Gateway>, Error> {
    let (source, drafts) = tables::load(path)?;
    drafts.into_iter().map(|draft| draft.build(&source)).collect()
}

/// Says which two gateways give the same addresses to their peers, if any two do: the kernel cannot know then which
/// device leads to a peer.
pub(crate) fn shared_pools(gateways: &[Gateway]) -> Option<String> {
    let each = |gateway| Gateway::networks(gateway).map(move |network| (gateway, network));
    let mut seen: Vec<(&Gateway, IpNet)> = Vec::new();
    for (gateway, network) in gateways.iter().flat_map(each) {
        let overlaps = |(other, net): &&(&Gateway, IpNet)| {
            other.name != gateway.name && (net.contains(network.address()) || network.contains(net.address()))
        };
        if let Some((other, net)) = seen.iter().find(overlaps) {
            let (one, two) = (&other.name, &gateway.name);
            return Some(format!(
                "the pools of `{one}` and `{two}` overlap: {net} and {network}, each with its gateway's own address"
            ));
        }
        seen.push((gateway, network));
    }
    None
}

impl Gateway {
    fn networks(&self) -> impl Iterator<Item = IpNet> {
        self.pool.own_addresses()
    }
}

impl Draft {
    fn build(mut self, source: &Source) -> Result<Gateway, Error> {
        let listen = self.listen(source)?;
        let pool = self.pool(source)?;
        let network = self.network(source)?;
        let allow = tables::networks(source, std::mem::take(&mut self.table.allow))?;
        let allow = allow.into_iter().map(|network| network.value).collect();
        let tun_name = self.tun_name(source)?;
        let protocol = match self.protocol {
            source::Protocol::Ikev2 => Protocol::Ikev2(Arc::new(self.ikev2(source)?)),
            source::Protocol::OpenVpn => {
                let (config, passwords) = self.openvpn(source)?;
                Protocol::OpenVpn { config: Arc::new(config), passwords }
            }
        };
        let (single, max_peers) = (self.table.single, self.table.max_peers.map(|peers| peers as usize));
        Ok(Gateway { name: self.name, protocol, listen, pool, network, allow, tun_name, single, max_peers })
    }

    fn pool(&mut self, source: &Source) -> Result<Pool, Error> {
        let networks = tables::networks(source, std::mem::take(&mut self.table.pool))?;
        let Some(first) = networks.first() else {
            return Err(self.error("`pool` is empty").hint("add `pool = [\"10.99.0.0/24\"]`"));
        };
        Pool::new(networks.iter().map(|network| network.value)).map_err(|error| {
            let (BadPool::TooSmall(bad) | BadPool::Overlap(bad, _) | BadPool::NotHosts(bad)) = error;
            let given = networks.iter().find(|network| network.value == bad).unwrap_or(first);
            given.error(error).hint("write it as 10.99.0.0/24 or fd00:99::/64: a network of its own, for peers alone")
        })
    }

    /// What peers are told.
    fn network(&mut self, source: &Source) -> Result<NetworkConfig, Error> {
        let mut network = NetworkConfig::default();
        for route in tables::networks(source, std::mem::take(&mut self.table.routes))? {
            // Everything is not a route like others: a client keeps its way to the gateway itself.
            match (route.value.prefix(), route.value.address().is_ipv4()) {
                (0, true) => network.redirect4 = true,
                (0, false) => network.redirect6 = true,
                _ => {
                    let route = Route { destination: route.value, via: RouteVia::Tunnel, metric: None };
                    network.routes.push(route);
                }
            }
        }
        network.dns.servers = tables::addresses(source, std::mem::take(&mut self.table.dns))?;
        network.dns.search_domains = std::mem::take(&mut self.table.search_domains);
        network.dns.resolve_domains = std::mem::take(&mut self.table.split_domains);
        network.mtu = self.table.mtu.unwrap_or_default();
        Ok(network)
    }

    fn tun_name(&mut self, source: &Source) -> Result<Option<String>, Error> {
        let Some(name) = self.table.tun_name.take().map(|name| source.given(name)) else { return Ok(None) };
        let fits = |name: &str| {
            let good = |c: char| c.is_ascii_graphic() && c != '/' && c != ':' && c != '%';
            (1..=LONGEST_DEVICE_NAME).contains(&name.len()) && name.chars().all(good) && name != "." && name != ".."
        };
        if fits(&name.value) {
            return Ok(Some(name.value));
        }
        let error = name.error(format!("`{}` is no name of a device", name.value));
        Err(error.hint(format!("choose one of at most {LONGEST_DEVICE_NAME} letters and digits, such as adit0")))
    }
}

/// IFNAMSIZ of Linux, without the zero at the end.
const LONGEST_DEVICE_NAME: usize = 15;
