//! Two gateways to one lan: what becomes of a connection when one of them dies, hangs, vanishes or comes back.
//!
//! Gateway `a` is strongSwan in the namespace of all cases, gateway `b` an OpenVPN server in one of its own. The ids of states
//! (`C9`, …) are those of `docs/states.md`.

mod faults;

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use super::Case;
use crate::{
    client::client_file,
    config::{self, Transport},
    ike::{charon::Charon, setup::Setup},
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
    faults::cases()
}

/// The lan, and both gateways to it.
struct World {
    _lan: Process,
    a: Charon,
    _b: Server,
}

impl World {
    fn start(rig: &Rig) -> Result<Self> {
        rig.net.add_second_gateway()?;
        rig.net.lead_back("10.8.0.0/24")?;
        let lan = rig.start_lan()?;
        rig.prove_unreachable()?;
        let a = Charon::start(rig, Place::Gateway, &Setup::psk().gateway)?;
        let b = Server::start_at(rig, Place::Gateway2, &config::server(&rig.pki, Transport::Udp))?;
        Ok(Self { _lan: lan, a, _b: b })
    }
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
fn connection(rig: &Rig, keys: &str) -> Result<String> {
    let forward =
        format!("[[connection.{NAME}.forward]]\nname = \"web\"\nlisten = {WEB:?}\nto = \"192.168.100.30:8080\"\n");
    Ok(format!("[connection.{NAME}]\n{keys}\n\n{}{}{forward}", gateway_a(rig)?, gateway_b(rig)?))
}

/// The state of a gateway in a connection's status.
fn gateway_state<'a>(connection: &'a Value, name: &str) -> &'a str {
    let gateways = connection["gateways"].as_array().map(Vec::as_slice).unwrap_or_default();
    gateways.iter().find(|gateway| gateway["name"] == name).and_then(|gateway| gateway["state"].as_str()).unwrap_or("")
}

/// Waits until `a` carries, and `b` stands by.
fn wait_both(rig: &Rig, running: &Running) -> Result<Value> {
    running.wait(rig, NAME, "a active and b standby", UP, |connection| {
        connection["state"] == "connected"
            && gateway_state(connection, "a") == "active"
            && gateway_state(connection, "b") == "standby"
    })
}
