//! The outer sockets: datagrams to and from the gateway.

pub(crate) mod tcp;
pub(crate) mod udp;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    task::{Context, Poll},
    time::Duration,
};

use adit_tunnel::{Path, Transmit, Transport};

use crate::{batch::Batch, protocol::SocketOptions, shared::OuterSocket};

/// The receiving half: a batch of datagrams at a time.
#[derive(Debug)]
pub(crate) enum Receiver {
    Udp(Box<udp::UdpReceiver>),
    Tcp(tcp::TcpReceiver),
}

/// The sending half: control datagrams first, then the batch of the data plane.
#[derive(Debug)]
pub(crate) enum Sender {
    Udp(udp::UdpSender),
    Tcp(tcp::TcpSender),
}

/// Binds a UDP socket for this gateway.
pub(crate) fn open_udp(remote: SocketAddr, options: &SocketOptions) -> io::Result<(Receiver, Sender)> {
    let (receiver, sender) = udp::open(remote, options)?;
    Ok((Receiver::Udp(Box::new(receiver)), Sender::Udp(sender)))
}

/// Connects to this gateway.
pub(crate) async fn open_tcp(
    remote: SocketAddr,
    options: &SocketOptions,
    timeout: Duration,
) -> io::Result<(Receiver, Sender)> {
    let (receiver, sender) = tcp::open(remote, options, timeout).await?;
    Ok((Receiver::Tcp(receiver), Sender::Tcp(sender)))
}

impl Receiver {
    /// Which transport it is.
    pub(crate) fn transport(&self) -> Transport {
        match self {
            Self::Udp(_) => Transport::Udp,
            Self::Tcp(_) => Transport::Tcp,
        }
    }

    /// Our own address towards this gateway, as far as it is known.
    pub(crate) fn local_address(&self, remote: SocketAddr, mark: Option<u32>) -> Option<SocketAddr> {
        let bound = match self {
            Self::Udp(udp) => udp.local_addr(),
            Self::Tcp(tcp) => tcp.local_addr(),
        };
        let mut bound = bound.ok()?;
        if bound.ip().is_unspecified() {
            bound.set_ip(source_address(remote, mark).ok()?);
        }
        Some(bound)
    }

    /// One system call. [`Self::for_each`] then gives what it brought. An error ends the stream; UDP has none.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Udp(udp) => udp.poll_fill(cx).map(Ok),
            Self::Tcp(tcp) => tcp.poll_fill(cx),
        }
    }

    /// Whether an ICMP error about a datagram of ours has come since this was asked last.
    pub(crate) fn take_icmp_hint(&mut self) -> bool {
        match self {
            Self::Udp(udp) => udp.take_icmp_hint(),
            Self::Tcp(_) => false,
        }
    }

    /// Every datagram of the last [`Self::poll_fill`], with its source.
    pub(crate) fn for_each(&mut self, mut f: impl FnMut(SocketAddr, &mut [u8])) -> io::Result<()> {
        match self {
            Self::Udp(udp) => {
                udp.for_each(|source, _, datagram| f(source, datagram));
                Ok(())
            }
            Self::Tcp(tcp) => tcp.for_each(f),
        }
    }
}

impl Sender {
    /// Sends a datagram of the control plane before anything that waits.
    pub(crate) fn control(&mut self, transmit: Transmit) {
        match self {
            Self::Udp(udp) => udp.control(transmit),
            Self::Tcp(tcp) => tcp.batch.copy(&transmit.datagram),
        }
    }

    /// Where packets are sealed.
    pub(crate) fn batch(&mut self) -> &mut Batch {
        match self {
            Self::Udp(udp) => &mut udp.batch,
            Self::Tcp(tcp) => &mut tcp.batch,
        }
    }

    /// Sends what waits, the batch to the remote end of `path`. Ready once nothing waits any more. An error ends the stream; those of UDP are
    /// kept for [`Self::trouble`].
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>, path: &Path) -> Poll<io::Result<()>> {
        match self {
            Self::Udp(udp) => udp.poll_flush(cx, path).map(Ok),
            Self::Tcp(tcp) => tcp.poll_flush(cx),
        }
    }

    /// What the system makes of the UDP socket.
    pub(crate) fn socket(&self) -> Option<OuterSocket> {
        match self {
            Self::Udp(udp) => Some(udp.socket()),
            Self::Tcp(_) => None,
        }
    }

    /// The same, once after it has changed.
    pub(crate) fn changed_socket(&mut self) -> Option<OuterSocket> {
        match self {
            Self::Udp(udp) => udp.changed_socket(),
            Self::Tcp(_) => None,
        }
    }

    /// Why UDP datagrams do not even leave this machine, if so: no route, no permission.
    pub(crate) fn trouble(&self) -> Option<&io::Error> {
        match self {
            Self::Udp(udp) => udp.trouble(),
            Self::Tcp(_) => None,
        }
    }

    /// How many datagrams in a row could not be sent because this machine knows no way there.
    pub(crate) fn unroutable(&self) -> u32 {
        match self {
            Self::Udp(udp) => udp.unroutable(),
            Self::Tcp(_) => 0,
        }
    }

    /// How many ICMP errors have said that nothing listens there.
    pub(crate) fn refusals(&mut self) -> u32 {
        match self {
            Self::Udp(udp) => udp.refusals(),
            Self::Tcp(_) => 0,
        }
    }

    /// Whether there is a new [`Self::icmp_error`].
    pub(crate) fn has_icmp_hint(&self) -> bool {
        match self {
            Self::Udp(udp) => udp.hinted,
            Self::Tcp(_) => false,
        }
    }

    /// The same, once for each.
    pub(crate) fn take_icmp_hint(&mut self) -> bool {
        match self {
            Self::Udp(udp) => std::mem::take(&mut udp.hinted),
            Self::Tcp(_) => false,
        }
    }

    /// Why UDP datagrams do not arrive, as an ICMP error has it. Anybody may send those: this is no more than a hint.
    pub(crate) fn icmp_error(&self) -> Option<&io::Error> {
        match self {
            Self::Udp(udp) => udp.icmp_error(),
            Self::Tcp(_) => None,
        }
    }
}

/// The address the system would send from to this gateway now. It looks for a route; nothing is sent.
pub(crate) fn source_address(remote: SocketAddr, mark: Option<u32>) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind((unspecified(remote), 0))?;
    set_mark(&socket2::SockRef::from(&socket), mark)?;
    socket.connect(remote)?;
    Ok(socket.local_addr()?.ip())
}

/// The local address to bind to, towards this gateway.
fn local_address(remote: SocketAddr, options: &SocketOptions) -> SocketAddr {
    SocketAddr::new(options.address.unwrap_or_else(|| unspecified(remote)), options.port.unwrap_or(0))
}

/// Has the kernel's rules know the tunnel's own datagrams.
#[cfg(target_os = "linux")]
fn set_mark(socket: &socket2::SockRef<'_>, mark: Option<u32>) -> io::Result<()> {
    let Some(mark) = mark else { return Ok(()) };
    socket.set_mark(mark).map_err(|error| {
        io::Error::new(error.kind(), format!("datagrams cannot be marked (it needs CAP_NET_ADMIN): {error}"))
    })
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "it fails on Linux")]
fn set_mark(_: &socket2::SockRef<'_>, _: Option<u32>) -> io::Result<()> {
    Ok(())
}

fn unspecified(remote: SocketAddr) -> IpAddr {
    if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}
