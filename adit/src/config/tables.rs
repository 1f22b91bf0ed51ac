//! Connections described in a TOML file.
//!
//! ```toml
//! [connection.office]
//! protocol = "ikev2"
//! remotes = ["vpn.example"]
//! ca = ["ca.pem"]
//! user = "alice"
//! password = { file = "password.txt" }
//! ```

use std::{path::PathBuf, time::Duration};

use ikev2::{Retransmission, SignatureChoice, TlsVersion};
use serde::Deserialize;
use toml::{Spanned, de::DeValue};

use super::{
    draft::{Auth, Draft, Given, Inner, Method, Tls, Ttls, Wording},
    ovpn,
    problems::Problems,
    source::{Protocol, SecretTable, Source},
};

/// What a gateway is reached by, as the file has it.
pub(super) enum Described {
    Ikev2(Box<Draft>),
    /// A profile, unless it is missing, and what is not in it.
    OpenVpn(Option<PathBuf>, ovpn::Given),
}

/// What the keys of one protocol say. What is wrong with single values is in the list of problems; `None` if nothing is left.
pub(super) fn described(
    source: &Source,
    protocol: Protocol,
    table: Spanned<DeValue<'_>>,
    place: String,
    spoiled: &dyn Fn(&str) -> bool,
    problems: &mut Problems,
) -> Option<Described> {
    match protocol {
        Protocol::Ikev2 => {
            let table: Ikev2 = problems.catch(source.deserialized(table))?;
            Some(Described::Ikev2(Box::new(table.into_draft(source, place, spoiled, problems))))
        }
        Protocol::OpenVpn => {
            let table: OpenVpn = problems.catch(source.deserialized(table))?;
            let user = table.user.map(|user| source.given(user));
            if let Some(user) = user.as_ref().filter(|user| user.value.is_empty()) {
                let error = user.error("the user name is empty");
                problems.error(error.hint("write a name, or leave it away to be asked"));
            }
            let login = match (user.map(|user| user.value), table.password) {
                (None, None) => ovpn::Login::Unknown,
                (user, password) => ovpn::Login::Apart { user, password: password.map(|secret| source.secret(secret)) },
            };
            let passphrase = table.passphrase.map(|secret| source.secret(secret));
            let profile = table.profile.map(|profile| source.given(profile));
            let named = profile.as_ref().map(|profile| profile.place.clone());
            let profile = profile.map(|profile| source.beside(&profile.value));
            Some(Described::OpenVpn(profile, ovpn::Given { login, passphrase, named, wording: Wording::Keys }))
        }
    }
}

/// `protocol = "openvpn"`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenVpn {
    profile: Option<Spanned<PathBuf>>,
    user: Option<Spanned<String>>,
    password: Option<Spanned<SecretTable>>,
    passphrase: Option<Spanned<SecretTable>>,
}

