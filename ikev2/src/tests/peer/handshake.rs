//! The answering half of the handshake.

use super::*;

impl ScriptedPeer {
    pub(super) fn handle_init(&mut self, from: SocketAddr, at: SocketAddr, bytes: &[u8]) {
        self.inits.push(Bytes::copy_from_slice(bytes));
        let request = Message::decode(bytes).expect("our IKE_SA_INIT decodes");
        self.heard.push(request.clone());
        let cookie = request.notify(NotifyType::COOKIE).map(|cookie| cookie.data.clone());
        if let Some(wanted) = self.script.cookie.clone().filter(|wanted| Some(wanted) != cookie.as_ref()) {
            return self.refuse_init(from, at, &request, status(NotifyType::COOKIE, wanted));
        }
        let ke = request.ke().expect("KE").clone();
        let chosen = self.script.ike.choose_for(request.sa().expect("SA"), Some(ke.group));
        let Some((suite, _, proposal)) = chosen else {
            return self.refuse_init(from, at, &request, status(NotifyType::NO_PROPOSAL_CHOSEN, ""));
        };
        if suite.group != ke.group {
            let group = Bytes::copy_from_slice(&suite.group.0.to_be_bytes());
            return self.refuse_init(from, at, &request, status(NotifyType::INVALID_KE_PAYLOAD, group));
        }
        self.accept_init(from, at, bytes, &request, suite, proposal, &ke);
    }

    pub(in crate::tests) fn refuse_init(&mut self, from: SocketAddr, at: SocketAddr, request: &Message, why: Payload) {
        let message = Message::response(&request.header, vec![why]);
        for datagram in self.encode(None, message) {
            self.send(from, at, &datagram);
        }
    }

    pub(super) fn accept_init(
        &mut self,
        from: SocketAddr,
        at: SocketAddr,
        bytes: &[u8],
        request: &Message,
        suite: IkeSuite,
        proposal: Proposal,
        ke: &KeyExchange,
    ) {
        let key = DhKey::generate(suite.group, &mut self.random).unwrap();
        let (ni, nr) = (request.nonce().expect("Ni").clone(), self.nonce());
        let (spi_i, spi_r) = (request.header.initiator_spi, IkeSpi(self.random.next_u64() | 1));
        let mut payloads = vec![
            Payload::Sa(SecurityAssociation { proposals: vec![proposal] }),
            Payload::Ke(KeyExchange { group: suite.group, public: key.public().clone() }),
            Payload::Nonce(nr.clone()),
        ];
        payloads.extend(self.nat_detection((spi_i, spi_r), from, at));
        if self.script.fragment_size.is_some() {
            payloads.push(status(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, ""));
        }
        if self.script.childless {
            payloads.push(status(NotifyType::CHILDLESS_IKEV2_SUPPORTED, ""));
        }
        let hashes: &[u8] = &[0, 2, 0, 3, 0, 4, 0, 5];
        payloads.push(status(NotifyType::SIGNATURE_HASH_ALGORITHMS, hashes));
        let shared = key.agree(&ke.public).expect("a valid KE");
        let keys = IkeKeys::first(&suite, &shared, &ni, &nr, spi_i, spi_r, &adit_tunnel::KeySink::default()).unwrap();
        let mut header = request.header.answer();
        header.responder_spi = spi_r;
        let datagrams = self.encode(None, Message { header, payloads });
        // The last is the answer itself.
        let response = datagrams.last().cloned().unwrap_or_default();
        let handshake = Handshake { request: Bytes::copy_from_slice(bytes), response, ni, nr, ..Handshake::default() };
        let mut sa = PeerSa::new((spi_i, spi_r), false, suite, keys, (from, at));
        (sa.expected, sa.handshake, sa.family) = (1, handshake, self.sas.len());
        self.sas.push(sa);
        datagrams.iter().for_each(|datagram| self.send(from, at, datagram));
    }

    /// Our NAT_DETECTION payloads.
    pub(in crate::tests) fn nat_detection(
        &mut self,
        spis: (IkeSpi, IkeSpi),
        from: SocketAddr,
        at: SocketAddr,
    ) -> [Payload; 2] {
        let source = if self.script.fake_nat { self.nonce().slice(..20) } else { nat::hash(spis, at) };
        [
            status(NotifyType::NAT_DETECTION_SOURCE_IP, source),
            status(NotifyType::NAT_DETECTION_DESTINATION_IP, nat::hash(spis, from)),
        ]
    }

