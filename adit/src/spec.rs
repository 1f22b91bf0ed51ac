//! Forwards as text: `-L [BIND:]PORT:HOST:HOSTPORT[/udp]` and its kin.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use adit_driver::Target;

use crate::plan::{Listen, LocalTarget};

/// `-L`: `[BIND:]PORT:HOST:HOSTPORT[/udp]` or `PATH:HOST:HOSTPORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalSpec {
    /// Where to listen; port 0 takes any free one.
    pub(crate) listen: Listen,
    /// Where what arrives there is sent, behind the gateway.
    pub(crate) to: Target,
}

/// `-R`: `PORT:HOST:HOSTPORT[/udp]` or `PORT:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReverseSpec {
    pub(crate) transport: TransportKind,
    /// Of the tunnel's own addresses.
    pub(crate) port: u16,
    /// Where what arrives there is sent, on this side.
    pub(crate) to: LocalTarget,
}

/// `-D` and `--http-proxy`: `[BIND:]PORT` or `PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProxySpec(pub(crate) Listen);

/// `--stdio`: `HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TargetSpec(pub(crate) Target);

/// What is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum TransportKind {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

impl fmt::Display for TransportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// Why a forward cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SpecError {
    /// Another number of parts.
    #[error("expected {0}, with IPv6 addresses in brackets")]
    Form(&'static str),
    /// A bracket without its other.
    #[error("a bracket is not closed")]
    Bracket,
    /// BIND.
    #[error("`{0}` is no address to listen on: give an IP address, `localhost` or `*`")]
    Bind(String),
    /// BIND where there is none to be chosen.
    #[error("the port is one of the tunnel's own addresses: leave `{0}:` away")]
    NoBind(String),
    /// PORT or HOSTPORT.
    #[error("`{0}` is no port")]
    Port(String),
    /// HOST.
    #[error("`{0}` is no host")]
    Host(String),
    /// PATH.
    #[error("`{0}` is no path of a socket")]
    Path(String),
    /// After the slash.
    #[error("`/{0}` is neither /tcp nor /udp")]
    Transport(String),
    /// Datagrams and a path.
    #[error("a unix socket takes no datagrams: leave /udp away, or give a port")]
    UnixDatagrams,
}

const LOCAL: &str = "[BIND:]PORT:HOST:HOSTPORT[/udp] or unix:/PATH:HOST:HOSTPORT";
const REVERSE: &str = "PORT:HOST:HOSTPORT[/udp] or PORT:unix:/PATH";
const PROXY: &str = "[BIND:]PORT or unix:/PATH";
const TARGET: &str = "HOST:PORT";

impl FromStr for LocalSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        if let Some(path) = as_path(text) {
            let (rest, transport) = take_transport(path);
            if transport == Some(TransportKind::Udp) {
                return Err(SpecError::UnixDatagrams);
            }
            let (path, target) = split_off_target(rest).ok_or(SpecError::Form(LOCAL))?;
            return Ok(Self { listen: Listen::Unix(parse_path(path)?, None), to: target? });
        }
        let (rest, transport) = parse_transport(text)?;
        let parts = split(rest)?;
        let (bind, port, host, host_port) = match &parts[..] {
            [port, host, host_port] => (IpAddr::V4(Ipv4Addr::LOCALHOST), port, host, host_port),
            [bind, port, host, host_port] => (parse_bind(bind)?, port, host, host_port),
            _ => return Err(SpecError::Form(LOCAL)),
        };
        let to = parse_host(host, parse_target_port(host_port)?)?;
        let address = SocketAddr::new(bind, parse_port(port)?);
        let listen = match transport {
            TransportKind::Tcp => Listen::Tcp(address),
            TransportKind::Udp => Listen::Udp(address),
        };
        Ok(Self { listen, to })
    }
}

impl FromStr for ReverseSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        if let Some((port, path)) = text.split_once(':')
            && let Some(path) = as_path(path)
        {
            let (path, transport) = take_transport(path);
            if transport == Some(TransportKind::Udp) {
                return Err(SpecError::UnixDatagrams);
            }
            let to = LocalTarget::Unix(parse_path(path)?);
            return Ok(Self { transport: TransportKind::Tcp, port: parse_target_port(port)?, to });
        }
        let (rest, transport) = parse_transport(text)?;
        match &split(rest)?[..] {
            [port, host, host_port] => Ok(Self {
                transport,
                port: parse_target_port(port)?,
                to: match parse_host(host, parse_target_port(host_port)?)? {
                    Target::Address(address) => LocalTarget::Address(address.ip().to_string(), address.port()),
                    Target::Name(host, port) => LocalTarget::Address(host, port),
                },
            }),
            [bind, _, _, _] => Err(SpecError::NoBind((*bind).to_owned())),
            _ => Err(SpecError::Form(REVERSE)),
        }
    }
}

