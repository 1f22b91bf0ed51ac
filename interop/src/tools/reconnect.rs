//! One tunnel after the other by one process, which must not grow: prints what it held before and after.

use std::{fs, sync::Arc, time::Instant};

use adit_driver::{Builder, ikev2::Ikev2};
use adit_tunnel::Secret;
use anyhow::{Context, Result, ensure};
use ikev2::{Config, Credentials, Identity, PeerVerifier, Remote};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{say, serve::HELLO};
use crate::net::WEB;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    gateway: String,
    /// How often.
    #[arg(long)]
    count: u32,
    #[arg(long)]
    psk: String,
    #[arg(long)]
    identity: String,
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) connects: u32,
    pub(crate) seconds: f64,
    /// After the first tenth.
    pub(crate) before: Held,
    pub(crate) after: Held,
}

/// What the process holds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) descriptors: usize,
    pub(crate) resident_kib: u64,
}

pub(crate) fn main(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let config = Arc::new(configure(options)?);
    let started = Instant::now();
    let mut before = None;
    for number in 0..options.count {
        if number == options.count / 10 {
            before = Some(held()?);
        }
        runtime.block_on(once(&config)).with_context(|| format!("connect number {number}"))?;
    }
    let report = Report {
        connects: options.count,
        seconds: started.elapsed().as_secs_f64(),
        before: before.context("no connects")?,
        after: held()?,
    };
    say(&serde_json::to_string(&report)?)
}

fn configure(options: &Options) -> Result<Config> {
    let key = Secret::from(options.psk.as_str());
    let identity = Identity::from_text(&options.identity)?;
    let remote = Remote { host: options.gateway.clone(), port: 500, family: None };
    Ok(Config::builder(vec![remote])
        .peer(PeerVerifier::Psk { key: key.clone(), identity: None })
        .credentials(Credentials::Psk(key))
        .settings(|settings| settings.local_identity = Some(identity))
        .build()?)
}

/// Connects, gets the Hello World, and says goodbye.
async fn once(config: &Arc<Config>) -> Result<()> {
    let client = Builder::new(Ikev2::from(Arc::clone(config))).connect().await?;
    let mut connection = client.dial(WEB).await?;
    connection.write_all(b"GET / HTTP/1.1\r\nHost: web\r\nContent-Length: 0\r\n\r\n").await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    ensure!(answer.ends_with(HELLO), "the answer is {answer:?}");
    client.close().await;
    Ok(())
}

fn held() -> Result<Held> {
    let status = fs::read_to_string("/proc/self/status")?;
    let resident =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    Ok(Held { descriptors: fs::read_dir("/proc/self/fd")?.count(), resident_kib: resident.context("no VmRSS")? })
}
