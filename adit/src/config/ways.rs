//! Forwards, reverse forwards and proxies of a connection, as its tables describe them.

use std::{net::SocketAddr, time::Duration};

use adit_tunnel::Secret;
use serde::Deserialize;
use toml::{Spanned, de::DeValue};

use super::{
    address,
    draft::Given,
    files::SecretSource,
    problems::Problems,
    reading::Reading,
    schema,
    source::{SecretTable, Source},
};
use crate::{
    error::Error,
    forward::default_name,
    plan::{ForwardKind, ForwardPlan, Listen, LocalTarget, Login},
    spec::TransportKind,
};

/// Which table of a connection describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WayKind {
    Forward,
    Reverse,
    Socks,
    HttpProxy,
}

/// A port of our own address inside of the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InsidePort {
    port: u16,
    transport: TransportKind,
}

/// One way in or out, before its password is read.
pub(super) struct Way {
    /// Where its table stands.
    pub(super) place: String,
    /// Where its name stands, if it was chosen.
    pub(super) name: Option<Given<String>>,
    /// Where what it listens on stands.
    pub(super) listen: String,
    /// Where it listens on this machine.
    pub(super) listening: Option<Listen>,
    /// The port of the tunnel that it listens on.
    pub(super) inside: Option<InsidePort>,
    /// The only gateway it uses.
    gateway: Option<String>,
    /// `None`: something else is wrong with it.
    plan: Option<ForwardPlan>,
    password: Option<Given<SecretSource>>,
}

/// The keys of all four: which of them a table may have was checked before.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WayTable {
    name: Option<Spanned<String>>,
    listen: Option<Spanned<ListenForm>>,
    to: Option<Spanned<String>>,
    port: Option<Spanned<u16>>,
    transport: Option<Spanned<Transport>>,
    mode: Option<Spanned<String>>,
    user: Option<Spanned<String>>,
    password: Option<Spanned<SecretTable>>,
    udp: Option<bool>,
    gateway: Option<Spanned<String>>,
    max_connections: Option<usize>,
    while_down: Option<WhileDown>,
    wait_seconds: Option<Spanned<u32>>,
    proxy_protocol: Option<Spanned<bool>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ListenForm {
    Text(String),
    Port(u16),
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Transport {
    Tcp,
    Udp,
}

/// What becomes of connections while the tunnel is down.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum WhileDown {
    Wait,
    Refuse,
}

impl WhileDown {
    /// How long they wait.
    pub(super) fn wait(self, seconds: Option<&Given<u32>>, default: Duration) -> Result<Duration, Error> {
        match (self, seconds) {
            (Self::Wait, None) => Ok(default),
            (Self::Wait, Some(seconds)) => Ok(Duration::from_secs(seconds.value.into())),
            (Self::Refuse, None) => Ok(Duration::ZERO),
            (Self::Refuse, Some(seconds)) => {
                let error = seconds.error("nothing waits where `while_down = \"refuse\"`");
                Err(error.hint("leave one of the two away"))
            }
        }
    }
}

/// What ways have in common.
pub(super) struct Common<'a> {
    /// How long connections wait for a tunnel, where nothing else is said.
    pub(super) wait: Duration,
    /// The names that gateways were given; what those without are called, their files say.
    pub(super) gateways: &'a [String],
    /// Whether these are all the names there are, as far as can be told.
    pub(super) all_named: bool,
}

