//! A gateway's handshake against every kind of request, and against whatever is none.

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use adit_testing::SeededRandom;
use adit_tunnel::{
    Accept, Answering, Epoch, Event, IpNet, Listener, NetworkConfig, Path, Routing, Secret, Transport, Tunnel, Verdict,
};
use bytes::Bytes;

use super::{
    super::{
        START, UNIX_START,
        authentication::eap,
        pair::Setup,
        peer::{protect, status},
        pki::{CA, Leaf},
        secs,
    },
    line, shortened,
};
use crate::{
    AcceptedPeers, EapServerConfig, EapServerMethod, EapUser, Identity, MsChapV2Secret, Remote, Responder,
    ResponderConfig, ServerError, ServerSession, Session, SharedKey,
    message::{
        Authentication, Delete, Header, IkeSpi, KeyExchange, Message, MessageId, Payload, Reassembly,
        numbers::{AuthMethod, DhGroup, ExchangeType, NotifyType, PayloadType, ProtocolId},
        open,
    },
};

/// A client and its gateway by hand. The client's next request has not arrived.
struct World {
    now: Instant,
    client: Session,
    door: Responder,
    server: Option<Box<ServerSession>>,
    request: Vec<u8>,
}

struct State {
    name: &'static str,
    setup: fn() -> Setup,
    /// Requests that were answered before.
    answered: usize,
    /// As the session calls it.
    called: &'static str,
}

const STATES: [State; 6] = [
    State { name: "Secured, the client has a pre-shared key", setup: Setup::default, answered: 1, called: "Secured" },
    State { name: "Secured, the client wants EAP", setup: with_eap, answered: 1, called: "Secured" },
    State { name: "Eap: the identity was asked for", setup: with_eap, answered: 2, called: "Eap" },
    State { name: "Eap: the challenge was sent", setup: with_eap, answered: 3, called: "Eap" },
    State { name: "Eap: MSCHAPv2 is over but for the acknowledgement", setup: with_eap, answered: 4, called: "Eap" },
    State { name: "Proving: EAP-Success was sent", setup: with_eap, answered: 5, called: "Proving" },
];

fn with_eap() -> Setup {
    eap(|_| {})
}

/// One certificate is enough for all.
static GATEWAY: LazyLock<Leaf> = LazyLock::new(|| Leaf::new("vpn.example", &CA));

/// A gateway that accepts a pre-shared key, and EAP-MSCHAPv2.
fn door(cookies: bool) -> Responder {
    let key = Secret::from("a key that both ends know");
    let user = EapUser { name: "user".to_owned(), secret: MsChapV2Secret::Password(Secret::from("secret")) };
    let accepted = AcceptedPeers {
        shared_keys: vec![SharedKey { key, identity: None }],
        certificates: None,
        eap: Some(EapServerConfig { methods: vec![EapServerMethod::MsChapV2], users: vec![user] }),
    };
    let config = ResponderConfig::builder(accepted)
        .identity(Identity::Fqdn("vpn.example".to_owned()))
        .certificate(Arc::new(GATEWAY.identity()))
        .limits(|limits| limits.cookie_threshold = if cookies { 0 } else { limits.cookie_threshold })
        .build()
        .expect("a valid configuration");
    let randoms = Box::new(|| Box::new(SeededRandom::new(2)) as Box<dyn adit_tunnel::Random>);
    Responder::new(Arc::new(config), randoms, Epoch::new(*START, UNIX_START), *START)
}

/// The way from the gateway's side.
fn path() -> Path {
    let [local, remote] = ["192.0.2.1:4500", "198.51.100.7:40000"].map(|text| Some(text.parse().expect("an address")));
    Path { transport: Transport::Udp, local, remote: remote.expect("an address") }
}

