//! RSASSA-PKCS1-v1_5 with SHA-1 (RFC 8017 §8.2.1), which ring does not sign with and old gateways want in method 1.

use std::fmt;

use adit_tunnel::Secret;
use crypto_bigint::{
    BoxedUint, Odd,
    modular::{BoxedMontyForm, BoxedMontyParams},
};
use p521::pkcs8::{
    PrivateKeyInfoRef,
    der::{Decode as _, Reader as _, SliceReader, asn1::UintRef},
};
use pki_types::PrivateKeyDer;
use ring::digest;
use zeroize::Zeroizing;

/// The numbers of an RSA key, big-endian without leading zeros.
pub(super) struct RsaSha1 {
    modulus: Vec<u8>,
    private_exponent: Secret,
}

impl RsaSha1 {
    /// `None` if it is no RSA key.
    pub(super) fn new(key: &PrivateKeyDer<'_>) -> Option<Self> {
        match key {
            PrivateKeyDer::Pkcs1(der) => Self::from_pkcs1(der.secret_pkcs1_der()),
            PrivateKeyDer::Pkcs8(der) => {
                let info = PrivateKeyInfoRef::try_from(der.secret_pkcs8_der()).ok()?;
                Self::from_pkcs1(info.private_key.as_bytes())
            }
            PrivateKeyDer::Sec1(_) | _ => None,
        }
    }

    /// `RSAPrivateKey`: version, n, e, d, and what makes computing quicker (RFC 8017 appendix A.1.2).
    fn from_pkcs1(der: &[u8]) -> Option<Self> {
        let mut reader = SliceReader::new(der).ok()?;
        let read = reader.sequence(|numbers| {
            let [_, modulus, _, private, _, _, _, _, _] = [(); 9].map(|()| UintRef::decode(numbers));
            let private_exponent = Secret::new(private?.as_bytes());
            Ok::<_, p521::pkcs8::der::Error>(Self { modulus: modulus?.as_bytes().to_vec(), private_exponent })
        });
        read.ok()
    }

    /// The signature, as long as the modulus. Without the primes of the key it takes four times as long and leaves
    /// nothing that a miscalculation could give away.
    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, message);
        let length = self.modulus.len();
        let fill = length.checked_sub(3 + DIGEST_INFO.len() + hash.as_ref().len()).filter(|fill| *fill >= 8)?;
        let encoded = [&[0, 1], &vec![0xff; fill][..], &[0], DIGEST_INFO, hash.as_ref()].concat();
        let bits = u32::try_from(length * 8).ok()?;
        let number = |bytes: &[u8]| BoxedUint::from_be_slice(bytes, bits).ok();
        let modulus: Odd<BoxedUint> = Option::from(Odd::new(number(&self.modulus)?))?;
        let exponent = Zeroizing::new(number(self.private_exponent.expose())?);
        let message = BoxedMontyForm::new(number(&encoded)?, &BoxedMontyParams::new(modulus));
        let signature = message.pow(&exponent).retrieve().to_be_bytes().to_vec();
        signature.get(signature.len().checked_sub(length)?..).map(<[u8]>::to_vec)
    }
}

impl fmt::Debug for RsaSha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RsaSha1").finish_non_exhaustive()
    }
}

/// `DigestInfo` of SHA-1 up to the hash (RFC 8017 §9.2).
const DIGEST_INFO: &[u8] = &[0x30, 0x21, 0x30, 9, 6, 5, 0x2b, 0x0e, 3, 2, 0x1a, 5, 0, 4, 0x14];
