//! A small, honest server without I/O, whose script says where it shall not be honest.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{Read, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use adit_testing::SeededRandom;
use adit_tunnel::{Content, Opener, Random, Sealer, Usage};
use bytes::{Bytes, BytesMut};
use rustls::{ServerConfig, ServerConnection};
use zeroize::Zeroizing;

use super::{START, UNIX_START, pki};
use crate::{
    algorithms::{Cipher, Digest},
    config::{ControlWrap, Framing},
    control::{
        packet::{AckList, ControlPacket, Header, KeyId, Opcode, SessionId},
        reliable::Reliable,
        wrap::Wrapper,
    },
    crypto::{self, Crypto},
    data::{DataKeyParams, DataOpener, DataSealer, EXIT_MESSAGE, PING_PAYLOAD, Role, data_keys},
    key_exchange::{ClientMessage, EXPORTER_DATA_KEYS, EXPORTER_DYNAMIC_TLS_CRYPT, ServerMessage, derive_prf},
    keys::StaticKey,
    session::iv_proto,
};

/// What a server does.
#[derive(Clone)]
pub(super) struct Script {
    pub(super) tls: Arc<ServerConfig>,
    pub(super) wrap: ControlWrap,
    /// Keeps no state before the client's third packet, and asks for the wrapped key again.
    pub(super) cookie: bool,
    pub(super) cipher: Cipher,
    pub(super) pushes_cipher: bool,
    pub(super) auth: Digest,
    pub(super) framing: Framing,
    /// Each is switched on only if the client announces it too.
    pub(super) exporter: bool,
    pub(super) dyn_tls_crypt: bool,
    pub(super) cc_exit: bool,
    pub(super) peer_id: Option<u32>,
    /// Switches features on without asking what the client announced.
    pub(super) defiant: bool,
    /// Further options of the PUSH_REPLY.
    pub(super) push: Vec<String>,
    /// Records sent when options are due, in place of the PUSH_REPLY.
    pub(super) says: Option<Vec<Vec<u8>>>,
    /// Records sent right after the key message of a renegotiation.
    pub(super) says_later: Vec<Vec<u8>>,
    /// Waits for PUSH_REQUEST even if the client announced that it need not.
    pub(super) waits_for_request: bool,
    /// The options string of the key message.
    pub(super) options: String,
    /// How long after a renegotiation's start the old key goes on sealing.
    pub(super) deferral: Duration,
    /// Neither acknowledges nor says anything more.
    pub(super) mute: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            tls: Arc::clone(&pki::SERVER_TLS),
            wrap: ControlWrap::None,
            cookie: false,
            cipher: Cipher::Aes256Gcm,
            pushes_cipher: true,
            auth: Digest::Sha1,
            framing: Framing::None,
            exporter: true,
            dyn_tls_crypt: true,
            cc_exit: true,
            peer_id: Some(7),
            defiant: false,
            push: Vec::new(),
            says: None,
            says_later: Vec::new(),
            waits_for_request: false,
            options: "V4,dev-type tun,cipher AES-256-GCM".to_owned(),
            deferral: Duration::from_millis(500),
            mute: false,
        }
    }
}

pub(super) struct ScriptedServer {
    pub(super) script: Script,
    random: SeededRandom,
    crypto: Arc<dyn Crypto>,
    session_id: SessionId,
    wrapper: Wrapper,
    dynamic: Option<Wrapper>,
    client_id: Option<SessionId>,
    slot: Option<Slot>,
    openers: BTreeMap<u8, DataOpener>,
    /// Key ids of `openers`, the newest last.
    key_order: VecDeque<u8>,
    sealer: Option<DataSealer>,
    next_sealer: Option<(Instant, DataSealer)>,
    out: VecDeque<Bytes>,

    /// Everything below is what happened.
    pub(super) packets: Vec<ControlPacket>,
    pub(super) client_messages: Vec<ClientMessage>,
    pub(super) control_messages: Vec<String>,
    pub(super) tls_error: Option<rustls::Error>,
    /// Against the rules of servers that keep no state.
    pub(super) refused: Vec<&'static str>,
    pub(super) dropped: usize,
    pub(super) unopened: usize,
    pub(super) opened: Vec<Vec<u8>>,
    pub(super) opened_versions: Vec<u8>,
    pub(super) pings: Vec<Instant>,
    pub(super) exit_notices: usize,
    pub(super) peer_certificates: usize,
}

