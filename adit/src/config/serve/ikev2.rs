//! A responder of IKEv2.

use std::{sync::Arc, time::Duration};

use super::{
    super::{
        build::{mistakes, nt_hash, read, secret},
        draft::{ESP_EXAMPLE, Given, IKE_EXAMPLE, Method},
        problems::Problems,
        source::Source,
    },
    identity::Certificate,
    tables::{Draft, EapTlsTable, PskTable, TtlsInner, User},
};
use crate::error::Error;
use adit_pki::ClientIdentity;
use adit_tunnel::Secret;
use ikev2::{
    AcceptedPeers, ClientAnchors, ConfigError, EapServerConfig, EapServerMethod, EapTlsIdentity, EapUnusable, EapUser,
    EspProposals, IkeProposals, MsChapV2Secret, ResponderConfig, Settings, SharedKey, TlsVersion, TtlsInnerMethod,
};

impl Draft {
    /// The responder; `None`: what is wrong is in the list of problems. `sound`: nothing was, so far.
    pub(super) fn ikev2(&mut self, source: &Source, sound: bool, problems: &mut Problems) -> Option<ResponderConfig> {
        let errors = problems.errors();
        let certificate = self.identity(source, problems);
        let identity_given = self.table.identity.take().map(|id| source.given(id));
        let identity = identity_given.as_ref().and_then(|id| problems.catch(id.identity()));
        let anchors = self.client_anchors(source, problems);
        self.only_keys = self.table.users.is_empty() && self.table.eap.is_empty() && !self.has_authority;
        let shared_keys = self.shared_keys(source, problems);
        let eap = self.eap(source, &certificate, anchors.as_ref(), problems);
        let proposals = self.proposals(source, problems);
        let change = self.settings(source);
        let Proposals { ike, esp, .. } = proposals.clone();
        let place = identity_given.as_ref().map(|given| given.place.as_str());
        let mut settings = Settings::default();
        settings.ike_proposals = ike.unwrap_or(settings.ike_proposals);
        settings.esp_proposals = esp.unwrap_or(settings.esp_proposals);
        change(&mut settings);
        for error in mistakes(&settings) {
            problems.error(self.unusable_responder(certificate.found(), place, &proposals, &error));
        }
        // What can be said of the certificate by itself, and of whom there is to let in.
        let shown = anchors.is_some() || eap.is_some();
        let any = SharedKey { key: Secret::from("any"), identity: None };
        if !self.somebody && !self.is_spoiled(&["users", "client_ca", "psk", "eap"], problems) {
            problems.error(self.unusable_responder(None, place, &proposals, &ConfigError::NobodyAccepted));
        }
        if matches!(certificate, Certificate::NotGiven) && shown {
            problems.error(self.unusable_responder(None, place, &proposals, &ConfigError::NoCertificate));
        }
        let sound = sound && problems.errors() == errors;
        let accepted = if sound {
            AcceptedPeers { shared_keys, certificates: anchors, eap }
        } else {
            // Its own certificate stands in for those of clients: what is shown to them is judged all the same.
            let own = certificate.found().filter(|_| self.somebody && !self.only_keys);
            let certificates = own.map(|own| ClientAnchors { anchors: own.value.chain.clone(), crls: Vec::new() });
            AcceptedPeers { shared_keys: vec![any], certificates, eap: None }
        };
        let table = &self.table;
        let peers = |given: Option<u32>, default: usize| given.map_or(default, |number| number as usize);
        let mut builder = ResponderConfig::builder(accepted)
            .settings(|chosen| {
                if sound {
                    *chosen = settings;
                }
            })
            .limits(|limits| {
                limits.peers = peers(table.max_peers, limits.peers);
                limits.half_open = peers(table.max_half_open, limits.half_open);
                limits.half_open_per_address = peers(table.max_half_open_per_address, limits.half_open_per_address);
                limits.cookie_threshold = peers(table.cookie_threshold, limits.cookie_threshold);
            });
        if let Some(identity) = identity {
            builder = builder.identity(identity);
        }
        if let Some(certificate) = certificate.found() {
            builder = builder.certificate(Arc::clone(&certificate.value));
        }
        match builder.build() {
            Ok(config) => Some(config).filter(|_| sound),
            Err(error) => {
                let unknown = self.is_spoiled(&["identity", "certificate", "pkcs12"], problems);
                let judged = matches!(error, ConfigError::Key(_) | ConfigError::IdentityNotCertified { .. });
                // Who it is may be in what could not be read.
                let readable = identity_given.is_none() && matches!(certificate, Certificate::NotGiven) && !shown;
                let own = judged || (matches!(error, ConfigError::NoIdentity) && !unknown && readable);
                if sound || own {
                    problems.error(self.unusable_responder(certificate.found(), place, &proposals, &error));
                }
                None
            }
        }
    }

