//! CREATE_CHILD_SA for the IKE SA itself (RFC 7296 §1.3.2, §2.8.2, §2.18).

use bytes::Bytes;

use super::{
    Exchange, Wanted,
    collision::{self, Side},
    create_child::{Rival, agree, ke_payload, refuse},
    informational::Baseline,
};
use crate::{
    child::ABANDON,
    crypto::DhKey,
    error::{Outcome, PeerMisbehaved, Refusal},
    established::{Established, Role, Sa},
    message::{
        IkeSpi, Message, Notify, Payload, Proposal, SecurityAssociation,
        numbers::{DhGroup, ExchangeType, NotifyType},
    },
    negotiate::IkeProposals,
    sa::{Context, IkeSa, Timer, keys::IkeKeys},
};

/// Our request in flight.
pub(crate) struct RekeyIke {
    /// Our SPI of the new IKE SA.
    spi: IkeSpi,
    nonce: Bytes,
    key: DhKey,
    offer: IkeProposals,
    /// It was sent before, with a key of another group.
    again: bool,
    /// The IKE SA the peer made meanwhile, in place of the same one.
    rival: Option<Rival>,
}

impl Established {
    // CREATE_CHILD_SA { SA, Ni, KEi } -->
    pub(crate) fn rekey_ike(&mut self, cx: &mut Context<'_>, spi: IkeSpi) {
        let Some(sa) = self.sa(spi) else { return };
        let group = sa.ike.suite.group;
        self.send_rekey_ike(cx, spi, group, false);
    }

    /// With a key of this group; the gateway may ask for another one that is configured.
    fn send_rekey_ike(&mut self, cx: &mut Context<'_>, spi: IkeSpi, group: DhGroup, again: bool) {
        let Some(sa) = self.sa(spi) else { return };
        let others = cx.settings.ike_proposals.groups().into_iter().filter(|other| *other != group);
        let offer = IkeProposals::only_with(&sa.ike.suite, [group].into_iter().chain(others).collect());
        let Some(key) = DhKey::generate(group, &mut *cx.random) else { return };
        let (new, nonce) = (cx.ike_spi(), cx.nonce());
        let payloads = vec![Payload::Sa(offer.sa_payload(Some(new))), Payload::Nonce(nonce.clone()), ke_payload(&key)];
        let exchange = RekeyIke { spi: new, nonce, key, offer, again, rival: None };
        self.request(cx, spi, ExchangeType::CREATE_CHILD_SA, payloads, Exchange::RekeyIke(Box::new(exchange)));
    }

    // <-- CREATE_CHILD_SA { SA, Nr, KEr }
    pub(crate) fn on_ike_rekeyed(
        &mut self,
        cx: &mut Context<'_>,
        old: IkeSpi,
        exchange: RekeyIke,
        response: &Message,
    ) -> Outcome<()> {
        if let Some(error) = response.error() {
            return self.on_ike_rekey_refused(cx, old, &exchange, error);
        }
        let RekeyIke { spi, nonce, key, offer, rival, again: _ } = exchange;
        let answer = response.sa().ok_or(PeerMisbehaved::SaMissing)?;
        let (suite, theirs) = offer.accept(answer).map_err(|_| PeerMisbehaved::ProposalNotOffered)?;
        let theirs = theirs.filter(|spi| *spi != IkeSpi(0)).ok_or(PeerMisbehaved::SpiZero)?;
        let ke = response.ke().ok_or(PeerMisbehaved::KeMissing)?;
        if ke.group != suite.group || ke.group != key.group() {
            return Err(PeerMisbehaved::KeOfOtherGroup.into());
        }
        let their_nonce = response.nonce().ok_or(PeerMisbehaved::NonceMissing)?;
        let shared = key.agree(&ke.public).map_err(|_| PeerMisbehaved::KeInvalid)?;
        let Some(sa) = self.sa(old) else { return Ok(()) };
        let (prf, d) = (sa.ike.suite.prf, &sa.ike.keys.d);
        let keys = IkeKeys::rekeyed(prf, d, &suite, &shared, &nonce, their_nonce, spi, theirs, &cx.settings.key_log);
        let keys = keys.ok_or(crate::error::SessionError::Keys("the IKE SA"))?;
        let (fragmentation, closing) = (sa.ike.fragmentation, sa.role == Role::Deleting);
        tracing::debug!("IKE SA {spi:?} / {theirs:?} in place of {old:?}: {suite}");
        let ike = IkeSa::new((spi, theirs), true, suite, keys, 0, fragmentation);
        if closing {
            // We were leaving already: the gateway is to forget both.
            self.sas.push(Sa::new(ike, Role::Deleting));
            return Ok(());
        }
        let lost = rival.is_some_and(|rival| {
            collision::loser(&collision::lowest(&nonce, their_nonce), &rival.lowest_nonce) == Side::Ours
        });
        if lost {
            // The peer keeps the one it made, and deletes the old one; we delete ours.
            tracing::debug!("simultaneous rekeying: our IKE SA {spi:?} is redundant");
            self.sas.push(Sa::new(ike, Role::Deleting));
            self.delete_ike(cx, spi);
            return Ok(());
        }
        for sa in self.sas.iter_mut().filter(|sa| sa.role == Role::Offered) {
            // The peer's is redundant, and the peer deletes it.
            sa.role = Role::Replaced;
            cx.set(Timer::Abandon(sa.ike.our_spi()), ABANDON);
        }
        self.put_in_use(cx, Sa::new(ike, Role::InUse));
        self.delete_ike(cx, old);
        Ok(())
    }

