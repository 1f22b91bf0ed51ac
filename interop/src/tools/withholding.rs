//! A client as `adit forward` is one, but with features withheld from the server: the program itself has no option for
//! what a user never needs.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use adit_driver::{Builder, Client, UdpSocket, openvpn::OpenVpn};
use anyhow::{Context, Result};
use openvpn::{Config, Profile, Secrets};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, UdpSocket as LocalUdpSocket},
};

use super::say;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Bits of IV_PROTO not to announce.
    #[arg(long)]
    iv_proto: u32,
    /// Announce no ciphers.
    #[arg(long)]
    ncp: bool,
    #[arg(long)]
    config: PathBuf,
    /// PORT:ADDRESS[/udp]
    #[arg(short = 'L')]
    forwards: Vec<String>,
}

pub(crate) fn main(options: &Options) -> Result<ExitCode> {
    let config = configure(options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(config, &options.forwards))
}

fn configure(options: &Options) -> Result<Config> {
    let text = fs::read(&options.config)?;
    let mut load = |name: &str| fs::read(name).map_err(|error| error.to_string());
    let profile = Profile::parse(text, &mut load)?;
    let mut config = profile.into_config(Secrets::default())?;
    let dangerous = config.dangerous();
    dangerous.withhold_iv_proto(options.iv_proto);
    if options.ncp {
        dangerous.withhold_iv_ncp();
    }
    Ok(config)
}

async fn run(config: Config, forwards: &[String]) -> Result<ExitCode> {
    let client = Builder::new(OpenVpn::from(config)).start();
    for forward in forwards {
        let (port, target) = forward.split_once(':').with_context(|| format!("not PORT:ADDRESS: {forward}"))?;
        let (target, udp) = target.strip_suffix("/udp").map_or((target, false), |target| (target, true));
        let (local, target) = (SocketAddr::new([127, 0, 0, 1].into(), port.parse()?), target.parse()?);
        if udp {
            let socket = LocalUdpSocket::bind(local).await?;
            tokio::spawn(forward_udp(client.clone(), socket, target));
        } else {
            let listener = TcpListener::bind(local).await?;
            tokio::spawn(forward_tcp(client.clone(), listener, target));
        }
        say(&format!("{local} -> {target}/{}", if udp { "udp" } else { "tcp" }))?;
    }
    tokio::select! {
        failure = client.closed() => Err(failure.into()),
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            client.close().await;
            Ok(ExitCode::from(130))
        }
    }
}

async fn forward_tcp(client: Client, listener: TcpListener, target: SocketAddr) -> Result<()> {
    loop {
        let (mut local, _) = listener.accept().await?;
        let client = client.clone();
        tokio::spawn(async move {
            match client.dial(target).await {
                Ok(mut remote) => drop(copy_bidirectional(&mut local, &mut remote).await),
                Err(error) => tracing::warn!("{target}: {error}"),
            }
        });
    }
}

/// An association of its own for each local sender; the cases have few.
async fn forward_udp(client: Client, socket: LocalUdpSocket, target: SocketAddr) -> Result<()> {
    let socket = Arc::new(socket);
    let mut associations: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
    let mut buffer = vec![0; 65_536];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await?;
        let association = match associations.entry(from) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let association = Arc::new(client.bind_udp().await?);
                tokio::spawn(answers(Arc::clone(&association), Arc::clone(&socket), from));
                new.insert(association)
            }
        };
        association.send_to(&buffer[..length], target)?;
    }
}

async fn answers(association: Arc<UdpSocket>, socket: Arc<LocalUdpSocket>, to: SocketAddr) -> Result<()> {
    let mut buffer = vec![0; 65_536];
    loop {
        let (length, _) = association.recv_from(&mut buffer).await?;
        socket.send_to(&buffer[..length], to).await?;
    }
}
