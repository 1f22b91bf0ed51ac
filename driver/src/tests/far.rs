//! The far end: a toy gateway on the loopback interface, with one host behind it.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use adit_tunnel::{Content, Opener, Sealer, Transport, stream::StreamDecoder};
use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    phy::{self, Device, DeviceCapabilities, Medium},
    socket::tcp::{Socket, SocketBuffer, State},
    time::Instant as Clock,
    wire::{HardwareAddress, IpAddress, IpCidr},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    sync::watch,
    task::JoinHandle,
    time::Instant,
};

use super::toy::*;

/// Where the host behind the gateway lives.
pub(super) const HOST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// Returns what it gets, and closes when the other side does. Over UDP, too.
pub(super) const ECHO: u16 = 7;
/// Sends a little, then resets.
pub(super) const RESETS: u16 = 19;
/// Never reads.
pub(super) const DEAF: u16 = 9;
/// A name server that knows everything, but over UDP says no more than that there is more.
pub(super) const DNS: u16 = 53;
/// The host's own.
pub(super) const CALLER: u16 = 5000;
/// What it answers.
pub(super) const ANSWER_ADDRESS: [u8; 4] = [10, 9, 0, 77];

/// How the gateway takes a hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Manner {
    Welcome,
    Silent,
    Say(Vec<u8>),
    /// Welcomes and answers pings, but carries nothing.
    Hollow,
    /// Welcomes, and answers data with this.
    Interrupt(Vec<u8>),
}

/// What the gateway has seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) hellos: usize,
    pub(super) byes: usize,
    pub(super) answers: Vec<Vec<u8>>,
    /// Data datagrams that opened.
    pub(super) data: usize,
    /// Connections to the host that ended with a reset.
    pub(super) resets: usize,
    /// The client's outer address.
    pub(super) client: Option<SocketAddr>,
    /// Bytes of all datagrams that came from the client, and of those that went to it.
    pub(super) bytes: (u64, u64),
}

/// The running gateway; dropped, it is gone without a word.
pub(super) struct Far {
    pub(super) address: SocketAddr,
    pub(super) transport: Transport,
    pub(super) manner: Arc<Mutex<Manner>>,
    pub(super) seen: watch::Receiver<Seen>,
    host: Arc<Mutex<Host>>,
    task: JoinHandle<()>,
}

impl Far {
    pub(super) async fn start(transport: Transport) -> Self {
        Self::with_manner(transport, Manner::Welcome).await
    }

    pub(super) async fn with_manner(transport: Transport, manner: Manner) -> Self {
        Self::on("127.0.0.1:0".parse().expect("an address"), transport, manner).await
    }

    pub(super) async fn on(address: SocketAddr, transport: Transport, manner: Manner) -> Self {
        Self::before(Arc::default(), address, transport, manner).await
    }

    /// Another gateway before the same host.
    pub(super) async fn beside(other: &Self, manner: Manner) -> Self {
        let address = "127.0.0.1:0".parse().expect("an address");
        Self::before(Arc::clone(&other.host), address, other.transport, manner).await
    }

    async fn before(host: Arc<Mutex<Host>>, address: SocketAddr, transport: Transport, manner: Manner) -> Self {
        let manner = Arc::new(Mutex::new(manner));
        let (sender, seen) = watch::channel(Seen::default());
        let gateway = Gateway::new(Arc::clone(&manner), sender, Arc::clone(&host));
        let (address, task) = match transport {
            Transport::Udp => {
                let socket = UdpSocket::bind(address).await.expect("bound");
                (socket.local_addr().expect("bound"), tokio::spawn(run_udp(socket, gateway)))
            }
            Transport::Tcp => {
                let listener = TcpListener::bind(address).await.expect("bound");
                (listener.local_addr().expect("bound"), tokio::spawn(run_tcp(listener, gateway)))
            }
        };
        Self { address, transport, manner, seen, host, task }
    }

    pub(super) fn set(&self, manner: Manner) {
        *self.manner.lock().expect("no panic") = manner;
    }

    /// The host connects to that port of the client's, and echoes what it gets.
    pub(super) fn call(&self, client: Ipv4Addr, port: u16) {
        let mut host = self.host.lock().expect("no panic");
        host.route = Arc::as_ptr(&self.manner).addr();
        host.call((client, port));
    }

    /// The host sends a datagram from port 5000 to that port of the client's.
    pub(super) fn send(&self, client: Ipv4Addr, port: u16, payload: &[u8]) {
        let mut host = self.host.lock().expect("no panic");
        host.route = Arc::as_ptr(&self.manner).addr();
        host.device.sent.push(datagram((HOST, CALLER), (client, port), payload));
    }

