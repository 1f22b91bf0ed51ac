//! Who an end of an IKE SA says it is (RFC 7296 §3.5).

use std::net::IpAddr;

/// An identity, as it stands in IDi and IDr.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    /// ID_IPV4_ADDR or ID_IPV6_ADDR.
    Address(IpAddr),
    /// ID_FQDN, such as `vpn.example`.
    Fqdn(String),
    /// ID_RFC822_ADDR, such as `user@example`.
    Email(String),
    /// ID_DER_ASN1_DN: the DER of a distinguished name.
    DistinguishedName(Vec<u8>),
    /// ID_KEY_ID: opaque bytes.
    KeyId(Vec<u8>),
}
