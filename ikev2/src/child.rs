//! Child SAs: a pair of ESP SAs with its selectors, and what becomes of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use adit_tunnel::{Event, FlowId, IpNet, KeyChange, KeyTag, Usage};

use crate::{
    error::{Outcome, SessionError},
    esp::{EspOpener, EspSealer},
    key_log,
    message::{IkeSpi, TrafficSelector, numbers::EncryptionId},
    negotiate::EspSuite,
    sa::{Context, Timer, keys::ChildKeys},
    selectors::{self, SelectorCheck},
};

/// One child SA.
///
/// ```text
///  we rekeyed:    ─────────────▶ InUse ──▶ Deleting ──▶ gone, its opener 5 s later
///  they rekeyed:  Waiting ──▶ InUse ──▶ Replaced ──▶ gone
/// ```
#[derive(Debug)]
pub(crate) struct ChildSa {
    /// The SPI we receive on.
    pub(crate) spi_in: u32,
    /// The SPI the peer receives on.
    pub(crate) spi_out: u32,
    pub(crate) flow: FlowId,
    pub(crate) suite: EspSuite,
    pub(crate) local: Vec<TrafficSelector>,
    pub(crate) remote: Vec<TrafficSelector>,
    pub(crate) usage: Arc<Usage>,
    /// Largest inner packet that fits into an outer one over IPv4, and over IPv6.
    mtus: (u16, u16),
    state: State,
}

#[derive(Debug)]
enum State {
    /// The peer made it to replace the child that receives on `replaces`. We do not send on it before the peer surely
    /// listens (RFC 7296 §2.8).
    Waiting {
        sealer: Box<EspSealer>,
        replaces: u32,
        /// The IKE SA it was made through. As long as that lives, the peer knows the child before it sends anything else.
        via: IkeSpi,
        /// Since when the child it replaces has been due for other keys.
        due_since: Option<Instant>,
    },
    /// Packets are sealed with it.
    InUse,
    /// Another has taken its place; whoever made that one deletes this one.
    Replaced,
    /// We are deleting it.
    Deleting,
}

/// Everything two ends agreed on for a child.
pub(crate) struct Agreed {
    pub(crate) spi_in: u32,
    pub(crate) spi_out: u32,
    pub(crate) flow: FlowId,
    pub(crate) suite: EspSuite,
    pub(crate) local: Vec<TrafficSelector>,
    pub(crate) remote: Vec<TrafficSelector>,
}

impl ChildSa {
    /// The child of an exchange that we started: its opener is announced, and its sealer takes over.
    pub(crate) fn initiated(cx: &mut Context<'_>, agreed: Agreed, keys: &ChildKeys) -> Outcome<Self> {
        let (child, sealer) = Self::install(cx, agreed, keys, true)?;
        child.set_sealer(cx, sealer);
        child.schedule_rekey(cx);
        Ok(child)
    }

    /// The only child there is, of an exchange that the peer started: nothing else could carry packets meanwhile.
    pub(crate) fn first_answered(cx: &mut Context<'_>, agreed: Agreed, keys: &ChildKeys) -> Outcome<Self> {
        let (child, sealer) = Self::install(cx, agreed, keys, false)?;
        child.set_sealer(cx, sealer);
        child.schedule_rekey(cx);
        Ok(child)
    }

    /// The child of an exchange that the peer started, in place of the one that receives on `replaces`: its opener is
    /// announced, its sealer waits.
    pub(crate) fn answered(
        cx: &mut Context<'_>,
        agreed: Agreed,
        keys: &ChildKeys,
        replaces: u32,
        via: IkeSpi,
    ) -> Outcome<Self> {
        let (mut child, sealer) = Self::install(cx, agreed, keys, false)?;
        child.state = State::Waiting { sealer, replaces, via, due_since: None };
        cx.set(Timer::AbandonChild(child.spi_in), ABANDON);
        Ok(child)
    }

