//! What can be chosen about the device and the system around it.

use std::{fs, net::IpAddr, path::PathBuf};

use adit_tunnel::IpNet;

use crate::error::{Error, Exit};

/// TUN mode of one connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TunOptions {
    /// Name of the device; the first of adit0, adit1, ... that is free unless given.
    pub(crate) device: Option<String>,
    /// The network namespace that gets the device, its addresses, routes and DNS; ours unless given.
    pub(crate) netns: Option<String>,
    pub(crate) routing: Routing,
    pub(crate) dns: DnsWay,
    /// Of the device; follows from the tunnel unless given.
    pub(crate) mtu: Option<u16>,
    /// Longest TCP segment; follows from the MTU unless given.
    pub(crate) mss: Option<u16>,
    /// Who the process is after set-up: `NAME`, `UID` or either with `:GROUP`.
    pub(crate) user: Option<String>,
    /// Nothing that belongs into the tunnel leaves beside it while the tunnel is down.
    pub(crate) fail_closed: bool,
    /// IPv6 is blocked where all IPv4 goes through a tunnel that has none; `fail_closed` has that, too.
    pub(crate) block_ipv6: bool,
    /// Where what has to be undone is written down; `/run/adit` unless given.
    pub(crate) state_dir: Option<PathBuf>,
}

/// What goes into the tunnel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Routing {
    /// The networks the gateway names, or everything where it asks for that.
    #[default]
    Pushed,
    /// The networks the gateway names, also where it asks for everything.
    Split,
    /// These alone.
    Only(Vec<IpNet>),
    /// Everything.
    Full,
}

/// How this machine learns the name servers behind the gateway.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum DnsWay {
    /// The first of the following that this machine has.
    #[default]
    Auto,
    /// systemd-resolved.
    Resolved,
    /// `resolvconf`.
    Resolvconf,
    /// `/etc/resolv.conf` is rewritten.
    File,
    /// Not at all.
    Off,
}

impl DnsWay {
    /// Whether it can be for a network namespace, which has a file of its own and nothing else.
    pub(crate) fn is_of_namespaces(self) -> bool {
        !matches!(self, Self::Resolved | Self::Resolvconf)
    }
}

/// What is wrong where [`DnsWay::is_of_namespaces`] is not so, and what to do.
pub(crate) const DNS_OF_NAMESPACE: &str =
    "`dns`: neither systemd-resolved nor resolvconf resolves for a network namespace";
pub(crate) const DNS_OF_NAMESPACE_HINT: &str =
    "say `file` or nothing, which both take /etc/netns/NAME/resolv.conf, or leave DNS alone by `off`, `--no-dns`";

/// A user and a group of the system, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Where journals are: empty after the machine has started.
pub(crate) const STATE_DIR: &str = "/run/adit";
/// What devices are called, with a number.
pub(crate) const NAME: &str = "adit";
/// The kernel's bound, without the zero at the end (`IFNAMSIZ`).
const MAX_NAME: usize = 15;

impl TunOptions {
    /// Demands that names can be names, and sizes sizes.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong = |text: String, hint: &str| Err(Error::new(Exit::Usage, text).hint(hint));
        if let Some(device) = self.device.as_ref().filter(|device| !is_name(device) || device.len() > MAX_NAME) {
            return wrong(format!("`{device}` cannot be the name of a device"), "take up to 15 letters and digits");
        }
        if let Some(netns) = self.netns.as_ref().filter(|netns| !is_name(netns)) {
            return wrong(
                format!("`{netns}` cannot be the name of a namespace"),
                "`ip netns list` shows those there are",
            );
        }
        if let Some(netns) = self.netns.as_ref().filter(|_| !self.dns.is_of_namespaces()) {
            return wrong(format!("{DNS_OF_NAMESPACE} (`{netns}`)"), DNS_OF_NAMESPACE_HINT);
        }
        if let Some(mtu) = self.mtu.filter(|mtu| *mtu < 576) {
            return wrong(format!("an MTU of {mtu} is too small"), "576 is the least; 1280 with IPv6 inside");
        }
        if let Some(mss) = self.mss.filter(|mss| *mss < 88) {
            return wrong(format!("a segment size of {mss} is too small"), "88 is the least the kernel uses");
        }
        Ok(())
    }
}

fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !text.is_empty() && text != "." && text != ".." && text.bytes().all(fits)
}

/// `10.0.0.0/8`, or an address alone.
pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    let wrong = || format!("`{text}` is no network such as 10.0.0.0/8 or fd00::/64");
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    match prefix {
        None => Ok(IpNet::host(address)),
        Some(prefix) => IpNet::new(address, prefix.parse().map_err(|_| wrong())?).ok_or_else(wrong),
    }
}

impl User {
    /// `NAME` or `UID`, either with `:GROUP`, as `/etc/passwd` and `/etc/group` have them; a number that is not there is its own
    /// group.
    pub(crate) fn find(text: &str) -> Result<Self, Error> {
        let table = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self::among(text, &table("/etc/passwd"), &table("/etc/group")).map_err(|why| {
            Error::new(Exit::Usage, format!("the user `{text}`: {why}"))
                .hint("give NAME or UID, or either with `:GROUP`")
        })
    }

    fn among(text: &str, passwd: &str, groups: &str) -> Result<Self, &'static str> {
        let number = |text: &str| text.parse::<u32>().ok();
        let (name, group) = text.split_once(':').map_or((text, None), |(name, group)| (name, Some(group)));
        let entry = passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let (uid, gid) = (number(fields.get(2)?)?, number(fields.get(3)?)?);
            (fields.first() == Some(&name) || number(name) == Some(uid)).then_some((uid, gid))
        });
        let (uid, gid) = entry.or_else(|| number(name).map(|uid| (uid, uid))).ok_or("there is none")?;
        let gid = match group {
            None => gid,
            Some(group) => {
                let known = groups.lines().find_map(|line| {
                    let mut fields = line.split(':');
                    (fields.next() == Some(group)).then(|| number(fields.nth(1)?)).flatten()
                });
                known.or_else(|| number(group)).ok_or("there is no such group")?
            }
        };
        if uid == 0 || gid == 0 { Err("root gives up nothing by becoming root") } else { Ok(Self { uid, gid }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nvpn:x:990:991::/:/bin/false\nbroken\n";
    const GROUPS: &str = "root:x:0:\nusers:x:100:vpn\n";

    #[test]
    fn users_are_names_or_numbers_but_not_root() {
        let user = |uid, gid| Ok(User { uid, gid });
        let among = |text| User::among(text, PASSWD, GROUPS);
        assert_eq!(among("vpn"), user(990, 991));
        assert_eq!(among("990"), user(990, 991));
        assert_eq!(among("vpn:users"), user(990, 100));
        assert_eq!(among("65534"), user(65534, 65534));
        assert_eq!(among("65534:100"), user(65534, 100));
        for wrong in ["root", "0", "5:0", "vpn:root", "nobody-here", "", "1:x"] {
            assert!(among(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_is_said_before_anything_is_done() {
        let default = TunOptions::default();
        assert!(default.check().is_ok());
        for wrong in [
            TunOptions { device: Some("far-too-long-name".into()), ..default.clone() },
            TunOptions { device: Some("../x".into()), ..default.clone() },
            TunOptions { device: Some(String::new()), ..default.clone() },
            TunOptions { netns: Some("a/b".into()), ..default.clone() },
            TunOptions { mtu: Some(500), ..default.clone() },
            TunOptions { mss: Some(10), ..default.clone() },
            TunOptions { netns: Some("blue".into()), dns: DnsWay::Resolved, ..default.clone() },
            TunOptions { netns: Some("blue".into()), dns: DnsWay::Resolvconf, ..default },
        ] {
            let error = wrong.check().unwrap_err();
            assert_eq!((error.exit(), error.hint_text().is_some()), (Exit::Usage, true), "{error}");
        }
    }

    #[test]
    fn networks_are_read() {
        assert_eq!(network("10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(network("fd00::1").unwrap().to_string(), "fd00::1/128");
        assert!(network("10.0.0.0/33").is_err() && network("office").is_err());
    }
}
