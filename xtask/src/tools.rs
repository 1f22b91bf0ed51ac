//! The programs the checks need, and the Debian packages they are in.

use std::{env, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use crate::steps::{Steps, is_root, may_sudo, path_with_sbin, say};

/// A program or file, and its package.
const NEEDED: [(&str, &str); 27] = [
    // `ring` has parts in C and assembler. (`.ci/run` has seen to these two: without them there would be no xtask.)
    ("cc", "gcc"),
    ("/usr/include/stdlib.h", "libc6-dev"),
    ("ip", "iproute2"),
    ("openvpn", "openvpn"),
    ("curl", "curl"),
    ("openssl", "openssl"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
    ("mount", "mount"),
    ("mkfifo", "coreutils"),
    ("/usr/lib/ipsec/charon", "strongswan-charon"),
    ("/usr/lib/ipsec/starter", "strongswan-starter"),
    ("swanctl", "strongswan-swanctl"),
    ("pki", "strongswan-pki"),
    ("/usr/lib/ipsec/plugins/libstrongswan-gcm.so", "libstrongswan-standard-plugins"),
    ("/usr/lib/ipsec/plugins/libstrongswan-chapoly.so", "libstrongswan-extra-plugins"),
    ("/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so", "libcharon-extra-plugins"),
    ("/usr/lib/ipsec/plugins/libstrongswan-eap-mschapv2.so", "libcharon-extauth-plugins"),
    ("freeradius", "freeradius"),
    ("tshark", "tshark"),
    ("iperf3", "iperf3"),
    ("tcpdump", "tcpdump"),
    ("ping", "iputils-ping"),
    ("dbus-daemon", "dbus"),
    // Reads the metrics as Prometheus does.
    ("/usr/lib/python3/dist-packages/prometheus_client/openmetrics/parser.py", "python3-prometheus-client"),
    // The checks of `deploy/`.
    ("systemd-analyze", "systemd"),
    ("pip3", "python3-pip"),
];

/// Installs what is missing, or says what to install.
pub(crate) fn install(steps: &mut Steps) -> Result<()> {
    let missing = missing();
    if missing.is_empty() && present(RESOLVED) {
        return Ok(());
    }
    steps.run("tools", || {
        let list = missing.join(" ");
        say(&format!("missing: {list}"));
        let can = present("apt-get") && (is_root()? || may_sudo());
        ensure!(can, "install these packages first: {list} (on Debian as root: apt-get install {list})");
        as_root(&["apt-get", "update", "-qq"])?;
        // Some of these are services: they are needed in namespaces of the cases, and must not start on the machine.
        let mut args = vec!["sh", "-ec", WITHOUT_SERVICES, "sh", "install", "-y", "-qq", "--no-install-recommends"];
        args.extend(&missing);
        if !missing.is_empty() {
            as_root(&args)?;
        }
        let still = self::missing();
        ensure!(still.is_empty(), "apt-get went well, but still missing: {}", still.join(" "));
        if !present(RESOLVED) {
            as_root(&["sh", "-ec", UNPACK_RESOLVED])?;
        }
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

fn as_root(args: &[&str]) -> Result<()> {
    let mut words = if is_root()? { vec![] } else { vec!["sudo", "-n"] };
    words.extend(["env", "DEBIAN_FRONTEND=noninteractive"]);
    words.extend(args);
    let (program, args) = words.split_first().context("no words")?;
    let status = Command::new(program).args(args).status().context("cannot run apt-get")?;
    ensure!(status.success(), "`{}` failed", words.join(" "));
    Ok(())
}

/// The program of the cases about systemd-resolved.
const RESOLVED: &str = "/lib/systemd/systemd-resolved";
/// It alone: its package would take over the machine's own name resolution.
const UNPACK_RESOLVED: &str = "\
folder=$(mktemp -d)
trap \"rm -rf $folder\" EXIT
cd $folder
chmod 755 $folder
apt-get download -qq systemd-resolved
dpkg-deb --fsys-tarfile systemd-resolved_*.deb | tar -x -C / ./lib/systemd/systemd-resolved
";

/// Debian asks this file whether a service may start; 101 is no. One that is there already knows better.
const WITHOUT_SERVICES: &str = "\
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap \"rm -f $policy\" EXIT
    printf '#!/bin/sh\\nexit 101\\n' > $policy
    chmod 755 $policy
fi
apt-get \"$@\"
";
