//! The bytes before the protected part.

use adit_tunnel::OpenError;

/// DATA_V1 or DATA_V2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

impl Version {
    /// Reads the version and insists on the key id. A peer id is not looked at: it only tells a server its clients apart.
    pub(super) fn of(datagram: &[u8], key_id: u8) -> Result<Self, OpenError> {
        let op = *datagram.first().ok_or(OpenError::Malformed)?;
        match op >> 3 {
            _ if op & KEY_ID_MASK != key_id => Err(OpenError::Malformed),
            DATA_V1 => Ok(Self::V1),
            DATA_V2 => Ok(Self::V2),
            _ => Err(OpenError::Malformed),
        }
    }

    pub(super) const fn header_len(self) -> usize {
        match self {
            Self::V1 => 1,
            Self::V2 => 4,
        }
    }

    /// The additional data of an AEAD, out of header and packet id: DATA_V1 leaves the first byte out.
    pub(super) fn additional_data(self, header_and_id: &[u8]) -> &[u8] {
        match self {
            Self::V1 => header_and_id.get(1..).unwrap_or_default(),
            Self::V2 => header_and_id,
        }
    }
}

/// The header of every datagram we seal with one key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) version: Version,
    bytes: [u8; 4],
}

impl Header {
    pub(super) fn new(key_id: u8, peer_id: Option<u32>) -> Self {
        let key_id = key_id & KEY_ID_MASK;
        let (version, opcode) = match peer_id {
            None => (Version::V1, DATA_V1),
            Some(_) => (Version::V2, DATA_V2),
        };
        let [_, high, middle, low] = peer_id.unwrap_or_default().to_be_bytes();
        Self { version, bytes: [opcode << 3 | key_id, high, middle, low] }
    }

    pub(super) const fn len(self) -> usize {
        self.version.header_len()
    }

    /// Writes the header to the beginning of the datagram.
    pub(super) fn write(self, datagram: &mut [u8]) {
        for (to, from) in datagram.iter_mut().zip(self.bytes).take(self.len()) {
            *to = from;
        }
    }
}

/// `P_DATA_V1` of OpenVPN 2.6 `ssl_pkt.h`.
const DATA_V1: u8 = 6;
/// `P_DATA_V2` of OpenVPN 2.6 `ssl_pkt.h`.
const DATA_V2: u8 = 9;
/// The low bits of the first byte.
pub(super) const KEY_ID_MASK: u8 = 0x07;
