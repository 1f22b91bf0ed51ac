//! The functions of RFC 2759 §8 and RFC 3079 §3, named as there.

use core::fmt;

use des::{
    Des,
    cipher::{BlockCipherEncrypt, KeyInit},
};
use md4::Md4;
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The NT hash of a password: all that either end needs to know, and as good as the password itself.
#[derive(Clone)]
pub struct NtHash(Zeroizing<[u8; 16]>);

/// Keying material for the protocol around: the master session key of EAP (RFC 3748 §7.10).
#[derive(Clone)]
pub struct Msk(Zeroizing<[u8; 64]>);

impl NtHash {
    /// The hash itself, for those that keep hashes instead of passwords.
    #[must_use]
    pub fn new(hash: [u8; 16]) -> Self {
        Self(Zeroizing::new(hash))
    }

    /// `NtPasswordHash`: MD4 over the password in UTF-16, least significant byte first, as it was typed: no normalisation
    /// (RFC 2759 §8.3).
    #[must_use]
    pub fn of_password(password: &str) -> Self {
        let mut md4 = Md4::new();
        let mut unit = Zeroizing::new([0; 2]);
        for code_unit in password.encode_utf16() {
            *unit = code_unit.to_le_bytes();
            md4.update(&unit[..]);
        }
        Self::new(md4.finalize().into())
    }

    /// `HashNtPasswordHash` (RFC 2759 §8.4).
    pub(crate) fn hashed(&self) -> Zeroizing<[u8; 16]> {
        Zeroizing::new(Md4::digest(&self.0[..]).into())
    }
}

impl fmt::Debug for NtHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NtHash(..)")
    }
}

impl Msk {
    /// The 64 bytes as IKEv2 uses them: what the authenticator receives with, what it sends with, 32 zeros.
    #[must_use]
    pub fn expose(&self) -> &[u8; 64] {
        &self.0
    }
}

impl PartialEq for Msk {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

impl Eq for Msk {}

impl fmt::Debug for Msk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Msk(..)")
    }
}

/// The user's part of a name: what follows the first backslash, else all of it. A realm behind `@` stays.
#[must_use]
pub fn user_part(name: &[u8]) -> &[u8] {
    let mut parts = name.splitn(2, |&byte| byte == b'\\');
    let first = parts.next().unwrap_or_default();
    parts.next().unwrap_or(first)
}

/// `ChallengeHash` (RFC 2759 §8.2). `name` may have a domain, which does not count.
#[must_use]
pub fn challenge_hash(peer_challenge: &[u8; 16], authenticator_challenge: &[u8; 16], name: &[u8]) -> [u8; 8] {
    let hash = Sha1::new().chain_update(peer_challenge).chain_update(authenticator_challenge);
    first(&hash.chain_update(user_part(name)).finalize())
}

/// `GenerateNTResponse` (RFC 2759 §8.1), from the hash of the challenges.
#[must_use]
pub fn nt_response(challenge: &[u8; 8], hash: &NtHash) -> [u8; 24] {
    let mut keys = Zeroizing::new([0; 21]);
    keys.iter_mut().zip(hash.0.iter()).for_each(|(to, from)| *to = *from);
    let mut response = [0; 24];
    for (block, key) in response.chunks_exact_mut(8).zip(keys.chunks_exact(7)) {
        block.copy_from_slice(&des_encrypt(challenge, key));
    }
    response
}

/// `GenerateAuthenticatorResponse` (RFC 2759 §8.7), before it is written in hexadecimal.
#[must_use]
pub fn authenticator_response(hash: &NtHash, nt_response: &[u8; 24], challenge: &[u8; 8]) -> [u8; 20] {
    let digest = Sha1::new().chain_update(&hash.hashed()[..]).chain_update(nt_response).chain_update(SIGNING_MAGIC);
    Sha1::new().chain_update(digest.finalize()).chain_update(challenge).chain_update(PADDING_MAGIC).finalize().into()
}

/// `GetMasterKey` (RFC 3079 §3.4).
#[must_use]
pub fn master_key(hash: &NtHash, nt_response: &[u8; 24]) -> Zeroizing<[u8; 16]> {
    let digest = Sha1::new().chain_update(&hash.hashed()[..]).chain_update(nt_response).chain_update(MASTER_KEY_MAGIC);
    Zeroizing::new(first(&Zeroizing::new(<[u8; 20]>::from(digest.finalize()))[..]))
}

/// `GetAsymmetricStartKey` (RFC 3079 §3.4) for 128 bits: what the peer sends with and the authenticator receives with.
#[must_use]
pub fn peer_send_key(master_key: &[u8; 16]) -> Zeroizing<[u8; 16]> {
    start_key(master_key, PEER_SENDS_MAGIC)
}

/// `GetAsymmetricStartKey` (RFC 3079 §3.4) for 128 bits: what the authenticator sends with and the peer receives with.
#[must_use]
pub fn peer_receive_key(master_key: &[u8; 16]) -> Zeroizing<[u8; 16]> {
    start_key(master_key, PEER_RECEIVES_MAGIC)
}

/// The keying material of one exchange.
#[must_use]
pub fn msk(hash: &NtHash, nt_response: &[u8; 24]) -> Msk {
    let master = master_key(hash, nt_response);
    let halves = [peer_send_key(&master), peer_receive_key(&master)];
    let mut msk = Zeroizing::new([0; 64]);
    msk.iter_mut().zip(halves.iter().flat_map(|half| half.iter())).for_each(|(to, from)| *to = *from);
    Msk(msk)
}

fn start_key(master_key: &[u8; 16], magic: &[u8]) -> Zeroizing<[u8; 16]> {
    let hash = Sha1::new().chain_update(master_key).chain_update([0; 40]).chain_update(magic).chain_update([0xf2; 40]);
    Zeroizing::new(first(&Zeroizing::new(<[u8; 20]>::from(hash.finalize()))[..]))
}

/// `DesEncrypt` (RFC 2759 §8.6): seven bytes of key become eight by a parity bit after each seven bits, which DES ignores.
fn des_encrypt(clear: &[u8; 8], key: &[u8]) -> [u8; 8] {
    let bits = key.iter().fold(0, |bits: u64, &byte| bits << 8 | u64::from(byte));
    let mut spread = Zeroizing::new([0; 8]);
    for (byte, shift) in spread.iter_mut().zip((0..8).rev()) {
        *byte = ((bits >> (7 * shift)) as u8) << 1;
    }
    let mut block = (*clear).into();
    Des::new(&(*spread).into()).encrypt_block(&mut block);
    block.into()
}

/// The first `N` bytes of a digest, which is longer.
fn first<const N: usize>(digest: &[u8]) -> [u8; N] {
    digest.first_chunk().copied().unwrap_or([0; N])
}

/// RFC 2759 §8.7, Magic1.
const SIGNING_MAGIC: &[u8] = b"Magic server to client signing constant";
/// RFC 2759 §8.7, Magic2.
const PADDING_MAGIC: &[u8] = b"Pad to make it do more than one iteration";
/// RFC 3079 §3.4, Magic1.
const MASTER_KEY_MAGIC: &[u8] = b"This is the MPPE Master Key";
/// RFC 3079 §3.4, Magic2.
const PEER_SENDS_MAGIC: &[u8] = b"On the client side, this is the send key; on the server side, it is the receive key.";
/// RFC 3079 §3.4, Magic3.
const PEER_RECEIVES_MAGIC: &[u8] =
    b"On the client side, this is the receive key; on the server side, it is the send key.";