impl World {
    fn new(setup: fn() -> Setup, cookies: bool) -> Self {
        let mut setup = super::patient(setup());
        setup.remotes = vec![Remote::new("vpn.example", 4500)];
        setup.settings.fragmentation = false;
        let config = Arc::new(setup.config().expect("a valid configuration"));
        let there = Path { transport: Transport::Udp, local: None, remote: path().local.expect("an address") };
        let random = Box::new(SeededRandom::new(1));
        let epoch = Epoch::new(*START, UNIX_START);
        let mut client = Session::new(config, 0, setup.carry, there, random, epoch, *START).expect("a session");
        let request = client.poll_transmit().expect("IKE_SA_INIT").datagram[4..].to_vec();
        Self { now: *START, client, door: door(cookies), server: None, request }
    }

    fn in_state(state: &State) -> Self {
        let mut world = Self::new(state.setup, false);
        for _ in 0..state.answered {
            let request = world.request.clone();
            world.gateway_hears(&request);
            let answer = world.server.as_mut().and_then(|server| server.poll_transmit()).expect("an answer");
            let there = Path { local: None, remote: path().local.expect("an address"), ..path() };
            world.client.handle_datagram(*START, &there, &mut answer.datagram.to_vec());
            world.request = world.client.poll_transmit().expect("the next request").datagram[4..].to_vec();
        }
        assert_eq!(world.server().state_name(), state.called, "{}", state.name);
        world
    }

    /// The client has proved who it is, and waits to be let in.
    fn applied() -> Self {
        let mut world = Self::in_state(&STATES[0]);
        let request = world.request.clone();
        world.gateway_hears(&request);
        world.server().poll_applicant().expect("an applicant");
        world
    }

    fn server(&mut self) -> &mut ServerSession {
        self.server.as_mut().expect("a session")
    }

    /// Returns what the door has to say itself.
    fn gateway_hears(&mut self, message: &[u8]) -> Option<String> {
        let mut datagram = [&[0; 4], message].concat();
        match (self.door.route(&path(), &datagram), &mut self.server) {
            (Routing::Peer(_), Some(server)) => server.handle_datagram(self.now, &path(), &mut datagram),
            (Routing::New, _) => match self.door.accept(self.now, &path(), &mut datagram) {
                Accept::Peer(_, server) => self.server = Some(server),
                Accept::Reply(transmit) => {
                    let message = Message::decode(&transmit.datagram[4..]).expect("a message");
                    return Some(format!("says {}", super::telling(message)));
                }
                Accept::Drop => {}
            },
            (Routing::Peer(_), None) | (Routing::Drop, _) => {}
        }
        None
    }

    /// The client's request, in clear.
    fn opened(&mut self) -> Message {
        let mut datagram = self.request.clone();
        let ike = self.server().ike().expect("keys");
        let opened = open(&mut datagram, &*ike.keys.initiator, &mut Reassembly::new());
        opened.expect("an authentic request").expect("a whole message").message
    }

    fn sealed(&mut self, message: &Message) -> Vec<u8> {
        let plain = message.encode();
        self.sealed_content(&plain[..Header::LEN], PayloadType(plain[16]), &plain[Header::LEN..])
    }

    fn sealed_content(&mut self, header: &[u8], first: PayloadType, content: &[u8]) -> Vec<u8> {
        let ike = self.server().ike().expect("keys");
        protect(header.to_vec(), first, content, &mut *ike.keys.initiator, &mut SeededRandom::new(3))
    }

    /// What has come of it, up to the end if that is all that can follow.
    fn outcome(&mut self, before: &str) -> String {
        let mut parts = Vec::new();
        let Some(server) = &mut self.server else { return "dropped".to_owned() };
        while let Some(transmit) = server.poll_transmit() {
            parts.push(said(server, &transmit.datagram[4..]));
        }
        if let Some(applicant) = server.poll_applicant() {
            parts.push(format!("asks whether {} may come in", applicant.identity.unwrap_or_default()));
        }
        if server.state_name() != before && server.state_name() != "Closed" {
            parts.push(format!("-> {}", server.state_name()));
        }
        if server.state_name() == "Refused" {
            self.now += secs(30);
            server.handle_timeout(self.now);
        }
        while let Some(event) = server.poll_event() {
            if let Event::Closed(closed) = event {
                let error = closed.source.downcast_ref::<ServerError>().expect("an error of a gateway");
                parts.push(format!("closed, {:?}: {}", closed.kind, shortened(error)));
            }
        }
        if parts.is_empty() { "dropped".to_owned() } else { parts.join("; ") }
    }
}

