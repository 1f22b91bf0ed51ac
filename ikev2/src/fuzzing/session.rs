//! A session driven by bytes, by somebody who has its keys.

use std::{
    net::Ipv4Addr,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use adit_tunnel::{Epoch, Event, Path, Random, Secret, Transport, Tunnel};
use bytes::Bytes;

use crate::{
    Carry, Config, Credentials, EspProposals, Identity, IkeProposals, PeerVerifier, Remote, Session, auth,
    crypto::dh::DhKey,
    message::{
        Delete, Header, IkeSpi, KeyExchange, Message, MessageId, Notify, Payload, Proposal, Reassembly,
        SecurityAssociation,
        numbers::{DhGroup, ExchangeType, NotifyType, PayloadType, ProtocolId},
        open,
    },
    negotiate::IkeSuite,
    sa::keys::IkeKeys,
    selectors,
};

/// Drives a session: the first byte says how far the handshake goes by itself, then each step is one byte of what and some of
/// how. A step is a datagram, a message sealed with the session's own keys, a new path, or time that passes.
pub fn session(data: &[u8]) {
    run(data);
}

/// How many datagrams the session sent because of the steps.
#[cfg(test)]
pub(super) fn answers(data: &[u8]) -> usize {
    run(data)
}

fn run(data: &[u8]) -> usize {
    let Some((&choice, rest)) = data.split_first() else { return 0 };
    let Some(mut driver) = Driver::new() else { return 0 };
    if choice % 4 >= 1 {
        driver.answer_init();
    }
    if choice % 4 >= 2 {
        driver.answer_auth();
    }
    let mut input = Input(rest);
    let before = driver.sent;
    // A message costs some cryptography: what is further away is not looked at.
    for _ in 0..MAX_STEPS {
        let Some(step) = input.byte() else { break };
        driver.step(step, &mut input);
        driver.drain();
    }
    driver.sent - before
}

const MAX_STEPS: usize = 100;

struct Driver {
    session: Session,
    path: Path,
    now: Instant,
    gateway: Option<Gateway>,
    /// The last message of the session, still to be answered.
    request: Option<Bytes>,
    sent: usize,
    closed: bool,
}

/// The other end of the IKE SA.
struct Gateway {
    keys: IkeKeys,
    suite: IkeSuite,
    spis: (IkeSpi, IkeSpi),
    /// Our answer to IKE_SA_INIT, which AUTH covers.
    init: Bytes,
    nonce: Bytes,
    /// Our next request.
    next: u32,
    /// The session's request in flight.
    awaited: u32,
    /// SPI of the child that we receive on.
    spi_in: u32,
}

impl Driver {
    fn new() -> Option<Self> {
        let path = Path { transport: Transport::Udp, local: None, remote: ([192, 0, 2, 1], 4500).into() };
        let epoch = Epoch::new(*START, Duration::from_secs(1_780_272_000));
        let config = Arc::clone(CONFIG.as_ref()?);
        let session = Session::new(config, 0, Carry::default(), path, Box::new(Counting(1)), epoch, *START).ok()?;
        let mut driver = Self { session, path, now: *START, gateway: None, request: None, sent: 0, closed: false };
        driver.drain();
        Some(driver)
    }

    fn answer_init(&mut self) -> Option<()> {
        let bytes = self.request.take()?;
        let request = Message::decode(&bytes).ok()?;
        let (ke, ni) = (request.ke()?, request.nonce()?);
        let (suite, _, proposal) = IkeProposals::default().choose_for(request.sa()?, Some(ke.group))?;
        let key = DhKey::generate(ke.group, &mut Counting(3))?;
        let nonce = Bytes::from_static(&[9; 32]);
        let payloads = vec![
            Payload::Sa(SecurityAssociation { proposals: vec![proposal] }),
            Payload::Ke(KeyExchange { group: ke.group, public: key.public().clone() }),
            Payload::Nonce(nonce.clone()),
            Payload::notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, Bytes::new()),
        ];
        let spis = (request.header.initiator_spi, IkeSpi(5));
        let header = Header { responder_spi: spis.1, ..request.header.answer() };
        let response = Message { header, payloads }.encode();
        let shared = key.agree(&ke.public).ok()?;
        let keys = IkeKeys::first(&suite, &shared, ni, &nonce, spis.0, spis.1, &adit_tunnel::KeySink::default())?;
        let (init, nonce) = (response.clone(), ni.clone());
        self.gateway = Some(Gateway { keys, suite, spis, init, nonce, next: 0, awaited: 1, spi_in: 0x1000 });
        self.give(&response);
        self.drain();
        Some(())
    }

    fn answer_auth(&mut self) -> Option<()> {
        let request = self.read()?;
        let gateway = self.gateway.as_mut()?;
        let id = Identity::Fqdn("vpn.example".to_owned()).to_payload();
        let (prf, sk_pr) = (gateway.suite.prf, gateway.keys.pr.expose());
        let octets = auth::octets(prf, &gateway.init, &gateway.nonce, sk_pr, &id.body());
        let (_, _, proposal) = EspProposals::default().choose(request.sa()?, &[], None)?;
        let proposal = Proposal { spi: Bytes::copy_from_slice(&gateway.spi_in.to_be_bytes()), ..proposal };
        let payloads = vec![
            Payload::IdR(id),
            Payload::Auth(auth::shared_key(prf, KEY, &octets)),
            Payload::Sa(SecurityAssociation { proposals: vec![proposal] }),
            Payload::TsI(vec![selectors::host(Ipv4Addr::new(10, 8, 0, 2).into())]),
            Payload::TsR(vec![selectors::any_v4()]),
            Payload::notify(NotifyType::MOBIKE_SUPPORTED, Bytes::new()),
        ];
        self.seal(Message { header: request.header.answer(), payloads });
        self.drain();
        Some(())
    }

    /// What the session sent last.
    fn read(&mut self) -> Option<Message> {
        let mut bytes = self.request.take()?.to_vec();
        let keys = &mut self.gateway.as_mut()?.keys;
        let opened = open(&mut bytes, &*keys.initiator, &mut Reassembly::new()).ok()??;
        Some(opened.message)
    }

    fn step(&mut self, step: u8, input: &mut Input<'_>) {
        match step % 8 {
            0 => {
                let datagram = input.bytes();
                self.give(datagram);
            }
            1..=4 => self.message(input),
            5 => {
                self.now += Duration::from_millis(100 * u64::from(input.byte().unwrap_or_default()));
                self.session.handle_timeout(self.now);
            }
            6 => {
                self.answer_init();
                self.answer_auth();
            }
            _ => match input.byte().unwrap_or_default() {
                0 => self.session.close(self.now),
                1 => self.session.handle_peer_path(self.now, &self.path),
                _ => self.session.handle_path(self.now, &self.path),
            },
        }
    }

    /// A message sealed with the session's keys: header and payloads as the bytes say.
    fn message(&mut self, input: &mut Input<'_>) {
        let (exchange, how) = (input.byte().unwrap_or_default(), input.byte().unwrap_or_default());
        let Some(gateway) = self.gateway.as_mut() else { return };
        let response = how & 1 != 0;
        let id = match (how & 2 != 0, response) {
            (true, _) => input.byte().unwrap_or_default().into(),
            (false, true) => gateway.awaited,
            (false, false) => gateway.next,
        };
        gateway.next += u32::from(!response);
        // 34 to 37 in most cases.
        let exchange = ExchangeType(if exchange < 200 { 34 + exchange % 4 } else { exchange });
        let from_initiator = how & 0xf0 == 0xf0;
        let header = Header::request(gateway.spis, exchange, from_initiator, MessageId(id));
        let header = Header { response, ..header };
        let mut payloads = Vec::new();
        for _ in 0..how >> 2 & 7 {
            payloads.extend(self.payload(input));
        }
        self.seal(Message { header, payloads });
    }

    fn payload(&self, input: &mut Input<'_>) -> Option<Payload> {
        let gateway = self.gateway.as_ref()?;
        let spi = Bytes::from_static(&[1, 2, 3, 4, 5, 6, 7, 8]);
        let own = |payload: SecurityAssociation| Payload::Sa(payload);
        Some(match input.byte()? % 14 {
            0 => Payload::Unknown {
                payload_type: PayloadType(input.byte()?),
                body: Bytes::copy_from_slice(input.bytes()),
            },
            1 => {
                let high = input.byte()?;
                let notify_type = NotifyType(u16::from_be_bytes([high, input.byte()?]));
                Payload::notify(notify_type, Bytes::copy_from_slice(input.bytes()))
            }
            2 => Payload::Delete(Delete::Esp(vec![gateway.spi_in])),
            3 => Payload::Delete(Delete::Ike),
            4 => Payload::Notify(Notify::about_esp(NotifyType::REKEY_SA, gateway.spi_in)),
            5 => own(EspProposals::default().sa_payload(0x2000 + u32::from(input.byte()?), &[DhGroup::CURVE25519])),
            6 => own(IkeProposals::only_with(&gateway.suite, vec![gateway.suite.group]).sa_payload(Some(IkeSpi(6)))),
            7 => Payload::Nonce(vec![input.byte()?; 32].into()),
            8 => {
                let key = DhKey::generate(DhGroup::CURVE25519, &mut Counting(7))?;
                Payload::Ke(KeyExchange { group: key.group(), public: key.public().clone() })
            }
            9 => Payload::TsI(vec![selectors::any_v4()]),
            10 => Payload::TsR(vec![selectors::any_v4()]),
            11 => Payload::Notify(Notify {
                protocol: ProtocolId(input.byte()?),
                spi: Bytes::copy_from_slice(input.bytes()),
                notify_type: NotifyType::REKEY_SA,
                data: spi,
            }),
            12 => Payload::notify(NotifyType::NAT_DETECTION_DESTINATION_IP, vec![input.byte()?; 20]),
            _ => Payload::notify(NotifyType::AUTH_LIFETIME, vec![0, 0, input.byte()?, input.byte()?]),
        })
    }

    fn seal(&mut self, message: Message) {
        let Some(gateway) = self.gateway.as_mut() else { return };
        let datagrams = message.seal(&mut *gateway.keys.responder, &mut Counting(11), None);
        for datagram in datagrams {
            self.give(&datagram);
        }
    }

    fn give(&mut self, message: &[u8]) {
        let mut datagram = [&[0; 4], message].concat();
        self.session.handle_datagram(self.now, &self.path, &mut datagram);
    }

    fn drain(&mut self) {
        while let Some(event) = self.session.poll_event() {
            assert!(!self.closed, "after Closed: {event:?}");
            self.closed = matches!(event, Event::Closed(_));
        }
        let mut count = 0;
        while let Some(transmit) = self.session.poll_transmit() {
            count += 1;
            let message = transmit.datagram.slice(4.min(transmit.datagram.len())..);
            if let (Some(header), Some(gateway)) = (Header::peek(&message), self.gateway.as_mut())
                && !header.response
            {
                gateway.awaited = header.message_id.0;
            }
            self.request = Some(message);
        }
        self.sent += count;
        assert!(count < 64, "{count} datagrams for one input");
        assert!(!self.closed || self.session.poll_timeout().is_none(), "a closed session waits");
    }
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    /// As many as the next byte says, or what is there.
    fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte().unwrap_or_default()).min(self.0.len());
        let (bytes, rest) = self.0.split_at_checked(length).unwrap_or_default();
        self.0 = rest;
        bytes
    }
}

/// The same for every run.
struct Counting(u8);

impl Random for Counting {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill_with(|| {
            self.0 = self.0.wrapping_add(1);
            self.0
        });
    }
}

const KEY: &[u8] = b"a key that both ends know";

#[expect(clippy::disallowed_methods, reason = "time passes as the input says, but must begin somewhere")]
static START: LazyLock<Instant> = LazyLock::new(Instant::now);
static CONFIG: LazyLock<Option<Arc<Config>>> = LazyLock::new(|| {
    let key = Secret::new(KEY);
    Config::builder(vec![Remote::new("vpn.example", 4500)])
        .peer(PeerVerifier::Psk { key: key.clone(), identity: None })
        .credentials(Credentials::Psk(key))
        .build()
        .ok()
        .map(Arc::new)
});
