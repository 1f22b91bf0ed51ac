//! CREATE_CHILD_SA for a child: a new one, or one in place of another (RFC 7296 §1.3.1, §1.3.3, §2.8, §2.17).

use adit_tunnel::{Event, FlowId, NetworkConfig};
use bytes::Bytes;

use super::{
    Exchange, Wanted,
    collision::{self, Side},
};
use crate::{
    child::{Agreed, ChildSa, PATIENCE},
    crypto::DhKey,
    error::{Outcome, PeerMisbehaved, Refusal, SessionError},
    established::{Established, Role, Sa},
    message::{
        IkeSpi, KeyExchange, Message, Notify, Payload, Proposal, SecurityAssociation, TrafficSelector,
        numbers::{CfgType, DhGroup, ExchangeType, NotifyType, ProtocolId},
    },
    negotiate::EspProposals,
    network,
    sa::{Context, End, Timer, initiator, keys::ChildKeys},
    selectors,
};

/// Our request in flight.
pub(crate) struct CreateChild {
    /// The child to replace, by its SPI of ours.
    rekeys: Option<u32>,
    /// Our SPI of the new child.
    spi_in: u32,
    nonce: Bytes,
    /// Our key of the first group offered; none without perfect forward secrecy.
    key: Option<DhKey>,
    offer: EspProposals,
    /// Groups offered, best first; empty offers none at all.
    groups: Vec<DhGroup>,
    local: Vec<TrafficSelector>,
    remote: Vec<TrafficSelector>,
    /// The child the peer made meanwhile in place of the same one.
    pub(crate) rival: Option<Rival>,
    /// What the peer deleted meanwhile that we do not know: perhaps the answer names one of them, and comes too late.
    pub(crate) deleted: Vec<u32>,
}

/// What the peer made of the SA that we are rekeying, while we were.
pub(crate) struct Rival {
    /// The lower of the two nonces it was made with.
    pub(crate) lowest_nonce: Bytes,
}

impl CreateChild {
    /// Our SPI of the new child.
    pub(crate) const fn spi_in(&self) -> u32 {
        self.spi_in
    }

    /// Whether it is to replace a child.
    pub(crate) const fn is_rekey(&self) -> bool {
        self.rekeys.is_some()
    }
}

impl Established {
    /// A child in place of the one with this SPI of ours.
    pub(crate) fn rekey_child(&mut self, cx: &mut Context<'_>, spi: IkeSpi, old: u32) {
        if !self.child(old).is_some_and(|child| child.is_in_use()) {
            return;
        }
        if let Some(rival) = self.children.iter_mut().find(|child| child.waits_for() == Some(old)) {
            // The peer began first and goes on with it, unless our answer was lost together with the IKE SA.
            let rival = (rival.is_doubtful(spi) && rival.is_given_up(cx)).then_some(rival.spi_in);
            if let Some(rival) = rival {
                tracing::debug!("child {rival:08x} was never used by the gateway that began it");
                self.delete_child(cx, spi, rival);
                self.want(cx, Wanted::RekeyChild(old));
            } else {
                // Nothing may come of it all the same.
                cx.timers.set_if_unset(Timer::RekeyChild(old), cx.now + PATIENCE);
            }
            return;
        }
        let Some(child) = self.child(old) else { return };
        // The suite in use was agreed on once, so it will be again. Whether the gateway insists on a key exchange only
        // shows now: first with one, as its configuration or the IKE SA suggests, or none; refused that, without.
        let (offer, local, remote) = (EspProposals::only(&child.suite), child.local.clone(), child.remote.clone());
        let groups = self.rekey_groups(cx);
        self.send_create_child(cx, spi, Some(old), offer, groups, local, remote);
    }

    /// A new child, where none is in use.
    pub(crate) fn create_child(&mut self, cx: &mut Context<'_>, spi: IkeSpi) {
        if self.children.iter().any(|child| child.is_in_use()) {
            return;
        }
        let offer = cx.settings.esp_proposals.clone();
        let groups = self.rekey_groups(cx);
        let (_, remote) = initiator::wanted_selectors(cx.settings);
        // The addresses we were given are ours as long as the IKE SA lives.
        let local = self.network.addresses.iter().map(|net| selectors::host(net.address())).collect();
        self.send_create_child(cx, spi, None, offer, groups, local, remote);
    }

