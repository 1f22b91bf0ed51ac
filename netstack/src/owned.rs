//! Beside a TUN device: which packets are for the stack, and which for the kernel behind the device.

use std::{net::IpAddr, time::Instant};

use crate::{
    Stack,
    demux::{Owner, Tuple},
    icmp::{self, Message},
    packet::{self, ICMP, ICMPV6, Parsed, TCP, UDP},
    segment::Segment,
    udp::Datagram,
};

impl Stack {
    /// Whether this inner packet belongs to a connection or socket of the stack, or tells of one. Whoever has another use for all
    /// other packets asks before [`handle_packet`](Self::handle_packet), which would refuse them: with a device beside the
    /// stack, the kernel answers strangers and echo requests.
    ///
    /// Fragments are nobody's of the stack: only the first of them says whose they are.
    #[must_use]
    pub fn owns(&self, now: Instant, packet: &[u8]) -> bool {
        if self.demux.is_empty() && self.sockets.len() == 0 && self.listening.is_empty() && self.pings.is_empty() {
            return false;
        }
        let Ok(Parsed::Whole(packet)) = packet::parse(packet) else { return false };
        if !self.config.addresses.contains(&packet.destination) {
            return false;
        }
        let tuple = |local_port, remote_port| Tuple {
            local: (packet.destination, local_port),
            remote: (packet.source, remote_port),
        };
        match (packet.protocol, packet.source) {
            (TCP, _) => Segment::parse(packet.payload).is_some_and(|segment| {
                let tuple = tuple(segment.destination_port, segment.source_port);
                self.demux.find(&tuple).is_some() || self.is_invited(tuple.local, &segment)
            }),
            (UDP, _) => Datagram::parse(packet.payload).is_some_and(|datagram| {
                self.bound_to(now, &tuple(datagram.destination_port, datagram.source_port)).is_some()
            }),
            (ICMP, IpAddr::V4(_)) | (ICMPV6, IpAddr::V6(_)) => match icmp::parse(&packet) {
                Some(Message::Error(error)) => {
                    let quoted = Tuple { local: error.quoted.local, remote: error.quoted.remote };
                    match error.quoted.protocol {
                        UDP => self.bound_to(now, &quoted).is_some(),
                        _ => matches!(self.demux.find(&quoted), Some(Owner::Connection(_))),
                    }
                }
                Some(Message::Reply(reply)) => self.pings.contains(packet.source, reply),
                Some(Message::Echo(_) | Message::Other) | None => false,
            },
            _ => false,
        }
    }
}
