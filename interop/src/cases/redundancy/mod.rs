//! Two gateways to one lan: what becomes of a connection when one of them dies, hangs, vanishes or comes back.
//!
//! Gateway `a` is strongSwan in the namespace of all cases, gateway `b` an OpenVPN server in one of its own. The ids of states
//! (`C9`, …) are those of `docs/states.md`.

mod churn;
mod faults;
mod many;
mod names;
mod orders;
mod policies;
mod returns;
mod revoked;
mod same_address;

pub(super) use self::revoked::refusing;

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use super::Case;
use crate::{
    client::client_file,
    config::{self, Lines, Transport},
    ike::{
        charon::{Charon, CharonConfig},
        setup::Setup,
    },
    needs::Need,
    net::Place,
    process::Process,
    rig::Rig,
    running::Running,
    server::Server,
    story::Story,
};

/// The connection of all cases.
const NAME: &str = "office";
/// Its forward to the web server.
const WEB: &str = "127.0.0.1:33000";
/// Enough for two handshakes beside other cases.
const UP: Duration = Duration::from_secs(40);

pub(super) fn cases() -> Vec<Case> {
    [
        faults::cases(),
        returns::cases(),
        names::cases(),
        revoked::cases(),
        same_address::cases(),
        policies::cases(),
        orders::cases(),
        many::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(super) fn soak() -> Vec<Case> {
    churn::soak()
}

/// A case with strongSwan, which waits most of its time; and the rows of `docs/states.md` that it shows.
fn case(
    name: &str,
    seconds: u64,
    rows: &'static str,
    run: impl Fn(&Rig) -> Result<()> + Send + Sync + 'static,
) -> Case {
    let case = Case::new(format!("{PREFIX}{name}"), run).needs(Need::StrongSwan).needs(Need::Curl);
    case.takes(seconds).paced().rows(rows)
}

/// What the names of the cases begin with.
const PREFIX: &str = "redundancy_";

/// The lan, and both gateways to it.
pub(super) struct World {
    _lan: Process,
    a: Charon,
    b: Server,
}

impl World {
    pub(super) fn start(rig: &Rig) -> Result<Self> {
        Self::start_with(rig, &Setup::psk().gateway, &server_b(rig))
    }

    /// The same with gateways of one's own.
    fn start_with(rig: &Rig, a: &CharonConfig, b: &Lines) -> Result<Self> {
        rig.net.add_second_gateway()?;
        rig.net.lead_back("10.8.0.0/24")?;
        let lan = rig.start_lan()?;
        rig.prove_unreachable()?;
        let a = Charon::start(rig, Place::Gateway, a)?;
        let b = Server::start_at(rig, Place::Gateway2, b)?;
        Ok(Self { _lan: lan, a, b })
    }

    /// Gateway `a` dies without a word.
    pub(super) fn kill_a(&self) -> Result<()> {
        self.a.process.signal("KILL")?;
        self.a.process.wait_exit(Duration::from_secs(15)).map(drop)
    }

    /// Gateway `b` dies without a word.
    fn kill_b(&self) -> Result<()> {
        self.b.process.signal("KILL")?;
        self.b.process.wait_exit(Duration::from_secs(15)).map(drop)
    }
}

/// What gateway `b` is started with.
fn server_b(rig: &Rig) -> Lines {
    config::server(&rig.pki, Transport::Udp)
}

/// The table of gateway `a`.
pub(super) fn gateway_a(rig: &Rig) -> Result<String> {
    let client = Setup::psk().client;
    let mut keys = client.toml.text();
    for file in client.write_secrets(rig)? {
        let name = file.file_name().unwrap_or_default().display().to_string();
        keys = keys.replace(&format!("{name:?}"), &format!("{:?}", file.display().to_string()));
    }
    Ok(format!("[[connection.{NAME}.gateway]]\nname = \"a\"\nprotocol = \"ikev2\"\n{keys}\n"))
}

/// The table of gateway `b`.
pub(super) fn gateway_b(rig: &Rig) -> Result<String> {
    let profile = config::profile(&rig.pki, Transport::Udp)?.replace("remote 203.0.115.1 1194");
    let file = client_file(&rig.dir.join("b.ovpn"), &profile.text())?;
    let file = file.display().to_string();
    Ok(format!("[[connection.{NAME}.gateway]]\nname = \"b\"\nprotocol = \"openvpn\"\nprofile = {file:?}\n\n"))
}

/// The connection over both, with further keys of its own, and one forward to the web server.
pub(super) fn connection(rig: &Rig, keys: &str) -> Result<String> {
    Ok(over(keys, &[gateway_a(rig)?, gateway_b(rig)?]))
}

/// The same over these gateways.
fn over(keys: &str, gateways: &[String]) -> String {
    format!("[connection.{NAME}]\n{keys}\n\n{}{}", gateways.concat(), forward("web", WEB, ""))
}

/// The table of a forward to the web server.
fn forward(name: &str, listen: &str, keys: &str) -> String {
    format!(
        "[[connection.{NAME}.forward]]\nname = {name:?}\nlisten = {listen:?}\nto = \"192.168.100.30:8080\"\n{keys}\n"
    )
}

/// A gateway in a connection's status.
fn gateway<'a>(connection: &'a Value, name: &str) -> &'a Value {
    let gateways = connection["gateways"].as_array().map(Vec::as_slice).unwrap_or_default();
    gateways.iter().find(|gateway| gateway["name"] == name).unwrap_or(&Value::Null)
}

