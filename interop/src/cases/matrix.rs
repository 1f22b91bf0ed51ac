//! Every control wrap with every transport, key derivation and kind of cipher, each proven by both sides' logs.

use anyhow::{Result, ensure};

use super::Case;
use crate::{
    client::ClientConfig,
    config::{self, Lines, Transport},
    rig::{Rig, Session},
};

/// IV_PROTO's bit for the TLS exporter; a client that does not announce it gets keys by the PRF.
pub(crate) const IV_PROTO_TLS_KEY_EXPORT: u32 = 1 << 3;

/// How control packets are wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrap {
    None,
    TlsAuth,
    TlsCrypt,
    TlsCryptV2,
}

impl Wrap {
    pub(super) const ALL: [Self; 4] = [Self::None, Self::TlsAuth, Self::TlsCrypt, Self::TlsCryptV2];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::TlsAuth => "tls_auth",
            Self::TlsCrypt => "tls_crypt",
            Self::TlsCryptV2 => "tls_crypt_v2",
        }
    }

    /// As the client's log names it.
    pub(super) fn logged(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::TlsAuth => "tls-auth",
            Self::TlsCrypt => "tls-crypt",
            Self::TlsCryptV2 => "tls-crypt-v2",
        }
    }

    pub(crate) fn server(self, rig: &Rig, lines: Lines) -> Lines {
        let path = |name| rig.pki.path(name).display().to_string();
        match self {
            Self::None => lines,
            Self::TlsAuth => lines.with(&format!("tls-auth {} 0", path("ta.key"))),
            Self::TlsCrypt => lines.with(&format!("tls-crypt {}", path("ta.key"))),
            Self::TlsCryptV2 => lines.with(&format!("tls-crypt-v2 {} force-cookie", path("v2-server.key"))),
        }
    }

    pub(crate) fn profile(self, rig: &Rig, lines: Lines) -> Result<Lines> {
        match self {
            Self::None => Ok(lines),
            Self::TlsAuth => Ok(lines.with("key-direction 1").inline("tls-auth", &rig.pki, "ta.key")?),
            Self::TlsCrypt => lines.inline("tls-crypt", &rig.pki, "ta.key"),
            Self::TlsCryptV2 => lines.inline("tls-crypt-v2", &rig.pki, "v2-client.key"),
        }
    }

    /// What the server's log says about the wrap: one text that must be there, or that none of these is.
    fn check_server(self, session: &Session<'_>) -> Result<()> {
        let (auth, crypt) = ("Incoming Control Channel Authentication", "Incoming Control Channel Encryption");
        match self {
            Self::None => {
                session.server.expect_none(auth)?;
                session.server.expect_none(crypt)
            }
            Self::TlsAuth => {
                session.server.expect(auth)?;
                session.server.expect_none(crypt)
            }
            Self::TlsCrypt => session.server.expect(crypt),
            Self::TlsCryptV2 => session.server.expect("tls-crypt-v2 server key"),
        }
    }

    /// With a forced cookie, a server keeps nothing of the first packet: the client must send its wrapped key again. TCP
    /// has no such cookie, for a connection has proved its address.
    fn check_cookie(self, transport: Transport, session: &Session<'_>) -> Result<()> {
        const RESENT: &str = "P_CONTROL_WKC_V1";
        if self == Self::TlsCryptV2 && transport == Transport::Udp {
            session.server.expect(RESENT)
        } else {
            session.server.expect_none(RESENT)
        }
    }
}

const CIPHERS: [(&str, &str); 3] = [("gcm", "AES-256-GCM"), ("chacha", "CHACHA20-POLY1305"), ("cbc", "AES-256-CBC")];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for wrap in Wrap::ALL {
        for transport in Transport::ALL {
            for derivation in ["exporter", "prf"] {
                for (short, cipher) in CIPHERS {
                    let name = format!("matrix_{}_{}_{derivation}_{short}", wrap.name(), transport.name());
                    let cell = Cell { wrap, transport, exporter: derivation == "exporter", cipher };
                    cases.push(Case::new(name, move |rig| cell.run(rig)));
                }
            }
        }
    }
    cases
}

struct Cell {
    wrap: Wrap,
    transport: Transport,
    exporter: bool,
    cipher: &'static str,
}

impl Cell {
    fn run(&self, rig: &Rig) -> Result<()> {
        let ciphers = format!("data-ciphers {}", self.cipher);
        // Verbosity 6 names the opcode of each packet.
        let server = config::server(&rig.pki, self.transport).replace(&ciphers).replace("verb 6").with("auth SHA256");
        let server = self.wrap.server(rig, server);
        let profile = config::profile(&rig.pki, self.transport)?.replace(&ciphers).with("auth SHA256");
        let mut client = ClientConfig::new(self.wrap.profile(rig, profile)?);
        if !self.exporter {
            client.withhold_iv_proto = IV_PROTO_TLS_KEY_EXPORT;
        }
        let session = Session::open(rig, &server, &client)?;
        session.exchange()?;
        self.check_client(&session)?;
        self.check_server(&session)?;
        session.close()
    }

    fn check_client(&self, session: &Session<'_>) -> Result<()> {
        let derivation = if self.exporter { "exporter" } else { "prf" };
        session.client.expect_event("control channel up", &[("tls", "TLSv1.3"), ("wrap", self.wrap.logged())])?;
        session.client.expect_event(
            "data keys installed",
            &[
                ("key_id", "0"),
                ("cipher", self.cipher),
                ("derivation", derivation),
                ("data", "v2"),
                ("framing", "none"),
            ],
        )
    }

    fn check_server(&self, session: &Session<'_>) -> Result<()> {
        self.wrap.check_server(session)?;
        self.wrap.check_cookie(self.transport, session)?;
        session.server.expect("Control Channel: TLSv1.3")?;
        for direction in ["Outgoing", "Incoming"] {
            session.server.expect(&format!("{direction} Data Channel: Cipher '{}'", self.cipher))?;
        }
        let pushed = session.server.pushed()?;
        ensure!(pushed.contains(&format!("cipher {}", self.cipher)), "pushed another cipher: {pushed}");
        ensure!(pushed.contains("tls-ekm") == self.exporter, "derivation is not the one asked for: {pushed}");
        ensure!(pushed.contains("peer-id"), "no peer-id, so no DATA_V2: {pushed}");
        session.server.expect("P_DATA_V2")?;
        session.server.expect_none("P_DATA_V1")
    }
}
