//! `adit check`: everything that is wrong with a file, at once, without asking or connecting.

use std::{fmt, path::Path};

use serde_json::{Value, json};

use super::{
    Kind, OpenQuestion, Position, Problem, Problems, Questions, Severity, assemble, ovpn,
    reading::Reading,
    serve,
    source::{Keys, Source},
    unknown_extension,
};
use crate::error::{Error, Exit};
use crate::plan::{ConnectionPlan, ForwardKind, ForwardPlan, Plan};

/// What was found.
pub(crate) struct Checked {
    file: String,
    problems: Problems,
    /// What it would do, if it can be used.
    connections: Vec<ConnectionSummary>,
    /// What `adit serve` would do.
    gateways: Vec<ServeSummary>,
    questions: Vec<OpenQuestion>,
}

struct ConnectionSummary {
    name: String,
    autostart: bool,
    gateways: Vec<GatewaySummary>,
    forwards: Vec<(String, String)>,
}

struct GatewaySummary {
    name: String,
    protocol: &'static str,
    servers: Vec<String>,
}

/// A gateway to run.
struct ServeSummary {
    name: String,
    protocol: &'static str,
    listen: Vec<String>,
}

/// Looks at a file of any kind, and at everything it names.
pub(crate) fn check(path: &Path, connection: Option<&str>) -> Checked {
    let questions = Questions::noted();
    let mut problems = Problems::default();
    problems.look_around();
    let mut gateways = Vec::new();
    let connections = match (Kind::of(path), connection) {
        (Some(Kind::Toml), _) if serve::is_meant(path) => {
            if connection.is_some() {
                let error = Error::new(Exit::Usage, format!("--connection has no use with {}", path.display()));
                problems.error(error.hint("it describes gateways, for `adit serve`"));
            }
            let read = serve::read(path, &mut problems).unwrap_or_default();
            if let Some(problem) = serve::shared_pools(&read) {
                let warning = Error::at(&path.display().to_string(), problem);
                problems.warning(warning.hint("give each a `pool` of its own; --tun needs it"));
            }
            gateways = read.iter().map(ServeSummary::of).collect();
            Vec::new()
        }
        (Some(Kind::Toml), _) => {
            let plan =
                assemble::plan(path, connection.map(str::to_owned).as_slice(), &questions, &mut |_| (), &mut problems);
            plan.map_or_else(Vec::new, |plan| summaries(&plan))
        }
        (Some(_), Some(_)) => {
            problems.error(super::one_connection(path));
            Vec::new()
        }
        (Some(kind), None) => {
            let mut reading = Reading::new(&questions, "", &mut problems);
            let configuration = match kind {
                Kind::Sswan => {
                    super::sswan_draft(path, &mut reading).and_then(|draft| super::ikev2(draft, &mut reading))
                }
                Kind::Ovpn | Kind::Toml => super::openvpn(path, &ovpn::Given::default(), &mut reading),
            };
            let gateway = configuration.map(|configuration| {
                let label = configuration.label();
                GatewaySummary { name: label.name, protocol: label.protocol, servers: label.servers }
            });
            gateway
                .map(|gateway| {
                    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                    ConnectionSummary { name, autostart: true, gateways: vec![gateway], forwards: Vec::new() }
                })
                .into_iter()
                .collect()
        }
        (None, _) => {
            problems.error(unknown_extension(path));
            Vec::new()
        }
    };
    Checked { file: path.display().to_string(), problems, connections, gateways, questions: questions.open() }
}

fn summaries(plan: &Plan) -> Vec<ConnectionSummary> {
    plan.connections.iter().map(summary).collect()
}

fn summary(connection: &ConnectionPlan) -> ConnectionSummary {
    let gateway = |label: &crate::plan::GatewayLabel| GatewaySummary {
        name: label.name.clone(),
        protocol: label.protocol,
        servers: label.servers.clone(),
    };
    ConnectionSummary {
        name: connection.name.clone(),
        autostart: connection.autostart,
        gateways: connection.gateway_labels.iter().map(gateway).collect(),
        forwards: connection.forwards.iter().map(|forward| (forward.name.clone(), what_it_does(forward))).collect(),
    }
}

fn what_it_does(forward: &ForwardPlan) -> String {
    match &forward.kind {
        ForwardKind::Local { listen, to } => format!("{} -> {to}", listen),
        ForwardKind::Reverse { transport, port, to } => {
            let to = match to {
                crate::plan::LocalTarget::Address(host, port) => super::host_and_port(host, *port),
                crate::plan::LocalTarget::Unix(path) => format!("unix:{}", path.display()),
            };
            format!("port {port}/{transport} of the tunnel -> {to}")
        }
        ForwardKind::Socks { listen, .. } => format!("{} SOCKS5", listen),
        ForwardKind::HttpProxy { listen, .. } => format!("{} HTTP CONNECT", listen),
        ForwardKind::Stdio { to } => format!("standard input and output -> {to}"),
    }
}