impl FromStr for ProxySpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        if let Some(path) = as_path(text) {
            return Ok(Self(Listen::Unix(parse_path(path)?, None)));
        }
        let (bind, port) = match &split(text)?[..] {
            [port] => (IpAddr::V4(Ipv4Addr::LOCALHOST), parse_port(port)?),
            [bind, port] => (parse_bind(bind)?, parse_port(port)?),
            _ => return Err(SpecError::Form(PROXY)),
        };
        Ok(Self(Listen::Tcp(SocketAddr::new(bind, port))))
    }
}

impl FromStr for TargetSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        match &split(text)?[..] {
            [host, port] => Ok(Self(parse_host(host, parse_target_port(port)?)?)),
            _ => Err(SpecError::Form(TARGET)),
        }
    }
}

/// The path, if it is meant as one: `unix:PATH`, `/PATH`, `./PATH` or `../PATH`.
fn as_path(text: &str) -> Option<&str> {
    let path = ["/", "./", "../"].iter().any(|begin| text.starts_with(begin));
    text.strip_prefix("unix:").or_else(|| path.then_some(text))
}

fn parse_path(text: &str) -> Result<PathBuf, SpecError> {
    if text.is_empty() || text.ends_with('/') || text.contains('\0') {
        return Err(SpecError::Path(text.to_owned()));
    }
    Ok(text.into())
}

/// `/tcp` or `/udp` at the end of what may have slashes elsewhere.
fn take_transport(text: &str) -> (&str, Option<TransportKind>) {
    for (suffix, transport) in [("/tcp", TransportKind::Tcp), ("/udp", TransportKind::Udp)] {
        if let Some(rest) = text.strip_suffix(suffix) {
            return (rest, Some(transport));
        }
    }
    (text, None)
}

fn parse_transport(text: &str) -> Result<(&str, TransportKind), SpecError> {
    match (take_transport(text), text.rsplit_once('/')) {
        ((rest, Some(transport)), _) => Ok((rest, transport)),
        (_, None) => Ok((text, TransportKind::Tcp)),
        (_, Some((_, other))) => Err(SpecError::Transport(other.to_owned())),
    }
}

/// What stands before `:HOST:HOSTPORT`, which may have colons of its own, and the target; `None` if there are no such parts.
fn split_off_target(text: &str) -> Option<(&str, Result<Target, SpecError>)> {
    let (rest, port) = text.rsplit_once(':')?;
    let (before, host) = match rest.strip_suffix(']') {
        Some(rest) => {
            let (before, host) = rest.rsplit_once('[')?;
            (before.strip_suffix(':')?, host)
        }
        None => rest.rsplit_once(':')?,
    };
    Some((before, parse_target_port(port).and_then(|port| parse_host(host, port))))
}

/// At the colons outside of brackets; the brackets are left away.
fn split(text: &str) -> Result<Vec<&str>, SpecError> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, after) = match rest.strip_prefix('[') {
            Some(inner) => inner.split_once(']').ok_or(SpecError::Bracket)?,
            None => rest.split_at(rest.find(':').unwrap_or(rest.len())),
        };
        parts.push(part);
        match after.strip_prefix(':') {
            Some(after) => rest = after,
            None if after.is_empty() => return Ok(parts),
            None => return Err(SpecError::Bracket),
        }
    }
}

fn parse_bind(text: &str) -> Result<IpAddr, SpecError> {
    match text {
        "localhost" => Ok(Ipv4Addr::LOCALHOST.into()),
        "*" => Ok(Ipv4Addr::UNSPECIFIED.into()),
        "" => Err(SpecError::Bind(String::new())),
        "::" => Ok(Ipv6Addr::UNSPECIFIED.into()),
        _ => text.parse().map_err(|_| SpecError::Bind(text.to_owned())),
    }
}

fn parse_port(text: &str) -> Result<u16, SpecError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| SpecError::Port(text.to_owned()))
}

/// A port that somebody has to be reached at.
fn parse_target_port(text: &str) -> Result<u16, SpecError> {
    match parse_port(text)? {
        0 => Err(SpecError::Port(text.to_owned())),
        port => Ok(port),
    }
}

