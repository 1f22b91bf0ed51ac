//! The algorithms of one proposal, and matching them against transforms.

use super::{BadAnswer, EspSuite, IkeSuite};
use crate::message::{
    Transform,
    numbers::{DhGroup, EncryptionId, EsnId, IntegrityId, PrfId, TransformType},
};

/// One proposal: alternatives of each kind, best first. Either every encryption algorithm is an AEAD, or none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Algorithms {
    pub(super) encryption: Vec<Encryption>,
    /// Empty with AEADs.
    pub(super) integrity: Vec<IntegrityId>,
    /// Empty for ESP.
    pub(super) prf: Vec<PrfId>,
    /// May hold [`DhGroup::NONE`] for ESP.
    pub(super) groups: Vec<DhGroup>,
    /// Empty for IKE.
    pub(super) esn: Vec<EsnId>,
}

/// An encryption algorithm with the length of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Encryption {
    pub(super) id: EncryptionId,
    pub(super) key_bits: u16,
}

/// One algorithm of each kind, as far as chosen.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    pub(super) encryption: Option<Encryption>,
    pub(super) integrity: Option<IntegrityId>,
    pub(super) prf: Option<PrfId>,
    pub(super) group: Option<DhGroup>,
    pub(super) esn: Option<EsnId>,
}

impl Encryption {
    /// The key length attribute; algorithms with keys of one length have none (RFC 7296 §3.3.5, RFC 7634 §3).
    fn attribute(self) -> Option<u16> {
        let fixed = matches!(self.id, EncryptionId::CHACHA20_POLY1305 | EncryptionId::TRIPLE_DES);
        (!fixed).then_some(self.key_bits)
    }

    fn transform(self) -> Transform {
        Transform { key_bits: self.attribute(), ..transform(TransformType::ENCR, self.id.0) }
    }
}

impl Algorithms {
    pub(super) fn of_ike(suite: &IkeSuite) -> Self {
        Self {
            encryption: vec![Encryption { id: suite.encryption, key_bits: suite.key_bits }],
            integrity: integrity_of(suite.integrity),
            prf: vec![suite.prf.id()],
            groups: vec![suite.group],
            esn: Vec::new(),
        }
    }

    pub(super) fn of_esp(suite: &EspSuite) -> Self {
        Self {
            encryption: vec![Encryption { id: suite.encryption, key_bits: suite.key_bits }],
            integrity: integrity_of(suite.integrity),
            prf: Vec::new(),
            groups: if suite.group == DhGroup::NONE { Vec::new() } else { vec![suite.group] },
            esn: vec![if suite.esn { EsnId::ESN } else { EsnId::NONE }],
        }
    }

    /// Whether these are AEADs.
    pub(super) fn are_aead(&self) -> bool {
        self.encryption.iter().all(|encryption| encryption.id.is_aead())
    }

    /// In the order of the types, best first within a type.
    pub(super) fn transforms(&self) -> Vec<Transform> {
        let encryption = self.encryption.iter().map(|encryption| encryption.transform());
        let prf = self.prf.iter().map(|id| transform(TransformType::PRF, id.0));
        let integrity = self.integrity.iter().map(|id| transform(TransformType::INTEG, id.0));
        let groups = self.groups.iter().map(|id| transform(TransformType::KE, id.0));
        let esn = self.esn.iter().map(|id| transform(TransformType::ESN, id.0));
        encryption.chain(prf).chain(integrity).chain(groups).chain(esn).collect()
    }

    /// Reads the transforms of an answer: of each type we offered one, and nothing that we did not offer.
    pub(super) fn accept(&self, answer: &[Transform]) -> Result<Chosen, BadAnswer> {
        let offered = self.transforms();
        let mut chosen = Chosen::default();
        let mut types = Vec::new();
        for transform in answer {
            if types.contains(&transform.transform_type) {
                return Err(BadAnswer::ChosenTwice(transform.transform_type));
            }
            types.push(transform.transform_type);
            if offered.contains(transform) {
                self.take(&mut chosen, transform);
            } else if !self.may_say_none(transform) {
                return Err(BadAnswer::NotOffered(transform.transform_type));
            }
        }
        match offered.iter().map(|offer| offer.transform_type).find(|of| !types.contains(of) && !self.may_omit(*of)) {
            Some(missing) => Err(BadAnswer::NotChosen(missing)),
            None => Ok(chosen),
        }
    }

