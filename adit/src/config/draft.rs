//! An IKEv2 connection as it was described, by a file or by options, before anything it names is read.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use adit_tunnel::IpNet;
use clap::ValueEnum;
use ikev2::{EspProposals, Identity, IkeProposals, Remote, Settings, TlsVersion};
use serde::Deserialize;

use super::files::{Content, SecretSource};
use crate::error::Error;

/// How proposals are written.
pub(super) const IKE_EXAMPLE: &str = "aes256gcm16-prfsha384-ecp384,aes128-sha256-x25519";
pub(super) const ESP_EXAMPLE: &str = "aes256gcm16,aes128-sha256";

/// The port of IKE.
const IKE_PORT: u16 = 500;

/// A value, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given<T> {
    pub(super) value: T,
    /// Such as `office.toml line 7`, or the name of an option.
    pub(super) place: String,
}

/// Everything that can be said about an IKEv2 connection.
#[derive(Default)]
pub(super) struct Draft {
    /// What an error belongs to that belongs to no single value.
    pub(super) place: String,
    pub(super) wording: Wording,
    pub(super) remotes: Vec<Remote>,
    /// Where each of them stands in a TOML file.
    pub(super) remotes_at: Vec<String>,
    pub(super) ca: Vec<Given<Content>>,
    pub(super) crl: Vec<Given<Content>>,
    pub(super) remote_id: Option<RemoteId>,
    pub(super) auth: Option<Auth>,
    pub(super) psk: Option<Given<SecretSource>>,
    pub(super) certificate: Option<Given<Content>>,
    pub(super) key: Option<Given<Content>>,
    pub(super) pkcs12: Option<Given<Content>>,
    pub(super) passphrase: Option<Given<SecretSource>>,
    pub(super) local_id: Option<Identity>,
    pub(super) user: Option<Given<String>>,
    pub(super) password: Option<Given<SecretSource>>,
    pub(super) nt_hash: Option<Given<SecretSource>>,
    pub(super) eap: Vec<Method>,
    pub(super) tls: Option<Given<Tls>>,
    pub(super) ttls: Option<Given<Ttls>>,
    pub(super) ike_proposals: Option<Given<String>>,
    pub(super) esp_proposals: Option<Given<String>>,
    /// Whether older sessions of our identity are ended, if that was said.
    pub(super) initial_contact: Option<bool>,
    /// Where a setting that may be out of bounds stands, and as what, by the name the configuration has for it.
    pub(super) bounded: Vec<(&'static str, Given<&'static str>)>,
    /// What was said and has no effect.
    pub(super) warnings: Vec<String>,
    /// Whether what has no use is warned about where it stands in the file, not refused: a profile was made by somebody else.
    pub(super) forgiving: bool,
    /// What is applied to the settings with a default, in order.
    pub(super) settings: Vec<Setting>,
}

/// A change of the settings.
type Setting = Box<dyn FnOnce(&mut Settings)>;

/// How things are called where the connection was described.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Wording {
    /// Options of the command line. Those of a `.sswan` profile are added to by these, too.
    #[default]
    Options,
    /// Keys of a TOML file.
    Keys,
}

/// How we prove ourselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Auth {
    Psk,
    Certificate,
    Eap,
}

/// An EAP method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lower")]
pub(crate) enum Method {
    /// A password, or its NT hash.
    MsChapV2,
    /// Our certificate.
    Tls,
    /// Something else inside of TLS.
    Ttls,
    /// A password, in clear to the gateway.
    Gtc,
    /// A password; gives no key.
    Md5,
}

/// Who the gateway must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RemoteId {
    /// `%any`.
    Any,
    Exactly(Identity),
}

/// The server of a TLS-based EAP method.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tls {
    pub(super) ca: Vec<Given<Content>>,
    pub(super) crl: Vec<Given<Content>>,
    pub(super) server_name: Option<String>,
    pub(super) versions: (Option<TlsVersion>, Option<TlsVersion>),
}

/// What is inside of EAP-TTLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ttls {
    /// `None`: it was not said, or not understood.
    pub(super) inner: Option<Inner>,
    pub(super) anonymous_identity: Option<String>,
}

/// The method inside of EAP-TTLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Inner {
    Pap,
    #[serde(rename = "mschapv2")]
    MsChapV2,
    EapMd5,
    #[serde(rename = "eap-mschapv2")]
    EapMsChapV2,
    EapGtc,
}

impl<T> Given<T> {
    pub(super) fn new(value: T, place: impl Into<String>) -> Self {
        Self { value, place: place.into() }
    }

    /// Something is wrong with it.
    pub(super) fn error(&self, problem: impl fmt::Display) -> Error {
        Error::at(&self.place, problem)
    }
}

impl<T: AsRef<str>> Given<T> {
    /// Makes proposals of a text.
    pub(super) fn proposals<U>(&self, example: &str) -> Result<U, Error>
    where
        U: FromStr<Err: fmt::Display>,
    {
        self.value.as_ref().parse().map_err(|error| self.error(error).hint(format!("write them as in {example}")))
    }