    /// What the host has got at port 5000 over UDP.
    pub(super) fn heard(&self) -> Vec<Vec<u8>> {
        self.host.lock().expect("no panic").heard.clone()
    }

    /// Ends without a word, and waits until its sockets are closed.
    pub(super) async fn gone(mut self) {
        self.task.abort();
        assert!((&mut self.task).await.is_err(), "it was running");
    }

    /// Waits until this was seen.
    pub(super) async fn saw(&self, what: impl FnMut(&Seen) -> bool) -> Seen {
        super::soon(self.seen.clone().wait_for(what)).await.expect("the gateway runs").clone()
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run_udp(socket: UdpSocket, mut gateway: Gateway) {
    let mut buffer = [0; 65535];
    loop {
        let wait = gateway.wait();
        tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                let Ok((length, source)) = received else { continue };
                gateway.handle(source, &mut buffer[..length]);
                // As many as have come, before the host is asked.
                while let Ok((length, source)) = socket.try_recv_from(&mut buffer) {
                    gateway.handle(source, &mut buffer[..length]);
                }
            }
            () = tokio::time::sleep(wait) => {}
        }
        gateway.poll();
        if let Some(client) = gateway.client {
            for datagram in gateway.take_out() {
                drop(socket.send_to(&datagram, client).await);
            }
        }
    }
}

async fn run_tcp(listener: TcpListener, mut gateway: Gateway) {
    loop {
        let Ok((mut stream, source)) = listener.accept().await else { return };
        let mut decoder = StreamDecoder::new(65535);
        loop {
            let wait = gateway.wait();
            tokio::select! {
                read = stream.read(decoder.room()) => match read {
                    Ok(0) | Err(_) => break,
                    Ok(count) => decoder.filled(count),
                },
                () = tokio::time::sleep(wait) => {}
            }
            while let Some(datagram) = decoder.next_datagram().expect("a sequence of datagrams") {
                gateway.handle(source, datagram);
            }
            gateway.poll();
            let mut bytes = Vec::new();
            for datagram in gateway.take_out() {
                bytes.extend_from_slice(&(datagram.len() as u16).to_be_bytes());
                bytes.extend_from_slice(&datagram);
            }
            if stream.write_all(&bytes).await.is_err() {
                break;
            }
        }
    }
}

/// The gateway without its socket.
struct Gateway {
    manner: Arc<Mutex<Manner>>,
    seen: watch::Sender<Seen>,
    client: Option<SocketAddr>,
    sealer: ToySealer,
    opener: ToyOpener,
    host: Arc<Mutex<Host>>,
    out: Vec<Vec<u8>>,
}

impl Gateway {
    fn new(manner: Arc<Mutex<Manner>>, seen: watch::Sender<Seen>, host: Arc<Mutex<Host>>) -> Self {
        let (sealer, opener) = (ToySealer::new(), ToyOpener::new());
        Self { manner, seen, client: None, sealer, opener, host, out: Vec::new() }
    }

    fn host(&self) -> MutexGuard<'_, Host> {
        self.host.lock().expect("no panic")
    }

    /// Tells it from others before the same host.
    fn id(&self) -> usize {
        Arc::as_ptr(&self.manner).addr()
    }

    fn wait(&self) -> Duration {
        self.host().wait()
    }

    fn take_out(&mut self) -> Vec<Vec<u8>> {
        let bytes: usize = self.out.iter().map(Vec::len).sum();
        self.seen.send_modify(|seen| seen.bytes.1 += bytes as u64);
        std::mem::take(&mut self.out)
    }

    fn handle(&mut self, source: SocketAddr, datagram: &mut [u8]) {
        self.seen.send_modify(|seen| seen.bytes.0 += datagram.len() as u64);
        let manner = self.manner.lock().expect("no panic").clone();
        match datagram {
            [HELLO] => {
                self.seen.send_modify(|seen| seen.hellos += 1);
                self.client = Some(source);
                // A new session has new keys.
                (self.sealer, self.opener) = (ToySealer::new(), ToyOpener::new());
                match manner {
                    Manner::Silent => {}
                    Manner::Welcome | Manner::Hollow | Manner::Interrupt(_) => self.out.push(vec![WELCOME]),
                    Manner::Say(what) => self.out.push(what),
                }
            }
            [BYE] => self.seen.send_modify(|seen| seen.byes += 1),
            [ANSWER, text @ ..] => {
                let text = text.to_vec();
                self.seen.send_modify(|seen| seen.answers.push(text));
                self.out.push(vec![WELCOME]);
            }
            [DATA, ..] => match manner {
                Manner::Silent => {}
                Manner::Interrupt(what) => self.out.push(what),
                Manner::Welcome | Manner::Hollow | Manner::Say(_) => self.on_data(source, datagram),
            },
            _ => {}
        }
        let client = self.client;
        self.seen.send_if_modified(|seen| std::mem::replace(&mut seen.client, client) != client);
    }

    fn on_data(&mut self, source: SocketAddr, datagram: &mut [u8]) {
        let Ok(opened) = self.opener.open(datagram) else { return };
        self.client = Some(source);
        self.seen.send_modify(|seen| seen.data += 1);
        match opened.content {
            Content::Packet(_) if *self.manner.lock().expect("no panic") == Manner::Hollow => {}
            Content::Packet(range) => {
                let id = self.id();
                let mut host = self.host();
                host.route = id;
                host.handle(&datagram[range]);
            }
            Content::Message(_) => self.seal(&[PING]),
            Content::Unpacked | Content::Filler => {}
        }
    }

    fn poll(&mut self) {
        // Others have the host's answers when it heard from there.
        if self.host().route != self.id() {
            return;
        }
        let resets = self.host().poll();
        let sent = std::mem::take(&mut self.host().device.sent);
        for packet in sent {
            self.seal(&packet);
        }
        if resets > 0 {
            self.seen.send_modify(|seen| seen.resets += resets);
        }
        if *self.manner.lock().expect("no panic") == Manner::Silent {
            self.out.clear();
        }
    }

    fn seal(&mut self, packet: &[u8]) {
        let mut buffer = vec![0; self.sealer.sealed_len(packet.len())];
        let range = self.sealer.header_len()..self.sealer.header_len() + packet.len();
        buffer[range.clone()].copy_from_slice(packet);
        self.sealer.seal(&mut buffer, range).expect("room");
        self.out.push(buffer);
    }
}

