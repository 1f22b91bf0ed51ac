//! A client's end of a device: packets out of the tunnel go to the kernel, the kernel's are sealed for the tunnel.

use std::{
    fmt, io,
    net::IpAddr,
    task::{Context, Poll},
};

use adit_netstack::PacketSink;
use tun_rs::AsyncDevice;

use super::{Device, deliveries::Deliveries, mss::MaxSegment, trains::Trains};
use crate::plane::{destination, source};

/// Beside the stack of a client. See [`crate::inside::Inner`].
pub(crate) struct Port {
    device: AsyncDevice,
    name: String,
    trains: Trains,
    deliveries: Deliveries,
    max_segment: Option<MaxSegment>,
    /// Where a packet is changed.
    scratch: Vec<u8>,
    /// A bound chosen by the user, below what the tunnel's own sizes give.
    limit: Option<u16>,
}

impl Port {
    /// Must be called within a tokio runtime.
    pub(crate) fn new(device: Device) -> io::Result<Self> {
        let Device { device, name, max_segment } = device;
        let offload = device.tcp_gso();
        Ok(Self {
            device: AsyncDevice::new(device)?,
            name,
            trains: Trains::new(offload),
            deliveries: Deliveries::new(offload),
            max_segment: None,
            scratch: Vec::new(),
            limit: max_segment,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The tunnel takes TCP packets of this size, in bytes.
    pub(crate) fn set_tcp_mtu(&mut self, tcp_mtu: u16) {
        let fits = MaxSegment::of_mtu(tcp_mtu);
        self.max_segment = Some(self.limit.map_or(fits, |limit| fits.at_most(limit)));
    }

    /// A packet out of the tunnel. It may wait for others until [`Self::flush`].
    pub(crate) fn deliver(&mut self, packet: &[u8]) {
        let packet = match self.max_segment {
            Some(max_segment) if MaxSegment::concerns(packet) => {
                self.scratch.clear();
                self.scratch.extend_from_slice(packet);
                max_segment.clamp(&mut self.scratch);
                &self.scratch
            }
            _ => packet,
        };
        self.deliveries.push(&self.device, packet);
    }

    /// Hands over what waits.
    pub(crate) fn flush(&mut self) {
        self.deliveries.flush(&self.device);
    }

    /// Packets for the kernel that were lost on the way, since the last call.
    pub(crate) fn take_dropped(&mut self) -> u64 {
        self.deliveries.take_dropped()
    }

    /// Hands the kernel's packets to the sink until there are no more, or it has no room.
    ///
    /// # Errors
    /// The device is gone: nothing comes any more.
    pub(crate) fn poll_packets(&mut self, cx: &mut Context<'_>, sink: &mut dyn PacketSink) -> io::Result<()> {
        let Self { device, trains, max_segment, .. } = self;
        loop {
            while let Some(len) = trains.next_len() {
                if !sink.has_room() {
                    return Ok(());
                }
                sink.packet(len, &mut |packet| {
                    trains.write(packet);
                    if let Some(max_segment) = max_segment {
                        max_segment.clamp(packet);
                    }
                });
            }
            if !sink.has_room() {
                return Ok(());
            }
            match trains.poll_fill(device, cx, is_carried) {
                Poll::Pending => return Ok(()),
                Poll::Ready(filled) => filled?,
            }
        }
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Whether a packet of the kernel is meant for the other end: what it says to neighbours on a link, such as router solicitations,
/// is not, as there is no link.
fn is_carried(packet: &[u8]) -> bool {
    let carried = |address: IpAddr| match address {
        IpAddr::V4(v4) => !(v4.is_multicast() || v4.is_broadcast() || v4.is_link_local()),
        IpAddr::V6(v6) => !(v6.is_multicast() || v6.is_unicast_link_local()),
    };
    source(packet).is_some_and(|source| carried(source) && !source.is_unspecified())
        && destination(packet).is_some_and(carried)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tun::packet::{ACK, tests::segment};

    #[test]
    fn what_is_said_to_neighbours_does_not_go_through_the_tunnel() {
        let mut packet = segment(false, 1, ACK, b"x");
        assert!(is_carried(&packet));
        packet[16..20].copy_from_slice(&[224, 0, 0, 251]);
        assert!(!is_carried(&packet));
        let mut packet = segment(true, 1, ACK, b"x");
        assert!(is_carried(&packet));
        packet[8] = 0xfe;
        packet[9] = 0x80;
        assert!(!is_carried(&packet));
        assert!(!is_carried(&[]));
    }
}