struct Slot {
    key_id: KeyId,
    started: Instant,
    reliable: Reliable,
    tls: ServerConnection,
    inbound: BytesMut,
    unsent: VecDeque<Bytes>,
    messages: Option<(ClientMessage, ServerMessage)>,
    said: bool,
    /// Keys are made as soon as the client has acknowledged our key message (2.6 `ssl.c`, S_ACTIVE).
    wants_keys: bool,
}

impl Slot {
    fn new(key_id: KeyId, started: Instant, reliable: Reliable, tls: &Arc<ServerConfig>) -> Self {
        let tls = ServerConnection::new(Arc::clone(tls)).unwrap();
        let (inbound, unsent) = (BytesMut::new(), VecDeque::new());
        Self { key_id, started, reliable, tls, inbound, unsent, messages: None, said: false, wants_keys: false }
    }

    fn collect(&mut self) {
        let mut out = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut out).unwrap();
        }
        if !out.is_empty() {
            self.unsent.push_back(out.into());
        }
    }

    fn write(&mut self, record: &[u8]) {
        self.tls.writer().write_all(record).unwrap();
        self.collect();
    }

    fn next_record(&mut self) -> Option<BytesMut> {
        let length = 5 + usize::from(u16::from_be_bytes([*self.inbound.get(3)?, *self.inbound.get(4)?]));
        (self.inbound.len() >= length).then(|| self.inbound.split_to(length))
    }

    /// The plaintext of the next record that has some.
    fn next_plaintext(&mut self) -> Result<Option<Vec<u8>>, rustls::Error> {
        while let Some(record) = self.next_record() {
            let mut rest = &record[..];
            while !rest.is_empty() {
                self.tls.read_tls(&mut rest).unwrap();
                let size = self.tls.process_new_packets()?.plaintext_bytes_to_read();
                if size > 0 {
                    let mut plaintext = vec![0; size];
                    self.tls.reader().read_exact(&mut plaintext).unwrap();
                    return Ok(Some(plaintext));
                }
            }
        }
        Ok(None)
    }

    fn exported(&self, label: &[u8]) -> Zeroizing<[u8; 256]> {
        self.tls.export_keying_material(Zeroizing::new([0; 256]), label, None).unwrap()
    }
}

impl ScriptedServer {
    pub(super) fn new(script: Script, seed: u64) -> Self {
        let mut random = SeededRandom::new(seed ^ 0x5e17e7);
        let crypto = crypto::default_backend();
        let session_id = SessionId::random(&mut random);
        let wrapper = Wrapper::new(&script.wrap, Role::Server, &crypto);
        Self {
            script,
            random,
            crypto,
            session_id,
            wrapper,
            dynamic: None,
            client_id: None,
            slot: None,
            openers: BTreeMap::new(),
            key_order: VecDeque::new(),
            sealer: None,
            next_sealer: None,
            out: VecDeque::new(),
            packets: Vec::new(),
            client_messages: Vec::new(),
            control_messages: Vec::new(),
            tls_error: None,
            refused: Vec::new(),
            dropped: 0,
            unopened: 0,
            opened: Vec::new(),
            opened_versions: Vec::new(),
            pings: Vec::new(),
            exit_notices: 0,
            peer_certificates: 0,
        }
    }

