//! EAP, the side that is asked (RFC 3748); the side that asks is in [`server`].
//!
//! ```text
//!          Identity, Notification, Nak
//!              ╭──────╮
//!              ▼      │
//!             Idle ───┴── first request of a method of ours ──▶ Running ── Success, and the method agrees ──▶ Closed
//! ```
//!
//! The caller hands in whole EAP packets, which IKE has brought in order and authenticated; so what RFC 3748 lets a peer
//! discard in silence is an error here, for nothing better will come (RFC 5281 §11.2.1 argues the same). The gateway must
//! have proved itself before the first packet is handed in (CVE-2015-4171).

mod credentials;
mod error;
pub(crate) mod fuzzing;
mod gtc;
mod md5;
mod method;
mod mschapv2;
mod nak;
mod packet;
pub(crate) mod server;
#[cfg(test)]
mod tests;
mod tls;
mod ttls;

use std::{fmt, mem, sync::Arc, time::Duration};

use adit_tunnel::{Random, Secret};
use bytes::Bytes;

pub(crate) use self::credentials::EapMethods;
pub use self::{
    error::{EapError, EapServerRefused, EapUnusable},
    packet::EapType,
    server::{EapClientError, EapServerConfig, EapServerMethod, EapTlsIdentity, EapUser, TtlsInnerMethod},
};
use self::{
    method::{Context, Method},
    packet::{Packet, response},
};

/// One run of EAP.
pub(crate) struct EapPeer {
    methods: Arc<EapMethods>,
    state: State,
    /// The last request and what we answered.
    last: Option<(Vec<u8>, Bytes)>,
    rounds: u32,
}

enum State {
    /// No method has begun. `refused` is the type of the last request that we answered with Nak.
    Idle {
        refused: Option<EapType>,
    },
    Running {
        kind: EapType,
        method: Box<dyn Method>,
    },
    Closed,
}

/// What follows from a packet.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum EapStep {
    /// This packet is to be sent.
    Respond(Bytes),
    /// Success. The key of 64 bytes, if the method makes one: EAP-GTC and EAP-MD5 do not, and AUTH is made with SK_pi and
    /// SK_pr then (RFC 7296 §2.16).
    Done(Option<Secret>),
}

impl EapPeer {
    pub(crate) fn new(methods: Arc<EapMethods>) -> Self {
        Self { methods, state: State::Idle { refused: None }, last: None, rounds: 0 }
    }

    /// Takes a packet of the server. `unix_time` is the time since 1970-01-01 UTC, for certificates.
    ///
    /// # Errors
    /// [`EapError`]; the run is over then.
    pub(crate) fn handle(
        &mut self,
        random: &mut dyn Random,
        unix_time: Duration,
        packet: &[u8],
    ) -> Result<EapStep, EapError> {
        let step = self.step(random, unix_time, packet);
        match &step {
            Ok(EapStep::Respond(response)) => self.last = Some((packet.to_vec(), response.clone())),
            Ok(EapStep::Done(_)) | Err(_) => {
                self.state = State::Closed;
                self.last = None;
            }
        }
        step
    }

    fn step(&mut self, random: &mut dyn Random, unix_time: Duration, packet: &[u8]) -> Result<EapStep, EapError> {
        self.rounds = self.rounds.saturating_add(1);
        if self.rounds > MAX_ROUNDS {
            return Err(EapError::TooManyRounds);
        }
        // The same request again is answered by the same bytes, and nothing happens twice (RFC 3748 §4.1).
        if let Some((request, response)) = &self.last
            && request == packet
        {
            return Ok(EapStep::Respond(response.clone()));
        }
        match Packet::parse(packet)? {
            Packet::Request { id, kind, data } => {
                self.on_request(&mut Context { random, unix_time, id }, kind, data).map(EapStep::Respond)
            }
            Packet::Success => self.finish().map(EapStep::Done),
            Packet::Failure => Err(self.on_failure()),
        }
    }

    fn on_request(&mut self, cx: &mut Context<'_>, kind: EapType, data: &[u8]) -> Result<Bytes, EapError> {
        match (&mut self.state, kind) {
            (State::Closed, _) => Err(EapError::AfterTheEnd),
            (_, EapType::NAK) => Err(EapError::NotARequest(kind)),
            (_, EapType::NOTIFICATION) => {
                tracing::info!(message = printable(data), "notification of the EAP server");
                Ok(response(cx.id, kind, &[]))
            }
            (State::Running { kind: running, method }, asked) if *running == asked => {
                Ok(response(cx.id, kind, &method.handle(cx, data)?))
            }
            (State::Running { kind: running, .. }, asked) => Err(EapError::OutOfTurn { running: *running, asked }),
            (State::Idle { .. }, EapType::IDENTITY) => Ok(response(cx.id, kind, self.methods.identity().as_bytes())),
            (State::Idle { .. }, asked) => self.begin(cx, asked, data),
        }
    }

    fn begin(&mut self, cx: &mut Context<'_>, asked: EapType, data: &[u8]) -> Result<Bytes, EapError> {
        let Some(offer) = self.methods.find(asked) else {
            self.state = State::Idle { refused: Some(asked) };
            return Ok(nak::nak(cx.id, asked, self.methods.kinds()));
        };
        let mut method = offer.start();
        let answer = response(cx.id, asked, &method.handle(cx, data)?);
        self.state = State::Running { kind: asked, method };
        Ok(answer)
    }

    /// Success has come. Nothing but the method itself can say that it is complete: an attacker between us and the EAP server,
    /// or the gateway itself, may send it at any time (CVE-2021-45079).
    fn finish(&mut self) -> Result<Option<Secret>, EapError> {
        match mem::replace(&mut self.state, State::Closed) {
            // A deliberate fault, which tests must notice: whoever says so has let us in.
            State::Running { mut method, .. } if cfg!(adit_sabotage = "early_success") => {
                Ok(method.finish().unwrap_or(None))
            }
            State::Idle { .. } => Err(EapError::SuccessTooEarly(None)),
            State::Running { mut method, .. } => method.finish(),
            State::Closed => Err(EapError::AfterTheEnd),
        }
    }

    fn on_failure(&self) -> EapError {
        match &self.state {
            State::Idle { refused: Some(offered) } => EapError::NoCommonMethod(*offered),
            State::Idle { refused: None } => EapError::Refused(None),
            State::Running { kind, .. } => EapError::Refused(Some(*kind)),
            State::Closed => EapError::AfterTheEnd,
        }
    }
}

impl fmt::Debug for EapPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Idle { .. } => "Idle",
            State::Running { .. } => "Running",
            State::Closed => "Closed",
        };
        f.debug_struct("EapPeer").field("methods", &self.methods).field("state", &state).finish_non_exhaustive()
    }
}

/// A response may be a password in clear: nothing of it is shown.
impl fmt::Debug for EapStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Respond(response) => write!(f, "Respond({} bytes)", response.len()),
            Self::Done(key) => f.debug_tuple("Done").field(key).finish(),
        }
    }
}

/// What a stranger wrote, fit for a log.
fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).take(200).collect()
}

/// Our own judgement: 64 kB of certificates in fragments of 1000 bytes, and some to spare.
const MAX_ROUNDS: u32 = 100;
