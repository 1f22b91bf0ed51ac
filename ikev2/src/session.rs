//! The session: handshake, association, reauthentication, farewell.
//!
//! ```text
//!  Handshake ──▶ Established ──────────────────────▶ closing ──▶ closed
//!                    │  ▲ AUTH_LIFETIME: another Handshake beside it, then the old one is deleted
//!                    └──┘
//! ```

#[cfg(test)]
mod testing;

use std::{
    fmt, mem,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use adit_tunnel::{
    Answer, Class, Epoch, Event, KeyChange, KeyTag, Path, Random, Rekeys, Timers, Transmit, Tunnel, TunnelDetails,
};

use crate::{
    config::{Config, Remote},
    error::{Outcome, SessionError},
    esp::{EspOpener, EspSealer},
    established::Established,
    exchange::{Wanted, informational::schedule_reauthentication},
    message::{Delete, Header, IkeSpi, Payload, numbers::ExchangeType},
    probe::{Probe, ProbeReport, Probing},
    sa::{
        Context, End, IkeSa, NON_ESP_MARKER, Outbox, Timer,
        initiator::{ClientContext, Completed, Handshake, Purpose, Step},
    },
};

/// One IKEv2 session with one gateway, as a client.
///
/// It ends for good with [`Event::Closed`]; the next attempt is a new session, given [`Session::into_carry`] of the old.
pub struct Session {
    config: Arc<Config>,
    remote: Remote,
    path: Path,
    random: Box<dyn Random>,
    epoch: Epoch,
    timers: Timers<Timer>,
    out: Outbox,
    state: State,
    /// A new handshake beside an association that has to be replaced.
    renewal: Option<Handshake>,
    /// An association that was replaced, until it is deleted.
    retiring: Option<Box<Established>>,
    carry: Carry,
    /// Our address has changed in the midst of a handshake: the gateway may have taken the one before for ours.
    moved: bool,
    /// What a session has found out that only wants to know.
    probing: Option<Box<Probing>>,
    /// In a row.
    renewals_failed: u32,
    dropped: u64,
    /// Who the gateway has proved to be.
    peer: Option<String>,
    /// Sealers that were made.
    sealers: u64,
    /// IKE SAs replaced before the association of now.
    ike_rekeys: u64,
    /// What failed under associations before this one, and new handshakes beside one that came to nothing.
    failed_rekeys: Rekeys,
}

/// What outlives a session.
#[derive(Debug, Clone, Default)]
pub struct Carry {
    /// Kinds of signature that were refused before one was accepted.
    signatures_refused: usize,
    /// Addresses inside that we had, to be asked for again.
    addresses: Vec<IpAddr>,
    /// The gateway ended the last session. If it did for another of the same identity, INITIAL_CONTACT would end that in turn,
    /// and the two of us would do so for ever.
    ended_by_gateway: bool,
}

enum State {
    Handshake(Handshake),
    Established(Box<Established>),
    /// We leave while the gateway may be letting us in: its answer decides whether there is something to delete.
    Leaving(Handshake),
    /// DELETE was sent.
    Closing(Box<Established>),
    /// A probe has sent DELETE for its IKE SA, which has no child.
    Parting(Box<IkeSa>),
    Closed,
}

impl Session {
    /// Starts: the first datagram waits in [`Tunnel::poll_transmit`]. `remote` is an index of [`Config::remotes`], `path` leads
    /// to one of its addresses, with its port.
    ///
    /// # Errors
    /// [`SessionError`] when the first message cannot be made.
    pub fn new(
        config: Arc<Config>,
        remote: usize,
        carry: Carry,
        path: Path,
        random: Box<dyn Random>,
        epoch: Epoch,
        now: Instant,
    ) -> Outcome<Self> {
        Self::start(config, remote, carry, path, random, epoch, now, None)
    }

    /// Starts a session that only wants to know: it makes no child, deletes its IKE SA, ends with [`Event::Closed`] of
    /// [`adit_tunnel::CloseKind::Local`] when it has found out all it can, and keeps a [`ProbeReport`] all the while. It never
    /// sends INITIAL_CONTACT. Arguments as in [`Self::new`].
    ///
    /// # Errors
    /// [`SessionError`] when the first message cannot be made.
    pub fn probe(
        config: Arc<Config>,
        remote: usize,
        path: Path,
        random: Box<dyn Random>,
        epoch: Epoch,
        now: Instant,
        probe: Probe,
    ) -> Outcome<Self> {
        let probing = Probing::new(probe, config.settings().ike_proposals.to_string());
        Self::start(config, remote, Carry::default(), path, random, epoch, now, Some(Box::new(probing)))
    }

    /// What a probe has found out so far; `None` of other sessions.
    #[must_use]
    pub fn probe_report(&self) -> Option<&ProbeReport> {
        self.probing.as_ref().map(|probing| &probing.report)
    }

    fn start(
        config: Arc<Config>,
        remote: usize,
        carry: Carry,
        path: Path,
        random: Box<dyn Random>,
        epoch: Epoch,
        now: Instant,
        probing: Option<Box<Probing>>,
    ) -> Outcome<Self> {
        let remote = config.remotes().get(remote).or_else(|| config.remotes().first()).cloned();
        let mut remote = remote.ok_or(SessionError::Keys("a session without a gateway"))?;
        remote.port = path.remote.port();
        let mut session = Self {
            config,
            remote,
            path,
            random,
            epoch,
            timers: Timers::new(),
            out: Outbox::default(),
            state: State::Closed,
            renewal: None,
            retiring: None,
            carry,
            moved: false,
            probing,
            renewals_failed: 0,
            dropped: 0,
            peer: None,
            sealers: 0,
            ike_rekeys: 0,
            failed_rekeys: Rekeys::default(),
        };
        let purpose = Purpose {
            reauthentication: false,
            initial_contact: !session.carry.ended_by_gateway && session.probing.is_none(),
            addresses: session.carry.addresses.clone(),
            signatures_refused: session.carry.signatures_refused,
            ..Purpose::default()
        };
        let handshake = Handshake::start(&mut session.parts(now).0, purpose)?;
        session.state = State::Handshake(handshake);
        Ok(session)
    }

    /// What the next session should know.
    #[must_use]
    pub fn into_carry(self) -> Carry {
        self.carry
    }

    /// Control datagrams that were dropped: foreign, forged, repeated or malformed.
    #[must_use]
    pub fn dropped_datagrams(&self) -> u64 {
        self.dropped
    }

    fn parts(
        &mut self,
        now: Instant,
    ) -> (ClientContext<'_>, &mut State, &mut Option<Handshake>, &mut Option<Box<Established>>) {
        let base = Context {
            now,
            end: End::Client,
            settings: self.config.settings(),
            random: &mut *self.random,
            out: &mut self.out,
            timers: &mut self.timers,
            path: &mut self.path,
            epoch: self.epoch,
        };
        let probing = self.probing.as_deref_mut();
        let cx = ClientContext { base, config: &self.config, remote: &self.remote, probing };
        (cx, &mut self.state, &mut self.renewal, &mut self.retiring)
    }

    fn on_message(&mut self, now: Instant, path: &Path, message: &mut [u8]) {
        // Of a higher version: dropped (RFC 7296 §2.5); only who is contacted first says so.
        let Some(header) = Header::peek(message).filter(|header| header.major_version == Header::MAJOR_VERSION) else {
            self.dropped += 1;
            return;
        };
        let (mut cx, state, renewal, retiring) = self.parts(now);
        if renewal.as_ref().is_some_and(|handshake| handshake.spi() == header.initiator_spi) {
            if let Some(handshake) = renewal.take() {
                let step = handshake.handle_datagram(&mut cx, path, &header, message);
                self.on_renewal(now, step);
            }
            return;
        }
        if let Some(old) = retiring.as_mut().filter(|old| old.owns(&header)) {
            // Whatever comes of it: the association is no longer needed.
            let over = old.handle_datagram(&mut cx, path, &header, message).is_err();
            return self.go_on_retiring(now, over);
        }
        match state {
            State::Handshake(handshake) if handshake.spi() == header.initiator_spi => {
                let State::Handshake(handshake) = mem::replace(state, State::Closed) else { return };
                let step = handshake.handle_datagram(&mut cx, path, &header, message);
                self.on_step(now, step);
            }
            State::Established(established) if established.owns(&header) => {
                let result = established.handle_datagram(&mut cx, path, &header, message);
                self.after(now, result);
            }
            State::Closing(established) if established.owns(&header) => {
                let result = established.handle_datagram(&mut cx, path, &header, message);
                established.go_on_closing(&mut cx);
                let over = result.is_err() || !established.is_closing();
                if over {
                    self.finish(SessionError::ClosedLocally);
                }
            }
            State::Leaving(handshake) if handshake.spi() == header.initiator_spi => {
                let State::Leaving(handshake) = mem::replace(state, State::Closed) else { return };
                let step = handshake.handle_datagram(&mut cx, path, &header, message);
                self.on_leaving(now, step);
            }
            State::Parting(sa) if sa.matches(&header) => {
                // Whatever the gateway asks meanwhile: it is told that the IKE SA is gone.
                if matches!(sa.receive(&mut cx, path, &header, message), Ok(Some(_))) && header.response {
                    cx.note(|probing| probing.report.deleted = true);
                    self.finish(SessionError::ClosedLocally);
                }
            }
            State::Handshake(_)
            | State::Leaving(_)
            | State::Established(_)
            | State::Closing(_)
            | State::Parting(_)
            | State::Closed => self.dropped += 1,
        }
    }

    /// What came of a step of the first handshake.
    fn on_step(&mut self, now: Instant, step: Step) {
        match step {
            Step::Wait(handshake) => self.state = State::Handshake(handshake),
            Step::NextSignature(purpose) => {
                tracing::info!("the gateway refused our signature; trying another kind");
                match Handshake::start(&mut self.parts(now).0, purpose) {
                    Ok(handshake) => self.state = State::Handshake(handshake),
                    Err(error) => self.finish(error),
                }
            }
            Step::Done(completed) => self.on_completed(now, *completed),
            Step::Probed(sa) => self.part(now, sa),
            Step::Failed(error) => self.finish(error),
        }
    }

    /// A probe is through: the gateway is to keep nothing of it.
    fn part(&mut self, now: Instant, mut sa: Box<IkeSa>) {
        let (mut cx, state, ..) = self.parts(now);
        cx.timers.stop(Timer::Handshake);
        sa.request(&mut cx, ExchangeType::INFORMATIONAL, vec![Payload::Delete(Delete::Ike)]);
        cx.set(Timer::Close, FAREWELL);
        *state = State::Parting(sa);
    }

    fn on_completed(&mut self, now: Instant, completed: Completed) {
        self.renewals_failed = 0;
        let moved = mem::take(&mut self.moved);
        self.peer = completed.peer.clone();
        self.carry.ended_by_gateway = false;
        self.carry.signatures_refused = completed.purpose.signatures_refused;
        self.carry.addresses = completed.network.addresses.iter().map(adit_tunnel::IpNet::address).collect();
        let (mut cx, ..) = self.parts(now);
        cx.timers.stop(Timer::Handshake);
        cx.timers.stop(Timer::Reauthenticate);
        if let Some(lifetime) = completed.auth_lifetime {
            schedule_reauthentication(&mut cx, lifetime);
        }
        cx.out.events.push_back(Event::Up(completed.network.clone()));
        let mut established = Established::new(&mut cx, completed);
        if moved {
            established.on_local_change(&mut cx);
        }
        self.state = State::Established(Box::new(established));
    }

    /// What came of a step of a handshake that nobody wants any more.
    fn on_leaving(&mut self, now: Instant, step: Step) {
        match step {
            Step::Wait(handshake) if handshake.may_succeed(&self.config) => self.state = State::Leaving(handshake),
            Step::Done(completed) => {
                let (mut cx, state, ..) = self.parts(now);
                let mut established = Established::new(&mut cx, *completed);
                if established.close(&mut cx) {
                    *state = State::Closing(Box::new(established));
                } else {
                    self.finish(SessionError::ClosedLocally);
                }
            }
            Step::Probed(sa) => self.part(now, sa),
            Step::Wait(_) | Step::NextSignature(_) | Step::Failed(_) => self.finish(SessionError::ClosedLocally),
        }
    }

    /// What came of a step of a handshake that is to replace the association.
    fn on_renewal(&mut self, now: Instant, step: Step) {
        let error = match step {
            Step::Wait(handshake) => {
                self.renewal = Some(handshake);
                return;
            }
            Step::NextSignature(purpose) => match Handshake::start(&mut self.parts(now).0, purpose) {
                Ok(handshake) => {
                    self.renewal = Some(handshake);
                    return;
                }
                Err(error) => error,
            },
            Step::Done(completed) => {
                self.replace(now, *completed);
                return;
            }
            // Nobody probes beside an association.
            Step::Probed(_) => return,
            Step::Failed(error) => error,
        };
        self.timers.stop(Timer::Handshake);
        self.failed_rekeys.control += 1;
        if error.is_auth_failed() {
            // Asking again could lock the account. What stands goes on for as long as the gateway lets it.
            tracing::warn!("authenticating anew failed, and is not tried again: {error}");
            return;
        }
        // Anything else may pass, and some of it anybody could have sent: no reason to end what stands.
        tracing::warn!("authenticating anew failed, trying again: {error}");
        self.renewals_failed = self.renewals_failed.saturating_add(1);
        let wait = RENEWAL_WAIT.saturating_mul(1 << (self.renewals_failed - 1).min(6));
        self.parts(now).0.set(Timer::Reauthenticate, wait.min(LONGEST_RENEWAL_WAIT));
    }

    /// The new association carries the traffic; the old one is deleted.
    fn replace(&mut self, now: Instant, completed: Completed) {
        let old = mem::replace(&mut self.state, State::Closed);
        self.on_completed(now, completed);
        let State::Established(mut old) = old else { return };
        self.ike_rekeys += old.ike_rekeys + 1;
        self.failed_rekeys = self.failed_rekeys + old.failed_rekeys;
        let (mut cx, _, _, retiring) = self.parts(now);
        old.close_beside_another(&mut cx);
        if let Some(mut older) = retiring.replace(old) {
            older.retire_children(&mut cx);
        }
        self.go_on_retiring(now, false);
    }

    /// Deletes what is left of the old association; when that is done its openers go, too.
    fn go_on_retiring(&mut self, now: Instant, over: bool) {
        let (mut cx, _, _, retiring) = self.parts(now);
        let Some(old) = retiring else { return };
        old.go_on_closing(&mut cx);
        if over || !old.is_closing() {
            old.retire_children(&mut cx);
            *retiring = None;
        }
    }

    /// What an established association has come to.
    fn after(&mut self, now: Instant, result: Outcome<()>) {
        match result {
            Err(error) => self.fail(now, error),
            Ok(()) => {
                let (mut cx, state, ..) = self.parts(now);
                if let State::Established(established) = state
                    && mem::take(&mut established.needs_reauthentication)
                {
                    // Earlier than AUTH_LIFETIME asks for, if it does.
                    cx.timers.set(Timer::Reauthenticate, now);
                }
            }
        }
    }

    /// It is over, for a reason other than our own wish: the gateway is told if it can hear.
    fn fail(&mut self, now: Instant, error: SessionError) {
        let (mut cx, state, ..) = self.parts(now);
        if let State::Established(established) = state
            && error.is_worth_a_farewell()
        {
            established.close(&mut cx);
        }
        self.finish(error);
    }

    fn finish(&mut self, error: SessionError) {
        self.timers.stop_all();
        if let State::Established(established) = mem::replace(&mut self.state, State::Closed) {
            self.failed_rekeys = self.failed_rekeys + established.failed_rekeys + established.rekeys_in_flight();
            self.failed_rekeys.control += u64::from(self.renewal.is_some());
        }
        self.renewal = None;
        self.retiring = None;
        self.carry.ended_by_gateway |= error == SessionError::Deleted;
        if let Some(probing) = self.probing.as_mut().filter(|_| error.is_auth_failed()) {
            probing.report.accepted_us = Some(false);
        }
        self.out.events.push_back(Event::Closed(error.closed()));
    }

    fn on_timer(&mut self, now: Instant, timer: Timer) {
        match timer {
            Timer::Handshake => self.on_handshake_timeout(now),
            Timer::Suspicion => self.on_handshake_timer(now, None),
            Timer::Retransmit(spi) => self.on_handshake_timer(now, Some(spi)),
            Timer::Reauthenticate => self.reauthenticate(now),
            Timer::Close => self.finish(SessionError::ClosedLocally),
            Timer::RemoveOpener(spi) => {
                let change = KeyChange::RemoveOpener { tag: KeyTag(spi) };
                self.out.events.push_back(Event::Keys(change));
            }
            Timer::Abandon(spi) => {
                let (mut cx, state, _, retiring) = self.parts(now);
                let established = if let State::Established(established) = state { Some(established) } else { None };
                for owner in [retiring.as_mut(), established].into_iter().flatten() {
                    owner.abandon_sa(&mut cx, spi);
                }
            }
            Timer::AbandonChild(spi) => self.with_established(now, |it, cx| it.abandon_child(cx, spi)),
            Timer::Sample => self.with_established(now, Established::on_sample),
            Timer::TryAgain => self.with_established(now, Established::go_on),
            Timer::RekeyIke => self.with_established(now, |it, cx| it.want(cx, Wanted::RekeyIke)),
            Timer::RekeyChild(spi) => self.with_established(now, |it, cx| it.want(cx, Wanted::RekeyChild(spi))),
        }
    }

    fn with_established(&mut self, now: Instant, act: impl FnOnce(&mut Established, &mut Context<'_>)) {
        let (mut cx, state, ..) = self.parts(now);
        if let State::Established(established) = state {
            act(established, &mut cx);
            self.after(now, Ok(()));
        }
    }

    /// Time to send again for the handshake or IKE SA with this SPI of ours; without one, time to believe a suspicion.
    fn on_handshake_timer(&mut self, now: Instant, spi: Option<IkeSpi>) {
        let step = |handshake: Handshake, cx: &mut ClientContext<'_>| {
            if spi.is_some() { handshake.retransmit(cx) } else { handshake.believe_suspicion() }
        };
        let belongs = |handshake: &Handshake| spi.is_none_or(|spi| handshake.spi() == spi);
        let (mut cx, state, renewal, retiring) = self.parts(now);
        if let Some(handshake) = renewal.take_if(|handshake| belongs(handshake)) {
            let step = step(handshake, &mut cx);
            return self.on_renewal(now, step);
        }
        if let (Some(spi), Some(old)) = (spi, retiring.as_mut())
            && old.sa(spi).is_some()
        {
            let over = old.on_retransmit(&mut cx, spi).is_err();
            return self.go_on_retiring(now, over);
        }
        match state {
            State::Handshake(handshake) if belongs(handshake) => {
                let State::Handshake(handshake) = mem::replace(state, State::Closed) else { return };
                let step = step(handshake, &mut cx);
                self.on_step(now, step);
            }
            State::Established(established) => {
                let result = spi.map_or(Ok(()), |spi| established.on_retransmit(&mut cx, spi));
                self.after(now, result);
            }
            State::Closing(established) => {
                let result = spi.map_or(Ok(()), |spi| established.on_retransmit(&mut cx, spi));
                established.go_on_closing(&mut cx);
                if result.is_err() || !established.is_closing() {
                    self.finish(SessionError::ClosedLocally);
                }
            }
            State::Leaving(handshake) if belongs(handshake) => {
                let State::Leaving(handshake) = mem::replace(state, State::Closed) else { return };
                let step = step(handshake, &mut cx);
                self.on_leaving(now, step);
            }
            State::Parting(sa) if spi == Some(sa.our_spi()) => {
                if !sa.retransmit(&mut cx) {
                    self.finish(SessionError::ClosedLocally);
                }
            }
            State::Handshake(_) | State::Leaving(_) | State::Parting(_) | State::Closed => {}
        }
    }

    fn on_handshake_timeout(&mut self, now: Instant) {
        let window = self.config.settings().handshake_timeout;
        let (mut cx, state, renewal, _) = self.parts(now);
        if let Some(handshake) = renewal.take() {
            let stage = handshake.stage();
            cx.timers.stop(Timer::Retransmit(handshake.spi()));
            return self.on_renewal(now, Step::Failed(SessionError::HandshakeTimeout { window, stage }));
        }
        if let State::Handshake(_) = state
            && let State::Handshake(handshake) = mem::replace(state, State::Closed)
        {
            let stage = handshake.stage();
            self.finish(SessionError::HandshakeTimeout { window, stage });
        }
    }

    /// A new handshake beside the association, make before break (RFC 7296 §2.8.3, RFC 4478).
    fn reauthenticate(&mut self, now: Instant) {
        let addresses = self.carry.addresses.clone();
        let signatures_refused = self.carry.signatures_refused;
        let (mut cx, state, renewal, _) = self.parts(now);
        if !matches!(state, State::Established(_)) || renewal.is_some() {
            return;
        }
        tracing::info!("authenticating anew");
        let purpose = Purpose { reauthentication: true, addresses, signatures_refused, ..Purpose::default() };
        match Handshake::start(&mut cx, purpose) {
            Ok(handshake) => *renewal = Some(handshake),
            Err(error) => self.fail(now, error),
        }
    }
}

impl Tunnel for Session {
    type Sealer = EspSealer;
    type Opener = EspOpener;

    fn classify(&self, path: &Path, datagram: &[u8]) -> Class {
        if !End::Client.has_marker(path) {
            return Class::Control;
        }
        match datagram.first_chunk::<4>() {
            Some(&NON_ESP_MARKER) => Class::Control,
            // The tag is the SPI (RFC 4303 §2.1).
            Some(spi) => Class::Data(KeyTag(u32::from_be_bytes(*spi))),
            // A NAT keepalive of the peer, or nothing at all.
            None => Class::Ignore,
        }
    }

    fn handle_datagram(&mut self, now: Instant, path: &Path, datagram: &mut [u8]) {
        let start = if End::Client.has_marker(path) { NON_ESP_MARKER.len() } else { 0 };
        match datagram.get_mut(start..) {
            Some(message) => self.on_message(now, path, message),
            None => self.dropped += 1,
        }
    }

    fn handle_message(&mut self, _: Instant, _: &[u8]) {
        // ESP carries packets alone.
    }

    fn handle_peer_path(&mut self, _: Instant, path: &Path) {
        // Behind a NAT, as we always may be, following would let one spoofed packet move us (RFC 7296 §2.23).
        tracing::debug!("ESP from {}: not followed", path.remote);
    }

    fn handle_path(&mut self, now: Instant, path: &Path) {
        self.path.local = path.local;
        let (mut cx, state, renewal, _) = self.parts(now);
        let mut moved = renewal.is_some();
        if let Some(handshake) = renewal {
            handshake.start_again(&mut cx);
        }
        match state {
            State::Handshake(handshake) => {
                handshake.start_again(&mut cx);
                moved = true;
            }
            State::Established(established) => established.on_local_change(&mut cx),
            State::Leaving(_) | State::Closing(_) | State::Parting(_) | State::Closed => {}
        }
        self.moved |= moved;
    }

    fn handle_unreachable(&mut self, now: Instant) {
        let (mut cx, state, ..) = self.parts(now);
        if let State::Established(established) = state {
            established.on_hint(&mut cx, "an ICMP error");
        }
    }

    fn handle_answer(&mut self, _: Instant, _: Answer) {
        // Nothing is asked.
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.expired(now) {
            self.on_timer(now, timer);
        }
    }

    fn close(&mut self, now: Instant) {
        let (mut cx, state, renewal, _) = self.parts(now);
        *renewal = None;
        match mem::replace(state, State::Closed) {
            State::Established(mut established) => {
                if established.close(&mut cx) {
                    cx.set(Timer::Close, FAREWELL);
                    *state = State::Closing(established);
                } else {
                    self.finish(SessionError::ClosedLocally);
                }
            }
            State::Handshake(handshake) if handshake.may_succeed(cx.config) => {
                cx.timers.stop(Timer::Handshake);
                cx.set(Timer::Close, FAREWELL);
                *state = State::Leaving(handshake);
            }
            State::Handshake(_) => self.finish(SessionError::ClosedLocally),
            closing @ (State::Closing(_) | State::Leaving(_) | State::Parting(_)) => *state = closing,
            State::Closed => {}
        }
    }

    fn poll_event(&mut self) -> Option<Event<EspSealer, EspOpener>> {
        let event = self.out.events.pop_front();
        if matches!(event, Some(Event::Keys(KeyChange::SetSealer { .. }))) {
            self.sealers += 1;
        }
        event
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.out.transmits.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    fn details(&self) -> TunnelDetails {
        let is_rekey = |timer: &Timer| matches!(timer, Timer::RekeyIke | Timer::RekeyChild(_) | Timer::Reauthenticate);
        let established = match &self.state {
            State::Established(established) | State::Closing(established) => Some(established),
            State::Handshake(_) | State::Leaving(_) | State::Parting(_) | State::Closed => None,
        };
        TunnelDetails {
            protocol: "ikev2",
            suite: established.map(|established| established.suite()).unwrap_or_default(),
            peer_identity: self.peer.clone(),
            rekey_at: self.timers.running().filter(is_rekey).filter_map(|timer| self.timers.get(timer)).min(),
            rekeys: Rekeys {
                // The first was no rekey.
                data: self.sealers.saturating_sub(1),
                control: self.ike_rekeys + established.map_or(0, |established| established.ike_rekeys),
            },
            failed_rekeys: self.failed_rekeys + established.map(|it| it.failed_rekeys).unwrap_or_default(),
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Handshake(handshake) => handshake.stage(),
            State::Leaving(_) => "leaving",
            State::Established(_) => "established",
            State::Closing(_) | State::Parting(_) => "closing",
            State::Closed => "closed",
        };
        f.debug_struct("Session").field("remote", &self.remote).field("state", &state).finish_non_exhaustive()
    }
}

/// How long DELETE waits for its answer.
const FAREWELL: Duration = Duration::from_secs(2);
/// The wait after a reauthentication that failed for a reason that may pass; it doubles.
const RENEWAL_WAIT: Duration = Duration::from_secs(5);
const LONGEST_RENEWAL_WAIT: Duration = Duration::from_secs(300);
