//! Whether something answers at an address; says why not.

use std::{
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::say;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    address: SocketAddr,
}

/// What a connection attempt led to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) open: bool,
    pub(crate) error: String,
    pub(crate) seconds: f64,
}

pub(crate) fn main(options: &Options) -> Result<()> {
    let started = Instant::now();
    let result = TcpStream::connect_timeout(&options.address, Duration::from_secs(3));
    let error = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
    say(&serde_json::to_string(&Found { open: result.is_ok(), error, seconds: started.elapsed().as_secs_f64() })?)
}
