//! SKEYSEED, SK_* and the keys of children (RFC 7296 §2.14, §2.17, §2.18).

#[cfg(test)]
mod tests;

use std::fmt;

use adit_tunnel::{KeySink, Secret};

use crate::{
    crypto::{Integrity, Prf, SkCipher, encryption_key_len, sk_cipher},
    key_log,
    message::{IkeSpi, numbers::IntegrityId},
    negotiate::{EspSuite, IkeSuite},
};

/// What an IKE SA lives on. "Initiator" is who started *this* IKE SA: after a rekey, who started the rekey.
pub(crate) struct IkeKeys {
    /// SK_d, from which further keys come.
    pub(crate) d: Secret,
    /// SK_pi, for the initiator's AUTH.
    pub(crate) pi: Secret,
    /// SK_pr, for the responder's AUTH.
    pub(crate) pr: Secret,
    /// What the initiator seals with.
    pub(crate) initiator: Box<dyn SkCipher>,
    /// What the responder seals with.
    pub(crate) responder: Box<dyn SkCipher>,
}

impl IkeKeys {
    /// Keys of a first IKE SA: `SKEYSEED = prf(Ni | Nr, g^ir)`. `None` if we do not have the suite.
    pub(crate) fn first(
        suite: &IkeSuite,
        shared: &Secret,
        ni: &[u8],
        nr: &[u8],
        spi_i: IkeSpi,
        spi_r: IkeSpi,
        log: &KeySink,
    ) -> Option<Self> {
        let skeyseed = skeyseed(suite.prf, shared, ni, nr);
        Self::expand(suite, &skeyseed, ni, nr, (spi_i, spi_r), log)
    }

    /// Keys of an IKE SA that replaces another: `SKEYSEED = prf(SK_d of the old, g^ir | Ni | Nr)`, by the old PRF; the rest is
    /// by the new one. `None` if we do not have the suite.
    pub(crate) fn rekeyed(
        old_prf: Prf,
        old_d: &Secret,
        suite: &IkeSuite,
        shared: &Secret,
        ni: &[u8],
        nr: &[u8],
        spi_i: IkeSpi,
        spi_r: IkeSpi,
        log: &KeySink,
    ) -> Option<Self> {
        let skeyseed = rekeyed_skeyseed(old_prf, old_d, shared, ni, nr);
        Self::expand(suite, &skeyseed, ni, nr, (spi_i, spi_r), log)
    }

    /// `{SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr} = prf+(SKEYSEED, Ni | Nr | SPIi | SPIr)`.
    fn expand(
        suite: &IkeSuite,
        skeyseed: &Secret,
        ni: &[u8],
        nr: &[u8],
        spis: (IkeSpi, IkeSpi),
        log: &KeySink,
    ) -> Option<Self> {
        let prf_len = suite.prf.key_len();
        let integrity_len = integrity_key_len(suite.integrity)?;
        let encryption_len = encryption_key_len(suite.encryption, suite.key_bits)?;
        let len = 3 * prf_len + 2 * (integrity_len + encryption_len);
        let all = ike_material(suite.prf, skeyseed, ni, nr, spis.0, spis.1, len);
        let mut rest = all.expose();
        let d = take(&mut rest, prf_len)?;
        let (ai, ar) = (take(&mut rest, integrity_len)?, take(&mut rest, integrity_len)?);
        let (ei, er) = (take(&mut rest, encryption_len)?, take(&mut rest, encryption_len)?);
        let (pi, pr) = (take(&mut rest, prf_len)?, take(&mut rest, prf_len)?);
        key_log::ike(log, suite, spis, [ei, er, ai, ar]);
        Some(Self {
            d: Secret::new(d),
            pi: Secret::new(pi),
            pr: Secret::new(pr),
            initiator: sk_cipher(suite, ei, ai)?,
            responder: sk_cipher(suite, er, ar)?,
        })
    }
}

impl fmt::Debug for IkeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IkeKeys(..)")
    }
}

/// Keys of one direction of a child.
#[derive(Debug, Clone)]
pub(crate) struct EspKeys {
    /// With the salt or nonce at its end.
    pub(crate) encryption: Secret,
    /// Empty with an AEAD.
    pub(crate) integrity: Secret,
}

/// Keys of a child. "Initiator" is who started the exchange that made it, whoever started the IKE SA.
#[derive(Debug, Clone)]
pub(crate) struct ChildKeys {
    /// What the initiator seals with.
    pub(crate) to_responder: EspKeys,
    /// What the responder seals with.
    pub(crate) to_initiator: EspKeys,
}

impl ChildKeys {
    /// `KEYMAT = prf+(SK_d, [g^ir |] Ni | Nr)`: encryption before integrity, initiator to responder first (RFC 7296 §2.17).
    /// The nonces are those of the exchange that makes the child.
    pub(crate) fn derive(
        prf: Prf,
        d: &Secret,
        shared: Option<&Secret>,
        ni: &[u8],
        nr: &[u8],
        suite: &EspSuite,
    ) -> Self {
        let (encryption_len, integrity_len) = (suite.encryption_key_len(), suite.integrity_key_len());
        let one_way = encryption_len + integrity_len;
        let all = child_material(prf, d, shared, ni, nr, 2 * one_way);
        let (to_responder, to_initiator) = all.expose().split_at(one_way);
        let keys = |material: &[u8]| {
            let (encryption, integrity) = material.split_at(encryption_len);
            EspKeys { encryption: Secret::new(encryption), integrity: Secret::new(integrity) }
        };
        Self { to_responder: keys(to_responder), to_initiator: keys(to_initiator) }
    }
}

fn skeyseed(prf: Prf, shared: &Secret, ni: &[u8], nr: &[u8]) -> Secret {
    prf.sign(&[prf.nonce_part(ni), prf.nonce_part(nr)].concat(), &[shared.expose()])
}

fn rekeyed_skeyseed(old_prf: Prf, old_d: &Secret, shared: &Secret, ni: &[u8], nr: &[u8]) -> Secret {
    old_prf.sign(old_d.expose(), &[shared.expose(), ni, nr])
}

fn ike_material(prf: Prf, skeyseed: &Secret, ni: &[u8], nr: &[u8], spi_i: IkeSpi, spi_r: IkeSpi, len: usize) -> Secret {
    prf.plus(skeyseed.expose(), &[ni, nr, &spi_i.0.to_be_bytes(), &spi_r.0.to_be_bytes()], len)
}

fn child_material(prf: Prf, d: &Secret, shared: Option<&Secret>, ni: &[u8], nr: &[u8], len: usize) -> Secret {
    prf.plus(d.expose(), &[shared.map_or(&[][..], Secret::expose), ni, nr], len)
}

/// Length of SK_a or of an ESP integrity key, in bytes; 0 with an AEAD. `None` if we do not have the algorithm.
fn integrity_key_len(id: IntegrityId) -> Option<usize> {
    if id == IntegrityId::NONE { Some(0) } else { Integrity::key_len(id) }
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    rest.split_off(..len)
}
