//! A server driven by bytes, with as many of its sessions as they make.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use adit_tunnel::{
    Accept, Answering, Epoch, Event, Listener, NetworkConfig, Path, PeerId, Random, Routing, Transmit, Transport,
    Tunnel, Verdict,
};
use bytes::Bytes;

use super::session::{Counting, Input, START};
use crate::{
    config::{ClientIdentity, ControlWrap},
    control::{
        packet::{AckList, ControlPacket, Opcode, SessionId},
        wrap::Wrapper,
    },
    data::{EXIT_MESSAGE, Role},
    keys::StaticKey,
    server::{ClientCertificates, ClientCheck, Server, ServerConfig, ServerSession, ServerSettings, ServerWrap},
};

/// Drives a server: the first byte chooses wrapping and transport, then each step is one byte of what and some of how. A step
/// is a datagram, a packet that passes the wrapping and returns the cookie, a verdict, something of a session's owner, or time
/// that passes.
pub fn server(data: &[u8]) {
    peers_made(data);
}

/// The same; how many peers it made the server remember.
pub(super) fn peers_made(data: &[u8]) -> usize {
    let Some((&choice, rest)) = data.split_first() else { return 0 };
    let wrapped = choice & 1 != 0;
    let config = if wrapped { &WRAPPED } else { &PLAIN };
    let Some(config) = config.as_ref() else { return 0 };
    let mut driver = Driver::new(config, wrapped, choice & 2 != 0);
    let mut input = Input(rest);
    while let Some(step) = input.byte() {
        driver.step(step, &mut input);
        driver.drain();
    }
    driver.made
}

struct Driver {
    server: Server,
    made: usize,
    limit: usize,
    sessions: BTreeMap<PeerId, ServerSession>,
    client: Wrapper,
    transport: Transport,
    /// The session id in the server's last answer.
    cookie: Option<SessionId>,
    now: Instant,
}

impl Driver {
    fn new(config: &Arc<ServerConfig>, wrapped: bool, stream: bool) -> Self {
        let wrap = if wrapped { ControlWrap::TlsCrypt(key()) } else { ControlWrap::None };
        let randoms = Box::new(|| Box::new(Counting(1)) as Box<dyn Random>);
        let epoch = Epoch::new(*START, UNIX_START);
        Self {
            server: Server::new(Arc::clone(config), randoms, epoch, *START),
            made: 0,
            limit: config.limits.peer_bytes,
            sessions: BTreeMap::new(),
            client: Wrapper::new(&wrap, Role::Client, &config.settings.crypto),
            transport: if stream { Transport::Tcp } else { Transport::Udp },
            cookie: None,
            now: *START,
        }
    }

    fn step(&mut self, step: u8, input: &mut Input<'_>) {
        match step % 8 {
            0 => {
                let path = self.path(input.byte().unwrap_or_default());
                let mut datagram = input.bytes().to_vec();
                self.receive(&path, &mut datagram);
            }
            1 => {
                let path = self.path(input.byte().unwrap_or_default());
                let mut datagram = input.bytes().to_vec();
                self.accept(&path, &mut datagram);
            }
            2..=4 => self.packet(input),
            5 => {
                self.now += Duration::from_millis(100 * u64::from(input.byte().unwrap_or_default()));
                self.sessions.values_mut().for_each(|session| session.handle_timeout(self.now));
            }
            6 => {
                let verdict = match input.byte().unwrap_or_default() % 4 {
                    0 => Verdict::Admitted(Box::<NetworkConfig>::default()),
                    1 => Verdict::Refused,
                    2 => Verdict::NoAddress,
                    _ => Verdict::Later(Duration::from_secs(1)),
                };
                if let Some(session) = self.sessions.values_mut().next() {
                    session.handle_verdict(self.now, verdict);
                }
            }
            _ => self.owner(input),
        }
    }

    /// A packet of a client that knows the key, and returns what it was given.
    fn packet(&mut self, input: &mut Input<'_>) {
        let (opcode, key_id) = Opcode::split(input.byte().unwrap_or_default());
        let (id, choice) = (input.byte().unwrap_or_default() % 8, input.byte().unwrap_or_default());
        let acks: AckList = (0..u32::from(choice % 4)).collect();
        let cookie = self.cookie.filter(|_| !acks.is_empty());
        let Some(session_id) = SessionId::new([choice / 64 + 1; 8]) else { return };
        let packet = ControlPacket {
            opcode,
            key_id,
            session_id,
            acks: if cookie.is_some() { acks } else { AckList::default() },
            peer_session_id: cookie,
            packet_id: (opcode != Opcode::ACK_V1).then_some(id.into()),
            payload: Bytes::copy_from_slice(input.bytes()),
        };
        if let Ok(datagram) = self.client.wrap(&packet, 1) {
            let path = self.path(choice / 64);
            self.receive(&path, &mut datagram.to_vec());
        }
    }