    fn on_ike_rekey_refused(
        &mut self,
        cx: &mut Context<'_>,
        old: IkeSpi,
        exchange: &RekeyIke,
        error: &Notify,
    ) -> Outcome<()> {
        let refusal = Refusal::of(error);
        let group = error.data.first_chunk().map(|group| DhGroup(u16::from_be_bytes(*group)));
        let group = group.filter(|group| *group != exchange.key.group() && exchange.offer.groups().contains(group));
        match error.notify_type {
            _ if exchange.rival.is_some() => {
                tracing::debug!("our rekeying of the IKE SA came too late: {refusal}");
                Ok(())
            }
            NotifyType::TEMPORARY_FAILURE => self.try_again_later(cx, Wanted::RekeyIke),
            NotifyType::INVALID_KE_PAYLOAD
                if !exchange.again
                    && let Some(group) = group =>
            {
                self.send_rekey_ike(cx, old, group, true);
                Ok(())
            }
            _ => {
                self.failed_rekeys.control += 1;
                self.without_rekeying(cx, refusal)
            }
        }
    }

    /// The answer to a request to rekey the IKE SA.
    // CREATE_CHILD_SA { SA, Ni, KEi } -->
    // <-- CREATE_CHILD_SA { SA, Nr, KEr }
    pub(super) fn answer_rekey_ike(
        &mut self,
        cx: &mut Context<'_>,
        spi: IkeSpi,
        request: &Message,
    ) -> Result<Vec<Payload>, Notify> {
        let offered = self.sas.iter().any(|sa| sa.role == Role::Offered);
        let Some(sa) = self.sa(spi) else { return Err(refuse(NotifyType::TEMPORARY_FAILURE)) };
        let busy = match &sa.exchange {
            // Creating, rekeying or closing a child (RFC 7296 §2.25.1), or closing this very IKE SA.
            Some(Exchange::CreateChild(_) | Exchange::DeleteChild(_) | Exchange::DeleteIke) => true,
            Some(Exchange::RekeyIke(_) | Exchange::Informational(_)) | None => false,
        };
        if busy || offered || sa.role != Role::InUse {
            return Err(refuse(NotifyType::TEMPORARY_FAILURE));
        }
        self.make_room(cx).ok_or_else(|| refuse(NotifyType::TEMPORARY_FAILURE))?;
        let offer = request.sa().ok_or_else(|| refuse(NotifyType::INVALID_SYNTAX))?;
        let theirs = request.nonce().ok_or_else(|| refuse(NotifyType::INVALID_SYNTAX))?.clone();
        let preferred = request.ke().map(|ke| ke.group);
        let chosen = cx.settings.ike_proposals.choose_for(offer, preferred);
        let (suite, their_spi, proposal) = chosen.ok_or_else(|| refuse(NotifyType::NO_PROPOSAL_CHOSEN))?;
        let their_spi = their_spi.filter(|spi| *spi != IkeSpi(0)).ok_or_else(|| refuse(NotifyType::INVALID_SYNTAX))?;
        if suite.group == DhGroup::NONE {
            return Err(refuse(NotifyType::NO_PROPOSAL_CHOSEN));
        }
        let (Some(shared), ke) = agree(cx, suite.group, request)? else {
            return Err(refuse(NotifyType::NO_PROPOSAL_CHOSEN));
        };
        let (new, nonce) = (cx.ike_spi(), cx.nonce());
        let Some(sa) = self.sa(spi) else { return Err(refuse(NotifyType::TEMPORARY_FAILURE)) };
        let (prf, d) = (sa.ike.suite.prf, &sa.ike.keys.d);
        let keys = IkeKeys::rekeyed(prf, d, &suite, &shared, &theirs, &nonce, their_spi, new, &cx.settings.key_log)
            .ok_or_else(|| refuse(NotifyType::NO_PROPOSAL_CHOSEN))?;
        tracing::debug!("the gateway rekeys the IKE SA: {their_spi:?} / {new:?}: {suite}");
        let ike = IkeSa::new((their_spi, new), false, suite, keys, 0, sa.ike.fragmentation);
        if let Some(Exchange::RekeyIke(ours)) = sa.exchange.as_mut() {
            ours.rival = Some(Rival { lowest_nonce: collision::lowest(&theirs, &nonce) });
        }
        self.sas.push(Sa::new(ike, Role::Offered));
        cx.set(Timer::Abandon(new), ABANDON);
        let proposals = vec![Proposal { spi: Bytes::copy_from_slice(&new.0.to_be_bytes()), ..proposal }];
        let mut payloads = vec![Payload::Sa(SecurityAssociation { proposals }), Payload::Nonce(nonce)];
        payloads.extend(ke.map(Payload::Ke));
        Ok(payloads)
    }

