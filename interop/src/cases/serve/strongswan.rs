//! Debian's strongSwan as a client of ours: each way to prove itself.

use anyhow::Result;

use super::{Case, Table, passes};
use crate::{
    gateway::{Stranger, WayOut},
    ike::{
        charon::CharonConfig,
        setup::{PASSWORD, PSK, Setup},
    },
    needs::Need,
    net::Place,
    rig::Rig,
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for out in WayOut::ALL {
        for way in Way::ALL {
            let name = format!("serve_strongswan_{}_{}", way.name(), out.name());
            cases.push(case(&name, move |rig| way.passes(rig, out)));
        }
    }
    cases.push(case("serve_strongswan_wrong_psk", wrong_psk));
    cases.push(case("serve_strongswan_wrong_password", wrong_password));
    cases.push(case("serve_strongswan_fragments", fragments));
    cases.push(case("serve_strongswan_invalid_ke", invalid_ke));
    cases.push(case("serve_strongswan_cookie", cookie));
    cases.push(case("serve_strongswan_cbc", cbc));
    cases.push(case("serve_strongswan_from_port_500", from_port_500));
    cases
}

pub(super) fn case(name: &str, run: impl Fn(&Rig) -> Result<()> + Send + Sync + 'static) -> Case {
    Case::new(name, run).needs(Need::StrongSwan)
}

/// How the client proves itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Psk,
    Certificate,
    MsChapV2,
    Tls,
    Ttls,
    Md5,
}

impl Way {
    const ALL: [Self; 6] = [Self::Psk, Self::Certificate, Self::MsChapV2, Self::Tls, Self::Ttls, Self::Md5];

    const fn name(self) -> &'static str {
        match self {
            Self::Psk => "psk",
            Self::Certificate => "certificate",
            Self::MsChapV2 => "eap_mschapv2",
            Self::Tls => "eap_tls",
            Self::Ttls => "eap_ttls",
            Self::Md5 => "eap_md5",
        }
    }

    fn passes(self, rig: &Rig, out: WayOut) -> Result<()> {
        passes(rig, &self.table(), out, || Stranger::strongswan(rig, Place::Client, &self.client()))
    }

    /// The gateway that lets such clients in.
    pub(super) fn table(self) -> Table {
        let table = Table::new(
            "protocol = \"ikev2\"\nlisten = [\"203.0.113.1:4500\"]\nidentity = \"vpn.example.org\"\n\
             pool = [\"10.99.0.0/24\"]\nroutes = [\"192.168.100.0/24\"]\ndns = [\"192.168.100.30\"]",
        );
        const CERTIFICATE: &str = "certificate = \"@PKI/ike/server.crt\"\nkey = \"@PKI/ike/server.key\"";
        const USERS: &str = "users.alice = { password = { file = \"alice.txt\" } }";
        match self {
            Self::Psk => {
                let key = "psk = [{ key = { file = \"psk.txt\" }, identity = \"client@example.org\" }]";
                table.with(key).secret("psk.txt", PSK)
            }
            Self::Certificate => table.with(CERTIFICATE).with("client_ca = [\"@PKI/ike/ca.crt\"]"),
            Self::MsChapV2 => {
                table.with(CERTIFICATE).with("eap = [\"mschapv2\"]").with(USERS).secret("alice.txt", PASSWORD)
            }
            Self::Tls => table.with(CERTIFICATE).with("eap = [\"tls\"]\nclient_ca = [\"@PKI/ike/ca.crt\"]"),
            Self::Ttls => table
                .with(CERTIFICATE)
                .with("eap = [\"ttls\"]\nttls_inner = [\"eap-md5\"]")
                .with(USERS)
                .secret("alice.txt", PASSWORD),
            Self::Md5 => table.with(CERTIFICATE).with("eap = [\"md5\"]").with(USERS).secret("alice.txt", PASSWORD),
        }
    }

    /// strongSwan's own client. From and to ports other than 500 it speaks with the marker from the start.
    pub(super) fn client(self) -> CharonConfig {
        let setup = match self {
            Self::Psk => Setup::psk(),
            Self::Certificate => Setup::certificates("server", "client"),
            Self::MsChapV2 => Setup::eap("eap-mschapv2"),
            Self::Tls => Setup::eap("eap-tls").client(|client| {
                client.reference(|charon| {
                    charon
                        .certificate("client")
                        .conn("local.auth", "eap-tls")
                        .conn("local.eap_id", "client.example.org")
                })
            }),
            Self::Ttls => Setup::eap("eap-ttls"),
            Self::Md5 => Setup::eap("eap-md5"),
        };
        setup.client.reference.conn("remote_port", "4500").conn("local_port", "4500")
    }
}

