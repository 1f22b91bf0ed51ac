//! What the cases of `adit probe` have in common.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    client::unprivileged,
    process::{Process, Stream},
    rig::Rig,
};

/// The exit code of whoever cannot reach a gateway.
pub(super) const UNREACHABLE: i32 = 3;
/// How long a probe may take.
const PROBED: Duration = Duration::from_secs(60);

/// Runs a probe as a user without rights; its report, which must be JSON, and its exit code that one.
pub(super) fn run(rig: &Rig, name: &str, source: &[String], args: &[&str], code: i32) -> Result<Value> {
    ensure!(!rig.reference, "no other program probes; this case needs adit");
    let mut command = unprivileged(rig, false);
    command.arg(&rig.adit).args(["probe", "--json"]).args(source).args(args);
    let process = Process::spawn(name, &rig.dir, &mut command)?;
    let status = process.wait_end(PROBED)?;
    let out = process.lines(0, |line| (line.stream == Stream::Out).then(|| line.text.clone()));
    ensure!(process.count("panicked at") == 0, "it panicked");
    ensure!(status.code() == Some(code), "ended with {status} instead of {code}: {out:?}");
    ensure!(out.len() == 1, "one line of JSON, not {out:?}");
    let report: Value = serde_json::from_str(&out[0]).context("JSON")?;
    ensure!(report["schema"] == 1 && report["ok"] == (code == 0), "{report}");
    // The same for people: every value has its place.
    Ok(report)
}

/// The only address of the only gateway.
pub(super) fn address(report: &Value) -> Result<&Value> {
    let address = &report["gateways"][0]["remotes"][0]["addresses"][0];
    ensure!(address.is_object(), "no address in {report}");
    Ok(address)
}

/// Waits until something is so.
pub(super) fn until(what: &str, mut is: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is()? {
        ensure!(Instant::now() < deadline, "it never came to this: {what}");
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
