//! Who an end of an IKE SA says it is (RFC 7296 §3.5).

mod certificate;
mod dn;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::message::{Identification, numbers::IdType};

pub(crate) use certificate::CertifiedNames;

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

/// Text that is no identity, and the cure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Nothing is there.
    #[error("an identity is empty; write a name, an address, `user@host`, `C=…, CN=…` or `@#` and hex digits")]
    Empty,
    /// `%any`.
    #[error("`%any` is not an identity; leave the identity away, or say that any of the CA's is accepted")]
    Any,
    /// A host name with something that is not ASCII, or a space or a control character.
    #[error("{0:?} is no host name; write names with other letters in their `xn--` form")]
    Name(String),
    /// An address that is none.
    #[error("{0:?} is no address")]
    Address(String),
    /// An email address with a space or a control character.
    #[error("{0:?} is no email address")]
    Email(String),
    /// Hex digits that are none, or an odd number of them.
    #[error("{0:?} is not made of pairs of hex digits")]
    Hex(String),
    /// A part of a distinguished name.
    #[error(
        "{0:?} is no part of a distinguished name; write `C=CH, O=Example, CN=name`, with a backslash before commas of values"
    )]
    DistinguishedName(String),
    /// An attribute of a distinguished name.
    #[error("{0:?} is no attribute of a distinguished name that we know; write its number, such as `2.5.4.3=name`")]
    Attribute(String),
}

/// An ID payload that says nothing we understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadIdentification {
    /// Of a type we do not have, such as ID_DER_ASN1_GN or ID_NULL.
    Type(IdType),
    /// Its data does not fit its type.
    Malformed,
}

impl Identity {
    /// Reads an identity in strongSwan's notation: an address; `C=CH, O=x, CN=y`, with `/` between the parts if it
    /// begins with one; `user@host`; `@name` or a plain name; `@@user@host`; `@#` and hex digits for a key id. Prefixes
    /// (`ipv4:`, `ipv6:`, `fqdn:`, `email:`, `dn:`, `keyid:`) settle what is ambiguous.
    ///
    /// # Errors
    /// [`IdentityError`] when it is none of these.
    pub fn from_text(text: &str) -> Result<Self, IdentityError> {
        let text = text.trim();
        if let Some((prefix, rest)) = text.split_once(':') {
            match prefix {
                "ipv4" | "ipv6" => return address(rest).ok_or_else(|| IdentityError::Address(rest.to_owned())),
                "fqdn" | "dns" => return fqdn(rest),
                "email" | "rfc822" | "userfqdn" => return email(rest),
                "dn" | "asn1dn" => return dn::parse(rest).map(Self::DistinguishedName),
                "keyid" => return key_id(rest),
                _ => {}
            }
        }
        match text {
            "" => return Err(IdentityError::Empty),
            "%any" | "%any6" => return Err(IdentityError::Any),
            _ => {}
        }
        if let Some(address) = address(text) {
            Ok(address)
        } else if text.contains('=') {
            dn::parse(text).map(Self::DistinguishedName)
        } else if let Some(digits) = text.strip_prefix("@#") {
            hex(digits).map(Self::KeyId)
        } else if let Some(name) = text.strip_prefix("@@") {
            email(name)
        } else if let Some(name) = text.strip_prefix('@') {
            fqdn(name)
        } else if text.contains('@') {
            email(text)
        } else {
            fqdn(text)
        }
    }

    /// The identity of a host that was reached by this name or address.
    #[must_use]
    pub fn of_host(host: &str) -> Self {
        let name = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        name.parse().map_or_else(|_| Self::Fqdn(host.strip_suffix('.').unwrap_or(host).to_owned()), Self::Address)
    }

    /// The identity of somebody with this user name: whatever it is, there is an identity for it.
    #[must_use]
    pub fn of_user(name: &str) -> Self {
        let named = if name.contains('@') { email(name) } else { fqdn(name) };
        named.unwrap_or_else(|_| Self::KeyId(name.as_bytes().to_vec()))
    }

    /// Whether this is the identity that was expected: names without regard to case (RFC 4945 §3.1.2, §3.1.3),
    /// distinguished names without regard to case, runs of spaces and types of strings (RFC 5280 §7.1), everything else
    /// byte by byte. Nothing is a wildcard.
    #[must_use]
    pub fn matches(&self, expected: &Self) -> bool {
        match (self, expected) {
            (Self::Address(ours), Self::Address(theirs)) => ours == theirs,
            (Self::Fqdn(ours), Self::Fqdn(theirs)) | (Self::Email(ours), Self::Email(theirs)) => {
                ours.eq_ignore_ascii_case(theirs)
            }
            (Self::DistinguishedName(ours), Self::DistinguishedName(theirs)) => dn::same(ours, theirs),
            (Self::KeyId(ours), Self::KeyId(theirs)) => ours == theirs,
            (Self::Address(_) | Self::Fqdn(_) | Self::Email(_) | Self::DistinguishedName(_) | Self::KeyId(_), _) => {
                false
            }
        }
    }