/// An address, or a name.
pub(crate) fn parse_host(text: &str, port: u16) -> Result<Target, SpecError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Target::Address(SocketAddr::new(address, port)));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    // A last label of digits alone is a mistyped address: no name ends so (RFC 3696 §2).
    let is_name = text.trim_end_matches('.').split('.').all(label)
        && !text.rsplit('.').next().unwrap_or("").bytes().all(|b| b.is_ascii_digit());
    if is_name { Ok(Target::Name(text.to_owned(), port)) } else { Err(SpecError::Host(text.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(text: &str) -> String {
        let spec: LocalSpec = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        format!("{} -> {}", spec.listen, spec.to)
    }

    fn reverse(text: &str) -> String {
        let spec: ReverseSpec = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        format!("{}/{} -> {}", spec.port, spec.transport, spec.to)
    }

    #[test]
    fn every_form_is_understood() {
        for (text, expected) in [
            ("33000:192.168.100.30:8080", "127.0.0.1:33000 -> 192.168.100.30:8080"),
            ("0.0.0.0:53:10.0.0.1:53/udp", "0.0.0.0:53/udp -> 10.0.0.1:53"),
            ("[::1]:80:[fd00::30]:8080/tcp", "[::1]:80 -> [fd00::30]:8080"),
            ("80:[fd00::30]:8080", "127.0.0.1:80 -> [fd00::30]:8080"),
            ("localhost:0:db.corp.example:5432", "127.0.0.1:0 -> db.corp.example:5432"),
            ("*:80:intranet:80", "0.0.0.0:80 -> intranet:80"),
            ("unix:/run/adit/web.sock:10.0.0.1:80", "unix:/run/adit/web.sock -> 10.0.0.1:80"),
            ("/run/a:b/web.sock:db.corp.example:80/tcp", "unix:/run/a:b/web.sock -> db.corp.example:80"),
            ("./web:[fd00::30]:80", "unix:./web -> [fd00::30]:80"),
            ("unix:web:intranet:80", "unix:web -> intranet:80"),
        ] {
            assert_eq!(local(text), expected);
        }
        for (text, expected) in [
            ("2222:127.0.0.1:22", "2222/tcp -> 127.0.0.1:22"),
            ("53:[::1]:5353/udp", "53/udp -> [::1]:5353"),
            ("80:localhost:8080", "80/tcp -> localhost:8080"),
            ("80:unix:/run/web.sock", "80/tcp -> unix:/run/web.sock"),
            ("80:/run/web.sock", "80/tcp -> unix:/run/web.sock"),
            ("80:/run/web.sock/tcp", "80/tcp -> unix:/run/web.sock"),
        ] {
            assert_eq!(reverse(text), expected);
        }
        for (text, expected) in [
            ("1080", "127.0.0.1:1080"),
            ("*:1080", "0.0.0.0:1080"),
            ("[::1]:0", "[::1]:0"),
            ("unix:/run/socks", "unix:/run/socks"),
        ] {
            assert_eq!(text.parse::<ProxySpec>().unwrap().0.to_string(), expected);
        }
        for text in ["git.corp.example:22", "10.0.0.1:22", "[fd00::1]:22"] {
            assert_eq!(text.parse::<TargetSpec>().unwrap().0.to_string(), text);
        }
    }

    fn port(text: &str) -> SpecError {
        SpecError::Port(text.to_owned())
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, expected) in [
            ("", SpecError::Form(LOCAL)),
            ("80", SpecError::Form(LOCAL)),
            ("80:host", SpecError::Form(LOCAL)),
            ("1:2:3:4:5", SpecError::Form(LOCAL)),
            ("80:fd00::30:8080", SpecError::Form(LOCAL)),
            ("80:[fd00::30:8080", SpecError::Bracket),
            ("80:[fd00::30]8080", SpecError::Bracket),
            ("x:host:80", port("x")),
            ("65536:host:80", port("65536")),
            ("+80:host:80", port("+80")),
            ("80:host:0", port("0")),
            ("80:host:", port("")),
            ("nowhere:80:host:80", SpecError::Bind("nowhere".into())),
            ("80:no host:80", SpecError::Host("no host".into())),
            ("80::80", SpecError::Host(String::new())),
            ("80:192.168.1:80", SpecError::Host("192.168.1".into())),
            ("80:host:80/sctp", SpecError::Transport("sctp".into())),
            ("unix:/run/x.sock:host:53/udp", SpecError::UnixDatagrams),
            ("unix:/run/x.sock", SpecError::Form(LOCAL)),
            ("unix:/run/x.sock:80", SpecError::Form(LOCAL)),
            ("unix::host:80", SpecError::Path(String::new())),
            ("/run/:host:80", SpecError::Path("/run/".into())),
            ("/run/x.sock:host:80/sctp", port("80/sctp")),
            ("/run/x.sock:no host:80", SpecError::Host("no host".into())),
        ] {
            assert_eq!(text.parse::<LocalSpec>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_the_other_forms_is_said() {
        for (text, expected) in [
            ("2222", SpecError::Form(REVERSE)),
            ("0:host:22", port("0")),
            ("10.0.0.1:2222:host:22", SpecError::NoBind("10.0.0.1".into())),
            ("2222:host:22/sctp", SpecError::Transport("sctp".into())),
            ("2222:unix:", SpecError::Path(String::new())),
            ("53:unix:/run/dns.sock/udp", SpecError::UnixDatagrams),
            ("53:/run/dns.sock/udp", SpecError::UnixDatagrams),
        ] {
            assert_eq!(text.parse::<ReverseSpec>(), Err(expected), "{text}");
        }
        for (text, expected) in [
            ("", port("")),
            ("1:2:3", SpecError::Form(PROXY)),
            ("nowhere:1080", SpecError::Bind("nowhere".into())),
            ("unix:", SpecError::Path(String::new())),
        ] {
            assert_eq!(text.parse::<ProxySpec>(), Err(expected), "{text}");
        }
        for (text, expected) in [
            ("host", SpecError::Form(TARGET)),
            ("host:0", port("0")),
            ("fd00::1:22", SpecError::Form(TARGET)),
            (":22", SpecError::Host(String::new())),
        ] {
            assert_eq!(text.parse::<TargetSpec>(), Err(expected), "{text}");
        }
    }
}
