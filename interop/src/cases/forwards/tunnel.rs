//! A tunnel of either protocol, for cases to which it must not matter.

use anyhow::{Result, ensure};

use crate::{
    cases::Case,
    client::{Client, ClientConfig, client_file},
    config::{self, Lines, Transport},
    ike::{
        charon::Charon,
        session::IkeSession,
        setup::{IkeClient, Setup},
    },
    needs::Need,
    net::{Place, TARGET},
    process::Process,
    rig::{Rig, Session},
    server::Server,
};

use super::SOON;

/// Who the gateway is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    OpenVpn,
    StrongSwan,
}

impl Peer {
    pub(super) const ALL: [Self; 2] = [Self::OpenVpn, Self::StrongSwan];

    /// The case of this name with this peer.
    pub(super) fn case(self, name: &str, run: impl Fn(&Rig, Self) -> Result<()> + Send + Sync + 'static) -> Case {
        let run = move |rig: &Rig| run(rig, self);
        match self {
            Self::OpenVpn => Case::new(format!("forward_{name}"), run),
            Self::StrongSwan => Case::new(format!("forward_{name}_ikev2"), run).needs(Need::StrongSwan),
        }
    }

    /// The address inside that the first client gets.
    pub(super) fn inside(self) -> &'static str {
        match self {
            Self::OpenVpn => "10.8.0.2",
            Self::StrongSwan => "10.10.10.1",
        }
    }

    /// Starts the gateway. It tells clients of the name server behind it, and when it leaves.
    fn start(self, rig: &Rig) -> Result<Gateway> {
        Ok(match self {
            Self::OpenVpn => Gateway::OpenVpn(Server::start(rig, &server(rig))?),
            Self::StrongSwan => Gateway::StrongSwan(Charon::start(rig, Place::Gateway, &Setup::psk().gateway)?),
        })
    }

    /// Starts a gateway for a client that is started by the case itself.
    pub(super) fn gateway(self, rig: &Rig) -> Result<Gateway> {
        let gateway = self.start(rig)?;
        rig.prove_unreachable()?;
        Ok(gateway)
    }

    /// Starts a client with further arguments; it is not connected yet.
    pub(super) fn client(self, rig: &Rig, args: &[&str]) -> Result<Client> {
        match self {
            Self::OpenVpn => Client::start(rig, &openvpn(rig, args)?),
            Self::StrongSwan => Client::start_ike(rig, &ikev2(args)),
        }
    }

    /// The arguments of `adit forward` that say where the connection comes from.
    pub(super) fn source(self, rig: &Rig) -> Result<Vec<String>> {
        match self {
            Self::OpenVpn => {
                let profile = config::profile(&rig.pki, Transport::Udp)?.text();
                let profile = client_file(&rig.dir.join("source.ovpn"), &profile)?;
                Ok(vec!["--config".to_owned(), profile.display().to_string()])
            }
            Self::StrongSwan => ikev2(&[]).source(rig, "source"),
        }
    }
}

fn server(rig: &Rig) -> Lines {
    let server = config::server(&rig.pki, Transport::Udp);
    server.with(&format!("push \"dhcp-option DNS {TARGET}\"\nexplicit-exit-notify 1"))
}

fn openvpn(rig: &Rig, args: &[&str]) -> Result<ClientConfig> {
    let mut client = ClientConfig::new(config::profile(&rig.pki, Transport::Udp)?);
    client.args = args.iter().map(|arg| (*arg).to_owned()).collect();
    Ok(client)
}

fn ikev2(args: &[&str]) -> IkeClient {
    let mut client = Setup::psk().client;
    client.args = args.iter().map(|arg| (*arg).to_owned()).collect();
    client
}

/// A gateway that runs.
pub(super) enum Gateway {
    OpenVpn(Server),
    StrongSwan(Charon),
}

/// A gateway, a client with forwards besides the usual ones, and the host behind.
pub(super) enum Tunnel<'a> {
    OpenVpn(Session<'a>),
    StrongSwan(IkeSession<'a>),
}

impl<'a> Tunnel<'a> {
    pub(super) fn open(rig: &'a Rig, peer: Peer, args: &[&str]) -> Result<Self> {
        ensure!(!rig.reference, "this case needs adit");
        Ok(match peer {
            Peer::OpenVpn => Self::OpenVpn(Session::open(rig, &server(rig), &openvpn(rig, args)?)?),
            Peer::StrongSwan => {
                Self::StrongSwan(IkeSession::open(rig, &Setup { client: ikev2(args), ..Setup::psk() })?)
            }
        })
    }

    pub(super) fn client(&self) -> &Client {
        match self {
            Self::OpenVpn(session) => &session.client,
            Self::StrongSwan(session) => &session.client,
        }
    }

    /// The host behind the gateway.
    pub(super) fn lan(&self) -> &Process {
        match self {
            Self::OpenVpn(session) => &session.lan,
            Self::StrongSwan(session) => &session.lan,
        }
    }

    /// Hello, a megabyte down and a quarter up, which the gateway's own counters must show.
    pub(super) fn exchange(&mut self) -> Result<()> {
        match self {
            Self::OpenVpn(session) => session.exchange(),
            Self::StrongSwan(session) => session.exchange(),
        }
    }

    /// The gateway leaves in good order.
    pub(super) fn stop_gateway(&self) -> Result<()> {
        let process = match self {
            Self::OpenVpn(session) => &session.server.process,
            Self::StrongSwan(session) => &session.gateway.process,
        };
        process.signal("TERM")?;
        process.wait_exit(SOON).map(drop)
    }

    /// It is there again.
    pub(super) fn start_gateway(&mut self) -> Result<()> {
        match self {
            Self::OpenVpn(session) => session.server = Server::start(session.rig, &server(session.rig))?,
            Self::StrongSwan(session) => {
                session.gateway = Charon::start(session.rig, Place::Gateway, &Setup::psk().gateway)?;
            }
        }
        Ok(())
    }

    /// The gateway has begun to count anew.
    pub(super) fn recount(&mut self) -> Result<()> {
        match self {
            Self::OpenVpn(session) => session.reconnected(),
            Self::StrongSwan(session) => session.recount(),
        }
    }

    /// Ends the client, which must leave nothing behind.
    pub(super) fn close(self) -> Result<()> {
        match self {
            Self::OpenVpn(session) => session.close(),
            Self::StrongSwan(session) => session.close(),
        }
    }

    /// What is left when the client is gone already.
    pub(super) fn without_client(self) -> (Process, Gateway) {
        match self {
            Self::OpenVpn(session) => (session.lan, Gateway::OpenVpn(session.server)),
            Self::StrongSwan(session) => (session.lan, Gateway::StrongSwan(session.gateway)),
        }
    }
}

impl Gateway {
    /// Its process, which has the log.
    pub(super) fn process(&self) -> &Process {
        match self {
            Self::OpenVpn(server) => &server.process,
            Self::StrongSwan(charon) => &charon.process,
        }
    }
}
