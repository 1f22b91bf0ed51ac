//! The gateway's end of one session: answering handshake, association, farewell.
//!
//! ```text
//!  Handshake ──▶ Established ──▶ Closing ──▶ Closed
//!      └──▶ Refused: answers again what was asked, for a while ──▲
//! ```

#[cfg(test)]
mod testing;

use std::{
    collections::VecDeque,
    fmt, mem,
    sync::Arc,
    time::{Duration, Instant},
};

use adit_tunnel::{
    Answer, Applicant, Class, Closed, Epoch, Event, KeyChange, KeyTag, Path, PeerId, Random, Timers, Transmit, Tunnel,
    Verdict,
};

use super::{ResponderConfig, ServerError, half_open::Guard};
use crate::{
    error::Outcome,
    esp::{EspOpener, EspSealer},
    established::Established,
    exchange::Wanted,
    message::{Header, IkeSpi, Reassembly},
    sa::{
        Context, End, IkeSa, NON_ESP_MARKER, Outbox, Timer,
        responder::{Answering, GatewayContext, Step, init::Acceptable},
    },
};

/// One IKEv2 session with one client, as a gateway; made by [`crate::Responder`].
///
/// It ends for good with [`Event::Closed`], whose source is a [`ServerError`].
pub struct ServerSession {
    config: Arc<ResponderConfig>,
    peer: PeerId,
    path: Path,
    random: Box<dyn Random>,
    epoch: Epoch,
    timers: Timers<Timer>,
    out: Outbox,
    applicants: VecDeque<Applicant>,
    state: State,
    /// Why the client was turned away, until that is asked.
    refusal: Option<Closed>,
    /// As long as it has not proved who it is.
    half_open: Option<Guard>,
    dropped: u64,
}

enum State {
    Handshake(Answering),
    /// The client was turned away; it may not have heard.
    Refused(Box<IkeSa>, ServerError),
    Established(Box<Established>),
    /// DELETE was sent.
    Closing(Box<Established>, ServerError),
    Closed,
}

impl ServerSession {
    /// `None` if the client's public value is none.
    pub(super) fn accept(
        config: Arc<ResponderConfig>,
        peer: PeerId,
        path: &Path,
        random: Box<dyn Random>,
        epoch: Epoch,
        half_open: Guard,
        now: Instant,
        request: Acceptable<'_>,
    ) -> Option<Self> {
        let mut session = Self {
            config,
            peer,
            path: *path,
            random,
            epoch,
            timers: Timers::new(),
            out: Outbox::default(),
            applicants: VecDeque::new(),
            state: State::Closed,
            refusal: None,
            half_open: Some(half_open),
            dropped: 0,
        };
        let (mut cx, _) = session.parts(now);
        let answering = request.answer(&mut cx, path)?;
        let time = cx.settings.handshake_timeout;
        cx.set(Timer::Handshake, time);
        session.state = State::Handshake(answering);
        Some(session)
    }

    /// Control datagrams that were dropped: foreign, forged, repeated or malformed.
    #[must_use]
    pub fn dropped_datagrams(&self) -> u64 {
        self.dropped
    }

    fn parts(&mut self, now: Instant) -> (GatewayContext<'_>, &mut State) {
        let base = Context {
            now,
            end: End::Gateway(self.peer),
            settings: self.config.settings(),
            random: &mut *self.random,
            out: &mut self.out,
            timers: &mut self.timers,
            path: &mut self.path,
            epoch: self.epoch,
        };
        (GatewayContext { base, config: &self.config, applicants: &mut self.applicants }, &mut self.state)
    }

    fn on_message(&mut self, now: Instant, path: &Path, message: &mut [u8]) {
        let Some(header) = Header::peek(message).filter(|header| header.major_version == Header::MAJOR_VERSION) else {
            self.dropped += 1;
            return;
        };
        let (mut cx, state) = self.parts(now);
        match state {
            State::Handshake(answering) if header.responder_spi == IkeSpi(0) => {
                answering.repeat_init(&mut cx, path, message);
            }
            // Whole or in fragments: messages are kept until they are answered, and longer.
            State::Handshake(_) if message.len() > Reassembly::MAX_BYTES_OF_STRANGERS => self.dropped += 1,
            State::Handshake(answering) if answering.sa().matches(&header) => {
                let State::Handshake(answering) = mem::replace(state, State::Closed) else { return };
                let step = answering.handle_datagram(&mut cx, path, &header, message);
                self.on_step(now, step);
            }
            State::Refused(sa, _) if sa.matches(&header) => {
                // Only what was asked before is answered, and as it was before.
                let _again = sa.receive(&mut cx, path, &header, message);
            }
            State::Established(established) if established.owns(&header) => {
                let result = established.handle_datagram(&mut cx, path, &header, message);
                self.after(now, result);
            }
            State::Closing(established, _) if established.owns(&header) => {
                let result = established.handle_datagram(&mut cx, path, &header, message);
                established.go_on_closing(&mut cx);
                let over = result.is_err() || !established.is_closing();
                if over {
                    self.closed();
                }
            }
            State::Handshake(_) | State::Refused(..) | State::Established(_) | State::Closing(..) | State::Closed => {
                self.dropped += 1
            }
        }
    }

