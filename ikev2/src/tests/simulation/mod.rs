//! Both ends of ours in one world: [`Session`] and [`Responder`] on links that lose, delay and repeat, on a virtual clock.

pub(super) mod certificates;
mod collisions;
mod handshakes;
mod model;
mod year;

use std::sync::{Arc, Mutex};

use adit_pki::ClientIdentity;
use adit_testing::{Pair, Setup};
use adit_tunnel::{KeyTag, Random, Secret};

use super::secs;
use crate::{
    AcceptedPeers, Carry, CertificateVerifier, ClientAnchors, Config, Credentials, EapCredentials, EapMethod,
    EapServerConfig, EapServerMethod, EapUser, ExpectedIdentity, Identity, Limits, MsChapV2Secret, PeerVerifier,
    Remote, Responder, ResponderConfig, Session, Settings, SharedKey,
    established::{Established, Role},
    message::IkeSpi,
    sa::Timer,
};
use certificates::{GATEWAY, Kind};

/// Both ends, joined.
pub(super) type World = Pair<Session, Responder>;

/// Everything a test may choose; what it leaves is a tunnel with a pre-shared key, at the port of a gateway without root.
pub(super) struct Ends {
    pub(super) world: Setup,
    pub(super) peer: PeerVerifier,
    pub(super) credentials: Credentials,
    /// Of the client.
    pub(super) client: Settings,
    pub(super) identity: Identity,
    pub(super) certificate: Option<Arc<ClientIdentity>>,
    pub(super) accepted: AcceptedPeers,
    pub(super) gateway: Settings,
    pub(super) limits: Limits,
}

impl Ends {
    pub(super) fn new(change: impl FnOnce(&mut Self)) -> Self {
        let key = Secret::from("a key of both ends");
        let mut ends = Self {
            world: Setup { listening: vec![([192, 0, 2, 1], 4500).into()], ..Setup::default() },
            peer: PeerVerifier::Psk { key: key.clone(), identity: None },
            credentials: Credentials::Psk(key.clone()),
            client: Settings::default(),
            identity: Identity::Fqdn(GATEWAY.to_owned()),
            certificate: None,
            accepted: AcceptedPeers {
                shared_keys: vec![SharedKey { key, identity: None }],
                ..AcceptedPeers::default()
            },
            gateway: Settings::default(),
            limits: Limits::default(),
        };
        change(&mut ends);
        ends
    }

    /// The gateway proves itself by a certificate, and the client by one.
    pub(super) fn certificates(&mut self, kind: &Kind) {
        self.gateway_certificate(kind);
        self.credentials = Credentials::Certificate(Arc::clone(&kind.client));
        let anchors = ClientAnchors { anchors: vec![certificates::anchor()], crls: vec![] };
        self.accepted = AcceptedPeers { certificates: Some(anchors), ..AcceptedPeers::default() };
    }

    /// The gateway proves itself by a certificate, and the client by EAP.
    pub(super) fn eap(&mut self, client: EapMethod, gateway: EapServerMethod) {
        self.gateway_certificate(&certificates::P256);
        let methods = vec![client];
        self.credentials = Credentials::Eap(EapCredentials { identity: "user".to_owned(), methods });
        let user = EapUser { name: "user".to_owned(), secret: MsChapV2Secret::Password(password()) };
        let eap = EapServerConfig { methods: vec![gateway], users: vec![user] };
        self.accepted = AcceptedPeers { eap: Some(eap), ..AcceptedPeers::default() };
    }

    /// The client has its key for itself.
    pub(super) fn named(&mut self, name: &str) {
        let name = Identity::Fqdn(name.to_owned());
        self.client.local_identity = Some(name.clone());
        self.accepted.shared_keys.iter_mut().for_each(|shared| shared.identity = Some(name.clone()));
    }

    pub(super) fn both(&mut self, change: impl Fn(&mut Settings)) {
        change(&mut self.client);
        change(&mut self.gateway);
    }

    /// Checks what was chosen, and makes of it what all seeds share.
    pub(super) fn plan(self) -> Plan {
        let Self { world, peer, credentials, client, identity, certificate, accepted, gateway, limits } = self;
        let config = Config::builder(vec![Remote::new(GATEWAY, world.listening[0].port())])
            .peer(peer)
            .credentials(credentials)
            .settings(|settings| *settings = client);
        let builder = ResponderConfig::builder(accepted).identity(identity);
        let builder = certificate.into_iter().fold(builder, crate::ResponderBuilder::certificate);
        let builder = builder.settings(|settings| *settings = gateway).limits(|all| *all = limits);
        Plan { world, client: Arc::new(config.build().unwrap()), gateway: Arc::new(builder.build().unwrap()) }
    }

    fn gateway_certificate(&mut self, kind: &Kind) {
        self.certificate = Some(Arc::clone(&kind.gateway));
        self.peer = PeerVerifier::Certificate(CertificateVerifier {
            anchors: vec![certificates::anchor()],
            crls: vec![],
            identity: ExpectedIdentity::Host,
        });
    }
}

