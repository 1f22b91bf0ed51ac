//! Names behind the tunnel, asked of the DNS servers the gateway pushed (RFC 1035): A and AAAA, nothing else.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use adit_tunnel::{NetworkConfig, Random};

use crate::{random::OsRandom, shared::Shared, udp_socket::UdpSocket};

/// How long one server has to answer, and how often each is asked: 2 s and twice, quicker than glibc's 5 s as the
/// servers are near.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
const ROUNDS: usize = 2;
const DNS_PORT: u16 = 53;
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;
/// RFC 1035 §4.1.1: the answer is no error.
const NO_ERROR: u8 = 0;
/// The name does not exist.
const NAME_ERROR: u8 = 3;

/// All addresses of `host` in the families the tunnel has, IPv6 first.
pub(crate) async fn lookup(shared: &Arc<Shared>, network: &NetworkConfig, host: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    if network.dns.servers.is_empty() {
        let text = format!("cannot resolve {host}: the gateway pushed no DNS server; use an address");
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    let has = |v6: bool| network.addresses.iter().any(|net| net.address().is_ipv6() == v6);
    let types: Vec<u16> = [(has(true), TYPE_AAAA), (has(false), TYPE_A)].iter().filter(|t| t.0).map(|t| t.1).collect();
    let mut trouble = None;
    for name in candidates(host, &network.dns.search_domains) {
        let mut found = Vec::new();
        for &kind in &types {
            match ask_all(shared, &network.dns.servers, &name, kind).await {
                Ok(addresses) => found.extend(addresses),
                Err(error) => trouble = Some(error),
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Err(trouble
        .unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no such name behind the tunnel: {host}"))))
}

/// The names to ask for: a short one with each search domain first.
fn candidates(host: &str, domains: &[String]) -> Vec<String> {
    let host = host.trim_end_matches('.');
    let extended = domains.iter().map(|domain| format!("{host}.{}", domain.trim_matches('.')));
    if host.contains('.') { vec![host.to_owned()] } else { extended.chain([host.to_owned()]).collect() }
}

async fn ask_all(shared: &Arc<Shared>, servers: &[IpAddr], name: &str, kind: u16) -> io::Result<Vec<IpAddr>> {
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for server in (0..ROUNDS).flat_map(|_| servers) {
        match tokio::time::timeout(ANSWER_TIMEOUT, ask(shared, (*server, DNS_PORT).into(), name, kind)).await {
            Ok(Ok(addresses)) => return Ok(addresses),
            Ok(Err(error)) => last = error,
            Err(_) => {
                let text = format!("the DNS server {server} behind the tunnel does not answer");
                last = io::Error::new(io::ErrorKind::TimedOut, text);
            }
        }
    }
    Err(last)
}

async fn ask(shared: &Arc<Shared>, server: SocketAddr, name: &str, kind: u16) -> io::Result<Vec<IpAddr>> {
    let socket = UdpSocket::bind(Arc::clone(shared))?;
    // Unpredictable, and from a port of its own: RFC 5452.
    let id = OsRandom.next_u32() as u16;
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, format!("{name} is no host name"));
    socket.send_to(&query(id, name, kind).ok_or_else(invalid)?, server)?;
    let mut buffer = [0; 1500];
    loop {
        let (length, source) = socket.recv_from(&mut buffer).await?;
        let message = buffer.get(..length).unwrap_or_default();
        if source == server
            && let Some(answer) = parse(message, id, kind)
        {
            return match answer {
                (NO_ERROR | NAME_ERROR, addresses) => Ok(addresses),
                (code, _) => Err(io::Error::other(format!("the DNS server {server} answers with error {code}"))),
            };
        }
    }
}

/// A query with recursion; `None` when the name cannot be one.
fn query(id: u16, name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut message = Vec::with_capacity(18 + name.len());
    for field in [id, 0x0100, 1, 0, 0, 0] {
        message.extend_from_slice(&field.to_be_bytes());
    }
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        message.push(length);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    for field in [kind, CLASS_IN] {
        message.extend_from_slice(&field.to_be_bytes());
    }
    (message.len() <= 12 + 255 + 4).then_some(message)
}

/// Response code and addresses; `None` for anything but the response to our query. Names are not compared: aliases make
/// them differ, and id, port and server do what comparing would.
fn parse(message: &[u8], id: u16, kind: u16) -> Option<(u8, Vec<IpAddr>)> {
    let field = |at: usize| Some(u16::from_be_bytes(*message.get(at..)?.first_chunk()?));
    let flags = field(2)?;
    if field(0)? != id || flags & 0x8000 == 0 {
        return None;
    }
    let (questions, answers) = (field(4)?, field(6)?);
    let mut at = 12;
    for _ in 0..questions {
        at = skip_name(message, at)? + 4;
    }
    let mut addresses = Vec::new();
    for _ in 0..answers {
        let Some(record) = skip_name(message, at) else { break };
        let (Some(record_kind), Some(class), Some(length)) = (field(record), field(record + 2), field(record + 8))
        else {
            break;
        };
        let data = message.get(record + 10..record + 10 + usize::from(length)).unwrap_or_default();
        if (record_kind, class) == (kind, CLASS_IN) {
            let v4 = <[u8; 4]>::try_from(data).map(IpAddr::from);
            addresses.extend(v4.or_else(|_| <[u8; 16]>::try_from(data).map(IpAddr::from)));
        }
        at = record + 10 + usize::from(length);
    }
    Some(((flags & 0x000f) as u8, addresses))
}

/// Where the name at `at` ends: after its final zero, or after a pointer (RFC 1035 §4.1.4).
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_the_one_of_the_rfc() {
        let expected = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01";
        assert_eq!(query(0x1234, "example.com", TYPE_A).unwrap(), expected);
        assert_eq!(query(1, "a..b", TYPE_A), None);
        assert_eq!(query(1, &"a".repeat(64), TYPE_A), None);
    }

    /// An answer with an alias before the address, names compressed.
    fn answer() -> Vec<u8> {
        let mut message = query(7, "www.example.com", TYPE_A).unwrap();
        message[2..4].copy_from_slice(&[0x81, 0x80]);
        message[7] = 2;
        message.extend_from_slice(b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x02\xc0\x10");
        message.extend_from_slice(b"\xc0\x10\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x01\x02\x03");
        message
    }

    #[test]
    fn addresses_are_found_behind_aliases() {
        assert_eq!(parse(&answer(), 7, TYPE_A), Some((0, vec![IpAddr::from([10, 1, 2, 3])])));
        assert_eq!(parse(&answer(), 8, TYPE_A), None);
    }

    #[test]
    fn a_truncated_answer_is_no_panic() {
        let whole = answer();
        for length in 0..whole.len() {
            if let Some((_, addresses)) = parse(&whole[..length], 7, TYPE_A) {
                assert!(addresses.is_empty());
            }
        }
    }

    #[test]
    fn short_names_are_tried_with_the_search_domains_first() {
        assert_eq!(candidates("db", &["corp.example".into()]), ["db.corp.example", "db"]);
        assert_eq!(candidates("db.corp.", &["corp.example".into()]), ["db.corp"]);
    }
}