fn said(server: &mut ServerSession, message: &[u8]) -> String {
    if Header::peek(message).is_some_and(|header| header.exchange == ExchangeType::IKE_SA_INIT) {
        return format!("says {}", super::telling(Message::decode(message).expect("a message")));
    }
    let Some(ike) = server.ike() else { return "says something".to_owned() };
    let opened = open(&mut message.to_vec(), &*ike.keys.responder, &mut Reassembly::new());
    format!("says {}", super::telling(opened.expect("our own").expect("whole").message))
}

/// A change to the request that is awaited.
type Request = (String, Box<dyn Fn(&mut Message)>);

fn edited(name: &str, edit: impl Fn(&mut Message) + 'static) -> Request {
    (name.to_owned(), Box::new(edit))
}

fn requests() -> Vec<Request> {
    let mut requests =
        vec![edited("what a client says", |_| {}), edited("nothing", |message| message.payloads.clear())];
    for (what, kind) in [
        ("IDi", PayloadType::IDI),
        ("AUTH", PayloadType::AUTH),
        ("EAP", PayloadType::EAP),
        ("CP", PayloadType::CP),
        ("SA", PayloadType::SA),
        ("TSi", PayloadType::TSI),
        ("TSr", PayloadType::TSR),
        ("any notification", PayloadType::NOTIFY),
    ] {
        requests.push(edited(&format!("the same without {what}"), move |message| {
            message.payloads.retain(|payload| payload.payload_type() != kind);
        }));
    }
    for (what, method) in [("AUTH", AuthMethod::PSK), ("AUTH by signature", AuthMethod::DIGITAL_SIGNATURE)] {
        requests.push(edited(&format!("the same with another {what}"), move |message| {
            message.payloads.retain(|payload| payload.payload_type() != PayloadType::AUTH);
            message.payloads.push(Payload::Auth(Authentication { method, data: Bytes::from_static(&[7; 32]) }));
        }));
    }
    for (name, packet) in [
        ("EAP-Success", &[3, 9, 0, 4][..]),
        ("EAP-Failure", &[4, 9, 0, 4]),
        ("an EAP-Request", &[1, 9, 0, 5, 1]),
        ("EAP-Response/Identity of nobody", &[2, 9, 0, 5, 1]),
        ("EAP-Response/Nak", &[2, 9, 0, 6, 3, 25]),
    ] {
        requests.push(edited(&format!("the same with {name}"), move |message| {
            message.payloads.retain(|payload| payload.payload_type() != PayloadType::EAP);
            message.payloads.push(Payload::Eap(Bytes::from_static(packet)));
        }));
    }
    for error in [NotifyType::AUTHENTICATION_FAILED, NotifyType::INVALID_SYNTAX, NotifyType(8192), NotifyType(40000)] {
        requests.push(edited(&format!("N({error}) alone"), move |message| message.payloads = vec![status(error, "")]));
        requests.push(edited(&format!("the same, and N({error})"), move |message| {
            message.payloads.push(status(error, ""));
        }));
    }
    requests.push(edited("D(IKE) alone", |message| message.payloads = vec![Payload::Delete(Delete::Ike)]));
    requests.push(edited("the same, and D(IKE)", |message| message.payloads.push(Payload::Delete(Delete::Ike))));
    requests.push(edited("INFORMATIONAL { }", |message| inform(message, Vec::new())));
    requests.push(edited("INFORMATIONAL { D(IKE) }", |message| inform(message, vec![Payload::Delete(Delete::Ike)])));
    requests.push(edited("INFORMATIONAL { N(AUTHENTICATION_FAILED) }", |message| {
        inform(message, vec![status(NotifyType::AUTHENTICATION_FAILED, "")]);
    }));
    for number in [0, 33, 34, 36, 38, 43, 44, 250] {
        let name = format!("the same, as {}", ExchangeType(number));
        requests.push(edited(&name, move |message| message.header.exchange = ExchangeType(number)));
    }
    requests.push(edited("the same, as a response", |message| message.header.response = true));
    requests.push(edited("the same with a later id", |message| message.header.message_id.0 += 1));
    requests.push(edited("the same with an earlier id", |message| message.header.message_id.0 -= 1));
    requests.push(edited("the same as if of a responder", |message| message.header.from_initiator = false));
    requests.push(edited("the same with another SPI of the client", |message| message.header.initiator_spi.0 ^= 1));
    requests
}

