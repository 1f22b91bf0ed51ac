//! EAP, the side that asks (RFC 3748): the authenticator, with its methods and users.
//!
//! ```text
//!   Identifying ── Identity ──▶ Running ◀─╮ Nak, before the method has begun
//!                                 │ ╰─────╯
//!                                 ├── the client has proved itself ──▶ EAP-Success
//!                                 ╰── it has not ──▶ Refusing (the method's own word first) ──▶ EAP-Failure
//! ```
//!
//! What a client may learn is one and the same for a user that is not known and a password that is wrong: the same packets after
//! the same work. IKE brings packets in order and authenticated; a response that answers another request than the last is answered
//! by that request again (RFC 3748 §4.1 would let us wait, but in IKE each message has an answer), any other nonsense by
//! EAP-Failure.

mod config;
mod error;
pub(crate) mod fuzzing;
mod gtc;
mod inner;
mod md5;
mod method;
mod mschapv2;
mod nak;
mod template;
#[cfg(test)]
mod tests;
mod tls;
mod ttls;
mod users;

use std::{collections::BTreeSet, fmt, mem, sync::Arc, time::Duration};

use adit_tunnel::{Random, Secret};
use bytes::Bytes;

pub(crate) use self::config::EapServers;
use self::{
    config::Offer,
    method::{Context, Next, ServerMethod},
};
pub use self::{
    config::{EapServerConfig, EapServerMethod, EapTlsIdentity, EapUser, TtlsInnerMethod},
    error::EapClientError,
};
use super::{
    EapError, MAX_ROUNDS,
    credentials::MAX_BYTES,
    packet::{EapType, Response, failure, request, success},
};

/// One run of EAP.
pub(crate) struct EapServer {
    servers: Arc<EapServers>,
    state: State,
    /// The identifier of [`Self::last`].
    id: u8,
    /// The request that waits for its response.
    last: Bytes,
    /// What the client calls itself.
    identity: Vec<u8>,
    /// Types that the client has refused.
    offered: BTreeSet<u8>,
    rounds: u32,
}

enum State {
    Identifying,
    Running {
        kind: EapType,
        method: Box<dyn ServerMethod>,
        /// Whether the client has answered the method, and so can no longer wish for another.
        begun: bool,
    },
    /// The method has told the client why; whatever it answers, this is the end.
    Refusing(EapClientError),
    Closed,
}

/// What follows from a packet.
#[derive(PartialEq, Eq)]
pub(crate) enum EapServerStep {
    /// This packet is to be sent.
    Request(Bytes),
    /// The client has proved itself.
    Success {
        /// EAP-Success, to be sent.
        packet: Bytes,
        /// The key of 64 bytes, if the method makes one: EAP-GTC and EAP-MD5 do not, and AUTH is made with SK_pi and SK_pr
        /// then (RFC 7296 §2.16).
        key: Option<Secret>,
        /// Who it is: the name of a user as it is configured, or what a certificate certifies.
        identity: String,
    },
    /// The client has not proved itself.
    Failure {
        /// EAP-Failure, to be sent.
        packet: Bytes,
        /// Why.
        error: EapClientError,
    },
}

impl EapServer {
    pub(crate) fn new(servers: Arc<EapServers>) -> Self {
        Self {
            servers,
            state: State::Closed,
            id: 0,
            last: Bytes::new(),
            identity: Vec::new(),
            offered: BTreeSet::new(),
            rounds: 0,
        }
    }

    /// A run inside of EAP-TTLS, which the client begins with this packet: its identity, unasked (RFC 5281 §11.2.1).
    fn unasked(servers: Arc<EapServers>, packet: &[u8]) -> Self {
        Self { state: State::Identifying, id: packet.get(1).copied().unwrap_or_default(), ..Self::new(servers) }
    }

    /// Begins: the request for the client's identity.
    pub(crate) fn start(&mut self, random: &mut dyn Random) -> Bytes {
        self.id = byte(random);
        self.state = State::Identifying;
        self.last = request(self.id, EapType::IDENTITY, &[]);
        self.last.clone()
    }

    /// Takes a packet of the client. `unix_time` is the time since 1970-01-01 UTC, for certificates.
    pub(crate) fn handle(&mut self, random: &mut dyn Random, unix_time: Duration, packet: &[u8]) -> EapServerStep {
        let step = self.step(random, unix_time, packet).unwrap_or_else(|error| {
            let packet = failure(self.id);
            EapServerStep::Failure { packet, error }
        });
        match &step {
            EapServerStep::Request(request) => self.last = request.clone(),
            EapServerStep::Success { .. } | EapServerStep::Failure { .. } => {
                self.state = State::Closed;
                self.last = Bytes::new();
            }
        }
        step
    }

