//! What the lines read so far amount to.

use std::{borrow::Cow, collections::BTreeSet, net::IpAddr, time::Duration};

use adit_tunnel::{Secret, Transport};
use bytes::Bytes;
use pki_types::CertificateDer;

use super::outcome::Refusal;
use crate::{
    algorithms::{Cipher, Digest},
    config::{ControlWrap, Family, KeyDirection, Mssfix, Remote, ServerCheck, Settings},
    keys::StaticKey,
};

/// Why a line is refused and what to do.
pub(super) type Trouble = Cow<'static, str>;

/// Everything but what can differ between `<connection>` blocks.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) settings: Settings,
    pub(super) server: ServerCheck,
    /// `client` or `tls-client` was said.
    pub(super) tls: bool,
    /// `client` or `pull` was said.
    pub(super) pull: bool,
    pub(super) blocks: Vec<Connection>,
    pub(super) proto_force: Option<Transport>,
    pub(super) cipher: Option<Cipher>,
    pub(super) data_ciphers: Option<Vec<Cipher>>,
    pub(super) data_ciphers_fallback: Option<Cipher>,
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) extra_certificates: Vec<CertificateDer<'static>>,
    /// PEM, perhaps encrypted.
    pub(super) key: Option<Secret>,
    pub(super) pkcs12: Option<Secret>,
    pub(super) login: Option<Login>,
    pub(super) key_passphrase: Option<Secret>,
    /// `setenv FORWARD_COMPATIBLE 1`: unknown directives are ignored from here on.
    pub(super) forward_compatible: bool,
    /// `ignore-unknown-option`.
    pub(super) ignorable: BTreeSet<String>,
}

/// `auth-user-pass`, as far as it is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Login {
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
}

/// What a `<connection>` block can say for itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Connection {
    pub(super) remotes: Vec<RemoteLine>,
    pub(super) proto: Proto,
    pub(super) port: u16,
    pub(super) local: Option<IpAddr>,
    pub(super) local_port: Option<u16>,
    pub(super) nobind: bool,
    pub(super) connect_timeout: Duration,
    pub(super) explicit_exit_notify: Option<u32>,
    pub(super) tun_mtu: u16,
    pub(super) mssfix: Mssfix,
    pub(super) max_packet_size: u16,
    pub(super) wrap: Option<Wrap>,
    pub(super) key_direction: Option<KeyDirection>,
}

/// `remote HOST [PORT [PROTO]]`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RemoteLine {
    pub(super) host: String,
    pub(super) port: Option<u16>,
    pub(super) proto: Option<Proto>,
}

/// What `proto` says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Proto {
    pub(super) transport: Transport,
    pub(super) family: Option<Family>,
}

/// A control wrap before digest and direction are known.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Wrap {
    TlsAuth(StaticKey),
    TlsCrypt(StaticKey),
    TlsCryptV2(StaticKey, Bytes),
}

impl Draft {
    pub(super) fn new() -> Self {
        Self {
            settings: Settings::default(),
            server: ServerCheck::default(),
            tls: false,
            pull: false,
            blocks: Vec::new(),
            proto_force: None,
            cipher: None,
            data_ciphers: None,
            data_ciphers_fallback: None,
            certificates: Vec::new(),
            extra_certificates: Vec::new(),
            key: None,
            pkcs12: None,
            login: None,
            key_passphrase: None,
            forward_compatible: false,
            ignorable: BTreeSet::new(),
        }
    }

