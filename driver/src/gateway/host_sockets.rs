//! The way out through ordinary sockets of this machine.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    task::{Context, Poll, ready},
};

use adit_tunnel::IpNet;
use socket2::SockRef;
use tokio::{
    io::{Interest, ReadBuf},
    net::{TcpStream, UdpSocket},
};

use super::{
    BoxFuture,
    exit::{Datagrams, Exit, Stream},
};

/// Ordinary sockets of this machine: inner connections leave as connections of this process, without root. Hosts see this
/// machine's address.
///
/// Peers reach whatever this process reaches, including what listens on this machine's other addresses. What is never meant
/// for them is refused: loopback, link-local addresses, the metadata services of clouds, multicast, broadcast, reserved and
/// unspecified addresses, also where an IPv6 address stands for such an IPv4 address, and the prefix of local translators
/// (64:ff9b:1::/48), which may stand for any.
#[derive(Debug, Clone, Default)]
pub struct HostSockets {
    /// With any, these alone are reachable. Empty means everything but what is refused above. A refused address becomes
    /// reachable by a network that lies wholly within its range (`127.0.0.0/8` opens loopback, `0.0.0.0/0` does not).
    pub allow: Vec<IpNet>,
}

impl HostSockets {
    /// Only these networks; all but what is refused anyway, if there are none.
    #[must_use]
    pub fn new(allow: impl Into<Vec<IpNet>>) -> Self {
        Self { allow: allow.into() }
    }

    /// The address to connect to, if it may be.
    fn permitted(&self, to: SocketAddr) -> io::Result<SocketAddr> {
        let address = to.ip().to_canonical();
        if self.permits(address) {
            return Ok(SocketAddr::new(address, to.port()));
        }
        Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{address} is not reachable for peers")))
    }

    fn permits(&self, address: IpAddr) -> bool {
        // What stands for another address is judged as both.
        let meant = embedded(address).map(IpAddr::V4);
        let fit = [Some(address), meant].into_iter().flatten().all(|address| self.is_fit(address));
        fit && (self.allow.is_empty() || self.allow.iter().any(|net| net.contains(address)))
    }

    /// Whether it is an ordinary address, or one that is named.
    fn is_fit(&self, address: IpAddr) -> bool {
        let named = |range: IpNet| self.allow.iter().any(|net| net.contains(address) && lies_within(net, &range));
        special_ranges(address).all(named)
    }
}

