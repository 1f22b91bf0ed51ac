//! From what a file says to a plan: everything it names is read, and what does not fit together is said.

use std::{collections::HashMap, path::Path, time::Duration};

use adit_driver::redundancy::Gateway;

use super::{
    Adjust, Configuration, address, build,
    clashes::{self, shared_identities},
    connection::{Connection, GatewayTable, Liveness, Preset},
    document::Document,
    ovpn,
    problems::Problems,
    questions::Questions,
    reading::{self, Reading},
    source::{Protocol, Source},
    tables::Described,
};
use crate::{
    error::Error,
    plan::{ConnectionPlan, GatewayLabel, Listen, Plan},
    spec::TransportKind,
    up::Routing,
};

/// Reads the file and all it names. `only` leaves other connections out, once the file itself was understood. `None`: the
/// reasons are in the list of problems.
pub(super) fn plan(
    path: &Path,
    only: &[String],
    questions: &Questions,
    adjust: Adjust<'_>,
    problems: &mut Problems,
) -> Option<Plan> {
    problems.file(path.to_owned());
    let source = problems.catch(Source::read(path))?;
    let mut document = super::document::document(&source, problems);
    across(&document, problems);
    if !only.is_empty() {
        select(&source, &mut document, only, problems);
    }
    clashes::same_user(&document.connections, problems);
    for tun in document.connections.iter_mut().filter_map(|made| made.tun.as_mut()) {
        // One file may serve both. Without it, another one is no other device.
        if tun.value.user.take().is_some() {
            let warning = tun.error("`user` belongs to `adit up`: `adit run` ignores it, and stays who it is");
            problems.warning(warning.hint("start `adit run` as that user, with CAP_NET_ADMIN: see docs/operations.md"));
        }
    }
    let connections =
        document.connections.into_iter().filter_map(|made| finish(made, questions, adjust, problems)).collect();
    if problems.errors() > 0 {
        return None;
    }
    Some(Plan {
        connections,
        admin: document.admin.map(|admin| admin.value),
        control: document.control,
        activity: document.activity,
        handshakes: document.handshakes,
        memory: document.memory,
        drain: document.drain,
        files: problems.seen(),
    })
}

/// The connection of this name, or the only one.
pub(super) fn one(
    path: &Path,
    name: Option<&str>,
    questions: &Questions,
    adjust: Adjust<'_>,
    problems: &mut Problems,
) -> Option<ConnectionPlan> {
    let connection = described(path, name, problems)?;
    let connection = finish(connection, questions, adjust, problems);
    connection.filter(|_| problems.errors() == 0)
}

/// The first gateway of the connection of this name, or of the only one.
#[cfg(test)]
pub(super) fn first_gateway(
    path: &Path,
    name: Option<&str>,
    questions: &Questions,
    problems: &mut Problems,
) -> Option<Configuration> {
    let mut connection = described(path, name, problems)?;
    if problems.errors() > 0 || connection.gateways.is_empty() {
        return None;
    }
    gateway(connection.gateways.swap_remove(0), String::new(), questions, problems).map(|(made, _)| made)
}

/// The whole file is looked at, and one connection of it taken.
pub(super) fn described(path: &Path, name: Option<&str>, problems: &mut Problems) -> Option<Connection> {
    problems.file(path.to_owned());
    let source = problems.catch(Source::read(path))?;
    let mut document = super::document::document(&source, problems);
    across(&document, problems);
    match (name, &document.connections[..]) {
        (Some(name), _) => select(&source, &mut document, &[name.to_owned()], problems),
        (None, [_, _, ..]) => {
            let names: Vec<_> = document.connections.iter().map(|made| format!("`{}`", made.name)).collect();
            let error = Error::at(source.name(), "there are several connections in it");
            problems.error(error.hint(format!("choose one of {} with --connection NAME", names.join(", "))));
            return None;
        }
        (None, _) => {}
    }
    document.connections.pop()
}

fn select(source: &Source, document: &mut Document, only: &[String], problems: &mut Problems) {
    let names: Vec<_> = document.connections.iter().map(|made| format!("`{}`", made.name)).collect();
    document.connections.retain(|made| only.contains(&made.name));
    for missing in only.iter().filter(|only| document.connections.iter().all(|made| made.name != **only)) {
        let error = Error::at(source.name(), format!("there is no connection `{missing}`"));
        problems.error(error.hint(format!("choose one of {}", names.join(", "))));
    }
}