/// The host behind the gateway.
struct Host {
    /// The gateway it heard from last.
    route: usize,
    start: Instant,
    device: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    services: Vec<(SocketHandle, u16, Service)>,
    heard: Vec<Vec<u8>>,
}

/// What a listening socket is at.
#[derive(Debug, Default)]
struct Service {
    open: bool,
    closing: bool,
    pending: VecDeque<u8>,
}

const LISTENERS: usize = 8;
const BUFFER: usize = 256 * 1024;

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Host {
    fn new() -> Self {
        let mut device = Wire::default();
        let mut interface = Interface::new(Config::new(HardwareAddress::Ip), &mut device, Clock::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(IpAddress::Ipv4(HOST), 24)).expect("room for one");
        });
        let mut sockets = SocketSet::new(Vec::new());
        let mut services = Vec::new();
        for port in [ECHO, RESETS, DEAF, DNS] {
            for _ in 0..LISTENERS {
                let mut socket = Socket::new(SocketBuffer::new(vec![0; BUFFER]), SocketBuffer::new(vec![0; BUFFER]));
                socket.listen(port).expect("a port");
                services.push((sockets.add(socket), port, Service::default()));
            }
        }
        Self { route: 0, start: Instant::now(), device, interface, sockets, services, heard: Vec::new() }
    }

    fn clock(&self) -> Clock {
        Clock::from_micros(self.start.elapsed().as_micros() as i64)
    }

    fn wait(&mut self) -> Duration {
        let clock = self.clock();
        let delay = self.interface.poll_delay(clock, &self.sockets);
        delay.map_or(Duration::from_millis(50), |delay| Duration::from_micros(delay.total_micros()))
    }

    fn call(&mut self, to: (Ipv4Addr, u16)) {
        let mut socket = Socket::new(SocketBuffer::new(vec![0; BUFFER]), SocketBuffer::new(vec![0; BUFFER]));
        socket.connect(self.interface.context(), to, CALLER + self.services.len() as u16).expect("it can");
        self.services.push((self.sockets.add(socket), CALLER, Service::default()));
    }

    fn handle(&mut self, packet: &[u8]) {
        if packet.len() >= 28 && packet[9] == 17 && packet[22..24] == CALLER.to_be_bytes() {
            self.heard.push(packet[28..].to_vec());
            return;
        }
        match echo_udp(packet).or_else(|| echo_icmp(packet)) {
            Some(answer) => self.device.sent.push(answer),
            None => self.device.received.push_back(packet.to_vec()),
        }
    }

    /// Lets the services work. Returns how many connections were reset by the client.
    fn poll(&mut self) -> usize {
        let mut resets = 0;
        for _ in 0..4 {
            let clock = self.clock();
            self.interface.poll(clock, &mut self.device, &mut self.sockets);
            for (handle, port, service) in &mut self.services {
                resets += service.work(self.sockets.get_mut::<Socket<'_>>(*handle), *port);
            }
        }
        resets
    }
}