    /// `host[:port]`.
    pub(super) fn remote(&self) -> Result<Remote, Error> {
        let text = self.value.as_ref();
        parse_remote(text).ok_or_else(|| {
            let error = self.error(format!("`{text}` is no gateway"));
            error.hint("write HOST or HOST:PORT, with an IPv6 address in brackets where a port follows")
        })
    }

    /// An identity in strongSwan's notation.
    pub(super) fn identity(&self) -> Result<Identity, Error> {
        let text = self.value.as_ref();
        Identity::from_text(text).map_err(|error| self.error(format!("`{text}` is no identity: {error}")))
    }

    /// The same, or `%any`.
    pub(super) fn remote_id(&self) -> Result<RemoteId, Error> {
        if self.value.as_ref() == "%any" { Ok(RemoteId::Any) } else { self.identity().map(RemoteId::Exactly) }
    }

    /// A network such as `10.0.0.0/8`, or a single address.
    pub(super) fn network(&self) -> Result<IpNet, Error> {
        let text = self.value.as_ref();
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let network = || {
            let address: IpAddr = address.parse().ok()?;
            match prefix {
                Some(prefix) => IpNet::new(address, prefix.parse().ok()?),
                None => Some(IpNet::host(address)),
            }
        };
        network().ok_or_else(|| self.error(format!("`{text}` is no network")).hint("write it as 192.168.100.0/24"))
    }
}

impl Draft {
    pub(super) fn new(place: impl Into<String>, wording: Wording) -> Self {
        Self { place: place.into(), wording, ..Self::default() }
    }

    /// Something is wrong with the connection as a whole, or missing.
    pub(super) fn error(&self, problem: impl fmt::Display) -> Error {
        Error::at(&self.place, problem)
    }

    /// How something is given on the command line, or in a TOML file.
    pub(super) fn word(&self, option: &'static str, key: &'static str) -> &'static str {
        match self.wording {
            Wording::Options => option,
            Wording::Keys => key,
        }
    }

    pub(super) fn set(&mut self, setting: impl FnOnce(&mut Settings) + 'static) {
        self.settings.push(Box::new(setting));
    }

    /// For what is not set otherwise.
    pub(super) fn unless_given(&mut self, setting: impl FnOnce(&mut Settings) + 'static) {
        self.settings.insert(0, Box::new(setting));
    }

    pub(super) fn set_ike_proposals(&mut self, text: Given<String>) -> Result<(), Error> {
        let proposals: IkeProposals = text.proposals(IKE_EXAMPLE)?;
        self.ike_proposals = Some(text);
        self.set(|settings| settings.ike_proposals = proposals);
        Ok(())
    }

    pub(super) fn set_esp_proposals(&mut self, text: Given<String>) -> Result<(), Error> {
        let proposals: EspProposals = text.proposals(ESP_EXAMPLE)?;
        self.esp_proposals = Some(text);
        self.set(|settings| settings.esp_proposals = proposals);
        Ok(())
    }
}

impl Auth {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Psk => "a pre-shared key",
            Self::Certificate => "a certificate",
            Self::Eap => "EAP",
        }
    }
}

fn parse_remote(text: &str) -> Option<Remote> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
        }
        None if text.parse::<Ipv6Addr>().is_ok() => (text, None),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Some(IKE_PORT), |port| port.parse().ok().filter(|port| *port != 0))?;
    let bad = host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control() || "/@[]".contains(c));
    let colons = host.contains(':') && host.parse::<Ipv6Addr>().is_err();
    (!bad && !colons).then(|| Remote { host: host.to_owned(), port, family: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_a_host_and_perhaps_a_port() {
        for (text, host, port) in [
            ("vpn.example", "vpn.example", 500),
            ("vpn.example:4500", "vpn.example", 4500),
            ("192.0.2.1:4500", "192.0.2.1", 4500),
            ("2001:db8::1", "2001:db8::1", 500),
            ("[2001:db8::1]", "2001:db8::1", 500),
            ("[2001:db8::1]:4500", "2001:db8::1", 4500),
        ] {
            assert_eq!(parse_remote(text), Some(Remote { host: host.into(), port, family: None }), "{text}");
        }
        for text in [
            "",
            ":500",
            "vpn.example:",
            "vpn.example:x",
            "vpn.example:0",
            "vpn.example:1:2",
            "[vpn.example]:1",
            "[::1]1",
            "[::1",
            "ikev2://vpn.example",
            "a b",
        ] {
            assert_eq!(parse_remote(text), None, "{text}");
        }
    }

    #[test]
    fn a_network_is_an_address_and_perhaps_a_prefix() {
        let network = |text: &str| Given::new(text.to_owned(), "here").network();
        assert_eq!(network("192.168.100.0/24").unwrap().to_string(), "192.168.100.0/24");
        assert_eq!(network("fd00::30").unwrap().to_string(), "fd00::30/128");
        for text in ["192.168.100.0/33", "192.168.100/24", "10.0.0.0/", "x"] {
            let error = network(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("here: `{text}` is no network; hint: ")), "{error}");
        }
    }
}
