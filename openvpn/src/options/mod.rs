//! Options a server pushes, and those lines of a profile that mean the same.
//!
//! What a server may say follows OpenVPN 2.6 (`options.c`, permission classes of pulled options); everything else is noted
//! and ignored. An option that is known but malformed is noted and ignored as well, as OpenVPN does, unless ignoring it would
//! change the wire format or take an address for another: then it ends the session.

mod dns;
mod network;
mod note;
pub(crate) mod parse;

use std::{net::IpAddr, time::Duration};

use adit_tunnel::{NetworkConfig, Secret};

pub(crate) use self::note::{NoteReason, OptionError, OptionNote};
use self::{network::Network, parse::Malformed};
use crate::{
    algorithms::Cipher,
    config::{Framing, PullAction, Settings},
    profile::lexer,
};

/// Everything a server may push, typed. Made anew for each connection, so that nothing pushed survives it.
#[derive(Debug, Clone, Default)]
pub(crate) struct PulledOptions {
    /// The cipher of the data channel. Whether we offered it is for the caller to check.
    pub(crate) cipher: Option<Cipher>,
    /// Sent in DATA_V2; below 0xffffff, which means "none".
    pub(crate) peer_id: Option<u32>,
    /// Send a ping after so long without sending; the profile's value unless the server pushed one. Never zero.
    pub(crate) ping: Option<Duration>,
    /// Start over after so long without receiving; the profile's value unless the server pushed one. Never zero, and `None`
    /// once `ping_exit` was said later.
    pub(crate) ping_restart: Option<Duration>,
    /// End after so long without receiving; `None` once `ping_restart` was said later. Never zero.
    pub(crate) ping_exit: Option<Duration>,
    /// End after so long with less than so many bytes of traffic; the profile's value unless the server pushed one.
    pub(crate) inactive: Option<(Duration, u64)>,
    /// End this long after the start; the profile's value unless the server pushed one.
    pub(crate) session_timeout: Option<Duration>,
    /// What the server pushed; `None` leaves it to the gateway's and the profile's own value.
    pub(crate) explicit_exit_notify: Option<u32>,
    /// What the server pushed; `None` leaves it to the profile's own value.
    pub(crate) framing: Option<Framing>,
    /// What the server pushed; `None` leaves it to the gateway's and the profile's own value.
    pub(crate) tun_mtu: Option<u16>,
    /// Replaces the password in later key exchanges.
    pub(crate) auth_token: Option<Secret>,
    /// Replaces the user in later key exchanges.
    pub(crate) auth_token_user: Option<String>,
    /// Flags of `protocol-flags`.
    pub(crate) protocol_flags: ProtocolFlags,
    /// `key-derivation tls-ekm`, the older way to say `protocol-flags tls-ekm`.
    pub(crate) key_derivation_tls_ekm: bool,
    network: Network,
}

/// What `protocol-flags` switches on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ProtocolFlags {
    /// Goodbyes are control messages.
    pub(crate) cc_exit: bool,
    /// Renegotiations are wrapped with a key made from the TLS session.
    pub(crate) dyn_tls_crypt: bool,
    /// Data keys come from the TLS exporter.
    pub(crate) tls_ekm: bool,
    /// The data channel has epochs (OpenVPN 2.7).
    pub(crate) aead_epoch: bool,
}

impl PulledOptions {
    /// What the profile itself says: its timers, and its lines that a server could push as well.
    ///
    /// # Errors
    /// [`OptionError`] when one of those lines makes no sense; a profile that was parsed has none.
    pub(crate) fn from_local(settings: &Settings) -> Result<Self, OptionError> {
        let mut options = Self {
            ping: settings.ping.filter(|d| !d.is_zero()),
            ping_restart: settings.ping_restart.filter(|d| !d.is_zero()),
            ping_exit: settings.ping_exit.filter(|d| !d.is_zero()),
            inactive: settings.inactive,
            session_timeout: settings.session_timeout,
            ..Self::default()
        };
        for line in &settings.local_options {
            options.apply_local(line)?;
        }
        Ok(options)
    }