    fn rekey_groups(&mut self, cx: &Context<'_>) -> Vec<DhGroup> {
        let mut groups = cx.settings.esp_proposals.groups();
        if groups.is_empty() {
            // Most gateways want the group of the IKE SA, if any. With the others one that wants another can say so.
            let of_ike = self.current().map(|sa| sa.ike.suite.group);
            groups.extend(of_ike);
            let others = cx.settings.ike_proposals.groups();
            groups.extend(others.into_iter().filter(|group| Some(*group) != of_ike));
            groups.push(DhGroup::NONE);
        }
        groups
    }

    // CREATE_CHILD_SA { [N(REKEY_SA)], SA, Ni, [KEi], TSi, TSr } -->
    fn send_create_child(
        &mut self,
        cx: &mut Context<'_>,
        spi: IkeSpi,
        rekeys: Option<u32>,
        offer: EspProposals,
        groups: Vec<DhGroup>,
        local: Vec<TrafficSelector>,
        remote: Vec<TrafficSelector>,
    ) {
        let Some(spi_in) = self.new_spi(cx) else {
            self.put_off(cx, rekeys.map_or(Wanted::CreateChild, Wanted::RekeyChild));
            return;
        };
        let nonce = cx.nonce();
        let first = groups.iter().copied().find(|group| *group != DhGroup::NONE);
        let key = first.and_then(|group| DhKey::generate(group, &mut *cx.random));
        let mut payloads = Vec::new();
        if let Some(old) = rekeys {
            payloads.push(Payload::Notify(Notify::about_esp(NotifyType::REKEY_SA, old)));
        }
        payloads.push(Payload::Sa(offer.sa_payload(spi_in, &groups)));
        payloads.push(Payload::Nonce(nonce.clone()));
        payloads.extend(key.as_ref().map(ke_payload));
        payloads.push(Payload::TsI(local.clone()));
        payloads.push(Payload::TsR(remote.clone()));
        let exchange =
            CreateChild { rekeys, spi_in, nonce, key, offer, groups, local, remote, rival: None, deleted: Vec::new() };
        self.request(cx, spi, ExchangeType::CREATE_CHILD_SA, payloads, Exchange::CreateChild(Box::new(exchange)));
    }

    // <-- CREATE_CHILD_SA { SA, Nr, [KEr], TSi, TSr }
    pub(crate) fn on_child_created(
        &mut self,
        cx: &mut Context<'_>,
        exchange: CreateChild,
        response: &Message,
    ) -> Outcome<()> {
        if let Some(error) = response.error() {
            return self.on_child_refused(cx, exchange, error);
        }
        let CreateChild { rekeys, spi_in, nonce, key, offer, groups, local, remote, rival, deleted } = exchange;
        let answer = response.sa().ok_or(PeerMisbehaved::SaMissing)?;
        let (suite, spi_out) = offer.accept(answer, &groups).map_err(|_| PeerMisbehaved::ProposalNotOffered)?;
        if deleted.contains(&spi_out) {
            tracing::debug!("child {spi_out:08x} of the gateway was deleted before we knew it");
            self.wait_for_peer(cx, rekeys);
            return self.on_child_lost(cx);
        }
        let theirs = response.nonce().ok_or(PeerMisbehaved::NonceMissing)?.clone();
        let shared = match (suite.group, key) {
            (DhGroup::NONE, _) => None,
            (group, Some(key)) => {
                let ke = response.ke().ok_or(PeerMisbehaved::KeMissing)?;
                if ke.group != group || key.group() != group {
                    return Err(PeerMisbehaved::KeOfOtherGroup.into());
                }
                Some(key.agree(&ke.public).map_err(|_| PeerMisbehaved::KeInvalid)?)
            }
            (_, None) => return Err(PeerMisbehaved::KeOfOtherGroup.into()),
        };
        let (Some(ts_i), Some(ts_r)) = (response.ts_i(), response.ts_r()) else {
            return Err(PeerMisbehaved::SelectorsMissing.into());
        };
        if ts_i.is_empty() || ts_r.is_empty() {
            return Err(PeerMisbehaved::SelectorsMissing.into());
        }
        if !selectors::is_subset(ts_i, &local) || !selectors::is_subset(ts_r, &remote) {
            return Err(PeerMisbehaved::SelectorsWider.into());
        }
        let Some(sa) = self.current() else { return Ok(()) };
        let keys = ChildKeys::derive(sa.ike.suite.prf, &sa.ike.keys.d, shared.as_ref(), &nonce, &theirs, &suite);
        let agreed = Agreed { spi_in, spi_out, flow: Self::flow(), suite, local: ts_i.to_vec(), remote: ts_r.to_vec() };
        let lost = rival.is_some_and(|rival| {
            collision::loser(&collision::lowest(&nonce, &theirs), &rival.lowest_nonce) == Side::Ours
        });
        if lost {
            // The peer keeps the child it made, and deletes the old one; we delete ours.
            tracing::debug!("simultaneous rekeying: our child {spi_in:08x} is redundant");
            self.children.push(ChildSa::redundant(cx, agreed, &keys)?);
            self.want(cx, Wanted::DeleteChild(spi_in));
            self.wait_for_peer(cx, rekeys);
            return Ok(());
        }
        self.children.push(ChildSa::initiated(cx, agreed, &keys)?);
        self.now_seals(cx, spi_in);
        let Some(old_spi) = rekeys else { return Ok(()) };
        if let Some(old) = self.child(old_spi) {
            old.replaced(cx);
            self.want(cx, Wanted::DeleteChild(old_spi));
        }
        // What the peer made of the same child is redundant; the peer deletes it. Perhaps it has taken over already, for this
        // answer was so late that the old child was gone, or given up.
        let redundant =
            |child: &&mut ChildSa| child.waits_for() == Some(old_spi) || child.is_in_use() && child.spi_in != spi_in;
        for child in self.children.iter_mut().filter(redundant) {
            child.replaced(cx);
        }
        Ok(())
    }

