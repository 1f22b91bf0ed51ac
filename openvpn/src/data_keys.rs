//! The data channel's keys, of either end: which is used to seal, which still open, when they go.
//!
//! ```text
//!  made ──▶ opens at once; seals at once if the first, else when the peer surely has it too
//!  renegotiation starts ──▶ opens for `tran-window` more, or until two newer keys have come
//! ```

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use adit_tunnel::{Event, FlowId, KeyChange, KeyTag, Path, Sealer, Transport, Usage};

use crate::{
    config::Mssfix,
    crypto::Crypto,
    data::{CipherUnavailable, DataKeyParams, DataOpener, DataSealer, data_keys},
};

/// What waits for the owner of a session.
pub(crate) type Events = VecDeque<Event<DataSealer, DataOpener>>;

/// Which secret data keys are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Derivation {
    /// RFC 5705, from the TLS session.
    Exporter,
    /// The TLS 1.0 PRF over what the key messages carried.
    Prf,
}

/// Every key of a session that is still of use.
#[derive(Default)]
pub(crate) struct DataKeys {
    /// The newest last.
    live: VecDeque<LiveKey>,
    /// Waits until the peer surely opens what it seals.
    next_sealer: Option<Waiting>,
    /// Lengths of the datagrams of packets of every length up to the MTU.
    sealed_lengths: Vec<usize>,
    /// Time between the last two renegotiations.
    interval: Option<Duration>,
    retired: Totals,
}

/// A sealer, and when its time comes: at the latest whatever the peer has acknowledged.
struct Waiting {
    until: Instant,
    latest: Instant,
    /// What the wait for acknowledgements is counted in.
    step: Duration,
    sealer: Box<DataSealer>,
}

struct LiveKey {
    tag: KeyTag,
    usage: Arc<Usage>,
    retire_at: Option<Instant>,
}

/// When a session renews its keys by itself, and how long it keeps the old ones.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Renewal {
    pub(crate) hand_window: Duration,
    pub(crate) tran_window: Duration,
    pub(crate) reneg_sec: Duration,
    pub(crate) reneg_bytes: u64,
    pub(crate) reneg_packets: u64,
}

/// Sums over all keys of a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) sealed_packets: u64,
    pub(crate) sealed_bytes: u64,
    pub(crate) opened_packets: u64,
    pub(crate) opened_bytes: u64,
}

impl Totals {
    fn add(&mut self, usage: &Usage) {
        self.sealed_packets += usage.sealed_packets.load(Relaxed);
        self.sealed_bytes += usage.sealed_bytes.load(Relaxed);
        self.opened_packets += usage.opened_packets.load(Relaxed);
        self.opened_bytes += usage.opened_bytes.load(Relaxed);
    }

    fn of(usage: &Usage) -> Self {
        let mut totals = Self::default();
        totals.add(usage);
        totals
    }
}

impl DataKeys {
    /// Opens with a new key at once, and seals with it when the peer surely has it. Its exchange began at `started`.
    ///
    /// # Errors
    /// [`CipherUnavailable`].
    pub(crate) fn install(
        &mut self,
        now: Instant,
        started: Instant,
        params: &DataKeyParams<'_>,
        crypto: &dyn Crypto,
        renewal: &Renewal,
        events: &mut Events,
    ) -> Result<(), CipherUnavailable> {
        let usage = Arc::new(Usage::default());
        let (sealer, opener) = data_keys(params, crypto, Arc::clone(&usage))?;
        let first = self.live.is_empty();
        let tag = KeyTag(params.key_id.into());
        self.sealed_lengths = (0..=usize::from(params.mtu)).map(|len| sealer.sealed_len(len)).collect();
        self.live.push_back(LiveKey { tag, usage, retire_at: None });
        let flow = FlowId::default();
        events.push_back(Event::Keys(KeyChange::AddOpener { tag, flow, opener: Box::new(opener) }));
        // A sealer that still waits is the newest the peer surely has by now.
        self.switch_sealer(events);
        let step = self.deferral(now.duration_since(started), renewal).max(SHORTEST_DEFERRAL);
        let (until, latest) = (now + step, now + renewal.hand_window.max(step));
        self.next_sealer = Some(Waiting { until, latest, step, sealer: Box::new(sealer) });
        if first {
            self.switch_sealer(events);
        }
        while self.live.len() > MAX_LIVE_KEYS {
            self.retire_oldest(events);
        }
        Ok(())
    }

    /// The newest key becomes an old one.
    pub(crate) fn on_renegotiation(
        &mut self,
        now: Instant,
        last_started: Instant,
        renewal: &Renewal,
        events: &mut Events,
    ) {
        self.interval = Some(now.duration_since(last_started));
        if let Some(newest) = self.live.back_mut() {
            newest.retire_at = Some(now + renewal.tran_window);
        }
        // Nobody renegotiates without having the last key, and the peer is about to forget the one before.
        self.switch_sealer(events);
    }

    /// Seals with the newest key from now on.
    pub(crate) fn switch_sealer(&mut self, events: &mut Events) {
        if let Some(Waiting { sealer, .. }) = self.next_sealer.take() {
            let change = KeyChange::SetSealer { flow: FlowId::default(), selectors: Vec::new(), sealer };
            events.push_back(Event::Keys(change));
        }
    }

    /// The peer is not welcome any more: nothing is opened or sealed from now on.
    pub(crate) fn withdraw(&mut self, events: &mut Events) {
        if self.live.is_empty() {
            return;
        }
        self.next_sealer = None;
        events.push_back(Event::Keys(KeyChange::RemoveFlow { flow: FlowId::default() }));
        while !self.live.is_empty() {
            self.retire_oldest(events);
        }
    }

