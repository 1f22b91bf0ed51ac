//! Gateways as a TOML file describes them, before anything they name is read.
//!
//! ```toml
//! [serve.office]
//! protocol = "ikev2"
//! listen = ["0.0.0.0:4500"]
//! certificate = "gateway.pem"
//! key = "gateway.key"
//! pool = ["10.99.0.0/24"]
//! users.alice = { password = { file = "alice.txt" } }
//! ```

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use adit_driver::gateway::Listen;
use adit_tunnel::{IpNet, Secret, Transport};
use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeString, DeValue},
};

use super::{
    super::{
        build::secret,
        draft::{Given, Method},
        files::SecretSource,
        problems::Problems,
        schema::{self as keys, Kind, Mistakes},
        source::{Protocol, SecretTable, Source},
        tables::{RetransmitTable, Signature, Version},
    },
    schema,
};
use crate::error::{Error, Exit};

/// A gateway of the file.
pub(super) struct Draft {
    pub(super) name: String,
    /// What an error belongs to that belongs to no single value.
    pub(super) place: String,
    /// Where its table begins.
    start: usize,
    /// `None`: it was not said, or not understood.
    pub(super) protocol: Option<Protocol>,
    /// Whether nothing is wrong with its keys, each by itself.
    pub(super) sound: bool,
    /// Whether somebody is to be let in, be it understood or not.
    pub(super) somebody: bool,
    /// Whether somebody is to vouch for clients, be it understood or not.
    pub(super) has_authority: bool,
    /// Whether nobody comes in but by a pre-shared key.
    pub(super) only_keys: bool,
    /// Where `retransmit` stands.
    pub(super) retransmit: Option<String>,
    pub(super) table: GatewayTable,
}

/// Reads the file, all of it. What is wrong with it is in the list of problems.
pub(super) fn load(path: &Path, problems: &mut Problems) -> Option<(Source, Vec<Draft>)> {
    problems.file(path.to_owned());
    let source = Source::read(path).map_err(|error| match path.exists() {
        true => error,
        false => error.hint("name a file that is there, with a [serve.NAME] in it: see docs/serve.md"),
    });
    let source = problems.catch(source)?;
    let drafts = drafts(&source, problems);
    Some((source, drafts))
}

fn drafts(source: &Source, problems: &mut Problems) -> Vec<Draft> {
    let (file, errors) = source.document();
    // Where the syntax is broken, something may only seem to be missing.
    let whole = errors.is_empty();
    errors.into_iter().for_each(|error| problems.error(error));
    let before = problems.errors();
    let mut drafts = Vec::new();
    let mut any = false;
    for (key, value) in file {
        if key.get_ref() != "serve" {
            let name = key.get_ref().as_ref();
            let other = name == "connection" || super::super::keys::PROCESS.iter().any(|(known, _)| *known == name);
            let (problem, hint) = if other {
                (format!("`{name}` belongs to `adit run`, `serve` to `adit serve`"), "put it into a file of its own")
            } else {
                (format!("unknown table `{}`", name.escape_debug()), "gateways are described in [serve.NAME]")
            };
            problems.error(source.wrong(&key.span(), problem).hint(hint));
            continue;
        }
        let span = value.span();
        let DeValue::Table(named) = value.into_inner() else {
            problems.error(source.wrong(&span, "`serve` is no table").hint("write [serve.NAME]"));
            continue;
        };
        for (name, table) in named {
            any = true;
            let start = table.span().start;
            drafts.extend(draft(source, &name, table, whole, problems).map(|draft| (start, draft)));
        }
    }
    if !any && whole && problems.errors() == before {
        let error = Error::new(Exit::Usage, format!("{}: there is no gateway in it", source.name()));
        problems.error(error.hint("gateways are described in [serve.NAME]; examples/serve.toml has every key"));
    }
    drafts.sort_by_key(|(start, _)| *start);
    drafts.into_iter().map(|(_, draft)| draft).collect()
}