fn wrong_psk(rig: &Rig) -> Result<()> {
    let client = Way::Psk.client().secret("ike.secret", "another key");
    refused(rig, Way::Psk, &client)
}

fn wrong_password(rig: &Rig) -> Result<()> {
    let client = Way::MsChapV2.client().secret("eap-alice.secret", "another password");
    refused(rig, Way::MsChapV2, &client)
}

fn refused(rig: &Rig, way: Way, client: &CharonConfig) -> Result<()> {
    let gateway = way.table().start(rig, WayOut::Sockets)?;
    let result = Stranger::strongswan(rig, Place::Client, client);
    anyhow::ensure!(result.is_err(), "strongSwan came in with a wrong secret");
    gateway.wait("did not come in")?;
    gateway.close()
}

/// Both ends cut messages into pieces (RFC 7383): a certificate does not fit.
fn fragments(rig: &Rig) -> Result<()> {
    let table = Way::Certificate.table().with("fragment_size = 576");
    let client = Way::Certificate.client().daemon("fragment_size", "576").conn("fragmentation", "force");
    passes(rig, &table, WayOut::Sockets, || {
        let client = Stranger::strongswan(rig, Place::Client, &client)?;
        super::openvpn::expect(&client, "splitting IKE message")?;
        super::openvpn::expect(&client, "reassembled fragmented IKE message")?;
        Ok(client)
    })
}

/// The client's first key exchange is of a group that we do not have.
fn invalid_ke(rig: &Rig) -> Result<()> {
    let table = Way::Psk.table().with("ike_proposals = \"aes256-sha256-ecp384\"");
    let client = Way::Psk.client().conn("proposals", "aes256-sha256-x25519-ecp384");
    passes(rig, &table, WayOut::Sockets, || {
        let client = Stranger::strongswan(rig, Place::Client, &client)?;
        super::openvpn::expect(&client, "N(INVAL_KE)")?;
        Ok(client)
    })
}

/// With a threshold of nothing, every client has to return a cookie first.
fn cookie(rig: &Rig) -> Result<()> {
    let table = Way::Psk.table().with("cookie_threshold = 0");
    passes(rig, &table, WayOut::Sockets, || {
        let client = Stranger::strongswan(rig, Place::Client, &Way::Psk.client())?;
        super::openvpn::expect(&client, "N(COOKIE)")?;
        Ok(client)
    })
}

/// From its usual port it leaves the marker out, whatever port it calls, and then floats to 4500 to 4500.
fn from_port_500(rig: &Rig) -> Result<()> {
    let client = Way::MsChapV2.client().without("local_port");
    passes(rig, &Way::MsChapV2.table(), WayOut::Sockets, || Stranger::strongswan(rig, Place::Client, &client))
}

fn cbc(rig: &Rig) -> Result<()> {
    let table = Way::Psk.table().with("ike_proposals = \"aes256-sha256-modp2048\"\nesp_proposals = \"aes256-sha256\"");
    let client = Way::Psk.client().conn("proposals", "aes256-sha256-modp2048").child("esp_proposals", "aes256-sha256");
    passes(rig, &table, WayOut::Sockets, || Stranger::strongswan(rig, Place::Client, &client))
}
