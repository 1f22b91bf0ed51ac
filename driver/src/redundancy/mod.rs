//! Several gateways of one connection: dialled a stagger apart, one or more standing by, another taking over when one is lost.
//!
//! ```text
//!   forwards                 Redundant                       one task per connection
//!      │ dial, bind,    ┌────────────────┐   table    ┌──────────────────────────────────┐
//!      ▼ resolve        │ which gateways │◀───────────│ manager: who is wanted, who is   │
//!     Way ─────────────▶│ take new ones  │            │ active, who is drained, when     │
//!      │                └────────────────┘            └──▲──────────────▲────────────▲───┘
//!      │                                        up, down │ asked, says  │ answered,  │ update, drain,
//!      ▼                                                 │              │ or not     │ close
//!   Client of gateway a ─ supervisor, tunnel task ───────┤          probes
//!   Client of gateway b ─ supervisor, tunnel task ───────┘     (through each tunnel)
//! ```
//!
//! Each gateway has a [`Client`] of its own, with its own attempts and waits; the manager only says which of them
//! exist. See [`Policy`] for who takes new connections.

mod manager;
mod member;
mod options;
mod plan;
mod probe;
mod seat;
mod status;
mod table;

use std::{
    collections::HashMap,
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
    time::Duration,
};

use tokio::sync::{Semaphore, broadcast, mpsc, watch};
use tracing::Instrument;

use crate::{
    client::{Builder, Client, Events},
    error::Failure,
    listening::{Listener, Ports, UdpListener},
    options::{Options, Prompter},
    protocol::Protocol,
    way::Way,
};

pub use options::{Gateway, Policy, Probe, ProbeTarget, RedundancyOptions};
pub use status::{
    ConnectionState, GatewayState, GatewayStatus, ProbeStatus, RedundancyEvent, RedundancyEvents, RedundancyLevel,
    RedundancyStatus, SwitchReason,
};

use manager::{Command, Manager};
use seat::Seat;
pub(crate) use table::{Choice, Table};

/// A connection that is kept up over one of several gateways. Cheap to clone; when the last clone and the last [`Way`] are dropped,
/// it is closed.
#[derive(Clone)]
pub struct Redundant {
    handle: Arc<Handle>,
}

struct Handle {
    core: Arc<Core>,
}

/// What the handles and the task of the manager share.
pub(crate) struct Core {
    pub(crate) table: watch::Sender<Table>,
    events: broadcast::Sender<RedundancyEvent>,
    commands: mpsc::UnboundedSender<Command>,
    /// How many ways are pinned to which gateway.
    pins: Mutex<HashMap<Arc<str>, usize>>,
    /// The ports that are open inside the tunnels.
    ports: Mutex<Ports>,
    seat: Mutex<Seat>,
    /// Whose turn it is, where several gateways take new connections.
    pub(crate) turn: AtomicUsize,
}

/// Makes the client of one gateway.
type Launch = Arc<dyn Fn(Options, Arc<dyn Prompter>, Option<Arc<Semaphore>>) -> (Client, Events) + Send + Sync>;

/// One gateway, whatever its protocol.
#[derive(Clone)]
pub(crate) struct Spec {
    name: Arc<str>,
    pub(crate) fingerprint: u64,
    pub(crate) probe: Option<Probe>,
    launch: Launch,
}

impl Spec {
    /// `make` is called for each life of the gateway's client.
    pub(crate) fn new<P: Protocol>(name: &str, make: impl Fn() -> P + Send + Sync + 'static) -> Self {
        let launch = move |options, prompter, handshakes| {
            let builder = Builder::new(make()).options(options).shared_prompter(prompter).handshakes(handshakes);
            builder.shun_strangers().start_observed()
        };
        Self { name: name.into(), fingerprint: 0, probe: None, launch: Arc::new(launch) }
    }
}