impl Checked {
    /// Whether it can be used.
    pub(crate) fn is_fine(&self) -> bool {
        self.problems.errors() == 0
    }

    /// Errors and warnings, a line each, unless they are very many.
    pub(crate) fn complaints(&self) -> String {
        self.problems.complaints("`adit check --json` says all of them")
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let keys = Source::read(Path::new(&self.file)).map_or_else(|_| Keys::default(), |source| source.keys());
        let shown = |problem: &Problem| {
            let Position { file, line, column } = problem.position(self.problems.files());
            let here = file.as_deref() == Some(self.file.as_str());
            let key = line.zip(column).filter(|_| here).and_then(|(line, column)| keys.at(line, column));
            json!({
                "place": problem.place(),
                "file": file,
                "line": line,
                "column": column,
                "key": key,
                "message": problem.problem(),
                "hint": problem.hint(),
            })
        };
        let of = |severity: Severity| -> Vec<Value> {
            let list = self.problems.sorted().into_iter().filter(|problem| problem.severity == severity);
            list.map(shown).collect()
        };
        let connections: Vec<_> = self.connections.iter().map(ConnectionSummary::json).collect();
        let gateways: Vec<_> = self.gateways.iter().map(ServeSummary::json).collect();
        let questions = self
            .questions
            .iter()
            .map(|question| json!({ "subject": question.subject, "question": question.what, "hint": question.hint }));
        let questions: Vec<_> = questions.collect();
        let files: Vec<_> = self.problems.files().map(|path| path.display().to_string()).collect();
        json!({
            "file": self.file,
            "ok": self.is_fine(),
            "errors": of(Severity::Error),
            "warnings": of(Severity::Warning),
            "questions": questions,
            "connections": connections,
            "gateways": gateways,
            "files": files,
        })
    }
}

impl ServeSummary {
    fn of(gateway: &serve::Gateway) -> Self {
        let protocol = match &gateway.protocol {
            serve::Protocol::Ikev2(_) => "ikev2",
            serve::Protocol::OpenVpn { .. } => "openvpn",
        };
        let listen = gateway.listen.iter();
        let listen = listen.map(|at| format!("{}/{}", at.address, at.transport.to_string().to_lowercase()));
        Self { name: gateway.name.clone(), protocol, listen: listen.collect() }
    }

    fn json(&self) -> Value {
        json!({ "name": self.name, "protocol": self.protocol, "listen": self.listen })
    }
}

impl ConnectionSummary {
    fn json(&self) -> Value {
        let gateway = |gateway: &GatewaySummary| json!({ "name": gateway.name, "protocol": gateway.protocol, "servers": gateway.servers });
        let forwards = self.forwards.iter().map(|(name, what)| json!({ "name": name, "what": what }));
        json!({
            "name": self.name,
            "autostart": self.autostart,
            "gateways": self.gateways.iter().map(gateway).collect::<Vec<_>>(),
            "forwards": forwards.collect::<Vec<_>>(),
        })
    }
}

/// What it would do; or how much is wrong with it.
impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (errors, all) = (self.problems.errors(), self.problems.sorted().len());
        let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        match (errors, all - errors) {
            (0, 0) => writeln!(f, "{}: fine", self.file)?,
            (0, warnings) => writeln!(f, "{}: can be used, {}", self.file, count(warnings, "warning"))?,
            (errors, 0) => writeln!(f, "{}: {}", self.file, count(errors, "error"))?,
            (errors, warnings) => {
                writeln!(f, "{}: {}, {}", self.file, count(errors, "error"), count(warnings, "warning"))?;
            }
        }
        for connection in &self.connections {
            let how = if connection.autostart { "" } else { " (not connected by itself)" };
            writeln!(f, "{}{how}", connection.name)?;
            for gateway in &connection.gateways {
                writeln!(f, "  gateway {}: {} {}", gateway.name, gateway.protocol, gateway.servers.join(", "))?;
            }
            for (name, what) in &connection.forwards {
                writeln!(f, "  forward {name}: {what}")?;
            }
        }
        for ServeSummary { name, protocol, listen } in &self.gateways {
            writeln!(f, "gateway {name}: {protocol} {}", listen.join(", "))?;
        }
        for OpenQuestion { subject, what, hint } in &self.questions {
            let subject = if subject.is_empty() { String::new() } else { format!("{subject}: ") };
            writeln!(f, "would ask: {subject}{what}; to leave nobody to be asked: {hint}")?;
        }
        Ok(())
    }
}
