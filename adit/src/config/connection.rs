//! `[connection.NAME]`: its gateways, which take over what they do not say themselves, and how they stand in for each other.

use std::{net::IpAddr, time::Duration};

use adit_driver::{
    Options,
    redundancy::{Policy, Probe, ProbeTarget, RedundancyOptions},
};
use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    address,
    draft::Given,
    keys,
    problems::Problems,
    schema::{self, Kind, Mistakes},
    source::{Protocol, Source},
    tables::{self, Described},
    tun,
    ways::{self, Way, WayKind, WhileDown},
};
use crate::{error::Error, forward, up::TunOptions};

pub(super) const WAIT: Duration = Duration::from_secs(30);

/// A connection as the file describes it: everything that does not need another file is understood.
pub(super) struct Connection {
    pub(super) name: String,
    pub(super) place: String,
    pub(super) description: String,
    pub(super) autostart: bool,
    pub(super) gateways: Vec<GatewayTable>,
    pub(super) redundancy: RedundancyOptions,
    pub(super) wait: Duration,
    pub(super) ways: Vec<Way>,
    pub(super) tun: Option<Given<TunOptions>>,
}

/// One of its gateways.
pub(super) struct GatewayTable {
    pub(super) name: Option<Given<String>>,
    pub(super) place: String,
    pub(super) protocol: Protocol,
    /// `None` if it makes no sense.
    pub(super) described: Option<Described>,
    pub(super) liveness: Option<Liveness>,
    pub(super) probe: Option<Probe>,
    /// Everything that was said of it, one way of writing it for all that mean the same.
    pub(super) text: String,
    /// Whether nothing is wrong with what the file itself says.
    pub(super) sound: bool,
    /// Keys of its protocol that are there, and wrong: its own, and those of the connection.
    pub(super) spoiled: Vec<&'static str>,
}

/// Keys of a connection that are no protocol's.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct ConnectionTable {
    description: Option<String>,
    autostart: Option<bool>,
    policy: Option<PolicyName>,
    standby: Option<Spanned<Standby>>,
    liveness: Option<Liveness>,
    stagger_seconds: Option<u32>,
    probe: Option<Spanned<ProbeTable>>,
    fail_back_seconds: Option<Seconds>,
    while_down: Option<WhileDown>,
    wait_seconds: Option<Spanned<u32>>,
    drain_seconds: Option<u32>,
    max_connections: Option<usize>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum PolicyName {
    Priority,
    RoundRobin,
    LowestLatency,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Standby {
    Hot,
    Cold,
}

/// How soon a gateway that is gone is noticed.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(untagged)]
pub(super) enum Liveness {
    Preset(Preset),
    Times { idle_ms: Option<u32>, retry_ms: Option<u32>, tries: Option<u32> },
}

#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Preset {
    Normal,
    Fast,
}

#[derive(Deserialize)]
#[serde(from = "SecondsForm")]
enum Seconds {
    Number(u32),
    Never,
}