fn draft(
    source: &Source,
    name: &Spanned<DeString<'_>>,
    value: Spanned<DeValue<'_>>,
    whole: bool,
    problems: &mut Problems,
) -> Option<Draft> {
    let (span, shown) = (value.span(), name.get_ref().escape_debug().to_string());
    let DeValue::Table(mut table) = value.into_inner() else {
        let error = source.wrong(&span, format!("`{shown}` is no gateway"));
        problems.error(error.hint("write [serve.NAME]"));
        return None;
    };
    let errors = problems.errors();
    let protocol = match table.remove("protocol") {
        Some(value) => source.protocol(&value, problems),
        None => {
            if whole {
                let error = source.wrong(&span, format!("the gateway `{shown}` has no `protocol`"));
                problems.error(error.hint("add `protocol = \"ikev2\"` or `protocol = \"openvpn\"`"));
            }
            None
        }
    };
    let known: Vec<(&str, Kind)> = match protocol {
        Some(Protocol::Ikev2) => schema::IKEV2.to_vec(),
        Some(Protocol::OpenVpn) => schema::OPENVPN.to_vec(),
        None => [schema::IKEV2, schema::OPENVPN].concat(),
    };
    let mut mistakes = Mistakes::default();
    keys::check(&mut table, span.start, &known, "", &schema::GATEWAY, &mut mistakes);
    mistakes.list.into_iter().for_each(|mistake| problems.error(source.mistake(mistake)));
    problems.spoil(mistakes.spoiled);
    for (key, example) in [("listen", "`listen = [\"0.0.0.0:4500\"]`"), ("pool", "`pool = [\"10.99.0.0/24\"]`")] {
        match table.get(key).map(|value| (value.span(), value.get_ref().as_array().is_some_and(|list| list.is_empty())))
        {
            None if whole && !problems.is_spoiled(span.start, key) => {
                let error = source.wrong(&span, format!("the gateway `{shown}` has no `{key}`"));
                problems.error(error.hint(format!("add {example}")));
            }
            Some((span, true)) => {
                let error = source.wrong(&span, format!("`{key}` is empty"));
                problems.error(error.hint(format!("write {example}")));
            }
            None | Some((_, false)) => {}
        }
    }
    let table = problems.catch(source.deserialized(Spanned::new(span.clone(), DeValue::Table(table))))?;
    let sound = whole && problems.errors() == errors;
    Some(Draft {
        name: name.get_ref().to_string(),
        place: place(source, name),
        start: span.start,
        protocol,
        sound,
        somebody: false,
        has_authority: false,
        only_keys: false,
        retransmit: None,
        table,
    })
}

fn place(source: &Source, name: &Spanned<DeString<'_>>) -> String {
    format!("{} (gateway `{}`)", source.place(&name.span()), name.get_ref().escape_debug())
}

/// The keys of either protocol: which of them a table may have was checked before.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GatewayTable {
    #[serde(default)]
    pub(super) listen: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) pool: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) users: BTreeMap<String, Spanned<UserTable>>,
    pub(super) certificate: Option<Spanned<PathBuf>>,
    pub(super) key: Option<Spanned<PathBuf>>,
    pub(super) pkcs12: Option<Spanned<PathBuf>>,
    pub(super) passphrase: Option<Spanned<SecretTable>>,
    #[serde(default)]
    pub(super) client_ca: Vec<Spanned<PathBuf>>,
    #[serde(default)]
    pub(super) client_crl: Vec<Spanned<PathBuf>>,
    #[serde(default)]
    pub(super) routes: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) dns: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) search_domains: Vec<String>,
    #[serde(default)]
    pub(super) split_domains: Vec<String>,
    #[serde(default)]
    pub(super) single: bool,
    #[serde(default)]
    pub(super) allow: Vec<Spanned<String>>,
    pub(super) tun_name: Option<Spanned<String>>,
    pub(super) replay_window: Option<u32>,
    pub(super) mtu: Option<u16>,
    pub(super) max_peers: Option<u32>,
    pub(super) max_half_open: Option<u32>,
    pub(super) max_half_open_per_address: Option<u32>,

    // IKEv2 alone.
    pub(super) identity: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) psk: Vec<Spanned<PskTable>>,
    #[serde(default)]
    pub(super) eap: Vec<Method>,
    #[serde(default)]
    pub(super) ttls_inner: Vec<TtlsInner>,
    pub(super) eap_tls: Option<Spanned<EapTlsTable>>,
    pub(super) ike_proposals: Option<Spanned<String>>,
    pub(super) esp_proposals: Option<Spanned<String>>,
    pub(super) legacy: Option<bool>,
    pub(super) signature: Option<Signature>,
    pub(super) fragmentation: Option<bool>,
    pub(super) fragment_size: Option<u16>,
    pub(super) mobike: Option<bool>,
    pub(super) liveness_seconds: Option<u32>,
    pub(super) child_rekey_seconds: Option<u32>,
    pub(super) ike_rekey_seconds: Option<u32>,
    pub(super) retransmit: Option<Spanned<RetransmitTable>>,
    pub(super) handshake_seconds: Option<u32>,
    pub(super) cookie_threshold: Option<u32>,

    // OpenVPN alone.
    pub(super) client_certificate: Option<Spanned<ClientCertificate>>,
    pub(super) tls_auth: Option<Spanned<PathBuf>>,
    pub(super) tls_crypt: Option<Spanned<PathBuf>>,
    pub(super) tls_crypt_v2: Option<Spanned<PathBuf>>,
    pub(super) tls_crypt_v2_force_cookie: Option<Spanned<bool>>,
    pub(super) tls_crypt_v2_max_age_days: Option<Spanned<u32>>,
    pub(super) key_direction: Option<Spanned<u8>>,
    pub(super) auth: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) data_ciphers: Vec<Spanned<String>>,
    pub(super) data_ciphers_fallback: Option<Spanned<String>>,
    pub(super) tls_version_min: Option<Version>,
    pub(super) tls_version_max: Option<Version>,
    pub(super) reneg_seconds: Option<u32>,
    pub(super) hand_window_seconds: Option<u32>,
    pub(super) ping_seconds: Option<u32>,
    pub(super) ping_restart_seconds: Option<Spanned<u32>>,
}

