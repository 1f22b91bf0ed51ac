//! NAT detection (RFC 7296 §2.23).

use std::net::{IpAddr, SocketAddr};

use adit_tunnel::{Path, Random};
use bytes::Bytes;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

use crate::message::{IkeSpi, Payload, numbers::NotifyType};

/// The SHA-1 of both SPIs, address and port.
pub(crate) fn hash(spis: (IkeSpi, IkeSpi), address: SocketAddr) -> Bytes {
    let mut sha1 = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    sha1.update(&spis.0.0.to_be_bytes());
    sha1.update(&spis.1.0.to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => sha1.update(&ip.octets()),
        IpAddr::V6(ip) => sha1.update(&ip.octets()),
    }
    sha1.update(&address.port().to_be_bytes());
    Bytes::copy_from_slice(sha1.finish().as_ref())
}

/// Our NAT_DETECTION payloads. The source is a random value and so never matches: the peer takes us for being behind a NAT
/// and encapsulates ESP in UDP, the only form a process without root can receive.
pub(crate) fn payloads(spis: (IkeSpi, IkeSpi), remote: SocketAddr, random: &mut dyn Random) -> [Payload; 2] {
    payloads_from(nowhere(random), spis, remote)
}

/// What stands for our address.
pub(crate) fn nowhere(random: &mut dyn Random) -> [u8; 20] {
    let mut nowhere = [0; 20];
    random.fill(&mut nowhere);
    nowhere
}

/// As [`payloads`], with a source that was drawn before.
pub(crate) fn payloads_from(nowhere: [u8; 20], spis: (IkeSpi, IkeSpi), remote: SocketAddr) -> [Payload; 2] {
    let notify = |notify_type, data| Payload::notify(notify_type, data);
    [
        notify(NotifyType::NAT_DETECTION_SOURCE_IP, Bytes::copy_from_slice(&nowhere)),
        notify(NotifyType::NAT_DETECTION_DESTINATION_IP, hash(spis, remote)),
    ]
}

/// Whether the addresses and ports of a NO_NATS_ALLOWED of the peer are those its datagram came from and to (RFC 4555 §3.9,
/// §4.2.6). Of ours, what is not known is not compared.
pub(crate) fn is_untranslated(named: &[u8], path: &Path) -> bool {
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let source = octets(path.remote.ip());
    let Some((named_source, rest)) = named.split_at_checked(source.len()) else { return false };
    let Some((destination, ports)) = rest.split_at_checked(source.len()) else { return false };
    let Ok([a, b, c, d]) = <[u8; 4]>::try_from(ports) else { return false };
    let ours = path.local.is_none_or(|local| {
        (local.ip().is_unspecified() || octets(local.ip()) == destination) && local.port() == u16::from_be_bytes([c, d])
    });
    named_source == source && path.remote.port() == u16::from_be_bytes([a, b]) && ours
}

#[cfg(test)]
mod tests {
    use adit_tunnel::Transport;

    use super::*;

    #[test]
    fn both_ends_of_a_path_without_nat_are_named_as_they_are() {
        let path = |remote: &str, local: Option<&str>| Path {
            transport: Transport::Udp,
            local: local.map(|local| local.parse().unwrap()),
            remote: remote.parse().unwrap(),
        };
        let v4 = hex::decode("c6336407c000020111941194").unwrap();
        for local in [Some("192.0.2.1:4500"), Some("0.0.0.0:4500"), None] {
            assert!(is_untranslated(&v4, &path("198.51.100.7:4500", local)), "{local:?}");
        }
        for (remote, local) in [
            ("198.51.100.8:4500", "192.0.2.1:4500"),
            ("198.51.100.7:4501", "192.0.2.1:4500"),
            ("198.51.100.7:4500", "192.0.2.2:4500"),
            ("198.51.100.7:4500", "0.0.0.0:500"),
            ("[2001:db8::7]:4500", "[2001:db8::1]:4500"),
        ] {
            assert!(!is_untranslated(&v4, &path(remote, Some(local))), "{remote} {local}");
        }
        let v6 = ["20010db8", "00000000", "00000000", "00000007", "20010db8", "00000000", "00000000", "00000001"];
        let v6 = hex::decode(v6.concat() + "11941194").unwrap();
        let there = path("[2001:db8::7]:4500", Some("[2001:db8::1]:4500"));
        assert!(is_untranslated(&v6, &there));
        for wrong in [&v6[..35], &v4, &[], &[&v6[..], &[0]].concat()] {
            assert!(!is_untranslated(wrong, &there), "{wrong:?}");
        }
    }

    /// Computed with Python's hashlib over the fields of §2.23.
    #[test]
    fn the_hash_covers_spis_address_and_port() {
        let spis = (IkeSpi(0x0102_0304_0506_0708), IkeSpi(0));
        let address = "192.0.2.1:4500".parse().unwrap();
        assert_eq!(hex::encode(hash(spis, address)), "70433ceb72d8683e19437d7cbaca3f3fc2eb8e6f");
    }
}
