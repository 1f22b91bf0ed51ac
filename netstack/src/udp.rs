//! UDP sockets: no smoltcp here, a header of eight bytes needs none.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use crate::{
    demux::Tuple,
    packet::{self, UDP},
    slots::Key,
};

/// Names a UDP socket or association; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UdpId(pub(crate) Key);

/// A datagram's header (RFC 768) and payload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Datagram<'a> {
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    /// Zero in an IPv4 packet says that the sender did not compute one.
    pub(crate) checksum: u16,
    pub(crate) payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Reads the payload of an IP packet.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header: &[u8; HEADER] = bytes.first_chunk()?;
        let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
        Some(Self {
            source_port: u16::from_be_bytes([header[0], header[1]]),
            destination_port: u16::from_be_bytes([header[2], header[3]]),
            checksum: u16::from_be_bytes([header[6], header[7]]),
            payload: bytes.get(HEADER..len)?,
        })
    }
}

/// A whole packet with one datagram; `None` if it is too long for any packet.
pub(crate) fn packet(
    local: (IpAddr, u16),
    remote: (IpAddr, u16),
    identification: u16,
    payload: &[u8],
) -> Option<Vec<u8>> {
    let len = HEADER.checked_add(payload.len())?;
    let len_field = u16::try_from(len).ok()?;
    packet::build((local.0, remote.0), Some(identification), UDP, len, |datagram| {
        let Some((header, body)) = datagram.split_first_chunk_mut::<HEADER>() else { return };
        let ([s0, s1], [d0, d1], [l0, l1]) = (local.1.to_be_bytes(), remote.1.to_be_bytes(), len_field.to_be_bytes());
        *header = [s0, s1, d0, d1, l0, l1, 0, 0];
        body.copy_from_slice(payload);
        let mut sum = packet::transport_checksum(local.0, remote.0, UDP, datagram);
        if sum == [0, 0] {
            sum = [0xff, 0xff]; // zero would say "no checksum"
        }
        if let Some(header) = datagram.first_chunk_mut::<HEADER>() {
            (header[6], header[7]) = (sum[0], sum[1]);
        }
    })
}

/// The largest payload towards a remote of that family in packets of `mtu` bytes.
pub(crate) const fn payload_limit(mtu: usize, remote: IpAddr) -> usize {
    mtu.saturating_sub(packet::header_len(remote) + HEADER)
}

/// Queues of datagrams, and with whom they are exchanged.
#[derive(Debug)]
pub(crate) struct UdpSocket {
    kind: Kind,
    inbox: VecDeque<(SocketAddr, Vec<u8>)>,
    outbox: VecDeque<Vec<u8>>,
    inbox_bytes: usize,
    outbox_bytes: usize,
    /// Whether an event said that something waits and the owner has not looked yet.
    pub(crate) announced: bool,
    /// Whether the socket waits for its turn to send.
    pub(crate) queued: bool,
}

#[derive(Debug)]
enum Kind {
    /// One local port, in both families, and the remotes it talks to: when we last sent to which. Only they may send to us.
    Bound {
        port: u16,
        /// Anybody may send to it.
        open: bool,
        remotes: HashMap<(IpAddr, u16), Instant>,
    },
    /// An association that began at the other end.
    Associated {
        tuple: Tuple,
        /// When a datagram last went either way.
        last: Instant,
        /// When that is looked at.
        deadline: Instant,
    },
}

impl UdpSocket {
    pub(crate) fn bound(port: u16) -> Self {
        Self::of_kind(Kind::Bound { port, open: false, remotes: HashMap::new() })
    }

    /// Anybody may send to it.
    pub(crate) fn open(port: u16) -> Self {
        Self::of_kind(Kind::Bound { port, open: true, remotes: HashMap::new() })
    }

    pub(crate) fn associated(tuple: Tuple, now: Instant, deadline: Instant) -> Self {
        Self::of_kind(Kind::Associated { tuple, last: now, deadline })
    }

    fn of_kind(kind: Kind) -> Self {
        Self {
            kind,
            inbox: VecDeque::new(),
            outbox: VecDeque::new(),
            inbox_bytes: 0,
            outbox_bytes: 0,
            announced: false,
            queued: false,
        }
    }

    pub(crate) const fn port(&self) -> u16 {
        match &self.kind {
            Kind::Bound { port, .. } => *port,
            Kind::Associated { tuple, .. } => tuple.local.1,
        }
    }

    /// Both ends of an association that began at the other end.
    pub(crate) const fn association(&self) -> Option<Tuple> {
        match &self.kind {
            Kind::Bound { .. } => None,
            Kind::Associated { tuple, .. } => Some(*tuple),
        }
    }