    /// A peer that makes IKE SAs and never deletes one must not fill us up: then the oldest that was replaced goes. `None` if
    /// there is none.
    fn make_room(&mut self, cx: &mut Context<'_>) -> Option<()> {
        while self.sas.len() >= MAX_SAS {
            // Each was put in front of those before it.
            let oldest = self.sas.iter().rfind(|sa| sa.role == Role::Replaced)?.ike.our_spi();
            tracing::debug!("IKE SA {oldest:?} makes room for another");
            self.remove_sa(cx, oldest);
        }
        Some(())
    }

    /// The IKE SA the peer made is used from now on.
    pub(crate) fn use_offered(&mut self, cx: &mut Context<'_>, spi: IkeSpi) {
        cx.timers.stop(Timer::Abandon(spi));
        let Some(at) = self.sas.iter().position(|sa| sa.ike.our_spi() == spi) else { return };
        let mut sa = self.sas.remove(at);
        sa.role = Role::InUse;
        self.put_in_use(cx, sa);
    }

    /// Puts another IKE SA in use; the old one is left to whoever has to delete it.
    fn put_in_use(&mut self, cx: &mut Context<'_>, new: Sa) {
        if let Some(old) = self.current() {
            old.role = Role::Replaced;
            let spi = old.ike.our_spi();
            cx.set(Timer::Abandon(spi), ABANDON);
        }
        self.sas.insert(0, new);
        self.ike_rekeys += 1;
        // NAT detection is computed with the SPIs, so how the gateway sees us has to be learnt anew.
        if self.baseline != Baseline::Unknown {
            self.baseline = Baseline::Lost;
            self.want(cx, Wanted::Liveness);
        }
        Self::schedule(cx);
    }

    /// The peer should long have deleted, or used, this IKE SA.
    pub(crate) fn abandon_sa(&mut self, cx: &mut Context<'_>, spi: IkeSpi) {
        if self.sa(spi).is_some_and(|sa| sa.role != Role::InUse) {
            tracing::debug!("IKE SA {spi:?} was never deleted by the gateway");
            self.remove_sa(cx, spi);
            self.go_on(cx);
        }
    }
}

/// Two in the midst of a rekeying, three in a collision; the others are those whose deletion is late, or lets us answer again.
const MAX_SAS: usize = 8;
