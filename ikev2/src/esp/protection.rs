//! The key of one direction, used on whole ESP packets.

use std::ops::Range;

use adit_tunnel::{OpenError, Random};
use zeroize::Zeroizing;

use super::packet::HEADER_LEN;
use crate::{
    crypto::{AEAD_IV_LEN, Aead, Cipher, Integrity, aead, cipher, encryption_key_len},
    message::numbers::EncryptionId,
    negotiate::EspSuite,
    sa::keys::EspKeys,
};

/// Encryption and integrity of one direction. Immutable: what a packet needs besides is its sequence number.
pub(super) struct Protection {
    key: Key,
    /// Sequence numbers have 64 bits, of which packets carry the lower half.
    pub(super) esn: bool,
}

enum Key {
    Aead(Box<dyn Aead>),
    Separate(Box<dyn Cipher>, Integrity),
}

impl Protection {
    /// `None` if the suite is none we have, or a key has not its length.
    pub(super) fn new(suite: &EspSuite, keys: &EspKeys) -> Option<Self> {
        let encryption_key = keys.encryption.expose();
        // The primitives go by the length of the key: that of another suite must not do.
        if encryption_key_len(suite.encryption, suite.key_bits)? != encryption_key.len() {
            return None;
        }
        let key = if suite.encryption.is_aead() {
            Key::Aead(aead(suite.encryption, encryption_key)?)
        } else {
            let integrity = Integrity::new(suite.integrity, keys.integrity.expose())?;
            Key::Separate(cipher(suite.encryption, encryption_key)?, integrity)
        };
        Some(Self { key, esn: suite.esn })
    }

    pub(super) fn iv_len(&self) -> usize {
        match &self.key {
            Key::Aead(_) => AEAD_IV_LEN,
            Key::Separate(cipher, _) => cipher.iv_len(),
        }
    }

    pub(super) fn icv_len(&self) -> usize {
        match &self.key {
            Key::Aead(key) => key.tag_len(),
            Key::Separate(_, integrity) => integrity.tag_len(),
        }
    }

    /// What is encrypted has a multiple of this many bytes (RFC 4303 §2.4).
    pub(super) fn pad_to(&self) -> usize {
        match &self.key {
            Key::Aead(_) => 4,
            Key::Separate(cipher, _) => cipher.block_len().max(4),
        }
    }

    /// Encrypts a packet whose header, IV and content are in place, and writes the ICV to its end. `None` if the lengths are
    /// not possible.
    pub(super) fn seal(&self, sequence: u64, packet: &mut [u8]) -> Option<()> {
        let (covered, icv) = packet.split_at_mut_checked(packet.len().checked_sub(self.icv_len())?)?;
        match &self.key {
            Key::Aead(key) => {
                let (header, rest) = covered.split_first_chunk_mut()?;
                let (iv, content) = rest.split_first_chunk_mut()?;
                key.seal(iv, self.additional_data(header, &whole_header(header, sequence)), content, icv);
            }
            Key::Separate(cipher, integrity) => {
                let (iv, content) = covered.get_mut(HEADER_LEN..)?.split_at_mut_checked(cipher.iv_len())?;
                cipher.encrypt(iv, content);
                integrity.sign(&[covered, self.unsent(&high_half(sequence))], icv);
            }
        }
        Some(())
    }

    /// Verifies a packet, decrypts it, and returns where its content lies. Nothing is decrypted before an HMAC is right.
    pub(super) fn open(&self, sequence: u64, packet: &mut [u8]) -> Result<Range<usize>, OpenError> {
        let content_range = self.content_range(packet.len()).ok_or(OpenError::Malformed)?;
        let (covered, icv) = packet.split_at_mut_checked(content_range.end).ok_or(OpenError::Malformed)?;
        let authentic = match &self.key {
            Key::Aead(key) => {
                let (header, rest) = covered.split_first_chunk_mut().ok_or(OpenError::Malformed)?;
                let (iv, content) = rest.split_first_chunk_mut().ok_or(OpenError::Malformed)?;
                key.open(iv, self.additional_data(header, &whole_header(header, sequence)), content, icv)
            }
            Key::Separate(cipher, integrity) => {
                let authentic = integrity.verify(&[covered, self.unsent(&high_half(sequence))], icv);
                if authentic {
                    let (head, content) =
                        covered.split_at_mut_checked(content_range.start).ok_or(OpenError::Malformed)?;
                    cipher.decrypt(head.get(HEADER_LEN..).unwrap_or_default(), content);
                }
                authentic
            }
        };
        if authentic { Ok(content_range) } else { Err(OpenError::Forged) }
    }

