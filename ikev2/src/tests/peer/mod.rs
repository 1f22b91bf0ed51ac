//! A gateway that does as the test says: codec, keys and negotiation, but no state machine. Left alone it answers every
//! request as RFC 7296 wants it; a test may change each message with a [`Mutator`], or do everything by hand.

mod exchanges;
mod handshake;

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use adit_testing::SeededRandom;
use adit_tunnel::{Content, Opener, Random, Secret, Usage};
use bytes::Bytes;
use mschapv2::{Accepted, Challenging, NtHash};

use super::{
    mutators::{Edit, Mutator},
    pki::Leaf,
};
use crate::{
    auth,
    crypto::DhKey,
    esp::{EspOpener, EspSealer},
    identity::Identity,
    message::{
        Authentication, Certificate, Configuration, Delete, Header, Identification, IkeSpi, KeyExchange, Message,
        MessageId, Notify, Opened, Payload, Proposal, Reassembly, SecurityAssociation, TrafficSelector,
        numbers::{
            AuthMethod, CertEncoding, CfgAttribute, CfgType, DhGroup, ExchangeType, NotifyType, PayloadType, ProtocolId,
        },
        open,
    },
    negotiate::{EspProposals, EspSuite, IkeProposals, IkeSuite},
    sa::{
        keys::{ChildKeys, EspKeys, IkeKeys},
        nat,
    },
    selectors::{self, SelectorCheck},
};

/// What the gateway is and does.
pub(super) struct Script {
    pub(super) ike: IkeProposals,
    pub(super) esp: EspProposals,
    /// Groups for children made later; [`DhGroup::NONE`] does without.
    pub(super) groups: Vec<DhGroup>,
    pub(super) psk: Vec<u8>,
    pub(super) id: Identity,
    pub(super) id_reserved: [u8; 3],
    /// What it proves itself with in place of the key.
    pub(super) certificate: Option<Arc<Leaf>>,
    /// What it wants from the client in place of the key.
    pub(super) eap: Option<EapScript>,
    /// It asks for this before anything else.
    pub(super) cookie: Option<Bytes>,
    pub(super) cp: Vec<(CfgAttribute, Bytes)>,
    pub(super) client_selectors: Vec<TrafficSelector>,
    pub(super) network_selectors: Vec<TrafficSelector>,
    pub(super) mobike: bool,
    /// It does without a child (RFC 6023), and says so.
    pub(super) childless: bool,
    /// Announced, and the size of its own datagrams.
    pub(super) fragment_size: Option<usize>,
    /// Further payloads of the last IKE_AUTH.
    pub(super) last_auth: Vec<Payload>,
    /// In place of the child.
    pub(super) child_error: Option<NotifyType>,
    /// In place of any child or IKE SA made later.
    pub(super) create_error: Option<Notify>,
    /// The client is believed, whoever it is.
    pub(super) pretend_auth: bool,
    /// It claims to be behind a NAT.
    pub(super) fake_nat: bool,
    /// Answers by itself; else requests wait in [`ScriptedPeer::inbox`].
    pub(super) auto: bool,
}

#[derive(Debug, Clone)]
pub(super) struct EapScript {
    pub(super) password: &'static str,
    /// It asks for the identity first.
    pub(super) identity: bool,
}

impl Default for Script {
    fn default() -> Self {
        let address = Bytes::copy_from_slice(&CLIENT.octets());
        let server = Bytes::copy_from_slice(&SERVER.octets());
        Self {
            ike: IkeProposals::default(),
            esp: EspProposals::default(),
            groups: vec![DhGroup::CURVE25519, DhGroup::NONE],
            psk: b"a key that both ends know".to_vec(),
            id: Identity::Fqdn("vpn.example".to_owned()),
            id_reserved: [0; 3],
            certificate: None,
            eap: None,
            cookie: None,
            cp: vec![(CfgAttribute::INTERNAL_IP4_ADDRESS, address), (CfgAttribute::INTERNAL_IP4_DNS, server)],
            client_selectors: vec![selectors::host(CLIENT.into())],
            network_selectors: vec![selectors::any_v4()],
            mobike: false,
            childless: false,
            fragment_size: Some(1200),
            last_auth: Vec::new(),
            child_error: None,
            create_error: None,
            pretend_auth: false,
            fake_nat: false,
            auto: true,
        }
    }
}

