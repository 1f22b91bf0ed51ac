//! A gateway driven by bytes, with a client of ours before it, so that what comes is sealed as it should be.

use std::{
    collections::VecDeque,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use adit_tunnel::{
    Accept, Answering, Epoch, Event, IpNet, Listener, NetworkConfig, Path, PeerId, Random, Routing, Secret, Transmit,
    Transport, Tunnel, Verdict,
};

use crate::{
    AcceptedPeers, Carry, Config, Credentials, Identity, PeerVerifier, Remote, Responder, ResponderConfig,
    ServerSession, Session, SharedKey,
};

/// Drives a gateway: each step is one byte of what and some of how. A step is a datagram of anybody, one of the client's as it is
/// or changed, one of the gateway's, a verdict, or time that passes.
pub fn responder(data: &[u8]) {
    run(data);
}

/// How many datagrams the gateway sent.
#[cfg(test)]
pub(super) fn answers(data: &[u8]) -> usize {
    run(data)
}

fn run(data: &[u8]) -> usize {
    let Some(mut driver) = Driver::new() else { return 0 };
    let mut input = data.iter().copied();
    // A handshake costs some cryptography: what is further away is not looked at.
    for _ in 0..MAX_STEPS {
        let Some(step) = input.next() else { break };
        driver.step(step, &mut input);
        driver.drain();
    }
    driver.answers
}

const MAX_STEPS: usize = 60;

struct Driver {
    responder: Responder,
    peers: Vec<(PeerId, Box<ServerSession>)>,
    client: Session,
    now: Instant,
    /// Under way to the gateway, and to the client.
    up: VecDeque<Vec<u8>>,
    down: VecDeque<Vec<u8>>,
    answers: usize,
}

impl Driver {
    fn new() -> Option<Self> {
        let (client, gateway) = CONFIGS.as_ref()?;
        let epoch = Epoch::new(*START, Duration::from_secs(1_780_272_000));
        let path = Path { transport: Transport::Udp, local: None, remote: GATEWAY.into() };
        let random = Box::new(Counting(1));
        let client = Session::new(Arc::clone(client), 0, Carry::default(), path, random, epoch, *START).ok()?;
        let randoms = Box::new(|| -> Box<dyn Random> { Box::new(Counting(100)) });
        let responder = Responder::new(Arc::clone(gateway), randoms, epoch, *START);
        let (up, down) = (VecDeque::new(), VecDeque::new());
        let mut driver = Self { responder, peers: Vec::new(), client, now: *START, up, down, answers: 0 };
        driver.drain();
        Some(driver)
    }

    fn step(&mut self, step: u8, input: &mut impl Iterator<Item = u8>) {
        match step % 8 {
            0 => {
                let length = usize::from(input.next().unwrap_or_default());
                let datagram = input.take(length).collect();
                self.give(datagram);
            }
            1 | 2 => {
                let datagram = self.up.pop_front();
                datagram.into_iter().for_each(|datagram| self.give(datagram));
            }
            3 => {
                let mut datagram = self.up.front().cloned().unwrap_or_default();
                let (at, with) = (input.next().unwrap_or_default(), input.next().unwrap_or_default());
                if let Some(byte) = datagram.get_mut(usize::from(at)) {
                    *byte ^= with;
                }
                self.give(datagram);
            }
            4 => {
                if let Some(mut datagram) = self.down.pop_front() {
                    let path = Path { transport: Transport::Udp, local: None, remote: GATEWAY.into() };
                    self.client.handle_datagram(self.now, &path, &mut datagram);
                }
            }
            5 => {
                self.now += Duration::from_millis(100 * u64::from(input.next().unwrap_or_default()));
                self.client.handle_timeout(self.now);
                self.peers.iter_mut().for_each(|(_, tunnel)| tunnel.handle_timeout(self.now));
            }
            6 => {
                let verdict = verdict(input.next().unwrap_or_default());
                self.peers.iter_mut().for_each(|(_, tunnel)| tunnel.handle_verdict(self.now, verdict.clone()));
            }
            _ => match input.next().unwrap_or_default() % 3 {
                0 => self.client.close(self.now),
                1 => self.peers.iter_mut().for_each(|(_, tunnel)| tunnel.close(self.now)),
                _ => self.peers.iter_mut().for_each(|(_, tunnel)| tunnel.handle_peer_path(self.now, &FROM_ELSEWHERE)),
            },
        }
    }

    /// A datagram arrives at the gateway.
    fn give(&mut self, mut datagram: Vec<u8>) {
        let path = Path { local: Some(GATEWAY.into()), remote: CLIENT.into(), transport: Transport::Udp };
        match self.responder.route(&path, &datagram) {
            Routing::Peer(peer) => {
                if let Some((_, tunnel)) = self.peers.iter_mut().find(|(id, _)| *id == peer) {
                    tunnel.handle_datagram(self.now, &path, &mut datagram);
                }
            }
            Routing::New => match self.responder.accept(self.now, &path, &mut datagram) {
                Accept::Peer(peer, tunnel) => self.peers.push((peer, tunnel)),
                Accept::Reply(Transmit { datagram, .. }) => {
                    self.answers += 1;
                    self.down.push_back(datagram.to_vec());
                }
                Accept::Drop => {}
            },
            Routing::Drop => {}
        }
    }

    fn drain(&mut self) {
        while self.client.poll_event().is_some() {}
        while let Some(transmit) = self.client.poll_transmit() {
            self.up.push_back(transmit.datagram.to_vec());
        }
        let mut gone = Vec::new();
        for (peer, tunnel) in &mut self.peers {
            let mut closed = false;
            while let Some(event) = tunnel.poll_event() {
                assert!(!closed, "after Closed: {event:?}");
                closed = matches!(event, Event::Closed(_));
            }
            while tunnel.poll_applicant().is_some() {}
            let before = self.down.len();
            while let Some(transmit) = tunnel.poll_transmit() {
                self.down.push_back(transmit.datagram.to_vec());
            }
            self.answers += self.down.len() - before;
            assert!(self.down.len() - before < 64, "many datagrams for one input");
            assert!(!closed || tunnel.poll_timeout().is_none(), "a closed session waits");
            if closed {
                gone.push(*peer);
            }
        }
        self.peers.retain(|(peer, _)| !gone.contains(peer));
        gone.into_iter().for_each(|peer| self.responder.forget(peer));
        assert_eq!(self.responder.peers(), self.peers.len(), "peers that are known");
    }
}

fn verdict(choice: u8) -> Verdict {
    match choice % 5 {
        0 | 1 => {
            let addresses = vec![IpNet::host(std::net::IpAddr::from([10, 8, 0, 2]))];
            Verdict::Admitted(Box::new(NetworkConfig { addresses, ..NetworkConfig::default() }))
        }
        2 => Verdict::Refused,
        3 => Verdict::NoAddress,
        _ => Verdict::Later(Duration::from_secs(1)),
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

const GATEWAY: ([u8; 4], u16) = ([192, 0, 2, 1], 4500);
const CLIENT: ([u8; 4], u16) = ([198, 51, 100, 7], 40_000);
static FROM_ELSEWHERE: LazyLock<Path> = LazyLock::new(|| Path {
    transport: Transport::Udp,
    local: Some(GATEWAY.into()),
    remote: ([203, 0, 113, 9], 40_000).into(),
});

#[expect(clippy::disallowed_methods, reason = "time passes as the input says, but must begin somewhere")]
static START: LazyLock<Instant> = LazyLock::new(Instant::now);
static CONFIGS: LazyLock<Option<(Arc<Config>, Arc<ResponderConfig>)>> = LazyLock::new(|| {
    let key = Secret::new(*b"a key that both ends know");
    let client = Config::builder(vec![Remote::new("vpn.example", 4500)])
        .peer(PeerVerifier::Psk { key: key.clone(), identity: None })
        .credentials(Credentials::Psk(key.clone()))
        .build()
        .ok()?;
    let shared_keys = vec![SharedKey { key, identity: None }];
    let gateway = ResponderConfig::builder(AcceptedPeers { shared_keys, ..AcceptedPeers::default() })
        .identity(Identity::Fqdn("vpn.example".to_owned()))
        .limits(|limits| limits.cookie_threshold = 2)
        .build()
        .ok()?;
    Some((Arc::new(client), Arc::new(gateway)))
});