    fn on_step(&mut self, now: Instant, step: Step) {
        if !self.applicants.is_empty() {
            self.half_open = None;
        }
        let (mut cx, state) = self.parts(now);
        match step {
            Step::Wait(answering) => *state = State::Handshake(answering),
            Step::Done(established) => {
                cx.timers.stop(Timer::Handshake);
                if established.children.is_empty() {
                    cx.set(Timer::Close, CHILDLESS);
                }
                *state = State::Established(established);
            }
            Step::Refused(sa, error) => {
                cx.timers.stop_all();
                cx.set(Timer::Close, LAST_WORDS);
                tracing::info!(remote = %cx.path.remote, "{error}");
                let refusal = error.clone().closed();
                *state = State::Refused(sa, error);
                self.refusal = Some(refusal);
            }
        }
    }

    /// What an established association has come to.
    fn after(&mut self, now: Instant, result: Outcome<()>) {
        let Err(error) = result else {
            let (mut cx, state) = self.parts(now);
            if let State::Established(established) = state {
                if !established.children.is_empty() {
                    cx.timers.stop(Timer::Close);
                } else if cx.timers.get(Timer::Close).is_none() {
                    cx.set(Timer::Close, CHILDLESS);
                }
            }
            return;
        };
        if error.is_worth_a_farewell() {
            // Answered or not: nobody waits for what a broken peer says.
            let (mut cx, state) = self.parts(now);
            if let State::Established(established) = state {
                established.close(&mut cx);
            }
        }
        self.finish(error.into());
    }

    fn begin_close(&mut self, now: Instant, error: ServerError) {
        let (mut cx, state) = self.parts(now);
        match mem::replace(state, State::Closed) {
            State::Established(mut established) => {
                if established.close(&mut cx) {
                    cx.set(Timer::Close, FAREWELL);
                    *state = State::Closing(established, error);
                } else {
                    self.finish(error);
                }
            }
            State::Refused(_, reason) => self.finish(reason),
            State::Handshake(_) => self.finish(error),
            closing @ State::Closing(..) => *state = closing,
            State::Closed => {}
        }
    }

    /// The farewell has come to its end.
    fn closed(&mut self) {
        if let State::Closing(_, error) = mem::replace(&mut self.state, State::Closed) {
            self.finish(error);
        }
    }

    fn finish(&mut self, error: ServerError) {
        self.timers.stop_all();
        self.state = State::Closed;
        self.half_open = None;
        self.applicants.clear();
        self.out.events.push_back(Event::Closed(error.closed()));
    }

    fn on_timer(&mut self, now: Instant, timer: Timer) {
        match timer {
            Timer::Handshake => {
                if let State::Handshake(answering) = &self.state {
                    let (window, stage) = (self.config.settings().handshake_timeout, answering.stage());
                    self.finish(ServerError::HandshakeTimeout { window, stage });
                }
            }
            Timer::Retransmit(spi) => self.on_retransmit(now, spi),
            Timer::Close => match &self.state {
                State::Established(_) => self.begin_close(now, ServerError::NoChild(CHILDLESS)),
                State::Closing(..) => self.closed(),
                State::Refused(..) => self.begin_close(now, ServerError::ClosedLocally),
                State::Handshake(_) | State::Closed => {}
            },
            Timer::RemoveOpener(spi) => {
                let change = KeyChange::RemoveOpener { tag: KeyTag(spi) };
                self.out.events.push_back(Event::Keys(change));
            }
            Timer::Abandon(spi) => self.with_established(now, |it, cx| it.abandon_sa(cx, spi)),
            Timer::AbandonChild(spi) => self.with_established(now, |it, cx| it.abandon_child(cx, spi)),
            Timer::Sample => self.with_established(now, Established::on_sample),
            Timer::TryAgain => self.with_established(now, Established::go_on),
            Timer::RekeyIke => self.with_established(now, |it, cx| it.want(cx, Wanted::RekeyIke)),
            Timer::RekeyChild(spi) => self.with_established(now, |it, cx| it.want(cx, Wanted::RekeyChild(spi))),
            // A client's own.
            Timer::Suspicion | Timer::Reauthenticate => {}
        }
    }

