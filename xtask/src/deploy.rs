//! What is in `deploy/`, as far as it can be tried without a cluster and without a system of its own.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use crate::steps::{self, Steps, output, say};

/// The units by their highest exposure in tenths, from 0 to 100, as `systemd-analyze security` counts it: the lower, the safer.
const UNITS: [(&str, u32); 2] = [("adit@.service", 15), ("adit-tun@.service", 20)];
/// The first systemd that knows `Type=notify-reload`.
const NOTIFY_RELOAD: u32 = 253;

/// The program must be built.
pub(crate) fn run(steps: &mut Steps) -> Result<()> {
    steps.run("units", units)?;
    let target = steps::target_dir()?;
    let (tools, adit) = (target.join("deploy"), target.join("debug").join("adit"));
    steps.run("deploy tools", || {
        let fetched = Command::new("python3").arg("deploy/check/fetch.py").arg(&tools).status();
        ensure!(
            fetched.context("cannot run python3")?.success(),
            "helm, kubectl, hadolint and the schemas cannot be fetched"
        );
        Ok(())
    })?;
    steps.program("deploy", Command::new("python3").arg("deploy/check/check.py").args([&tools, &adit]))
}

/// Each unit is one that systemd has nothing to say about, and as safe as ever.
fn units() -> Result<()> {
    let version = version(&output("systemd-analyze", &["--version"])?).context("no version of systemd")?;
    let place = steps::target_dir()?.join("units");
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    for (unit, threshold) in UNITS {
        let path = copy(unit, &place)?;
        let said = complaints(&path)?;
        ensure!(said.is_empty(), "{unit}: {}", said.join("; "));
        say(&format!("{unit}: {}", exposure(&path, threshold)?));
    }
    let (unit, _) = UNITS[0];
    if version >= NOTIFY_RELOAD {
        let place = place.join("with-reload");
        let path = copy(unit, &place)?;
        let beside = place.join(format!("{unit}.d"));
        fs::create_dir_all(&beside)?;
        fs::copy("deploy/systemd/reload.conf", beside.join("reload.conf"))?;
        let said = complaints(&path)?;
        ensure!(said.is_empty(), "{unit} with reload.conf: {}", said.join("; "));
    } else {
        say(&format!("reload.conf is not checked: systemd is {version} here, and it is for {NOTIFY_RELOAD} and later"));
    }
    // A mistake must be seen, or all of this says nothing.
    let path = copy(unit, &place.join("wrong"))?;
    let wrong = fs::read_to_string(&path)?;
    fs::write(&path, wrong.replace("ProtectHome=", "ProtectHouse=").replace("CapabilityBoundingSet=\n", ""))?;
    ensure!(complaints(&path)?.len() == 1, "systemd-analyze does not see a mistake");
    ensure!(exposure(&path, UNITS[0].1).is_err(), "systemd-analyze finds a unit with all capabilities safe");
    Ok(())
}

/// A unit whose program is there: what is checked is the unit.
fn copy(unit: &str, place: &Path) -> Result<PathBuf> {
    fs::create_dir_all(place)?;
    let text = fs::read_to_string(Path::new("deploy/systemd").join(unit)).with_context(|| unit.to_owned())?;
    let path = place.join(unit);
    fs::write(&path, text.replace("/usr/bin/adit", &env::current_exe()?.to_string_lossy()))?;
    Ok(path)
}

/// What `systemd-analyze verify` says of this file, and not of others of this machine.
fn complaints(unit: &Path) -> Result<Vec<String>> {
    let verify =
        Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(unit).stdin(Stdio::null()).output()?;
    let place = unit.parent().context("no folder")?.to_string_lossy().into_owned();
    let name = unit.file_stem().context("no name")?.to_string_lossy().into_owned();
    let said = String::from_utf8_lossy(&verify.stderr).into_owned();
    let ours = said.lines().filter(|line| line.contains(&place) || line.starts_with(&name)).map(str::to_owned);
    let ours: Vec<String> = ours.collect();
    ensure!(verify.status.success() || !ours.is_empty(), "systemd-analyze verify: {said}");
    Ok(ours)
}

/// How exposed a unit is, in words; an error beyond the threshold.
fn exposure(unit: &Path, threshold: u32) -> Result<String> {
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--offline=true", "--no-pager", &format!("--threshold={threshold}")]).arg(unit);
    let judged = command.output()?;
    let text = String::from_utf8_lossy(&judged.stdout).into_owned();
    let verdict =
        text.lines().find(|line| line.contains("Overall exposure level")).unwrap_or_default().trim().to_owned();
    if !judged.status.success() || verdict.is_empty() {
        bail!("{}: {verdict} {}", unit.display(), String::from_utf8_lossy(&judged.stderr).trim());
    }
    Ok(verdict)
}

/// `systemd 252 (252.39-1~deb12u2)`.
fn version(text: &str) -> Option<u32> {
    text.split_whitespace().nth(1)?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_systemd_are_read() {
        assert_eq!(version("systemd 252 (252.39-1~deb12u2)\n+PAM"), Some(252));
        assert_eq!(version("systemd 257.4 (257.4-1)"), Some(257));
        assert_eq!(version("nothing"), None);
    }
}