impl Service {
    fn work(&mut self, socket: &mut Socket<'_>, port: u16) -> usize {
        if port == CALLER && !socket.is_open() {
            return 0;
        }
        if !socket.is_open() {
            let reset = self.open && !self.closing;
            *self = Self::default();
            socket.listen(port).expect("a port");
            return usize::from(reset);
        }
        if matches!(socket.state(), State::Listen | State::SynReceived | State::SynSent) {
            return 0;
        }
        self.open = true;
        match port {
            RESETS => {
                self.closing = true;
                socket.abort();
            }
            ECHO | CALLER => self.echo(socket),
            DNS => self.resolve(socket),
            _ => {}
        }
        0
    }

    /// One query, whole in its segment.
    fn resolve(&mut self, socket: &mut Socket<'_>) {
        if let Ok(Some(query)) = socket.recv(|bytes| (bytes.len(), bytes.get(2..).map(<[u8]>::to_vec))) {
            let mut answer = query;
            answer[2..4].copy_from_slice(&[0x81, 0x80]);
            answer[7] = 1;
            answer.extend_from_slice(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04");
            answer.extend_from_slice(&ANSWER_ADDRESS);
            socket.send_slice(&(answer.len() as u16).to_be_bytes()).expect("it can");
            socket.send_slice(&answer).expect("it can");
            self.closing = true;
            socket.close();
        }
    }

    fn echo(&mut self, socket: &mut Socket<'_>) {
        while socket.can_send() && (socket.can_recv() || !self.pending.is_empty()) {
            if self.pending.is_empty() {
                let received = socket.recv(|bytes| (bytes.len(), bytes.to_vec())).expect("it can");
                self.pending.extend(received);
            }
            let sent = socket.send_slice(self.pending.make_contiguous()).expect("it can");
            self.pending.drain(..sent);
        }
        if !socket.may_recv() && self.pending.is_empty() && !socket.can_recv() {
            self.closing = true;
            socket.close();
        }
    }
}

/// The answer to a UDP datagram for the echo port: the same with both ends swapped, which leaves every checksum as it is. To
/// one for the name server: the same, truncated.
fn echo_udp(packet: &[u8]) -> Option<Vec<u8>> {
    let mut answer = packet.to_vec();
    if packet.len() < 28 || packet[9] != 17 {
        return None;
    }
    if packet.len() >= 40 && packet[22..24] == DNS.to_be_bytes() {
        answer[30..32].copy_from_slice(&[0x83, 0x80]);
        // No checksum.
        answer[26..28].fill(0);
    } else if packet[22..24] != ECHO.to_be_bytes() {
        return None;
    }
    let (source, destination) = answer[12..20].split_at_mut(4);
    source.swap_with_slice(destination);
    let (source, destination) = answer[20..24].split_at_mut(2);
    source.swap_with_slice(destination);
    Some(answer)
}

/// The answer to an echo request: the same with both ends swapped, and another type, which the checksum counts.
fn echo_icmp(packet: &[u8]) -> Option<Vec<u8>> {
    if packet.len() < 28 || packet[9] != 1 || packet[20] != 8 || packet[16..20] != HOST.octets() {
        return None;
    }
    let mut answer = packet.to_vec();
    let (source, destination) = answer[12..20].split_at_mut(4);
    source.swap_with_slice(destination);
    answer[20] = 0;
    let sum = u32::from(u16::from_be_bytes([packet[22], packet[23]])) + 0x0800;
    let sum = (sum & 0xffff) + (sum >> 16);
    answer[22..24].copy_from_slice(&(sum as u16).to_be_bytes());
    Some(answer)
}

/// A UDP datagram without a checksum.
fn datagram(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let length = (28 + payload.len()) as u16;
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0];
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet.extend_from_slice(&from.0.octets());
    packet.extend_from_slice(&to.0.octets());
    let sum: u32 = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(&from.1.to_be_bytes());
    packet.extend_from_slice(&to.1.to_be_bytes());
    packet.extend_from_slice(&(length - 20).to_be_bytes());
    packet.extend_from_slice(&[0, 0]);
    packet.extend_from_slice(payload);
    packet
}

/// Packets of the host.
#[derive(Debug, Default)]
struct Wire {
    received: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
}

struct Rx(Vec<u8>);
struct Tx<'a>(&'a mut Vec<Vec<u8>>);

impl Device for Wire {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Clock) -> Option<(Rx, Tx<'_>)> {
        Some((Rx(self.received.pop_front()?), Tx(&mut self.sent)))
    }

    fn transmit(&mut self, _: Clock) -> Option<Tx<'_>> {
        Some(Tx(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = 1400;
        capabilities
    }
}

impl phy::RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push(packet);
        result
    }
}
