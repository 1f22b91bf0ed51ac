//! A SOCKS5 client that sends datagrams (RFC 1928 §7), one after the other, and tells whom the answers are from.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::say;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    proxy: SocketAddr,
    /// Where the datagrams go: an IPv4 address or a name, and a port.
    target: String,
    #[arg(long, default_value_t = 20)]
    count: u32,
}

/// What became of the datagrams.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Those that came back as they were.
    pub(crate) echoed: u32,
    /// Whom the last answer was from.
    pub(crate) from: String,
    /// Whether a datagram sent after the end of the association came back.
    pub(crate) after_end: bool,
}

pub(crate) fn main(options: &Options) -> Result<()> {
    let (control, relay) = associate(options.proxy)?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    let head = head(&options.target)?;
    let mut report = Report { echoed: 0, from: String::new(), after_end: false };
    for number in 0..options.count {
        let payload = format!("datagram {number}");
        if let Some((from, echo)) = exchange(&socket, relay, &head, payload.as_bytes(), Duration::from_secs(20))? {
            ensure!(echo == payload.as_bytes(), "another datagram came back");
            report = Report { echoed: report.echoed + 1, from, ..report };
        }
    }
    drop(control);
    // The proxy learns of it some time after this.
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        report.after_end = exchange(&socket, relay, &head, b"late", Duration::ZERO)?.is_some();
        if !report.after_end || Instant::now() > deadline {
            break;
        }
    }
    say(&serde_json::to_string(&report)?)
}

fn associate(proxy: SocketAddr) -> Result<(TcpStream, SocketAddr)> {
    let mut control = TcpStream::connect(proxy)?;
    control.set_read_timeout(Some(Duration::from_secs(20)))?;
    control.write_all(&[5, 1, 0])?;
    let mut chosen = [0; 2];
    control.read_exact(&mut chosen)?;
    ensure!(chosen == [5, 0], "method {chosen:?}");
    control.write_all(&[5, 3, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let mut reply = [0; 10];
    control.read_exact(&mut reply)?;
    let [5, 0, 0, 1, a, b, c, d, high, low] = reply else { anyhow::bail!("reply {reply:?}") };
    Ok((control, (Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into()))
}

fn head(target: &str) -> Result<Vec<u8>> {
    let (host, port) = target.rsplit_once(':').context("HOST:PORT")?;
    let port: u16 = port.parse()?;
    let address = match host.parse::<Ipv4Addr>() {
        Ok(ip) => [&[1][..], &ip.octets()].concat(),
        Err(_) => [&[3, u8::try_from(host.len())?][..], host.as_bytes()].concat(),
    };
    Ok([&[0, 0, 0][..], &address, &port.to_be_bytes()].concat())
}

/// Sends until an answer comes: datagrams may be lost. With no patience, once.
fn exchange(
    socket: &UdpSocket,
    relay: SocketAddr,
    head: &[u8],
    payload: &[u8],
    patience: Duration,
) -> Result<Option<(String, Vec<u8>)>> {
    let deadline = Instant::now() + patience;
    let mut buffer = [0; 2000];
    loop {
        socket.send_to(&[head, payload].concat(), relay)?;
        match socket.recv(&mut buffer) {
            // Answers come from addresses, not names.
            Ok(length @ 10..) if buffer[..4] == [0, 0, 0, 1] => {
                let ip = Ipv4Addr::new(buffer[4], buffer[5], buffer[6], buffer[7]);
                let from = format!("{ip}:{}", u16::from_be_bytes([buffer[8], buffer[9]]));
                // An answer to an earlier attempt is none to this one.
                if buffer[10..length] == *payload {
                    return Ok(Some((from, payload.to_vec())));
                }
            }
            Ok(length) => anyhow::bail!("{length} bytes that are no answer"),
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {}
            Err(error) => return Err(error.into()),
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
    }
}
