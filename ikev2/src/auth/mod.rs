//! Proof of who an end is: the only makers of `Authenticated`.
//!
//! ```text
//!  octets = IKE_SA_INIT message of the signer | nonce of the other | prf(SK_p, its ID payload)    (RFC 7296 §2.15)
//!
//!  shared_key, Signer::sign   (octets) ──▶ AUTH of ours
//!  verify_psk, verify_msk, PeerVerification::verify, ClientVerification::verify   (AUTH of theirs, octets) ──▶ Authenticated
//! ```

mod algorithm;
mod error;
mod rsa_sha1;
mod signer;
#[cfg(test)]
mod tests;
mod verify;

use bytes::Bytes;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    crypto::prf::Prf,
    identity::{BadIdentification, Identity, short},
    message::{
        Authentication, Identification,
        numbers::{AuthMethod, HashAlgorithm},
    },
};

pub use error::PeerNotAuthenticated;
pub(crate) use signer::{Scheme, Signer};
pub(crate) use verify::{Certificates, ClientVerification, PeerVerification};

/// Proof that the other end is who it says: only this module can make it.
#[derive(Debug)]
pub(crate) struct Authenticated(());

/// What SIGNATURE_HASH_ALGORITHMS of ours says (RFC 7427 §4): never SHA-1, which we only put up with. `IDENTITY` is for
/// Ed25519 (RFC 8420 §2).
pub(crate) const HASH_ALGORITHMS: [HashAlgorithm; 4] =
    [HashAlgorithm::SHA2_256, HashAlgorithm::SHA2_384, HashAlgorithm::SHA2_512, HashAlgorithm::IDENTITY];

/// [`HASH_ALGORITHMS`] as they travel.
pub(crate) fn announced_hashes() -> Bytes {
    HASH_ALGORITHMS.iter().flat_map(|hash| hash.0.to_be_bytes()).collect()
}

/// What SIGNATURE_HASH_ALGORITHMS of the peer says.
pub(crate) fn hashes_of(data: &[u8]) -> Vec<HashAlgorithm> {
    let (pairs, _) = data.as_chunks::<2>();
    pairs.iter().map(|pair| HashAlgorithm(u16::from_be_bytes(*pair))).collect()
}

/// What an end signs (RFC 7296 §2.15): its `message` of IKE_SA_INIT as it was sent, without the non-ESP marker; the
/// nonce of the other end; and its ID payload from the type on, with the reserved bytes as they came.
pub(crate) fn octets(prf: Prf, message: &[u8], peer_nonce: &[u8], sk_p: &[u8], id_body: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([message, peer_nonce, prf.sign(sk_p, &[id_body]).expose()].concat())
}

/// AUTH made with a pre-shared key, or with the MSK of EAP, or SK_pi where an EAP method gives no MSK (RFC 7296 §2.15,
/// §2.16).
pub(crate) fn shared_key(prf: Prf, key: &[u8], octets: &[u8]) -> Authentication {
    let padded = prf.sign(key, &[b"Key Pad for IKEv2"]);
    let data = Bytes::copy_from_slice(prf.sign(padded.expose(), &[octets]).expose());
    Authentication { method: AuthMethod::PSK, data }
}

/// Verifies AUTH of the peer made with a key we share.
pub(crate) fn verify_shared_key(
    prf: Prf,
    key: &[u8],
    octets: &[u8],
    theirs: &Authentication,
) -> Result<Authenticated, PeerNotAuthenticated> {
    match theirs.method {
        AuthMethod::PSK => {}
        method if is_signature(method) => {
            return Err(PeerNotAuthenticated::OtherMethod { found: SIGNATURE, wanted: PSK });
        }
        method => return Err(PeerNotAuthenticated::unsupported(method)),
    }
    // An empty key would let anybody in who knows that it is empty.
    let same = !key.is_empty() && bool::from(shared_key(prf, key, octets).data.ct_eq(&theirs.data));
    // A deliberate fault, which tests must notice: any AUTH will do.
    if same || cfg!(adit_sabotage = "auth") { Ok(Authenticated(())) } else { Err(PeerNotAuthenticated::WrongSharedKey) }
}

/// Whether a peer with a pre-shared key is the one we want; whoever has the key is, if `expected` is `None`.
pub(crate) fn verify_identity(expected: Option<&Identity>, id: &Identification) -> Result<(), PeerNotAuthenticated> {
    let Some(wanted) = expected else { return Ok(()) };
    let found = identity(id)?;
    if found.matches(wanted) { Ok(()) } else { Err(wrong_identity(&found.to_string(), wanted)) }
}

fn identity(id: &Identification) -> Result<Identity, PeerNotAuthenticated> {
    Identity::from_payload(id).map_err(|bad| match bad {
        BadIdentification::Type(kind) => PeerNotAuthenticated::identity_type(kind),
        BadIdentification::Malformed => PeerNotAuthenticated::MalformedIdentity,
    })
}

fn wrong_identity(found: &str, wanted: &Identity) -> PeerNotAuthenticated {
    PeerNotAuthenticated::WrongIdentity { found: short(found), wanted: wanted.to_string() }
}

fn is_signature(method: AuthMethod) -> bool {
    use AuthMethod as M;
    [M::RSA, M::ECDSA_256, M::ECDSA_384, M::ECDSA_521, M::DIGITAL_SIGNATURE].contains(&method)
}

const PSK: &str = "a pre-shared key";
const SIGNATURE: &str = "a certificate";
