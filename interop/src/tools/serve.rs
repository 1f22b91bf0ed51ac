//! The host in the lan: a web server and a UDP echo.
//!
//! - `GET /` is the Hello World;
//! - `GET /bytes/N` is a body of N bytes, `GET /paced/N/SECONDS` the same over that time;
//! - `POST /sink` answers with the SHA-256 of what it got;
//! - datagrams to the echo come back as they are;
//! - the name server knows a few names.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use ring::digest::{Context, SHA256};

use super::{dns, http, http::Request, pattern::Body, say};

/// What the Hello World says.
pub(crate) const HELLO: &str = "<body><h1>Hello world!</h1></body></html>";

/// Requests being answered now.
static OPEN: AtomicUsize = AtomicUsize::new(0);

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where the web server listens.
    #[arg(long)]
    web: SocketAddr,
    /// Where the UDP echo listens.
    #[arg(long)]
    echo: SocketAddr,
    /// Where the name server listens, if there shall be one.
    #[arg(long)]
    dns: Option<SocketAddr>,
}

pub(crate) fn main(options: &Options) -> Result<()> {
    let listener = TcpListener::bind(options.web).with_context(|| format!("bind {}", options.web))?;
    let echo = UdpSocket::bind(options.echo).with_context(|| format!("bind {}", options.echo))?;
    thread::spawn(move || echo_datagrams(&echo));
    if let Some(address) = options.dns {
        let socket = UdpSocket::bind(address).with_context(|| format!("bind {address}"))?;
        thread::spawn(move || dns::serve(&socket, dns::lan));
    }
    say("ready")?;
    http::listen(&listener, handle)
}

fn handle(request: Request) -> Result<()> {
    let open = OPEN.fetch_add(1, Ordering::Relaxed) + 1;
    say(&format!("{} {} open={open}", request.method, request.path))?;
    let result = answer(request);
    OPEN.fetch_sub(1, Ordering::Relaxed);
    result
}

fn answer(mut request: Request) -> Result<()> {
    let path = request.path.clone();
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match (request.method.as_str(), parts.as_slice()) {
        ("GET", [""]) => request.answer("200 OK", HELLO),
        ("GET", ["bytes", length]) => send(&mut request, length.parse()?, Duration::ZERO),
        ("GET", ["paced", length, seconds]) => {
            send(&mut request, length.parse()?, Duration::from_secs_f64(seconds.parse()?))
        }
        ("POST", ["sink"]) => {
            let hash = swallow(&mut request)?;
            request.answer("200 OK", &hash)
        }
        _ => request.answer("404 Not Found", "not found"),
    }
}

fn send(request: &mut Request, length: usize, over: Duration) -> Result<()> {
    let stream = request.head("200 OK", length)?;
    let (started, mut body) = (Instant::now(), Body::new());
    // Some twenty writes a second keep a paced transfer even.
    let piece = if over.is_zero() { Body::PIECE } else { paced_piece(length, over) };
    let mut buffer = vec![0; piece];
    let mut sent = 0;
    while sent < length {
        let part = &mut buffer[..piece.min(length - sent)];
        body.fill(part);
        stream.write_all(part)?;
        sent += part.len();
        let due = started + over.mul_f64(sent as f64 / length as f64);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

fn paced_piece(length: usize, over: Duration) -> usize {
    let piece = length as f64 / (over.as_secs_f64() * 20.0);
    (piece as usize / 8 * 8).clamp(8, Body::PIECE)
}

fn swallow(request: &mut Request) -> Result<String> {
    let mut hash = Context::new(&SHA256);
    let mut buffer = vec![0; Body::PIECE];
    let mut left = request.length;
    while left > 0 {
        let wanted = left.min(buffer.len());
        let count = request.stream.read(&mut buffer[..wanted])?;
        anyhow::ensure!(count > 0, "the upload ended {left} bytes early");
        hash.update(&buffer[..count]);
        left -= count;
    }
    Ok(hex::encode(hash.finish()))
}

fn echo_datagrams(socket: &UdpSocket) {
    let mut buffer = vec![0; 65_536];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        if let Err(error) = socket.send_to(&buffer[..length], from) {
            tracing::warn!("echo to {from}: {error}");
        }
    }
}
