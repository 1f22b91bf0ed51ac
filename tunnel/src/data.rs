//! The data plane: sealers and openers, values without I/O, lock, clock or allocation per packet.

use std::{
    fmt,
    ops::Range,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Names the opener of a datagram: OpenVPN's key id, an ESP SPI.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyTag(pub u32);

/// Names one outbound direction with its selectors; OpenVPN has flow 0 only.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct FlowId(pub u32);

impl fmt::Debug for KeyTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyTag({:#x})", self.0)
    }
}

impl fmt::Debug for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FlowId({})", self.0)
    }
}

/// Seals packets into outer datagrams, in place.
pub trait Sealer: Send + 'static {
    /// Bytes written before the packet: exact and constant. The datagram starts here before the packet.
    fn header_len(&self) -> usize;

    /// Length of the datagram made of a packet of this length: exact, so that runs of equal segments, the MTU and the
    /// room in a buffer can be computed beforehand.
    fn sealed_len(&self, packet_len: usize) -> usize;

    /// Seals the packet at `packet` inside `buf` and returns the range of the datagram.
    ///
    /// The caller leaves `header_len()` bytes before the packet, and after it what `sealed_len` asks for; the bytes
    /// there are overwritten.
    ///
    /// # Errors
    /// [`SealError::NoRoom`] when there is less room, [`SealError::Exhausted`] when the key may seal no more packets,
    /// [`SealError::NotAgreed`] when the peer would refuse this one.
    fn seal(&mut self, buf: &mut [u8], packet: Range<usize>) -> Result<Range<usize>, SealError>;
}

/// Opens outer datagrams, in place.
pub trait Opener: Send + 'static {
    /// Authenticates, decrypts and checks one datagram.
    ///
    /// # Errors
    /// [`OpenError::Malformed`], [`OpenError::Forged`] or [`OpenError::Replayed`]; the datagram's bytes are then
    /// unspecified and it is to be dropped.
    fn open(&mut self, datagram: &mut [u8]) -> Result<Opened, OpenError>;

    /// Scratch space that holds the packet after [`Content::Unpacked`], until the next `open`.
    fn unpacked(&self) -> &[u8];
}

/// A datagram that passed every check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// What was in it.
    pub content: Content,
    /// Whether its sequence number is the highest seen so far: only then may its source move the peer's path.
    pub newest: bool,
}

/// Where the content of an opened datagram lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// An inner packet, at this range of the datagram.
    Packet(Range<usize>),
    /// An inner packet that was compressed: it lies in [`Opener::unpacked`].
    Unpacked,
    /// A message for [`crate::Tunnel::handle_message`], at this range of the datagram.
    Message(Range<usize>),
    /// Nothing of use, such as padding against traffic analysis.
    Filler,
}

/// Why a packet was not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The buffer has less room around the packet than header and trailer need.
    #[error("no room around the packet for header and trailer")]
    NoRoom,
    /// The key has sealed as many packets as it may.
    #[error("the key has sealed as many packets as it may")]
    Exhausted,
    /// The peer has not agreed to carry such packets.
    #[error("the packet is not of those agreed on with the peer")]
    NotAgreed,
}

/// Why a datagram was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Too short, or its inner structure makes no sense.
    #[error("malformed datagram")]
    Malformed,
    /// The authentication tag is wrong.
    #[error("forged or damaged datagram")]
    Forged,
    /// The sequence number was seen before, or is older than the replay window.
    #[error("replayed or too old datagram")]
    Replayed,
}

/// Counters of one key, written by sealer and opener, read by the control plane when its own timers fire.
///
/// Bytes are those of the packets before sealing and after opening.
#[derive(Debug, Default)]
pub struct Usage {
    /// Packets sealed.
    pub sealed_packets: AtomicU64,
    /// Bytes of the packets sealed.
    pub sealed_bytes: AtomicU64,
    /// Datagrams opened, messages and filler included.
    pub opened_packets: AtomicU64,
    /// Bytes of the packets opened.
    pub opened_bytes: AtomicU64,
    /// Datagrams refused as malformed, forged or replayed.
    pub refused_packets: AtomicU64,
}

impl Usage {
    /// Counts one sealed packet of `bytes`.
    pub fn on_sealed(&self, bytes: usize) {
        self.sealed_packets.fetch_add(1, Relaxed);
        self.sealed_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts one opened packet of `bytes`.
    pub fn on_opened(&self, bytes: usize) {
        self.opened_packets.fetch_add(1, Relaxed);
        self.opened_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts one refused datagram.
    pub fn on_refused(&self) {
        self.refused_packets.fetch_add(1, Relaxed);
    }
}