    /// When an association that began at the other end was last used, and when that is looked at.
    pub(crate) const fn idle_since(&self) -> Option<(Instant, Instant)> {
        match &self.kind {
            Kind::Bound { .. } => None,
            Kind::Associated { last, deadline, .. } => Some((*last, *deadline)),
        }
    }

    pub(crate) const fn look_again_at(&mut self, at: Instant) {
        if let Kind::Associated { deadline, .. } = &mut self.kind {
            *deadline = at;
        }
    }

    /// Notes that a datagram came from there.
    pub(crate) const fn touch(&mut self, now: Instant) {
        if let Kind::Associated { last, .. } = &mut self.kind {
            *last = now;
        }
    }

    /// Notes that we send to a remote.
    pub(crate) fn associate(&mut self, now: Instant, remote: (IpAddr, u16), idle: Duration) {
        let remotes = match &mut self.kind {
            Kind::Bound { open: true, .. } => return,
            Kind::Bound { remotes, .. } => remotes,
            Kind::Associated { last, .. } => {
                *last = now;
                return;
            }
        };
        if remotes.len() >= MAX_REMOTES && !remotes.contains_key(&remote) {
            remotes.retain(|_, last| now.saturating_duration_since(*last) < idle);
            if remotes.len() >= MAX_REMOTES
                && let Some(oldest) = remotes.iter().min_by_key(|(_, last)| **last).map(|(remote, _)| *remote)
            {
                remotes.remove(&oldest);
            }
        }
        remotes.insert(remote, now);
    }

    /// Whether we have sent to that remote lately from a port of ours.
    pub(crate) fn is_associated(&self, now: Instant, remote: (IpAddr, u16), idle: Duration) -> bool {
        match &self.kind {
            Kind::Bound { open: true, .. } => true,
            Kind::Bound { remotes, .. } => {
                remotes.get(&remote).is_some_and(|last| now.saturating_duration_since(*last) < idle)
            }
            Kind::Associated { .. } => false,
        }
    }

    pub(crate) fn may_send(&self, cost: usize) -> bool {
        self.outbox.is_empty() || self.outbox_bytes + cost <= QUEUE
    }

    pub(crate) fn may_receive(&self, cost: usize) -> bool {
        self.inbox.is_empty() || self.inbox_bytes + cost <= QUEUE
    }

    pub(crate) fn queue_to_send(&mut self, packet: Vec<u8>) {
        self.outbox_bytes += cost(packet.len());
        self.outbox.push_back(packet);
    }

    /// The next packet to send, and what it was charged with.
    pub(crate) fn next_to_send(&mut self) -> Option<(Vec<u8>, usize)> {
        let packet = self.outbox.pop_front()?;
        let cost = cost(packet.len());
        self.outbox_bytes -= cost;
        Some((packet, cost))
    }

    pub(crate) fn queue_received(&mut self, from: SocketAddr, payload: &[u8]) {
        self.inbox_bytes += cost(payload.len());
        self.inbox.push_back((from, payload.to_vec()));
    }

    /// The payload of the datagram that waits for longest.
    pub(crate) fn first_received(&self) -> Option<&[u8]> {
        self.inbox.front().map(|(_, payload)| payload.as_slice())
    }

    /// The next datagram received, and what it was charged with.
    pub(crate) fn next_received(&mut self) -> Option<(SocketAddr, Vec<u8>, usize)> {
        let (from, payload) = self.inbox.pop_front()?;
        let cost = cost(payload.len());
        self.inbox_bytes -= cost;
        Some((from, payload, cost))
    }

    /// What both queues are charged with.
    pub(crate) const fn charged(&self) -> usize {
        self.inbox_bytes + self.outbox_bytes
    }

    /// Forgets what waits to be sent; says what it was charged with.
    pub(crate) fn clear_outbox(&mut self) -> usize {
        self.outbox.clear();
        std::mem::take(&mut self.outbox_bytes)
    }
}

/// What a queued datagram is charged with: its bytes and about what the queue itself needs for it.
pub(crate) const fn cost(len: usize) -> usize {
    len + 64
}

/// What an open socket is charged with, besides its queues.
pub(crate) const SOCKET_COST: usize = 1024;
const HEADER: usize = 8;
/// Bytes a direction; about Linux' default (`net.core.rmem_default`).
const QUEUE: usize = 256 << 10;
/// How many remotes one socket may talk to at a time; the one not sent to for longest is forgotten.
const MAX_REMOTES: usize = 1024;