    fn with_established(&mut self, now: Instant, act: impl FnOnce(&mut Established, &mut Context<'_>)) {
        let (mut cx, state) = self.parts(now);
        if let State::Established(established) = state {
            act(established, &mut cx);
            self.after(now, Ok(()));
        }
    }

    fn on_retransmit(&mut self, now: Instant, spi: IkeSpi) {
        let (mut cx, state) = self.parts(now);
        match state {
            State::Established(established) => {
                let result = established.on_retransmit(&mut cx, spi);
                self.after(now, result);
            }
            State::Closing(established, _) => {
                let result = established.on_retransmit(&mut cx, spi);
                established.go_on_closing(&mut cx);
                if result.is_err() || !established.is_closing() {
                    self.closed();
                }
            }
            State::Handshake(_) | State::Refused(..) | State::Closed => {}
        }
    }
}

impl Tunnel for ServerSession {
    type Sealer = EspSealer;
    type Opener = EspOpener;

    fn classify(&self, path: &Path, datagram: &[u8]) -> Class {
        if !End::Gateway(self.peer).has_marker(path) {
            return Class::Control;
        }
        match datagram.first_chunk::<4>() {
            Some(&NON_ESP_MARKER) => Class::Control,
            Some(spi) => Class::Data(KeyTag(u32::from_be_bytes(*spi))),
            None => Class::Ignore,
        }
    }

    fn handle_datagram(&mut self, now: Instant, path: &Path, datagram: &mut [u8]) {
        let start = if End::Gateway(self.peer).has_marker(path) { NON_ESP_MARKER.len() } else { 0 };
        match datagram.get_mut(start..) {
            Some(message) => self.on_message(now, path, message),
            None => self.dropped += 1,
        }
    }

    fn handle_message(&mut self, _: Instant, _: &[u8]) {
        // ESP carries packets alone.
    }

    fn handle_peer_path(&mut self, now: Instant, path: &Path) {
        let (mut cx, state) = self.parts(now);
        // With MOBIKE the client says when it has moved (RFC 4555 §3.5); else what is authentic and newest shows where it is
        // (RFC 7296 §2.23).
        if let State::Established(established) = state
            && !established.mobike
        {
            established.follow(&mut cx, path);
        }
    }

    fn handle_path(&mut self, _: Instant, _: &Path) {
        // Where a gateway is, is known by where its clients send to.
    }

    fn handle_answer(&mut self, _: Instant, _: Answer) {
        // Nobody is asked anything but whether the client is welcome.
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.expired(now) {
            self.on_timer(now, timer);
        }
    }

    fn close(&mut self, now: Instant) {
        self.begin_close(now, ServerError::ClosedLocally);
    }

    fn poll_event(&mut self) -> Option<Event<EspSealer, EspOpener>> {
        self.out.events.pop_front()
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.out.transmits.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }
}

impl adit_tunnel::Answering for ServerSession {
    fn poll_applicant(&mut self) -> Option<Applicant> {
        self.applicants.pop_front()
    }

    fn poll_refusal(&mut self) -> Option<Closed> {
        self.refusal.take()
    }

    fn handle_verdict(&mut self, now: Instant, verdict: Verdict) {
        let (mut cx, state) = self.parts(now);
        if let State::Handshake(Answering::Applied(_)) = state
            && let State::Handshake(answering) = mem::replace(state, State::Closed)
        {
            let step = answering.handle_verdict(&mut cx, verdict);
            self.on_step(now, step);
        }
    }
}

impl fmt::Debug for ServerSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Handshake(answering) => answering.stage(),
            State::Refused(..) => "turned away",
            State::Established(_) => "established",
            State::Closing(..) => "closing",
            State::Closed => "closed",
        };
        f.debug_struct("ServerSession")
            .field("peer", &self.peer)
            .field("remote", &self.path.remote)
            .field("state", &state)
            .finish_non_exhaustive()
    }
}

/// How long DELETE waits for its answer.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long an answer that ended the handshake can be given again: as long as a client of strongSwan's habits asks at first
/// (4 s, then 7.2 s).
const LAST_WORDS: Duration = Duration::from_secs(12);
/// How long a client may do without an ESP SA: time to ask for other algorithms or addresses. Our judgement.
const CHILDLESS: Duration = Duration::from_secs(30);
