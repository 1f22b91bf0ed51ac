//! ICMP and ICMPv6: errors about what we sent, echo requests, and the errors we send.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{
    Unreachable,
    config::{MIN_MTU_V4, MIN_MTU_V6},
    packet::{self, ICMP, ICMPV6, Packet, Parsed, TCP, UDP, V4_HEADER, V6_HEADER},
};

/// What an ICMP message wants from us.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// An answer is expected; the packet to send.
    Echo(Vec<u8>),
    /// Something answers an echo request.
    Reply(EchoId),
    /// Something we sent did not arrive.
    Error(Error),
    /// Nothing: not understood, or not meant for a host like us.
    Other,
}

/// What an echo request and its reply have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct EchoId {
    pub(crate) identifier: u16,
    pub(crate) sequence: u16,
}

/// An error about one of our packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Error {
    pub(crate) kind: ErrorKind,
    pub(crate) quoted: Quoted,
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    Unreachable(Unreachable),
    /// A link on the way takes packets of at most so many bytes; never below the least MTU of the family.
    TooBig(usize),
}

/// The beginning of our packet as the error quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quoted {
    pub(crate) protocol: u8,
    pub(crate) local: (IpAddr, u16),
    pub(crate) remote: (IpAddr, u16),
    /// Of a TCP segment; the length and checksum of a UDP datagram.
    pub(crate) sequence: u32,
}

/// Reads a message whose checksum holds; `None` if it is malformed.
pub(crate) fn parse(packet: &Packet<'_>) -> Option<Message> {
    let (header, body) = packet.payload.split_first_chunk::<HEADER>()?;
    let message = match packet.protocol {
        ICMP => match (header[0], header[1]) {
            (ECHO_REQUEST, 0) => Message::Echo(echo(packet, ECHO_REPLY)?),
            (ECHO_REPLY, 0) => Message::Reply(echo_id(header)),
            (3 | 11, _) => error(kind_v4(header), quoted_v4(body)),
            _ => Message::Other,
        },
        _ => match (header[0], header[1]) {
            (ECHO_REQUEST_V6, 0) => Message::Echo(echo(packet, ECHO_REPLY_V6)?),
            (ECHO_REPLY_V6, 0) => Message::Reply(echo_id(header)),
            (1..=4, _) => error(kind_v6(header), quoted_v6(body)),
            _ => Message::Other,
        },
    };
    Some(message)
}

fn error(kind: Option<ErrorKind>, quoted: Option<Quoted>) -> Message {
    match (kind, quoted) {
        (Some(kind), Some(quoted)) => Message::Error(Error { kind, quoted }),
        _ => Message::Other,
    }
}

/// Types and codes of RFC 792 and RFC 1812 §5.2.7.1.
fn kind_v4(header: &[u8; HEADER]) -> Option<ErrorKind> {
    let unreachable = match (header[0], header[1]) {
        (3, 0 | 5 | 6 | 8 | 11) => Unreachable::Network,
        (3, 1 | 7 | 12) => Unreachable::Host,
        (3, 2) => Unreachable::Protocol,
        (3, 3) => Unreachable::Port,
        (3, 4) => {
            // Routers older than RFC 1191 leave the field empty.
            let mtu = usize::from(u16::from_be_bytes([header[6], header[7]]));
            return Some(ErrorKind::TooBig(mtu.max(MIN_MTU_V4)));
        }
        (3, 9 | 10 | 13..=15) => Unreachable::Prohibited,
        (11, 0) => Unreachable::HopLimit,
        _ => return None,
    };
    Some(ErrorKind::Unreachable(unreachable))
}

/// Types and codes of RFC 4443 §3.
fn kind_v6(header: &[u8; HEADER]) -> Option<ErrorKind> {
    let unreachable = match (header[0], header[1]) {
        (1, 0 | 2 | 5 | 6) => Unreachable::Network,
        (1, 1) => Unreachable::Prohibited,
        (1, 3) => Unreachable::Host,
        (1, 4) => Unreachable::Port,
        (2, _) => {
            let mtu = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            return Some(ErrorKind::TooBig(usize::try_from(mtu).ok()?.max(MIN_MTU_V6)));
        }
        (3, 0) => Unreachable::HopLimit,
        (4, 1) => Unreachable::Protocol,
        _ => return None,
    };
    Some(ErrorKind::Unreachable(unreachable))
}

/// The quoted packet may be cut after eight bytes of its payload (RFC 792), and its checksum may be stale.
fn quoted_v4(bytes: &[u8]) -> Option<Quoted> {
    let fixed: &[u8; V4_HEADER] = bytes.first_chunk()?;
    let header_len = usize::from(fixed[0] & 0x0f) * 4;
    let is_first_fragment = u16::from_be_bytes([fixed[6], fixed[7]]) & 0x1fff == 0;
    if fixed[0] >> 4 != 4 || header_len < V4_HEADER || !is_first_fragment {
        return None;
    }
    let source = Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]);
    let destination = Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]);
    quoted(fixed[9], source.into(), destination.into(), bytes.get(header_len..)?)
}

/// We send no extension headers, so a quoted packet with one is not ours.
fn quoted_v6(bytes: &[u8]) -> Option<Quoted> {
    let (fixed, rest) = bytes.split_first_chunk::<V6_HEADER>()?;
    let (_, addresses) = fixed.split_first_chunk::<8>()?;
    let (source, destination) = addresses.split_first_chunk::<16>()?;
    let destination: &[u8; 16] = destination.first_chunk()?;
    if fixed[0] >> 4 != 6 {
        return None;
    }
    quoted(fixed[6], Ipv6Addr::from(*source).into(), Ipv6Addr::from(*destination).into(), rest)
}

