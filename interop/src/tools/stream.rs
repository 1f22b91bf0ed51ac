//! A stream of numbered datagrams to an echo; counts which of them came back.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::say;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    address: SocketAddr,
    /// How many datagrams.
    #[arg(long)]
    count: u64,
    /// Milliseconds between two.
    #[arg(long)]
    interval: u64,
    /// Bytes of each.
    #[arg(long)]
    size: usize,
    /// Seconds to wait for the last ones.
    #[arg(long, default_value_t = 3.0)]
    patience: f64,
}

/// What became of the datagrams.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) duplicated: u64,
    /// Datagrams that came back changed.
    pub(crate) corrupted: u64,
    /// The numbers of the missing ones.
    pub(crate) lost: Vec<u64>,
}

pub(crate) fn main(options: &Options) -> Result<()> {
    let bind: SocketAddr = if options.address.is_ipv4() { "0.0.0.0:0".parse()? } else { "[::]:0".parse()? };
    let socket = UdpSocket::bind(bind)?;
    socket.connect(options.address).with_context(|| format!("connect {}", options.address))?;
    let duration = Duration::from_millis(options.interval * options.count);
    let deadline = Instant::now() + duration + Duration::from_secs_f64(options.patience);
    let report = thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(&socket, options, deadline));
        let sent = send(&socket, options);
        let mut report = receiver.join().map_err(|_| anyhow::anyhow!("the receiver panicked"))??;
        report.sent = sent?;
        anyhow::Ok(report)
    })?;
    say(&serde_json::to_string(&report)?)
}

fn send(socket: &UdpSocket, options: &Options) -> Result<u64> {
    let started = Instant::now();
    for number in 0..options.count {
        let due = started + Duration::from_millis(options.interval * number);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        // A refused datagram shows as a lost one.
        if let Err(error) = socket.send(&datagram(number, options.size)) {
            tracing::warn!("datagram {number}: {error}");
        }
    }
    Ok(options.count)
}

fn receive(socket: &UdpSocket, options: &Options, deadline: Instant) -> Result<Report> {
    let (mut seen, mut duplicated, mut corrupted) = (BTreeSet::new(), 0, 0);
    let mut buffer = vec![0; 65_536];
    while seen.len() < usize::try_from(options.count)? {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        socket.set_read_timeout(Some(left))?;
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        match buffer[..length].first_chunk().map(|bytes| u64::from_be_bytes(*bytes)) {
            Some(number) if buffer[..length] == datagram(number, options.size) => {
                duplicated += u64::from(!seen.insert(number));
            }
            _ => corrupted += 1,
        }
    }
    let lost: Vec<u64> = (0..options.count).filter(|number| !seen.contains(number)).collect();
    Ok(Report { sent: 0, received: seen.len() as u64, duplicated, corrupted, lost })
}

/// Its number, then the same byte again and again: a compressing peer finds something to do.
fn datagram(number: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![number.to_be_bytes()[7]; size.max(8)];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes
}
