//! `-L [BIND:]PORT:HOST:HOSTPORT[/udp]`.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use adit_driver::Target;

/// One forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardSpec {
    /// Where to listen; port 0 takes any free one.
    pub bind: SocketAddr,
    /// Where what arrives there is sent, behind the gateway.
    pub target: Target,
    /// TCP or UDP.
    pub transport: TransportKind,
}

impl ForwardSpec {
    /// Whether both want the same port, on an address they share.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let (a, b) = (self.bind, other.bind);
        self.transport == other.transport
            && a.port() == b.port()
            && a.port() != 0
            && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
    }
}

/// What is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransportKind {
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
pub enum SpecError {
    /// Not three or four parts.
    #[error("expected [BIND:]PORT:HOST:HOSTPORT[/udp], with IPv6 addresses in brackets")]
    Parts,
    /// A bracket without its other.
    #[error("a bracket is not closed")]
    Bracket,
    /// BIND.
    #[error("`{0}` is no address to listen on: give an IP address, `localhost` or `*`")]
    Bind(String),
    /// PORT or HOSTPORT.
    #[error("`{0}` is no port")]
    Port(String),
    /// HOST.
    #[error("`{0}` is no host")]
    Host(String),
    /// After the slash.
    #[error("`/{0}` is neither /tcp nor /udp")]
    Transport(String),
}

impl FromStr for ForwardSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (rest, transport) = match text.rsplit_once('/') {
            None => (text, TransportKind::Tcp),
            Some((rest, "tcp")) => (rest, TransportKind::Tcp),
            Some((rest, "udp")) => (rest, TransportKind::Udp),
            Some((_, other)) => return Err(SpecError::Transport(other.to_owned())),
        };
        let parts = split(rest)?;
        let (bind, port, host, host_port) = match &parts[..] {
            [port, host, host_port] => (IpAddr::V4(Ipv4Addr::LOCALHOST), port, host, host_port),
            [bind, port, host, host_port] => (parse_bind(bind)?, port, host, host_port),
            _ => return Err(SpecError::Parts),
        };
        let host_port = parse_port(host_port)?;
        if host_port == 0 {
            return Err(SpecError::Port("0".to_owned()));
        }
        Ok(Self { bind: SocketAddr::new(bind, parse_port(port)?), target: parse_host(host, host_port)?, transport })
    }
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

fn parse_host(text: &str, port: u16) -> Result<Target, SpecError> {
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

    fn parsed(text: &str) -> String {
        let spec: ForwardSpec = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        format!("{} -> {}/{}", spec.bind, spec.target, spec.transport)
    }

    #[test]
    fn every_form_is_understood() {
        for (text, expected) in [
            ("33000:192.168.100.30:8080", "127.0.0.1:33000 -> 192.168.100.30:8080/tcp"),
            ("0.0.0.0:53:10.0.0.1:53/udp", "0.0.0.0:53 -> 10.0.0.1:53/udp"),
            ("[::1]:80:[fd00::30]:8080/tcp", "[::1]:80 -> [fd00::30]:8080/tcp"),
            ("80:[fd00::30]:8080", "127.0.0.1:80 -> [fd00::30]:8080/tcp"),
            ("localhost:0:db.corp.example:5432", "127.0.0.1:0 -> db.corp.example:5432/tcp"),
            ("*:80:intranet:80", "0.0.0.0:80 -> intranet:80/tcp"),
        ] {
            assert_eq!(parsed(text), expected);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let port = |text: &str| SpecError::Port(text.to_owned());
        for (text, expected) in [
            ("", SpecError::Parts),
            ("80", SpecError::Parts),
            ("80:host", SpecError::Parts),
            ("1:2:3:4:5", SpecError::Parts),
            ("80:fd00::30:8080", SpecError::Parts),
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
        ] {
            assert_eq!(text.parse::<ForwardSpec>(), Err(expected), "{text}");
        }
    }
}