    pub(super) fn octets_of_peer(&self, sa: usize) -> Vec<u8> {
        let sa = &self.sas[sa];
        let hs = &sa.handshake;
        auth::octets(sa.suite.prf, &hs.response, &hs.ni, sa.keys.pr.expose(), &self.id().body()).to_vec()
    }

    pub(super) fn octets_of_client(&self, sa: usize) -> Vec<u8> {
        let sa = &self.sas[sa];
        let hs = &sa.handshake;
        let id = hs.id_i.as_ref().expect("IDi").body();
        auth::octets(sa.suite.prf, &hs.request, &hs.nr, sa.keys.pi.expose(), &id).to_vec()
    }

    pub(super) fn answer_auth(&mut self, incoming: &Incoming) -> Vec<Payload> {
        let message = &incoming.message;
        if message.header.message_id == MessageId(1) {
            self.sas[incoming.sa].handshake.id_i = message.id_i().cloned();
            self.sas[incoming.sa].handshake.first = Some(message.clone());
            return self.answer_first_auth(incoming);
        }
        self.answer_eap(incoming)
    }

    pub(super) fn id(&self) -> Identification {
        Identification { reserved: self.script.id_reserved, ..self.script.id.to_payload() }
    }

    /// IDr, CERT, AUTH.
    pub(super) fn proof(&self, sa: usize) -> Vec<Payload> {
        let octets = self.octets_of_peer(sa);
        let mut payloads = vec![Payload::IdR(self.id())];
        match &self.script.certificate {
            None => payloads.push(Payload::Auth(auth::shared_key(self.sas[sa].suite.prf, &self.script.psk, &octets))),
            Some(leaf) => {
                let data = Bytes::copy_from_slice(&leaf.certificate);
                payloads.push(Payload::Cert(Certificate { encoding: CertEncoding::X509_SIGNATURE, data }));
                // ecdsa-with-SHA256 (RFC 7427 §A.3.2).
                let algorithm: &[u8] = &[0x30, 0x0a, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
                let data = [&[algorithm.len() as u8], algorithm, &leaf.sign(&octets)].concat().into();
                payloads.push(Payload::Auth(Authentication { method: AuthMethod::DIGITAL_SIGNATURE, data }));
            }
        }
        payloads
    }

    pub(super) fn answer_first_auth(&mut self, incoming: &Incoming) -> Vec<Payload> {
        let theirs = incoming.message.auth().cloned();
        let mut payloads = self.proof(incoming.sa);
        match (theirs, self.script.eap.clone()) {
            (None, Some(eap)) => {
                let packet = if eap.identity {
                    self.sas[incoming.sa].handshake.eap = EapStage::Identity;
                    eap_request(1, 1, &[])
                } else {
                    self.challenge(incoming.sa)
                };
                payloads.push(Payload::Eap(packet));
                payloads
            }
            (Some(theirs), None) => {
                let octets = self.octets_of_client(incoming.sa);
                let expected = auth::shared_key(self.sas[incoming.sa].suite.prf, &self.script.psk, &octets);
                if !self.script.pretend_auth && theirs != expected {
                    return vec![status(NotifyType::AUTHENTICATION_FAILED, "")];
                }
                payloads.extend(self.first_child(incoming.sa));
                payloads
            }
            (theirs, eap) => panic!("AUTH {theirs:?} with {eap:?}"),
        }
    }

    pub(super) fn challenge(&mut self, sa: usize) -> Bytes {
        let challenging = Challenging::new(7, [0x5b; 16], b"gateway");
        let packet = eap_request(2, 26, &challenging.challenge().encode());
        self.sas[sa].handshake.eap = EapStage::Challenge(challenging);
        packet
    }

    pub(super) fn answer_eap(&mut self, incoming: &Incoming) -> Vec<Payload> {
        let sa = incoming.sa;
        let response = incoming.message.eap().cloned();
        let failed = || vec![status(NotifyType::AUTHENTICATION_FAILED, "")];
        match (std::mem::take(&mut self.sas[sa].handshake.eap), response) {
            (EapStage::Identity, Some(response)) => {
                assert_eq!(response[4], 1, "an identity");
                vec![Payload::Eap(self.challenge(sa))]
            }
            (EapStage::Challenge(challenging), Some(response)) => {
                assert_eq!(response[4], 26, "MS-CHAPv2");
                let Ok(mschapv2::packet::Packet::Response(response)) = mschapv2::packet::Packet::parse(&response[5..])
                else {
                    panic!("no response")
                };
                let hash = NtHash::of_password(self.script.eap.as_ref().unwrap().password);
                match challenging.verify(&response, &hash) {
                    Ok(accepted) => {
                        let packet = eap_request(3, 26, &accepted.success().encode());
                        self.sas[sa].handshake.eap = EapStage::Success(Box::new(accepted));
                        vec![Payload::Eap(packet)]
                    }
                    Err(_) => vec![Payload::Eap(Bytes::from_static(&[4, 3, 0, 4])), failed().remove(0)],
                }
            }
            (EapStage::Success(accepted), Some(_)) => {
                let msk = Secret::new(*accepted.acknowledged().msk().expose());
                self.sas[sa].handshake.eap = EapStage::Done(msk);
                vec![Payload::Eap(Bytes::from_static(&[3, 4, 0, 4]))]
            }
            (EapStage::Done(msk), None) => {
                let prf = self.sas[sa].suite.prf;
                let expected = auth::shared_key(prf, msk.expose(), &self.octets_of_client(sa));
                if incoming.message.auth() != Some(&expected) {
                    return failed();
                }
                let mut payloads = vec![Payload::Auth(auth::shared_key(prf, msk.expose(), &self.octets_of_peer(sa)))];
                payloads.extend(self.first_child(sa));
                payloads
            }
            (_, response) => panic!("unexpected {response:?}"),
        }
    }

    /// CP, SA, TSi, TSr and more, of the last IKE_AUTH.
    pub(super) fn first_child(&mut self, sa: usize) -> Vec<Payload> {
        if let Some(error) = self.script.child_error {
            return vec![status(error, "")];
        }
        let first = self.sas[sa].handshake.first.clone().expect("a first IKE_AUTH");
        if self.script.childless && first.sa().is_none() {
            return Vec::new();
        }
        let chosen = self.script.esp.choose(first.sa().expect("SA"), &[], None);
        let Some((suite, spi_out, proposal)) = chosen else {
            return vec![status(NotifyType::NO_PROPOSAL_CHOSEN, "")];
        };
        let spi_in = self.esp_spi();
        let (ni, nr) = (self.sas[sa].handshake.ni.clone(), self.sas[sa].handshake.nr.clone());
        self.add_child(sa, suite, (spi_in, spi_out), None, (&ni, &nr), false);
        let proposal = Proposal { spi: Bytes::copy_from_slice(&spi_in.to_be_bytes()), ..proposal };
        let attributes = self.script.cp.clone();
        let mut payloads = Vec::new();
        if !attributes.is_empty() {
            payloads.push(Payload::Cp(Configuration { cfg_type: CfgType::REPLY, attributes }));
        }
        payloads.push(Payload::Sa(SecurityAssociation { proposals: vec![proposal] }));
        payloads.push(Payload::TsI(self.script.client_selectors.clone()));
        payloads.push(Payload::TsR(self.script.network_selectors.clone()));
        if self.script.mobike {
            payloads.push(status(NotifyType::MOBIKE_SUPPORTED, ""));
        }
        payloads.extend(self.script.last_auth.clone());
        payloads
    }

    pub(in crate::tests) fn esp_spi(&mut self) -> u32 {
        self.random.next_u32() | 0x100
    }

    /// `ours`: the peer started the exchange.
    pub(super) fn add_child(
        &mut self,
        sa: usize,
        suite: EspSuite,
        (spi_in, spi_out): (u32, u32),
        shared: Option<&Secret>,
        (ni, nr): (&[u8], &[u8]),
        ours: bool,
    ) {
        let sa = &self.sas[sa];
        let keys = ChildKeys::derive(sa.suite.prf, &sa.keys.d, shared, ni, nr, &suite);
        let (inbound, outbound) =
            if ours { (&keys.to_initiator, &keys.to_responder) } else { (&keys.to_responder, &keys.to_initiator) };
        let family = sa.family;
        let usage = Arc::new(Usage::default());
        let check = SelectorCheck::new(&self.script.client_selectors, &self.script.network_selectors);
        let opener = EspOpener::new(&suite, inbound, 64, check, Arc::clone(&usage)).unwrap();
        let sealer = EspSealer::new(&suite, outbound, spi_out, &mut self.random, usage).unwrap();
        let outbound = (suite.clone(), outbound.clone());
        self.children.push(PeerChild { spi_in, spi_out, suite, opener, sealer, outbound, alive: true, family });
    }
}