    fn owner(&mut self, input: &mut Input<'_>) {
        let (choice, path) = (input.byte().unwrap_or_default(), self.path(input.byte().unwrap_or_default()));
        let Some(session) = self.sessions.values_mut().next() else { return };
        match choice % 6 {
            0 => session.close(self.now),
            1 => session.handle_path(self.now, &path),
            2 => session.handle_peer_path(self.now, &path),
            3 => session.handle_message(self.now, &EXIT_MESSAGE),
            4 => session.handle_message(self.now, input.bytes()),
            _ => drop(session.poll_applicant()),
        }
    }

    fn receive(&mut self, path: &Path, datagram: &mut [u8]) {
        match self.server.route(path, datagram) {
            Routing::Drop => {}
            Routing::New => self.accept(path, datagram),
            Routing::Peer(peer) => {
                if let Some(session) = self.sessions.get_mut(&peer) {
                    session.handle_datagram(self.now, path, datagram);
                }
            }
        }
    }

    fn accept(&mut self, path: &Path, datagram: &mut [u8]) {
        let length = datagram.len();
        match self.server.accept(self.now, path, datagram) {
            Accept::Drop => {}
            Accept::Reply(Transmit { datagram, .. }) => {
                assert!(datagram.len() <= length + 12, "{} bytes for {length}", datagram.len());
                self.cookie = datagram.get(1..9).and_then(|bytes| SessionId::new(bytes.try_into().ok()?));
            }
            Accept::Peer(peer, session) => {
                self.made += 1;
                assert!(self.sessions.insert(peer, *session).is_none(), "{peer:?} is given twice");
            }
        }
    }

    fn drain(&mut self) {
        let mut gone = Vec::new();
        for (peer, session) in &mut self.sessions {
            let mut closed = false;
            while let Some(event) = session.poll_event() {
                assert!(!closed, "after Closed: {event:?}");
                assert!(!matches!(event, Event::Up(_) | Event::Keys(_)), "a stranger is in: {event:?}");
                closed = matches!(event, Event::Closed(_));
            }
            let mut count = 0;
            while let Some(transmit) = session.poll_transmit() {
                self.cookie = self.cookie.or_else(|| SessionId::new(transmit.datagram.get(1..9)?.try_into().ok()?));
                count += 1;
            }
            assert!(count < 64, "{count} datagrams for one input");
            assert!(closed || session.held_bytes() <= self.limit, "{} bytes are held", session.held_bytes());
            assert!(!closed || session.poll_timeout().is_none(), "a closed session waits");
            if closed {
                gone.push(*peer);
            }
        }
        for peer in gone {
            self.sessions.remove(&peer);
            self.server.forget(peer);
        }
        assert_eq!(self.server.peers(), self.sessions.len());
        assert_eq!(self.server.half_open_peers(), self.sessions.len(), "nobody has proved anything");
    }

    fn path(&self, from: u8) -> Path {
        let remote = SocketAddr::from(([192, 0, 2, from % 4], 1000));
        Path { transport: self.transport, local: None, remote }
    }
}

fn key() -> StaticKey {
    StaticKey::new([7; 256])
}

const UNIX_START: Duration = Duration::from_secs(1_780_272_000);
static PLAIN: LazyLock<Option<Arc<ServerConfig>>> = LazyLock::new(|| config(ServerWrap::None));
static WRAPPED: LazyLock<Option<Arc<ServerConfig>>> = LazyLock::new(|| config(ServerWrap::TlsCrypt(key())));

fn config(control_wrap: ServerWrap) -> Option<Arc<ServerConfig>> {
    let chain = adit_pki::certificates(include_bytes!("../../testdata/keys/client.crt")).ok()?;
    let key = adit_pki::private_key(include_bytes!("../../testdata/keys/ec.pkcs8.key"), None).ok()?;
    let check = ClientCheck { certificates: ClientCertificates::None, login: true };
    let settings = |settings: &mut ServerSettings| settings.control_wrap = control_wrap;
    let config = ServerConfig::builder(Arc::new(ClientIdentity { chain, key }), check).settings(settings).build();
    config.ok().map(Arc::new)
}
