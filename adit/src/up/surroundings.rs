//! What the machine looks like around a device: follows the active gateway, and is undone at the end.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
};

use adit_driver::{
    Device, Names, Protocol,
    redundancy::{ConnectionState, Gateway, RedundancyStatus, Redundant},
    system::{self, DnsMethod, MARK, Mode, Namespace, System, SystemOptions, Wanted},
};
use adit_tunnel::NetworkConfig;

use super::options::{DnsWay, NAME, Routing, STATE_DIR, TunOptions};
use crate::error::{Error, Exit};

/// Before the tunnel says what it takes.
const FIRST_MTU: u16 = 1400;
/// Devices that are looked at for a free one.
const MAX_DEVICES: u32 = 64;
/// With the number of the device, a table that nobody else has: "ad" in ASCII.
const TABLES: u32 = 0x6164_0000;

/// Addresses, routes, rules and DNS of one device. Dropped, it undoes them, but for what fails closed.
#[derive(Debug)]
pub(crate) struct Surroundings {
    system: System,
    options: TunOptions,
    /// Of the device.
    name: String,
    /// Until the connection has it.
    device: Option<Device>,
    made: Option<Made>,
    /// Where gateways are, as far as that is known: they are spoken to past the tunnel.
    gateways: Vec<IpAddr>,
    /// What their names mean.
    names: Names,
}

/// What the machine was made to look like.
#[derive(Debug, PartialEq, Eq)]
struct Made {
    network: Arc<NetworkConfig>,
    gateways: usize,
    up: bool,
}

/// What has become of the tunnel, as far as the machine is concerned.
#[derive(Debug)]
pub(crate) enum Followed {
    /// Nothing new.
    AsBefore,
    /// Through this network for the first time.
    First(Arc<NetworkConfig>),
    Changed,
}

impl Surroundings {
    /// Makes the device, which is down, and undoes what an earlier process has left; what that has blocked stays so, if this one
    /// fails closed, too.
    pub(crate) fn open(options: &TunOptions) -> Result<Self, Error> {
        let (system, device) = open(options)?;
        let name = device.name().to_owned();
        let device = match options.mss {
            Some(mss) => device.max_segment(mss),
            None => device,
        };
        let names = Names::default();
        let mut gateways = Vec::new();
        for (host, port, addresses) in system.names() {
            names.recall(host, *port, addresses.clone());
            gateways.extend(addresses.iter().map(SocketAddr::ip));
        }
        Ok(Self { system, options: options.clone(), name, device: Some(device), made: None, gateways, names })
    }

    /// What the names of gateways mean: to be used, and filled, by the tunnels.
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// Whether something is blocked, and would stay so without [`Self::undo`].
    pub(crate) fn blocks(&self) -> bool {
        self.options.fail_closed && self.system.blocks()
    }

    /// What the tunnels' own datagrams carry.
    pub(crate) fn mark(options: &TunOptions) -> Option<u32> {
        options.netns.is_none().then_some(MARK)
    }

    /// What the kernel calls the device.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it can be undone without any right but CAP_NET_ADMIN.
    pub(crate) fn outlives_rights(&self) -> bool {
        self.system.outlives_rights()
    }

    /// Gives the device to the connection, over these gateways.
    pub(crate) fn attach(&mut self, redundant: &Redundant, gateways: &[Gateway]) -> Result<(), Error> {
        self.know(gateways);
        let Some(device) = self.device.take() else { return Ok(()) };
        redundant.attach(device).map_err(|error| unusable(&self.name, &self.options, &error))
    }

    /// There may be other gateways now. The addresses among them are known before any is spoken to: should it fail closed, they
    /// can be reached all the same. Names show theirs when they are used.
    pub(crate) fn know(&mut self, gateways: &[Gateway]) {
        let hosts = gateways.iter().flat_map(|gateway| gateway.protocol.remotes());
        self.learn(hosts.filter_map(|remote| remote.host.parse().ok()));
    }

    fn learn(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        for address in addresses {
            if !self.gateways.contains(&address) {
                self.gateways.push(address);
            }
        }
    }

    /// Makes the machine fit the gateway that is active now, or none.
    ///
    /// # Errors
    /// The first time, if anything cannot be done. Later that is said in the log alone.
    pub(crate) fn follow(&mut self, status: &RedundancyStatus) -> Result<Followed, Error> {
        self.learn(status.gateways.iter().filter_map(|gateway| gateway.remote).map(|remote| remote.ip()));
        let active = status.gateways.iter().find(|gateway| status.active.as_deref() == Some(&*gateway.name));
        let (network, up) = match (active, &self.made) {
            (Some(active), _) => match &active.network {
                Some(network) => (Arc::clone(network), true),
                // Lost at this moment: that is told of in the next.
                None => return Ok(Followed::AsBefore),
            },
            // Closing: goodbye first, what fails closed is closed until the end.
            (None, Some(made)) if !is_ending(status.state) => (Arc::clone(&made.network), false),
            (None, _) => return Ok(Followed::AsBefore),
        };
        let first = self.made.is_none();
        let wanted = Made { network, gateways: self.gateways.len(), up };
        if self.made.as_ref() == Some(&wanted) {
            return Ok(Followed::AsBefore);
        }
        let network = Arc::clone(&wanted.network);
        let mtu = self.options.mtu.unwrap_or(network.mtu);
        let done = if up { self.system.bring_up(mtu) } else { Ok(()) };
        let done = done.and_then(|()| self.apply(&network, up));
        let done = done.and_then(|()| self.system.know_names(self.names.all()));
        self.made = Some(wanted);
        match done {
            Err(error) if first => return Err(unusable(&self.name, &self.options, &error)),
            Err(error) => tracing::warn!(device = self.name, "{error}"),
            Ok(()) if up => tracing::info!(device = self.name, mtu, dns = self.system.resolver(), "device up"),
            Ok(()) => {}
        }
        Ok(if first { Followed::First(network) } else { Followed::Changed })
    }