    /// The peer goes on with the rekeying of this child; should it not, we look again.
    fn wait_for_peer(&self, cx: &mut Context<'_>, old: Option<u32>) {
        let in_use = |old: &u32| self.children.iter().any(|child| child.spi_in == *old && child.is_in_use());
        if let Some(old) = old.filter(in_use) {
            cx.set(Timer::RekeyChild(old), PATIENCE);
        }
    }

    /// Another child carries the packets from now on: the owner is told if less, more or smaller ones can be sent.
    pub(crate) fn tell_network(&mut self, cx: &mut Context<'_>, spi_in: u32) {
        let addresses = self.network.addresses.clone();
        let Some(child) = self.children.iter().find(|child| child.spi_in == spi_in) else { return };
        let network = match cx.end {
            End::Client => network::config(cx, addresses, self.reply.as_ref(), child),
            // What a gateway has given stays; only the size of packets may change.
            End::Gateway(_) => network::sized(cx, self.network.clone(), child),
        };
        if network == self.network && self.told {
            return;
        }
        self.told = true;
        let destinations = |it: &NetworkConfig| (it.routes.clone(), it.redirect4, it.redirect6);
        if destinations(&network) != destinations(&self.network) {
            // It should not (RFC 7296 §2.9.2).
            tracing::warn!("the gateway carries other networks than before");
        }
        self.network = network.clone();
        cx.out.events.push_back(Event::Up(network));
    }