/// What one table says.
pub(super) fn way(
    source: &Source,
    kind: WayKind,
    table: Spanned<DeValue<'_>>,
    common: &Common<'_>,
    problems: &mut Problems,
) -> Option<Way> {
    let (start, place) = (table.span().start, source.place(&table.span()));
    let table: WayTable = problems.catch(source.deserialized(table))?;
    // What is there, and wrong, was said to be.
    let missing = |key: &str, example: &str, problems: &mut Problems| {
        if !problems.is_spoiled(start, key) {
            problems.error(Error::at(&place, format!("`{key}` is missing")).hint(format!("add {example}")));
        }
    };
    let transport = match table.transport.as_ref().map(|transport| *transport.get_ref()) {
        Some(Transport::Udp) => TransportKind::Udp,
        Some(Transport::Tcp) | None => TransportKind::Tcp,
    };
    let mode = table.mode.map(|mode| source.given(mode));
    let listen = table.listen.map(|listen| {
        let Given { value, place } = source.given(listen);
        let text = match value {
            ListenForm::Text(text) => text,
            ListenForm::Port(port) => port.to_string(),
        };
        Given::new(text, place)
    });
    let listen_place = listen.as_ref().map_or_else(|| place.clone(), |listen| listen.place.clone());
    let listening = |problems: &mut Problems| match &listen {
        Some(listen) => address::listen(listen, transport, mode.as_ref(), problems),
        None => {
            missing("listen", "`listen = \"127.0.0.1:33000\"`", problems);
            None
        }
    };
    let to = table.to.map(|to| source.given(to));
    let user = table.user.map(|user| source.given(user));
    let password = table.password.map(|password| source.secret(password));
    let login = match (&user, &password) {
        (Some(user), Some(_)) if user.value.is_empty() => {
            problems.error(user.error("the user name is empty"));
            None
        }
        // SOCKS5 has a byte for its length (RFC 1929 §2).
        (Some(user), Some(_)) if user.value.len() > 255 => {
            problems.error(user.error("a user name has 255 bytes at most"));
            None
        }
        (Some(user), Some(_)) => Some(Login { user: user.value.clone(), password: Secret::new([]) }),
        (Some(_), None) if problems.is_spoiled(start, "password") => None,
        (None, Some(_)) if problems.is_spoiled(start, "user") => None,
        (Some(user), None) => {
            problems.error(user.error("this user has no password").hint("add `password = { file = \"…\" }`"));
            None
        }
        (None, Some(password)) => {
            problems.error(password.error("this password has no user").hint("add `user = \"…\"`"));
            None
        }
        (None, None) => None,
    };
    let (mut inside, mut here) = (None, None);
    let made = match kind {
        WayKind::Forward => {
            here = listening(problems);
            let to = match &to {
                Some(to) => problems.catch(address::target(to)),
                None => {
                    missing("to", "`to = \"192.168.100.30:8080\"`", problems);
                    None
                }
            };
            here.clone().zip(to).map(|(listen, to)| ForwardKind::Local { listen, to })
        }
        WayKind::Reverse => {
            let to = match &to {
                Some(text) => problems.catch(service(text, transport)),
                None => {
                    missing("to", "`to = \"127.0.0.1:22\"`", problems);
                    None
                }
            };
            if table.port.is_none() {
                missing("port", "`port = 2222`", problems);
            }
            inside = table.port.as_ref().map(|port| InsidePort { port: *port.get_ref(), transport });
            inside.zip(to).map(|(InsidePort { port, transport }, to)| ForwardKind::Reverse { transport, port, to })
        }
        WayKind::Socks => {
            here = listening(problems);
            let udp = table.udp.unwrap_or(true);
            here.clone().map(|listen| ForwardKind::Socks { listen, login, udp })
        }
        WayKind::HttpProxy => {
            here = listening(problems);
            here.clone().map(|listen| ForwardKind::HttpProxy { listen, login })
        }
    };
    let proxy_protocol = match table.proxy_protocol.map(|flag| source.given(flag)) {
        Some(Given { value: true, place }) if transport == TransportKind::Udp => {
            let error = Error::at(&place, "the PROXY protocol is for TCP alone");
            problems.error(error.hint("leave `proxy_protocol` away"));
            false
        }
        flag => flag.is_some_and(|flag| flag.value),
    };
    let seconds = table.wait_seconds.map(|seconds| source.given(seconds));
    let down = table.while_down.or_else(|| seconds.is_some().then_some(WhileDown::Wait));
    let wait = down.and_then(|down| problems.catch(down.wait(seconds.as_ref(), common.wait)));
    let gateway = table.gateway.map(|gateway| source.given(gateway));
    if let Some(gateway) = gateway.as_ref().filter(|_| common.all_named) {
        problems.catch(known(gateway, common.gateways));
    }
    let open = matches!(kind, WayKind::Socks | WayKind::HttpProxy) && user.is_none() && password.is_none();
    if let Some(Listen::Tcp(address)) = here.as_ref().filter(|_| open)
        && !address.ip().is_loopback()
    {
        let problem = "everybody who reaches this proxy reaches everything behind the gateway";
        let hint = "add `user` and `password`, or listen on 127.0.0.1";
        problems.warning(Error::at(&listen_place, problem).hint(hint));
    }
    let name = table.name.map(|name| source.given(name));
    let gateway = gateway.map(|gateway| gateway.value);
    let plan = made.map(|kind| ForwardPlan {
        name: name.as_ref().map_or_else(|| default_name(&kind), |name| name.value.clone()),
        kind,
        gateway: gateway.clone(),
        max_connections: table.max_connections,
        wait,
        proxy_protocol,
    });
    if problems.is_spoiled(start, "transport") {
        // Which of two ports it wants is not known.
        (here, inside) = (None, None);
    }
    Some(Way { place, name, listen: listen_place, listening: here, inside, gateway, plan, password })
}

