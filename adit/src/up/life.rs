//! From making the device to undoing everything.

use std::{io, io::Write, net::IpAddr, path::Path, sync::Arc};

use adit_driver::{
    Builder, Client, ClientEvent, Options,
    system::{self, DnsMethod, MARK, Mode, Namespace, System, SystemOptions, Wanted, recover},
};
use adit_tunnel::NetworkConfig;
use tokio::task::JoinSet;

use super::{
    Down,
    options::{DnsWay, NAME, Routing, STATE_DIR, TunOptions, User},
    rights,
};
use crate::{
    error::{Error, Exit},
    forward::{Bound, ForwardCounters, Stop, Stopper},
    plan::ConnectionPlan,
    prompt::Person,
    signals::Signals,
};

/// Before the tunnel says what it takes.
const FIRST_MTU: u16 = 1400;
/// Devices that are looked at for a free one.
const MAX_DEVICES: u32 = 64;
/// With the number of the device, a table that nobody else has: "ad" in ASCII.
const TABLES: u32 = 0x6164_0000;

/// Runs the connection with its device until it is ended. The thread it runs on must be the only one, where rights are to be
/// given up.
pub(crate) async fn life(connection: ConnectionPlan, options: &TunOptions) -> Result<Exit, Error> {
    options.check()?;
    let user = options.user.as_deref().map(User::find).transpose()?;
    let mut signals = Signals::new()?;
    let count = connection.gateways.len();
    let gateway = connection.gateways.into_iter().next();
    let gateway = gateway.ok_or_else(|| Error::new(Exit::Usage, "the connection has no gateway"))?;
    if count > 1 {
        tracing::warn!("a device goes through one gateway: {} alone is used, of {count}", gateway.name);
    }
    // All that takes rights, and anything that may be in use, is said before connecting.
    let bound = Bound::bind_all(&connection.forwards)?;
    let (system, device) = open(options)?;
    if let Some(user) = user {
        if !system.outlives_rights() {
            let error = Error::new(Exit::Usage, "`resolvconf` cannot be run again once root is given up");
            return Err(error.hint("say --dns file or --no-dns, or leave --run-as away"));
        }
        rights::give_up(user).map_err(|error| Error::new(Exit::LocalSocket, format!("--run-as: {error}")))?;
    }
    let mark = options.netns.is_none().then_some(MARK);
    let client = Builder::new(gateway.protocol)
        .options(Options { mark, wait_for_tunnel: connection.wait, ..connection.redundancy.tunnel })
        .prompter(Person::new())
        .start();
    let device = match options.mss {
        Some(mss) => device.max_segment(mss),
        None => device,
    };
    let name = device.name().to_owned();
    client.attach(device).map_err(|error| unusable(&name, options, &error))?;
    let (stopper, stop) = Stopper::new();
    let mut connected = Connected { system, options, name, client, gateways: Vec::new(), network: None, bound, stop };
    let ended = connected.run(&mut signals).await;
    // Goodbye first: what fails closed is closed until the end.
    let closed = match ended {
        Ok(exit) => {
            tracing::info!("closing the tunnel");
            // Nobody is let in any more, who would be cut with the others.
            stopper.drain();
            tokio::select! {
                () = connected.client.close() => Ok(exit),
                again = signals.next() => Ok(again),
            }
        }
        Err(error) => Err(error),
    };
    connected.system.undo_all();
    closed
}

/// Undoes what a process has left that died.
pub(crate) fn down(arguments: &Down) -> Result<Exit, Error> {
    match recover(&arguments.state_dir, &arguments.name) {
        Ok(count) => {
            tracing::info!(device = arguments.name, changes = count, "undid what was left behind");
            Ok(Exit::Ok)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let error = Error::new(Exit::LocalSocket, format!("{} belongs to a process that lives", arguments.name));
            Err(error.hint("end that process: it undoes everything itself"))
        }
        Err(error) => Err(Error::new(Exit::LocalSocket, error)),
    }
}

struct Connected<'a> {
    system: System,
    options: &'a TunOptions,
    /// Of the device.
    name: String,
    client: Client,
    /// Where the tunnel was spoken to the last time.
    gateways: Vec<IpAddr>,
    network: Option<Arc<NetworkConfig>>,
    /// Until the tunnel is up for the first time.
    bound: Vec<Bound>,
    stop: Stop,
}

impl Connected<'_> {
    async fn run(&mut self, signals: &mut Signals) -> Result<Exit, Error> {
        let mut events = self.client.events();
        let mut forwards = JoinSet::new();
        loop {
            let event = tokio::select! {
                biased;
                exit = signals.next() => return Ok(exit),
                event = events.next() => event,
            };
            match event {
                Some(ClientEvent::Up(network)) => self.on_up(network, &mut forwards)?,
                Some(ClientEvent::Down { .. }) => self.on_down(),
                Some(ClientEvent::DeviceLost) => {
                    let error = Error::new(Exit::Lost, format!("the device {} was taken away", self.name));
                    return Err(error.hint("somebody has removed it; start again"));
                }
                Some(ClientEvent::Closed(failure)) => return Err(failure.into()),
                Some(ClientEvent::Connecting { .. } | ClientEvent::Prompt(_)) => {}
                None => return Err(self.client.closed().await.into()),
            }
        }
    }

    fn on_up(&mut self, network: Arc<NetworkConfig>, forwards: &mut JoinSet<Result<(), Error>>) -> Result<(), Error> {
        let first = self.network.is_none();
        self.network = Some(Arc::clone(&network));
        self.gateways = self.client.remote().map(|remote| remote.ip()).into_iter().collect();
        let mtu = self.options.mtu.unwrap_or(network.mtu);
        let done = self.system.bring_up(mtu).and_then(|()| self.apply(true));
        match done {
            Err(error) if first => return Err(unusable(&self.name, self.options, &error)),
            Err(error) => tracing::warn!(device = self.name, "{error}"),
            Ok(()) => tracing::info!(device = self.name, mtu, dns = self.system.resolver(), "device up"),
        }
        if !first {
            return Ok(());
        }
        self.announce(&network)?;
        for bound in self.bound.drain(..) {
            let counters = Arc::new(ForwardCounters::default());
            forwards.spawn(bound.serve(self.client.clone().into(), counters, self.stop.clone()));
        }
        Ok(())
    }

    fn on_down(&mut self) {
        if let Err(error) = self.apply(false) {
            tracing::warn!(device = self.name, "{error}");
        }
    }

    fn apply(&mut self, up: bool) -> io::Result<()> {
        let Some(network) = &self.network else { return Ok(()) };
        let wanted = wanted(self.options, self.system.index());
        self.system.apply(&system::plan(network, &wanted, &self.gateways, up))
    }

    /// For whoever waits for the device and the forwards.
    fn announce(&self, network: &NetworkConfig) -> Result<(), Error> {
        let mut stdout = io::stdout().lock();
        let addresses: Vec<String> = network.addresses.iter().map(ToString::to_string).collect();
        let written = writeln!(stdout, "up {} {}", self.name, addresses.join(" "));
        let written = written.and_then(|()| stdout.flush());
        drop(stdout);
        written.map_err(|error| Error::new(Exit::Other, format!("standard output: {error}")))?;
        Bound::announce(&self.bound)
    }
}

fn open(options: &TunOptions) -> Result<(System, adit_driver::Device), Error> {
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
    let open = |name: &str| {
        let (state_dir, namespace) = (state_dir.clone(), Arc::clone(&namespace));
        let wanted = SystemOptions { state_dir, namespace, dns: options.dns != DnsWay::Off, dns_method };
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