/// What makes worlds.
pub(super) struct Plan {
    pub(super) world: Setup,
    client: Arc<Config>,
    gateway: Arc<ResponderConfig>,
}

impl Plan {
    /// Nothing has travelled yet.
    pub(super) fn start(&self, seed: u64) -> World {
        self.start_with(seed, &Nonces::default(), &Nonces::default())
    }

    /// The tunnel is up.
    pub(super) fn up(&self, seed: u64) -> World {
        let mut world = self.start(seed);
        world.come_up();
        world
    }

    /// With the nonces of the client and of the gateway, as far as they are chosen.
    pub(super) fn start_with(&self, seed: u64, of_client: &Nonces, of_gateway: &Nonces) -> World {
        let (client, of_client) = (Arc::clone(&self.client), of_client.clone());
        let (gateway, of_gateway) = (Arc::clone(&self.gateway), of_gateway.clone());
        World::new(
            Setup { seed, ..self.world.clone() },
            move |birth| {
                let random = of_client.choose(birth.random);
                let carry = Carry::default();
                Session::new(Arc::clone(&client), 0, carry, birth.path, random, birth.epoch, birth.now).unwrap()
            },
            move |birth| {
                let (mut randoms, nonces) = (birth.randoms, of_gateway.clone());
                let randoms = Box::new(move || nonces.choose(randoms()));
                Responder::new(Arc::clone(&gateway), randoms, birth.epoch, birth.now)
            },
        )
    }
}

/// Whether both ends agree, with one of everything, and no timer without a cause. There is one client.
fn settled(world: &mut World) -> Result<(), String> {
    world.agree()?;
    // Perhaps one is just being asked whether it lives.
    let idle = |world: &World| world.census().under_way == 0;
    ensure(world.run_until(secs(5), idle), || "it does not become quiet".to_owned())?;
    ensure(world.listener.peers.len() == 1, || format!("{} peers", world.listener.peers.len()))?;
    let driven = &mut world.clients[0].driven;
    let (timers, openers) = (driven.tunnel.timers(), driven.openers());
    let (ike, ours, theirs) =
        only(driven.tunnel.established(), &timers, &openers).map_err(|why| "client: ".to_owned() + &why)?;
    for end in world.listener.peers.values_mut() {
        let (timers, openers) = (end.driven.tunnel.timers(), end.driven.openers());
        let found =
            only(end.driven.tunnel.established(), &timers, &openers).map_err(|why| "gateway: ".to_owned() + &why)?;
        ensure(found == (ike, theirs, ours), || {
            format!("{found:?} at the gateway, {:?} at the client", (ike, ours, theirs))
        })?;
    }
    Ok(())
}

/// The SPIs of the only IKE SA and of the only child.
fn only(
    established: Option<&mut Established>,
    timers: &[Timer],
    openers: &[KeyTag],
) -> Result<((IkeSpi, IkeSpi), u32, u32), String> {
    let established = established.ok_or("no association")?;
    let ([sa], [child]) = (&established.sas[..], &established.children[..]) else {
        return Err(format!("{} IKE SAs, children {:?}", established.sas.len(), established.children));
    };
    ensure(sa.role == Role::InUse && child.is_in_use(), || format!("{:?}, {child:?}", sa.role))?;
    ensure(sa.exchange.is_none() && sa.ike.requester.is_idle(), || "something is going on".to_owned())?;
    ensure(*openers == [KeyTag(child.spi_in)], || format!("openers {openers:?}"))?;
    let has_cause =
        |timer: &Timer| matches!(timer, Timer::Sample | Timer::RekeyIke) || *timer == Timer::RekeyChild(child.spi_in);
    ensure(timers.iter().all(has_cause), || format!("timers {timers:?}"))?;
    Ok((sa.ike.spis(), child.spi_in, child.spi_out))
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

/// Nonces that an end is to draw next.
#[derive(Debug, Clone, Default)]
pub(super) struct Nonces(Arc<Mutex<Vec<u8>>>);

impl Nonces {
    /// The next nonces begin with these bytes.
    pub(super) fn will_be(&self, nonces: &[u8]) {
        self.0.lock().unwrap().extend(nonces);
    }

    /// Those that were not drawn.
    pub(super) fn left(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn choose(&self, random: Box<dyn Random>) -> Box<dyn Random> {
        Box::new(Chosen { nonces: self.clone(), random })
    }
}

/// Randomness of which some is chosen.
struct Chosen {
    nonces: Nonces,
    random: Box<dyn Random>,
}

impl Random for Chosen {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.random.fill(bytes);
        // Nothing else of this length is drawn once the tunnel is up.
        let mut nonces = self.nonces.0.lock().unwrap();
        if bytes.len() == 32 && !nonces.is_empty() {
            bytes[0] = nonces.remove(0);
        }
    }
}

pub(super) fn password() -> Secret {
    Secret::from("correct horse")
}
