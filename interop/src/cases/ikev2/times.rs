//! From the first packet to the tunnel, next to strongSwan's own client at the same gateway.

use std::time::Duration;

use anyhow::Result;

use super::{Case, case};
use crate::{
    cases::times::summary,
    client::Client,
    ike::{charon::Charon, session::IkeSession, setup::Setup},
    process::Line,
    rig::Rig,
};

/// How often each is measured; the middle counts.
const ROUNDS: usize = 7;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("up_time_eap", |rig| up_time(rig, Setup::eap("eap-mschapv2"))).takes(12),
        case("up_time_psk", |rig| up_time(rig, Setup::psk())).takes(12),
        case("up_time_certificates", |rig| up_time(rig, Setup::certificates("server", "client"))).takes(12),
    ]
}

/// Asserts that both work, and prints the times: they depend on the machine.
fn up_time(rig: &Rig, setup: Setup) -> Result<()> {
    // The same algorithms for both clients.
    let setup = setup.proposals("aes256gcm16-prfsha384-x25519", "aes256gcm16");
    let mut session = IkeSession::open(rig, &setup)?;
    session.exchange()?;
    let IkeSession { gateway, lan, client, .. } = session;
    client.interrupt()?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        if !rig.reference {
            ours.push(one(&gateway, || Client::start_ike(rig, &setup.client))?);
        }
        theirs.push(one(&gateway, || Client::start_strongswan(rig, &setup.client))?);
    }
    rig.measured(&format!(
        "from the first packet to the tunnel, as the gateway sees it: adit {}, strongSwan {}",
        summary(&mut ours),
        summary(&mut theirs)
    ))?;
    drop(lan);
    Ok(())
}

fn one(gateway: &Charon, start: impl FnOnce() -> Result<Client>) -> Result<Duration> {
    let mark = gateway.process.mark();
    let client = start()?;
    client.wait_up()?;
    let when = |text: &str| {
        let found = |line: &Line| line.text.contains(text).then_some(line.at);
        gateway.process.wait_for(mark, text, Duration::from_secs(15), found)
    };
    let (first, last) = (when("received packet")?, when("established with SPIs")?);
    client.interrupt()?;
    gateway.process.wait_text(mark, "IKE_SA deleted", Duration::from_secs(15))?;
    Ok(last - first)
}