    fn on_child_refused(&mut self, cx: &mut Context<'_>, exchange: CreateChild, error: &Notify) -> Outcome<()> {
        let CreateChild { rekeys, key, offer, groups, local, remote, rival, .. } = exchange;
        let refusal = Refusal::of(error);
        if rival.is_some() {
            // The peer had finished its own rekeying before it saw ours (RFC 7296 §2.8.1).
            tracing::debug!("our rekeying came too late: {refusal}");
            self.wait_for_peer(cx, rekeys);
            return Ok(());
        }
        let Some(spi) = self.current().map(|sa| sa.ike.our_spi()) else { return Ok(()) };
        let offered = key.map(|key| key.group());
        match error.notify_type {
            NotifyType::TEMPORARY_FAILURE => {
                let wanted = rekeys.map_or(Wanted::CreateChild, Wanted::RekeyChild);
                self.try_again_later(cx, wanted)
            }
            NotifyType::INVALID_KE_PAYLOAD => {
                let group = error.data.first_chunk().map(|group| DhGroup(u16::from_be_bytes(*group)));
                // What it has refused is not offered again, so that this comes to an end.
                let first_try = groups == self.rekey_groups(cx);
                let allowed = |group: &DhGroup| groups.contains(group) || first_try && may_use(cx, *group);
                match group.filter(|group| Some(*group) != offered && *group != DhGroup::NONE && allowed(group)) {
                    Some(group) => {
                        let others = groups.into_iter().filter(|other| *other != group && Some(*other) != offered);
                        let wanted = [group].into_iter().chain(others).collect();
                        self.send_create_child(cx, spi, rekeys, offer, wanted, local, remote);
                        Ok(())
                    }
                    None => {
                        self.failed_rekeys.data += 1;
                        self.without_rekeying(cx, refusal)
                    }
                }
            }
            NotifyType::NO_PROPOSAL_CHOSEN if !groups.is_empty() && !insists_on_groups(cx) => {
                self.send_create_child(cx, spi, rekeys, offer, Vec::new(), local, remote);
                Ok(())
            }
            NotifyType::CHILD_SA_NOT_FOUND => {
                if let Some(old) = rekeys {
                    self.failed_rekeys.data += 1;
                    self.remove_child(cx, old);
                }
                if cx.end.is_client() {
                    self.want(cx, Wanted::CreateChild);
                }
                Ok(())
            }
            _ if rekeys.is_some() => {
                self.failed_rekeys.data += 1;
                self.without_rekeying(cx, refusal)
            }
            _ => Err(initiator::refused_child(cx, error)),
        }
    }

    /// New keys only come with a new handshake.
    pub(crate) fn without_rekeying(&mut self, cx: &Context<'_>, refusal: Refusal) -> Outcome<()> {
        if !cx.end.is_client() {
            // Only a client can authenticate anew.
            return Err(SessionError::RekeyRefused(refusal));
        }
        tracing::warn!("the gateway refuses to rekey: {refusal}; authenticating anew instead");
        self.needs_reauthentication = true;
        Ok(())
    }

    /// The answer to CREATE_CHILD_SA of the peer.
    pub(crate) fn answer_create_child(&mut self, cx: &mut Context<'_>, spi: IkeSpi, request: &Message) -> Vec<Payload> {
        let rekeys_ike =
            request.sa().is_some_and(|sa| sa.proposals.iter().any(|proposal| proposal.protocol == ProtocolId::IKE));
        let answer = match request.notify(NotifyType::REKEY_SA) {
            None if rekeys_ike => self.answer_rekey_ike(cx, spi, request),
            // One child carries everything there is.
            None if cx.end.is_client() || self.children.iter().any(|child| !child.is_deleting()) => {
                Err(refuse(NotifyType::NO_ADDITIONAL_SAS))
            }
            None => self.answer_new_child(cx, spi, request),
            Some(rekey) => self.answer_rekey_child(cx, spi, rekey, request),
        };
        answer.unwrap_or_else(|refusal| vec![Payload::Notify(refusal)])
    }