    /// Where the content of a packet of this length lies; `None` if no packet has this length.
    fn content_range(&self, packet_len: usize) -> Option<Range<usize>> {
        let start = HEADER_LEN + self.iv_len();
        let end = packet_len.checked_sub(self.icv_len())?;
        let content_len = end.checked_sub(start)?;
        (content_len > 0 && content_len.is_multiple_of(self.pad_to())).then_some(start..end)
    }

    /// RFC 4106 §5, which RFC 4309 §5 and RFC 7634 §2.1 repeat.
    fn additional_data<'a>(&self, sent: &'a [u8; HEADER_LEN], whole: &'a [u8; HEADER_LEN + 4]) -> &'a [u8] {
        if self.esn { whole } else { sent }
    }

    /// What an HMAC covers without its being sent (RFC 4303 §2.2.1).
    fn unsent<'a>(&self, high_half: &'a [u8; 4]) -> &'a [u8] {
        if self.esn { high_half } else { &[] }
    }
}

/// Seals what no sealer of ours would: any content, trailer and all, as a peer with the key could. For fuzzers and tests;
/// `None` if the content does not fill blocks.
pub(crate) fn seal_content(suite: &EspSuite, keys: &EspKeys, sequence: u64, content: &[u8]) -> Option<Vec<u8>> {
    let protection = Protection::new(suite, keys)?;
    let low_half = (sequence as u32).to_be_bytes();
    let head = [&[0xc0, 0xde, 0, 1], &low_half[..], &vec![0x1f; protection.iv_len()]].concat();
    let mut datagram = [&head, content, &vec![0; protection.icv_len()]].concat();
    protection.content_range(datagram.len())?;
    protection.seal(sequence, &mut datagram)?;
    Some(datagram)
}

/// SPI and all 64 bits of the sequence number.
fn whole_header(header: &[u8; HEADER_LEN], sequence: u64) -> [u8; HEADER_LEN + 4] {
    let [a, b, c, d, ..] = *header;
    let [e, f, g, h, i, j, k, l] = sequence.to_be_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l]
}

fn high_half(sequence: u64) -> [u8; 4] {
    let [a, b, c, d, ..] = sequence.to_be_bytes();
    [a, b, c, d]
}

/// Makes initialisation vectors without randomness per packet.
pub(super) enum IvSource {
    /// The sequence number: AEADs and CTR ask for an IV that never comes twice under a key, nothing more (RFC 4106 §3.1,
    /// RFC 3686 §3.1).
    Sequence,
    /// The sequence number as one block, encrypted with AES-256 under a key of its own.
    ///
    /// With CBC an attacker who can have packets sent and foresees their IVs can test guesses about earlier ones
    /// (RFC 3602 §3 and its reference to Bellare et al.; the IV must not be the last ciphertext block either). Whoever has not
    /// this key, which never leaves the sealer, cannot foresee any (NIST SP 800-38A appendix C, first method).
    Encrypted(Box<dyn Cipher>),
}

impl IvSource {
    /// `None` only if AES is missing.
    pub(super) fn new(encryption: EncryptionId, random: &mut dyn Random) -> Option<Self> {
        if encryption.is_aead() || encryption == EncryptionId::AES_CTR {
            return Some(Self::Sequence);
        }
        let mut key = Zeroizing::new([0; 32]);
        random.fill(&mut *key);
        cipher(EncryptionId::AES_CBC, &*key).map(Self::Encrypted)
    }

    /// Fills an IV of 8 or 16 bytes.
    pub(super) fn write(&self, sequence: u64, iv: &mut [u8]) {
        match self {
            Self::Sequence => copy(&sequence.to_be_bytes(), iv),
            Self::Encrypted(cipher) => {
                let mut block = u128::from(sequence).to_be_bytes();
                cipher.encrypt(&[0; 16], &mut block);
                copy(&block, iv);
            }
        }
    }
}

fn copy(from: &[u8], to: &mut [u8]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}