    /// Puts everything together that depends on several lines. `global` is what was said outside of all blocks.
    pub(super) fn finish(&mut self, global: &Connection) -> (Vec<Remote>, Vec<(Refusal, &'static [&'static str])>) {
        self.settings.pull = self.pull;
        self.finish_ciphers();
        let auth = self.settings.auth;
        self.settings.control_wrap = global.control_wrap(auth);
        self.settings.connect_timeout = global.connect_timeout;
        self.settings.explicit_exit_notify = global.explicit_exit_notify;
        self.settings.tun_mtu = global.tun_mtu;
        self.settings.tun_mtu_max = self.settings.tun_mtu_max.max(global.tun_mtu);
        self.settings.mssfix = global.mssfix;
        self.settings.max_packet_size = global.max_packet_size;
        if !global.nobind {
            self.settings.local_bind = (global.local, global.local_port);
        }
        let remotes = self.remotes(global);
        let missing = self.missing(&remotes, global);
        (remotes, missing)
    }

    /// `cipher` is offered as the least preferred, as OpenVPN before 2.6 did, and stands in where nothing is negotiated.
    fn finish_ciphers(&mut self) {
        self.settings.data_ciphers = match &self.data_ciphers {
            Some(list) => list.clone(),
            None => Cipher::DEFAULT.into_iter().chain(self.cipher.filter(|c| !Cipher::DEFAULT.contains(c))).collect(),
        };
        self.settings.data_ciphers_fallback = self.data_ciphers_fallback.or(self.cipher);
    }

    /// With `<connection>` blocks only their gateways count (OpenVPN 2.6 `options.c`).
    fn remotes(&self, global: &Connection) -> Vec<Remote> {
        let auth = self.settings.auth;
        let of_block = |block: &Connection| block.remotes(Some(global), auth);
        let remotes: Vec<Remote> = match &self.blocks[..] {
            [] => global.remotes(None, auth),
            blocks => blocks.iter().flat_map(of_block).collect(),
        };
        let wanted = |remote: &Remote| self.proto_force.is_none_or(|transport| transport == remote.transport);
        remotes.into_iter().filter(wanted).collect()
    }

    /// What is missing, or does not fit together, with the directives that would have been it or say otherwise.
    fn missing(&self, remotes: &[Remote], global: &Connection) -> Vec<(Refusal, &'static [&'static str])> {
        let identity = self.key.is_some() || self.pkcs12.is_some();
        let no_ca = self.server.ca.is_empty() && self.server.fingerprints.is_empty() && self.pkcs12.is_none();
        let checks: [(bool, &'static str, &'static [&'static str]); 8] = [
            (
                !self.tls,
                "neither `client` nor `tls-client` stands in the profile; add `client`",
                &["client", "tls-client"],
            ),
            (
                remotes.len() > super::MAX_REMOTES,
                "there are more than 512 gateways; remove some",
                &["remote", "connection", "proto-force"],
            ),
            (
                remotes.is_empty(),
                "no gateway to connect to; add `remote HOST PORT`",
                &["remote", "connection", "proto-force"],
            ),
            (
                no_ca,
                "nothing to verify the server by; add `ca` or `peer-fingerprint`",
                &["ca", "capath", "peer-fingerprint", "verify-hash", "pkcs12"],
            ),
            (
                !identity && self.login.is_none() && self.certificates.is_empty(),
                "nothing to prove who we are; add `cert` and `key`, `pkcs12` or `auth-user-pass`",
                PROOFS,
            ),
            (self.key.is_some() && self.certificates.is_empty(), "`key` needs `cert` beside it", &["cert", "key"]),
            (self.key.is_none() && !self.certificates.is_empty(), "`cert` needs `key` beside it", &["cert", "key"]),
            (
                global.nobind && (global.local.is_some() || global.local_port.is_some()),
                "`nobind` contradicts `local` and `lport`; remove one of them",
                &["local", "lport", "nobind", "port"],
            ),
        ];
        let refusal = |reason| Refusal { line: None, directive: String::new(), reason: Cow::Borrowed(reason) };
        let wrong = checks.into_iter().filter(|(wrong, ..)| *wrong);
        wrong.map(|(_, reason, directives)| (refusal(reason), directives)).collect()
    }
}

/// Directives that say how we prove who we are.
const PROOFS: &[&str] = &[
    "cert",
    "key",
    "pkcs12",
    "auth-user-pass",
    "pkcs11-id",
    "pkcs11-id-management",
    "pkcs11-providers",
    "cryptoapicert",
    "management-external-cert",
    "management-external-key",
    "secret",
];

impl Connection {
    pub(super) fn new() -> Self {
        let settings = Settings::default();
        Self {
            remotes: Vec::new(),
            proto: Proto { transport: Transport::Udp, family: None },
            port: 1194,
            local: None,
            local_port: None,
            nobind: false,
            connect_timeout: settings.connect_timeout,
            explicit_exit_notify: settings.explicit_exit_notify,
            tun_mtu: settings.tun_mtu,
            mssfix: settings.mssfix,
            max_packet_size: settings.max_packet_size,
            wrap: None,
            key_direction: None,
        }
    }

    /// What a block starts from: all that was said before it, except for the gateways. A wrap is its own, or else the one
    /// of the profile wherever that stands (OpenVPN 2.6 `options.c`).
    pub(super) fn for_block(&self) -> Self {
        Self { remotes: Vec::new(), wrap: None, key_direction: None, ..self.clone() }
    }

    /// The gateways. Where they differ from `global`, they say so for themselves.
    fn remotes(&self, global: Option<&Self>, auth: Digest) -> Vec<Remote> {
        let differs = |differs: fn(&Self, &Self) -> bool| global.is_some_and(|global| differs(self, global));
        let wrap = global.filter(|_| self.wrap.is_some()).map(|global| {
            let key_direction = self.key_direction.or(global.key_direction);
            Self { key_direction, ..self.clone() }.control_wrap(auth)
        });
        let remote = |line: &RemoteLine| {
            let proto = line.proto.unwrap_or(self.proto);
            Remote {
                family: proto.family,
                control_wrap: wrap.clone(),
                explicit_exit_notify: self
                    .explicit_exit_notify
                    .filter(|_| differs(|a, b| a.explicit_exit_notify != b.explicit_exit_notify)),
                connect_timeout: differs(|a, b| a.connect_timeout != b.connect_timeout).then_some(self.connect_timeout),
                tun_mtu: differs(|a, b| a.tun_mtu != b.tun_mtu).then_some(self.tun_mtu),
                mssfix: differs(|a, b| a.mssfix != b.mssfix).then_some(self.mssfix),
                ..Remote::new(line.host.clone(), line.port.unwrap_or(self.port), proto.transport)
            }
        };
        self.remotes.iter().map(remote).collect()
    }

    fn control_wrap(&self, digest: Digest) -> ControlWrap {
        match self.wrap.clone() {
            None => ControlWrap::None,
            Some(Wrap::TlsAuth(key)) => {
                let direction = self.key_direction.unwrap_or(KeyDirection::Bidirectional);
                ControlWrap::TlsAuth { key, direction, digest }
            }
            Some(Wrap::TlsCrypt(key)) => ControlWrap::TlsCrypt(key),
            Some(Wrap::TlsCryptV2(key, wrapped)) => ControlWrap::TlsCryptV2 { key, wrapped },
        }
    }
}
