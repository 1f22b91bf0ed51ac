//! The state machines alone, on an event loop of our own: one blocking socket of the standard library, no tokio, no driver, no
//! root. Connects to an IKEv2 gateway, and asks a web server behind it for its first page.
//!
//! `cargo run -p adit-examples --example sans_io -- vpn.example:500 psk.txt 192.168.100.30:8080`
//!
//! ```text
//!  UdpSocket ──▶ classify ─┬─ control ──▶ Tunnel ──▶ events: up, keys, the end
//!      ▲                   └─ data ─────▶ Opener ──▶ Stack ──▶ events: connected, readable, closed
//!      └──────────────────── Sealer ◀── packets ◀──────┘
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    env, fs, io,
    net::{SocketAddr, ToSocketAddrs, UdpSocket},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use adit_netstack::{PacketSink, Stack, StackConfig, StackEvent};
use adit_tunnel::{
    Class, Content, Epoch, Event, KeyChange, KeyTag, NetworkConfig, Opener, Path, Random, Sealer, Secret, Transmit,
    Transport, Tunnel,
};
use anyhow::{Context, Result, bail};
use ikev2::{Carry, Config, Credentials, PeerVerifier, Remote, Session};

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [gateway, psk, target] = &arguments[..] else {
        bail!("usage: sans_io GATEWAY:PORT PSK-FILE HOST:PORT");
    };
    let target: SocketAddr = target.parse().context("HOST:PORT must be an address")?;
    let (host, port) = gateway.rsplit_once(':').context("GATEWAY:PORT, as in vpn.example:500")?;
    let key = Secret::new(fs::read_to_string(psk).with_context(|| psk.clone())?.trim_end());
    let config = Config::builder(vec![Remote::new(host, port.parse()?)])
        .peer(PeerVerifier::Psk { key: key.clone(), identity: None })
        .credentials(Credentials::Psk(key))
        .build()?;

    let remote = gateway.to_socket_addrs()?.next().context("no address of the gateway")?;
    let socket = UdpSocket::bind(if remote.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    let path = Path { transport: Transport::Udp, local: None, remote };
    // Everything external comes in: configuration, randomness, time.
    let now = Instant::now();
    let epoch = Epoch::new(now, SystemTime::now().duration_since(UNIX_EPOCH)?);
    let session = Session::new(Arc::new(config), 0, Carry::default(), path, Box::new(Urandom), epoch, now)?;
    Client::new(session, socket, path, target).run()
}

/// A tunnel of any protocol, and the TCP/IP stack inside.
struct Client<T: Tunnel> {
    tunnel: T,
    socket: UdpSocket,
    path: Path,
    target: SocketAddr,
    openers: Vec<(KeyTag, Box<T::Opener>)>,
    sealer: Option<Box<T::Sealer>>,
    stack: Option<Stack>,
    page: Vec<u8>,
    ended: bool,
}

impl<T: Tunnel> Client<T> {
    fn new(tunnel: T, socket: UdpSocket, path: Path, target: SocketAddr) -> Self {
        let (openers, sealer, stack) = (Vec::new(), None, None);
        Self { tunnel, socket, path, target, openers, sealer, stack, page: Vec::new(), ended: false }
    }