/// As it is written.
#[derive(Deserialize)]
#[serde(untagged)]
enum SecondsForm {
    Number(u32),
    Word(Never),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Never {
    Never,
}

impl From<SecondsForm> for Seconds {
    fn from(form: SecondsForm) -> Self {
        match form {
            SecondsForm::Number(seconds) => Self::Number(seconds),
            SecondsForm::Word(Never::Never) => Self::Never,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProbeTable {
    tcp: Option<Spanned<String>>,
    icmp: Option<Spanned<String>>,
    gateway: Option<bool>,
    interval_ms: Option<u32>,
    timeout_ms: Option<u32>,
    failures: Option<u32>,
}

/// A table of the file, taken apart.
struct Parts<'a> {
    place: String,
    table: DeTable<'a>,
    protocol: Option<Protocol>,
    gateways: Vec<(String, std::ops::Range<usize>, DeTable<'a>, Option<Protocol>)>,
    /// Whether there may be other gateways than these: what was meant for some cannot be understood.
    vague: bool,
    /// Whether the connection says its protocol, right or wrong.
    said: bool,
}

/// What the table of a connection says. `whole`: nothing is wrong with the syntax of the file, so what is not there is missing.
pub(super) fn connection(
    source: &Source,
    name: &str,
    value: Spanned<DeValue<'_>>,
    whole: bool,
    problems: &mut Problems,
) -> Option<Connection> {
    let span = value.span();
    let place = format!("{} (connection `{}`)", source.place(&span), name.escape_debug());
    if name.is_empty() || name.chars().any(char::is_control) {
        let error = source.wrong(&span, "a connection has a name that can be read");
        problems.error(error.hint("write [connection.NAME]"));
    }
    let DeValue::Table(table) = value.into_inner() else {
        let error = source.wrong(&span, format!("`{name}` is no connection"));
        problems.error(error.hint("write [connection.NAME]"));
        return None;
    };
    let mut parts = take_apart(source, place, table, problems);
    if parts.gateways.is_empty() && !parts.vague && !parts.said && whole {
        let error = source.wrong(&span, format!("the connection `{name}` has no `protocol`"));
        problems.error(error.hint("add `protocol = \"ikev2\"` or `protocol = \"openvpn\"`"));
    }
    parts.table.remove("protocol");

    // Keys that a gateway may take over.
    let mut protocols: Vec<Protocol> = parts.gateways.iter().filter_map(|gateway| gateway.3).collect();
    protocols.extend(parts.protocol);
    if protocols.is_empty() || parts.vague || parts.gateways.iter().any(|gateway| gateway.3.is_none()) {
        protocols = EITHER.to_vec();
    }
    let mut known = keys::CONNECTION.to_vec();
    let mut inherited: Vec<(&str, Kind)> = Vec::new();
    for protocol in &protocols {
        for key in protocol_keys(*protocol) {
            if !inherited.iter().any(|(name, _)| *name == key.0) {
                inherited.push(*key);
            }
        }
    }
    // First, as the errors name some of them.
    known.splice(0..0, inherited.iter().copied());
    let errors = problems.errors();
    check(source, &mut parts.table, span.start, &known, problems);
    let sound = problems.errors() == errors;

    let mut common = DeTable::new();
    for (key, _) in &inherited {
        if let Some((key, value)) = parts.table.remove_entry(*key) {
            common.insert(key, value);
        }
    }
    let named = |key: &str| format!("the connection `{name}` has no `{key}`");
    let gateways = gateways(source, &mut parts, &common, &span, sound, whole, &named, problems);

    let kinds = [
        ("forward", WayKind::Forward),
        ("reverse", WayKind::Reverse),
        ("socks", WayKind::Socks),
        ("http_proxy", WayKind::HttpProxy),
    ];
    let tun = parts.table.remove("tun").and_then(|table| tun::tun(source, table, problems));
    let tables = kinds.map(|(key, kind)| (parts.table.remove(key), kind));
    let options = Spanned::new(span, DeValue::Table(parts.table));
    let options: ConnectionTable = problems.catch(source.deserialized(options)).unwrap_or_default();
    let seconds = options.wait_seconds.map(|seconds| source.given(seconds));
    let wait = options.while_down.unwrap_or(WhileDown::Wait).wait(seconds.as_ref(), WAIT);
    let wait = problems.catch(wait).unwrap_or(WAIT);
    let named: Vec<String> = gateways.iter().filter_map(|gateway| Some(gateway.name.as_ref()?.value.clone())).collect();
    let all_named = !parts.vague && !gateways.iter().any(|gateway| gateway.spoiled.contains(&"name"));
    let mut ways = Vec::new();
    for (tables, kind) in tables {
        let Some(DeValue::Array(tables)) = tables.map(Spanned::into_inner) else { continue };
        // What waits where the connection refuses, waits as long as any.
        let common = ways::Common { wait: if wait.is_zero() { WAIT } else { wait }, gateways: &named, all_named };
        ways.extend(tables.into_iter().filter_map(|table| ways::way(source, kind, table, &common, problems)));
    }
    if let Some(standby) = options.standby.as_ref().filter(|standby| *standby.get_ref() == Standby::Hot)
        && gateways.len() == 1
        && !parts.vague
    {
        let error = source.wrong(&standby.span(), "a hot standby takes a second gateway, and there is one");
        problems.warning(error.hint("add another [[connection.NAME.gateway]], or leave `standby` away"));
    }
    let standby = options.standby.map_or(Standby::Hot, Spanned::into_inner);
    let liveness = options.liveness;
    let duration = |seconds: u32| Duration::from_secs(seconds.into());
    let default = RedundancyOptions { tunnel: forward::options(), ..RedundancyOptions::default() };
    let redundancy = RedundancyOptions {
        policy: match options.policy {
            Some(PolicyName::Priority) | None => Policy::Priority,
            Some(PolicyName::RoundRobin) => Policy::RoundRobin,
            Some(PolicyName::LowestLatency) => Policy::LowestLatency,
        },
        hot_standby: standby == Standby::Hot,
        stagger: options.stagger_seconds.map_or(default.stagger, duration),
        probe: options.probe.and_then(|table| probe(source, table, problems)),
        fail_back_after: match options.fail_back_seconds {
            None => default.fail_back_after,
            Some(Seconds::Number(seconds)) => Some(duration(seconds)),
            Some(Seconds::Never) => None,
        },
        drain: options.drain_seconds.map_or(default.drain, duration),
        tunnel: Options {
            max_connections: options.max_connections.unwrap_or(default.tunnel.max_connections),
            ..default.tunnel
        },
        ..default
    };
    let gateways = gateways.into_iter().map(|gateway| GatewayTable { liveness, ..gateway }).collect();
    Some(Connection {
        name: name.to_owned(),
        place: parts.place,
        description: options.description.unwrap_or_default(),
        autostart: options.autostart.unwrap_or(true),
        gateways,
        redundancy,
        wait,
        ways,
        tun,
    })
}

/// Takes the gateways out, and finds out of which protocols they are.
fn take_apart<'a>(source: &Source, place: String, mut table: DeTable<'a>, problems: &mut Problems) -> Parts<'a> {
    let mut protocol_of = |table: &DeTable<'_>| {
        let value = table.get("protocol")?;
        source.protocol(value, problems)
    };
    let protocol = protocol_of(&table);
    let (mut gateways, mut vague) = (Vec::new(), false);
    let lists = table.remove("gateway");
    let list = match lists.map(|list| (list.span(), list.into_inner())) {
        None => Vec::new(),
        Some((_, DeValue::Array(list))) => list.into_iter().collect(),
        Some((span, one @ DeValue::Table(_))) => vec![Spanned::new(span, one)],
        Some((span, _)) => {
            let error = source.wrong(&span, "`gateway` has to be a list of tables");
            problems.error(error.hint("write [[connection.NAME.gateway]], or `remotes` for the address of a gateway"));
            vague = true;
            Vec::new()
        }
    };
    for gateway in list {
        let span = gateway.span();
        let DeValue::Table(table) = gateway.into_inner() else {
            let error = source.wrong(&span, "`gateway` has to be a list of tables");
            problems.error(error.hint("write [[connection.NAME.gateway]], or `remotes` for the address of a gateway"));
            vague = true;
            continue;
        };
        let own = match table.get("protocol") {
            Some(value) => source.protocol(value, problems),
            None => protocol,
        };
        gateways.push((source.place(&span), span, table, own));
    }
    let said = table.contains_key("protocol");
    Parts { place, table, protocol, gateways, vague, said }
}

/// The gateways, each with what it takes over from the connection.
#[expect(clippy::too_many_arguments, reason = "they are the parts of one table")]
fn gateways(
    source: &Source,
    parts: &mut Parts<'_>,
    common: &DeTable<'_>,
    span: &std::ops::Range<usize>,
    sound: bool,
    whole: bool,
    named: &dyn Fn(&str) -> String,
    problems: &mut Problems,
) -> Vec<GatewayTable> {
    let tables = std::mem::take(&mut parts.gateways);
    if tables.is_empty() {
        // Without a protocol, this was said.
        let known = parts.protocol.filter(|_| !parts.vague);
        let mut table = common.clone();
        let protocol = known.unwrap_or_else(|| likely(&mut table));
        let whole = whole && known.is_some();
        let made = gateway(source, protocol, parts.place.clone(), span, &[span.start], table, whole, named, problems);
        return vec![GatewayTable { sound: sound && known.is_some() && made.sound, ..made }.of_kind(known)];
    }
    let mut gateways = Vec::new();
    for (place, own, mut table, known) in tables {
        if known.is_none() && whole && !table.contains_key("protocol") && !parts.said {
            let error = source.wrong(&own, "this gateway has no `protocol`, and its connection neither");
            problems.error(error.hint("add `protocol = \"ikev2\"` or `protocol = \"openvpn\"`"));
        }
        table.remove("protocol");
        let errors = problems.errors();
        let mut keys = keys::GATEWAY.to_vec();
        for protocol in known.map_or_else(|| EITHER.to_vec(), |known| vec![known]) {
            keys.splice(0..0, protocol_keys(protocol).iter().copied());
        }
        check(source, &mut table, own.start, &keys, problems);
        let checked = problems.errors() == errors;
        let name = table.remove("name").map(|name| {
            let span = name.span();
            Given::new(name.get_ref().as_str().unwrap_or_default().to_owned(), source.place(&span))
        });
        let own_probe = table.remove("probe");
        let probe_text = own_probe.as_ref().map(|probe| canonical(probe.get_ref()));
        let probe = own_probe.and_then(|value| {
            let span = value.span();
            let table: ProbeTable = problems.catch(source.deserialized(value))?;
            probe(source, Spanned::new(span, table), problems)
        });
        let protocol = known.unwrap_or_else(|| likely(&mut table));
        let mut tables = vec![own.start];
        // A gateway of another protocol than the connection's is on its own.
        if parts.protocol.is_none_or(|common| common == protocol) {
            inherit(&mut table, common, protocol);
            tables.push(span.start);
        }
        let missing = |key: &str| format!("this gateway has no `{key}`");
        let whole = whole && known.is_some();
        let mut made = gateway(source, protocol, place, &own, &tables, table, whole, &missing, problems);
        made.text.push_str(&probe_text.unwrap_or_default());
        made.spoiled.extend(problems.is_spoiled(own.start, "name").then_some("name"));
        let sound = sound && known.is_some() && checked && made.sound;
        gateways.push(GatewayTable { name, probe, sound, ..made }.of_kind(known));
    }
    gateways
}

const EITHER: [Protocol; 2] = [Protocol::Ikev2, Protocol::OpenVpn];

/// The protocol whose keys these are, where it cannot be told what was said; other keys are dropped.
fn likely(table: &mut DeTable<'_>) -> Protocol {
    let protocol = if table.contains_key("profile") { Protocol::OpenVpn } else { Protocol::Ikev2 };
    let foreign: Vec<String> = table.keys().map(|key| key.get_ref().to_string()).collect();
    for key in foreign {
        if !protocol_keys(protocol).iter().any(|(known, _)| *known == key) {
            table.remove(key.as_str());
        }
    }
    protocol
}

impl GatewayTable {
    /// Where its protocol is not known, neither is what it lacks.
    fn of_kind(mut self, known: Option<Protocol>) -> Self {
        if known.is_none() {
            self.spoiled.push("auth");
        }
        self
    }
}

/// Adds what the connection says and the gateway does not.
fn inherit<'a>(table: &mut DeTable<'a>, common: &DeTable<'a>, protocol: Protocol) {
    // What takes each other's place.
    let displaced = |key: &str| match key {
        "certificate" | "key" | "pkcs12" | "passphrase" => {
            ["certificate", "key", "pkcs12"].iter().any(|other| table.contains_key(*other))
        }
        "password" | "nt_hash" => ["password", "nt_hash"].iter().any(|other| table.contains_key(*other)),
        _ => false,
    };
    // Who says how we prove ourselves, says all of it.
    let proofs = table.contains_key("auth");
    let more: Vec<_> = common
        .iter()
        .filter(|(key, _)| {
            let key = key.get_ref().as_ref();
            let known = protocol_keys(protocol).iter().any(|(known, _)| *known == key);
            let said = table.contains_key(key) || displaced(key) || (proofs && PROOFS.contains(&key));
            known && !said
        })
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    table.extend(more);
}

