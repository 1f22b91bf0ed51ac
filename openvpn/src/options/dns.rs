//! Name resolution: `dhcp-option` and `dns`.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use adit_tunnel::Dns;

use super::{note::NoteReason, parse::Malformed};

/// What was said about DNS so far.
#[derive(Debug, Clone, Default)]
pub(super) struct DnsOptions {
    /// `block-outside-dns`.
    pub(super) block_outside: bool,
    /// `dhcp-option DNS`.
    servers: Vec<IpAddr>,
    /// `dhcp-option DOMAIN`: comes before the others.
    domain: Option<String>,
    search: Vec<String>,
    /// `dns server N …` by N: the lowest is the best.
    profiles: BTreeMap<i8, DnsServer>,
}

/// One `dns server N`.
#[derive(Debug, Clone, Default)]
struct DnsServer {
    addresses: Vec<IpAddr>,
    resolve: Vec<String>,
    /// It wants something we cannot do: another port, encryption, validation.
    unusable: bool,
}

type Applied = Result<Option<NoteReason>, Malformed>;

impl DnsOptions {
    /// `dhcp-option TYPE [VALUE]`.
    pub(super) fn dhcp_option(&mut self, arguments: &[&str]) -> Applied {
        match arguments {
            ["DNS" | "DNS6", address] => {
                let address = address.parse().map_err(|_| "an address is expected")?;
                Ok(push(&mut self.servers, address, "DNS servers", MAX_SERVERS))
            }
            ["DOMAIN" | "ADAPTER_DOMAIN_SUFFIX", name] => {
                self.domain = Some(domain(name)?);
                Ok(None)
            }
            ["DOMAIN-SEARCH", name] => Ok(push(&mut self.search, domain(name)?, "search domains", MAX_DOMAINS)),
            ["DNS" | "DNS6" | "DOMAIN" | "ADAPTER_DOMAIN_SUFFIX" | "DOMAIN-SEARCH", ..] => {
                Err("it needs one value".into())
            }
            [] => Err("its type is missing".into()),
            _ => Ok(Some(NoteReason::Unsupported("of `dhcp-option` only DNS servers and domains are used"))),
        }
    }

    /// `dns search-domains NAME…`, `dns server N OPTION VALUE…`.
    pub(super) fn dns(&mut self, arguments: &[&str]) -> Applied {
        match arguments {
            ["search-domains", names @ ..] if !names.is_empty() => extend_domains(&mut self.search, names),
            ["server", number, option, values @ ..] if !values.is_empty() => {
                let number: i8 = number.parse().map_err(|_| "the server's number is not within -128 and 127")?;
                if self.profiles.len() == MAX_PROFILES && !self.profiles.contains_key(&number) {
                    return Ok(Some(NoteReason::TooMany { what: "`dns server` entries", limit: MAX_PROFILES }));
                }
                self.profiles.entry(number).or_default().apply(option, values)
            }
            _ => Err("it is neither `dns search-domains …` nor `dns server N …`".into()),
        }
    }

    /// `dns server` wins over `dhcp-option DNS`; of several, the first that we can use (OpenVPN 2.6 `dns.c`).
    pub(super) fn config(&self) -> Dns {
        let best = self.profiles.values().find(|server| !server.unusable && !server.addresses.is_empty());
        let (servers, resolve_domains) = match best {
            Some(server) => (server.addresses.clone(), server.resolve.clone()),
            None => (self.servers.clone(), Vec::new()),
        };
        let mut search_domains: Vec<String> = self.domain.iter().cloned().collect();
        for name in &self.search {
            if !search_domains.contains(name) {
                search_domains.push(name.clone());
            }
        }
        Dns { servers, search_domains, resolve_domains }
    }
}

impl DnsServer {
    fn apply(&mut self, option: &str, values: &[&str]) -> Applied {
        match (option, values) {
            ("address", values) => self.set_addresses(values),
            ("resolve-domains", values) => extend_domains(&mut self.resolve, values),
            ("dnssec", ["no" | "optional"]) | ("transport", ["plain"]) | ("sni", [_]) => Ok(None),
            ("dnssec", ["yes"]) => Ok(Some(self.unusable("a DNS server that demands DNSSEC"))),
            ("transport", ["DoT" | "DoH"]) => Ok(Some(self.unusable("DNS over TLS or HTTPS"))),
            _ => Err("the option of the DNS server is unknown".into()),
        }
    }

    fn set_addresses(&mut self, values: &[&str]) -> Applied {
        if values.len() > MAX_ADDRESSES {
            return Ok(Some(NoteReason::TooMany { what: "addresses of a DNS server", limit: MAX_ADDRESSES }));
        }
        let mut addresses = Vec::new();
        for value in values {
            let (address, port) = address(value)?;
            if port != DNS_PORT {
                return Ok(Some(self.unusable("a DNS server at another port than 53")));
            }
            addresses.push(address);
        }
        self.addresses = addresses;
        Ok(None)
    }

    fn unusable(&mut self, why: &'static str) -> NoteReason {
        self.unusable = true;
        NoteReason::Unsupported(why)
    }
}

/// `192.0.2.1`, `192.0.2.1:53`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:53`.
fn address(value: &str) -> Result<(IpAddr, u16), Malformed> {
    let bare = value.strip_prefix('[').and_then(|v| v.strip_suffix(']')).unwrap_or(value);
    if let Ok(address) = bare.parse() {
        return Ok((address, DNS_PORT));
    }
    let socket: SocketAddr = value.parse().map_err(|_| "an address, perhaps with a port, is expected")?;
    Ok((socket.ip(), socket.port()))
}

fn extend_domains(list: &mut Vec<String>, names: &[&str]) -> Applied {
    let mut note = None;
    for name in names {
        note = note.or(push(list, domain(name)?, "domains", MAX_DOMAINS));
    }
    Ok(note)
}

fn push<T>(list: &mut Vec<T>, item: T, what: &'static str, limit: usize) -> Option<NoteReason> {
    if list.len() == limit {
        return Some(NoteReason::TooMany { what, limit });
    }
    list.push(item);
    None
}

/// A name that can be written into a resolver's configuration without harm (CVE-2024-5594 was of that kind).
fn domain(name: &str) -> Result<String, Malformed> {
    let fine =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') || (!c.is_ascii() && c.is_alphanumeric());
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.chars().all(fine) {
        return Err("it is not the name of a domain".into());
    }
    Ok(name.to_owned())
}

const DNS_PORT: u16 = 53;

/// Most addresses by `dhcp-option`; OpenVPN 2.6 uses 4.
const MAX_SERVERS: usize = 32;

/// Most domains of a kind; OpenVPN 2.6 uses 10.
const MAX_DOMAINS: usize = 128;

/// Most `dns server` numbers: all a server may use are 128; our judgement.
const MAX_PROFILES: usize = 32;

/// Most addresses of one server (OpenVPN 2.6 `dns.h`).
const MAX_ADDRESSES: usize = 8;

/// Longest domain name (RFC 1035 §2.3.4, as text).
const MAX_NAME_BYTES: usize = 253;