impl From<Gateway> for Spec {
    fn from(gateway: Gateway) -> Self {
        let Gateway { name, protocol, fingerprint, probe } = gateway;
        // Behind a lock only to be shared: what makes tunnels is not made for several threads at once.
        let protocol = Mutex::new(protocol);
        let make = move || protocol.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self { fingerprint, probe, ..Self::new(&name, make) }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.core.command(Command::Close);
    }
}

impl Core {
    fn command(&self, command: Command) {
        // Without its task it has ended, which is what could be asked for.
        drop(self.commands.send(command));
    }

    fn ports(&self) -> MutexGuard<'_, Ports> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seat(&self) -> MutexGuard<'_, Seat> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn listen(self: &Arc<Self>, port: u16, pin: Option<Arc<str>>) -> io::Result<Listener> {
        let (weak, of) = (Arc::downgrade(self), pin.clone());
        let listener = self.ports().listen(port, pin, move || {
            if let Some(core) = weak.upgrade() {
                core.ports().close_tcp(port, of);
                core.command(Command::Ports);
            }
        })?;
        self.command(Command::Ports);
        Ok(listener)
    }

    pub(crate) fn bind_udp_port(self: &Arc<Self>, port: u16, pin: Option<Arc<str>>) -> io::Result<UdpListener> {
        let (weak, of) = (Arc::downgrade(self), pin.clone());
        let listener = self.ports().bind(port, pin, move || {
            if let Some(core) = weak.upgrade() {
                core.ports().close_udp(port, of);
            }
        })?;
        self.command(Command::Ports);
        Ok(listener)
    }

    fn pins(&self) -> MutexGuard<'_, HashMap<Arc<str>, usize>> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Redundant {
    /// Starts to connect and returns at once. Must be called within a tokio runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use = "dropping it closes the connection"]
    pub fn start(gateways: Vec<Gateway>, options: RedundancyOptions, prompter: Arc<dyn Prompter>) -> Self {
        Self::of(gateways.into_iter().map(Spec::from).collect(), options, prompter)
    }

    pub(crate) fn of(specs: Vec<Spec>, options: RedundancyOptions, prompter: Arc<dyn Prompter>) -> Self {
        let (commands, receiver) = mpsc::unbounded_channel();
        let core = Arc::new(Core {
            table: watch::Sender::new(Table::new(options.policy)),
            events: broadcast::Sender::new(256),
            commands,
            pins: Mutex::default(),
            ports: Mutex::default(),
            seat: Mutex::default(),
            turn: AtomicUsize::new(0),
        });
        let mut manager = Manager::new(Arc::clone(&core), specs, options, prompter);
        // Whoever looks at once sees all gateways.
        manager.publish();
        tokio::spawn(manager.run(receiver).in_current_span());
        Self { handle: Arc::new(Handle { core }) }
    }

    /// Where to dial: through the gateways of the policy, or through one gateway alone, which is then started and kept up. `wait` is
    /// how long dialling waits for a tunnel that is down; with [`Duration::ZERO`] it refuses at once.
    #[must_use]
    pub fn way(&self, pinned: Option<&str>, wait: Duration) -> Way {
        Way::redundant(self.clone(), pinned.map(|name| Pin::new(&self.handle.core, name)), wait)
    }

    /// Puts a TUN device beside the connections and sockets inside, as [`Client::attach`](crate::Client::attach) does. It follows the
    /// active gateway, at every switch, whatever the policy: [`RedundancyStatus::active`] says which, and addresses and routes are to
    /// be made those of its network. While none is up, what the kernel sends waits in the device's queue. It is removed with the
    /// connection.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the runtime takes no more descriptors.
    #[cfg(target_os = "linux")]
    pub fn attach(&self, device: crate::tun::Device) -> io::Result<()> {
        self.handle.core.seat().put(crate::tun::Port::new(device)?);
        self.handle.core.command(Command::Look);
        Ok(())
    }