/// Keys that say how we prove ourselves.
const PROOFS: &[&str] =
    &["psk", "certificate", "key", "pkcs12", "passphrase", "user", "password", "nt_hash", "eap", "eap_tls", "ttls"];

#[expect(clippy::too_many_arguments, reason = "they are the parts of one table")]
fn gateway(
    source: &Source,
    protocol: Protocol,
    place: String,
    span: &std::ops::Range<usize>,
    tables: &[usize],
    table: DeTable<'_>,
    whole: bool,
    missing: &dyn Fn(&str) -> String,
    problems: &mut Problems,
) -> GatewayTable {
    let errors = problems.errors();
    let (key, example) = match protocol {
        Protocol::Ikev2 => ("remotes", "`remotes = [\"vpn.example\"]`"),
        Protocol::OpenVpn => ("profile", "`profile = \"office.ovpn\"`"),
    };
    let table = DeValue::Table(table);
    let text = canonical(&table);
    let has = table.as_table().is_some_and(|table| table.contains_key(key));
    let keys = protocol_keys(protocol).iter().map(|(key, _)| *key);
    let spoiled: Vec<_> = keys.filter(|key| tables.iter().any(|table| problems.is_spoiled(*table, key))).collect();
    let given = table.as_table().and_then(|table| table.get(key));
    let empty = given.filter(|value| value.get_ref().as_array().is_some_and(|list| list.is_empty()));
    if let Some(empty) = empty {
        problems.error(source.wrong(&empty.span(), format!("`{key}` is empty")).hint(format!("write {example}")));
    } else if !has && whole && !spoiled.contains(&key) {
        problems.error(source.wrong(span, missing(key)).hint(format!("add {example}")));
    }
    // Also where that is missing: something else may be wrong, too.
    let table = Spanned::new(span.clone(), table);
    let described = tables::described(source, protocol, table, place.clone(), &|key| spoiled.contains(&key), problems);
    let sound = has && problems.errors() == errors;
    GatewayTable { name: None, place, protocol, described, liveness: None, probe: None, text, sound, spoiled }
}