    /// Applies one line of the profile; nothing is filtered and nothing malformed is forgiven.
    pub(crate) fn apply_local(&mut self, line: &str) -> Result<Option<NoteReason>, OptionError> {
        let words = lexer::words(line, MAX_WORD_BYTES).map_err(|e| malformed(line, e.to_string().into()))?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let Some((&name, arguments)) = words.split_first() else { return Ok(None) };
        match self.network.apply(name, arguments) {
            Some(Ok(note)) => Ok(note),
            Some(Err(reason)) => Err(malformed(line, reason)),
            None => Err(malformed(line, "it cannot stand here".into())),
        }
    }

    /// Applies the options of one or more PUSH_REPLYs, split at their commas. The notes say what was not used.
    ///
    /// # Errors
    /// [`OptionError::Rejected`] when a `pull-filter reject` matches, else what ends the session as said above.
    pub(crate) fn apply(&mut self, options: &[String], settings: &Settings) -> Result<Vec<OptionNote>, OptionError> {
        if options.len() > MAX_OPTIONS {
            return Err(OptionError::TooManyOptions { limit: MAX_OPTIONS });
        }
        let mut notes = Vec::new();
        for line in options {
            if let Some(reason) = self.apply_pushed(line.trim_start(), settings)? {
                notes.push(OptionNote::new(line, reason));
            }
        }
        self.network.check()?;
        Ok(notes)
    }

    /// The network behind the server. `server` is its outer address (`remote_host` in routes), `mtu` the largest inner
    /// packet, `tcp_mtu` the largest inner TCP packet after `mssfix`.
    pub(crate) fn network_config(&self, server: IpAddr, mtu: u16, tcp_mtu: u16) -> NetworkConfig {
        let mut config = self.network.config(server);
        (config.mtu, config.tcp_mtu) = (mtu, tcp_mtu.min(mtu));
        config
    }

    /// Whether data keys come from the TLS exporter, whichever way the server said it.
    pub(crate) fn tls_ekm(&self) -> bool {
        self.key_derivation_tls_ekm || self.protocol_flags.tls_ekm
    }

    fn apply_pushed(&mut self, line: &str, settings: &Settings) -> Result<Option<NoteReason>, OptionError> {
        let filter = settings.pull_filters.iter().find(|filter| line.starts_with(&filter.prefix));
        match filter.map(|filter| filter.action) {
            Some(PullAction::Ignore) => return Ok(Some(NoteReason::Filtered)),
            Some(PullAction::Reject) => return Err(OptionError::Rejected { option: note::printable(line) }),
            Some(PullAction::Accept) | None => {}
        }
        let words = match lexer::words(line, MAX_WORD_BYTES) {
            Ok(words) => words,
            Err(error) => return malformed_or_note(line, error.to_string().into()),
        };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let Some((&name, arguments)) = words.split_first() else { return Ok(None) };
        if settings.route_nopull && is_route_or_dns(name) {
            return Ok(Some(NoteReason::RouteNopull));
        }
        match self.apply_known(name, arguments, settings) {
            Ok(reason) => Ok(reason),
            Err(reason) => malformed_or_note(line, reason),
        }
    }

    fn apply_known(
        &mut self,
        name: &str,
        arguments: &[&str],
        settings: &Settings,
    ) -> Result<Option<NoteReason>, Malformed> {
        if LOCAL_ONLY.contains(&name) {
            return Ok(Some(NoteReason::NotPushable));
        }
        if let Some(result) = self.network.apply(name, arguments) {
            return result;
        }
        match name {
            "cipher" => self.cipher = Some(parse::cipher(parse::one(arguments)?)?),
            "peer-id" => self.peer_id = Some(parse::number(parse::one(arguments)?, 0..=MAX_PEER_ID)?),
            "protocol-flags" => self.protocol_flags.apply(arguments)?,
            "key-derivation" => self.key_derivation_tls_ekm = parse::key_derivation(parse::one(arguments)?)?,
            "compress" | "comp-lzo" => self.framing = Some(parse::framing(name, arguments)?),
            "tun-mtu" => self.tun_mtu = Some(parse::tun_mtu(arguments, settings.tun_mtu_max)?),
            "ping" => self.ping = parse::seconds(parse::one(arguments)?)?,
            "ping-restart" => (self.ping_restart, self.ping_exit) = (parse::seconds(parse::one(arguments)?)?, None),
            "ping-exit" => (self.ping_exit, self.ping_restart) = (parse::seconds(parse::one(arguments)?)?, None),
            "inactive" => self.inactive = parse::inactive(arguments)?,
            "session-timeout" => self.session_timeout = parse::seconds(parse::one(arguments)?)?,
            "explicit-exit-notify" => self.explicit_exit_notify = Some(parse::exit_notify(arguments)?),
            // Zero leaves the buffers as they are.
            "sndbuf" | "rcvbuf" if arguments == ["0"] => {}
            "auth-token" => self.auth_token = Some(Secret::from(parse::one(arguments)?)),
            "auth-token-user" => self.auth_token_user = Some(parse::base64_text(parse::one(arguments)?)?),
            name if HARMLESS.contains(&name) => {}
            name if UNUSED.contains(&name) => return Ok(Some(NoteReason::Unsupported("it changes nothing here"))),
            name if crate::profile::is_directive(name) => return Ok(Some(NoteReason::NotPushable)),
            _ => return Ok(Some(NoteReason::Unknown)),
        }
        Ok(None)
    }
}

