//! What is on the wire: RFC 1928, and RFC 1929 for user name and password.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use adit_driver::Target;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{plan::Login, spec};

const VERSION: u8 = 5;
const LOGIN_VERSION: u8 = 1;
/// RFC 1928 §3.
const NO_LOGIN: u8 = 0;
const BY_LOGIN: u8 = 2;
const NO_METHOD: u8 = 0xff;
/// RFC 1928 §5.
const V4: u8 = 1;
const NAME: u8 = 3;
const V6: u8 = 4;
/// Kind of address, a length, a name, a port.
const MOST_ADDRESS_BYTES: usize = 1 + 1 + 255 + 2;

/// RFC 1928 §4.
pub(super) const CONNECT: u8 = 1;
pub(super) const BIND: u8 = 2;
pub(super) const UDP_ASSOCIATE: u8 = 3;

/// What a client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) command: u8,
    pub(super) target: Target,
}

/// RFC 1928 §6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    Succeeded = 0,
    Failure = 1,
    NetworkUnreachable = 3,
    HostUnreachable = 4,
    Refused = 5,
    TtlExpired = 6,
    CommandNotSupported = 7,
    AddressNotSupported = 8,
}

/// Why there is no request.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The first byte.
    #[error("this port speaks SOCKS5, and the client {}", speaks(*.0))]
    NotSocks5(u8),
    #[error("the client offers no way to say who it is that is accepted here{}", if *.0 { ": it has to give user name and password" } else { "" })]
    NoMethod(bool),
    #[error("user name or password is wrong")]
    Login,
    #[error("the client breaks off the rules of SOCKS5")]
    Malformed,
    /// ATYP.
    #[error("the client names its target in an unknown way ({0})")]
    AddressKind(u8),
    #[error("`{0}` is no host")]
    Host(String),
}

fn speaks(first: u8) -> &'static str {
    match first {
        4 => "SOCKS4: have it use SOCKS5",
        b'A'..=b'Z' => "HTTP: have it use --http-proxy, or SOCKS5",
        0x16 => "TLS: have it use SOCKS5",
        _ => "something else",
    }
}

impl Trouble {
    /// What the client is told, in its own words where they are known.
    pub(super) fn answer(&self) -> Vec<u8> {
        match self {
            Self::Io(_) | Self::Malformed => Vec::new(),
            // The eight bytes of a SOCKS4 client: rejected.
            Self::NotSocks5(4) => vec![0, 0x5b, 0, 0, 0, 0, 0, 0],
            Self::NotSocks5(b'A'..=b'Z') => b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\
                Content-Type: text/plain\r\nContent-Length: 25\r\n\r\nThis port speaks SOCKS5.\n"
                .to_vec(),
            Self::NotSocks5(_) => Vec::new(),
            Self::NoMethod(_) => vec![VERSION, NO_METHOD],
            Self::Login => vec![LOGIN_VERSION, 1],
            Self::AddressKind(_) => Reply::AddressNotSupported.encode(None),
            Self::Host(_) => Reply::HostUnreachable.encode(None),
        }
    }
}

impl Reply {
    /// For what became of an attempt to connect.
    pub(super) fn of(error: &io::Error) -> Self {
        let known = [
            (io::ErrorKind::ConnectionRefused, Self::Refused),
            (io::ErrorKind::ConnectionReset, Self::Refused),
            (io::ErrorKind::HostUnreachable, Self::HostUnreachable),
            (io::ErrorKind::NotFound, Self::HostUnreachable),
            (io::ErrorKind::NetworkUnreachable, Self::NetworkUnreachable),
            (io::ErrorKind::AddrNotAvailable, Self::NetworkUnreachable),
            // Without a tunnel there is no network.
            (io::ErrorKind::NotConnected, Self::NetworkUnreachable),
            (io::ErrorKind::TimedOut, Self::TtlExpired),
        ];
        known.iter().find(|(kind, _)| *kind == error.kind()).map_or(Self::Failure, |(_, reply)| *reply)
    }

    /// With the address the client may want to know.
    pub(super) fn encode(self, bound: Option<SocketAddr>) -> Vec<u8> {
        let bound = bound.unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into());
        let mut bytes = vec![VERSION, self as u8, 0];
        encode_address(bound, &mut bytes);
        bytes
    }
}

/// Agrees on a method, has the client prove itself, and reads what it wants. No byte more than that is read.
pub(super) async fn handshake<S>(mut stream: S, login: Option<&Login>) -> Result<Request, Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match stream.read_u8().await? {
        VERSION => {}
        other => return Err(Trouble::NotSocks5(other)),
    }
    let mut methods = [0; 255];
    let methods = read_counted(&mut stream, &mut methods).await?;
    let method = if login.is_some() { BY_LOGIN } else { NO_LOGIN };
    if !methods.contains(&method) {
        return Err(Trouble::NoMethod(login.is_some()));
    }
    stream.write_all(&[VERSION, method]).await?;
    if let Some(login) = login {
        prove(&mut stream, login).await?;
    }
    let mut head = [0; 3];
    stream.read_exact(&mut head).await?;
    let [VERSION, command, _] = head else { return Err(Trouble::Malformed) };
    Ok(Request { command, target: read_address(&mut stream).await? })
}

