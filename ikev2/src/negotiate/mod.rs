//! Proposals, and the suites agreed on (RFC 7296 §2.7, §3.3).
//!
//! ```text
//!  "aes256gcm16-prfsha256-x25519" ─▶ IkeProposals ── sa_payload ─▶ SA payload of a request
//!  SA payload of the response ── accept ─▶ IkeSuite
//!  SA payload of a request of the peer's ── choose ─▶ IkeSuite and the proposal to answer with
//! ```

mod algorithms;
mod notation;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;

use self::algorithms::{Algorithms, Chosen, Encryption};
pub use self::notation::ProposalError;
use crate::{
    crypto::{Integrity, Prf, encryption_key_len},
    message::{
        IkeSpi, Proposal, SecurityAssociation,
        numbers::{DhGroup, EncryptionId, EsnId, IntegrityId, ProtocolId, TransformType},
    },
};

/// Algorithms for the IKE SA, best first, in strongSwan's notation: `aes256gcm16-prfsha256-x25519, aes256-sha256-modp2048`.
///
/// Commas part proposals; within one, any algorithm of a kind may go with any of another. `default` stands for
/// [`IkeProposals::default`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IkeProposals(Vec<Algorithms>);

/// Algorithms for ESP, best first, in strongSwan's notation: `aes256gcm16, aes256-sha256-modp2048-noesn`.
///
/// Key exchange groups are for perfect forward secrecy when a child is rekeyed; the first keys of a child need none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EspProposals(Vec<Algorithms>);

/// What protects an IKE SA. Holds only algorithms we have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IkeSuite {
    pub(crate) encryption: EncryptionId,
    pub(crate) key_bits: u16,
    pub(crate) prf: Prf,
    /// [`IntegrityId::NONE`] with an AEAD.
    pub(crate) integrity: IntegrityId,
    pub(crate) group: DhGroup,
}

/// What protects a child. Holds only algorithms we have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EspSuite {
    pub(crate) encryption: EncryptionId,
    pub(crate) key_bits: u16,
    /// [`IntegrityId::NONE`] with an AEAD.
    pub(crate) integrity: IntegrityId,
    /// [`DhGroup::NONE`] without perfect forward secrecy.
    pub(crate) group: DhGroup,
    /// Whether sequence numbers have 64 bits.
    pub(crate) esn: bool,
}

/// Why an SA payload in a response is not an answer to ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadAnswer {
    #[error("the peer's answer holds {0} proposals instead of one")]
    NotOneProposal(usize),
    #[error("the peer chose proposal {0}, which was not offered")]
    UnknownNumber(u8),
    #[error("the peer's proposal is for {0}")]
    WrongProtocol(ProtocolId),
    #[error("the peer's proposal has an invalid SPI")]
    InvalidSpi,
    #[error("the peer chose a transform of type {0} that was not offered")]
    NotOffered(TransformType),
    #[error("the peer chose two transforms of type {0}")]
    ChosenTwice(TransformType),
    #[error("the peer chose no transform of type {0}")]
    NotChosen(TransformType),
}

impl IkeProposals {
    /// Only the algorithms of this suite, as for the rekeying of an IKE SA.
    #[cfg(test)]
    pub(crate) fn only(suite: &IkeSuite) -> Self {
        Self::only_with(suite, vec![suite.group])
    }

    /// The algorithms of this suite, with any of these groups.
    pub(crate) fn only_with(suite: &IkeSuite, groups: Vec<DhGroup>) -> Self {
        Self(vec![Algorithms { groups, ..Algorithms::of_ike(suite) }])
    }

    /// The SA payload that offers these; `spi` is ours when an IKE SA is rekeyed, `None` in IKE_SA_INIT.
    pub(crate) fn sa_payload(&self, spi: Option<IkeSpi>) -> SecurityAssociation {
        let spi = spi.map_or_else(Bytes::new, |spi| Bytes::copy_from_slice(&spi.0.to_be_bytes()));
        payload(ProtocolId::IKE, &spi, self.0.iter())
    }

    /// Every group offered, each once, best first. The first is the one to send a KE payload for.
    pub(crate) fn groups(&self) -> Vec<DhGroup> {
        groups(&self.0)
    }

    /// Reads the answer to [`sa_payload`](Self::sa_payload): one proposal of ours, with one transform of each type.
    pub(crate) fn accept(&self, answer: &SecurityAssociation) -> Result<(IkeSuite, Option<IkeSpi>), BadAnswer> {
        let (proposal, ours) = only_proposal(answer, ProtocolId::IKE, &self.0)?;
        let spi = ike_spi(&proposal.spi).ok_or(BadAnswer::InvalidSpi)?;
        Ok((ours.accept(&proposal.transforms)?.ike_suite().map_err(BadAnswer::NotChosen)?, spi))
    }

