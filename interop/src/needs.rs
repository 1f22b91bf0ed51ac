//! What a case needs of the machine, and the cases that may go without.

use std::{collections::BTreeMap, env, path::Path, process::Command, sync::OnceLock};

use anyhow::{Context, Result};

use crate::process::run;

/// Where Debian has it. A package that is unpacked and not installed leaves the machine's own resolver alone.
pub(crate) const RESOLVED: &str = "/lib/systemd/systemd-resolved";

/// The interpreter that sees the packages of Debian, whatever others are first in the PATH.
pub(crate) const DEBIAN_PYTHON: &str = "/usr/bin/python3";

/// Something a machine has or has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// Root, network namespaces, TUN devices, `ip`, `openvpn`, `openssl`, `setpriv`: what every case needs.
    Rig,
    /// The plugin that checks passwords by PAM, where the customers' file looks for it.
    PamPlugin,
    /// `curl`.
    Curl,
    /// strongSwan with its plugins, `swanctl`, `starter` and `pki`.
    StrongSwan,
    /// FreeRADIUS.
    FreeRadius,
    /// tshark, which captures and reads.
    Tshark,
    /// `iperf3`.
    Iperf3,
    /// `tcpdump`.
    Tcpdump,
    /// systemd-resolved, and a bus for it.
    Resolved,
    /// Python, and Prometheus' own client for it.
    PrometheusClient,
}

impl Need {
    /// Why it is missing, if it is.
    pub(crate) fn missing(self) -> Option<String> {
        match self {
            Self::Rig => {
                static RIG: OnceLock<Option<String>> = OnceLock::new();
                RIG.get_or_init(|| rig().err().map(|error| format!("{error:#}"))).clone()
            }
            Self::PamPlugin => {
                let path = "/usr/lib/x86_64-linux-gnu/openvpn/plugins/openvpn-plugin-auth-pam.so";
                (!Path::new(path).exists()).then(|| format!("{path} is missing"))
            }
            Self::Curl => tool("curl").err().map(|error| error.to_string()),
            Self::StrongSwan => strongswan().err().map(|error| error.to_string()),
            Self::Iperf3 => tool("iperf3").err().map(|error| error.to_string()),
            Self::Tcpdump => tool("tcpdump").err().map(|error| error.to_string()),
            Self::PrometheusClient => prometheus_client().err().map(|error| error.to_string()),
            Self::Resolved => resolved().err().map(|error| error.to_string()),
            Self::Tshark => tool("tshark").err().map(|error| error.to_string()),
            Self::FreeRadius => tool("freeradius").err().map(|error| error.to_string()),
        }
    }
}

/// The cases that `.ci/run` lets pass although they are blocked, with the reason: lines `case = "reason"`.
pub(crate) fn allowed(text: &str) -> Result<BTreeMap<String, String>> {
    let entries = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    entries
        .map(|line| {
            let (case, reason) = line.split_once('=').with_context(|| format!("not a `case = \"reason\"`: {line}"))?;
            Ok((case.trim().to_owned(), reason.trim().trim_matches('"').to_owned()))
        })
        .collect()
}

fn rig() -> Result<()> {
    for name in ["ip", "openvpn", "openssl", "setpriv", "unshare", "mount", "mkfifo", "sh"] {
        tool(name)?;
    }
    anyhow::ensure!(Path::new("/dev/net/tun").exists(), "there is no /dev/net/tun");
    let user = run(Command::new("id").arg("-u"))?;
    anyhow::ensure!(user.trim() == "0", "namespaces need root");
    let name = format!("adit-{}-trial", std::process::id());
    run(Command::new("ip").args(["netns", "add", &name])).context("no network namespaces here")?;
    let tun = run(Command::new("ip").args(["-n", &name, "tuntap", "add", "tun0", "mode", "tun"]));
    run(Command::new("ip").args(["netns", "delete", &name]))?;
    tun.context("no TUN devices here").map(drop)
}

fn resolved() -> Result<()> {
    tool("dbus-daemon")?;
    tool("busctl")?;
    anyhow::ensure!(Path::new(RESOLVED).exists(), "{RESOLVED} is missing");
    Ok(())
}

fn prometheus_client() -> Result<()> {
    run(Command::new(DEBIAN_PYTHON).args(["-c", "import prometheus_client"])).map(drop)
}

fn strongswan() -> Result<()> {
    tool("swanctl")?;
    tool("pki")?;
    let plugin = |name| format!("plugins/libstrongswan-{name}.so");
    let files = ["charon", "starter"].map(str::to_owned).into_iter();
    // One of each of the packages they are in.
    for file in files.chain(["gcm", "chapoly", "eap-tls", "eap-mschapv2"].map(plugin)) {
        let path = Path::new("/usr/lib/ipsec").join(file);
        anyhow::ensure!(path.exists(), "{} is missing", path.display());
    }
    Ok(())
}

fn tool(name: &str) -> Result<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Debian keeps `ip` and `openvpn` where the PATH of ordinary users does not reach.
    let mut places = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    anyhow::ensure!(places.any(|place| place.join(name).exists()), "`{name}` is not installed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_of_blocked_cases_names_case_and_reason() {
        let list = allowed("# why\n\nlz4 = \"no kernel support\"\n").unwrap();
        assert_eq!(list.get("lz4").map(String::as_str), Some("no kernel support"));
        assert!(allowed("lz4").is_err());
    }
}