    /// Chooses by our order among the transforms of an offer. Also returns what to answer. The group of `ke` wins, or NONE if
    /// there is no KE payload.
    pub(super) fn choose(&self, offer: &[Transform], ke: Option<DhGroup>) -> Option<(Chosen, Vec<Transform>)> {
        let mut chosen = Chosen::default();
        let mut answer = Vec::new();
        let ours = self.transforms();
        let preferred = transform(TransformType::KE, ke.unwrap_or(DhGroup::NONE).0);
        for of in [TransformType::ENCR, TransformType::PRF, TransformType::INTEG, TransformType::KE, TransformType::ESN]
        {
            let offers: Vec<_> = offer.iter().filter(|offer| offer.transform_type == of).collect();
            let known = || ours.iter().filter(|ours| ours.transform_type == of && offers.contains(ours));
            let best = known().find(|ours| **ours == preferred).or_else(|| known().next());
            let none = || offers.iter().copied().find(|offer| self.may_say_none(offer));
            match best.or_else(none) {
                Some(best) => {
                    self.take(&mut chosen, best);
                    answer.push(*best);
                }
                // They offer none of this type, and we need none.
                None if offers.is_empty()
                    && (self.may_omit(of) || !ours.iter().any(|ours| ours.transform_type == of)) => {}
                None => return None,
            }
        }
        // A proposal with a type we do not know cannot be chosen (RFC 7296 §3.3.6).
        let unknown = offer.iter().any(|offer| !(1..=5).contains(&offer.transform_type.0));
        (!unknown).then_some((chosen, answer))
    }

    /// Whether this transform says NONE where nothing is just as well: no integrity beside an AEAD (RFC 7296 §3.3.2), no key
    /// exchange for a child without perfect forward secrecy.
    fn may_say_none(&self, transform: &Transform) -> bool {
        let none = transform.id == 0 && transform.key_bits.is_none() && !transform.unknown_attribute;
        none && match transform.transform_type {
            TransformType::INTEG => self.are_aead(),
            TransformType::KE => self.is_esp() && self.groups.is_empty(),
            _ => false,
        }
    }

    /// Whether an answer, or an offer, may leave out a type that we have.
    fn may_omit(&self, of: TransformType) -> bool {
        match of {
            TransformType::KE => self.groups.contains(&DhGroup::NONE),
            TransformType::ESN => self.esn.contains(&EsnId::NONE),
            _ => false,
        }
    }

    fn is_esp(&self) -> bool {
        self.prf.is_empty()
    }

    /// Notes what `transform`, one of ours or a NONE, stands for.
    fn take(&self, chosen: &mut Chosen, transform: &Transform) {
        match transform.transform_type {
            TransformType::ENCR => {
                chosen.encryption = self.encryption.iter().copied().find(|ours| ours.transform() == *transform);
            }
            TransformType::PRF => chosen.prf = Some(PrfId(transform.id)),
            TransformType::INTEG => chosen.integrity = Some(IntegrityId(transform.id)),
            TransformType::KE => chosen.group = Some(DhGroup(transform.id)),
            TransformType::ESN => chosen.esn = Some(EsnId(transform.id)),
            _ => {}
        }
    }
}

fn integrity_of(id: IntegrityId) -> Vec<IntegrityId> {
    if id == IntegrityId::NONE { Vec::new() } else { vec![id] }
}

fn transform(transform_type: TransformType, id: u16) -> Transform {
    Transform { transform_type, id, key_bits: None, unknown_attribute: false }
}
