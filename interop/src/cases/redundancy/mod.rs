//! Two gateways to one lan: what becomes of a connection when one of them dies, hangs, vanishes or comes back.
//!
//! Gateway `a` is strongSwan in the namespace of all cases, gateway `b` an OpenVPN server in one of its own. The ids of states
//! (`C9`, …) are those of `docs/states.md`.

mod churn;
mod faults;
mod many;
mod orders;
mod policies;
mod returns;
mod revoked;
mod same_address;

pub(super) use self::revoked::refusing;

use std::time::Duration;

use anyhow::{Result, ensure};
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

/// A case with strongSwan, which waits most of its time.
fn case(name: &str, seconds: u64, run: impl Fn(&Rig) -> Result<()> + Send + Sync + 'static) -> Case {
    Case::new(format!("redundancy_{name}"), run).needs(Need::StrongSwan).takes(seconds).paced()
}

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
fn gateway_a(rig: &Rig) -> Result<String> {
    let client = Setup::psk().client;
    let mut keys = client.toml.text();
    for file in client.write_secrets(rig)? {
        let name = file.file_name().unwrap_or_default().display().to_string();
        keys = keys.replace(&format!("{name:?}"), &format!("{:?}", file.display().to_string()));
    }
    Ok(format!("[[connection.{NAME}.gateway]]\nname = \"a\"\nprotocol = \"ikev2\"\n{keys}\n"))
}

/// The table of gateway `b`.
fn gateway_b(rig: &Rig) -> Result<String> {
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

/// Demands that status and metrics agree about the state of the connection.
fn expect_state(rig: &Rig, running: &Running, state: &str) -> Result<()> {
    let connection = running.connection(rig, NAME)?;
    ensure!(connection["state"] == state, "the connection is {}, not {state}", connection["state"]);
    let metric = running.metric(rig, "vpn_connection_state", &[("connection", NAME), ("state", state)])?;
    ensure!(metric == Some(1.0), "the metric of the state {state} is {metric:?}");
    Ok(())
}

/// Waits until `a` carries, and `b` stands by.
fn wait_both(rig: &Rig, running: &Running) -> Result<Value> {
    running.wait(rig, NAME, "a active and b standby", UP, |connection| {
        connection["state"] == "connected"
            && gateway_state(connection, "a") == "active"
            && gateway_state(connection, "b") == "standby"
    })
}
