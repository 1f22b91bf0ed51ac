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
use toml::Spanned;

use super::{
    super::{
        build::secret,
        draft::{Given, Method},
        files::SecretSource,
        source::{Protocol, SecretTable, Section, Source},
        tables::{RetransmitTable, Signature, Version},
    },
    schema,
};
use crate::error::{Error, Exit};

const SECTION: Section = Section { key: "serve", what: "gateway", manner: &schema::GATEWAY };

/// A gateway of the file.
pub(super) struct Draft {
    pub(super) name: String,
    /// What an error belongs to that belongs to no single value.
    pub(super) place: String,
    pub(super) protocol: Protocol,
    pub(super) table: GatewayTable,
}

/// Reads the file, all of it; there is at least one gateway in it.
pub(super) fn load(path: &Path) -> Result<(Source, Vec<Draft>), Error> {
    let source = Source::read(path).map_err(|error| match path.exists() {
        true => error,
        false => error.hint("name a file that is there, with a [serve.NAME] in it: see docs/serve.md"),
    })?;
    let drafts = source.tables(&SECTION, |raw| {
        let (protocol, listen) = (raw.protocol, ("listen", "`listen = [\"0.0.0.0:4500\"]`"));
        let keys = match protocol {
            Protocol::Ikev2 => schema::IKEV2,
            Protocol::OpenVpn => schema::OPENVPN,
        };
        Ok((protocol, source.checked(raw, keys, &[listen, ("pool", "`pool = [\"10.99.0.0/24\"]`")])?))
    })?;
    if drafts.is_empty() {
        let error = Error::new(Exit::Usage, format!("{}: there is no gateway in it", source.name()));
        return Err(error.hint("gateways are described in [serve.NAME]; examples/serve.toml has every key"));
    }
    let drafts = drafts.into_iter().map(|(name, (span, (protocol, table)))| {
        let place = format!("{} (gateway `{name}`)", source.place(&span));
        Draft { name, place, protocol, table }
    });
    let drafts = drafts.collect();
    Ok((source, drafts))
}

/// The keys of either protocol: which of them a table may have was checked before.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GatewayTable {
    pub(super) listen: Vec<Spanned<String>>,
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
}

impl Draft {
    /// Where to listen.
    pub(super) fn listen(&mut self, source: &Source) -> Result<Vec<Listen>, Error> {
        let texts = std::mem::take(&mut self.table.listen);
        let listen: Vec<_> =
            texts.into_iter().map(|text| listen(&source.given(text), self.protocol)).collect::<Result<_, _>>()?;
        if listen.is_empty() {
            return Err(self.error("`listen` is empty").hint("add `listen = [\"0.0.0.0:4500\"]`"));
        }
        Ok(listen)
    }

    pub(super) fn users(&mut self, source: &Source) -> Vec<User> {
        let users = std::mem::take(&mut self.table.users);
        let user = |(name, table)| {
            let Given { value: UserTable { password, nt_hash }, place } = source.given(table);
            let secret = |secret: Option<_>| secret.map(|secret| source.secret(secret));
            User { name, place, password: secret(password), nt_hash: secret(nt_hash) }
        };
        users.into_iter().map(user).collect()
    }

    /// Something is wrong with the gateway as a whole, or missing.
    pub(super) fn error(&self, problem: impl fmt::Display) -> Error {
        Error::at(&self.place, problem)
    }
}

/// Networks, each with its place. An address with a prefix is not one: whoever writes it may mean the address alone.
pub(super) fn networks(source: &Source, texts: Vec<Spanned<String>>) -> Result<Vec<Given<IpNet>>, Error> {
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
    texts.into_iter().map(network).collect()
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
pub(super) fn addresses(source: &Source, texts: Vec<Spanned<String>>) -> Result<Vec<IpAddr>, Error> {
    let address = |text| {
        let text: Given<String> = source.given(text);
        text.value.parse().map_err(|_| {
            text.error(format!("`{}` is no address", text.value))
                .hint("write it as 10.0.0.53 or fd00::53, without port")
        })
    };
    texts.into_iter().map(address).collect()
}

/// `ADDRESS:PORT[/udp|/tcp]`.
fn listen(text: &Given<String>, protocol: Protocol) -> Result<Listen, Error> {
    let (address, transport) = match text.value.rsplit_once('/') {
        None => (text.value.as_str(), Transport::Udp),
        Some((address, "udp")) => (address, Transport::Udp),
        Some((_, "tcp")) if protocol == Protocol::Ikev2 => {
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