    /// The payload that carries it.
    pub(crate) fn to_payload(&self) -> Identification {
        let (id_type, data) = match self {
            Self::Address(IpAddr::V4(address)) => (IdType::IPV4_ADDR, address.octets().to_vec()),
            Self::Address(IpAddr::V6(address)) => (IdType::IPV6_ADDR, address.octets().to_vec()),
            Self::Fqdn(name) => (IdType::FQDN, name.as_bytes().to_vec()),
            Self::Email(name) => (IdType::RFC822_ADDR, name.as_bytes().to_vec()),
            Self::DistinguishedName(der) => (IdType::DER_ASN1_DN, der.clone()),
            Self::KeyId(bytes) => (IdType::KEY_ID, bytes.clone()),
        };
        Identification::new(id_type, data)
    }

    /// What a payload says.
    pub(crate) fn from_payload(payload: &Identification) -> Result<Self, BadIdentification> {
        let data = &*payload.data;
        let read = match payload.id_type {
            IdType::IPV4_ADDR => {
                <[u8; 4]>::try_from(data).ok().map(|octets| Self::Address(Ipv4Addr::from(octets).into()))
            }
            IdType::IPV6_ADDR => {
                <[u8; 16]>::try_from(data).ok().map(|octets| Self::Address(Ipv6Addr::from(octets).into()))
            }
            // Zero bytes and the like in names have fooled others: no name has them (RFC 7296 §3.5).
            IdType::FQDN => str::from_utf8(data).ok().and_then(|name| fqdn(name).ok()),
            IdType::RFC822_ADDR => str::from_utf8(data).ok().and_then(|name| email(name).ok()),
            IdType::DER_ASN1_DN => dn::is_readable(data).then(|| Self::DistinguishedName(data.to_vec())),
            IdType::KEY_ID => (!data.is_empty()).then(|| Self::KeyId(data.to_vec())),
            other => return Err(BadIdentification::Type(other)),
        };
        read.ok_or(BadIdentification::Malformed)
    }

    fn plain_text(&self) -> String {
        match self {
            Self::Address(address) => address.to_string(),
            Self::Fqdn(name) | Self::Email(name) => name.clone(),
            Self::DistinguishedName(der) => dn::display(der).unwrap_or_else(|| "(an unreadable name)".to_owned()),
            Self::KeyId(bytes) => format!("@#{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
        }
    }
}

/// In the notation of [`Identity::from_text`], which reads it back.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.plain_text();
        let ambiguous = || text.starts_with(ANYBODY) || Self::from_text(&text).as_ref() != Ok(self);
        let prefix = match self {
            Self::Fqdn(_) if ambiguous() => "fqdn:",
            Self::Email(_) if ambiguous() => "email:",
            Self::Address(_) | Self::Fqdn(_) | Self::Email(_) | Self::DistinguishedName(_) | Self::KeyId(_) => "",
        };
        write!(f, "{prefix}{text}")
    }
}

fn address(text: &str) -> Option<Identity> {
    text.parse().ok().map(Identity::Address)
}

fn fqdn(name: &str) -> Result<Identity, IdentityError> {
    let good = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    if good { Ok(Identity::Fqdn(name.to_owned())) } else { Err(IdentityError::Name(name.to_owned())) }
}

/// May be in UTF-8 (RFC 7296 §3.5).
fn email(name: &str) -> Result<Identity, IdentityError> {
    let good = !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control());
    if good { Ok(Identity::Email(name.to_owned())) } else { Err(IdentityError::Email(name.to_owned())) }
}

fn key_id(text: &str) -> Result<Identity, IdentityError> {
    match text.strip_prefix('#') {
        Some(digits) => hex(digits).map(Identity::KeyId),
        None if text.is_empty() => Err(IdentityError::Empty),
        None => Ok(Identity::KeyId(text.as_bytes().to_vec())),
    }
}

fn hex(text: &str) -> Result<Vec<u8>, IdentityError> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let bytes = pairs.iter().map(|&[high, low]| u8::try_from(digit(high)? << 4 | digit(low)?).ok());
    let bytes: Option<Vec<u8>> = if rest.is_empty() && !pairs.is_empty() { bytes.collect() } else { None };
    bytes.ok_or_else(|| IdentityError::Hex(text.to_owned()))
}

/// What a stranger says, cut to what fits in a message.
pub(crate) fn short(text: &str) -> String {
    if text.chars().count() <= SHORT { text.to_owned() } else { text.chars().take(SHORT).chain(['…']).collect() }
}

/// Stands before what a client calls itself that has proved no more than that it has a key for anybody. No identity begins with it
/// when it is shown.
pub(crate) const ANYBODY: &str = "psk:";
/// Characters of a stranger's text that we show; our judgement.
const SHORT: usize = 200;
