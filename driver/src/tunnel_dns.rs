//! Names behind the tunnel, asked of the DNS servers the gateway pushed (RFC 1035): A and AAAA, nothing else.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use adit_tunnel::{NetworkConfig, Random};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{connection::Connection, inside::Tie, random::OsRandom, shared::Shared, udp_socket::UdpSocket};

/// How long one server has to answer, and how often each is asked: 2 s and twice, quicker than glibc's 5 s as the
/// servers are near.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
const ROUNDS: usize = 2;
/// How long IPv6 addresses are waited for once there are others: the Resolution Delay of RFC 8305 §8.
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
const DNS_PORT: u16 = 53;
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;
/// RFC 1035 §4.1.1.
const HEADER_BYTES: usize = 12;
const FLAG_RESPONSE: u16 = 0x8000;
/// There is more than fits.
const FLAG_TRUNCATED: u16 = 0x0200;
/// The answer is no error.
const NO_ERROR: u8 = 0;
/// The name does not exist.
const NAME_ERROR: u8 = 3;

/// All addresses of `host` in the families the tunnel has, IPv6 first; those alone that came in time.
pub(crate) async fn lookup(shared: &Arc<Shared>, network: &NetworkConfig, host: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    if network.dns.servers.is_empty() {
        let text = format!("cannot resolve {host}: the gateway pushed no DNS server; use an address");
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    let has = |v6: bool| network.addresses.iter().any(|net| net.address().is_ipv6() == v6);
    let servers = &network.dns.servers;
    let mut trouble = None;
    for name in candidates(host, &network.dns.search_domains) {
        let mut found = Vec::new();
        // Side by side (RFC 8305 §3): servers that know nothing of IPv6 often say nothing at all about it.
        // Boxed: a connection that has been dialled keeps the place of everything that its dialling awaited.
        let answers = in_time(
            Box::pin(ask_if(has(true), shared, servers, &name, TYPE_AAAA)),
            Box::pin(ask_if(has(false), shared, servers, &name, TYPE_A)),
        );
        for answer in answers.await {
            match answer {
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

type Answer = io::Result<Vec<IpAddr>>;

/// The answers about IPv6 and IPv4. Who has IPv4 addresses waits no longer than [`RESOLUTION_DELAY`] for others, as nobody may ever
/// say anything about them.
async fn in_time(v6: impl Future<Output = Answer>, v4: impl Future<Output = Answer>) -> [Answer; 2] {
    let (mut v6, mut v4) = (pin!(v6), pin!(v4));
    tokio::select! {
        biased;
        sixth = &mut v6 => [sixth, v4.await],
        fourth = &mut v4 => {
            let is_enough = fourth.as_ref().is_ok_and(|addresses| !addresses.is_empty());
            let sixth = if is_enough {
                tokio::time::timeout(RESOLUTION_DELAY, v6).await.unwrap_or_else(|_| Ok(Vec::new()))
            } else {
                v6.await
            };
            [sixth, fourth]
        }
    }
}

/// The names to ask for: a short one with each search domain first.
fn candidates(host: &str, domains: &[String]) -> Vec<String> {
    let host = host.trim_end_matches('.');
    let extended = domains.iter().map(|domain| format!("{host}.{}", domain.trim_matches('.')));
    if host.contains('.') { vec![host.to_owned()] } else { extended.chain([host.to_owned()]).collect() }
}

/// As [`ask_all`]; nobody is asked about a family that the tunnel does not have.
async fn ask_if(
    wanted: bool,
    shared: &Arc<Shared>,
    servers: &[IpAddr],
    name: &str,
    kind: u16,
) -> io::Result<Vec<IpAddr>> {
    if wanted { ask_all(shared, servers, name, kind).await } else { Ok(Vec::new()) }
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
    // Unpredictable, and from a port of its own: RFC 5452.
    let id = OsRandom.next_u32() as u16;
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, format!("{name} is no host name"));
    let query = query(id, name, kind).ok_or_else(invalid)?;
    let mut response = ask_udp(shared, server, &query).await?;
    if response.truncated {
        tracing::debug!("the answer of {server} about {name} is too long for UDP");
        response = ask_tcp(shared, server, &query).await?;
    }
    match response.code {
        NO_ERROR | NAME_ERROR => Ok(response.addresses),
        code => Err(io::Error::other(format!("the DNS server {server} answers with error {code}"))),
    }
}

async fn ask_udp(shared: &Arc<Shared>, server: SocketAddr, query: &[u8]) -> io::Result<Response> {
    let socket = UdpSocket::bind(shared.inside(), Tie::Free)?;
    socket.send_to(query, server)?;
    let mut buffer = [0; 1500];
    loop {
        let (length, source) = socket.recv_from(&mut buffer).await?;
        let message = buffer.get(..length).unwrap_or_default();
        if source == server
            && let Some(response) = parse(message, query)
        {
            return Ok(response);
        }
    }
}

/// Messages behind their length (RFC 1035 §4.2.2).
async fn ask_tcp(shared: &Arc<Shared>, server: SocketAddr, query: &[u8]) -> io::Result<Response> {
    let mut connection = Connection::open(shared.inside(), server, Tie::Free).await?;
    connection.write_all(&[&(query.len() as u16).to_be_bytes(), query].concat()).await?;
    let mut message = vec![0; connection.read_u16().await?.into()];
    connection.read_exact(&mut message).await?;
    let foreign = || io::Error::new(io::ErrorKind::InvalidData, format!("the DNS server {server} answers nonsense"));
    parse(&message, query).ok_or_else(foreign)
}

/// What a server said.
#[derive(Debug, PartialEq, Eq)]
struct Response {
    code: u8,
    truncated: bool,
    addresses: Vec<IpAddr>,
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

/// `None` for anything but the response to our query, whose question it repeats. The names of the records are not compared:
/// aliases make them differ.
fn parse(message: &[u8], query: &[u8]) -> Option<Response> {
    let field = |at: usize| Some(u16::from_be_bytes(*message.get(at..)?.first_chunk()?));
    let question = query.get(HEADER_BYTES..)?;
    let flags = field(2)?;
    // Servers may change the case of letters; everything else of a question is below them (RFC 4343).
    let ours = message.get(..2)? == query.get(..2)?
        && flags & FLAG_RESPONSE != 0
        && field(4)? == 1
        && message.get(HEADER_BYTES..HEADER_BYTES + question.len())?.eq_ignore_ascii_case(question);
    if !ours {
        return None;
    }
    let kind = u16::from_be_bytes(*question.get(question.len().checked_sub(4)?..)?.first_chunk()?);
    let mut addresses = Vec::new();
    let mut at = HEADER_BYTES + question.len();
    for _ in 0..field(6)? {
        let Some(record) = skip_name(message, at) else { break };
        let (Some(record_kind), Some(class), Some(length)) = (field(record), field(record + 2), field(record + 8))
        else {
            break;
        };
        at = record + 10 + usize::from(length);
        if (record_kind, class) == (kind, CLASS_IN) {
            addresses.extend(message.get(record + 10..at).and_then(|data| address(kind, data)));
        }
    }
    Some(Response { code: (flags & 0x000f) as u8, truncated: flags & FLAG_TRUNCATED != 0, addresses })
}

/// The content of an A or AAAA record, which has the length of its type.
fn address(kind: u16, data: &[u8]) -> Option<IpAddr> {
    match kind {
        TYPE_A => <[u8; 4]>::try_from(data).ok().map(IpAddr::from),
        TYPE_AAAA => <[u8; 16]>::try_from(data).ok().map(IpAddr::from),
        _ => None,
    }
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

    fn www() -> Vec<u8> {
        query(7, "www.example.com", TYPE_A).unwrap()
    }

    #[test]
    fn addresses_are_found_behind_aliases() {
        let expected = Response { code: NO_ERROR, truncated: false, addresses: vec![[10, 1, 2, 3].into()] };
        assert_eq!(parse(&answer(), &www()).as_ref(), Some(&expected));
        let mut cased = answer();
        cased[13..16].copy_from_slice(b"WwW");
        assert_eq!(parse(&cased, &www()), Some(expected), "letters may change their case");
    }

    #[test]
    fn the_answer_to_another_question_is_none() {
        for other in [
            query(8, "www.example.com", TYPE_A),
            query(7, "www.example.org", TYPE_A),
            query(7, "example.com", TYPE_A),
            query(7, "www.example.com", TYPE_AAAA),
        ] {
            assert_eq!(parse(&answer(), &other.unwrap()), None);
        }
        assert_eq!(parse(&www(), &www()), None, "a query is no response");
        let mut no_question = answer();
        no_question[5] = 0;
        assert_eq!(parse(&no_question, &www()), None);
    }

    #[test]
    fn a_record_has_the_length_of_its_type() {
        let mut wrong = www();
        wrong[2..4].copy_from_slice(&[0x81, 0x80]);
        wrong[7] = 2;
        wrong.extend_from_slice(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x10");
        wrong.extend_from_slice(&[0xfd; 16]);
        wrong.extend_from_slice(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x01\x02\x03");
        assert_eq!(parse(&wrong, &www()).unwrap().addresses, [IpAddr::from([10, 1, 2, 3])]);
    }

    #[test]
    fn an_answer_cut_short_is_no_panic() {
        let whole = answer();
        for length in 0..whole.len() {
            if let Some(response) = parse(&whole[..length], &www()) {
                assert!(response.addresses.is_empty());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_ipv4_addresses_does_not_wait_for_a_silent_server_to_tell_of_others() {
        let [v4, v6]: [IpAddr; 2] = [[10, 1, 2, 3].into(), [0xfd00, 0, 0, 0, 0, 0, 0, 1].into()];
        let after = |ms, addresses: &[IpAddr]| {
            let addresses = addresses.to_vec();
            async move {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok(addresses)
            }
        };
        for (sixth, fourth, expected, took) in [
            (after(4000, &[v6]), after(10, &[v4]), vec![v4], 60),
            (after(40, &[v6]), after(10, &[v4]), vec![v6, v4], 40),
            (after(10, &[v6]), after(2000, &[v4]), vec![v6, v4], 2000),
            // There is nothing else to go on with.
            (after(2000, &[v6]), after(10, &[]), vec![v6], 2000),
        ] {
            let start = tokio::time::Instant::now();
            let found: Vec<IpAddr> = in_time(sixth, fourth).await.into_iter().flat_map(Result::unwrap).collect();
            assert_eq!((found, start.elapsed()), (expected, Duration::from_millis(took)));
        }
    }

    #[test]
    fn short_names_are_tried_with_the_search_domains_first() {
        assert_eq!(candidates("db", &["corp.example".into()]), ["db.corp.example", "db"]);
        assert_eq!(candidates("db.corp.", &["corp.example".into()]), ["db.corp"]);
    }
}