    /// Removes the device of [`Self::attach`].
    #[cfg(target_os = "linux")]
    pub fn detach(&self) {
        self.handle.core.seat().clear();
    }

    /// How it is now. Cheap.
    #[must_use]
    pub fn status(&self) -> RedundancyStatus {
        self.handle.core.table.borrow().status()
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> RedundancyEvents {
        RedundancyEvents { receiver: self.handle.core.events.subscribe() }
    }

    /// Waits until a gateway is up.
    ///
    /// # Errors
    /// The [`Failure`] that made all of them be given up.
    pub async fn up(&self) -> Result<(), Failure> {
        let mut table = self.handle.core.table.subscribe();
        loop {
            {
                let table = table.borrow_and_update();
                if let Some(failure) = table.ended() {
                    return Err(failure.clone());
                }
                if table.is_up() {
                    return Ok(());
                }
            }
            // The sender lives in what we hold: waiting cannot fail.
            drop(table.changed().await);
        }
    }

    /// Waits until it has ended for good, and says why: closed by us, or no gateway may be tried again.
    pub async fn closed(&self) -> Failure {
        let mut table = self.handle.core.table.subscribe();
        loop {
            if let Some(failure) = table.borrow_and_update().ended() {
                return failure.clone();
            }
            drop(table.changed().await);
        }
    }

    /// Replaces gateways and options. A gateway whose name and fingerprint are as before keeps its tunnel and its connections; one
    /// that has refused us is tried again only with another fingerprint.
    ///
    /// A gateway in use that has changed, or is gone, goes on as it was until another one can take over; its connections then have
    /// [`drain`](RedundancyOptions::drain) to end. It is ended at once where there is no other gateway, or no other can be
    /// reached; and goes on until it is lost where all others refuse us as they are configured now.
    pub fn update(&self, gateways: Vec<Gateway>, options: RedundancyOptions) {
        self.update_specs(gateways.into_iter().map(Spec::from).collect(), options);
    }

    pub(crate) fn update_specs(&self, specs: Vec<Spec>, options: RedundancyOptions) {
        self.handle.core.command(Command::Update(specs, Box::new(options)));
    }

    /// Refuses new connections and waits for the live ones, no longer than that. The tunnels stay up.
    pub async fn drain(&self, longest: Duration) {
        self.handle.core.command(Command::Drain);
        let mut table = self.handle.core.table.subscribe();
        let done = async {
            loop {
                let idle = {
                    let table = table.borrow_and_update();
                    table.ended().is_some() || table.is_draining() && table.connections() == 0
                };
                if idle {
                    return;
                }
                // Ends of connections are nobody's event: they are looked for.
                drop(tokio::time::timeout(DRAIN_TICK, table.changed()).await);
            }
        };
        drop(tokio::time::timeout(longest, done).await);
    }

    /// Closes all tunnels and waits until their farewells are sent, no longer than
    /// [`close_timeout`](crate::Options::close_timeout).
    pub async fn close(&self) {
        self.handle.core.command(Command::Close);
        self.closed().await;
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.handle.core
    }
}

impl fmt::Debug for Redundant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redundant").field("table", &*self.handle.core.table.borrow()).finish_non_exhaustive()
    }
}

/// Keeps a gateway up while it exists.
pub(crate) struct Pin {
    core: Arc<Core>,
    pub(crate) name: Arc<str>,
}

impl Pin {
    fn new(core: &Arc<Core>, name: &str) -> Self {
        let name: Arc<str> = name.into();
        *core.pins().entry(Arc::clone(&name)).or_default() += 1;
        core.command(Command::Look);
        Self { core: Arc::clone(core), name }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.core.pins();
        if let Some(count) = pins.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.name);
            }
        }
        drop(pins);
        self.core.command(Command::Look);
    }
}

/// How often connections are counted while draining.
const DRAIN_TICK: Duration = Duration::from_millis(100);