    /// The child of an exchange that we started and lost: the peer may send on it until it is deleted, which we are doing.
    pub(crate) fn redundant(cx: &mut Context<'_>, agreed: Agreed, keys: &ChildKeys) -> Outcome<Self> {
        let (mut child, _) = Self::install(cx, agreed, keys, true)?;
        child.state = State::Deleting;
        Ok(child)
    }

    fn install(cx: &mut Context<'_>, agreed: Agreed, keys: &ChildKeys, ours: bool) -> Outcome<(Self, Box<EspSealer>)> {
        let (inbound, outbound) =
            if ours { (&keys.to_initiator, &keys.to_responder) } else { (&keys.to_responder, &keys.to_initiator) };
        let log = &cx.settings.key_log;
        key_log::esp(log, &agreed.suite, cx.path, agreed.spi_in, inbound);
        key_log::esp(log, &agreed.suite, cx.path, agreed.spi_out, outbound);
        let usage = Arc::new(Usage::default());
        let check = SelectorCheck::new(&agreed.remote, &agreed.local);
        let window = cx.settings.replay_window;
        let opener = EspOpener::new(&agreed.suite, inbound, window, check, Arc::clone(&usage));
        let sealer = EspSealer::new(&agreed.suite, outbound, agreed.spi_out, &mut *cx.random, Arc::clone(&usage));
        let (Some(opener), Some(sealer)) = (opener, sealer) else { return Err(SessionError::Keys("ESP")) };
        let sealer = sealer.restricted(SelectorCheck::outbound(&agreed.local, &agreed.remote));
        let Agreed { spi_in, spi_out, flow, suite, local, remote } = agreed;
        tracing::debug!("child {spi_in:08x} / {spi_out:08x}: {suite}");
        let opener = Box::new(opener);
        cx.out.events.push_back(Event::Keys(KeyChange::AddOpener { tag: KeyTag(spi_in), flow, opener }));
        let mtu = |ip| u16::try_from(sealer.packet_room(OUTER_MTU - ip - UDP_HEADER)).unwrap_or(u16::MAX);
        let mtus = (mtu(20), mtu(40));
        let child = Self { spi_in, spi_out, flow, suite, local, remote, usage, mtus, state: State::InUse };
        Ok((child, Box::new(sealer)))
    }

    /// The peer surely listens: packets are sealed with it from now on.
    pub(crate) fn take_over(&mut self, cx: &mut Context<'_>) {
        if let State::Waiting { sealer, .. } = std::mem::replace(&mut self.state, State::InUse) {
            cx.timers.stop(Timer::AbandonChild(self.spi_in));
            self.set_sealer(cx, sealer);
            self.schedule_rekey(cx);
        }
    }

    /// Another child carries its packets.
    pub(crate) fn replaced(&mut self, cx: &mut Context<'_>) {
        cx.timers.stop(Timer::RekeyChild(self.spi_in));
        if !self.is_deleting() {
            self.state = State::Replaced;
            cx.set(Timer::AbandonChild(self.spi_in), ABANDON);
        }
    }

    /// We ask the peer to forget it.
    pub(crate) fn deleting(&mut self, cx: &mut Context<'_>) {
        cx.timers.stop(Timer::RekeyChild(self.spi_in));
        cx.timers.stop(Timer::AbandonChild(self.spi_in));
        self.state = State::Deleting;
    }

    /// It is gone for both ends; packets still under way are opened for a while.
    pub(crate) fn gone(&self, cx: &mut Context<'_>) {
        cx.timers.stop(Timer::RekeyChild(self.spi_in));
        cx.timers.stop(Timer::AbandonChild(self.spi_in));
        cx.set(Timer::RemoveOpener(self.spi_in), LINGER);
    }

    pub(crate) const fn is_in_use(&self) -> bool {
        matches!(self.state, State::InUse)
    }

    pub(crate) const fn is_deleting(&self) -> bool {
        matches!(self.state, State::Deleting)
    }

