//! A session driven by bytes.

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use adit_tunnel::{Answer, Epoch, Event, Path, Random, Secret, Transport, Tunnel};
use bytes::Bytes;

use crate::{
    config::{Config, ControlWrap, Credentials, Remote, ServerCheck},
    control::{
        packet::{AckList, ControlPacket, Header, KeyId, Opcode, SessionId},
        wrap::Wrapper,
    },
    data::{EXIT_MESSAGE, Role},
    keys::StaticKey,
    session::{Carry, Session},
};

/// Drives a session: the first byte chooses the wrapping, then each step is one byte of what and some of how. A step is a
/// datagram, a packet that passes the wrapping and belongs to the session, an answer, a message, or time that passes.
pub fn session(data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else { return };
    let config = if choice & 1 == 0 { &PLAIN } else { &WRAPPED };
    let Some(mut driver) = config.as_ref().and_then(Driver::new) else { return };
    let mut input = Input(rest);
    driver.drain();
    while let Some(step) = input.byte() {
        driver.step(step, &mut input);
        driver.drain();
    }
}

struct Driver {
    session: Session,
    server: Wrapper,
    client_id: SessionId,
    path: Path,
    now: Instant,
    closed: bool,
}

impl Driver {
    fn new(config: &Arc<Config>) -> Option<Self> {
        let path = Path { transport: Transport::Udp, local: None, remote: ([192, 0, 2, 1], 1194).into() };
        let epoch = Epoch::new(*START, Duration::from_secs(1_780_272_000));
        let random = Box::new(Counting(1));
        let mut session = Session::new(Arc::clone(config), 0, Carry::default(), path, random, epoch, *START).ok()?;
        let reset = session.poll_transmit()?;
        let client_id = Header::decode(reset.datagram.get(..Header::LEN)?).ok()?.session_id;
        let server = Wrapper::new(&config.settings.control_wrap, Role::Server, &config.settings.crypto);
        Some(Self { session, server, client_id, path, now: *START, closed: false })
    }

    fn step(&mut self, step: u8, input: &mut Input<'_>) {
        match step % 8 {
            0 | 1 => {
                let mut datagram = input.bytes().to_vec();
                self.session.handle_datagram(self.now, &self.path, &mut datagram);
            }
            2..=4 => self.packet(input),
            5 => {
                self.now += Duration::from_millis(100 * u64::from(input.byte().unwrap_or_default()));
                self.session.handle_timeout(self.now);
            }
            6 => self.session.handle_answer(self.now, Answer::Response(Secret::new(input.bytes()))),
            _ => match input.byte().unwrap_or_default() {
                0 => self.session.close(self.now),
                1 => self.session.handle_answer(self.now, Answer::Cancelled),
                2 => self.session.handle_path(self.now, &self.path),
                3 => self.session.handle_message(self.now, &EXIT_MESSAGE),
                _ => self.session.handle_message(self.now, input.bytes()),
            },
        }
    }

    /// A packet of the server this session talks to.
    fn packet(&mut self, input: &mut Input<'_>) {
        let (opcode, key_id) = Opcode::split(input.byte().unwrap_or_default());
        let (id, choice) = (input.byte().unwrap_or_default() % 8, input.byte().unwrap_or_default());
        let acks: AckList = (0..u32::from(choice % 9)).collect();
        let Some(session_id) = SessionId::new([5; 8]) else { return };
        // Nothing goes on without the first answer, which is nearly always empty.
        let is_reset = id == 0 && key_id == KeyId::FIRST;
        let payload = if is_reset && choice < 200 { &[] } else { input.bytes() };
        let packet = ControlPacket {
            opcode: if is_reset { Opcode::HARD_RESET_SERVER_V2 } else { opcode },
            key_id,
            session_id,
            acks,
            peer_session_id: (!acks.is_empty()).then_some(self.client_id),
            packet_id: (opcode != Opcode::ACK_V1 || id == 0).then_some(id.into()),
            payload: Bytes::copy_from_slice(payload),
        };
        if let Ok(datagram) = self.server.wrap(&packet, 1) {
            self.session.handle_datagram(self.now, &self.path, &mut datagram.to_vec());
        }
    }

    fn drain(&mut self) {
        while let Some(event) = self.session.poll_event() {
            assert!(!self.closed, "after Closed: {event:?}");
            self.closed = matches!(event, Event::Closed(_));
        }
        let mut count = 0;
        while self.session.poll_transmit().is_some() {
            count += 1;
        }
        assert!(count < 64, "{count} datagrams for one input");
        assert!(!self.closed || self.session.poll_timeout().is_none(), "a closed session waits");
    }
}

/// What is left to read.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    /// As many as the next byte says, or what is there.
    pub(super) fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte().unwrap_or_default()).min(self.0.len());
        let (bytes, rest) = self.0.split_at_checked(length).unwrap_or_default();
        self.0 = rest;
        bytes
    }
}

/// The same for every run.
pub(super) struct Counting(pub(super) u8);

impl Random for Counting {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill_with(|| {
            self.0 = self.0.wrapping_add(1);
            self.0
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "time passes as the input says, but must begin somewhere")]
pub(super) static START: LazyLock<Instant> = LazyLock::new(Instant::now);
static PLAIN: LazyLock<Option<Arc<Config>>> = LazyLock::new(|| config(ControlWrap::None));
static WRAPPED: LazyLock<Option<Arc<Config>>> =
    LazyLock::new(|| config(ControlWrap::TlsCrypt(StaticKey::new([7; 256]))));

fn config(wrap: ControlWrap) -> Option<Arc<Config>> {
    let credentials = Credentials { username: "user".to_owned(), password: "password".into() };
    let check = ServerCheck { fingerprints: vec![[7; 32]], ..ServerCheck::default() };
    Config::builder(vec![Remote::new("vpn.example", 1194, Transport::Udp)])
        .server_check(check)
        .identity(None, Some(credentials))
        .settings(|settings| settings.control_wrap = wrap)
        .build()
        .ok()
        .map(Arc::new)
}