/// `protocol = "ikev2"`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ikev2 {
    #[serde(default)]
    remotes: Vec<Spanned<String>>,
    #[serde(default)]
    ca: Vec<Spanned<PathBuf>>,
    #[serde(default)]
    crl: Vec<Spanned<PathBuf>>,
    remote_id: Option<Spanned<String>>,
    send_remote_id: Option<bool>,
    local_id: Option<Spanned<String>>,
    auth: Option<Auth>,
    psk: Option<Spanned<SecretTable>>,
    certificate: Option<Spanned<PathBuf>>,
    key: Option<Spanned<PathBuf>>,
    pkcs12: Option<Spanned<PathBuf>>,
    passphrase: Option<Spanned<SecretTable>>,
    user: Option<Spanned<String>>,
    password: Option<Spanned<SecretTable>>,
    nt_hash: Option<Spanned<SecretTable>>,
    #[serde(default)]
    eap: Vec<Method>,
    eap_tls: Option<Spanned<TlsTable>>,
    ttls: Option<Spanned<TtlsTable>>,
    ike_proposals: Option<Spanned<String>>,
    esp_proposals: Option<Spanned<String>>,
    legacy: Option<bool>,
    signature: Option<Signature>,
    remote_ts: Option<Vec<Spanned<String>>>,
    fragment_size: Option<u16>,
    fragmentation: Option<bool>,
    mobike: Option<bool>,
    initial_contact: Option<bool>,
    liveness_seconds: Option<u32>,
    nat_keepalive_seconds: Option<u32>,
    child_rekey_seconds: Option<u32>,
    ike_rekey_seconds: Option<u32>,
    retransmit: Option<Spanned<RetransmitTable>>,
    replay_window: Option<u32>,
    mtu: Option<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsTable {
    #[serde(default)]
    ca: Vec<Spanned<PathBuf>>,
    #[serde(default)]
    crl: Vec<Spanned<PathBuf>>,
    server_name: Option<String>,
    min_version: Option<Version>,
    max_version: Option<Version>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TtlsTable {
    inner: Option<Inner>,
    anonymous_identity: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RetransmitTable {
    first_ms: Option<u32>,
    limit_ms: Option<u32>,
    tries: Option<u32>,
}

#[derive(Deserialize, Clone, Copy)]
pub(super) enum Version {
    #[serde(rename = "1.2")]
    V1_2,
    #[serde(rename = "1.3")]
    V1_3,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Signature {
    Auto,
    RsaPkcs1,
    RsaPss,
    Method1,
}

impl Ikev2 {
    fn into_draft(
        self,
        source: &Source,
        place: String,
        spoiled: &dyn Fn(&str) -> bool,
        problems: &mut Problems,
    ) -> Draft {
        let mut draft = Draft::new(place, Wording::Keys);
        let texts = |texts: Vec<Spanned<String>>| texts.into_iter().map(|text| source.given(text));
        let remotes = texts(self.remotes).filter_map(|text| Some((problems.catch(text.remote())?, text.place)));
        (draft.remotes, draft.remotes_at) = remotes.unzip();
        draft.ca = source.files(self.ca);
        draft.crl = source.files(self.crl);
        draft.remote_id = self.remote_id.and_then(|id| problems.catch(source.given(id).remote_id()));
        draft.local_id = self.local_id.and_then(|id| problems.catch(source.given(id).identity()));
        draft.auth = self.auth;
        draft.psk = self.psk.map(|secret| source.secret(secret));
        draft.certificate = self.certificate.map(|path| source.file(path));
        draft.key = self.key.map(|path| source.file(path));
        draft.pkcs12 = self.pkcs12.map(|path| source.file(path));
        draft.passphrase = self.passphrase.map(|secret| source.secret(secret));
        draft.user = self.user.map(|user| source.given(user));
        draft.password = self.password.map(|secret| source.secret(secret));
        draft.nt_hash = self.nt_hash.map(|secret| source.secret(secret));
        draft.eap = self.eap;
        draft.tls = self.eap_tls.map(|table| source.given(table)).map(|Given { value, place }| {
            let (ca, crl) = (source.files(value.ca), source.files(value.crl));
            let versions = (value.min_version.map(Version::of), value.max_version.map(Version::of));
            Given::new(Tls { ca, crl, server_name: value.server_name, versions }, place)
        });
        draft.ttls = self.ttls.map(|table| source.given(table)).map(|Given { value, place }| {
            Given::new(Ttls { inner: value.inner, anonymous_identity: value.anonymous_identity }, place)
        });
        if let Some(ttls) = draft.ttls.as_ref().filter(|ttls| ttls.value.inner.is_none() && !spoiled("ttls")) {
            problems.error(ttls.error("`ttls` has no `inner`").hint("add `inner = \"pap\"`"));
        }
        if let Some(proposals) = self.ike_proposals {
            problems.catch(draft.set_ike_proposals(source.given(proposals)));
        }
        if let Some(proposals) = self.esp_proposals {
            problems.catch(draft.set_esp_proposals(source.given(proposals)));
        }
        if let Some(networks) = self.remote_ts {
            let place = networks.first().map_or_else(|| draft.place.clone(), |first| source.place(&first.span()));
            draft.bounded.push(("remote_networks", Given::new("remote_ts", place)));
            let networks = texts(networks).filter_map(|text| problems.catch(text.network())).collect();
            draft.set(|settings| settings.remote_networks = networks);
        }
        draft.initial_contact = self.initial_contact;
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        macro_rules! set {
            ($($field:ident = $value:expr;)*) => { $(if let Some(value) = $value {
                draft.set(move |settings| settings.$field = value);
            })* };
        }
        set! {
            send_remote_identity = self.send_remote_id;
            legacy = self.legacy;
            signature = self.signature.map(Signature::choice);
            fragment_size = self.fragment_size;
            fragmentation = self.fragmentation;
            mobike = self.mobike;
            initial_contact = self.initial_contact;
            liveness = self.liveness_seconds.map(seconds);
            nat_keepalive = self.nat_keepalive_seconds.map(seconds);
            child_rekey = self.child_rekey_seconds.map(seconds);
            ike_rekey = self.ike_rekey_seconds.map(seconds);
            replay_window = self.replay_window;
            mtu = self.mtu.map(Some);
        }
        if let Some(Given { value: table, place }) = self.retransmit.map(|table| source.given(table)) {
            draft.bounded.push(("retransmission.limit", Given::new("retransmit.limit_ms", place)));
            draft.set(move |settings| table.apply(&mut settings.retransmission));
        }
        draft
    }
}

impl RetransmitTable {
    pub(super) fn apply(&self, schedule: &mut Retransmission) {
        let milliseconds = |value: u32| Duration::from_millis(value.into());
        schedule.first = self.first_ms.map_or(schedule.first, milliseconds);
        schedule.limit = self.limit_ms.map_or(schedule.limit, milliseconds);
        schedule.tries = self.tries.unwrap_or(schedule.tries);
    }
}

impl Version {
    pub(super) const fn of(self) -> TlsVersion {
        match self {
            Self::V1_2 => TlsVersion::V1_2,
            Self::V1_3 => TlsVersion::V1_3,
        }
    }
}

impl Signature {
    pub(super) const fn choice(self) -> SignatureChoice {
        match self {
            Self::Auto => SignatureChoice::Auto,
            Self::RsaPkcs1 => SignatureChoice::RsaPkcs1,
            Self::RsaPss => SignatureChoice::RsaPss,
            Self::Method1 => SignatureChoice::Method1,
        }
    }
}