/// The client's address inside.
pub(super) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 2);
/// A host behind the gateway.
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 1);

pub(super) struct ScriptedPeer {
    pub(super) script: Script,
    pub(super) random: SeededRandom,
    pub(super) mutators: Vec<Mutator>,
    /// Every IKE SA there ever was, in the order of their making.
    pub(super) sas: Vec<PeerSa>,
    /// Every child there ever was.
    pub(super) children: Vec<PeerChild>,
    /// Every message that was decrypted or needed none, in order.
    pub(super) heard: Vec<Message>,
    /// IKE_SA_INIT requests as they came.
    pub(super) inits: Vec<Bytes>,
    /// Requests to answer by hand.
    pub(super) inbox: VecDeque<Incoming>,
    /// Responses to requests of its own.
    pub(super) responses: VecDeque<(usize, Message)>,
    /// Datagrams that could be sorted to no IKE SA, or not be decrypted.
    pub(super) refused: usize,
    pub(super) out: VecDeque<Outgoing>,
    /// Inner packets.
    pub(super) opened: Vec<Vec<u8>>,
    /// Nonces to be used next, before random ones.
    pub(super) nonces: VecDeque<Bytes>,
    /// Requests of the client that came twice.
    pub(super) repeated: usize,
}

pub(super) struct Outgoing {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    /// With the non-ESP marker, where there is one.
    pub(super) datagram: Bytes,
}

/// A request that was understood.
#[derive(Clone)]
pub(super) struct Incoming {
    pub(super) sa: usize,
    pub(super) message: Message,
}

pub(super) struct PeerSa {
    pub(super) spi_i: IkeSpi,
    pub(super) spi_r: IkeSpi,
    /// The peer is the original initiator.
    pub(super) ours: bool,
    pub(super) suite: IkeSuite,
    pub(super) keys: IkeKeys,
    pub(super) alive: bool,
    /// The handshake it comes from.
    family: usize,
    pub(super) next_request: u32,
    /// The next request of the client.
    pub(super) expected: u32,
    requests: Reassembly,
    responses: Reassembly,
    /// The last request, as it came, and what it was answered with.
    last: Option<(Vec<u8>, Vec<Bytes>)>,
    /// The last request of its own.
    pub(super) last_request: Vec<Bytes>,
    pub(super) handshake: Handshake,
    /// Where the client is, and where it wrote to.
    pub(super) client: SocketAddr,
    pub(super) own: SocketAddr,
}

/// What AUTH is made of.
#[derive(Default)]
pub(super) struct Handshake {
    request: Bytes,
    response: Bytes,
    ni: Bytes,
    nr: Bytes,
    id_i: Option<Identification>,
    first: Option<Message>,
    eap: EapStage,
}

#[derive(Default)]
enum EapStage {
    #[default]
    None,
    Identity,
    Challenge(Challenging),
    Success(Box<Accepted>),
    Done(Secret),
}

/// See [`ScriptedPeer::reset_seq`].
type Outbound = (EspSuite, EspKeys);

pub(super) struct PeerChild {
    pub(super) spi_in: u32,
    /// The client receives on it.
    pub(super) spi_out: u32,
    pub(super) suite: EspSuite,
    pub(super) opener: EspOpener,
    pub(super) sealer: EspSealer,
    outbound: Outbound,
    /// Neither end has deleted it.
    pub(super) alive: bool,
    family: usize,
}

/// A request of its own to make or replace a child.
pub(super) struct ChildRequest {
    nonce: Bytes,
    key: Option<DhKey>,
    spi_in: u32,
    offer: EspProposals,
    groups: Vec<DhGroup>,
}

/// A request of its own to replace an IKE SA.
pub(super) struct IkeRequest {
    sa: usize,
    spi: IkeSpi,
    nonce: Bytes,
    key: DhKey,
    offer: IkeProposals,
}