fn inform(message: &mut Message, payloads: Vec<Payload>) {
    (message.header.exchange, message.payloads) = (ExchangeType::INFORMATIONAL, payloads);
}

/// A change to the bytes inside.
type Damage = (&'static str, fn(&mut World) -> Vec<u8>);

const DAMAGES: [Damage; 5] = [
    ("the same with a payload of a new type", |world| with_payload(world, 0)),
    ("the same with a critical one", |world| with_payload(world, 0x80)),
    ("the same, cut short", |world| {
        let plain = world.opened().encode();
        let end = plain.len().saturating_sub(1).max(Header::LEN);
        world.sealed_content(&plain[..Header::LEN], PayloadType(plain[16]), &plain[Header::LEN..end])
    }),
    ("the same, and a bit is wrong", |world| {
        let mut request = world.request.clone();
        request[40] ^= 1;
        request
    }),
    ("the same in clear", |world| world.opened().encode().to_vec()),
];

fn with_payload(world: &mut World, flags: u8) -> Vec<u8> {
    let plain = world.opened().encode();
    let content = [&[plain[16], flags, 0, 8, 1, 2, 3, 4], &plain[Header::LEN..]].concat();
    world.sealed_content(&plain[..Header::LEN], PayloadType(200), &content)
}

fn section(state: &State) -> String {
    let mut lines = format!("{}\n", state.name);
    for (name, edit) in requests() {
        let mut world = World::in_state(state);
        let mut message = world.opened();
        edit(&mut message);
        let datagram = world.sealed(&message);
        world.gateway_hears(&datagram);
        lines += &line(&name, &world.outcome(state.called));
    }
    for (name, damage) in DAMAGES {
        let mut world = World::in_state(state);
        let datagram = damage(&mut world);
        world.gateway_hears(&datagram);
        lines += &line(name, &world.outcome(state.called));
    }
    for (name, act) in [("no request for ten minutes", silence as fn(&mut World)), ("close", close)] {
        let mut world = World::in_state(state);
        act(&mut world);
        lines += &line(name, &world.outcome(state.called));
    }
    lines + "\n"
}

fn silence(world: &mut World) {
    world.now += secs(600);
    let now = world.now;
    world.server().handle_timeout(now);
}

fn close(world: &mut World) {
    let now = world.now;
    world.server().close(now);
}

fn admitted(addresses: Vec<IpNet>) -> Verdict {
    Verdict::Admitted(Box::new(NetworkConfig { addresses, ..NetworkConfig::default() }))
}

/// What can happen while the owner decides.
fn applied() -> String {
    let mut lines = "Applied: the owner decides\n".to_owned();
    let address = IpNet::new([10, 99, 0, 2], 32).expect("an address");
    for (name, verdict) in [
        ("admitted", admitted(vec![address])),
        ("admitted without an address", admitted(Vec::new())),
        ("there is no address", Verdict::NoAddress),
        ("refused", Verdict::Refused),
        ("later", Verdict::Later(Duration::from_secs(60))),
    ] {
        let mut world = World::applied();
        world.server().handle_verdict(*START, verdict);
        lines += &line(name, &world.outcome("Applied"));
    }
    for (name, edit) in requests() {
        let mut world = World::applied();
        let mut message = world.opened();
        edit(&mut message);
        let datagram = world.sealed(&message);
        world.gateway_hears(&datagram);
        lines += &line(&name, &world.outcome("Applied"));
    }
    let (delete, failed) = (Payload::Delete(Delete::Ike), status(NotifyType::INVALID_SYNTAX, vec![]));
    for (id, exchange, payloads) in [
        (2, ExchangeType::INFORMATIONAL, vec![]),
        (2, ExchangeType::INFORMATIONAL, vec![delete.clone()]),
        (2, ExchangeType::INFORMATIONAL, vec![failed]),
        (2, ExchangeType::IKE_AUTH, vec![delete.clone()]),
        (3, ExchangeType::INFORMATIONAL, vec![delete]),
    ] {
        let mut world = World::applied();
        let mut message = world.opened();
        (message.header.message_id, message.header.exchange, message.payloads) = (MessageId(id), exchange, payloads);
        let name = format!("{}, refused", super::telling(message.clone()));
        let datagram = world.sealed(&message);
        world.gateway_hears(&datagram);
        world.server().handle_verdict(*START, Verdict::Refused);
        lines += &line(&name, &world.outcome("Applied"));
    }
    for (name, act) in [("no verdict for ten minutes", silence as fn(&mut World)), ("close", close)] {
        let mut world = World::applied();
        act(&mut world);
        lines += &line(name, &world.outcome("Applied"));
    }
    lines + "\n"
}

/// What a stranger may say first.
fn firsts() -> Vec<Request> {
    let mut firsts = vec![edited("IKE_SA_INIT, as a client says it", |_| {})];
    for (what, kind) in [
        ("SA", PayloadType::SA),
        ("KE", PayloadType::KE),
        ("Nonce", PayloadType::NONCE),
        ("any notification", PayloadType::NOTIFY),
    ] {
        firsts.push(edited(&format!("the same without {what}"), move |message| {
            message.payloads.retain(|payload| payload.payload_type() != kind);
        }));
    }
    for (what, group, len) in [
        ("of another group that is offered", DhGroup::ECP_256, 64),
        ("of a group that is not offered", DhGroup(1), 96),
        ("of the wrong length", DhGroup::CURVE25519, 31),
        ("that is zero", DhGroup::CURVE25519, 32),
    ] {
        firsts.push(edited(&format!("the same with a KE {what}"), move |message| {
            message.payloads.retain(|payload| payload.payload_type() != PayloadType::KE);
            message.payloads.push(Payload::Ke(KeyExchange { group, public: Bytes::from(vec![0; len]) }));
        }));
    }
    firsts.push(edited("the same with a short nonce", |message| {
        message.payloads.retain(|payload| payload.payload_type() != PayloadType::NONCE);
        message.payloads.push(Payload::Nonce(Bytes::from_static(&[7; 15])));
    }));
    firsts.push(edited("the same with algorithms we have not", |message| {
        for payload in &mut message.payloads {
            if let Payload::Sa(sa) = payload {
                sa.proposals.clear();
            }
        }
    }));
    firsts.push(edited("the same with a COOKIE", |message| {
        message.payloads.insert(0, status(NotifyType::COOKIE, vec![7; 16]));
    }));
    firsts.push(edited("the same, as a response", |message| message.header.response = true));
    firsts.push(edited("the same with id 1", |message| message.header.message_id = MessageId(1)));
    firsts.push(edited("the same as if of a responder", |message| message.header.from_initiator = false));
    firsts.push(edited("the same without SPI", |message| message.header.initiator_spi = IkeSpi(0)));
    firsts.push(edited("the same with an SPI of ours", |message| message.header.responder_spi = IkeSpi(7)));
    for number in [0, 33, 35, 36, 37, 250] {
        let name = format!("the same, as {}", ExchangeType(number));
        firsts.push(edited(&name, move |message| message.header.exchange = ExchangeType(number)));
    }
    firsts
}

fn strangers(cookies: bool) -> String {
    let mut lines = if cookies { "nobody is known, and many are half open\n" } else { "nobody is known\n" }.to_owned();
    for (name, edit) in firsts() {
        let mut world = World::new(Setup::default, cookies);
        let mut message = Message::decode(&world.request).expect("IKE_SA_INIT");
        edit(&mut message);
        let reply = world.gateway_hears(&message.encode());
        lines += &line(&name, &reply.unwrap_or_else(|| world.outcome("")));
    }
    for (name, change) in [
        ("the same of version 3", (|bytes| bytes[17] = 0x30) as fn(&mut Vec<u8>)),
        ("the same, cut short", |bytes| bytes.truncate(100)),
        ("a few bytes", |bytes| bytes.truncate(20)),
    ] {
        let mut world = World::new(Setup::default, cookies);
        let mut request = world.request.clone();
        change(&mut request);
        let reply = world.gateway_hears(&request);
        lines += &line(name, &reply.unwrap_or_else(|| world.outcome("")));
    }
    lines + "\n"
}

#[test]
fn every_request_in_every_state_of_the_answering_handshake() {
    let mut table = strangers(false) + &strangers(true);
    table.extend(STATES.iter().map(section));
    table += &applied();
    insta::assert_snapshot!(table);
}

/// The first child failed; the client has its address all the same, and asks for a child again (RFC 7296 §2.21.2, §2.19).
#[test]
fn a_client_whose_first_child_failed_makes_another() {
    let mut world = World::in_state(&STATES[0]);
    let asked = world.opened();
    let kept = |kinds: &[PayloadType]| -> Vec<_> {
        asked.payloads.iter().filter(|payload| kinds.contains(&payload.payload_type())).cloned().collect()
    };
    let mut first = asked.clone();
    for payload in &mut first.payloads {
        if let Payload::Sa(sa) = payload {
            // AH, which we have not.
            sa.proposals.iter_mut().for_each(|proposal| proposal.protocol = ProtocolId(2));
        }
    }
    let datagram = world.sealed(&first);
    world.gateway_hears(&datagram);
    world.server().poll_applicant().expect("an applicant");
    let address = IpNet::new([10, 99, 0, 2], 32).expect("an address");
    world.server().handle_verdict(*START, admitted(vec![address]));
    let answer = "says IKE_AUTH response 1 { IDR, AUTH, CP, N(NO_PROPOSAL_CHOSEN) }; -> Established";
    assert_eq!(world.outcome("Applied"), answer);
    let mut again = asked.clone();
    (again.header.exchange, again.header.message_id) = (ExchangeType::CREATE_CHILD_SA, MessageId(2));
    again.payloads = kept(&[PayloadType::CP, PayloadType::SA, PayloadType::TSI, PayloadType::TSR]);
    again.payloads.push(Payload::Nonce(Bytes::from_static(&[7; 32])));
    let datagram = world.sealed(&again);
    world.gateway_hears(&datagram);
    let answer = world.server().poll_transmit().expect("an answer").datagram;
    let answer = said(world.server(), &answer[4..]);
    assert_eq!(answer, "says CREATE_CHILD_SA response 2 { CP, SA, NONCE, TSI, TSR }");
    let mut up = None;
    while let Some(event) = world.server().poll_event() {
        if let Event::Up(network) = event {
            assert!(up.replace(network.addresses).is_none(), "once");
        }
    }
    assert_eq!(up, Some(vec![address]));
}

/// The addresses that a client without NAT names in its first IKE_AUTH (RFC 4555 §3.9).
#[test]
fn a_nat_that_is_not_allowed_is_noticed() {
    let named =
        |port: u16| [&[198, 51, 100, 7, 192, 0, 2, 1][..], &port.to_be_bytes(), &4500_u16.to_be_bytes()].concat();
    let refused = "says IKE_AUTH response 1 { N(UNEXPECTED_NAT_DETECTED) }; -> Refused; closed, AuthFailed: RefusedUs(";
    for (port, mobike, outcome) in [
        (40_000, true, "asks whether"),
        (4500, true, refused),
        // Without MOBIKE it means nothing.
        (4500, false, "asks whether"),
    ] {
        let mut world = World::in_state(&STATES[0]);
        let mut message = world.opened();
        message.payloads.push(status(NotifyType::NO_NATS_ALLOWED, named(port)));
        if mobike {
            message.payloads.push(status(NotifyType::MOBIKE_SUPPORTED, vec![]));
        }
        let datagram = world.sealed(&message);
        world.gateway_hears(&datagram);
        let came = world.outcome("Applied");
        assert!(came.starts_with(outcome), "{port}: {came}");
    }
}
