//! A responder of IKEv2.

use std::{sync::Arc, time::Duration};

use adit_pki::ClientIdentity;
use ikev2::{
    AcceptedPeers, ClientAnchors, ConfigError, EapServerConfig, EapServerMethod, EapTlsIdentity, EapUnusable, EapUser,
    EspProposals, IkeProposals, MsChapV2Secret, ResponderConfig, Settings, SharedKey, TlsVersion, TtlsInnerMethod,
};
use toml::Spanned;

use super::{
    super::{
        build::{certificates, nt_hash, revocation_lists, secret},
        draft::{ESP_EXAMPLE, Given, IKE_EXAMPLE, Method},
        source::Source,
    },
    tables::{Draft, EapTlsTable, PskTable, TtlsInner, User},
};
use crate::error::Error;

impl Draft {
    pub(super) fn ikev2(&mut self, source: &Source) -> Result<ResponderConfig, Error> {
        let certificate = self.identity(source)?;
        let identity_given = self.table.identity.take().map(|id| source.given(id));
        let identity = identity_given.as_ref().map(|id| id.identity()).transpose()?;
        let anchors = self.client_anchors(source)?;
        let shared_keys = self.shared_keys(source)?;
        let eap = self.eap(source, certificate.as_ref(), anchors.as_ref())?;
        let proposals = self.proposals(source)?;
        let change = self.settings(source)?;
        let Proposals { ike, esp, .. } = proposals.clone();
        let table = &self.table;
        let peers = |given: Option<u32>, default: usize| given.map_or(default, |number| number as usize);
        let mut builder = ResponderConfig::builder(AcceptedPeers { shared_keys, certificates: anchors, eap })
            .settings(|settings| {
                settings.ike_proposals = ike.unwrap_or_else(|| settings.ike_proposals.clone());
                settings.esp_proposals = esp.unwrap_or_else(|| settings.esp_proposals.clone());
                change(settings);
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
        if let Some(certificate) = &certificate {
            builder = builder.certificate(Arc::clone(&certificate.value));
        }
        let identity_place = identity_given.as_ref().map(|given| given.place.as_str());
        builder
            .build()
            .map_err(|error| self.unusable_responder(certificate.as_ref(), identity_place, &proposals, &error))
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
            (ConfigError::Legacy(word), _) => {
                let place = proposals.place_of(word).unwrap_or(&self.place);
                let error = Given::new((), place).error(format!("`{word}` is no longer safe"));
                error.hint("`legacy = true` allows it all the same")
            }
            (other, _) => self.error(other),
        }
    }

    /// Whose certificates are good.
    fn client_anchors(&mut self, source: &Source) -> Result<Option<ClientAnchors>, Error> {
        let ca = source.files(std::mem::take(&mut self.table.client_ca));
        let crl = source.files(std::mem::take(&mut self.table.client_crl));
        match (&ca[..], crl.first()) {
            ([], Some(crl)) => Err(crl.error("this has no use without `client_ca`").hint("add `client_ca = [\"…\"]`")),
            ([], None) => Ok(None),
            _ => Ok(Some(ClientAnchors { anchors: certificates(&ca)?, crls: revocation_lists(&crl)? })),
        }
    }

    fn shared_keys(&mut self, source: &Source) -> Result<Vec<SharedKey>, Error> {
        let key = |table: Spanned<PskTable>| {
            let Given { value: PskTable { key, identity }, place } = source.given(table);
            let identity = identity.map(|identity| source.given(identity).identity()).transpose()?;
            let given = key.map(|key| source.secret(key));
            let missing = || {
                Given::new((), &*place).error("this pre-shared key has no `key`").hint("add `key = { file = \"…\" }`")
            };
            let key = secret(given.as_ref(), "a pre-shared key")?.ok_or_else(missing)?;
            Ok(SharedKey { key, identity })
        };
        std::mem::take(&mut self.table.psk).into_iter().map(key).collect()
    }

    fn eap(
        &mut self,
        source: &Source,
        certificate: Option<&Given<Arc<ClientIdentity>>>,
        anchors: Option<&ClientAnchors>,
    ) -> Result<Option<EapServerConfig>, Error> {
        let users = self.users(source);
        let mut methods = std::mem::take(&mut self.table.eap);
        let inner = std::mem::take(&mut self.table.ttls_inner);
        let tls = self.table.eap_tls.take().map(|table| source.given(table));
        if methods.is_empty() && !users.is_empty() {
            methods.push(if inner.is_empty() { Method::MsChapV2 } else { Method::Ttls });
        }
        if let Some(tls) = tls.as_ref().filter(|_| !methods.iter().any(|m| matches!(m, Method::Tls | Method::Ttls))) {
            return Err(tls.error("this has no use without `tls` or `ttls` in `eap`").hint("leave it away"));
        }
        if !inner.is_empty() && !methods.contains(&Method::Ttls) {
            return Err(self.error("`ttls_inner` has no use without `ttls` in `eap`").hint("leave it away"));
        }
        if methods.is_empty() {
            return Ok(None);
        }
        if let (Some(user), [Method::Tls]) = (users.first(), &methods[..]) {
            return Err(user
                .error("a user has no use, as EAP-TLS knows certificates alone")
                .hint("leave it away, or change `eap`"));
        }
        let Some(certificate) = certificate else {
            let error = self.error("with EAP, the gateway proves itself by a certificate, and has none");
            return Err(error.hint("add `certificate = \"…\"` and `key = \"…\"`"));
        };
        let tls = tls_identity(certificate, anchors, tls.map(|tls| tls.value).unwrap_or_default());
        let methods = methods.into_iter().map(|method| self.method(method, &tls, &inner));
        let methods = methods.collect::<Result<_, _>>()?;
        let users = users.iter().map(user).collect::<Result<_, _>>()?;
        Ok(Some(EapServerConfig { methods, users }))
    }

    fn method(&self, method: Method, tls: &EapTlsIdentity, inner: &[TtlsInner]) -> Result<EapServerMethod, Error> {
        let needs_anchors = || match tls.anchors.first() {
            Some(_) => Ok(tls.clone()),
            None => {
                let error = self.error("nothing vouches for the certificates of EAP-TLS");
                Err(error.hint("add `client_ca = [\"ca.pem\"]`"))
            }
        };
        Ok(match method {
            Method::MsChapV2 => EapServerMethod::MsChapV2,
            Method::Gtc => EapServerMethod::Gtc,
            Method::Md5 => EapServerMethod::Md5,
            Method::Tls => EapServerMethod::Tls(needs_anchors()?),
            Method::Ttls => {
                let unless_said = [TtlsInner::MsChapV2, TtlsInner::Pap, TtlsInner::EapMsChapV2];
                let inner = if inner.is_empty() { &unless_said } else { inner };
                let of_eap: Vec<_> = inner.iter().filter_map(|inner| inner.eap()).collect();
                let of_eap: Vec<_> =
                    of_eap.into_iter().map(|method| self.method(method, tls, &[])).collect::<Result<_, _>>()?;
                let mut methods: Vec<_> = inner.iter().filter_map(|inner| inner.plain()).collect();
                if !of_eap.is_empty() {
                    methods.push(TtlsInnerMethod::Eap(of_eap));
                }
                EapServerMethod::Ttls { tls: tls.clone(), inner: methods }
            }
        })
    }

    fn proposals(&mut self, source: &Source) -> Result<Proposals, Error> {
        let ike_text = self.table.ike_proposals.take().map(|text| source.given(text));
        let esp_text = self.table.esp_proposals.take().map(|text| source.given(text));
        Ok(Proposals {
            ike: ike_text.as_ref().map(|text| text.proposals(IKE_EXAMPLE)).transpose()?,
            esp: esp_text.as_ref().map(|text| text.proposals(ESP_EXAMPLE)).transpose()?,
            texts: [ike_text, esp_text],
        })
    }

    fn settings(&mut self, source: &Source) -> Result<impl FnOnce(&mut Settings) + use<>, Error> {
        let retransmit = self.table.retransmit.take().map(|table| source.given(table));
        if let Some(given) = &retransmit {
            let mut schedule = Settings::default().retransmission;
            given.value.apply(&mut schedule);
            if schedule.limit < schedule.first {
                return Err(given.error("`retransmit.limit_ms` has to be no shorter than `first_ms`"));
            }
        }
        let table = &self.table;
        let (legacy, signature) = (table.legacy, table.signature);
        let (fragmentation, fragment_size, mobike) = (table.fragmentation, table.fragment_size, table.mobike);
        let (replay_window, mtu) = (table.replay_window, table.mtu);
        let seconds = |seconds: Option<u32>| seconds.map(|seconds| Duration::from_secs(seconds.into()));
        let liveness = seconds(table.liveness_seconds);
        let (child_rekey, ike_rekey) = (seconds(table.child_rekey_seconds), seconds(table.ike_rekey_seconds));
        let handshake = seconds(table.handshake_seconds);
        Ok(move |settings: &mut Settings| {
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
        })
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