    /// Chooses from an offer of the peer's, by our own order. Also returns the SPI it was made with and what to answer, whose
    /// SPI is to be filled in.
    #[cfg(test)]
    pub(crate) fn choose(&self, offer: &SecurityAssociation) -> Option<(IkeSuite, Option<IkeSpi>, Proposal)> {
        self.choose_for(offer, None)
    }

    /// Like [`choose`](Self::choose), but takes the group of the peer's KE payload wherever that is possible, which spares it a
    /// second try.
    pub(crate) fn choose_for(
        &self,
        offer: &SecurityAssociation,
        ke: Option<DhGroup>,
    ) -> Option<(IkeSuite, Option<IkeSpi>, Proposal)> {
        choose(ProtocolId::IKE, &self.0, offer, ke, |proposal, chosen| {
            Some((chosen.ike_suite().ok()?, ike_spi(&proposal.spi)?))
        })
        .map(|((suite, spi), answer)| (suite, spi, answer))
    }

    /// The first algorithm that may be used only if outdated ones are allowed.
    pub(crate) fn legacy_word(&self) -> Option<String> {
        self.0.iter().find_map(Algorithms::legacy_word)
    }
}

impl EspProposals {
    /// Only the algorithms of this suite, as for the rekeying of a child.
    pub(crate) fn only(suite: &EspSuite) -> Self {
        Self(vec![Algorithms::of_esp(suite)])
    }

    /// The SA payload that offers these, with the SPI we receive on. `groups` stand in for the configured ones; there are none
    /// in IKE_AUTH, whose children take their keys from the IKE SA (RFC 7296 §1.2).
    pub(crate) fn sa_payload(&self, spi: u32, groups: &[DhGroup]) -> SecurityAssociation {
        let spi = Bytes::copy_from_slice(&spi.to_be_bytes());
        payload(ProtocolId::ESP, &spi, self.with_groups(groups).iter())
    }

    /// Every group configured, each once, best first.
    pub(crate) fn groups(&self) -> Vec<DhGroup> {
        groups(&self.0)
    }

    /// Reads the answer to [`sa_payload`](Self::sa_payload) with the same `groups`. Also returns the SPI to send to.
    ///
    /// Tolerated: a KE transform NONE where none was offered (strongSwan 6), and no transform for sequence numbers, which means
    /// 32 bits.
    pub(crate) fn accept(
        &self,
        answer: &SecurityAssociation,
        groups: &[DhGroup],
    ) -> Result<(EspSuite, u32), BadAnswer> {
        let ours = self.with_groups(groups);
        let (proposal, ours) = only_proposal(answer, ProtocolId::ESP, &ours)?;
        let spi = esp_spi(&proposal.spi).ok_or(BadAnswer::InvalidSpi)?;
        Ok((ours.accept(&proposal.transforms)?.esp_suite().map_err(BadAnswer::NotChosen)?, spi))
    }

    /// Chooses from an offer of the peer's, by our own order. Also returns the SPI to send to and what to answer, whose SPI is
    /// to be filled in.
    ///
    /// `groups` are those we accept; without any, or with [`DhGroup::NONE`] among them, offers without a key exchange are
    /// accepted. `ke` is the group of the peer's KE payload, if it sent one, and is chosen wherever that is possible. If the
    /// suite has another group that is not NONE, the answer must be INVALID_KE_PAYLOAD.
    pub(crate) fn choose(
        &self,
        offer: &SecurityAssociation,
        groups: &[DhGroup],
        ke: Option<DhGroup>,
    ) -> Option<(EspSuite, u32, Proposal)> {
        choose(ProtocolId::ESP, &self.with_groups(groups), offer, ke, |proposal, chosen| {
            Some((chosen.esp_suite().ok()?, esp_spi(&proposal.spi)?))
        })
        .map(|((suite, spi), answer)| (suite, spi, answer))
    }

    /// The first algorithm that may be used only if outdated ones are allowed.
    pub(crate) fn legacy_word(&self) -> Option<String> {
        self.0.iter().find_map(Algorithms::legacy_word)
    }

    fn with_groups(&self, groups: &[DhGroup]) -> Vec<Algorithms> {
        self.0.iter().map(|proposal| Algorithms { groups: groups.to_vec(), ..proposal.clone() }).collect()
    }
}

impl EspSuite {
    /// Length of an encryption key with its salt or nonce, in bytes.
    pub(crate) fn encryption_key_len(&self) -> usize {
        encryption_key_len(self.encryption, self.key_bits).unwrap_or_default()
    }

