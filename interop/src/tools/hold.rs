//! Thousands of connections that are open at the same time, each with one request; prints what became of them as JSON.

use std::{
    fmt,
    io::{BufReader, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{http, say, serve::HELLO};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The first of the ports of this machine.
    #[arg(long)]
    first: u16,
    #[arg(long)]
    ports: u16,
    /// Connections to each port.
    #[arg(long)]
    each: usize,
    /// Bytes that go through each at once.
    #[arg(long, default_value_t = 0)]
    fill: usize,
    /// They are finished when there is this file.
    #[arg(long)]
    until: PathBuf,
}

/// What became of the connections.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) answered: usize,
    pub(crate) wrong: usize,
    /// Why others were not answered, the first few.
    pub(crate) failures: Vec<String>,
    /// To open them all, in seconds.
    pub(crate) opening: f64,
    /// To have all requests answered.
    pub(crate) answering: f64,
}

/// Between the attempts: some hundred a second.
const APART: Duration = Duration::from_millis(2);
/// Longer than any machine takes.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn main(options: &Options) -> Result<()> {
    let started = Instant::now();
    let ports = options.first..options.first + options.ports;
    let (mut open, mut report) = (Vec::new(), Report::default());
    for port in ports.flat_map(|port| std::iter::repeat_n(port, options.each)) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        // All at once would be a SYN flood to the kernel at the other end, which answers with cookies and then with resets.
        thread::sleep(APART);
        let mut stream = match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => stream,
            // Refused, and sooner than we could look.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                report.fails(&error);
                continue;
            }
            Err(error) => return Err(error).with_context(|| format!("to {address}")),
        };
        // Half a request: the other end has to wait, and shows that it is there.
        // One that is refused shows when it is to be finished.
        drop(write!(stream, "GET / HTTP/1.1\r\nX-Fill: {}\r\n", "x".repeat(options.fill)));
        open.push(stream);
    }
    report.opening = started.elapsed().as_secs_f64();
    say("open")?;
    while !options.until.exists() {
        // A file has no event that is worth its code here.
        thread::sleep(Duration::from_millis(20));
    }
    let started = Instant::now();
    for stream in &mut open {
        drop(write!(stream, "Host: lan\r\nContent-Length: 0\r\n\r\n"));
    }
    for stream in open {
        match finish(stream) {
            Ok(text) if text == HELLO => report.answered += 1,
            Ok(_) => report.wrong += 1,
            Err(error) => report.fails(&format_args!("{error:#}")),
        }
    }
    report.answering = started.elapsed().as_secs_f64();
    say(&serde_json::to_string(&report)?)
}

impl Report {
    fn fails(&mut self, why: &dyn fmt::Display) {
        if self.failures.len() < 5 {
            self.failures.push(why.to_string());
        }
    }
}

fn finish(stream: TcpStream) -> Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut stream = BufReader::new(stream);
    http::read_answer(&mut stream)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