    /// Does what is due: seals with the newest key, if the peer has all we sent (`all_arrived`), drops keys whose time is over.
    pub(crate) fn on_time(&mut self, now: Instant, all_arrived: bool, events: &mut Events) {
        if let Some(waiting) = &mut self.next_sealer
            && waiting.until <= now
        {
            if all_arrived || waiting.latest <= now {
                self.switch_sealer(events);
            } else {
                waiting.until = (now + waiting.step).min(waiting.latest);
            }
        }
        while self.next_retirement().is_some_and(|at| at <= now) {
            // The newest sealer must be in use before the old opener goes.
            self.switch_sealer(events);
            self.retire_oldest(events);
        }
    }

    /// When to call [`Self::on_time`].
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let switch = self.next_sealer.as_ref().map(|waiting| waiting.until);
        switch.into_iter().chain(self.next_retirement()).min()
    }

    /// Whether to renegotiate: before packet ids run out, and as `reneg-bytes` and `reneg-pkts` say.
    pub(crate) fn wants_renewal(&mut self, renewal: &Renewal, events: &mut Events) -> bool {
        let newest = self.newest();
        let over = |carried: u64, limit: u64| limit > 0 && carried >= limit;
        let packets = newest.sealed_packets.max(newest.opened_packets);
        if self.sealing_is_exhausted(PACKET_ID_LIMIT) {
            self.switch_sealer(events);
        }
        let due = over(packets, PACKET_ID_LIMIT)
            || over(packets, renewal.reneg_packets)
            || over(newest.sealed_bytes.max(newest.opened_bytes), renewal.reneg_bytes);
        due && self.next_sealer.is_none()
    }

    /// Counters of the live keys, the newest last.
    #[cfg(test)]
    pub(crate) fn usages(&self) -> Vec<Arc<Usage>> {
        self.live.iter().map(|key| Arc::clone(&key.usage)).collect()
    }

    /// Sums over all keys so far.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = self.retired;
        self.live.iter().for_each(|key| totals.add(&key.usage));
        totals
    }

    /// What the newest key has carried.
    fn newest(&self) -> Totals {
        self.live.back().map_or_else(Totals::default, |key| Totals::of(&key.usage))
    }

    /// The largest inner TCP packet whose datagram keeps to `mssfix`.
    pub(crate) fn tcp_mtu(&self, mtu: u16, mssfix: Mssfix, path: Path) -> u16 {
        let limit = match (mssfix, path.transport) {
            (Mssfix::Off, _) => return mtu,
            (Mssfix::Payload(limit), _) => usize::from(limit),
            (Mssfix::OuterIp(limit), transport) => {
                let ip = if path.remote.is_ipv6() { 40 } else { 20 };
                let above = match transport {
                    Transport::Udp => 8,
                    // A TCP header with timestamps, and the length of the datagram.
                    Transport::Tcp => 32 + 2,
                };
                usize::from(limit).saturating_sub(ip + above)
            }
        };
        let fitting = self.sealed_lengths.iter().rposition(|sealed| *sealed <= limit).unwrap_or_default();
        u16::try_from(fitting).unwrap_or(mtu).max(MIN_TCP_MTU).min(mtu)
    }

    /// When the oldest key goes. The only key stays, however long its renegotiation takes.
    fn next_retirement(&self) -> Option<Instant> {
        let oldest = self.live.front().filter(|_| self.live.len() > 1)?;
        oldest.retire_at
    }

    /// The key that packets are sealed with is about to run out of packet ids.
    fn sealing_is_exhausted(&self, limit: u64) -> bool {
        let waiting = usize::from(self.next_sealer.is_some());
        let sealing = self.live.iter().rev().nth(waiting);
        sealing.is_some_and(|key| key.usage.sealed_packets.load(Relaxed) >= limit)
    }

    /// How long after a renegotiation to go on sealing with the old key: the peer may make its own keys only after our
    /// acknowledgement has reached it, or after somebody has judged its credentials (OpenVPN 2.6 `ssl.c`,
    /// tls_select_encryption_key; it counts from the start of the handshake, which is too early on a slow line). With a
    /// peer that renegotiates faster than we do, half of its interval, so that the old key is not gone before; but never less
    /// than the exchange took, for one way of several is still to go.
    fn deferral(&self, exchange: Duration, renewal: &Renewal) -> Duration {
        let interval = self.interval.unwrap_or(Duration::MAX);
        let ours = renewal.reneg_sec;
        let shortest = if ours.is_zero() { interval } else { interval.min(ours) };
        renewal.hand_window.min((shortest / 2).max(exchange))
    }

    fn retire_oldest(&mut self, events: &mut Events) {
        if let Some(key) = self.live.pop_front() {
            self.retired.add(&key.usage);
            events.push_back(Event::Keys(KeyChange::RemoveOpener { tag: key.tag }));
        }
    }
}

impl Derivation {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Exporter => "exporter",
            Self::Prf => "prf",
        }
    }
}

/// Waiting for acknowledgements must not become spinning, however quick the exchange was.
const SHORTEST_DEFERRAL: Duration = Duration::from_millis(10);
/// 2.x opens with two; one more costs little and catches what reordering delays across two renegotiations.
const MAX_LIVE_KEYS: usize = 3;
/// RFC 791: every host accepts 576 bytes. `mssfix` never asks for less.
const MIN_TCP_MTU: u16 = 576;
/// 2.x renegotiates there (`packet_id.h`): 16 million packets before the last.
const PACKET_ID_LIMIT: u64 = 0xff00_0000;