/// Reads what one connection names.
fn finish(
    connection: Connection,
    questions: &Questions,
    adjust: Adjust<'_>,
    problems: &mut Problems,
) -> Option<ConnectionPlan> {
    let mut gateways = Vec::new();
    let mut labels = Vec::new();
    let mut names: HashMap<String, String> = HashMap::new();
    let several = connection.gateways.len() > 1;
    let shared = shared_identities(&connection.gateways);
    for mut table in connection.gateways {
        if let Some(Described::Ikev2(draft)) = &mut table.described
            && draft.remote_id.as_ref().is_some_and(|id| shared.contains(id))
        {
            draft.unless_given(|settings| settings.initial_contact = false);
        }
        let subject = subject(&connection.name, &table, several);
        let (place, chosen, mut probe) = (table.place.clone(), table.name.clone(), table.probe.clone());
        // OpenVPN has no question that must be answered: where nothing else is asked through the tunnel, its gateway is.
        if table.protocol == Protocol::OpenVpn && probe.is_none() && connection.redundancy.probe.is_none() {
            probe = table.liveness.and_then(|liveness| liveness.of_the_driver().probe());
        }
        let Some((mut configuration, fingerprint)) = gateway(table, subject.clone(), questions, problems) else {
            continue;
        };
        adjust(&mut configuration);
        let mut label = GatewayLabel { subject, ..configuration.label() };
        if let Some(name) = chosen {
            // One that an earlier one has by itself; what was chosen twice is said already.
            if let Some(first) = names.get(&name.value) {
                let error = name.error(format!("there is a gateway `{}` already: {first}", name.value));
                problems.error(error.hint("give each gateway of a connection its own name"));
            }
            label.name = name.value;
        }
        while label.name.is_empty() || gateways.iter().any(|other: &Gateway| other.name == label.name) {
            label.name = format!("{}-{}", label.name, gateways.len() + 1);
        }
        names.insert(label.name.clone(), place);
        gateways.push(Gateway { name: label.name.clone(), protocol: configuration.into(), fingerprint, probe });
        labels.push(label);
    }
    let subject = format!("connection `{}`", connection.name);
    let mut reading = Reading::new(questions, subject, problems);
    let forwards: Vec<_> = connection.ways.into_iter().map(|way| way.finish(&mut reading)).collect();
    Some(ConnectionPlan {
        name: connection.name,
        description: connection.description,
        autostart: connection.autostart,
        gateways,
        gateway_labels: labels,
        redundancy: connection.redundancy,
        wait: connection.wait,
        forwards: forwards.into_iter().flatten().collect(),
        tun: connection.tun.map(|tun| tun.value),
    })
}

/// Whom questions are for.
fn subject(connection: &str, gateway: &GatewayTable, several: bool) -> String {
    match &gateway.name {
        Some(name) if several => format!("connection `{connection}`, gateway `{}`", name.value),
        None if several => format!("connection `{connection}`, {}", gateway.place),
        Some(_) | None => format!("connection `{connection}`"),
    }
}

/// What tunnels to one gateway are made from, and its fingerprint.
fn gateway(
    table: GatewayTable,
    subject: String,
    questions: &Questions,
    problems: &mut Problems,
) -> Option<(Configuration, u64)> {
    let mut reading = Reading::new(questions, subject, problems);
    reading.absorb(table.text.as_bytes());
    reading.absorb(format!("{:?} {:?}", table.protocol, table.liveness).as_bytes());
    let configuration = match table.described? {
        Described::Ikev2(mut draft) => {
            if let Some(liveness) = table.liveness {
                draft.set(move |settings| liveness.of_the_driver().apply(settings));
            }
            // Whether something is missing can be said where nothing was taken out for being wrong.
            if !table.sound {
                reading::fetch(&mut draft, &mut reading);
                build::judge(&mut draft, &|key| table.spoiled.contains(&key), reading.problems);
                return None;
            }
            super::ikev2(*draft, &mut reading)?
        }
        Described::OpenVpn(Some(profile), given) => super::openvpn(&profile, &given, &mut reading)?,
        Described::OpenVpn(None, given) => {
            ovpn::fetch(&given, &mut reading);
            return None;
        }
    };
    Some((configuration, reading.fingerprint()))
}

/// What does not fit together, over all connections.
fn across(document: &Document, problems: &mut Problems) {
    let mut taken: Vec<Taken<'_>> = Vec::new();
    if let Some(admin) = &document.admin {
        let place = Place::Address(admin.value, TransportKind::Tcp);
        taken.push(Taken { at: &admin.place, place });
    }
    for connection in &document.connections {
        for way in &connection.ways {
            let place = match (way.address(), way.listening.as_ref()) {
                (Some((address, transport)), _) => Place::Address(address, transport),
                (None, Some(Listen::Unix(path, _))) => Place::Unix(path),
                _ => continue,
            };
            if let Some(first) = taken.iter().find(|first| first.place.overlaps(&place)) {
                let error = Error::at(&way.listen, format!("{place} is taken already: {}", first.at));
                problems.error(error.hint("give each its own port, or its own address"));
            }
            taken.push(Taken { at: &way.listen, place });
        }
        within(connection, problems);
    }
    devices(document, problems);
}