    // CREATE_CHILD_SA { N(REKEY_SA), SA, Ni, [KEi], TSi, TSr } -->
    // <-- CREATE_CHILD_SA { SA, Nr, [KEr], TSi, TSr }
    fn answer_rekey_child(
        &mut self,
        cx: &mut Context<'_>,
        spi: IkeSpi,
        rekey: &Notify,
        request: &Message,
    ) -> Result<Vec<Payload>, Notify> {
        let found = rekey.esp_spi().and_then(|spi| self.children.iter().find(|child| child.spi_out == spi));
        let creating = |sa: &Sa| matches!(sa.exchange, Some(Exchange::CreateChild(_)));
        if found.is_none() && self.sas.iter().any(creating) {
            // Perhaps it is the one that we asked for, and the answer is late.
            return Err(refuse(NotifyType::TEMPORARY_FAILURE));
        }
        let Some(old) = found else {
            // Whatever stood there is copied (RFC 7296 §2.25).
            return Err(Notify {
                protocol: rekey.protocol,
                spi: rekey.spi.clone(),
                notify_type: NotifyType::CHILD_SA_NOT_FOUND,
                data: Bytes::new(),
            });
        };
        let (old_spi, flow) = (old.spi_in, old.flow);
        let rival = self.children.iter().find(|child| child.waits_for() == Some(old_spi));
        // One that came to nothing together with the IKE SA it was made through makes room: the peer begins again.
        let (rivalled, doubtful) = match rival {
            Some(rival) if rival.is_doubtful(spi) => (false, Some(rival.spi_in)),
            other => (other.is_some(), None),
        };
        let in_use = self
            .sa(spi)
            .is_some_and(|sa| sa.role == Role::InUse && !matches!(sa.exchange, Some(Exchange::RekeyIke(_))));
        // A gateway that makes children and never deletes one must not fill us up.
        let in_use = in_use && self.children.len() < MAX_CHILDREN;
        let Some(old) = self.child(old_spi).filter(|old| old.is_in_use() && !rivalled && in_use) else {
            // We are closing it, or it is being rekeyed already, or the IKE SA is (RFC 7296 §2.25.1, §2.25.2).
            return Err(refuse(NotifyType::TEMPORARY_FAILURE));
        };
        let (old_local, old_remote) = (old.local.clone(), old.remote.clone());
        let (agreed, keys, payloads, lowest_nonce) =
            self.agree_on_child(cx, spi, flow, &old_local, &old_remote, request)?;
        let child =
            ChildSa::answered(cx, agreed, &keys, old_spi, spi).map_err(|_| refuse(NotifyType::NO_PROPOSAL_CHOSEN))?;
        if let Some(doubtful) = doubtful {
            self.remove_child(cx, doubtful);
        }
        self.children.push(child);
        if let Some(Exchange::CreateChild(ours)) = self.sa(spi).and_then(|sa| sa.exchange.as_mut())
            && ours.rekeys == Some(old_spi)
        {
            ours.rival = Some(Rival { lowest_nonce });
        }
        Ok(payloads)
    }

    /// A child where there is none: the client has lost it, or never had one.
    // CREATE_CHILD_SA { [CP], SA, Ni, [KEi], TSi, TSr } -->
    // <-- CREATE_CHILD_SA { [CP], SA, Nr, [KEr], TSi, TSr }
    fn answer_new_child(
        &mut self,
        cx: &mut Context<'_>,
        spi: IkeSpi,
        request: &Message,
    ) -> Result<Vec<Payload>, Notify> {
        let may = self
            .sa(spi)
            .is_some_and(|sa| sa.role == Role::InUse && !matches!(sa.exchange, Some(Exchange::RekeyIke(_))));
        if !may {
            return Err(refuse(NotifyType::TEMPORARY_FAILURE));
        }
        let (local, remote) = network::selectors(&self.network);
        let (agreed, keys, mut payloads, _) = self.agree_on_child(cx, spi, Self::flow(), &local, &remote, request)?;
        let spi_in = agreed.spi_in;
        let child = ChildSa::first_answered(cx, agreed, &keys).map_err(|_| refuse(NotifyType::NO_PROPOSAL_CHOSEN))?;
        self.children.push(child);
        self.now_seals(cx, spi_in);
        // The addresses are the same for as long as the IKE SA lives, and may be asked for with any child (RFC 7296 §2.19).
        if let Some(asked) = request.cp().filter(|cp| cp.cfg_type == CfgType::REQUEST) {
            payloads.insert(0, Payload::Cp(network::reply(asked, &self.network)));
        }
        Ok(payloads)
    }

