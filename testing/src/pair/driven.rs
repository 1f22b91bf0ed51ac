//! A tunnel as a driver runs it, which asserts the contract all the time.

use std::time::Instant;

use adit_tunnel::{Class, Closed, Event, NetworkConfig, Path, Prompt, Tunnel};

use super::{
    Rules,
    plane::{Inside, KeyNote, Plane, Unopened, Unsealed},
};
use crate::Clock;

/// A tunnel, and what its driver holds of it.
pub struct Driven<T: Tunnel> {
    /// The state machine. Whoever gives it an input calls [`super::Pair::settle`] next.
    pub tunnel: T,
    /// Where its data goes.
    pub path: Path,
    /// What it said last about its network; `None` until it is up, and after its end.
    pub network: Option<NetworkConfig>,
    /// What it did.
    pub log: Log,
    pub(super) plane: Plane<T::Sealer, T::Opener>,
    /// The numbers of its packets, if it has sent any.
    pub(super) stream: Option<usize>,
    name: String,
    /// The deadline that was due last, and how often it was so at the same instant.
    due: Option<(Instant, u32)>,
}

/// What happened at one tunnel. Bounded, but for the notes of what is rare.
#[derive(Debug, Default)]
pub struct Log {
    /// When it came up, and again whenever the peer changed the configuration.
    pub ups: Vec<(Instant, NetworkConfig)>,
    /// Changes of keys.
    pub keys: Vec<(Instant, KeyNote)>,
    /// Where data went from then on.
    pub paths: Vec<(Instant, Path)>,
    /// Questions.
    pub prompts: Vec<(Instant, Prompt)>,
    /// Its end.
    pub closed: Option<(Instant, Closed)>,
    /// The latest inner packets that arrived and were not numbered by us.
    pub packets: Vec<Vec<u8>>,
    /// Contents it asked to be sealed.
    pub injected: u64,
    /// Messages of the data plane, such as pings.
    pub messages: u64,
    /// Datagrams of the control plane that it sent, and was given.
    pub control_sent: u64,
    /// See [`Self::control_sent`].
    pub control_received: u64,
    /// Datagrams of the data plane for which there was no opener.
    pub unknown_key: u64,
    /// Datagrams of the data plane that were forged or seen before.
    pub refused: u64,
    /// Datagrams of no class.
    pub ignored: u64,
    /// Packets that could not be sealed.
    pub unsealed: u64,
    /// Times its deadline has passed.
    pub timeouts: u64,
}

/// A datagram to send.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) path: Path,
    pub(super) bytes: Vec<u8>,
    pub(super) control: bool,
}

/// Inner packets that [`Log::packets`] keeps.
const PACKETS: usize = 64;

impl<T: Tunnel> Driven<T> {
    pub(super) fn new(name: String, tunnel: T, path: Path) -> Self {
        let log = Log::default();
        Self { tunnel, path, network: None, log, plane: Plane::new(), stream: None, name, due: None }
    }