    pub(super) fn handle(&mut self, now: Instant, datagram: &[u8]) {
        let (opcode, key_id) = Opcode::split(datagram[0]);
        if opcode.is_data() {
            return self.on_data(now, opcode, key_id, datagram);
        }
        let Ok(packet) = self.wrapper_for(key_id).unwrap(datagram) else {
            self.dropped += 1;
            return;
        };
        self.packets.push(packet.clone());
        self.on_packet(now, &packet);
        self.flush(now);
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some((_, sealer)) = self.next_sealer.take_if(|(at, _)| *at <= now) {
            self.sealer = Some(sealer);
        }
        self.flush(now);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let retransmit = self.slot.as_ref().filter(|_| !self.script.mute).and_then(|slot| slot.reliable.poll_timeout());
        let switch = self.next_sealer.as_ref().map(|(at, _)| *at);
        retransmit.into_iter().chain(switch).min()
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Bytes> {
        self.out.pop_front()
    }

    pub(super) fn session_id(&self) -> SessionId {
        self.session_id
    }

    pub(super) fn client_id(&self) -> SessionId {
        self.client_id.unwrap()
    }

    pub(super) fn key_id(&self) -> u8 {
        self.slot.as_ref().unwrap().key_id.value()
    }

    /// Whether the newest key's handshake is complete.
    pub(super) fn is_ready(&self) -> bool {
        self.slot.as_ref().is_some_and(|slot| slot.messages.is_some() && !slot.wants_keys)
    }

    pub(super) fn uses_dynamic_tls_crypt(&self) -> bool {
        self.dynamic.is_some()
    }

    pub(super) fn tls(&self) -> &ServerConnection {
        &self.slot.as_ref().unwrap().tls
    }

    pub(super) fn renegotiate(&mut self, now: Instant) {
        let key_id = self.slot.as_ref().unwrap().key_id.next();
        self.start_slot(now, key_id);
        self.flush(now);
    }

    /// Sends a TLS record with this plaintext.
    pub(super) fn say(&mut self, now: Instant, record: &[u8]) {
        self.slot.as_mut().unwrap().write(record);
        self.flush(now);
    }

    pub(super) fn close_tls(&mut self, now: Instant) {
        let slot = self.slot.as_mut().unwrap();
        slot.tls.send_close_notify();
        slot.collect();
        self.flush(now);
    }

    /// Puts bytes into the control channel that are no TLS of ours.
    pub(super) fn say_raw(&mut self, now: Instant, bytes: &[u8]) {
        self.slot.as_mut().unwrap().unsent.push_back(Bytes::copy_from_slice(bytes));
        self.flush(now);
    }

    /// Wraps and sends any packet.
    pub(super) fn send_packet(&mut self, packet: &ControlPacket) {
        let unix = UNIX_START.as_secs() as u32;
        let datagram = self.wrapper_for(packet.key_id).wrap(packet, unix).unwrap();
        self.out.push_back(datagram);
    }

    /// The datagram for an inner packet or message; `None` without keys.
    pub(super) fn seal(&mut self, content: &[u8]) -> Option<Bytes> {
        self.sealer.as_mut().map(|sealer| seal(sealer, content))
    }

    /// The key id that is sealed with.
    pub(super) fn peer_info(&self) -> Vec<&str> {
        self.client_messages[0].peer_info.lines().collect()
    }

    fn wrapper_for(&mut self, key_id: KeyId) -> &mut Wrapper {
        match &mut self.dynamic {
            Some(dynamic) if key_id != KeyId::FIRST => dynamic,
            Some(_) | None => &mut self.wrapper,
        }
    }

    fn on_packet(&mut self, now: Instant, packet: &ControlPacket) {
        let is_reset = matches!(packet.opcode, Opcode::HARD_RESET_CLIENT_V2 | Opcode::HARD_RESET_CLIENT_V3);
        if self.client_id.is_none() {
            return match (is_reset, self.script.cookie) {
                (true, true) => self.answer_without_state(packet),
                (true, false) => self.on_reset(now, packet),
                (false, true) => self.on_third_packet(now, packet),
                (false, false) => self.dropped += 1,
            };
        }
        if self.client_id != Some(packet.session_id) || packet.peer_session_id.is_some_and(|id| id != self.session_id) {
            self.dropped += 1;
            return;
        }
        let slot = self.slot.as_ref().unwrap();
        if packet.key_id != slot.key_id {
            let asks = packet.opcode == Opcode::SOFT_RESET_V1 && packet.key_id == slot.key_id.next();
            if !asks || !self.is_ready() {
                self.dropped += 1;
                return;
            }
            self.start_slot(now, packet.key_id);
        }
        self.take_in(now, packet);
    }

    fn on_reset(&mut self, now: Instant, packet: &ControlPacket) {
        self.client_id = Some(packet.session_id);
        let mut reliable = Reliable::new(Duration::from_secs(2), 0);
        reliable.queue(Opcode::HARD_RESET_SERVER_V2, Bytes::new());
        self.slot = Some(Slot::new(KeyId::FIRST, now, reliable, &self.script.tls));
        self.take_in(now, packet);
    }

    /// The session id is all that is remembered, and it can be computed again (2.6 `ssl_pkt.c`, session_id_hmac).
    fn answer_without_state(&mut self, packet: &ControlPacket) {
        let wkc = packet.opcode == Opcode::HARD_RESET_CLIENT_V3;
        let payload: &[u8] = if wkc { &[0, 1, 0, 2, 0, 1] } else { &[] };
        self.send_packet(&ControlPacket {
            opcode: Opcode::HARD_RESET_SERVER_V2,
            key_id: KeyId::FIRST,
            session_id: self.session_id,
            acks: AckList::from_iter([0]),
            peer_session_id: Some(packet.session_id),
            packet_id: Some(0),
            payload: Bytes::from_static(payload),
        });
    }

    fn on_third_packet(&mut self, now: Instant, packet: &ControlPacket) {
        let wkc = matches!(self.script.wrap, ControlWrap::TlsCryptV2 { .. });
        let rules = [
            (packet.key_id == KeyId::FIRST, "the key id is not 0"),
            (packet.peer_session_id == Some(self.session_id), "the cookie is not returned"),
            (packet.acks.contains(0) && packet.acks.as_slice().iter().all(|id| *id <= 1), "id 0 is not acknowledged"),
            (packet.packet_id == Some(1), "the packet id is not 1"),
            (!wkc || packet.opcode == Opcode::CONTROL_WKC_V1, "the wrapped key is missing"),
        ];
        let broken = rules.iter().find(|(kept, _)| !kept);
        if let Some((_, rule)) = broken {
            // Later packets of the first flight arrive here too if the third packet is lost or late.
            if packet.packet_id == Some(1) {
                self.refused.push(rule);
            }
            return;
        }
        self.client_id = Some(packet.session_id);
        let mut reliable = Reliable::new(Duration::from_secs(2), 1);
        reliable.on_packet(0, Bytes::new());
        reliable.poll_deliver();
        reliable.take_acks(AckList::MAX);
        self.slot = Some(Slot::new(KeyId::FIRST, now, reliable, &self.script.tls));
        self.take_in(now, packet);
    }

    fn start_slot(&mut self, now: Instant, key_id: KeyId) {
        let mut reliable = Reliable::new(Duration::from_secs(2), 0);
        reliable.queue(Opcode::SOFT_RESET_V1, Bytes::new());
        self.slot = Some(Slot::new(key_id, now, reliable, &self.script.tls));
    }

    fn take_in(&mut self, now: Instant, packet: &ControlPacket) {
        let slot = self.slot.as_mut().unwrap();
        slot.reliable.on_acks(now, packet.acks.as_slice());
        if let Some(id) = packet.packet_id {
            slot.reliable.on_packet(id, packet.payload.clone());
        }
        if slot.wants_keys && slot.unsent.is_empty() && slot.reliable.all_acked() {
            slot.wants_keys = false;
            self.make_keys();
        }
        while let Some(payload) = self.slot.as_mut().unwrap().reliable.poll_deliver() {
            let slot = self.slot.as_mut().unwrap();
            slot.inbound.extend_from_slice(&payload);
            loop {
                let slot = self.slot.as_mut().unwrap();
                let record = slot.next_plaintext();
                slot.collect();
                match record {
                    Ok(Some(record)) => self.on_record(&record),
                    Ok(None) => break,
                    Err(error) => {
                        self.tls_error.get_or_insert(error);
                        break;
                    }
                }
            }
        }
    }

    fn on_record(&mut self, record: &[u8]) {
        if self.slot.as_ref().unwrap().messages.is_none() {
            return self.on_key_message(record);
        }
        for text in record.split(|byte| *byte == 0).filter(|text| !text.is_empty()) {
            let text = String::from_utf8(text.to_vec()).unwrap();
            let asks = text == "PUSH_REQUEST";
            self.control_messages.push(text);
            if asks {
                self.push();
            }
        }
    }

    fn on_key_message(&mut self, record: &[u8]) {
        let client = ClientMessage::decode(record).unwrap();
        self.client_messages.push(ClientMessage::decode(record).unwrap());
        let mut server = ServerMessage {
            random1: Zeroizing::new([0; 32]),
            random2: Zeroizing::new([0; 32]),
            options: self.script.options.clone(),
            peer_info: String::new(),
        };
        self.random.fill(server.random1.as_mut_slice());
        self.random.fill(server.random2.as_mut_slice());
        let slot = self.slot.as_mut().unwrap();
        self.peer_certificates = slot.tls.peer_certificates().map_or(0, <[_]>::len);
        slot.write(&server.encode().unwrap());
        slot.messages = Some((client, server));
        if slot.key_id != KeyId::FIRST {
            slot.wants_keys = true;
            for record in self.script.says_later.clone() {
                self.slot.as_mut().unwrap().write(&record);
            }
        } else if self.announced(iv_proto::REQUEST_PUSH) && !self.script.waits_for_request {
            self.push();
        }
    }

    fn push(&mut self) {
        let slot = self.slot.as_mut().unwrap();
        if std::mem::replace(&mut slot.said, true) {
            return;
        }
        if let Some(records) = self.script.says.clone() {
            records.iter().for_each(|record| slot.write(record));
            return;
        }
        self.push_options();
    }

    /// Sends the PUSH_REPLY, and makes the first keys.
    pub(super) fn push_options(&mut self) {
        self.make_keys();
        if self.dynamic_tls_crypt() {
            let exported = self.slot.as_ref().unwrap().exported(EXPORTER_DYNAMIC_TLS_CRYPT);
            self.dynamic = Some(Wrapper::dynamic(&exported, &self.script.wrap, Role::Server, &self.crypto));
        }
        let reply = format!("PUSH_REPLY,{}\0", self.options().join(","));
        self.slot.as_mut().unwrap().write(reply.as_bytes());
    }

    fn options(&self) -> Vec<String> {
        let mut options = vec!["topology subnet".to_owned(), "ifconfig 10.8.0.2 255.255.255.0".to_owned()];
        options.extend(self.peer_id().map(|id| format!("peer-id {id}")));
        if self.script.pushes_cipher {
            options.push(format!("cipher {}", self.script.cipher));
        }
        let flags = [
            (self.script.cc_exit && self.agreed(iv_proto::CC_EXIT_NOTIFY), "cc-exit"),
            (self.exporter(), "tls-ekm"),
            (self.dynamic_tls_crypt(), "dyn-tls-crypt"),
        ];
        let flags: Vec<_> = flags.iter().filter(|(on, _)| *on).map(|(_, flag)| *flag).collect();
        if !flags.is_empty() {
            options.push(format!("protocol-flags {}", flags.join(" ")));
        }
        options.extend(self.script.push.iter().cloned());
        options
    }

    fn announced(&self, bit: u32) -> bool {
        let proto = self.client_messages[0].peer_info.lines().find_map(|line| line.strip_prefix("IV_PROTO="));
        proto.is_some_and(|bits| bits.parse::<u32>().unwrap() & bit != 0)
    }

    fn agreed(&self, bit: u32) -> bool {
        self.script.defiant || self.announced(bit)
    }

    fn exporter(&self) -> bool {
        self.script.exporter && self.agreed(iv_proto::TLS_KEY_EXPORT)
    }

    fn dynamic_tls_crypt(&self) -> bool {
        self.script.dyn_tls_crypt && self.agreed(iv_proto::DYN_TLS_CRYPT)
    }

    fn peer_id(&self) -> Option<u32> {
        self.script.peer_id.filter(|_| self.agreed(iv_proto::DATA_V2))
    }

    fn make_keys(&mut self) {
        let slot = self.slot.as_ref().unwrap();
        let (client, server) = slot.messages.as_ref().unwrap();
        let keys = if self.exporter() {
            StaticKey::new(*slot.exported(EXPORTER_DATA_KEYS))
        } else {
            derive_prf(client, server, self.client_id(), self.session_id, self.crypto.as_ref())
        };
        let (key_id, switch_at) = (slot.key_id.value(), slot.started + self.script.deferral);
        let params = DataKeyParams {
            cipher: self.script.cipher,
            auth: self.script.auth,
            keys: &keys,
            role: Role::Server,
            key_id,
            peer_id: self.peer_id(),
            framing: self.script.framing,
            replay_window: 1024,
            mtu: 1500,
        };
        let (sealer, opener) = data_keys(&params, self.crypto.as_ref(), Arc::new(Usage::default())).unwrap();
        self.openers.insert(key_id, opener);
        self.key_order.push_back(key_id);
        if self.key_order.len() > 2 {
            let oldest = self.key_order.pop_front().unwrap();
            self.openers.remove(&oldest);
        }
        if let Some((_, waiting)) = self.next_sealer.take() {
            self.sealer = Some(waiting);
        }
        if self.sealer.is_none() {
            self.sealer = Some(sealer);
        } else {
            self.next_sealer = Some((switch_at, sealer));
        }
    }

    fn on_data(&mut self, now: Instant, opcode: Opcode, key_id: KeyId, datagram: &[u8]) {
        let mut datagram = datagram.to_vec();
        let opened = self.openers.get_mut(&key_id.value()).and_then(|opener| opener.open(&mut datagram).ok());
        let Some(opened) = opened else {
            self.unopened += 1;
            return;
        };
        self.opened_versions.push(if opcode == Opcode::DATA_V1 { 1 } else { 2 });
        match opened.content {
            Content::Packet(range) => self.opened.push(datagram[range].to_vec()),
            Content::Message(range) if datagram[range.clone()] == PING_PAYLOAD => self.pings.push(now),
            Content::Message(range) if datagram[range.clone()] == EXIT_MESSAGE => self.exit_notices += 1,
            Content::Message(_) | Content::Unpacked | Content::Filler => panic!("unexpected content"),
        }
    }

    fn flush(&mut self, now: Instant) {
        let Some(slot) = &mut self.slot else { return };
        if self.script.mute {
            return;
        }
        let mut packets = Vec::new();
        loop {
            while slot.reliable.can_queue()
                && let Some(first) = slot.unsent.front_mut()
            {
                let chunk = first.split_to(first.len().min(PAYLOAD_LIMIT));
                if first.is_empty() {
                    slot.unsent.pop_front();
                }
                slot.reliable.queue(Opcode::CONTROL_V1, chunk);
            }
            let Some(outgoing) = slot.reliable.poll_send(now) else { break };
            let acks = slot.reliable.take_acks(4);
            packets.push((outgoing.opcode, acks, Some(outgoing.packet_id), outgoing.payload));
        }
        while slot.reliable.has_pending_acks() {
            packets.push((Opcode::ACK_V1, slot.reliable.take_acks(AckList::MAX), None, Bytes::new()));
        }
        let (key_id, session_id) = (slot.key_id, self.session_id);
        for (opcode, acks, packet_id, payload) in packets {
            let peer_session_id = self.client_id.filter(|_| !acks.is_empty());
            self.send_packet(&ControlPacket { opcode, key_id, session_id, acks, peer_session_id, packet_id, payload });
        }
    }
}

/// Seals a packet or message into a datagram.
pub(super) fn seal(sealer: &mut DataSealer, content: &[u8]) -> Bytes {
    let (start, length) = (sealer.header_len(), sealer.sealed_len(content.len()));
    let mut buf = vec![0; length.max(start + content.len())];
    buf[start..start + content.len()].copy_from_slice(content);
    let range = sealer.seal(&mut buf, start..start + content.len()).unwrap();
    Bytes::copy_from_slice(&buf[range])
}

/// As the header of a datagram says, without a wrapper.
pub(super) fn header(datagram: &[u8]) -> Header {
    Header::decode(&datagram[..Header::LEN]).unwrap()
}

/// Seconds since the start of the clock.
pub(super) fn elapsed(at: Instant) -> f64 {
    at.duration_since(*START).as_secs_f64()
}

const PAYLOAD_LIMIT: usize = 1000;