    /// For tables of what becomes of it.
    #[cfg(test)]
    pub(crate) const fn state_name(&self) -> &'static str {
        match self.state {
            State::Waiting { .. } => "Waiting",
            State::InUse => "InUse",
            State::Replaced => "Replaced",
            State::Deleting => "Deleting",
        }
    }

    /// The child it will replace, while it waits.
    pub(crate) const fn waits_for(&self) -> Option<u32> {
        match self.state {
            State::Waiting { replaces, .. } => Some(replaces),
            State::InUse | State::Replaced | State::Deleting => None,
        }
    }

    /// Whether it waits, and the peer may never have learnt of it: our answer may be lost with the IKE SA it went through.
    pub(crate) fn is_doubtful(&self, current: IkeSpi) -> bool {
        matches!(self.state, State::Waiting { via, .. } if via != current) && !self.was_received_on()
    }

    /// The child it replaces is due for other keys. Whether the peer has had time enough to go on with this one.
    pub(crate) fn is_given_up(&mut self, cx: &mut Context<'_>) -> bool {
        let State::Waiting { replaces, due_since, .. } = &mut self.state else { return false };
        let Some(since) = *due_since else {
            *due_since = Some(cx.now);
            cx.set(Timer::RekeyChild(*replaces), PATIENCE);
            return false;
        };
        cx.now.saturating_duration_since(since) >= PATIENCE
    }

    /// Whether the peer has sent on it.
    pub(crate) fn was_received_on(&self) -> bool {
        self.usage.opened_packets.load(Relaxed) > 0
    }

    /// Whether so much was sealed, or opened, that new keys are due.
    pub(crate) fn is_worn(&self) -> bool {
        let limit = if self.suite.esn { MAX_PACKETS_ESN } else { MAX_PACKETS };
        let bytes = if self.suite.encryption == EncryptionId::TRIPLE_DES { MAX_BYTES_3DES } else { u64::MAX };
        let over = |packets: &AtomicU64, bytes_done: &AtomicU64| {
            packets.load(Relaxed) > limit || bytes_done.load(Relaxed) >= bytes
        };
        over(&self.usage.sealed_packets, &self.usage.sealed_bytes)
            || over(&self.usage.opened_packets, &self.usage.opened_bytes)
    }

    /// Largest inner packet, so that the outer one is at most 1500 bytes long.
    pub(crate) const fn mtu(&self, outer_v6: bool) -> u16 {
        if outer_v6 { self.mtus.1 } else { self.mtus.0 }
    }

    pub(crate) fn nets(&self) -> Vec<IpNet> {
        selectors::to_nets(&self.remote)
    }

    fn set_sealer(&self, cx: &mut Context<'_>, sealer: Box<EspSealer>) {
        let change = KeyChange::SetSealer { flow: self.flow, selectors: self.nets(), sealer };
        cx.out.events.push_back(Event::Keys(change));
    }

    fn schedule_rekey(&self, cx: &mut Context<'_>) {
        let age = cx.settings.child_rekey;
        if !age.is_zero() {
            let age = cx.jittered(age);
            cx.set(Timer::RekeyChild(self.spi_in), age);
        }
    }
}

/// Ethernet's, which is also what the internet carries.
const OUTER_MTU: usize = 1500;
const UDP_HEADER: usize = 8;
/// How long packets may be under way after their SA was deleted. Our judgement; strongSwan keeps its own as long.
const LINGER: Duration = Duration::from_secs(5);
/// Longer than any peer goes on sending a request again (strongSwan gives up after 165 s).
pub(crate) const ABANDON: Duration = Duration::from_secs(180);
/// How long a child that the peer began in place of another may keep us from beginning one. Our judgement.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// Half of what 32-bit sequence numbers allow.
const MAX_PACKETS: u64 = 1 << 31;
/// With 64-bit sequence numbers the data under one key is the limit: 2^36 packets of 1400 bytes are 2^43 AES blocks, which
/// leaves an attacker a chance of about 2^-43 to tell it from randomness (birthday bound). Our judgement.
const MAX_PACKETS_ESN: u64 = 1 << 36;
/// Of blocks of 64 bits two are likely to be the same after 2^32 (Sweet32, CVE-2016-2183); these are 2^27. Our judgement.
const MAX_BYTES_3DES: u64 = 1 << 30;
