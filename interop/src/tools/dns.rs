//! Name servers: that of the lan, whose names never change, and one whose names are in a file, and may be others at any time.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::PathBuf,
};

use anyhow::{Context, Result};

use super::say;

/// The host in the lan.
pub(crate) const NAME: &str = "web.corp.example";
/// The same host behind addresses that nobody has, and how many of them are tried before its own: IPv6 comes first, and the families
/// take turns.
pub(crate) const SEVERAL: [(&str, u8); 2] = [("both.corp.example", 1), ("several.corp.example", 2)];
/// Addresses that nobody has.
pub(crate) const DEAD: [IpAddr; 3] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x64, 0, 0, 0, 0, 0, 0x99)),
    IpAddr::V4(Ipv4Addr::new(192, 168, 100, 98)),
    IpAddr::V4(Ipv4Addr::new(192, 168, 100, 99)),
];
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 100, 30));

const TYPE_A: [u8; 4] = [0, 1, 0, 1];
const TYPE_AAAA: [u8; 4] = [0, 28, 0, 1];

/// The addresses of a name of the lan; none of a name that is not there.
pub(crate) fn lan(name: &str) -> Vec<IpAddr> {
    let [dead_v6, dead, dead_too] = DEAD;
    match name {
        NAME => vec![HOST],
        "both.corp.example" => vec![dead_v6, HOST],
        "several.corp.example" => vec![dead, dead_too, HOST],
        _ => Vec::new(),
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    listen: SocketAddr,
    /// Lines `NAME ADDRESS`, read again for each query.
    zone: PathBuf,
}

/// Says of each query what was asked, and what the answer is.
pub(crate) fn main(options: &Options) -> Result<()> {
    let socket = UdpSocket::bind(options.listen).with_context(|| format!("bind {}", options.listen))?;
    say("ready")?;
    serve(&socket, |name| {
        let text = fs::read_to_string(&options.zone).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.split_once(' ')).filter(|(known, _)| *known == name);
        lines.filter_map(|(_, address)| address.trim().parse().ok()).collect()
    });
    Ok(())
}

/// Answers for ever.
pub(crate) fn serve(socket: &UdpSocket, zone: impl Fn(&str) -> Vec<IpAddr>) {
    let mut buffer = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let Some((said, answer)) = answer(&buffer[..length], &zone) else { continue };
        if let Err(error) = say(&said).and_then(|()| Ok(socket.send_to(&answer, from)?)) {
            tracing::warn!("answer to {from}: {error}");
        }
    }
}

/// RFC 1035 §4.1: header, one question, the addresses of its family; and a line about it. `None` for what is no query with one
/// question.
fn answer(query: &[u8], zone: impl Fn(&str) -> Vec<IpAddr>) -> Option<(String, Vec<u8>)> {
    let (header, rest) = query.split_first_chunk::<12>()?;
    if header[2] & 0x80 != 0 || header[4..6] != [0, 1] {
        return None;
    }
    let name_length = rest.iter().position(|byte| *byte == 0)? + 1;
    let (question, kind) = (rest.get(..name_length + 4)?, rest.get(name_length..name_length + 4)?);
    let name = decode(rest.get(..name_length)?)?;
    let known = zone(&name);
    let fits = |address: &&IpAddr| kind == if address.is_ipv6() { TYPE_AAAA } else { TYPE_A };
    let found: Vec<IpAddr> = known.iter().filter(fits).copied().collect();
    let mut reply = header[..2].to_vec();
    // A response, recursion available; 3 is "no such name".
    reply.extend([
        0x81,
        if known.is_empty() { 0x83 } else { 0x80 },
        0,
        1,
        0,
        u8::try_from(found.len()).ok()?,
        0,
        0,
        0,
        0,
    ]);
    reply.extend(question);
    for address in &found {
        // The name of the question, its kind, five minutes, and the address.
        reply.extend([0xc0, 12]);
        reply.extend(kind);
        reply.extend([0, 0, 1, 44]);
        match address {
            IpAddr::V4(address) => reply.extend([&[0, 4][..], &address.octets()].concat()),
            IpAddr::V6(address) => reply.extend([&[0, 16][..], &address.octets()].concat()),
        }
    }
    let kind = match kind {
        kind if kind == TYPE_A => "A",
        kind if kind == TYPE_AAAA => "AAAA",
        _ => "?",
    };
    Some((format!("asked {name} {kind}: {found:?}"), reply))
}

/// The name with dots between its labels, in small letters.
fn decode(mut bytes: &[u8]) -> Option<String> {
    let mut labels = Vec::new();
    while let Some((length, rest)) = bytes.split_first().filter(|(length, _)| **length > 0) {
        let (label, rest) = rest.split_at_checked(usize::from(*length))?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        bytes = rest;
    }
    Some(labels.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str, kind: u8) -> Vec<u8> {
        let mut query = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            query.push(label.len() as u8);
            query.extend(label.bytes());
        }
        query.extend([0, 0, kind, 0, 1]);
        query
    }

    fn reply(query: &[u8]) -> Option<Vec<u8>> {
        answer(query, lan).map(|(_, reply)| reply)
    }

    #[test]
    fn only_addresses_of_names_that_are_there_are_answered() {
        let found = reply(&query("Web.corp.example", 1)).unwrap();
        assert_eq!((found[..4].to_vec(), found[7]), (vec![7, 9, 0x81, 0x80], 1));
        assert!(found.ends_with(&[0, 4, 192, 168, 100, 30]));
        let no_address = reply(&query(NAME, 28)).unwrap();
        assert_eq!((no_address[3], no_address[7]), (0x80, 0));
        let unknown = reply(&query("other.example", 1)).unwrap();
        assert_eq!((unknown[3], unknown[7]), (0x83, 0));
        assert!(reply(&query(NAME, 1)[..20]).is_none());
    }

    #[test]
    fn a_name_with_addresses_of_both_families_has_those_that_were_asked_for() {
        let (v6, v4) =
            (reply(&query("both.corp.example", 28)).unwrap(), reply(&query("both.corp.example", 1)).unwrap());
        assert!(v6[7] == 1 && v6.ends_with(&[0, 0x99]) && v4[7] == 1 && v4.ends_with(&[100, 30]));
        assert_eq!(reply(&query("several.corp.example", 1)).unwrap()[7], 3);
        let (said, _) = answer(&query(NAME, 1), lan).unwrap();
        assert_eq!(said, "asked web.corp.example A: [192.168.100.30]");
    }
}