/// Its state.
fn gateway_state<'a>(connection: &'a Value, name: &str) -> &'a str {
    gateway(connection, name)["state"].as_str().unwrap_or("")
}

/// Waits until `a` carries, and `b` stands by: where the story of most cases begins.
fn both<'a>(rig: &'a Rig, running: &'a Running) -> Result<Story<'a>> {
    let mut story = Story::new(rig, running, NAME);
    story.shows(UP, "C1 C4 G1:a G2:a G1:b G3:b")?;
    Ok(story)
}

/// Waits until the only gateway, `a`, carries.
fn alone<'a>(rig: &'a Rig, running: &'a Running) -> Result<Story<'a>> {
    let mut story = Story::new(rig, running, NAME);
    story.shows(UP, "C1 C4 G1:a G2:a")?;
    Ok(story)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::PREFIX;
    use crate::story::rows;

    const DOCUMENT: &str = include_str!("../../../../docs/states.md");
    /// Cases that differ in the way something happens, by what their names begin with.
    const ALIKE: [&str; 2] = ["gateway_", "restart_"];

    /// A case of `adit up`, which has no status to be asked for, among those of `adit run`.
    const UP: &str = "tun_run_as";

    /// The cases as the document names them: those that do not, where it is nearly all of them.
    fn named(of: &BTreeSet<String>, all: &BTreeSet<String>) -> String {
        let others: Vec<String> = all.difference(of).map(|name| format!("`{name}`")).collect();
        if others.len() <= 4 {
            return if others.is_empty() { "all".to_owned() } else { format!("all but {}", others.join(", ")) };
        }
        let alike = |name: &str| {
            let group = |begin: &&str| all.iter().filter(|name| name.starts_with(*begin)).all(|name| of.contains(name));
            ALIKE.into_iter().filter(group).find(|begin| name.starts_with(begin))
        };
        let names: BTreeSet<String> = of
            .iter()
            .map(|name| alike(name).map_or_else(|| format!("`{name}`"), |begin| format!("`{begin}*`")))
            .collect();
        Vec::from_iter(names).join(", ")
    }

    #[test]
    fn every_row_is_shown_by_the_cases_that_the_document_names() {
        let mut shown: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut all = BTreeSet::new();
        for case in crate::cases::all().into_iter().chain(crate::cases::soak()) {
            let own = case.name.starts_with(PREFIX) || case.name.starts_with("tun_run_") && case.name != UP;
            assert!(!own || !case.rows.is_empty(), "{} shows no row", case.name);
            if case.rows.is_empty() {
                continue;
            }
            let name = case.name.strip_prefix(PREFIX).unwrap_or(&case.name);
            for id in case.rows.split_whitespace() {
                assert!(rows().contains_key(id), "{name}: docs/states.md has no row {id}");
                shown.entry(id.to_owned()).or_default().insert(name.to_owned());
            }
            all.insert(name.to_owned());
        }
        let missing: Vec<_> = rows().keys().filter(|id| !shown.contains_key(*id)).collect();
        assert!(missing.is_empty(), "no case shows {missing:?}");
        let mut sorted: Vec<_> = shown.iter().collect();
        sorted.sort_by_key(|(id, _)| (id.as_bytes()[0], id[1..].parse::<u32>().unwrap()));
        let table: String = sorted.iter().map(|(id, names)| format!("| {id} | {} |\n", named(names, &all))).collect();
        let (_, documented) = DOCUMENT.split_once("| row | cases |\n|---|---|\n").unwrap();
        assert!(documented == table, "docs/states.md has another list than:\n{table}");
    }
}