    /// Whether it carries traffic.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.network.is_some()
    }

    /// Why it ended.
    #[must_use]
    pub fn closed(&self) -> Option<&Closed> {
        self.log.closed.as_ref().map(|(_, closed)| closed)
    }

    /// The tags of its openers.
    #[must_use]
    pub fn openers(&self) -> Vec<adit_tunnel::KeyTag> {
        self.plane.tags().collect()
    }

    /// The flows that have a sealer.
    #[must_use]
    pub fn sealers(&self) -> Vec<adit_tunnel::FlowId> {
        self.plane.flows().map(|(flow, _)| flow).collect()
    }

    /// The changes of its keys, without their times.
    #[must_use]
    pub fn key_changes(&self) -> Vec<KeyNote> {
        self.log.keys.iter().map(|(_, note)| *note).collect()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// All events, in order; what is to be injected is sealed at once.
    pub(super) fn drain_events(&mut self, clock: &Clock, rules: &Rules) -> Vec<Outgoing> {
        let (mut out, mut count) = (Vec::new(), 0);
        while let Some(event) = self.tunnel.poll_event() {
            count += 1;
            let kind = kind_of(&event);
            self.insist(clock, count <= rules.events_at_once, || format!("a storm of events, such as {kind}"));
            self.insist(clock, self.log.closed.is_none(), || format!("{kind} after Closed"));
            self.on_event(clock, rules, event, &mut out);
        }
        if self.log.closed.is_none() {
            let fault = self.plane.fault();
            self.insist(clock, fault.is_none(), || fault.unwrap_or_default());
        }
        out
    }

    /// All datagrams, and the last look at the deadline. `was_closed` says whether it was before the last input.
    pub(super) fn drain_transmits(&mut self, clock: &Clock, rules: &Rules, was_closed: bool, out: &mut Vec<Outgoing>) {
        let mut count = 0;
        while let Some(transmit) = self.tunnel.poll_transmit() {
            count += 1;
            self.insist(clock, count <= rules.datagrams_at_once, || "a storm of datagrams".to_owned());
            self.insist(clock, !was_closed, || "a datagram after Closed".to_owned());
            self.insist(clock, !transmit.datagram.is_empty(), || "an empty datagram".to_owned());
            self.log.control_sent += 1;
            out.push(Outgoing { path: transmit.path, bytes: transmit.datagram.to_vec(), control: true });
        }
        if self.log.closed.is_some() {
            let timeout = self.tunnel.poll_timeout();
            self.insist(clock, timeout.is_none(), || "it waits for something after Closed".to_owned());
        }
    }

    /// After its end: nothing that is done to it has an effect.
    pub(super) fn assert_inert(&mut self, clock: &Clock) {
        self.tunnel.handle_timeout(clock.now());
        self.tunnel.handle_path(clock.now(), &self.path);
        self.tunnel.close(clock.now());
        let event = self.tunnel.poll_event().map(|event| kind_of(&event));
        self.insist(clock, event.is_none(), || format!("{event:?} after Closed"));
        let transmit = self.tunnel.poll_transmit();
        self.insist(clock, transmit.is_none(), || "a datagram after Closed".to_owned());
        let timeout = self.tunnel.poll_timeout();
        self.insist(clock, timeout.is_none(), || "it waits for something after Closed".to_owned());
    }

    /// Its deadline, if it has passed, has its effect. Whether it had.
    pub(super) fn expire(&mut self, clock: &Clock) -> bool {
        let now = clock.now();
        if self.tunnel.poll_timeout().is_none_or(|deadline| deadline > now) {
            return false;
        }
        let times = self.due.filter(|(at, _)| *at == now).map_or(0, |(_, times)| times) + 1;
        self.due = Some((now, times));
        self.insist(clock, times <= TIMES_DUE, || "a deadline that does not move".to_owned());
        self.log.timeouts += 1;
        self.tunnel.handle_timeout(now);
        true
    }

    /// A datagram arrives. Returns the packet inside, if there was one.
    pub(super) fn handle(&mut self, clock: &Clock, path: &Path, datagram: &mut [u8]) -> Option<Vec<u8>> {
        match self.tunnel.classify(path, datagram) {
            Class::Control => {
                self.log.control_received += 1;
                self.tunnel.handle_datagram(clock.now(), path, datagram);
                None
            }
            Class::Data(tag) => match self.plane.open(tag, datagram) {
                Ok((inside, newest)) => self.on_opened(clock, path, inside, newest),
                Err(Unopened::UnknownKey(_)) => {
                    self.log.unknown_key += 1;
                    None
                }
                Err(Unopened::Refused(_)) => {
                    self.log.refused += 1;
                    None
                }
            },
            Class::Ignore => {
                self.log.ignored += 1;
                None
            }
        }
    }

    pub(super) fn seal(&mut self, packet: &[u8]) -> Option<Outgoing> {
        let sealed = self.plane.seal(packet);
        self.outgoing(sealed)
    }

    /// A packet that nobody has numbered.
    pub(super) fn keep(&mut self, packet: Vec<u8>) {
        if self.log.packets.len() == PACKETS {
            self.log.packets.remove(0);
        }
        self.log.packets.push(packet);
    }

    pub(super) fn insist(&self, clock: &Clock, holds: bool, why: impl FnOnce() -> String) {
        assert!(holds, "contract: {} after {:?}: {}", self.name, clock.elapsed(), why());
    }

    fn on_event(&mut self, clock: &Clock, rules: &Rules, event: Event<T::Sealer, T::Opener>, out: &mut Vec<Outgoing>) {
        let now = clock.now();
        match event {
            Event::Up(network) => {
                self.network = Some(network.clone());
                self.log.ups.push((now, network));
            }
            Event::Keys(change) => match self.plane.apply(change, rules) {
                Ok(note) => self.log.keys.push((now, note)),
                Err(fault) => self.insist(clock, false, || fault),
            },
            Event::Inject { flow, packet } => {
                self.log.injected += 1;
                let sealed = self.plane.seal_in(flow, &packet);
                out.extend(self.outgoing(sealed));
            }
            Event::Prompt(prompt) => self.log.prompts.push((now, prompt)),
            Event::Path(path) => {
                self.path = path;
                self.log.paths.push((now, path));
            }
            Event::Closed(closed) => {
                self.network = None;
                self.log.closed = Some((now, closed));
            }
        }
    }

    fn on_opened(&mut self, clock: &Clock, path: &Path, inside: Inside, newest: bool) -> Option<Vec<u8>> {
        let packet = match inside {
            Inside::Packet(packet) => Some(packet),
            Inside::Message(message) => {
                self.log.messages += 1;
                self.tunnel.handle_message(clock.now(), &message);
                None
            }
            Inside::Filler => None,
        };
        if newest && path.remote != self.path.remote {
            self.tunnel.handle_peer_path(clock.now(), path);
        }
        packet
    }

    fn outgoing(&mut self, sealed: Result<Vec<u8>, Unsealed>) -> Option<Outgoing> {
        match sealed {
            Ok(bytes) => Some(Outgoing { path: self.path, bytes, control: false }),
            Err(_) => {
                self.log.unsealed += 1;
                None
            }
        }
    }
}

const fn kind_of<S, O>(event: &Event<S, O>) -> &'static str {
    match event {
        Event::Up(_) => "Up",
        Event::Keys(_) => "Keys",
        Event::Inject { .. } => "Inject",
        Event::Prompt(_) => "Prompt",
        Event::Path(_) => "Path",
        Event::Closed(_) => "Closed",
    }
}

/// How often a deadline may be due at one instant: several timers may be.
const TIMES_DUE: u32 = 16;