impl ProtocolFlags {
    fn apply(&mut self, flags: &[&str]) -> Result<(), Malformed> {
        for flag in flags {
            match *flag {
                "cc-exit" => self.cc_exit = true,
                "dyn-tls-crypt" => self.dyn_tls_crypt = true,
                "tls-ekm" => self.tls_ekm = true,
                "aead-epoch" => self.aead_epoch = true,
                _ => return Err("a flag is unknown".into()),
            }
        }
        Ok(())
    }
}

/// Ignoring these would let us speak another wire format than the server, or leave us without an address.
fn malformed_or_note(line: &str, reason: Malformed) -> Result<Option<NoteReason>, OptionError> {
    let name = line.split_ascii_whitespace().next().unwrap_or_default();
    if DECISIVE.contains(&name) { Err(malformed(line, reason)) } else { Ok(Some(NoteReason::Malformed(reason))) }
}

fn malformed(line: &str, reason: Malformed) -> OptionError {
    OptionError::Malformed { option: note::printable(line), reason }
}

fn is_route_or_dns(name: &str) -> bool {
    ROUTE_OR_DNS.contains(&name)
}

/// Most options in one answer. OpenVPN's own servers are limited by 64 KiB of configuration per client; our judgement.
const MAX_OPTIONS: usize = 8192;

/// Longest word of a pushed option in bytes. OpenVPN 2.x allows 255; auth-tokens of other servers are longer.
const MAX_WORD_BYTES: usize = 2048;

/// 0xffffff means "no peer-id" (OpenVPN 2.6 `MAX_PEER_ID`).
const MAX_PEER_ID: u32 = 0xff_fffe;

const DECISIVE: [&str; 9] = [
    "cipher",
    "peer-id",
    "protocol-flags",
    "key-derivation",
    "compress",
    "comp-lzo",
    "tun-mtu",
    "ifconfig",
    "topology",
];

/// Left out under `route-nopull` (OpenVPN 2.6 `OPT_P_ROUTE`, `OPT_P_DHCPDNS`).
const ROUTE_OR_DNS: [&str; 15] = [
    "route",
    "route-ipv6",
    "route-metric",
    "redirect-gateway",
    "redirect-private",
    "block-ipv6",
    "client-nat",
    "dhcp-option",
    "dhcp-renew",
    "dhcp-release",
    "dhcp-pre-release",
    "dns",
    "block-outside-dns",
    "register-dns",
    "ip-win32",
];

/// The network options that only a profile may hold.
const LOCAL_ONLY: [&str; 1] = ["route-ipv6-gateway"];

/// Pushable, and without any effect that somebody could miss here: they are about scripts, logs, Windows, or files.
const HARMLESS: [&str; 22] = [
    "push-continuation",
    "echo",
    "parameter",
    "verb",
    "mute",
    "persist-tun",
    "persist-key",
    "persist-local-ip",
    "persist-remote-ip",
    "ping-timer-rem",
    "register-dns",
    "dhcp-renew",
    "dhcp-release",
    "dhcp-pre-release",
    "ip-win32",
    "tap-sleep",
    "route-delay",
    "route-method",
    "ifconfig-noexec",
    "ifconfig-nowarn",
    "setenv-safe",
    "socket-flags",
];

/// Pushable, and without effect here although somebody might expect one. The outer socket is the driver's, and made before
/// anything is pushed.
const UNUSED: [&str; 4] = ["client-nat", "lladdr", "sndbuf", "rcvbuf"];

#[cfg(test)]
mod tests;
