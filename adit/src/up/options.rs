//! What can be chosen about the device of a connection.

use std::{fs, net::IpAddr, path::PathBuf, str::FromStr};

use adit_tunnel::IpNet;

use crate::error::{Error, Exit};

/// A connection's TUN device. What is not said has the same meaning as in [`Default`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TunOptions {
    /// What the kernel calls the device.
    pub(crate) name: String,
    /// The network namespace it is put in, by its name below `/run/netns`.
    pub(crate) netns: Option<String>,
    /// Networks that go through the tunnel, in place of those the gateway names; empty takes the gateway's.
    pub(crate) routes: Vec<IpNet>,
    /// What goes through it.
    pub(crate) scope: Scope,
    /// Whether the DNS servers the gateway names are used.
    pub(crate) dns: bool,
    /// Who is told of them; `None` takes whoever there is.
    pub(crate) dns_method: Option<DnsMethod>,
    /// Of the device, in bytes; `None` takes that of the tunnel.
    pub(crate) mtu: Option<u16>,
    /// The most TCP payload a segment through the device may have, in bytes; `None` takes what fits.
    pub(crate) mss: Option<u16>,
    /// Whom the process becomes before it connects.
    pub(crate) user: Option<User>,
    /// What belongs in the tunnel is dropped while it is down.
    pub(crate) fail_closed: bool,
    /// IPv6 is blocked where all IPv4 goes through a tunnel that has none.
    pub(crate) block_ipv6: bool,
    /// Where the journal is kept.
    pub(crate) state_dir: PathBuf,
}

/// What goes through the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Scope {
    /// What the gateway says.
    #[default]
    Pushed,
    /// The networks behind it alone.
    Split,
    /// Everything.
    Full,
}

/// Who is told of DNS servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum DnsMethod {
    /// systemd-resolved, over D-Bus.
    Resolved,
    /// The program `resolvconf`.
    Resolvconf,
    /// `/etc/resolv.conf`, rewritten.
    File,
}

/// A user and a group of the system, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Empty after the machine has started.
pub(crate) const STATE_DIR: &str = "/run/adit";
/// What the device is called.
pub(crate) const NAME: &str = "adit0";
/// The kernel's bound, without the zero at the end (`IFNAMSIZ`).
const MAX_NAME: usize = 15;

impl Default for TunOptions {
    fn default() -> Self {
        Self {
            name: NAME.to_owned(),
            netns: None,
            routes: Vec::new(),
            scope: Scope::default(),
            dns: true,
            dns_method: None,
            mtu: None,
            mss: None,
            user: None,
            fail_closed: false,
            block_ipv6: false,
            state_dir: STATE_DIR.into(),
        }
    }
}

impl TunOptions {
    /// Demands that names can be names, and sizes sizes.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong = |text: String, hint: &str| Err(Error::new(Exit::Usage, text).hint(hint));
        if !is_name(&self.name) || self.name.len() > MAX_NAME {
            return wrong(
                format!("`{}` cannot be the name of a device", self.name),
                "take up to 15 letters and digits",
            );
        }
        if let Some(netns) = self.netns.as_ref().filter(|netns| !is_name(netns)) {
            return wrong(
                format!("`{netns}` cannot be the name of a namespace"),
                "`ip netns list` shows those there are",
            );
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

impl FromStr for User {
    type Err = String;

    /// `NAME`, `UID` or `UID:GID`. Names are those of `/etc/passwd`; a number that is not there is its own group.
    fn from_str(text: &str) -> Result<Self, String> {
        Self::among(text, &fs::read_to_string("/etc/passwd").unwrap_or_default())
    }
}

impl User {
    fn among(text: &str, passwd: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u32>().ok();
        let user = match text.split_once(':') {
            Some((uid, gid)) => number(uid).zip(number(gid)).map(|(uid, gid)| Self { uid, gid }),
            None => {
                let entry = passwd.lines().find_map(|line| {
                    let fields: Vec<&str> = line.split(':').collect();
                    let (uid, gid) = (number(fields.get(2)?)?, number(fields.get(3)?)?);
                    (fields.first() == Some(&text) || number(text) == Some(uid)).then_some(Self { uid, gid })
                });
                entry.or_else(|| number(text).map(|uid| Self { uid, gid: uid }))
            }
        };
        match user {
            Some(user) if user.uid == 0 || user.gid == 0 => Err("root gives up nothing by becoming root".to_owned()),
            Some(user) => Ok(user),
            None => Err(format!("`{text}` is no user of /etc/passwd, no number, and no UID:GID")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nvpn:x:990:991::/:/bin/false\nbroken\n";

    #[test]
    fn users_are_names_or_numbers_but_not_root() {
        let user = |uid, gid| Ok(User { uid, gid });
        assert_eq!(User::among("vpn", PASSWD), user(990, 991));
        assert_eq!(User::among("990", PASSWD), user(990, 991));
        assert_eq!(User::among("65534", PASSWD), user(65534, 65534));
        assert_eq!(User::among("65534:100", PASSWD), user(65534, 100));
        for wrong in ["root", "0", "5:0", "nobody-here", "", "1:x"] {
            assert!(User::among(wrong, PASSWD).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_is_said_before_anything_is_done() {
        let default = TunOptions::default();
        assert!(default.check().is_ok());
        for wrong in [
            TunOptions { name: "far-too-long-name".into(), ..default.clone() },
            TunOptions { name: "../x".into(), ..default.clone() },
            TunOptions { name: String::new(), ..default.clone() },
            TunOptions { netns: Some("a/b".into()), ..default.clone() },
            TunOptions { mtu: Some(500), ..default.clone() },
            TunOptions { mss: Some(10), ..default.clone() },
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
