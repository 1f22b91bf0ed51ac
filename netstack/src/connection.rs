//! One TCP connection: a smoltcp interface and socket of its own, and what smoltcp leaves to its user.
//!
//! ```text
//!  Incoming ─ accepted ─┐ (refused: forgotten)
//!                       ▼
//!            SYN-ACK                    both FINs, RST, time out, ICMP error, address gone
//!  Connecting ─────▶ Connected ───────────────────────────────────────────────────────────▶ Ended ──▶ (forgotten)
//!      └────────────────────────────────────────────────────────────────────────────────────▶ │   release
//!                                                                       what was received stays readable
//! ```

use std::{collections::VecDeque, time::Instant};

use crate::{
    CloseReason, StackEvent,
    demux::{TimeWait, Tuple},
    live::Live,
    segment::Syn,
    slots::Key,
};

/// Names a TCP connection; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub(crate) Key);

/// A connection as long as its owner knows it.
pub(crate) struct Connection {
    pub(crate) tuple: Tuple,
    /// It began at the other end.
    pub(crate) answering: bool,
    pub(crate) phase: Phase,
    /// What the budget was charged with.
    pub(crate) charge: usize,
    /// So much of it for buffers of the owner's own.
    pub(crate) reserved: usize,
    /// The owner dropped its handle.
    pub(crate) released: bool,
    /// Waits for its turn to send.
    pub(crate) queued: bool,
    /// The deadline kept for it; never later than the true one.
    pub(crate) armed: Option<Instant>,
    notices: Notices,
}

/// Whether there is a socket.
pub(crate) enum Phase {
    /// Not yet: neither accepted nor refused.
    Incoming(Incoming),
    Live(Box<Live>),
    Ended {
        reason: CloseReason,
        unread: Unread,
    },
}

/// A SYN that waits for a decision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming {
    pub(crate) syn: Syn,
    /// For how long it waits.
    pub(crate) until: Option<Instant>,
}

/// What was received and not read when the connection ended.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    bytes: Vec<u8>,
    read: usize,
}

/// What the owner was told, so that events are edge-triggered, never lost, and never pile up.
#[derive(Debug, Default)]
struct Notices {
    /// An event said that there is something to receive, and the owner has not looked yet.
    readable: bool,
    /// The owner could not send all it wanted, and no event has said yet that there is room again.
    writable_wanted: bool,
    /// The end of the remote's direction was told.
    fin: bool,
}

/// What a look at the socket found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Lives,
    /// Ended, both sides know it.
    Ended(CloseReason),
    /// Ended by us first: the 5-tuple has to wait.
    Waits(TimeWait),
    /// The remote sends what nobody will ever read: it has to be told by a RST.
    Unwanted,
}

/// How a turn to send ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing more to send now.
    Done,
    /// There may be more; the others come first.
    More,
    /// The sink was full before it began: it is still this one's turn.
    NoRoom,
}

impl Connection {
    pub(crate) fn new(tuple: Tuple, live: Live, charge: usize) -> Self {
        Self::in_phase(tuple, Phase::Live(Box::new(live)), charge, false)
    }

    pub(crate) fn incoming(tuple: Tuple, incoming: Incoming, charge: usize) -> Self {
        Self::in_phase(tuple, Phase::Incoming(incoming), charge, true)
    }

    fn in_phase(tuple: Tuple, phase: Phase, charge: usize, answering: bool) -> Self {
        let notices = Notices::default();
        Self { tuple, answering, phase, charge, reserved: 0, released: false, queued: false, armed: None, notices }
    }

    pub(crate) fn live(&mut self) -> Option<&mut Live> {
        match &mut self.phase {
            Phase::Live(live) => Some(live),
            Phase::Incoming(_) | Phase::Ended { .. } => None,
        }
    }

    /// Whether there is nothing any more that was sent and is not acknowledged.
    pub(crate) fn is_delivered(&self) -> bool {
        match &self.phase {
            Phase::Live(live) => live.is_delivered(),
            Phase::Incoming(_) | Phase::Ended { .. } => true,
        }
    }

    /// When it is given up unless something happens.
    pub(crate) fn gives_up_at(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Incoming(incoming) => incoming.until,
            Phase::Live(live) => live.gives_up_at(),
            Phase::Ended { .. } => None,
        }
    }

    pub(crate) fn send(&mut self, now: Instant, data: &[u8]) -> Result<usize, CloseReason> {
        let sent = match &mut self.phase {
            Phase::Incoming(_) => 0,
            Phase::Live(live) => live.send(now, data)?,
            Phase::Ended { reason, .. } => return Err(*reason),
        };
        if sent < data.len() {
            self.notices.writable_wanted = true;
        }
        Ok(sent)
    }

    pub(crate) fn receive(&mut self, buf: &mut [u8]) -> Result<Option<usize>, CloseReason> {
        self.notices.readable = false;
        match &mut self.phase {
            Phase::Incoming(_) => Ok(None),
            Phase::Live(live) => Ok(live.receive(buf)),
            Phase::Ended { reason, unread } => match (unread.read(buf), reason) {
                (0, CloseReason::Finished) => Ok(Some(0)),
                (0, reason) => Err(*reason),
                (read, _) => Ok(Some(read)),
            },
        }
    }

    /// Looks at the socket after something happened to it, and tells the owner. `reset` says that it was a RST.
    pub(crate) fn settle(
        &mut self,
        now: Instant,
        id: ConnectionId,
        reset: bool,
        events: &mut VecDeque<StackEvent>,
    ) -> Verdict {
        let Phase::Live(live) = &mut self.phase else { return Verdict::Lives };
        let verdict = live.verdict(reset, self.released);
        if self.released {
            return verdict;
        }
        let notices = &mut self.notices;
        if std::mem::take(&mut live.newly_connected) {
            events.push_back(StackEvent::Connected(id));
        }
        let fin = live.is_fin_received() && !notices.fin;
        notices.fin |= fin;
        if (std::mem::take(&mut live.newly_received) || fin) && !notices.readable {
            notices.readable = true;
            events.push_back(StackEvent::Readable(id));
        }
        if notices.writable_wanted && live.has_ample_room(now) {
            notices.writable_wanted = false;
            events.push_back(StackEvent::Writable(id));
        }
        verdict
    }

    /// Drops the socket and its buffers; says how much unread data is kept.
    pub(crate) fn end(&mut self, reason: CloseReason) -> usize {
        let unread = match &mut self.phase {
            Phase::Ended { .. } => return 0,
            Phase::Live(live) if !self.released => live.unread(),
            Phase::Live(_) | Phase::Incoming(_) => Unread::default(),
        };
        let kept = unread.bytes.len();
        self.phase = Phase::Ended { reason, unread };
        kept
    }
}

impl Unread {
    pub(crate) const fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, read: 0 }
    }

    fn read(&mut self, buf: &mut [u8]) -> usize {
        let rest = self.bytes.get(self.read..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        if let (Some(from), Some(to)) = (rest.get(..len), buf.get_mut(..len)) {
            to.copy_from_slice(from);
        }
        self.read += len;
        len
    }
}