    /// Why the client is refused, if it has been told and need not answer any more.
    pub(crate) fn into_refusal(self) -> Option<EapClientError> {
        if let State::Refusing(error) = self.state { Some(error) } else { None }
    }

    fn step(
        &mut self,
        random: &mut dyn Random,
        unix_time: Duration,
        packet: &[u8],
    ) -> Result<EapServerStep, EapClientError> {
        self.rounds = self.rounds.saturating_add(1);
        if self.rounds > MAX_ROUNDS {
            return Err(EapClientError::TooManyRounds);
        }
        if packet.len() > PACKET_MAX_BYTES {
            return Err(EapClientError::PacketTooLong);
        }
        if matches!(self.state, State::Closed) {
            return Err(EapClientError::AfterTheEnd);
        }
        let response = Response::parse(packet)?;
        if response.id != self.id {
            return Ok(EapServerStep::Request(self.last.clone()));
        }
        let servers = Arc::clone(&self.servers);
        match mem::replace(&mut self.state, State::Closed) {
            State::Identifying if response.kind == EapType::IDENTITY => {
                if response.data.len() > MAX_BYTES {
                    return Err(EapClientError::IdentityTooLong);
                }
                self.identity = response.data.to_vec();
                let best = servers.best().ok_or(EapClientError::Packet(EapError::Malformed))?;
                self.offer(random, unix_time, best)
            }
            State::Identifying => {
                Err(EapClientError::OutOfTurn { running: EapType::IDENTITY, answered: response.kind })
            }
            State::Running { kind, mut method, .. } if response.kind == kind => {
                let cx = &mut self.context(&servers, random, unix_time);
                match method.handle(cx, response.data)? {
                    Next::Ask(data) => {
                        self.state = State::Running { kind, method, begun: true };
                        Ok(self.ask(kind, &data))
                    }
                    Next::Refuse(data, error) => {
                        self.state = State::Refusing(error);
                        Ok(self.ask(kind, &data))
                    }
                    Next::Done { key, identity } => {
                        Ok(EapServerStep::Success { packet: success(self.id), key, identity })
                    }
                }
            }
            State::Running { kind, begun: false, .. } if nak::is_nak(&response) => {
                self.offered.insert(kind.0);
                let mut wishes = nak::wished(&response).filter(|wish| !self.offered.contains(&wish.0));
                let offer = wishes.find_map(|wish| servers.find(wish));
                self.offer(random, unix_time, offer.ok_or(EapClientError::NoCommonMethod(kind))?)
            }
            State::Running { kind, .. } => Err(EapClientError::OutOfTurn { running: kind, answered: response.kind }),
            State::Refusing(error) => Err(error),
            State::Closed => Err(EapClientError::AfterTheEnd),
        }
    }

    /// Begins a method.
    fn offer(
        &mut self,
        random: &mut dyn Random,
        unix_time: Duration,
        offer: &Offer,
    ) -> Result<EapServerStep, EapClientError> {
        let servers = Arc::clone(&self.servers);
        let mut method = offer.start();
        let data = method.begin(&mut self.context(&servers, random, unix_time))?;
        self.state = State::Running { kind: offer.kind(), method, begun: false };
        Ok(self.ask(offer.kind(), &data))
    }

    /// The next request.
    fn ask(&mut self, kind: EapType, data: &[u8]) -> EapServerStep {
        self.id = self.id.wrapping_add(1);
        EapServerStep::Request(request(self.id, kind, data))
    }

    fn context<'a>(&'a self, servers: &'a EapServers, random: &'a mut dyn Random, unix_time: Duration) -> Context<'a> {
        Context { random, unix_time, id: self.id, identity: &self.identity, users: servers.users() }
    }
}

impl fmt::Debug for EapServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Identifying => "Identifying",
            State::Running { .. } => "Running",
            State::Refusing(_) => "Refusing",
            State::Closed => "Closed",
        };
        f.debug_struct("EapServer").field("servers", &self.servers).field("state", &state).finish_non_exhaustive()
    }
}

/// Without what the packets hold.
impl fmt::Debug for EapServerStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(request) => write!(f, "Request({} bytes)", request.len()),
            Self::Success { identity, key, .. } => {
                f.debug_struct("Success").field("key", key).field("identity", identity).finish_non_exhaustive()
            }
            Self::Failure { error, .. } => f.debug_struct("Failure").field("error", error).finish_non_exhaustive(),
        }
    }
}

fn byte(random: &mut dyn Random) -> u8 {
    let mut byte = [0];
    random.fill(&mut byte);
    let [byte] = byte;
    byte
}

/// Our own judgement: clients cut what is longer than an Ethernet frame into fragments.
const PACKET_MAX_BYTES: usize = 4096;