    /// The same, where it stands and as it is called there.
    fn unusable_responder(
        &self,
        certificate: Option<&Given<Arc<ClientIdentity>>>,
        identity: Option<&str>,
        proposals: &Proposals,
        error: &ConfigError,
    ) -> Error {
        match (error, certificate) {
            (ConfigError::NobodyAccepted, _) => {
                let hint = "add `users.NAME = { password = { file = \"…\" } }`, `client_ca = [\"ca.pem\"]`, or \
                            `psk = [{ key = { file = \"…\" } }]`";
                self.error("nothing says who may come in").hint(hint)
            }
            (ConfigError::NoCertificate, _) => {
                let hint = "add `certificate = \"…\"` and `key = \"…\"`, or let in pre-shared keys alone";
                self.error("the certificate of the gateway is missing").hint(hint)
            }
            (ConfigError::NoIdentity, _) => {
                self.error("nothing says who the gateway is").hint("add `identity = \"vpn.example\"`")
            }
            (ConfigError::Eap(EapUnusable::NoUser), _) => self
                .error("EAP asks for users, and there are none")
                .hint("add `users.NAME = { password = { file = \"…\" } }`"),
            (ConfigError::Key(_), Some(certificate)) => certificate.error(error),
            (ConfigError::IdentityNotCertified { .. }, _) => {
                let hint = "clients insist on it: write a name of the certificate, or make one with a `subjectAltName` (docs/serve.md)";
                match identity {
                    Some(place) => Given::new((), place).error(error).hint(hint),
                    None => self.error(error).hint(hint),
                }
            }
            (ConfigError::OutOfBounds { name: "retransmission.limit", .. }, _) => {
                let place = self.retransmit.as_deref().unwrap_or(&self.place);
                Given::new((), place).error("`retransmit.limit_ms` has to be no shorter than `first_ms`")
            }
            (ConfigError::Legacy(word), _) => {
                let place = proposals.place_of(word).unwrap_or(&self.place);
                let error = Given::new((), place).error(format!("`{word}` is no longer safe"));
                error.hint("`legacy = true` allows it all the same")
            }
            (other, _) => self.error(other),
        }
    }

    /// Whose certificates are good.
    fn client_anchors(&mut self, source: &Source, problems: &mut Problems) -> Option<ClientAnchors> {
        let ca = source.files(std::mem::take(&mut self.table.client_ca));
        let crl = source.files(std::mem::take(&mut self.table.client_crl));
        if let ([], Some(crl)) = (&ca[..], crl.first())
            && !self.is_spoiled(&["client_ca"], problems)
        {
            problems.error(crl.error("this has no use without `client_ca`").hint("add `client_ca = [\"…\"]`"));
        }
        let mut found = ClientAnchors { anchors: Vec::new(), crls: Vec::new() };
        for file in &ca {
            found.anchors.extend(problems.catch(read(file, adit_pki::certificates)).into_iter().flatten());
        }
        for file in &crl {
            found.crls.extend(problems.catch(read(file, adit_pki::revocation_lists)).into_iter().flatten());
        }
        self.has_authority = !ca.is_empty();
        self.somebody |= !ca.is_empty();
        (!found.anchors.is_empty()).then_some(found)
    }

    fn shared_keys(&mut self, source: &Source, problems: &mut Problems) -> Vec<SharedKey> {
        let tables = std::mem::take(&mut self.table.psk);
        self.somebody |= !tables.is_empty();
        let mut keys = Vec::new();
        for table in tables {
            let start = table.span().start;
            let Given { value: PskTable { key, identity }, place } = source.given(table);
            let identity = identity.map(|identity| problems.catch(source.given(identity).identity()));
            let given = key.map(|key| source.secret(key));
            if given.is_none() && !problems.is_spoiled(start, "key") {
                let error = Given::new((), &*place).error("this pre-shared key has no `key`");
                problems.error(error.hint("add `key = { file = \"…\" }`"));
            }
            let key = problems.catch(secret(given.as_ref(), "a pre-shared key")).flatten();
            if let (Some(key), None | Some(Some(_))) = (key, &identity) {
                keys.push(SharedKey { key, identity: identity.flatten() });
            }
        }
        keys
    }

