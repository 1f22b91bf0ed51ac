//! A device over two gateways: strongSwan with a full tunnel, and an OpenVPN server with a split one.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Case, case};
use crate::{
    cases::redundancy::{World, connection},
    needs::Need,
    net::{Place, TARGET},
    process::{Process, run},
    rig::Rig,
    up::{self, Up},
};

pub(super) fn cases() -> Vec<Case> {
    vec![case("tun_two_gateways", two_gateways).takes(30).needs(Need::StrongSwan)]
}

/// A ping that began before goes on after the gateway in use was killed; addresses and routes are those of the other one.
fn two_gateways(rig: &Rig) -> Result<()> {
    let world = World::start(rig)?;
    let before = up::picture(rig, Place::Client)?;
    let keys = "liveness = \"fast\"\nstandby = \"hot\"\nfail_back_seconds = \"never\"";
    let up = Up::toml(rig, &connection(rig, keys)?, &["--fail-closed"])?;
    up.process.wait_text(0, "up adit0 10.10.10.1/32", up::UP)?;
    up.exchange(rig)?;
    up.process.wait_text(0, "10.8.0.2/24", up::UP)?;
    let mut ping = rig.net.command(Place::Client, "ping");
    ping.args(["-n", "-i", "0.2", &TARGET.to_string()]);
    let ping = Process::spawn(&rig.process_name("ping"), &rig.dir, &mut ping)?;
    ping.wait_text(0, "bytes from", Duration::from_secs(10))?;
    let mark = up.process.mark();
    world.kill_a()?;
    up.process.wait_text(mark, "takes over from a", up::UP)?;
    up.process.wait_text(mark, "\"device up\"", up::UP)?;
    let mark = ping.mark();
    let mut answers = 0;
    ping.wait_for(mark, "answers through the other gateway", Duration::from_secs(20), |line| {
        answers += usize::from(line.text.contains("bytes from"));
        (answers == 5).then_some(())
    })?;
    ping.signal("INT")?;
    let addresses = run(rig.net.command(Place::Client, "ip").args(["-o", "-4", "addr", "show", "dev", "adit0"]))?;
    ensure!(addresses.contains("10.8.0.2/24") && !addresses.contains("10.10.10."), "the device has {addresses}");
    // Not its datagrams: the lan, at home in two networks, answers those from its other address.
    up.ping(rig, &TARGET.to_string())?;
    rig.hello(crate::net::WEB)?;
    up.close()?;
    up::prove_undone(rig, &before)?;
    rig.prove_gone()
}