    fn apply(&mut self, network: &NetworkConfig, up: bool) -> io::Result<()> {
        let wanted = wanted(&self.options, self.system.index());
        self.system.apply(&system::plan(network, &wanted, &self.gateways, up))
    }

    /// Undoes everything, the last first.
    pub(crate) fn undo(&mut self) {
        self.system.undo_all();
    }

    /// Somebody has taken the device away.
    pub(crate) fn lost(&self) -> Error {
        let error = Error::new(Exit::Lost, format!("the device {} was taken away", self.name));
        error.hint("somebody has removed it; start again")
    }
}

fn is_ending(state: ConnectionState) -> bool {
    matches!(state, ConnectionState::Draining | ConnectionState::Closed | ConnectionState::Failed)
}

fn open(options: &TunOptions) -> Result<(System, Device), Error> {
    let namespace = Namespace::open(options.netns.as_deref()).map_err(|error| {
        let name = options.netns.as_deref().unwrap_or_default();
        let error = Error::new(Exit::LocalSocket, format!("the network namespace `{name}`: {error}"));
        error.hint("`ip netns add NAME` makes one")
    })?;
    let dns_method = match options.dns {
        DnsWay::Auto | DnsWay::Off => None,
        DnsWay::Resolved => Some(DnsMethod::Resolved),
        DnsWay::Resolvconf => Some(DnsMethod::Resolvconf),
        DnsWay::File => Some(DnsMethod::File),
    };
    let state_dir = options.state_dir.clone().unwrap_or_else(|| STATE_DIR.into());
    let namespace = Arc::new(namespace);
    let hold = options.fail_closed;
    let open = |name: &str| {
        let (state_dir, namespace) = (state_dir.clone(), Arc::clone(&namespace));
        let wanted = SystemOptions { state_dir, namespace, dns: options.dns != DnsWay::Off, dns_method, hold };
        System::open(name, options.mtu.unwrap_or(FIRST_MTU), wanted)
    };
    if let Some(name) = &options.device {
        return open(name).map_err(|error| unusable(name, options, &error));
    }
    let mut number = 0;
    loop {
        let name = format!("{NAME}{number}");
        match open(&name) {
            Err(error) if number < MAX_DEVICES && is_taken(&error) => number += 1,
            opened => return opened.map_err(|error| unusable(&name, options, &error)),
        }
    }
}

/// A process has it, or the kernel.
fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ResourceBusy)
}

fn wanted(options: &TunOptions, index: u32) -> Wanted {
    Wanted {
        mode: match options.routing {
            Routing::Pushed | Routing::Only(_) => Mode::Pushed,
            Routing::Split => Mode::Split,
            Routing::Full => Mode::Full,
        },
        routes: match &options.routing {
            Routing::Only(routes) => routes.clone(),
            Routing::Pushed | Routing::Split | Routing::Full => Vec::new(),
        },
        fail_closed: options.fail_closed,
        block_ipv6: options.block_ipv6,
        dns: options.dns != DnsWay::Off,
        apart: options.netns.is_some(),
        table: TABLES | index & 0xffff,
    }
}

fn unusable(name: &str, options: &TunOptions, error: &io::Error) -> Error {
    if error.kind() == io::ErrorKind::WouldBlock {
        let error = Error::new(Exit::LocalSocket, format!("another adit has the device {name}"));
        return error.hint("give this one another --name");
    }
    let failed = Error::new(Exit::LocalSocket, format!("{name}: {error}"));
    let state_dir = options.state_dir.as_deref().unwrap_or_else(|| Path::new(STATE_DIR));
    let hints = [
        (io::ErrorKind::PermissionDenied, "it takes root; `adit forward` does without"),
        (io::ErrorKind::ResourceBusy, "there is a device of that name; give this one another --name"),
        (io::ErrorKind::ReadOnlyFilesystem, "say by --state-dir where the journal can be written"),
    ];
    match hints.iter().find(|(kind, _)| *kind == error.kind()) {
        Some((_, hint)) => failed.hint(*hint),
        None if !state_dir.exists() => failed.hint("say by --state-dir where the journal can be written"),
        None => failed,
    }
}
