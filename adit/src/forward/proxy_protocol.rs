//! The PROXY protocol, version 2: a header that tells a server who its client really is (haproxy.org,
//! `doc/proxy-protocol.txt` §2.2).

use std::net::{IpAddr, SocketAddr};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY: on behalf of another.
const PROXY: u8 = 0x21;
/// Address family in the upper half, stream in the lower.
const TCP_V4: u8 = 0x11;
const TCP_V6: u8 = 0x21;
const UNSPEC: u8 = 0x00;

/// The header for a connection from `source` to `destination`; without addresses where either is unknown, as with unix sockets.
pub(super) fn header(source: Option<SocketAddr>, destination: Option<SocketAddr>) -> Vec<u8> {
    let (family, addresses) = match (source, destination) {
        (Some(source), Some(destination)) => addresses(source, destination),
        _ => (UNSPEC, Vec::new()),
    };
    let mut header = SIGNATURE.to_vec();
    header.extend([PROXY, family]);
    // 36 bytes at most.
    header.extend((addresses.len() as u16).to_be_bytes());
    header.extend(addresses);
    header
}

/// Both addresses, then both ports. Where the families differ, both are IPv6.
fn addresses(source: SocketAddr, destination: SocketAddr) -> (u8, Vec<u8>) {
    let (family, mut bytes) = match (source.ip().to_canonical(), destination.ip().to_canonical()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => (TCP_V4, [source.octets(), destination.octets()].concat()),
        (source, destination) => (TCP_V6, [source, destination].map(v6).concat()),
    };
    bytes.extend(source.port().to_be_bytes());
    bytes.extend(destination.port().to_be_bytes());
    (family, bytes)
}

fn v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(text: &str) -> Option<SocketAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_header_has_the_addresses_of_both_ends() {
        let v4 = header(some("10.1.2.3:4660"), some("192.0.2.1:80"));
        assert_eq!(v4[..12], SIGNATURE);
        assert_eq!(v4[12..], [0x21, 0x11, 0, 12, 10, 1, 2, 3, 192, 0, 2, 1, 0x12, 0x34, 0, 80]);

        let v6 = header(some("[2001:db8::1]:4660"), some("[2001:db8::2]:80"));
        assert_eq!((v6.len(), &v6[12..16]), (52, &[0x21, 0x21, 0, 36][..]));
        assert_eq!((&v6[16..20], v6[31], v6[47]), (&[0x20, 0x01, 0x0d, 0xb8][..], 1, 2));
        assert_eq!(v6[48..], [0x12, 0x34, 0, 80]);
    }

    #[test]
    fn mapped_addresses_are_what_they_stand_for_and_mixed_ones_are_mapped() {
        let mapped = header(some("[::ffff:10.1.2.3]:1"), some("[::ffff:192.0.2.1]:2"));
        assert_eq!(mapped, header(some("10.1.2.3:1"), some("192.0.2.1:2")));
        let mixed = header(some("10.1.2.3:1"), some("[2001:db8::2]:2"));
        assert_eq!((mixed[13], &mixed[26..32]), (TCP_V6, &[0xff, 0xff, 10, 1, 2, 3][..]));
    }

    #[test]
    fn without_addresses_the_header_says_so() {
        assert_eq!(header(None, None)[12..], [0x21, 0, 0, 0]);
        assert_eq!(header(None, some("10.0.0.1:1")), header(None, None));
    }
}