fn quoted(protocol: u8, source: IpAddr, destination: IpAddr, payload: &[u8]) -> Option<Quoted> {
    let start: &[u8; 8] = payload.first_chunk()?;
    if !matches!(protocol, TCP | UDP) {
        return None;
    }
    Some(Quoted {
        protocol,
        local: (source, u16::from_be_bytes([start[0], start[1]])),
        remote: (destination, u16::from_be_bytes([start[2], start[3]])),
        sequence: u32::from_be_bytes([start[4], start[5], start[6], start[7]]),
    })
}

const fn echo_id(header: &[u8; HEADER]) -> EchoId {
    EchoId {
        identifier: u16::from_be_bytes([header[4], header[5]]),
        sequence: u16::from_be_bytes([header[6], header[7]]),
    }
}

/// An echo request.
pub(crate) fn echo_request(source: IpAddr, destination: IpAddr, id: EchoId, data: &[u8]) -> Option<Vec<u8>> {
    let mut rest = id.identifier.to_be_bytes().to_vec();
    rest.extend_from_slice(&id.sequence.to_be_bytes());
    rest.extend_from_slice(data);
    let kind = if source.is_ipv4() { ECHO_REQUEST } else { ECHO_REQUEST_V6 };
    message(source, destination, [kind, 0], &rest)
}

/// The answer to an echo request: the same identifier, sequence number and data.
fn echo(packet: &Packet<'_>, reply: u8) -> Option<Vec<u8>> {
    let (_, rest) = packet.payload.split_first_chunk::<4>()?;
    message(packet.destination, packet.source, [reply, 0], rest)
}

/// An error about `packet`, in the name of `source`: quotes as much of it as a message may hold, 576 bytes in all for IPv4 (RFC 1812
/// §4.3.2.3), 1280 for IPv6 (RFC 4443 §2.4 c).
pub(crate) fn unreachable(source: IpAddr, packet: &Packet<'_>, reason: Unreachable) -> Option<Vec<u8>> {
    let (type_and_code, limit) = match packet.source {
        IpAddr::V4(_) => (code_v4(reason), MIN_MTU_V4 - V4_HEADER - HEADER),
        IpAddr::V6(_) => (code_v6(reason), MIN_MTU_V6 - V6_HEADER - HEADER),
    };
    // Unused, but for the one error that points at a field: the next header of IPv6.
    let pointer: u32 = if type_and_code == UNKNOWN_NEXT_HEADER { 6 } else { 0 };
    let quoted = packet.bytes.get(..limit).unwrap_or(packet.bytes);
    let mut rest = pointer.to_be_bytes().to_vec();
    rest.extend_from_slice(quoted);
    message(source, packet.source, type_and_code, &rest)
}

/// The error about a packet that a host on this machine has sent, as from its destination; none about what must not be answered so:
/// fragments, and ICMP but for echo requests (RFC 1122 §3.2.2, RFC 4443 §2.4).
pub(crate) fn refusal(packet: &[u8], reason: Unreachable) -> Option<Vec<u8>> {
    let Ok(Parsed::Whole(packet)) = packet::parse(packet) else { return None };
    let may_be_answered = match packet.protocol {
        ICMP => packet.payload.first() == Some(&ECHO_REQUEST),
        ICMPV6 => packet.payload.first() == Some(&ECHO_REQUEST_V6),
        _ => true,
    };
    if may_be_answered { unreachable(packet.destination, &packet, reason) } else { None }
}

const fn code_v4(reason: Unreachable) -> [u8; 2] {
    match reason {
        Unreachable::Network => [3, 0],
        Unreachable::Host => [3, 1],
        Unreachable::Protocol => [3, 2],
        Unreachable::Port => [3, 3],
        Unreachable::Prohibited => [3, 13],
        Unreachable::HopLimit => [11, 0],
    }
}

const fn code_v6(reason: Unreachable) -> [u8; 2] {
    match reason {
        Unreachable::Network => [1, 0],
        Unreachable::Prohibited => [1, 1],
        Unreachable::Host => [1, 3],
        Unreachable::Port => [1, 4],
        Unreachable::Protocol => UNKNOWN_NEXT_HEADER,
        Unreachable::HopLimit => [3, 0],
    }
}

/// A message whose `rest` starts after the checksum.
fn message(source: IpAddr, destination: IpAddr, type_and_code: [u8; 2], rest: &[u8]) -> Option<Vec<u8>> {
    let protocol = if source.is_ipv4() { ICMP } else { ICMPV6 };
    packet::build((source, destination), None, protocol, 4 + rest.len(), |payload| {
        let Some((head, tail)) = payload.split_first_chunk_mut::<4>() else { return };
        *head = [type_and_code[0], type_and_code[1], 0, 0];
        tail.copy_from_slice(rest);
        let [high, low] = packet::transport_checksum(source, destination, protocol, payload);
        if let Some(head) = payload.first_chunk_mut::<4>() {
            (head[2], head[3]) = (high, low);
        }
    })
}

const HEADER: usize = 8;
const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;
/// Of ICMPv6 (RFC 4443 §3.4).
const UNKNOWN_NEXT_HEADER: [u8; 2] = [4, 1];
