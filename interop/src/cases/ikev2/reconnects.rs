//! A thousand tunnels, one after the other, in one process.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Case, case};
use crate::{
    client::unprivileged,
    ike::{
        charon::Charon,
        setup::{PSK, Setup},
    },
    net::Place,
    process::Process,
    rig::Rig,
    tools::reconnect::Report,
};

const COUNT: u32 = 1000;
/// What may come and go without being kept: less than two kilobytes for each connect.
const GROWTH_KIB: u64 = 1536;

pub(super) fn cases() -> Vec<Case> {
    vec![case("connects_1000", connects).takes(60)]
}

/// Every tunnel carries a request; neither descriptors nor memory are left behind, here or at the gateway.
fn connects(rig: &Rig) -> Result<()> {
    ensure!(!rig.reference, "this case needs adit");
    let setup = Setup::psk();
    let _lan = rig.start_lan()?;
    rig.prove_unreachable()?;
    let gateway = Charon::start(rig, Place::Gateway, &setup.gateway)?;
    let mut command = unprivileged(rig, false);
    command.arg(&rig.interop).args(["reconnect", "203.0.113.1", "--count", &COUNT.to_string()]);
    command.args(["--psk", PSK, "--identity", "client@example.org"]);
    let process = Process::spawn(&rig.process_name("reconnect"), &rig.dir, &mut command)?;
    let said = process.wait_output(Duration::from_secs(200))?;
    let report: Report = serde_json::from_str(said.lines().last().unwrap_or_default())?;
    rig.measured(&format!(
        "{} connects in {:.1} s; descriptors {} then {}, resident {} kB then {} kB",
        report.connects,
        report.seconds,
        report.before.descriptors,
        report.after.descriptors,
        report.before.resident_kib,
        report.after.resident_kib
    ))?;
    let made = gateway.process.count("established with SPIs");
    ensure!(made == usize::try_from(COUNT)?, "the gateway made {made} tunnels");
    let left = gateway.counters()?;
    ensure!(left.sas == 0, "the gateway still has {left:?}");
    ensure!(report.after.descriptors <= report.before.descriptors, "descriptors were left behind: {report:?}");
    let growth = report.after.resident_kib.saturating_sub(report.before.resident_kib);
    ensure!(growth < GROWTH_KIB, "the process grew by {growth} kB: {report:?}");
    rig.prove_gone()
}
