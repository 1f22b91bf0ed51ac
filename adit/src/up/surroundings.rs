//! What the machine looks like around a device: follows the active gateway, and is undone at the end.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
};

use adit_driver::{
    Device, Names,
    redundancy::{ConnectionState, RedundancyStatus, Redundant},
    system::{self, DnsMethod, MARK, Mode, Namespace, NotUndone, System, SystemOptions, Wanted},
};
use adit_tunnel::NetworkConfig;

use super::{
    keeper::{Shape, Surround},
    options::{DnsWay, NAME, Routing, STATE_DIR, TunOptions},
};
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
    /// It could not be made, but what an earlier process has blocked was taken over.
    failed: Option<Error>,
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

impl Surroundings {
    /// Makes the device, which is down, and undoes what an earlier process has left; what that has blocked stays so, if this one
    /// fails closed, too. If it cannot be made then, [`Surround::renew`] says so.
    pub(crate) fn open(options: &TunOptions, connection: &str, names: &Names) -> Result<Self, Error> {
        let (system, device) = system(options, connection)?;
        let name = system.device().to_owned();
        let (device, failed) = match device {
            Ok(device) => (Some(limited(device, options)), None),
            Err(error) if options.fail_closed && system.blocks() => (None, Some(error)),
            Err(error) => return Err(error),
        };
        let names = names.clone();
        let mut gateways = Vec::new();
        for (host, port, addresses) in system.names() {
            names.recall(host, *port, addresses.clone());
            gateways.extend(addresses.iter().map(SocketAddr::ip));
        }
        Ok(Self { system, options: options.clone(), name, device, failed, made: None, gateways, names })
    }

    /// Whether it can be undone without any right but CAP_NET_ADMIN.
    pub(crate) fn outlives_rights(&self) -> bool {
        self.system.outlives_rights()
    }

    fn learn(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        for address in addresses {
            if !self.gateways.contains(&address) {
                self.gateways.push(address);
            }
        }
    }

    fn apply(&mut self, network: &NetworkConfig, up: bool) -> io::Result<()> {
        let wanted = wanted(&self.options, &self.system);
        self.system.apply(&system::plan(network, &wanted, &self.gateways, up), self.names.all())
    }
}

impl Surround for Surroundings {
    fn name(&self) -> &str {
        &self.name
    }

    fn change(&mut self, options: &TunOptions) {
        self.system.set_dns(options.dns != DnsWay::Off, dns_method(options));
        self.options = options.clone();
    }

    fn renew(&mut self) -> Result<(), Error> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if self.device.is_none() {
            let made = self.system.make(self.options.mtu.unwrap_or(FIRST_MTU));
            let made = made.map_err(|error| unusable(&self.name, &self.options, &error))?;
            self.device = Some(limited(made, &self.options));
            self.made = None;
        }
        Ok(())
    }

    fn attach(&mut self, redundant: &Redundant) -> Result<(), Error> {
        let Some(device) = self.device.take() else { return Ok(()) };
        redundant.attach(device).map_err(|error| unusable(&self.name, &self.options, &error))
    }

    fn know(&mut self, gateways: &[IpAddr]) {
        self.learn(gateways.iter().copied());
    }

    fn follow(&mut self, status: &RedundancyStatus) -> Result<Option<Shape>, Error> {
        self.learn(status.gateways.iter().filter_map(|gateway| gateway.remote).map(|remote| remote.ip()));
        let active = status.gateways.iter().find(|gateway| status.active.as_deref() == Some(&*gateway.name));
        let (network, up) = match (active, &self.made) {
            (Some(active), _) => match &active.network {
                Some(network) => (Arc::clone(network), true),
                // Lost at this moment: that is told of in the next.
                None => return Ok(None),
            },
            // Closing: goodbye first, what fails closed is closed until the end.
            (None, Some(made)) if !is_ending(status.state) => (Arc::clone(&made.network), false),
            (None, _) => return Ok(None),
        };
        let first = self.made.is_none();
        let wanted = Made { network, gateways: self.gateways.len(), up };
        if self.made.as_ref() == Some(&wanted) {
            return Ok(None);
        }
        let network = Arc::clone(&wanted.network);
        let mtu = self.options.mtu.unwrap_or(network.mtu);
        let done = if up { self.system.bring_up(mtu) } else { Ok(()) };
        let done = done.and_then(|()| self.apply(&network, up));
        self.made = Some(wanted);
        match done {
            Err(error) if first => return Err(unusable(&self.name, &self.options, &error)),
            Err(error) => tracing::warn!(device = self.name, "{error}"),
            Ok(()) if up => tracing::info!(device = self.name, mtu, dns = self.system.resolver(), "device up"),
            Ok(()) => {}
        }
        Ok(Some(Shape { network, up, first }))
    }

    fn blocks(&self) -> bool {
        self.options.fail_closed && self.system.blocks()
    }

    fn rest(&mut self) {
        self.device = None;
        self.system.rest();
    }

    fn undo(&mut self) {
        self.system.undo_all();
    }
}