fn protocol_keys(protocol: Protocol) -> &'static [(&'static str, Kind)] {
    match protocol {
        Protocol::Ikev2 => schema::IKEV2,
        Protocol::OpenVpn => schema::OPENVPN,
    }
}

/// Checks every key of the table that begins at `start`.
pub(super) fn check(
    source: &Source,
    table: &mut DeTable<'_>,
    start: usize,
    known: &[(&str, Kind)],
    problems: &mut Problems,
) {
    let mut mistakes = Mistakes::default();
    schema::check(table, start, known, "", &schema::CONNECTION, &mut mistakes);
    mistakes.list.into_iter().for_each(|mistake| problems.error(source.mistake(mistake)));
    problems.spoil(mistakes.spoiled);
}

/// What is connected to through each tunnel, to see that it lives.
fn probe(source: &Source, table: Spanned<ProbeTable>, problems: &mut Problems) -> Option<Probe> {
    let place = source.place(&table.span());
    let table = table.into_inner();
    let milliseconds = |value: u32| Duration::from_millis(value.into());
    let target = match (table.tcp, table.icmp, table.gateway) {
        (Some(tcp), None, None | Some(false)) => {
            problems.catch(address::target(&source.given(tcp))).map(ProbeTarget::Tcp)?
        }
        (None, Some(icmp), None | Some(false)) => {
            let icmp = source.given(icmp);
            let address: Result<IpAddr, _> = icmp.value.parse().map_err(|_| {
                icmp.error(format!("`{}` is no address", icmp.value.escape_debug()))
                    .hint("write it as 10.0.0.1, without port")
            });
            problems.catch(address).map(ProbeTarget::Icmp)?
        }
        (None, None, Some(true)) => ProbeTarget::Gateway,
        (None, None, _) => {
            let error = Error::at(&place, "this probe names nothing to be reached");
            problems.error(error.hint("add `tcp = \"10.0.0.5:443\"`, `icmp = \"10.0.0.1\"` or `gateway = true`"));
            return None;
        }
        _ => {
            let error = Error::at(&place, "a probe has one target");
            problems.error(error.hint("keep one of `tcp`, `icmp` and `gateway`"));
            return None;
        }
    };
    let probe = Probe::new(target);
    Some(Probe {
        interval: table.interval_ms.map_or(probe.interval, milliseconds),
        timeout: table.timeout_ms.map_or(probe.timeout, milliseconds),
        failures: table.failures.unwrap_or(probe.failures),
        ..probe
    })
}

/// The same text for everything that means the same.
fn canonical(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(value) => format!("{value:?}"),
        DeValue::Integer(value) => format!("{}/{}", value.as_str(), value.radix()),
        DeValue::Float(value) => value.as_str().to_owned(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(value) => value.to_string(),
        DeValue::Array(values) => {
            let values: Vec<_> = values.iter().map(|value| canonical(value.get_ref())).collect();
            format!("[{}]", values.join(","))
        }
        DeValue::Table(values) => {
            let values =
                values.iter().map(|(key, value)| format!("{:?}={}", key.get_ref(), canonical(value.get_ref())));
            format!("{{{}}}", values.collect::<Vec<_>>().join(","))
        }
    }
}