    /// The loop: after each input drain what came of it, then wait for the next datagram or the earliest deadline.
    fn run(mut self) -> Result<()> {
        let mut buffer = vec![0; 65_536];
        self.drain()?;
        while !self.ended {
            let deadlines = [self.tunnel.poll_timeout(), self.stack.as_ref().and_then(Stack::poll_timeout)];
            let deadline = deadlines.into_iter().flatten().min();
            let wait = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            // The socket takes no wait of zero.
            self.socket.set_read_timeout(wait.map(|wait| wait.max(Duration::from_millis(1))))?;
            match self.socket.recv_from(&mut buffer) {
                Ok((length, remote)) => self.on_datagram(remote, &mut buffer[..length]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(error) => return Err(error.into()),
            }
            // By the clock, not because waiting ended. Early calls do no harm.
            let now = Instant::now();
            self.tunnel.handle_timeout(now);
            if let Some(stack) = &mut self.stack {
                stack.handle_timeout(now);
            }
            self.drain()?;
        }
        Ok(())
    }

    fn on_datagram(&mut self, remote: SocketAddr, datagram: &mut [u8]) {
        let (now, from) = (Instant::now(), Path { remote, ..self.path });
        let tag = match self.tunnel.classify(&from, datagram) {
            Class::Control => return self.tunnel.handle_datagram(now, &from, datagram),
            Class::Data(tag) => tag,
            Class::Ignore => return,
        };
        let Some((_, opener)) = self.openers.iter_mut().find(|(known, _)| *known == tag) else { return };
        // A forged datagram, or one seen before, is dropped here.
        let Ok(opened) = opener.open(datagram) else { return };
        match opened.content {
            Content::Packet(range) => self.on_packet(now, &datagram[range]),
            Content::Unpacked => {
                let packet = opener.unpacked().to_vec();
                self.on_packet(now, &packet);
            }
            Content::Message(range) => self.tunnel.handle_message(now, &datagram[range]),
            Content::Filler => {}
        }
        if opened.newest && remote != self.path.remote {
            self.tunnel.handle_peer_path(now, &from);
        }
    }

    fn on_packet(&mut self, now: Instant, packet: &[u8]) {
        if let Some(stack) = &mut self.stack {
            stack.handle_packet(now, packet);
        }
    }

    /// Events of the stack, then those of the tunnel, then packets and datagrams.
    fn drain(&mut self) -> Result<()> {
        self.drain_stack();
        while let Some(event) = self.tunnel.poll_event() {
            self.on_event(event)?;
        }
        if let (Some(stack), Some(sealer)) = (&mut self.stack, &mut self.sealer) {
            let mut out = Out { sealer: &mut **sealer, socket: &self.socket, remote: self.path.remote };
            stack.poll_packets(Instant::now(), &mut out);
        }
        while let Some(Transmit { path, datagram }) = self.tunnel.poll_transmit() {
            self.socket.send_to(&datagram, path.remote)?;
        }
        Ok(())
    }

    fn on_event(&mut self, event: Event<T::Sealer, T::Opener>) -> Result<()> {
        match event {
            Event::Up(network) => self.on_up(&network)?,
            Event::Keys(KeyChange::AddOpener { tag, opener, .. }) => {
                self.openers.retain(|(known, _)| *known != tag);
                self.openers.push((tag, opener));
            }
            Event::Keys(KeyChange::RemoveOpener { tag }) => self.openers.retain(|(known, _)| *known != tag),
            Event::Keys(KeyChange::SetSealer { sealer, .. }) => self.sealer = Some(sealer),
            Event::Keys(KeyChange::RemoveFlow { .. }) => self.sealer = None,
            Event::Inject { packet, .. } => {
                if let Some(sealer) = &mut self.sealer {
                    let mut out = Out { sealer: &mut **sealer, socket: &self.socket, remote: self.path.remote };
                    out.packet(packet.len(), &mut |room| room.copy_from_slice(&packet));
                }
            }
            Event::Prompt(prompt) => println!("the gateway asks: {prompt:?}"),
            Event::Path(path) => self.path = path,
            Event::Closed(closed) => {
                println!("closed: {closed}");
                self.ended = true;
            }
        }
        Ok(())
    }

    /// The stack takes the addresses we were given, and connects.
    fn on_up(&mut self, network: &NetworkConfig) -> Result<()> {
        let addresses: Vec<_> = network.addresses.iter().map(|net| net.address()).collect();
        println!("up, our addresses are {addresses:?}");
        let (mtu, tcp_mtu) = (network.mtu.into(), network.tcp_mtu.into());
        let config = StackConfig { addresses, mtu, tcp_mtu, ..StackConfig::default() };
        match &mut self.stack {
            Some(stack) => stack.reconfigure(Instant::now(), config),
            None => {
                let mut stack = Stack::new(config, Urandom.next_u64());
                stack.connect(Instant::now(), self.target)?;
                self.stack = Some(stack);
            }
        }
        Ok(())
    }

    /// Asks once it is connected, collects the answer, leaves when all of it is here.
    #[expect(clippy::wildcard_enum_match_arm, reason = "there is one connection, of ours, and no UDP")]
    fn drain_stack(&mut self) {
        let Some(stack) = &mut self.stack else { return };
        while let Some(event) = stack.poll_event() {
            match event {
                StackEvent::Connected(id) => {
                    let request = format!("GET / HTTP/1.0\r\nHost: {}\r\n\r\n", self.target);
                    let taken = stack.send(id, request.as_bytes());
                    assert_eq!(taken, Ok(request.len()), "an empty buffer takes a request whole");
                }
                StackEvent::Readable(id) => {
                    let mut buffer = [0; 4096];
                    while let Ok(Some(length)) = stack.receive(id, &mut buffer) {
                        if length == 0 {
                            stack.shutdown(id);
                            break;
                        }
                        self.page.extend(&buffer[..length]);
                    }
                }
                StackEvent::Closed(id, reason) => {
                    println!("{}\n{reason}", String::from_utf8_lossy(&self.page));
                    stack.release(id);
                    self.tunnel.close(Instant::now());
                }
                _ => {}
            }
        }
    }
}

/// Where the stack's packets go: sealed in place, and sent.
struct Out<'a, S> {
    sealer: &'a mut S,
    socket: &'a UdpSocket,
    remote: SocketAddr,
}

impl<S: Sealer> PacketSink for Out<'_, S> {
    fn has_room(&mut self) -> bool {
        true
    }

    fn packet(&mut self, length: usize, fill: &mut dyn FnMut(&mut [u8])) {
        // The packet lies behind room for the header, before room for the tag.
        let mut buffer = vec![0; self.sealer.sealed_len(length)];
        let start = self.sealer.header_len();
        fill(&mut buffer[start..start + length]);
        match self.sealer.seal(&mut buffer, start..start + length) {
            // What the network loses, TCP sends again.
            Ok(datagram) => drop(self.socket.send_to(&buffer[datagram], self.remote)),
            Err(error) => println!("dropped: {error}"),
        }
    }
}

struct Urandom;

impl Random for Urandom {
    fn fill(&mut self, bytes: &mut [u8]) {
        use std::io::Read;
        let file = fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(bytes));
        file.expect("/dev/urandom is there and never ends");
    }
}