    /// What is common to our selectors and algorithms and to those of a request, the keys that come of it, our answer and the
    /// lower of both nonces.
    fn agree_on_child(
        &mut self,
        cx: &mut Context<'_>,
        spi: IkeSpi,
        flow: FlowId,
        local: &[TrafficSelector],
        remote: &[TrafficSelector],
        request: &Message,
    ) -> Result<(Agreed, ChildKeys, Vec<Payload>, Bytes), Notify> {
        let offer = request.sa().ok_or_else(|| refuse(NotifyType::INVALID_SYNTAX))?;
        let theirs = request.nonce().ok_or_else(|| refuse(NotifyType::INVALID_SYNTAX))?.clone();
        let (Some(ts_i), Some(ts_r)) = (request.ts_i(), request.ts_r()) else {
            return Err(refuse(NotifyType::INVALID_SYNTAX));
        };
        let (remote, local) = (selectors::narrow(remote, ts_i), selectors::narrow(local, ts_r));
        if remote.is_empty() || local.is_empty() {
            return Err(refuse(NotifyType::TS_UNACCEPTABLE));
        }
        let groups = acceptable_groups(cx);
        let chosen = cx.settings.esp_proposals.choose(offer, &groups, request.ke().map(|ke| ke.group));
        let (suite, spi_out, proposal) = chosen.ok_or_else(|| refuse(NotifyType::NO_PROPOSAL_CHOSEN))?;
        let spi_in = self.new_spi(cx).ok_or_else(|| refuse(NotifyType::TEMPORARY_FAILURE))?;
        let (shared, ke) = agree(cx, suite.group, request)?;
        let nonce = cx.nonce();
        let Some(sa) = self.sa(spi) else { return Err(refuse(NotifyType::TEMPORARY_FAILURE)) };
        let keys = ChildKeys::derive(sa.ike.suite.prf, &sa.ike.keys.d, shared.as_ref(), &theirs, &nonce, &suite);
        let agreed = Agreed { spi_in, spi_out, flow, suite, local: local.clone(), remote: remote.clone() };
        let proposal = Proposal { spi: Bytes::copy_from_slice(&spi_in.to_be_bytes()), ..proposal };
        let lowest_nonce = collision::lowest(&theirs, &nonce);
        let mut payloads = vec![Payload::Sa(SecurityAssociation { proposals: vec![proposal] }), Payload::Nonce(nonce)];
        payloads.extend(ke.map(Payload::Ke));
        payloads.push(Payload::TsI(remote));
        payloads.push(Payload::TsR(local));
        Ok((agreed, keys, payloads, lowest_nonce))
    }
}

pub(super) fn ke_payload(key: &DhKey) -> Payload {
    Payload::Ke(KeyExchange { group: key.group(), public: key.public().clone() })
}

/// More that we do not know need not be remembered while a request is in flight; our judgement.
pub(super) const MAX_DELETED: usize = 8;
/// Two in the midst of a rekeying, three in a collision; the others are those whose deletion is late.
const MAX_CHILDREN: usize = 32;

/// A refusal of a request as a whole.
pub(super) fn refuse(notify_type: NotifyType) -> Notify {
    Notify::status(notify_type, Bytes::new())
}

/// Our half of a key exchange that the peer began, and what comes of it.
pub(super) fn agree(
    cx: &mut Context<'_>,
    group: DhGroup,
    request: &Message,
) -> Result<(Option<adit_tunnel::Secret>, Option<KeyExchange>), Notify> {
    if group == DhGroup::NONE {
        return Ok((None, None));
    }
    let wrong_group = || Notify::status(NotifyType::INVALID_KE_PAYLOAD, Bytes::copy_from_slice(&group.0.to_be_bytes()));
    let theirs = request.ke().filter(|ke| ke.group == group).ok_or_else(wrong_group)?;
    let key = DhKey::generate(group, &mut *cx.random).ok_or_else(|| refuse(NotifyType::NO_PROPOSAL_CHOSEN))?;
    let ours = KeyExchange { group, public: key.public().clone() };
    let shared = key.agree(&theirs.public).map_err(|_| refuse(NotifyType::INVALID_SYNTAX))?;
    Ok((Some(shared), Some(ours)))
}

/// Groups the peer may rekey a child with: those configured, else those of IKE, or none.
fn acceptable_groups(cx: &Context<'_>) -> Vec<DhGroup> {
    let settings = cx.settings;
    let mut groups = settings.esp_proposals.groups();
    if groups.is_empty() {
        groups = settings.ike_proposals.groups();
        groups.push(DhGroup::NONE);
    }
    groups
}

/// Whether a group the peer asks for is one we would use.
fn may_use(cx: &Context<'_>, group: DhGroup) -> bool {
    group != DhGroup::NONE && acceptable_groups(cx).contains(&group)
}

/// Whether the configuration names groups for ESP, and not "none" among them: then perfect forward secrecy is wanted.
fn insists_on_groups(cx: &Context<'_>) -> bool {
    let groups = cx.settings.esp_proposals.groups();
    !groups.is_empty() && !groups.contains(&DhGroup::NONE)
}