/// What a reverse forward leads to.
fn service(text: &Given<String>, transport: TransportKind) -> Result<LocalTarget, Error> {
    let target = address::local_target(text)?;
    if transport == TransportKind::Udp && matches!(target, LocalTarget::Unix(_)) {
        let error = text.error(format!("`{}` takes no datagrams", text.value.escape_debug()));
        return Err(error.hint("name a host and a port, or leave `transport` away"));
    }
    Ok(target)
}

/// Whether a gateway has this name.
fn known(gateway: &Given<String>, names: &[String]) -> Result<(), Error> {
    if names.contains(&gateway.value) {
        return Ok(());
    }
    let error = gateway.error(format!("there is no gateway `{}` in this connection", gateway.value.escape_debug()));
    // Two of one name are said elsewhere.
    let mut different: Vec<&str> = Vec::new();
    for name in names {
        if !different.contains(&name.as_str()) {
            different.push(name);
        }
    }
    Err(match (schema::nearest(&gateway.value, different.iter().copied()), &different[..]) {
        (_, []) => error.hint("add `name = \"…\"` to the gateway it is to use"),
        (Some(near), _) if different.len() > 1 => error.hint(format!("did you mean `{near}`?")),
        (_, names) => error.hint(format!("choose one of `{}`", names.join("`, `"))),
    })
}

impl Way {
    /// What it is called, as far as that is known.
    pub(super) fn name(&self) -> Option<&str> {
        let chosen = self.name.as_ref().map(|name| name.value.as_str());
        chosen.or_else(|| self.plan.as_ref().map(|plan| plan.name.as_str()))
    }

    /// Whether both want the same port of the same tunnel.
    pub(super) fn wants_port_of(&self, other: &Self) -> bool {
        let shared = self.gateway.is_none() || other.gateway.is_none() || self.gateway == other.gateway;
        shared && self.inside.is_some() && self.inside == other.inside
    }

    /// Reads its password.
    pub(super) fn finish(self, reading: &mut Reading<'_>) -> Option<ForwardPlan> {
        let secret = match &self.password {
            Some(password) => {
                let read = reading.secret(password, "a password");
                Some(reading.problems.catch(read)?)
            }
            None => None,
        };
        let mut plan = self.plan?;
        if let ForwardKind::Socks { login: Some(login), .. } | ForwardKind::HttpProxy { login: Some(login), .. } =
            &mut plan.kind
            && let Some(secret) = secret
        {
            login.password = secret;
        }
        Some(plan)
    }

    /// The address it listens on, on this machine.
    pub(super) fn address(&self) -> Option<(SocketAddr, TransportKind)> {
        match self.listening.as_ref()? {
            Listen::Tcp(address) => Some((*address, TransportKind::Tcp)),
            Listen::Udp(address) => Some((*address, TransportKind::Udp)),
            Listen::Unix(..) => None,
        }
    }
}