    fn eap(
        &mut self,
        source: &Source,
        certificate: &Certificate,
        anchors: Option<&ClientAnchors>,
        problems: &mut Problems,
    ) -> Option<EapServerConfig> {
        let users = self.users(source, problems);
        self.somebody |= !users.is_empty();
        let mut methods = std::mem::take(&mut self.table.eap);
        self.somebody |= !methods.is_empty();
        let inner = std::mem::take(&mut self.table.ttls_inner);
        let tls = self.table.eap_tls.take().map(|table| source.given(table));
        // Which methods there are is not known, where some of them were not understood.
        let known = !self.is_spoiled(&["eap"], problems);
        if methods.is_empty() && !users.is_empty() && known {
            methods.push(if inner.is_empty() { Method::MsChapV2 } else { Method::Ttls });
        }
        let with_tls = methods.iter().any(|method| matches!(method, Method::Tls | Method::Ttls));
        if let Some(tls) = tls.as_ref().filter(|_| known && !with_tls) {
            problems.error(tls.error("this has no use without `tls` or `ttls` in `eap`").hint("leave it away"));
        }
        if known && !inner.is_empty() && !methods.contains(&Method::Ttls) {
            problems.error(self.error("`ttls_inner` has no use without `ttls` in `eap`").hint("leave it away"));
        }
        if let (Some(user), [Method::Tls], true) = (users.first(), &methods[..], known) {
            let error = user.error("a user has no use, as EAP-TLS knows certificates alone");
            problems.error(error.hint("leave it away, or change `eap`"));
        }
        let users = users.iter().filter(|user| !user.spoiled);
        let users: Vec<_> = users.map(|given| problems.catch(user(given))).collect();
        if methods.is_empty() {
            return None;
        }
        if methods.contains(&Method::Tls)
            && anchors.is_none()
            && !self.has_authority
            && !self.is_spoiled(&["client_ca"], problems)
        {
            let error = self.error("nothing vouches for the certificates of EAP-TLS");
            problems.error(error.hint("add `client_ca = [\"ca.pem\"]`"));
        }
        if matches!(certificate, Certificate::NotGiven) {
            let error = self.error("with EAP, the gateway proves itself by a certificate, and has none");
            problems.error(error.hint("add `certificate = \"…\"` and `key = \"…\"`"));
        }
        let tls = tls_identity(certificate.found()?, anchors, tls.map(|tls| tls.value).unwrap_or_default());
        let methods = methods.into_iter().map(|made| method(made, &tls, &inner)).collect();
        Some(EapServerConfig { methods, users: users.into_iter().collect::<Option<_>>()? })
    }

    fn proposals(&mut self, source: &Source, problems: &mut Problems) -> Proposals {
        let ike_text = self.table.ike_proposals.take().map(|text| source.given(text));
        let esp_text = self.table.esp_proposals.take().map(|text| source.given(text));
        Proposals {
            ike: ike_text.as_ref().and_then(|text| problems.catch(text.proposals(IKE_EXAMPLE))),
            esp: esp_text.as_ref().and_then(|text| problems.catch(text.proposals(ESP_EXAMPLE))),
            texts: [ike_text, esp_text],
        }
    }

    fn settings(&mut self, source: &Source) -> impl FnOnce(&mut Settings) + use<> {
        let retransmit = self.table.retransmit.take().map(|table| source.given(table));
        self.retransmit = retransmit.as_ref().map(|given| given.place.clone());
        let table = &self.table;
        let (legacy, signature) = (table.legacy, table.signature);
        let (fragmentation, fragment_size, mobike) = (table.fragmentation, table.fragment_size, table.mobike);
        let (replay_window, mtu) = (table.replay_window, table.mtu);
        let seconds = |seconds: Option<u32>| seconds.map(|seconds| Duration::from_secs(seconds.into()));
        let liveness = seconds(table.liveness_seconds);
        let (child_rekey, ike_rekey) = (seconds(table.child_rekey_seconds), seconds(table.ike_rekey_seconds));
        let handshake = seconds(table.handshake_seconds);
        move |settings: &mut Settings| {
            settings.legacy = legacy.unwrap_or(settings.legacy);
            settings.signature = signature.map_or(settings.signature, |signature| signature.choice());
            settings.fragmentation = fragmentation.unwrap_or(settings.fragmentation);
            settings.fragment_size = fragment_size.unwrap_or(settings.fragment_size);
            settings.mobike = mobike.unwrap_or(settings.mobike);
            settings.liveness = liveness.unwrap_or(settings.liveness);
            settings.child_rekey = child_rekey.unwrap_or(settings.child_rekey);
            settings.ike_rekey = ike_rekey.unwrap_or(settings.ike_rekey);
            settings.handshake_timeout = handshake.unwrap_or(settings.handshake_timeout);
            settings.replay_window = replay_window.unwrap_or(settings.replay_window);
            settings.mtu = mtu.or(settings.mtu);
            if let Some(given) = retransmit {
                given.value.apply(&mut settings.retransmission);
            }
        }
    }
}