/// RFC 1929 §2.
async fn prove<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, login: &Login) -> Result<(), Trouble> {
    if stream.read_u8().await? != LOGIN_VERSION {
        return Err(Trouble::Malformed);
    }
    let (mut user, mut password) = ([0; 255], zeroize::Zeroizing::new([0; 255]));
    let user = read_counted(&mut stream, &mut user).await?;
    let password = read_counted(&mut stream, &mut password).await?;
    if !login.admits(user, password) {
        return Err(Trouble::Login);
    }
    Ok(stream.write_all(&[LOGIN_VERSION, 0]).await?)
}

/// A length of one byte, and so many bytes.
async fn read_counted<S: AsyncRead + Unpin>(mut stream: S, buffer: &mut [u8; 255]) -> io::Result<&[u8]> {
    let length = usize::from(stream.read_u8().await?);
    let bytes = &mut buffer[..length];
    stream.read_exact(bytes).await?;
    Ok(bytes)
}

async fn read_address<S: AsyncRead + Unpin>(mut stream: S) -> Result<Target, Trouble> {
    let mut bytes = [0; MOST_ADDRESS_BYTES];
    bytes[0] = stream.read_u8().await?;
    let (known, length) = match bytes[0] {
        V4 => (1, 4),
        V6 => (1, 16),
        NAME => {
            bytes[1] = stream.read_u8().await?;
            (2, usize::from(bytes[1]))
        }
        other => return Err(Trouble::AddressKind(other)),
    };
    let end = known + length + 2;
    stream.read_exact(&mut bytes[known..end]).await?;
    Ok(parse_address(&bytes[..end])?.0)
}

/// The address at the beginning, and what follows it.
pub(super) fn parse_address(bytes: &[u8]) -> Result<(Target, &[u8]), Trouble> {
    let (&kind, rest) = bytes.split_first().ok_or(Trouble::Malformed)?;
    let with_port = |ip: IpAddr, rest| {
        let (port, rest) = split_port(rest)?;
        Ok((Target::Address(SocketAddr::new(ip, port)), rest))
    };
    match kind {
        V4 => {
            let (ip, rest) = rest.split_first_chunk::<4>().ok_or(Trouble::Malformed)?;
            with_port(Ipv4Addr::from(*ip).into(), rest)
        }
        V6 => {
            let (ip, rest) = rest.split_first_chunk::<16>().ok_or(Trouble::Malformed)?;
            with_port(Ipv6Addr::from(*ip).into(), rest)
        }
        NAME => {
            let (&length, rest) = rest.split_first().ok_or(Trouble::Malformed)?;
            let (name, rest) = rest.split_at_checked(length.into()).ok_or(Trouble::Malformed)?;
            let (port, rest) = split_port(rest)?;
            let host = || Trouble::Host(String::from_utf8_lossy(name).escape_debug().to_string());
            let name = std::str::from_utf8(name).map_err(|_| host())?;
            // Some clients send an address as a name.
            Ok((spec::parse_host(name, port).map_err(|_| host())?, rest))
        }
        other => Err(Trouble::AddressKind(other)),
    }
}

fn split_port(bytes: &[u8]) -> Result<(u16, &[u8]), Trouble> {
    let (port, rest) = bytes.split_first_chunk::<2>().ok_or(Trouble::Malformed)?;
    Ok((u16::from_be_bytes(*port), rest))
}

/// Kind, address and port.
pub(super) fn encode_address(address: SocketAddr, to: &mut Vec<u8>) {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => {
            to.push(V4);
            to.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            to.push(V6);
            to.extend(ip.octets());
        }
    }
    to.extend(address.port().to_be_bytes());
}

/// RFC 1928 §7: where a datagram goes, and what is in it. `None` for a fragment: they are not put together.
pub(super) fn parse_datagram(bytes: &[u8]) -> Result<Option<(Target, &[u8])>, Trouble> {
    match bytes.split_first_chunk::<3>() {
        Some(([_, _, 0], rest)) => parse_address(rest).map(Some),
        Some(_) => Ok(None),
        None => Err(Trouble::Malformed),
    }
}

/// What stands before a datagram from this address.
pub(super) fn datagram_head(from: SocketAddr) -> Vec<u8> {
    let mut head = vec![0, 0, 0];
    encode_address(from, &mut head);
    head
}