/// Makes a device, and what is around it.
pub(crate) fn open(options: &TunOptions, connection: &str, names: &Names) -> Result<Box<dyn Surround>, Error> {
    options.check()?;
    Ok(Box::new(Surroundings::open(options, connection, names)?))
}

/// What the tunnels' own datagrams carry, where they leave from the namespace that the device is in.
pub(crate) fn mark(options: &TunOptions) -> Option<u32> {
    let name = options.netns.as_deref();
    let is_own = name.is_none() || Namespace::open(name).is_ok_and(|namespace| !namespace.is_apart());
    is_own.then_some(MARK)
}

fn limited(device: Device, options: &TunOptions) -> Device {
    match options.mss {
        Some(mss) => device.max_segment(mss),
        None => device,
    }
}

fn is_ending(state: ConnectionState) -> bool {
    matches!(state, ConnectionState::Draining | ConnectionState::Closed | ConnectionState::Failed)
}

/// With a device, or why there is none.
type Machine = (System, Result<Device, Error>);

fn dns_method(options: &TunOptions) -> Option<DnsMethod> {
    match options.dns {
        DnsWay::Auto | DnsWay::Off => None,
        DnsWay::Resolved => Some(DnsMethod::Resolved),
        DnsWay::Resolvconf => Some(DnsMethod::Resolvconf),
        DnsWay::File => Some(DnsMethod::File),
    }
}

fn system(options: &TunOptions, connection: &str) -> Result<Machine, Error> {
    let namespace = Namespace::open(options.netns.as_deref()).map_err(|error| {
        let name = options.netns.as_deref().unwrap_or_default();
        let error = Error::new(Exit::LocalSocket, format!("the network namespace `{name}`: {error}"));
        error.hint("`ip netns add NAME` makes one")
    })?;
    let state_dir = options.state_dir.clone().unwrap_or_else(|| STATE_DIR.into());
    let namespace = Arc::new(namespace);
    let hold = options.fail_closed;
    let (dns, spare) = (options.dns != DnsWay::Off, options.device.is_none());
    let open = |name: &str| {
        let (state_dir, namespace, owner) = (state_dir.clone(), Arc::clone(&namespace), connection.to_owned());
        let dns_method = dns_method(options);
        let mut system =
            System::open(name, SystemOptions { state_dir, namespace, dns, dns_method, hold, owner, spare })?;
        match system.make(options.mtu.unwrap_or(FIRST_MTU)) {
            Err(error) if spare && is_taken(&error) => Err(error),
            made => Ok((system, made.map_err(|error| unusable(name, options, &error)))),
        }
    };
    if let Some(name) = &options.device {
        return open(name).map_err(|error| unusable(name, options, &error));
    }
    // What this connection has left blocked is its own, whatever is free besides.
    for name in system::blocked(&state_dir, connection) {
        match open(&name) {
            Err(error) if is_taken(&error) => {}
            opened => return opened.map_err(|error| unusable(&name, options, &error)),
        }
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

fn wanted(options: &TunOptions, system: &System) -> Wanted {
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
        apart: system.is_apart(),
        table: TABLES | system.index() & 0xffff,
    }
}

fn unusable(name: &str, options: &TunOptions, error: &io::Error) -> Error {
    if error.kind() == io::ErrorKind::WouldBlock {
        let error = Error::new(Exit::LocalSocket, format!("another adit has the device {name}"));
        return error.hint("give this one another --name");
    }
    if error.get_ref().is_some_and(|inner| inner.is::<NotUndone>()) {
        let text = format!("{name}: of what an earlier process has left behind, {error}");
        let error = Error::new(Exit::LocalSocket, text);
        return error.hint(format!("after that say `adit down --name {name} --force`, which forgets it"));
    }
    let failed = Error::new(Exit::LocalSocket, format!("{name}: {error}"));
    let state_dir = options.state_dir.as_deref().unwrap_or_else(|| Path::new(STATE_DIR));
    let hints = [
        (io::ErrorKind::PermissionDenied, "it takes root; `adit forward` does without"),
        (io::ErrorKind::ResourceBusy, "give this one another --name; `ip link` shows those there are"),
        (io::ErrorKind::ReadOnlyFilesystem, "say by --state-dir where the journal can be written"),
    ];
    match hints.iter().find(|(kind, _)| *kind == error.kind()) {
        Some((_, hint)) => failed.hint(*hint),
        None if !state_dir.exists() => failed.hint("say by --state-dir where the journal can be written"),
        None => failed,
    }
}