pub(super) fn status(notify_type: NotifyType, data: impl Into<Bytes>) -> Payload {
    Payload::Notify(Notify::status(notify_type, data))
}

impl ScriptedPeer {
    pub(super) fn new(script: Script, seed: u64) -> Self {
        Self {
            script,
            random: SeededRandom::new(seed ^ 0x5eed_0000),
            mutators: Vec::new(),
            sas: Vec::new(),
            children: Vec::new(),
            heard: Vec::new(),
            inits: Vec::new(),
            inbox: VecDeque::new(),
            responses: VecDeque::new(),
            refused: 0,
            out: VecDeque::new(),
            opened: Vec::new(),
            nonces: VecDeque::new(),
            repeated: 0,
        }
    }

    /// The IKE SA in use: the newest that lives.
    pub(super) fn sa(&self) -> usize {
        self.sas.iter().rposition(|sa| sa.alive).expect("an IKE SA")
    }

    /// The children that live.
    pub(super) fn live_children(&self) -> Vec<usize> {
        (0..self.children.len()).filter(|child| self.children[*child].alive).collect()
    }

    /// The newest child that lives.
    pub(super) fn child(&self) -> usize {
        *self.live_children().last().expect("a child")
    }

    pub(super) fn nonce(&mut self) -> Bytes {
        self.nonces.pop_front().unwrap_or_else(|| {
            let mut nonce = [0; 32];
            self.random.fill(&mut nonce);
            Bytes::copy_from_slice(&nonce)
        })
    }

    /// Takes one datagram of the client, which came from `from`, as the peer sees it, to `at`.
    pub(super) fn handle(&mut self, from: SocketAddr, at: SocketAddr, datagram: &[u8]) {
        let message = match (at.port(), datagram) {
            (500, message) | (_, [0, 0, 0, 0, message @ ..]) => message,
            (_, [0xff]) => return,
            (_, packet) => return self.handle_packet(packet),
        };
        let Some(header) = Header::peek(message) else {
            self.refused += 1;
            return;
        };
        if header.exchange == ExchangeType::IKE_SA_INIT && !header.response {
            return self.handle_init(from, at, message);
        }
        if let Some(incoming) = self.receive(from, at, &header, message) {
            if self.script.auto {
                self.answer(incoming);
            } else {
                self.inbox.push_back(incoming);
            }
        }
    }

    fn handle_packet(&mut self, packet: &[u8]) {
        let spi = packet.first_chunk::<4>().map(|spi| u32::from_be_bytes(*spi));
        let mut packet = packet.to_vec();
        let child = self.children.iter_mut().find(|child| Some(child.spi_in) == spi && child.alive);
        match child.and_then(|child| child.opener.open(&mut packet).ok()).map(|opened| opened.content) {
            Some(Content::Packet(range)) => self.opened.push(packet[range].to_vec()),
            _ => self.refused += 1,
        }
    }

    /// Seals a packet with the keys of one child.
    pub(super) fn seal(&mut self, child: usize, packet: &[u8]) -> Bytes {
        super::pair::seal(&mut self.children[child].sealer, packet)
    }

    /// Sends an inner packet to the client, by the newest child.
    pub(super) fn send_packet(&mut self, packet: &[u8]) {
        let datagram = self.seal(self.child(), packet);
        let sa = &self.sas[self.sa()];
        self.out.push_back(Outgoing { from: sa.own, to: sa.client, datagram });
    }

    /// The child's sequence numbers begin at 1 again.
    pub(super) fn reset_seq(&mut self, child: usize) {
        let child = &mut self.children[child];
        let (suite, keys) = &child.outbound;
        child.sealer = EspSealer::new(suite, keys, child.spi_out, &mut self.random, Arc::default()).unwrap();
    }

