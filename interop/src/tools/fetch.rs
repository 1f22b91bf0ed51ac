//! Requests to the web server, alone or many at once; prints what came back as JSON.

use std::{
    io::{BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::Barrier,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Result, anyhow, ensure};
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::{http, pattern::Body, say};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    address: SocketAddr,
    path: String,
    /// Sends a body of so many bytes.
    #[arg(long)]
    upload: Option<usize>,
    /// Ends the sending side after the request.
    #[arg(long)]
    half_close: bool,
    /// So many requests at the same time.
    #[arg(long, default_value_t = 1)]
    count: usize,
    /// Tries again for so many seconds, as fast as it can, until the first byte comes.
    #[arg(long, default_value_t = 0.0)]
    retry: f64,
    /// Gives up after so many seconds without a byte.
    #[arg(long, default_value_t = 20.0)]
    patience: f64,
}

/// One answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) status: String,
    pub(crate) bytes: usize,
    pub(crate) sha256: String,
    /// The body, if it is short.
    pub(crate) text: String,
    /// When the first byte came, in nanoseconds since 1970.
    pub(crate) first_byte: u64,
    /// From the attempt to the last byte, in seconds.
    pub(crate) seconds: f64,
}

pub(crate) fn main(options: &Options) -> Result<()> {
    let start = Barrier::new(options.count);
    let one = || {
        start.wait();
        request_until(options)
    };
    let answers: Result<Vec<Answer>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..options.count).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a request panicked"))?).collect()
    });
    say(&serde_json::to_string(&answers?)?)
}

fn request_until(options: &Options) -> Result<Answer> {
    let deadline = Instant::now() + Duration::from_secs_f64(options.retry);
    loop {
        match request(options) {
            Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(2)),
            result => return result,
        }
    }
}

fn request(options: &Options) -> Result<Answer> {
    let started = Instant::now();
    let patience = Duration::from_secs_f64(options.patience);
    let stream = TcpStream::connect_timeout(&options.address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let mut stream = BufReader::new(stream);
    send(stream.get_mut(), options)?;
    if options.half_close {
        stream.get_ref().shutdown(Shutdown::Write)?;
    }
    // The first byte counts, not the head.
    ensure!(!std::io::BufRead::fill_buf(&mut stream)?.is_empty(), "closed without an answer");
    let first_byte = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;
    let (status, length) = http::read_answer(&mut stream)?;
    let (bytes, sha256, text) = receive(&mut stream)?;
    ensure!(bytes == length, "{bytes} of {length} bytes came");
    Ok(Answer { status, bytes, sha256, text, first_byte, seconds: started.elapsed().as_secs_f64() })
}

fn send(stream: &mut TcpStream, options: &Options) -> Result<()> {
    let (method, length) = options.upload.map_or(("GET", 0), |length| ("POST", length));
    let head =
        format!("{method} {} HTTP/1.1\r\nHost: {}\r\nContent-Length: {length}\r\n\r\n", options.path, options.address);
    stream.write_all(head.as_bytes())?;
    let (mut body, mut piece, mut left) = (Body::new(), vec![0; Body::PIECE], length);
    while left > 0 {
        let part = &mut piece[..left.min(Body::PIECE)];
        body.fill(part);
        stream.write_all(part)?;
        left -= part.len();
    }
    Ok(())
}

/// Reads to the end of the stream, which also shows that the end of a stream comes through.
fn receive(stream: &mut impl Read) -> Result<(usize, String, String)> {
    let (mut hash, mut text, mut bytes) = (Context::new(&SHA256), Vec::new(), 0);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        if bytes + count <= 4096 {
            text.extend_from_slice(&buffer[..count]);
        }
        bytes += count;
    }
    Ok((bytes, hex::encode(hash.finish()), String::from_utf8_lossy(&text).into_owned()))
}
