//! The other end: a plain smoltcp host.

use std::{collections::VecDeque, net::IpAddr, time::Instant as StdInstant};

use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken},
    socket::tcp,
    time::Instant,
    wire::{HardwareAddress, IpAddress, IpCidr, IpListenEndpoint},
};

pub(crate) struct Host {
    interface: Interface,
    sockets: SocketSet<'static>,
    wire: Wire,
    base: StdInstant,
}

#[derive(Default)]
pub(crate) struct Wire {
    pub(crate) arrived: VecDeque<Vec<u8>>,
    pub(crate) sent: VecDeque<Vec<u8>>,
    mtu: usize,
}

impl Host {
    pub(crate) fn new(addresses: &[IpAddr], mtu: usize, base: StdInstant) -> Self {
        let mut wire = Wire { mtu, ..Wire::default() };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = 7;
        let mut interface = Interface::new(config, &mut wire, Instant::ZERO);
        interface.update_ip_addrs(|list| {
            for address in addresses {
                list.push(IpCidr::new(IpAddress::from(*address), if address.is_ipv4() { 32 } else { 128 })).unwrap();
            }
        });
        Self { interface, sockets: SocketSet::new(Vec::new()), wire, base }
    }

    fn time(&self, now: StdInstant) -> Instant {
        Instant::from_micros(i64::try_from(now.duration_since(self.base).as_micros()).unwrap())
    }

    pub(crate) fn listen(&mut self, port: u16, buffer: usize) -> SocketHandle {
        let buffers = [(); 2].map(|()| tcp::SocketBuffer::new(vec![0; buffer]));
        let [rx, tx] = buffers;
        let mut socket = tcp::Socket::new(rx, tx);
        socket.set_congestion_control(tcp::CongestionControl::Cubic);
        socket.set_nagle_enabled(false);
        socket.listen(IpListenEndpoint { addr: None, port }).unwrap();
        self.sockets.add(socket)
    }

    pub(crate) fn socket(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub(crate) fn arrive(&mut self, packet: Vec<u8>) {
        self.wire.arrived.push_back(packet);
    }

    /// Runs the host; what it sends.
    pub(crate) fn poll(&mut self, now: StdInstant) -> Vec<Vec<u8>> {
        let time = self.time(now);
        self.interface.poll(time, &mut self.wire, &mut self.sockets);
        self.wire.sent.drain(..).collect()
    }

    pub(crate) fn poll_at(&mut self, now: StdInstant) -> Option<StdInstant> {
        let time = self.time(now);
        let at = self.interface.poll_at(time, &self.sockets)?;
        let micros = u64::try_from(at.total_micros()).unwrap();
        Some((self.base + std::time::Duration::from_micros(micros)).max(now))
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sending<'_>)> {
        let packet = self.arrived.pop_front()?;
        Some((Received(packet), Sending(&mut self.sent)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        Some(Sending(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

pub(crate) struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

pub(crate) struct Sending<'a>(&'a mut VecDeque<Vec<u8>>);

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push_back(packet);
        result
    }
}
