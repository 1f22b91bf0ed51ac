//! A gateway of the demo, for tests of other modules.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::Duration,
};

use adit_driver::{
    gateway::Gateway,
    redundancy::{self, RedundancyOptions},
};
use adit_tunnel::Secret;

pub(crate) use super::lane::Kind;
use super::{
    keys::{GATEWAY, Keys, USER},
    lane::{PAGE, client_config, start_gateway},
};
use crate::{
    forward,
    plan::{ConnectionPlan, ForwardKind, ForwardPlan, GatewayLabel, Listen},
};

/// A gateway on loopback, with a web server behind it.
pub(crate) struct Office {
    kind: Kind,
    keys: Keys,
    pub(crate) gateway: Gateway,
    pub(crate) remote: SocketAddr,
}

impl Office {
    pub(crate) fn open(kind: Kind) -> Self {
        let keys = Keys::make().unwrap();
        let gateway = start_gateway(kind, &keys).unwrap();
        let (_, remote) = gateway.local_addresses()[0];
        Self { kind, keys, gateway, remote }
    }

    /// From now on its user has another password: one that the gateway does not know.
    pub(crate) fn forget_password(&mut self) -> Secret {
        std::mem::replace(&mut self.keys.password, Secret::new("wrong"))
    }

    pub(crate) fn remember_password(&mut self, password: Secret) {
        self.keys.password = password;
    }

    /// The password its user has.
    pub(crate) fn password(&self) -> String {
        String::from_utf8(self.keys.password.expose().to_vec()).unwrap()
    }

    /// A connection of a file, to an IKEv2 gateway whose authority is in `ca.der` there; nothing says the password.
    pub(crate) fn written(&self, name: &str, folder: &Path) -> String {
        std::fs::write(folder.join("ca.der"), self.keys.authority()).unwrap();
        format!(
            "[connection.{name}]\nprotocol = \"ikev2\"\nremotes = [\"{}\"]\nremote_id = \"{GATEWAY}\"\nca = \"ca.der\"\n\
             user = \"{USER}\"\n",
            self.remote
        )
    }

    pub(crate) fn page(&self) -> String {
        super::page::page(match self.kind {
            Kind::Ikev2 => "IKEv2",
            Kind::OpenVpn => "OpenVPN",
        })
    }

    fn member(&self, name: &str, remote: SocketAddr) -> (redundancy::Gateway, GatewayLabel) {
        let protocol = client_config(self.kind, &self.keys, remote).unwrap();
        let label = GatewayLabel {
            name: name.to_owned(),
            protocol: match self.kind {
                Kind::Ikev2 => "ikev2",
                Kind::OpenVpn => "openvpn",
            },
            servers: vec![remote.to_string()],
            subject: String::new(),
        };
        let secret = self.keys.password.expose().iter().map(|byte| u64::from(*byte)).sum::<u64>();
        let fingerprint = secret * 65536 + u64::from(remote.port());
        (redundancy::Gateway { name: name.to_owned(), protocol, fingerprint, probe: None }, label)
    }

    /// A connection to it, with forwards of these names, each from any free port to the web server.
    pub(crate) fn connection(&self, name: &str, forwards: &[&str]) -> ConnectionPlan {
        self.connection_to(self.remote, name, forwards)
    }

    /// The same over two gateways, this one preferred and the other one standing by.
    pub(crate) fn connection_with(&self, other: &Self, name: &str, forwards: &[&str]) -> ConnectionPlan {
        let mut connection = self.connection(name, forwards);
        let (gateway, label) = other.member("b", other.remote);
        connection.gateways.push(gateway);
        connection.gateway_labels.push(label);
        connection.redundancy.hot_standby = true;
        connection
    }

    /// The same, but somewhere else.
    pub(crate) fn connection_to(&self, remote: SocketAddr, name: &str, forwards: &[&str]) -> ConnectionPlan {
        let (gateway, label) = self.member("a", remote);
        let redundancy =
            RedundancyOptions { hot_standby: false, tunnel: forward::options(), ..RedundancyOptions::default() };
        ConnectionPlan {
            name: name.to_owned(),
            description: String::new(),
            autostart: true,
            gateways: vec![gateway],
            gateway_labels: vec![label],
            wait: redundancy.tunnel.wait_for_tunnel,
            redundancy,
            forwards: forwards.iter().map(|name| to_page(name, 0)).collect(),
            tun: None,
        }
    }
}

/// A forward from this local port to the web server.
pub(crate) fn to_page(name: &str, port: u16) -> ForwardPlan {
    let listen = Listen::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    ForwardPlan {
        name: name.to_owned(),
        kind: ForwardKind::Local { listen, to: PAGE.into() },
        gateway: None,
        max_connections: None,
        wait: None,
        proxy_protocol: false,
    }
}

/// Somebody who connects again and again, to see whether a port is always open.
pub(crate) struct Knocker {
    enough: Arc<AtomicBool>,
    thread: thread::JoinHandle<(usize, usize)>,
}

impl Knocker {
    /// It has knocked once already: the kernel opens to it, whatever the caller's thread does.
    pub(crate) fn at(address: SocketAddr) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&enough);
        let (knocked, first) = mpsc::channel();
        let thread = thread::spawn(move || {
            let (mut open, mut closed) = (0, 0);
            while !stop.load(Relaxed) {
                match TcpStream::connect(address) {
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => closed += 1,
                    Err(error) => panic!("{error}"),
                    Ok(_) => open += 1,
                }
                // Only the first is waited for.
                knocked.send(()).ok();
                // Not as many connections as descriptors.
                thread::sleep(Duration::from_micros(500));
            }
            (open, closed)
        });
        first.recv().unwrap();
        Self { enough, thread }
    }

    /// How often the port was open, and how often it was not.
    pub(crate) fn end(self) -> (usize, usize) {
        self.enough.store(true, Relaxed);
        self.thread.join().unwrap()
    }
}