fn method(made: Method, tls: &EapTlsIdentity, inner: &[TtlsInner]) -> EapServerMethod {
    match made {
        Method::MsChapV2 => EapServerMethod::MsChapV2,
        Method::Gtc => EapServerMethod::Gtc,
        Method::Md5 => EapServerMethod::Md5,
        Method::Tls => EapServerMethod::Tls(tls.clone()),
        Method::Ttls => {
            let unless_said = [TtlsInner::MsChapV2, TtlsInner::Pap, TtlsInner::EapMsChapV2];
            let inner = if inner.is_empty() { &unless_said } else { inner };
            let of_eap: Vec<_> = inner.iter().filter_map(|inner| inner.eap()).collect();
            let of_eap: Vec<_> = of_eap.into_iter().map(|made| method(made, tls, &[])).collect();
            let mut methods: Vec<_> = inner.iter().filter_map(|inner| inner.plain()).collect();
            if !of_eap.is_empty() {
                methods.push(TtlsInnerMethod::Eap(of_eap));
            }
            EapServerMethod::Ttls { tls: tls.clone(), inner: methods }
        }
    }
}

/// Algorithms, as they were read and as they were written.
#[derive(Clone)]
struct Proposals {
    ike: Option<IkeProposals>,
    esp: Option<EspProposals>,
    texts: [Option<Given<String>>; 2],
}

impl Proposals {
    /// Where this algorithm stands.
    fn place_of(&self, word: &str) -> Option<&str> {
        let has = |given: &&Given<String>| given.value.split(['-', ',']).any(|name| name.trim() == word);
        let given = self.texts.iter().flatten();
        // A word with another name, such as `sha`, is of the first.
        given.clone().find(has).or_else(|| given.clone().next()).map(|given| given.place.as_str())
    }
}

impl TtlsInner {
    const fn eap(self) -> Option<Method> {
        match self {
            Self::EapMsChapV2 => Some(Method::MsChapV2),
            Self::EapMd5 => Some(Method::Md5),
            Self::EapGtc => Some(Method::Gtc),
            Self::Pap | Self::MsChapV2 => None,
        }
    }

    const fn plain(self) -> Option<TtlsInnerMethod> {
        match self {
            Self::Pap => Some(TtlsInnerMethod::Pap),
            Self::MsChapV2 => Some(TtlsInnerMethod::MsChapV2),
            Self::EapMsChapV2 | Self::EapMd5 | Self::EapGtc => None,
        }
    }
}

/// The TLS server inside of EAP: with the certificate of the gateway.
fn tls_identity(
    certificate: &Given<Arc<ClientIdentity>>,
    anchors: Option<&ClientAnchors>,
    table: EapTlsTable,
) -> EapTlsIdentity {
    let (anchors, crls) = anchors.map(|given| (given.anchors.clone(), given.crls.clone())).unwrap_or_default();
    EapTlsIdentity {
        certificate: Arc::clone(&certificate.value),
        anchors,
        crls,
        min_version: table.min_version.map_or(TlsVersion::V1_2, |version| version.of()),
        max_version: table.max_version.map_or(TlsVersion::V1_3, |version| version.of()),
    }
}

/// Somebody with a password, or the hash of one.
fn user(user: &User) -> Result<EapUser, Error> {
    let name = user.name.clone();
    let secret = match (&user.password, &user.nt_hash) {
        (_, None) => MsChapV2Secret::Password(user.password()?),
        (None, Some(hash)) => MsChapV2Secret::NtHash(nt_hash(hash)?),
        (Some(_), Some(hash)) => return Err(hash.error("there is a password already").hint("give one of the two")),
    };
    Ok(EapUser { name, secret })
}