    /// Decrypts. Responses to its own requests are kept, repeated requests are answered again.
    fn receive(&mut self, from: SocketAddr, at: SocketAddr, header: &Header, message: &[u8]) -> Option<Incoming> {
        let known = |sa: &PeerSa| sa.spi_i == header.initiator_spi && sa.spi_r == header.responder_spi;
        let Some(index) = self.sas.iter().position(known) else {
            self.refused += 1;
            return None;
        };
        let sa = &mut self.sas[index];
        assert_eq!(header.from_initiator, !sa.ours, "the I flag of {header:?}");
        if let Some((_, answer)) = sa.last.as_ref().filter(|(request, _)| request == message) {
            self.repeated += 1;
            let again = answer.clone();
            again.into_iter().for_each(|datagram| self.send(from, at, &datagram));
            return None;
        }
        let cipher = if sa.ours { &*sa.keys.responder } else { &*sa.keys.initiator };
        let reassembly = if header.response { &mut sa.responses } else { &mut sa.requests };
        let opened = open(&mut message.to_vec(), cipher, reassembly);
        let Ok(opened) = opened else {
            self.refused += 1;
            return None;
        };
        let Opened { message: decoded, .. } = opened?;
        self.heard.push(decoded.clone());
        if header.response {
            assert_eq!(header.message_id.0 + 1, sa.next_request, "a response to the last request");
            self.responses.push_back((index, decoded));
            return None;
        }
        assert_eq!(header.message_id.0, sa.expected, "the ids of requests count up");
        sa.expected += 1;
        sa.last = Some((message.to_vec(), Vec::new()));
        (sa.client, sa.own) = (from, at);
        Some(Incoming { sa: index, message: decoded })
    }

    fn send(&mut self, to: SocketAddr, from: SocketAddr, message: &[u8]) {
        let marker: &[u8] = if from.port() == 500 { &[] } else { &[0; 4] };
        self.out.push_back(Outgoing { from, to, datagram: [marker, message].concat().into() });
    }

    /// Encodes with all mutators in force; what is to be sent, in order.
    pub(super) fn encode(&mut self, sa: Option<usize>, message: Message) -> Vec<Bytes> {
        let Message { header, mut payloads } = message;
        let edits: Vec<&Edit> = self.mutators.iter().filter_map(|mutator| mutator.edit_of(&header)).collect();
        if edits.iter().any(|edit| matches!(edit, Edit::Ignore)) {
            return Vec::new();
        }
        let mut before = Vec::new();
        for edit in &edits {
            match edit {
                Edit::Payloads(edit) => edit(&mut payloads),
                Edit::Before(message) => before.push(message(&header).encode()),
                Edit::Content(_) | Edit::Header(_) | Edit::Datagram(_) | Edit::Ignore => {}
            }
        }
        let message = Message { header, payloads };
        let whole = |edit: &&Edit| matches!(edit, Edit::Payloads(_) | Edit::Before(_));
        if let (Some(sa), true) = (sa, edits.iter().all(whole)) {
            let sa = &mut self.sas[sa];
            let cipher = if sa.ours { &mut *sa.keys.initiator } else { &mut *sa.keys.responder };
            before.extend(message.seal(cipher, &mut self.random, self.script.fragment_size));
            return before;
        }
        let plain = message.encode();
        let (header, content) = plain.split_at(Header::LEN);
        let (mut header, mut inside) = (header.to_vec(), (PayloadType(plain[16]), content.to_vec()));
        for edit in &edits {
            match edit {
                Edit::Content(edit) => edit(&mut inside),
                Edit::Header(edit) => edit(&mut header),
                Edit::Payloads(_) | Edit::Before(_) | Edit::Datagram(_) | Edit::Ignore => {}
            }
        }
        let (first, content) = inside;
        let mut datagram = match sa {
            None => {
                header[16] = first.0;
                let length = (Header::LEN + content.len()) as u32;
                header[24..28].copy_from_slice(&length.to_be_bytes());
                [header, content].concat()
            }
            Some(sa) => {
                let sa = &mut self.sas[sa];
                let cipher = if sa.ours { &mut *sa.keys.initiator } else { &mut *sa.keys.responder };
                protect(header, first, &content, cipher, &mut self.random)
            }
        };
        for edit in edits {
            if let Edit::Datagram(edit) = edit {
                edit(&mut datagram);
            }
        }
        before.push(datagram.into());
        before
    }