impl Exit for HostSockets {
    fn connect(&self, to: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let to = self.permitted(to);
        Box::pin(async move {
            let stream = TcpStream::connect(to?).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }

    fn bind_udp(&self, to: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Datagrams>>> {
        let to = self.permitted(to);
        Box::pin(async move {
            let to = to?;
            let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let socket = UdpSocket::bind((any, 0)).await?;
            socket.connect(to).await?;
            Ok(Box::new(HostDatagrams::new(socket)) as Box<dyn Datagrams>)
        })
    }
}

/// A connected UDP socket that also wakes for ICMP errors, of which readiness to be read does not tell.
struct HostDatagrams {
    socket: Arc<UdpSocket>,
    trouble: BoxFuture<'static, io::Error>,
}

impl HostDatagrams {
    fn new(socket: UdpSocket) -> Self {
        let socket = Arc::new(socket);
        let trouble = trouble(Arc::clone(&socket));
        Self { socket, trouble }
    }
}

impl Datagrams for HostDatagrams {
    fn poll_send(&mut self, cx: &mut Context<'_>, datagram: &[u8]) -> Poll<io::Result<usize>> {
        self.socket.poll_send(cx, datagram)
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(received) = self.socket.poll_recv(cx, buffer) {
            return Poll::Ready(received);
        }
        let error = ready!(self.trouble.as_mut().poll(cx));
        self.trouble = trouble(Arc::clone(&self.socket));
        Poll::Ready(Err(error))
    }
}

/// The next error that the system notes about the socket.
fn trouble(socket: Arc<UdpSocket>) -> BoxFuture<'static, io::Error> {
    Box::pin(async move {
        let noted = socket.async_io(Interest::ERROR, || match SockRef::from(&*socket).take_error()? {
            Some(error) => Ok(error),
            None => Err(io::ErrorKind::WouldBlock.into()),
        });
        noted.await.unwrap_or_else(|error| error)
    })
}

/// Whether `net` is a part of `range`.
fn lies_within(net: &IpNet, range: &IpNet) -> bool {
    range.contains(net.address()) && net.prefix() >= range.prefix()
}

/// The ranges that are refused unless named, of those the address lies in.
fn special_ranges(address: IpAddr) -> impl Iterator<Item = IpNet> {
    let of = |(range, prefix): &(&str, u8)| IpNet::new(range.parse::<IpAddr>().ok()?, *prefix);
    SPECIAL.iter().filter_map(of).filter(move |range| range.contains(address))
}

/// The IPv4 address that a translator or a relay would take this for: of 64:ff9b::/96 (RFC 6052 §2.1), of 2002::/16
/// (RFC 3056 §2), of the translatable ::ffff:0:0:0/96 (RFC 2765 §2.1), and of the deprecated ::/96 (RFC 4291 §2.5.5.1).
fn embedded(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return None };
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match [a, b, c, d, e, f] {
        [0x64, 0xff9b, 0, 0, 0, 0] => Some(v4(g, h)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        [0, 0, 0, 0, 0xffff, 0] => Some(v4(g, h)),
        // `::` and `::1` have ranges of their own.
        [0, 0, 0, 0, 0, 0] if g != 0 => Some(v4(g, h)),
        _ => None,
    }
}

/// RFC 6890 and its registry: what is this machine, its link, or more than one host.
const SPECIAL: [(&str, u8); 15] = [
    ("0.0.0.0", 8),
    ("127.0.0.0", 8),
    ("169.254.0.0", 16),
    ("224.0.0.0", 4),
    // Reserved (RFC 1112 §4), and so of no ordinary host.
    ("240.0.0.0", 4),
    ("255.255.255.255", 32),
    // Not link-local, but as sensitive: the metadata services of Alibaba Cloud and Oracle Cloud.
    ("100.100.100.200", 32),
    ("192.0.0.192", 32),
    // Translated locally (RFC 8215): where in it an IPv4 address stands is not known here.
    ("64:ff9b:1::", 48),
    ("::", 128),
    ("::1", 128),
    ("fe80::", 10),
    // Site-local, deprecated by RFC 3879 and as local as the rest.
    ("fec0::", 10),
    ("ff00::", 8),
    // The metadata service of EC2 over IPv6.
    ("fd00:ec2::254", 128),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        let (address, prefix) = text.split_once('/').unwrap();
        IpNet::new(address.parse::<IpAddr>().unwrap(), prefix.parse().unwrap()).unwrap()
    }

    fn exit(allow: &[&str]) -> HostSockets {
        HostSockets::new(allow.iter().map(|text| net(text)).collect::<Vec<_>>())
    }

    fn permits(exit: &HostSockets, address: &str) -> bool {
        exit.permitted(SocketAddr::new(address.parse().unwrap(), 80)).is_ok()
    }

    #[test]
    fn what_is_never_meant_for_peers_is_refused() {
        for address in [
            "127.0.0.1",
            "127.255.255.254",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0.0.0.0",
            "::ffff:255.255.255.255",
            "::ffff:224.0.0.1",
            "::127.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b::127.0.0.1",
            "2002:7f00:1::1",
            "240.0.0.1",
            "100.100.100.200",
            "192.0.0.192",
            "::ffff:100.100.100.200",
            "64:ff9b::192.0.0.192",
            "64:ff9b:1::a00:1",
            "64:ff9b:1:ffff::1",
            "::ffff:0:127.0.0.1",
            "::ffff:0:169.254.169.254",
        ] {
            assert!(!permits(&exit(&[]), address), "{address}");
            assert!(!permits(&exit(&["0.0.0.0/0", "::/0"]), address), "{address} by everything");
        }
    }

    #[test]
    fn everything_else_is_reachable_unless_only_some_is_allowed() {
        for address in [
            "10.0.0.1",
            "192.0.2.1",
            "::ffff:10.0.0.1",
            "2001:db8::1",
            "64:ff9b::192.0.2.1",
            "fd00::1",
            "100.100.100.201",
            "::ffff:0:10.0.0.1",
        ] {
            assert!(permits(&exit(&[]), address), "{address}");
            assert!(!permits(&exit(&["203.0.113.0/24"]), address), "{address}");
        }
        let some = exit(&["10.1.0.0/16", "2001:db8:1::/48"]);
        assert!(permits(&some, "10.1.2.3") && permits(&some, "::ffff:10.1.2.3") && permits(&some, "2001:db8:1::2"));
        assert!(!permits(&some, "10.2.2.3") && !permits(&some, "2001:db8:2::2") && !permits(&some, "127.0.0.1"));
    }

    #[test]
    fn a_refused_address_becomes_reachable_by_its_name_alone() {
        let loopback = exit(&["127.0.0.1/32"]);
        assert!(permits(&loopback, "127.0.0.1") && permits(&loopback, "::ffff:127.0.0.1"));
        assert!(!permits(&loopback, "127.0.0.2") && !permits(&loopback, "::1") && !permits(&loopback, "10.0.0.1"));
        assert!(permits(&exit(&["127.0.0.0/8"]), "127.1.2.3"));
        assert!(!permits(&exit(&["126.0.0.0/7"]), "127.0.0.1"), "wider than the range");
        assert!(permits(&exit(&["fe80::/64"]), "fe80::1"));
        assert!(permits(&exit(&["::1/128"]), "::1"));
    }

    #[tokio::test]
    async fn refusals_come_before_any_socket() {
        let refused = exit(&[]).connect("127.0.0.1:1".parse().unwrap()).await.err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        let refused = exit(&[]).bind_udp("[::ffff:127.0.0.1]:1".parse().unwrap()).await.err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    }
}
