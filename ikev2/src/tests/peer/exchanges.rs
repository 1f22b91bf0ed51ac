//! Everything after the handshake: requests answered, and requests made.

use super::*;

impl ScriptedPeer {
    pub(in crate::tests) fn answer_informational(&mut self, incoming: &Incoming) -> Vec<Payload> {
        let mut answer = Vec::new();
        for delete in incoming.message.deletes() {
            match delete {
                Delete::Ike => self.forget_sa(incoming.sa),
                Delete::Other(_) => {}
                Delete::Esp(spis) => {
                    let ours: Vec<u32> = spis.iter().filter_map(|spi| self.forget_child(*spi)).collect();
                    answer.extend((!ours.is_empty()).then_some(Payload::Delete(Delete::Esp(ours))));
                }
            }
        }
        if let Some(notify) = incoming.message.notify(NotifyType::COOKIE2) {
            answer.push(status(NotifyType::COOKIE2, notify.data.clone()));
        }
        if incoming.message.notify(NotifyType::NAT_DETECTION_DESTINATION_IP).is_some() {
            let sa = &self.sas[incoming.sa];
            let (spis, client, own) = ((sa.spi_i, sa.spi_r), sa.client, sa.own);
            answer.extend(self.nat_detection(spis, client, own));
        }
        answer
    }

    /// With the last IKE SA of a family its children go.
    pub(in crate::tests) fn forget_sa(&mut self, sa: usize) {
        let family = self.sas[sa].family;
        self.sas[sa].alive = false;
        if !self.sas.iter().any(|sa| sa.alive && sa.family == family) {
            self.children.iter_mut().filter(|child| child.family == family).for_each(|child| child.alive = false);
        }
    }

    /// The client deletes the child it receives on by `spi_out`; the SPI of ours, unless that was deleted before.
    pub(in crate::tests) fn forget_child(&mut self, spi_out: u32) -> Option<u32> {
        let child = self.children.iter_mut().find(|child| child.spi_out == spi_out && child.alive)?;
        child.alive = false;
        Some(child.spi_in)
    }

    pub(in crate::tests) fn delete_child(&mut self, child: usize) {
        let sa = self.sa();
        let spi = self.children[child].spi_in;
        self.request(sa, ExchangeType::INFORMATIONAL, vec![Payload::Delete(Delete::Esp(vec![spi]))]);
    }

    pub(in crate::tests) fn delete_ike(&mut self, sa: usize) {
        self.request(sa, ExchangeType::INFORMATIONAL, vec![Payload::Delete(Delete::Ike)]);
    }

    pub(in crate::tests) fn answer_create(&mut self, incoming: &Incoming) -> Vec<Payload> {
        if let Some(error) = self.script.create_error.clone() {
            return vec![Payload::Notify(error)];
        }
        let offer = incoming.message.sa().expect("SA");
        match offer.proposals[0].protocol {
            ProtocolId::IKE => self.answer_ike_rekey(incoming),
            _ => self.answer_child(incoming),
        }
    }

    pub(in crate::tests) fn answer_child(&mut self, incoming: &Incoming) -> Vec<Payload> {
        let message = &incoming.message;
        let ke = message.ke().cloned();
        let chosen =
            self.script.esp.choose(message.sa().expect("SA"), &self.script.groups, ke.as_ref().map(|ke| ke.group));
        let Some((suite, spi_out, proposal)) = chosen else {
            return vec![status(NotifyType::NO_PROPOSAL_CHOSEN, "")];
        };
        if suite.group != DhGroup::NONE && ke.as_ref().is_none_or(|ke| ke.group != suite.group) {
            let group = Bytes::copy_from_slice(&suite.group.0.to_be_bytes());
            return vec![status(NotifyType::INVALID_KE_PAYLOAD, group)];
        }
        let (shared, ours) = self.agree(suite.group, ke.as_ref());
        let (nonce, spi_in) = (self.nonce(), self.esp_spi());
        let ni = message.nonce().expect("Ni").clone();
        self.add_child(incoming.sa, suite, (spi_in, spi_out), shared.as_ref(), (&ni, &nonce), false);
        let proposal = Proposal { spi: Bytes::copy_from_slice(&spi_in.to_be_bytes()), ..proposal };
        let mut payloads = vec![Payload::Sa(SecurityAssociation { proposals: vec![proposal] }), Payload::Nonce(nonce)];
        payloads.extend(ours.map(Payload::Ke));
        payloads.push(Payload::TsI(self.script.client_selectors.clone()));
        payloads.push(Payload::TsR(self.script.network_selectors.clone()));
        payloads
    }

    pub(super) fn agree(
        &mut self,
        group: DhGroup,
        theirs: Option<&KeyExchange>,
    ) -> (Option<Secret>, Option<KeyExchange>) {
        if group == DhGroup::NONE {
            return (None, None);
        }
        let key = DhKey::generate(group, &mut self.random).unwrap();
        let ours = KeyExchange { group, public: key.public().clone() };
        (Some(key.agree(&theirs.expect("KE").public).unwrap()), Some(ours))
    }

    pub(in crate::tests) fn answer_ike_rekey(&mut self, incoming: &Incoming) -> Vec<Payload> {
        let message = &incoming.message;
        let ke = message.ke().expect("KE").clone();
        let chosen = self.script.ike.choose_for(message.sa().expect("SA"), Some(ke.group));
        let (suite, spi_i, proposal) = chosen.expect("the same suite again");
        let spi_i = spi_i.expect("an SPI");
        let (shared, ours) = self.agree(suite.group, Some(&ke));
        let (nonce, spi_r) = (self.nonce(), IkeSpi(self.random.next_u64() | 1));
        let ni = message.nonce().expect("Ni").clone();
        self.add_sa(incoming.sa, (spi_i, spi_r), false, suite, &shared.unwrap(), (&ni, &nonce));
        let proposal = Proposal { spi: Bytes::copy_from_slice(&spi_r.0.to_be_bytes()), ..proposal };
        vec![
            Payload::Sa(SecurityAssociation { proposals: vec![proposal] }),
            Payload::Nonce(nonce),
            Payload::Ke(ours.unwrap()),
        ]
    }