impl GatewayTable {
    /// Warns of secrets that every user of this machine can read.
    pub(super) fn warn_of_readers(&self, source: &Source, problems: &mut Problems) {
        let users = self.users.values().flat_map(|user| [&user.get_ref().password, &user.get_ref().nt_hash]);
        let shared = self.psk.iter().map(|psk| &psk.get_ref().key);
        let secrets = users.chain(shared).chain([&self.passphrase]).flatten();
        let secrets = secrets.filter_map(|secret| Some((secret.get_ref().path()?, secret.span())));
        // Without a key of its own, a certificate has it in its file.
        let key = self.key.as_ref().or(self.certificate.as_ref());
        let keys =
            [key, self.pkcs12.as_ref(), self.tls_auth.as_ref(), self.tls_crypt.as_ref(), self.tls_crypt_v2.as_ref()];
        let keys = keys.into_iter().flatten().map(|file| (file.get_ref().as_path(), file.span()));
        for (path, span) in secrets.chain(keys) {
            problems.warn_of_readers(&source.beside(path), &source.place(&span));
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserTable {
    pub(super) password: Option<Spanned<SecretTable>>,
    pub(super) nt_hash: Option<Spanned<SecretTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PskTable {
    pub(super) key: Option<Spanned<SecretTable>>,
    pub(super) identity: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct EapTlsTable {
    pub(super) min_version: Option<Version>,
    pub(super) max_version: Option<Version>,
}

/// What a peer may do inside of EAP-TTLS.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum TtlsInner {
    Pap,
    #[serde(rename = "mschapv2")]
    MsChapV2,
    #[serde(rename = "eap-mschapv2")]
    EapMsChapV2,
    EapMd5,
    EapGtc,
}

/// Whether clients show a certificate.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ClientCertificate {
    Required,
    Optional,
    None,
}

/// Who may come in by a password, or the hash of one.
pub(super) struct User {
    pub(super) name: String,
    pub(super) place: String,
    pub(super) password: Option<Given<SecretSource>>,
    pub(super) nt_hash: Option<Given<SecretSource>>,
    /// Whether something that was said of it could not be understood.
    pub(super) spoiled: bool,
}

impl Draft {
    /// Where to listen, and where that stands.
    pub(super) fn listen(&mut self, source: &Source, problems: &mut Problems) -> Vec<Given<Listen>> {
        let texts = std::mem::take(&mut self.table.listen);
        let listen = |text| {
            let text = source.given(text);
            Some(Given::new(problems.catch(listen(&text, self.protocol))?, text.place))
        };
        texts.into_iter().filter_map(listen).collect()
    }

    /// Whether one of these keys is there, if perhaps by another name, and wrong.
    pub(super) fn is_spoiled(&self, keys: &[&str], problems: &Problems) -> bool {
        keys.iter().any(|key| problems.is_spoiled(self.start, key))
    }

    pub(super) fn users(&mut self, source: &Source, problems: &Problems) -> Vec<User> {
        let users = std::mem::take(&mut self.table.users);
        let user = |(name, table): (String, Spanned<UserTable>)| {
            let start = table.span().start;
            let spoiled = ["password", "nt_hash"].iter().any(|key| problems.is_spoiled(start, key));
            let Given { value: UserTable { password, nt_hash }, place } = source.given(table);
            let secret = |secret: Option<_>| secret.map(|secret| source.secret(secret));
            User { name, place, password: secret(password), nt_hash: secret(nt_hash), spoiled }
        };
        users.into_iter().map(user).collect()
    }

    /// Something is wrong with the gateway as a whole, or missing.
    pub(super) fn error(&self, problem: impl fmt::Display) -> Error {
        Error::at(&self.place, problem)
    }
}

/// Networks, each with its place. An address with a prefix is not one: whoever writes it may mean the address alone.
pub(super) fn networks(source: &Source, texts: Vec<Spanned<String>>, problems: &mut Problems) -> Vec<Given<IpNet>> {
    let network = |text| {
        let text: Given<String> = source.given(text);
        let network = text.network()?;
        match first_address(&network) {
            first if first == network.address() => Ok(Given::new(network, text.place)),
            first => {
                let error = text.error(format!("`{}` is an address of a network, not the network", text.value));
                Err(error.hint(format!("did you mean {first}/{}?", network.prefix())))
            }
        }
    };
    texts.into_iter().filter_map(|text| problems.catch(network(text))).collect()
}

/// The address that stands for the network itself.
fn first_address(network: &IpNet) -> IpAddr {
    let host_bits = |width: u8| u32::from(width.saturating_sub(network.prefix()));
    match network.address() {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(host_bits(32)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(host_bits(128)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

/// Addresses of hosts.
pub(super) fn addresses(source: &Source, texts: Vec<Spanned<String>>, problems: &mut Problems) -> Vec<IpAddr> {
    let address = |text| {
        let text: Given<String> = source.given(text);
        text.value.parse().map_err(|_| {
            text.error(format!("`{}` is no address", text.value))
                .hint("write it as 10.0.0.53 or fd00::53, without port")
        })
    };
    texts.into_iter().filter_map(|text| problems.catch(address(text))).collect()
}

/// `ADDRESS:PORT[/udp|/tcp]`.
fn listen(text: &Given<String>, protocol: Option<Protocol>) -> Result<Listen, Error> {
    let (address, transport) = match text.value.rsplit_once('/') {
        None => (text.value.as_str(), Transport::Udp),
        Some((address, "udp")) => (address, Transport::Udp),
        Some((_, "tcp")) if protocol == Some(Protocol::Ikev2) => {
            return Err(text.error("IKEv2 is answered over UDP alone").hint("leave `/tcp` away"));
        }
        Some((address, "tcp")) => (address, Transport::Tcp),
        Some((_, other)) => {
            return Err(text.error(format!("`/{other}` is neither /udp nor /tcp")).hint("leave it away for UDP"));
        }
    };
    let address = address.parse().map_err(|_| {
        let error = text.error(format!("`{address}` is no address to listen on"));
        error.hint("write ADDRESS:PORT, as in 0.0.0.0:4500, or [::]:4500 for IPv6; port 0 takes a free one")
    })?;
    Ok(Listen { transport, address })
}

impl User {
    /// The password, where a hash would not do.
    pub(super) fn password(&self) -> Result<Secret, Error> {
        let hint = "add `password = { file = \"…\" }`";
        if let Some(hash) = &self.nt_hash {
            return Err(hash.error("an NT hash serves EAP-MSCHAPv2 of IKEv2 alone").hint(hint));
        }
        let missing = || self.error(format!("the user `{}` has no password", self.name)).hint(hint);
        secret(self.password.as_ref(), "a password")?.ok_or_else(missing)
    }

    /// Something is wrong with it.
    pub(super) fn error(&self, problem: impl fmt::Display) -> Error {
        Error::at(&self.place, problem)
    }
}
