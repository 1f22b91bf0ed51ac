//! NAT detection (RFC 7296 §2.23).

use std::net::{IpAddr, SocketAddr};

use adit_tunnel::Random;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with Python's hashlib over the fields of §2.23.
    #[test]
    fn the_hash_covers_spis_address_and_port() {
        let spis = (IkeSpi(0x0102_0304_0506_0708), IkeSpi(0));
        let address = "192.0.2.1:4500".parse().unwrap();
        assert_eq!(hex::encode(hash(spis, address)), "70433ceb72d8683e19437d7cbaca3f3fc2eb8e6f");
    }
}
