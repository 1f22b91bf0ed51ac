//! What a client tells about itself: peer-info lines, IV_PROTO, the options string.

use crate::{
    algorithms::Cipher,
    server::config::ServerSettings,
    session::peer_info::{cipher_of_options, iv_proto},
};

/// A client's abilities, from its first key message.
#[derive(Debug, Clone, Default)]
pub(super) struct Abilities {
    proto: u32,
    /// What it can negotiate; `None` from clients that cannot (before OpenVPN 2.4).
    ciphers: Option<Vec<Cipher>>,
    /// The cipher of its options string.
    configured: Option<Cipher>,
    /// IV_MTU: the largest inner packet that may be pushed.
    pub(super) mtu: Option<u16>,
    /// IV_SSO: what can be shown to a person.
    shows: Vec<String>,
}

impl Abilities {
    pub(super) fn new(peer_info: &str, options: &str) -> Self {
        let value = |name: &str| {
            let mut lines = peer_info.lines().filter_map(|line| line.split_once('='));
            lines.find(|(key, _)| *key == name).map(|(_, value)| value.trim())
        };
        let list = value("IV_CIPHERS").map(|names| names.split(':').filter_map(Cipher::from_name).collect());
        // OpenVPN 2.4 says IV_NCP=2 alone and means these two.
        let ncp = value("IV_NCP").and_then(|level| level.parse().ok()).is_some_and(|level: u32| level >= 2);
        let both = || ncp.then(|| vec![Cipher::Aes256Gcm, Cipher::Aes128Gcm]);
        Self {
            proto: value("IV_PROTO").and_then(|bits| bits.parse().ok()).unwrap_or_default(),
            ciphers: list.or_else(both),
            configured: cipher_of_options(options),
            mtu: value("IV_MTU").and_then(|mtu| mtu.parse().ok()),
            shows: value("IV_SSO").map(|list| list.split(',').map(str::to_owned).collect()).unwrap_or_default(),
        }
    }

    /// Whether IV_PROTO has this bit.
    pub(super) const fn announces(&self, bit: u32) -> bool {
        self.proto & bit != 0
    }

    /// Clients that negotiate are told the cipher; others would not understand (OpenVPN 2.6 `push.c`).
    pub(super) const fn negotiates_ciphers(&self) -> bool {
        self.ciphers.is_some()
    }

    /// The first of ours that the client has; with a client that cannot negotiate, its own if we allow it, else the
    /// fallback (OpenVPN 2.6 `ssl_ncp.c`).
    pub(super) fn choose_cipher(&self, settings: &ServerSettings) -> Option<Cipher> {
        let ours = &settings.data_ciphers;
        match &self.ciphers {
            Some(theirs) => ours.iter().find(|cipher| theirs.contains(cipher)).copied(),
            None => self.configured.filter(|cipher| ours.contains(cipher)).or(settings.data_ciphers_fallback),
        }
    }

    /// Whether the client can show this text, written as after `INFO_PRE,`.
    pub(super) fn can_show(&self, info: &str) -> bool {
        let kind = match info.split_once(':') {
            Some(("OPEN_URL", _)) => "openurl",
            Some(("WEB_AUTH", _)) => "webauth",
            Some(("CR_TEXT", _)) => "crtext",
            Some(_) | None => return self.announces(iv_proto::AUTH_PENDING),
        };
        self.shows.iter().any(|shown| shown == kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(peer_info: &str, options: &str, change: impl FnOnce(&mut ServerSettings)) -> Option<Cipher> {
        let mut settings = ServerSettings::default();
        change(&mut settings);
        Abilities::new(peer_info, options).choose_cipher(&settings)
    }

    #[test]
    fn our_order_decides_among_the_clients_ciphers() {
        let both = "IV_CIPHERS=AES-128-GCM:AES-256-GCM\n";
        assert_eq!(choice(both, "", |_| {}), Some(Cipher::Aes256Gcm));
        assert_eq!(
            choice(both, "", |settings| settings.data_ciphers = vec![Cipher::Aes128Gcm, Cipher::Aes256Gcm]),
            Some(Cipher::Aes128Gcm)
        );
        assert_eq!(choice("IV_CIPHERS=BF-CBC:AES-256-CBC\n", "V4,cipher AES-256-GCM", |_| {}), None);
        assert_eq!(
            choice("IV_CIPHERS=\n", "", |settings| settings.data_ciphers_fallback = Some(Cipher::Aes256Cbc)),
            None
        );
    }

    #[test]
    fn clients_of_2_4_have_two_ciphers_and_older_ones_what_they_are_configured_with() {
        assert_eq!(choice("IV_VER=2.4.9\nIV_NCP=2\n", "", |_| {}), Some(Cipher::Aes256Gcm));
        assert_eq!(choice("", "V4,cipher AES-128-GCM", |_| {}), Some(Cipher::Aes128Gcm));
        assert_eq!(choice("", "V4,cipher AES-256-CBC", |_| {}), None);
        let fallback = |settings: &mut ServerSettings| settings.data_ciphers_fallback = Some(Cipher::Aes256Cbc);
        assert_eq!(choice("", "V4,cipher BF-CBC", fallback), Some(Cipher::Aes256Cbc));
    }

    #[test]
    fn nonsense_is_no_ability() {
        let abilities = Abilities::new("IV_PROTO=x\nIV_MTU=99999\n=\nIV_NCP\n", "cipher");
        assert!(!abilities.announces(u32::MAX) && !abilities.negotiates_ciphers() && abilities.mtu.is_none());
        assert!(!abilities.can_show("OPEN_URL:https://example") && !abilities.can_show("wait"));
        assert!(Abilities::new("IV_SSO=webauth,openurl\n", "").can_show("OPEN_URL:https://example"));
    }
}
