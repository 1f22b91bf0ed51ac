//! From making the device to undoing everything.

use std::{io, io::Write, net::IpAddr, sync::Arc};

use adit_driver::{
    Any, Builder, Client, ClientEvent, Options,
    system::{self, MARK, Mode, Namespace, System, SystemOptions, Wanted, recover},
};
use adit_tunnel::NetworkConfig;
use tokio::task::JoinSet;

use super::{
    Down,
    options::{DnsMethod, Scope, TunOptions},
    rights,
};
use crate::{
    config::Configuration,
    error::{Error, Exit},
    forward::{self, Listener},
    prompt::Person,
    signals::Signals,
    spec::ForwardSpec,
};

/// Before the tunnel says what it takes.
const FIRST_MTU: u16 = 1400;
/// With the number of the device, a table that nobody else has: "ad" in ASCII.
const TABLES: u32 = 0x6164_0000;

/// Runs the connection with its device until it is ended. The thread it runs on must be the only one, where rights are to be
/// given up.
pub(crate) async fn life(config: Configuration, options: &TunOptions, specs: &[ForwardSpec]) -> Result<Exit, Error> {
    options.check()?;
    let mut signals = Signals::new()?;
    // All that takes rights, and anything that may be in use, is said before connecting.
    let listeners = Listener::bind_all(specs)?;
    let (system, device) = open(options)?;
    if let Some(user) = options.user {
        if !system.outlives_rights() {
            let error = Error::new(Exit::Usage, "`resolvconf` cannot be run again once root is given up");
            return Err(error.hint("say --dns file or --no-dns, or leave --run-as away"));
        }
        rights::give_up(user).map_err(|error| Error::new(Exit::LocalSocket, format!("--run-as: {error}")))?;
    }
    let mark = options.netns.is_none().then_some(MARK);
    let builder = Builder::new(Any::from(config)).options(Options { mark, ..forward::options() });
    let client = builder.prompter(Person::new()).start();
    let device = match options.mss {
        Some(mss) => device.max_segment(mss),
        None => device,
    };
    client.attach(device).map_err(|error| unusable(options, &error))?;
    let mut connected = Connected { system, options, client, gateways: Vec::new(), network: None, listeners };
    let ended = connected.run(&mut signals).await;
    // Goodbye first: what fails closed is closed until the end.
    let closed = match ended {
        Ok(exit) => {
            tracing::info!("closing the tunnel");
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
    client: Client,
    /// Where the tunnel was spoken to the last time.
    gateways: Vec<IpAddr>,
    network: Option<Arc<NetworkConfig>>,
    /// Until the tunnel is up for the first time.
    listeners: Vec<Listener>,
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
                    let error = Error::new(Exit::Lost, format!("the device {} was taken away", self.options.name));
                    return Err(error.hint("somebody has removed it; start again"));
                }
                Some(ClientEvent::Closed(failure)) => return Err(failure.into()),
                Some(ClientEvent::Connecting { .. } | ClientEvent::Prompt(_)) => {}
                None => return Err(self.client.closed().await.into()),
            }
        }
    }

    fn on_up(&mut self, network: Arc<NetworkConfig>, forwards: &mut JoinSet<()>) -> Result<(), Error> {
        let first = self.network.is_none();
        self.network = Some(Arc::clone(&network));
        self.gateways = self.client.remote().map(|remote| remote.ip()).into_iter().collect();
        let mtu = self.options.mtu.unwrap_or(network.mtu);
        let done = self.system.bring_up(mtu).and_then(|()| self.apply(true));
        match done {
            Err(error) if first => return Err(unusable(self.options, &error)),
            Err(error) => tracing::warn!(device = self.options.name, "{error}"),
            Ok(()) => tracing::info!(device = self.options.name, mtu, dns = self.system.resolver(), "device up"),
        }
        if !first {
            return Ok(());
        }
        self.announce(&network)?;
        for listener in self.listeners.drain(..) {
            forwards.spawn(listener.serve(self.client.clone()));
        }
        Ok(())
    }

    fn on_down(&mut self) {
        if let Err(error) = self.apply(false) {
            tracing::warn!(device = self.options.name, "{error}");
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
        let written = writeln!(stdout, "up {} {}", self.options.name, addresses.join(" "));
        let written =
            self.listeners.iter().fold(written, |done, listener| done.and_then(|()| writeln!(stdout, "{listener}")));
        let written = written.and_then(|()| stdout.flush());
        written.map_err(|error| Error::new(Exit::Other, format!("standard output: {error}")))
    }
}

fn open(options: &TunOptions) -> Result<(System, adit_driver::Device), Error> {
    let namespace = Namespace::open(options.netns.as_deref()).map_err(|error| {
        let name = options.netns.as_deref().unwrap_or_default();
        let error = Error::new(Exit::LocalSocket, format!("the network namespace `{name}`: {error}"));
        error.hint("`ip netns add NAME` makes one")
    })?;
    let dns_method = options.dns_method.map(|method| match method {
        DnsMethod::Resolved => system::DnsMethod::Resolved,
        DnsMethod::Resolvconf => system::DnsMethod::Resolvconf,
        DnsMethod::File => system::DnsMethod::File,
    });
    let wanted = SystemOptions { state_dir: options.state_dir.clone(), namespace, dns: options.dns, dns_method };
    let opened = System::open(&options.name, options.mtu.unwrap_or(FIRST_MTU), wanted);
    opened.map_err(|error| unusable(options, &error))
}

fn wanted(options: &TunOptions, index: u32) -> Wanted {
    Wanted {
        mode: match options.scope {
            Scope::Pushed => Mode::Pushed,
            Scope::Split => Mode::Split,
            Scope::Full => Mode::Full,
        },
        routes: options.routes.clone(),
        fail_closed: options.fail_closed,
        block_ipv6: options.block_ipv6,
        dns: options.dns,
        apart: options.netns.is_some(),
        table: TABLES | index & 0xffff,
    }
}

fn unusable(options: &TunOptions, error: &io::Error) -> Error {
    let TunOptions { name, state_dir, .. } = options;
    if error.kind() == io::ErrorKind::WouldBlock {
        let error = Error::new(Exit::LocalSocket, format!("another adit has the device {name}"));
        return error.hint("give this one another --name");
    }
    let failed = Error::new(Exit::LocalSocket, format!("{name}: {error}"));
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
