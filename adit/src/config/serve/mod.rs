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
use super::{
    address,
    draft::Given,
    problems::Problems,
    source::{self, Source},
};
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

/// Reads the file and all it names. Warnings are said in the log.
///
/// # Errors
/// Everything that is wrong, at once.
pub(crate) fn load(path: &Path) -> Result<Vec<Gateway>, Problems> {
    let mut problems = Problems::default();
    let gateways = read(path, &mut problems);
    problems.log_warnings();
    gateways.ok_or(problems)
}

/// The same; `None`: what is wrong is in the list of problems.
pub(super) fn read(path: &Path, problems: &mut Problems) -> Option<Vec<Gateway>> {
    let (source, drafts) = tables::load(path, problems)?;
    let mut taken: Vec<Given<Listen>> = Vec::new();
    let gateways: Vec<_> = drafts.into_iter().map(|draft| draft.build(&source, &mut taken, problems)).collect();
    gateways.into_iter().collect::<Option<Vec<_>>>().filter(|_| problems.errors() == 0)
}

/// Whether a file describes gateways to run, and no connections.
pub(super) fn is_meant(path: &Path) -> bool {
    let Ok(source) = Source::read(path) else { return false };
    let (table, _) = source.document();
    table.contains_key("serve") && !table.contains_key("connection")
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
    /// `taken`: where gateways listen that stand before it.
    fn build(mut self, source: &Source, taken: &mut Vec<Given<Listen>>, problems: &mut Problems) -> Option<Gateway> {
        let errors = problems.errors();
        self.table.warn_of_readers(source, problems);
        let listen = self.listen(source, problems);
        for wanted in &listen {
            let clashes = |first: &&Given<Listen>| {
                first.value.transport == wanted.value.transport
                    && first.value.address.is_ipv4() == wanted.value.address.is_ipv4()
                    && address::overlap(first.value.address, wanted.value.address)
            };
            if let Some(first) = taken.iter().find(clashes) {
                let error = wanted.error(format!("{} is taken already: {}", wanted.value.address, first.place));
                problems.error(error.hint("give each its own port, or its own address"));
            }
            taken.push(wanted.clone());
        }
        let pool = self.pool(source, problems);
        let network = self.network(source, problems);
        let allow = tables::networks(source, std::mem::take(&mut self.table.allow), problems);
        let allow = allow.into_iter().map(|network| network.value).collect();
        let tun_name = self.tun_name(source);
        let tun_name = problems.catch(tun_name).flatten();
        let sound = self.sound && problems.errors() == errors;
        let protocol = match self.protocol {
            Some(source::Protocol::Ikev2) => {
                self.ikev2(source, sound, problems).map(|config| Protocol::Ikev2(Arc::new(config)))
            }
            Some(source::Protocol::OpenVpn) => self
                .openvpn(source, sound, problems)
                .map(|(config, passwords)| Protocol::OpenVpn { config: Arc::new(config), passwords }),
            None => {
                self.files(source, problems);
                None
            }
        };
        let (single, max_peers) = (self.table.single, self.table.max_peers.map(|peers| peers as usize));
        let listen = listen.into_iter().map(|listen| listen.value).collect();
        Some(Gateway {
            name: self.name,
            protocol: protocol?,
            listen,
            pool: pool?,
            network,
            allow,
            tun_name,
            single,
            max_peers,
        })
    }

    /// `None`: it is missing, or what is wrong with it was said.
    fn pool(&mut self, source: &Source, problems: &mut Problems) -> Option<Pool> {
        let networks = tables::networks(source, std::mem::take(&mut self.table.pool), problems);
        let first = networks.first()?;
        let pool = Pool::new(networks.iter().map(|network| network.value)).map_err(|error| {
            let (BadPool::TooSmall(bad) | BadPool::Overlap(bad, _) | BadPool::NotHosts(bad)) = error;
            let given = networks.iter().find(|network| network.value == bad).unwrap_or(first);
            given.error(error).hint("write it as 10.99.0.0/24 or fd00:99::/64: a network of its own, for peers alone")
        });
        problems.catch(pool)
    }

    /// What peers are told.
    fn network(&mut self, source: &Source, problems: &mut Problems) -> NetworkConfig {
        let mut network = NetworkConfig::default();
        for route in tables::networks(source, std::mem::take(&mut self.table.routes), problems) {
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
        network.dns.servers = tables::addresses(source, std::mem::take(&mut self.table.dns), problems);
        network.dns.search_domains = std::mem::take(&mut self.table.search_domains);
        network.dns.resolve_domains = std::mem::take(&mut self.table.split_domains);
        network.mtu = self.table.mtu.unwrap_or_default();
        network
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
