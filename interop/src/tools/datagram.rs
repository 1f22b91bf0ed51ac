//! One datagram: sends it and waits for an answer, or says when one comes.

use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context, Result};

use super::say;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    address: SocketAddr,
    /// What to send, in hexadecimal.
    #[arg(required_unless_present = "wait")]
    datagram: Option<String>,
    /// Listens at the address instead.
    #[arg(long)]
    wait: bool,
}

pub(crate) fn main(options: &Options) -> Result<()> {
    if options.wait {
        return listen(options.address);
    }
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    socket.connect(options.address)?;
    socket.send(&hex::decode(options.datagram.as_deref().unwrap_or_default())?)?;
    let length = socket.recv(&mut [0; 65_536]).context("no answer")?;
    say(&format!("{length} bytes came back"))
}

fn listen(address: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind(address)?;
    say("ready")?;
    loop {
        let length = socket.recv(&mut [0; 65_536])?;
        say(&format!("datagram of {length} bytes"))?;
    }
}
