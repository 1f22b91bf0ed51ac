//! What can be chosen about the device and the system around it.

use std::path::PathBuf;

use adit_tunnel::IpNet;

/// TUN mode of one connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TunOptions {
    /// Name of the device; the system chooses one unless given.
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
    /// Where what has to be undone is written down; `/run/adit` unless given.
    pub(crate) state_dir: Option<PathBuf>,
}

/// What goes into the tunnel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Routing {
    /// The networks the gateway names.
    #[default]
    Pushed,
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