/// Devices, and everything that is to go through one of them.
fn devices(document: &Document, problems: &mut Problems) {
    let tuns: Vec<_> = document.connections.iter().filter_map(|made| made.tun.as_ref()).collect();
    for (index, tun) in tuns.iter().enumerate() {
        let earlier = tuns.iter().take(index);
        match &tun.value.device {
            Some(device) => {
                if let Some(first) = earlier.clone().find(|first| first.value.device.as_ref() == Some(device)) {
                    let error = tun.error(format!("the device `{device}` is taken already: {}", first.place));
                    problems.error(error.hint("give each its own `device`"));
                }
            }
            // By its name each finds again what it has left behind.
            None if tuns.len() > 1 => {
                let error = tun.error("several connections have a device, and this one has no name");
                problems.error(error.hint("give each its own: `device = \"adit0\"`"));
            }
            None => {}
        }
        let earlier = earlier.filter(|first| first.value.netns == tun.value.netns);
        if let Some(first) =
            earlier.clone().find(|first| (&first.value.routing, &tun.value.routing) == (&Routing::Full, &Routing::Full))
        {
            let error = tun.error(format!("everything goes through another tunnel already: {}", first.place));
            problems.error(
                error.hint("name networks in one of them: `routing = [\"10.0.0.0/8\"]`, or use another `netns`"),
            );
        }
    }
}

/// What is listened to, and where that stands.
struct Taken<'a> {
    at: &'a str,
    place: Place<'a>,
}

#[derive(Clone, Copy)]
enum Place<'a> {
    Address(std::net::SocketAddr, TransportKind),
    Unix(&'a Path),
}

impl Place<'_> {
    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Address(one, a), Self::Address(two, b)) => a == b && address::overlap(*one, *two),
            (Self::Unix(one), Self::Unix(two)) => one == two,
            _ => false,
        }
    }
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address, transport) => write!(f, "{address}/{transport}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What does not fit together in one connection.
fn within(connection: &Connection, problems: &mut Problems) {
    let named = || connection.gateways.iter().filter_map(|gateway| Some((gateway.name.as_ref()?, &gateway.place)));
    for (index, (name, _)) in named().enumerate() {
        if name.value.is_empty() || name.value.chars().any(char::is_control) {
            problems.error(name.error("a gateway has a name that can be read"));
        } else if let Some((_, first)) = named().take(index).find(|(other, _)| other.value == name.value) {
            let error = name.error(format!("there is a gateway `{}` already: {first}", name.value));
            problems.error(error.hint("give each gateway of a connection its own name"));
        }
    }
    for (index, way) in connection.ways.iter().enumerate() {
        let earlier = &connection.ways[..index];
        if let Some(name) = way.name() {
            let at = way.name.as_ref().map_or(&way.place, |name| &name.place);
            if name.is_empty() || name.chars().any(char::is_control) {
                problems.error(Error::at(at, "a forward has a name that can be read"));
            } else if let Some(first) = earlier.iter().find(|first| first.name() == Some(name)) {
                // That both want the same port is said already.
                let same = way.name.is_none()
                    && match way.listening {
                        Some(_) => way.address().is_none_or(|(address, _)| address.port() != 0),
                        None => first.wants_port_of(way),
                    };
                if !same {
                    let error = Error::at(at, format!("there is a forward `{name}` already: {}", first.place));
                    problems.error(error.hint("add `name = \"…\"`, another for each"));
                }
            }
        }
        if let Some(first) = earlier.iter().find(|first| first.wants_port_of(way)) {
            let error = Error::at(&way.place, format!("this port of the tunnel is taken already: {}", first.place));
            problems.error(error.hint("give each its own `port`, or its own `gateway`"));
        }
    }
    if connection.gateways.is_empty() {
        return;
    }
    let probed =
        connection.redundancy.probe.is_some() || connection.gateways.iter().any(|gateway| gateway.probe.is_some());
    if connection.gateways.len() == 1
        && probed
        && connection.redundancy.policy != adit_driver::redundancy::Policy::Priority
    {
        let error = Error::at(&connection.place, "`policy` has no effect with one gateway");
        problems.warning(error.hint("add another [[connection.NAME.gateway]]"));
    }
}

impl Liveness {
    /// What is not said of it is as patient as the protocol.
    fn of_the_driver(self) -> adit_driver::Liveness {
        let milliseconds = |given: Option<u32>, default: u32| Duration::from_millis(given.unwrap_or(default).into());
        match self {
            Self::Preset(Preset::Normal) => adit_driver::Liveness::Normal,
            Self::Preset(Preset::Fast) => adit_driver::Liveness::Fast,
            Self::Times { idle_ms, retry_ms, tries } => adit_driver::Liveness::Exact {
                idle: milliseconds(idle_ms, IDLE_MS),
                retry: milliseconds(retry_ms, RETRY_MS),
                tries: tries.unwrap_or(TRIES),
            },
        }
    }
}

const IDLE_MS: u32 = 30_000;
const RETRY_MS: u32 = 2000;
const TRIES: u32 = 5;
