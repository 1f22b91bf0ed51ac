//! Pings a host behind an IKEv2 gateway, with one ordinary UDP socket: no root, no device, no runtime.
//!
//! ```sh
//! cargo run -p adit-examples --example userspace_ping -- 203.0.113.1 psk.txt 192.168.100.30
//! ```
//!
//! The loop is the whole contract of [`Tunnel`]: hand in datagrams and time; take events, datagrams and the next deadline.

use std::{
    env, fs,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use adit_tunnel::{
    Class, Content, Epoch, Event, KeyChange, KeyTag, Opener, Path, Random, Sealer, Secret, Transport, Tunnel,
};
use anyhow::{Context, Result, bail, ensure};
use ikev2::{Carry, Config, Credentials, EspOpener, EspSealer, PeerVerifier, Remote, Session};

struct Urandom(fs::File);

impl Random for Urandom {
    fn fill(&mut self, bytes: &mut [u8]) {
        use std::io::Read;
        self.0.read_exact(bytes).expect("/dev/urandom never ends");
    }
}

#[expect(clippy::print_stdout, reason = "an example talks to a person")]
fn main() -> Result<()> {
    let mut args = env::args().skip(1);
    let (Some(gateway), Some(psk), Some(target)) = (args.next(), args.next(), args.next()) else {
        bail!("usage: userspace_ping GATEWAY PSK-FILE TARGET");
    };
    let gateway: IpAddr = gateway.parse().context("GATEWAY must be an address")?;
    let target: Ipv4Addr = target.parse().context("TARGET must be an IPv4 address")?;
    let psk = Secret::new(fs::read_to_string(psk)?.trim_end());

    let config = Config::builder(vec![Remote::new(gateway.to_string(), 500)])
        .peer(PeerVerifier::Psk { key: psk.clone(), identity: None })
        .credentials(Credentials::Psk(psk))
        .build()?;

    let any = if gateway.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    let path = Path { transport: Transport::Udp, local: None, remote: SocketAddr::new(gateway, 500) };
    let now = Instant::now();
    let epoch = Epoch::new(now, SystemTime::now().duration_since(UNIX_EPOCH)?);
    let random = Box::new(Urandom(fs::File::open("/dev/urandom")?));
    let mut session = Session::new(Arc::new(config), 0, Carry::default(), path, random, epoch, now)?;

    let mut path = path;
    let mut openers: Vec<(KeyTag, Box<EspOpener>)> = Vec::new();
    let mut sealer: Option<Box<EspSealer>> = None;
    let mut source = None;
    let (mut sent, mut received) = (0u16, 0u16);
    let mut next_ping = Instant::now();
    let mut buffer = vec![0; 65_536];
    loop {
        while let Some(event) = session.poll_event() {
            match event {
                Event::Up(network) => {
                    println!("up: {network:?}");
                    source = network.addresses.iter().find_map(|net| match net.address() {
                        IpAddr::V4(address) => Some(address),
                        IpAddr::V6(_) => None,
                    });
                }
                Event::Keys(KeyChange::AddOpener { tag, opener, .. }) => openers.push((tag, opener)),
                Event::Keys(KeyChange::RemoveOpener { tag }) => openers.retain(|(t, _)| *t != tag),
                Event::Keys(KeyChange::SetSealer { sealer: new, .. }) => sealer = Some(new),
                Event::Keys(KeyChange::RemoveFlow { .. }) => sealer = None,
                Event::Path(new) => path = new,
                Event::Closed(closed) => {
                    println!("closed: {closed}");
                    ensure!(received == PINGS, "{received} of {sent} pings were answered");
                    return Ok(());
                }
                Event::Prompt(_) | Event::Inject { .. } => {}
            }
        }
        while let Some(transmit) = session.poll_transmit() {
            socket.send_to(&transmit.datagram, transmit.path.remote)?;
        }

        let now = Instant::now();
        if let (Some(sealer), Some(source), true) = (&mut sealer, source, now >= next_ping) {
            if sent == PINGS {
                session.close(now);
                next_ping = now + Duration::from_secs(60);
                continue;
            }
            let packet = echo_request(source, target, sent);
            let start = sealer.header_len();
            buffer[start..start + packet.len()].copy_from_slice(&packet);
            let range = sealer.seal(&mut buffer, start..start + packet.len())?;
            socket.send_to(&buffer[range], path.remote)?;
            sent += 1;
            next_ping = now + Duration::from_millis(200);
        }

        let deadlines = [session.poll_timeout(), sealer.is_some().then_some(next_ping)];
        let deadline = deadlines.into_iter().flatten().min().unwrap_or(now + Duration::from_secs(1));
        let wait = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(wait))?;
        match socket.recv_from(&mut buffer) {
            Ok((length, remote)) => {
                let (now, from) = (Instant::now(), Path { remote, ..path });
                let datagram = &mut buffer[..length];
                match session.classify(&from, datagram) {
                    Class::Control => session.handle_datagram(now, &from, datagram),
                    Class::Data(tag) => {
                        let opener = openers.iter_mut().find(|(t, _)| *t == tag);
                        if let Some(Ok(opened)) = opener.map(|(_, opener)| opener.open(datagram))
                            && let Content::Packet(range) = opened.content
                            && datagram[range.clone()].get(9) == Some(&ICMP)
                        {
                            received += 1;
                            println!("{} bytes from {target} through the tunnel", range.len());
                        }
                    }
                    Class::Ignore => {}
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                session.handle_timeout(Instant::now());
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// An ICMP echo request in an IPv4 packet (RFC 791, RFC 792).
fn echo_request(source: Ipv4Addr, destination: Ipv4Addr, sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 84, 0, 0, 0x40, 0, 64, ICMP, 0, 0];
    packet.extend(source.octets());
    packet.extend(destination.octets());
    let header = checksum(&packet);
    packet[10..12].copy_from_slice(&header.to_be_bytes());
    packet.extend([8, 0, 0, 0, 0xad, 0x17]);
    packet.extend(sequence.to_be_bytes());
    packet.extend([0x61; 56]);
    let icmp = checksum(&packet[20..]);
    packet[22..24].copy_from_slice(&icmp.to_be_bytes());
    packet
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let sum = words.sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    !(((folded & 0xffff) + (folded >> 16)) as u16)
}

const ICMP: u8 = 1;
const PINGS: u16 = 5;