    pub(super) fn add_sa(
        &mut self,
        old: usize,
        spis: (IkeSpi, IkeSpi),
        ours: bool,
        suite: IkeSuite,
        shared: &Secret,
        (ni, nr): (&[u8], &[u8]),
    ) {
        let old = &self.sas[old];
        let (prf, d) = (old.suite.prf, &old.keys.d);
        let keys =
            IkeKeys::rekeyed(prf, d, &suite, shared, ni, nr, spis.0, spis.1, &adit_tunnel::KeySink::default()).unwrap();
        let family = old.family;
        let sa = PeerSa::new(spis, ours, suite, keys, (old.client, old.own));
        self.sas.push(PeerSa { family, ..sa });
    }

    /// Asks to replace a child, on the newest IKE SA that lives.
    pub(in crate::tests) fn rekey_child(&mut self, child: usize) -> ChildRequest {
        self.rekey_child_with(child, &[DhGroup::CURVE25519])
    }

    /// The KE payload is for the first of the groups, if there is one.
    pub(in crate::tests) fn rekey_child_with(&mut self, child: usize, groups: &[DhGroup]) -> ChildRequest {
        let offer = EspProposals::only(&self.children[child].suite);
        let old = self.children[child].spi_in;
        let rekey = Payload::Notify(Notify::about_esp(NotifyType::REKEY_SA, old));
        self.create_child_with(vec![rekey], offer, groups)
    }

    pub(in crate::tests) fn create_child_with(
        &mut self,
        mut payloads: Vec<Payload>,
        offer: EspProposals,
        groups: &[DhGroup],
    ) -> ChildRequest {
        let (nonce, spi_in) = (self.nonce(), self.esp_spi());
        let group = groups.first().copied().filter(|group| *group != DhGroup::NONE);
        let key = group.map(|group| DhKey::generate(group, &mut self.random).unwrap());
        payloads.push(Payload::Sa(offer.sa_payload(spi_in, groups)));
        payloads.push(Payload::Nonce(nonce.clone()));
        payloads.extend(
            key.as_ref().map(|key| Payload::Ke(KeyExchange { group: key.group(), public: key.public().clone() })),
        );
        payloads.push(Payload::TsI(self.script.network_selectors.clone()));
        payloads.push(Payload::TsR(self.script.client_selectors.clone()));
        let sa = self.sa();
        self.request(sa, ExchangeType::CREATE_CHILD_SA, payloads);
        ChildRequest { nonce, key, spi_in, offer, groups: groups.to_vec() }
    }

    /// The client has accepted; the new child.
    pub(in crate::tests) fn child_rekeyed(&mut self, request: ChildRequest) -> usize {
        let (sa, response) = self.responses.pop_front().expect("a response");
        assert_eq!(response.error(), None);
        let ChildRequest { nonce, key, spi_in, offer, groups } = request;
        let (suite, spi_out) = offer.accept(response.sa().expect("SA"), &groups).unwrap();
        let shared = match suite.group {
            DhGroup::NONE => None,
            group => {
                let ke = response.ke().expect("KE");
                assert_eq!(ke.group, group);
                Some(key.unwrap().agree(&ke.public).unwrap())
            }
        };
        let nr = response.nonce().expect("Nr");
        assert!(selectors::is_subset(response.ts_i().expect("TSi"), &self.script.network_selectors));
        assert!(selectors::is_subset(response.ts_r().expect("TSr"), &self.script.client_selectors));
        self.add_child(sa, suite, (spi_in, spi_out), shared.as_ref(), (&nonce, nr), true);
        self.children.len() - 1
    }

    /// Asks to replace an IKE SA.
    pub(in crate::tests) fn rekey_ike(&mut self, sa: usize) -> IkeRequest {
        let offer = IkeProposals::only(&self.sas[sa].suite);
        let (nonce, spi) = (self.nonce(), IkeSpi(self.random.next_u64() | 1));
        let key = DhKey::generate(self.sas[sa].suite.group, &mut self.random).unwrap();
        let ke = KeyExchange { group: key.group(), public: key.public().clone() };
        let payloads = vec![Payload::Sa(offer.sa_payload(Some(spi))), Payload::Nonce(nonce.clone()), Payload::Ke(ke)];
        self.request(sa, ExchangeType::CREATE_CHILD_SA, payloads);
        IkeRequest { sa, spi, nonce, key, offer }
    }

    /// The client has accepted; the new IKE SA.
    pub(in crate::tests) fn ike_rekeyed(&mut self, request: IkeRequest) -> usize {
        let (sa, response) = self.responses.pop_front().expect("a response");
        assert_eq!(response.error(), None);
        let IkeRequest { sa: old, spi, nonce, key, offer } = request;
        assert_eq!(sa, old);
        let (suite, theirs) = offer.accept(response.sa().expect("SA")).unwrap();
        let shared = key.agree(&response.ke().expect("KE").public).unwrap();
        let nr = response.nonce().expect("Nr");
        self.add_sa(old, (spi, theirs.expect("an SPI")), true, suite, &shared, (&nonce, nr));
        self.sas.len() - 1
    }
}
