//! The programs the checks need, and the Debian packages they are in.

use std::{env, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use crate::steps::{Steps, is_root, path_with_sbin, say};

/// A program or file, and its package.
const NEEDED: [(&str, &str); 8] = [
    ("ip", "iproute2"),
    ("openvpn", "openvpn"),
    ("curl", "curl"),
    ("openssl", "openssl"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
    ("mount", "mount"),
    ("mkfifo", "coreutils"),
];

/// Installs what is missing, or says what to install.
pub(crate) fn install(steps: &mut Steps) -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    steps.run("tools", || {
        let list = missing.join(" ");
        say(&format!("missing: {list}"));
        let can = is_root()? && present("apt-get");
        ensure!(can, "install these packages first: {list} (on Debian as root: apt-get install {list})");
        apt_get(&["update", "-qq"])?;
        let mut args = vec!["install", "-y", "-qq", "--no-install-recommends"];
        args.extend(&missing);
        apt_get(&args)?;
        let still = self::missing();
        ensure!(still.is_empty(), "apt-get went well, but still missing: {}", still.join(" "));
        Ok(())
    })
}

fn missing() -> Vec<&'static str> {
    let mut packages: Vec<_> = NEEDED.iter().filter(|(tool, _)| !present(tool)).map(|(_, package)| *package).collect();
    packages.dedup();
    packages
}

fn present(tool: &str) -> bool {
    env::split_paths(&path_with_sbin()).any(|place: std::path::PathBuf| Path::new(&place).join(tool).exists())
}

fn apt_get(args: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .context("cannot run apt-get")?;
    ensure!(status.success(), "`apt-get {}` failed", args.join(" "));
    Ok(())
}