    /// Length of an integrity key, in bytes; 0 with an AEAD.
    pub(crate) fn integrity_key_len(&self) -> usize {
        Integrity::key_len(self.integrity).unwrap_or_default()
    }
}

impl Chosen {
    /// The type that is missing, if one is.
    fn ike_suite(&self) -> Result<IkeSuite, TransformType> {
        let (encryption, integrity) = self.protection()?;
        Ok(IkeSuite {
            encryption: encryption.id,
            key_bits: encryption.key_bits,
            prf: self.prf.and_then(Prf::new).ok_or(TransformType::PRF)?,
            integrity,
            group: self.group.ok_or(TransformType::KE)?,
        })
    }

    fn esp_suite(&self) -> Result<EspSuite, TransformType> {
        let (encryption, integrity) = self.protection()?;
        Ok(EspSuite {
            encryption: encryption.id,
            key_bits: encryption.key_bits,
            integrity,
            group: self.group.unwrap_or(DhGroup::NONE),
            esn: self.esn == Some(EsnId::ESN),
        })
    }

    fn protection(&self) -> Result<(Encryption, IntegrityId), TransformType> {
        let encryption = self.encryption.ok_or(TransformType::ENCR)?;
        match self.integrity {
            _ if encryption.id.is_aead() => Ok((encryption, IntegrityId::NONE)),
            Some(integrity) => Ok((encryption, integrity)),
            None => Err(TransformType::INTEG),
        }
    }
}

impl fmt::Display for IkeSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Algorithms::of_ike(self).fmt(f)
    }
}

impl fmt::Display for EspSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Algorithms::of_esp(self).fmt(f)
    }
}

fn payload<'a>(
    protocol: ProtocolId,
    spi: &Bytes,
    proposals: impl Iterator<Item = &'a Algorithms>,
) -> SecurityAssociation {
    let numbered = proposals.zip(1..=u8::MAX).map(|(algorithms, number)| Proposal {
        number,
        protocol,
        spi: spi.clone(),
        transforms: algorithms.transforms(),
    });
    SecurityAssociation { proposals: numbered.collect() }
}

fn groups(proposals: &[Algorithms]) -> Vec<DhGroup> {
    let mut all = Vec::new();
    for group in proposals.iter().flat_map(|proposal| &proposal.groups) {
        if !all.contains(group) {
            all.push(*group);
        }
    }
    all
}

/// The only proposal of an answer, next to the one of ours it claims to be.
fn only_proposal<'a, 'b>(
    answer: &'a SecurityAssociation,
    protocol: ProtocolId,
    ours: &'b [Algorithms],
) -> Result<(&'a Proposal, &'b Algorithms), BadAnswer> {
    let [proposal] = answer.proposals.as_slice() else {
        return Err(BadAnswer::NotOneProposal(answer.proposals.len()));
    };
    if proposal.protocol != protocol {
        return Err(BadAnswer::WrongProtocol(proposal.protocol));
    }
    let index = usize::from(proposal.number).checked_sub(1);
    let ours = index.and_then(|index| ours.get(index)).ok_or(BadAnswer::UnknownNumber(proposal.number))?;
    Ok((proposal, ours))
}

/// The first of our proposals that goes with one of theirs, best of theirs first.
fn choose<S>(
    protocol: ProtocolId,
    ours: &[Algorithms],
    offer: &SecurityAssociation,
    ke: Option<DhGroup>,
    suite: impl Fn(&Proposal, &Chosen) -> Option<S>,
) -> Option<(S, Proposal)> {
    let theirs = || offer.proposals.iter().filter(|proposal| proposal.protocol == protocol);
    ours.iter().flat_map(|ours| theirs().map(move |theirs| (ours, theirs))).find_map(|(ours, theirs)| {
        let (chosen, transforms) = ours.choose(&theirs.transforms, ke)?;
        let answer = Proposal { number: theirs.number, protocol, spi: Bytes::new(), transforms };
        Some((suite(theirs, &chosen)?, answer))
    })
}

/// The SPI of a proposal for IKE: none in IKE_SA_INIT, else eight bytes that are not all zero. `None` if it is neither.
fn ike_spi(spi: &[u8]) -> Option<Option<IkeSpi>> {
    match spi {
        [] => Some(None),
        spi => spi.try_into().ok().map(u64::from_be_bytes).filter(|spi| *spi != 0).map(|spi| Some(IkeSpi(spi))),
    }
}

/// The SPI of a proposal for ESP. RFC 4303 §2.1 reserves those below 256.
fn esp_spi(spi: &[u8]) -> Option<u32> {
    spi.try_into().ok().map(u32::from_be_bytes).filter(|spi| *spi >= 256)
}