    /// Answers as a gateway does.
    pub(super) fn answer(&mut self, incoming: Incoming) {
        let payloads = match incoming.message.header.exchange {
            ExchangeType::IKE_AUTH => self.answer_auth(&incoming),
            ExchangeType::INFORMATIONAL => self.answer_informational(&incoming),
            ExchangeType::CREATE_CHILD_SA => self.answer_create(&incoming),
            other => panic!("a request of type {other}"),
        };
        self.respond(&incoming, payloads);
    }

    pub(super) fn respond(&mut self, incoming: &Incoming, payloads: Vec<Payload>) {
        let message = Message::response(&incoming.message.header, payloads);
        let datagrams = self.encode(Some(incoming.sa), message);
        let sa = &mut self.sas[incoming.sa];
        let (client, own) = (sa.client, sa.own);
        if let Some((_, answer)) = &mut sa.last {
            answer.clone_from(&datagrams);
        }
        datagrams.iter().for_each(|datagram| self.send(client, own, datagram));
    }

    /// A request of its own.
    pub(super) fn request(&mut self, sa: usize, exchange: ExchangeType, payloads: Vec<Payload>) {
        let this = &mut self.sas[sa];
        let id = MessageId(this.next_request);
        this.next_request += 1;
        let message = Message::request((this.spi_i, this.spi_r), exchange, this.ours, id, payloads);
        let datagrams = self.encode(Some(sa), message);
        self.sas[sa].last_request.clone_from(&datagrams);
        self.resend(sa);
    }

    /// The last request once more.
    pub(super) fn resend(&mut self, sa: usize) {
        let (client, own) = (self.sas[sa].client, self.sas[sa].own);
        for datagram in self.sas[sa].last_request.clone() {
            self.send(client, own, &datagram);
        }
    }
}

impl ChildRequest {
    pub(super) const fn nonce(&self) -> &Bytes {
        &self.nonce
    }
}

impl IkeRequest {
    pub(super) const fn nonce(&self) -> &Bytes {
        &self.nonce
    }

    /// The IKE SA to replace.
    pub(super) const fn sa(&self) -> usize {
        self.sa
    }
}

impl PeerSa {
    fn new(
        (spi_i, spi_r): (IkeSpi, IkeSpi),
        ours: bool,
        suite: IkeSuite,
        keys: IkeKeys,
        (client, own): (SocketAddr, SocketAddr),
    ) -> Self {
        Self {
            spi_i,
            spi_r,
            ours,
            suite,
            keys,
            alive: true,
            family: 0,
            next_request: 0,
            expected: 0,
            requests: Reassembly::new(),
            responses: Reassembly::new(),
            last: None,
            last_request: Vec::new(),
            handshake: Handshake::default(),
            client,
            own,
        }
    }
}

/// An EAP request (RFC 3748 §4.1).
pub(super) fn eap_request(id: u8, kind: u8, data: &[u8]) -> Bytes {
    let length = (5 + data.len()) as u16;
    [&[1, id], &length.to_be_bytes()[..], &[kind], data].concat().into()
}

/// An SK payload around any content, behind any header.
pub(super) fn protect(
    mut header: Vec<u8>,
    first: PayloadType,
    content: &[u8],
    cipher: &mut dyn crate::crypto::SkCipher,
    random: &mut dyn Random,
) -> Vec<u8> {
    let padded = (content.len() + 1).next_multiple_of(cipher.pad_to());
    let length = Header::LEN + 4 + cipher.iv_len() + padded + cipher.icv_len();
    header[16] = PayloadType::SK.0;
    header[24..28].copy_from_slice(&(length as u32).to_be_bytes());
    let generic = ((length - Header::LEN) as u16).to_be_bytes();
    let mut buffer = [&header[..], &[first.0, 0], &generic, &vec![0; cipher.iv_len()], content].concat();
    buffer.resize(length - cipher.icv_len() - 1, 0);
    buffer.push((padded - content.len() - 1) as u8);
    buffer.resize(length, 0);
    cipher.seal(random, &mut buffer, Header::LEN + 4);
    buffer
}
