//! The state machine of a tunnel with a blocking socket of the standard library: no tokio, no driver, no packets. Connects,
//! says what the gateway told, and leaves.
//!
//! `VPN_USER=alice VPN_PASSWORD=… cargo run -p adit-examples --example sans_io -- office.ovpn`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    env, fs, io,
    net::{SocketAddr, ToSocketAddrs, UdpSocket},
    path::Path as FilePath,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use adit_driver::OsRandom;
use adit_tunnel::{
    Class, Content, Epoch, Event, FlowId, KeyChange, KeyTag, Opener, Path, Sealer, Transmit, Transport, Tunnel,
};
use anyhow::{Context, bail, ensure};
use openvpn::{Carry, Config, Credentials, DataOpener, DataSealer, Profile, Secrets, Session};

fn main() -> anyhow::Result<()> {
    let config = Arc::new(configuration()?);
    let remote = config.remotes().first().context("no gateway")?;
    ensure!(remote.transport == Transport::Udp, "this example speaks UDP only");
    let address = (remote.host.as_str(), remote.port).to_socket_addrs()?.next().context("no address")?;
    let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    let path = Path { transport: Transport::Udp, local: None, remote: address };

    // Everything external comes in: configuration, randomness, time.
    let now = Instant::now();
    let epoch = Epoch::new(now, SystemTime::now().duration_since(UNIX_EPOCH)?);
    let session = Session::new(config, 0, Carry::default(), path, Box::new(OsRandom), epoch, now)?;
    let mut client =
        Client { session, socket, remote: address, openers: Vec::new(), sealer: None, up: false, closed: false };
    client.drain()?;
    while !client.closed {
        client.step(&path)?;
        if std::mem::take(&mut client.up) {
            client.session.close(Instant::now());
            client.drain()?;
        }
    }
    Ok(())
}

struct Client {
    session: Session,
    socket: UdpSocket,
    remote: SocketAddr,
    openers: Vec<(KeyTag, Box<DataOpener>)>,
    sealer: Option<Box<DataSealer>>,
    up: bool,
    closed: bool,
}

impl Client {
    /// Waits for a datagram or the deadline, and handles what comes first.
    fn step(&mut self, path: &Path) -> anyhow::Result<()> {
        let wait = self.session.poll_timeout().map(|at| at.saturating_duration_since(Instant::now()));
        // The socket takes no wait of zero.
        self.socket.set_read_timeout(wait.map(|wait| wait.max(Duration::from_millis(1))))?;
        let mut buffer = [0; 65535];
        match self.socket.recv_from(&mut buffer) {
            Ok((length, source)) => {
                let datagram = buffer.get_mut(..length).context("a datagram fits")?;
                self.handle(&Path { remote: source, ..*path }, datagram);
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => bail!("receive: {error}"),
        }
        // By the clock, not because waiting ended.
        let now = Instant::now();
        if self.session.poll_timeout().is_some_and(|deadline| deadline <= now) {
            self.session.handle_timeout(now);
        }
        self.drain()
    }

    fn handle(&mut self, path: &Path, datagram: &mut [u8]) {
        let now = Instant::now();
        match self.session.classify(path, datagram) {
            Class::Control => self.session.handle_datagram(now, path, datagram),
            Class::Data(tag) => {
                let Some((_, opener)) = self.openers.iter_mut().find(|(t, _)| *t == tag) else { return };
                match opener.open(datagram) {
                    Ok(opened) => match opened.content {
                        Content::Message(range) => {
                            self.session.handle_message(now, datagram.get(range).unwrap_or_default());
                        }
                        Content::Packet(range) => println!("a packet of {} bytes came in", range.len()),
                        Content::Unpacked | Content::Filler => {}
                    },
                    Err(error) => println!("dropped: {error}"),
                }
            }
            Class::Ignore => {}
        }
    }

    /// What follows every input: events first, then datagrams.
    fn drain(&mut self) -> anyhow::Result<()> {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Up(network) => {
                    println!("up: {network:#?}");
                    self.up = true;
                }
                Event::Keys(KeyChange::AddOpener { tag, opener, .. }) => {
                    self.openers.retain(|(t, _)| *t != tag);
                    self.openers.push((tag, opener));
                }
                Event::Keys(KeyChange::RemoveOpener { tag }) => self.openers.retain(|(t, _)| *t != tag),
                Event::Keys(KeyChange::SetSealer { sealer, .. }) => self.sealer = Some(sealer),
                Event::Keys(KeyChange::RemoveFlow { .. }) => self.sealer = None,
                Event::Inject { flow, packet } => self.inject(flow, &packet)?,
                Event::Prompt(prompt) => println!("the gateway asks: {prompt:?}"),
                Event::Path(path) => self.remote = path.remote,
                Event::Closed(closed) => {
                    println!("closed: {closed}");
                    self.closed = true;
                }
            }
        }
        while let Some(Transmit { path, datagram }) = self.session.poll_transmit() {
            self.socket.send_to(&datagram, path.remote)?;
        }
        Ok(())
    }

    /// Seals in place: the packet lies behind room for the header, before room for the tag.
    fn inject(&mut self, _: FlowId, packet: &[u8]) -> anyhow::Result<()> {
        let sealer = self.sealer.as_mut().context("no key yet")?;
        let mut buffer = vec![0; sealer.sealed_len(packet.len())];
        let range = sealer.header_len()..sealer.header_len() + packet.len();
        buffer.get_mut(range.clone()).context("room for the packet")?.copy_from_slice(packet);
        let datagram = sealer.seal(&mut buffer, range)?;
        self.socket.send_to(buffer.get(datagram).unwrap_or_default(), self.remote)?;
        Ok(())
    }
}

fn configuration() -> anyhow::Result<Config> {
    let file = env::args().nth(1).context("usage: sans_io FILE.ovpn")?;
    let text = fs::read(&file).with_context(|| file.clone())?;
    let beside = FilePath::new(&file).parent().unwrap_or_else(|| FilePath::new("")).to_owned();
    let mut load = |name: &str| fs::read(beside.join(name)).map_err(|error| format!("{name}: {error}"));
    let credentials = match (env::var("VPN_USER"), env::var("VPN_PASSWORD")) {
        (Ok(username), Ok(password)) => Some(Credentials { username, password: password.as_str().into() }),
        _ => None,
    };
    Ok(Profile::parse(&text, &mut load)?.into_config(Secrets { credentials, ..Secrets::default() })?)
}
