//! What client and server may agree upon, and worlds in which they do.

use std::sync::{Arc, LazyLock};

use adit_testing::{Conditions, Judgement, Pair, Setup};
use adit_tunnel::{Applicant, Secret, Transport, Verdict};

use super::World;
use crate::{
    ClientAnchors, ClientCertificates, ClientCheck, Server, ServerConfig, ServerSettings, ServerWrap,
    algorithms::Digest,
    config::{Config, ControlWrap, Credentials, KeyDirection, Remote, ServerCheck, Settings},
    crypto,
    keys::{ClientKeyMetadata, StaticKey, TlsCryptV2ServerKey},
    session::{Carry, Session},
    tests::{UNIX_START, pki},
};

/// How control packets are wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrap {
    None,
    TlsAuth,
    TlsCrypt,
    TlsCryptV2,
    /// The server answers only those that bring their wrapped key along twice.
    TlsCryptV2Cookie,
}

/// How the client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    Certificate,
    Password,
    Both,
}

/// What both ends are configured with.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    pub(super) wrap: Wrap,
    pub(super) proof: Proof,
    /// The server shows a certificate with an RSA key.
    pub(super) rsa: bool,
    pub(super) client: Settings,
    pub(super) server: ServerSettings,
    /// Bits of IV_PROTO that the client does not announce.
    pub(super) withheld: u32,
    pub(super) transport: Transport,
}

/// Configurations, made once.
#[derive(Clone)]
pub(super) struct Variant {
    client: Arc<Config>,
    server: Arc<ServerConfig>,
    transport: Transport,
    /// Control packets prove whose they are.
    pub(super) wrapped: bool,
}

impl Variant {
    pub(super) fn new(change: impl FnOnce(&mut Choice)) -> Self {
        let mut choice = Choice {
            wrap: Wrap::None,
            proof: Proof::Certificate,
            rsa: false,
            client: Settings { explicit_exit_notify: Some(1), ..Settings::default() },
            server: ServerSettings::default(),
            withheld: 0,
            transport: Transport::Udp,
        };
        change(&mut choice);
        (choice.client.control_wrap, choice.server.control_wrap) = wraps(choice.wrap);
        let (transport, wrapped) = (choice.transport, choice.wrap != Wrap::None);
        Self { client: Arc::new(choice.client()), server: Arc::new(choice.server()), transport, wrapped }
    }

    /// A world with both ends, and nobody up yet.
    pub(super) fn world(&self, seed: u64, change: impl FnOnce(&mut Setup)) -> World {
        let mut setup = Setup { seed, transport: self.transport, ..Setup::default() };
        change(&mut setup);
        let (client, server) = (Arc::clone(&self.client), Arc::clone(&self.server));
        let mut world = Pair::new(
            setup,
            move |birth| {
                let client = Arc::clone(&client);
                Session::new(client, 0, Carry::default(), birth.path, birth.random, birth.epoch, birth.now).unwrap()
            },
            move |birth| Server::new(Arc::clone(&server), birth.randoms, birth.epoch, birth.now),
        );
        world.listener.policy = Box::new(|_, applicant| judge(applicant));
        world
    }

    /// The same on a good network, with everybody up.
    pub(super) fn up(&self, seed: u64, change: impl FnOnce(&mut Setup)) -> World {
        let mut world = self.world(seed, change);
        let conditions = std::mem::replace(&mut world.clients[0].up.conditions, Conditions::GOOD);
        world.conditions(Conditions::GOOD);
        world.come_up();
        world.conditions(conditions);
        world
    }
}

impl Choice {
    fn client(&self) -> Config {
        let check = ServerCheck {
            ca: vec![pki::CA.as_ref().der().clone()],
            extended_key_usage: Some("1.3.6.1.5.5.7.3.1".to_owned()),
            ..ServerCheck::default()
        };
        let identity = (self.proof != Proof::Password).then(|| pki::CLIENT.identity());
        let credentials = (self.proof != Proof::Certificate)
            .then(|| Credentials { username: USER.to_owned(), password: Secret::from(PASSWORD) });
        let mut settings = self.client.clone();
        settings.dangerous.withhold_iv_proto(self.withheld);
        Config::builder(vec![Remote::new("vpn.example", 1194, self.transport)])
            .server_check(check)
            .identity(identity, credentials)
            .settings(|s| *s = settings)
            .build()
            .unwrap()
    }

    fn server(&self) -> ServerConfig {
        let anchors = || ClientAnchors { ca: vec![pki::CA.as_ref().der().clone()], crls: Vec::new() };
        let certificates = match self.proof {
            Proof::Password => ClientCertificates::None,
            Proof::Certificate | Proof::Both => ClientCertificates::Required(anchors()),
        };
        let clients = ClientCheck { certificates, login: self.proof != Proof::Certificate };
        let leaf = if self.rsa { &RSA_SERVER } else { &pki::SERVER };
        ServerConfig::builder(Arc::new(leaf.identity()), clients)
            .settings(|s| *s = self.server.clone())
            .build()
            .unwrap()
    }
}

/// Whoever shows what it must, and says the right password if it says one.
pub(super) fn judge(applicant: &Applicant) -> Judgement {
    let wrong = |login: &adit_tunnel::Login| login.user != USER || login.password.expose() != PASSWORD.as_bytes();
    match &applicant.login {
        Some(login) if wrong(login) => Judgement::Say(Verdict::Refused),
        None if applicant.identity.is_none() => Judgement::Say(Verdict::Refused),
        Some(_) | None => Judgement::Admit,
    }
}

/// As the client and the server know it.
fn wraps(wrap: Wrap) -> (ControlWrap, ServerWrap) {
    let key = StaticKey::new(std::array::from_fn(|at| at as u8));
    let auth = (KeyDirection::Inverse, KeyDirection::Normal, Digest::Sha256);
    match wrap {
        Wrap::None => (ControlWrap::None, ServerWrap::None),
        Wrap::TlsAuth => (
            ControlWrap::TlsAuth { key: key.clone(), direction: auth.0, digest: auth.2 },
            ServerWrap::TlsAuth { key, direction: auth.1, digest: auth.2 },
        ),
        Wrap::TlsCrypt => (ControlWrap::TlsCrypt(key.clone()), ServerWrap::TlsCrypt(key)),
        Wrap::TlsCryptV2 | Wrap::TlsCryptV2Cookie => {
            let server = TlsCryptV2ServerKey::new(&[7; 128]);
            let wrapped =
                server.wrap(&key, &ClientKeyMetadata::Made(UNIX_START), crypto::default_backend().as_ref()).unwrap();
            (
                ControlWrap::TlsCryptV2 { key, wrapped },
                ServerWrap::TlsCryptV2 { key: server, force_cookie: wrap == Wrap::TlsCryptV2Cookie, max_age: None },
            )
        }
    }
}

const USER: &str = "user";
const PASSWORD: &str = "password";

static RSA_SERVER: LazyLock<pki::Leaf> = LazyLock::new(pki::rsa_leaf);
