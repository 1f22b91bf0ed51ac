//! One service with two environments, each behind a tunnel of its own: IKEv2 and OpenVPN. A local port leads into each.
//!
//! ```sh
//! VPN_USER=alice VPN_PASSWORD=… cargo run -p adit-examples --example both_protocols -- \
//!     vpn.example:500 psk.txt office.ovpn 192.168.100.30:8080
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{env, fs, net::SocketAddr};

use adit_driver::{Any, Builder, Client, carry};
use anyhow::{Context, Result, bail};
use tokio::{net::TcpListener, signal, task::JoinSet};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [gateway, psk, profile, target] = &arguments[..] else {
        bail!("usage: both_protocols GATEWAY:PORT PSK-FILE FILE.ovpn HOST:PORT");
    };
    let target: SocketAddr = target.parse().context("HOST:PORT must be an address")?;
    // `Any` is either protocol: from here on nothing depends on which it is.
    let environments = [("production", ikev2_config(gateway, psk)?), ("lab", openvpn_config(profile)?)];

    let mut tasks = JoinSet::new();
    let mut clients = Vec::new();
    for (name, config) in environments {
        // Connects in the background, and for as long as the client lives; connections wait until it is up.
        let client = Builder::new(config).start();
        clients.push(client.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{name}: {} -> {target}", listener.local_addr()?);
        tasks.spawn(serve(name, listener, client, target));
    }
    tokio::select! {
        _ = signal::ctrl_c() => {}
        Some(ended) = tasks.join_next() => ended??,
    }
    // Both say goodbye to their gateways.
    for client in clients {
        client.close().await;
    }
    Ok(())
}

/// Carries everything that connects to the listener through the tunnel, until the tunnel has ended for good.
async fn serve(name: &'static str, listener: TcpListener, client: Client, target: SocketAddr) -> Result<()> {
    loop {
        let outside = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            failure = client.closed() => return Err(failure).context(name),
        };
        let client = client.clone();
        tokio::spawn(async move {
            let carried = async { carry(outside, &client.dial(target).await?).await };
            match carried.await {
                Ok((sent, received)) => println!("{name}: {sent} bytes there, {received} bytes back"),
                Err(error) => println!("{name}: {error}"),
            }
        });
    }
}

fn ikev2_config(gateway: &str, psk: &str) -> Result<Any> {
    use ikev2::{Config, Credentials, PeerVerifier, Remote};
    let (host, port) = gateway.rsplit_once(':').context("GATEWAY:PORT, as in vpn.example:500")?;
    let key = adit_tunnel::Secret::new(fs::read_to_string(psk).with_context(|| psk.to_owned())?.trim_end());
    let config = Config::builder(vec![Remote::new(host, port.parse()?)])
        .peer(PeerVerifier::Psk { key: key.clone(), identity: None })
        .credentials(Credentials::Psk(key))
        .build()?;
    Ok(config.into())
}

fn openvpn_config(profile: &str) -> Result<Any> {
    use openvpn::{Credentials, Profile, Secrets};
    let text = fs::read(profile).with_context(|| profile.to_owned())?;
    let mut load = |name: &str| fs::read(name).map_err(|error| format!("{name}: {error}"));
    let (username, password) = (env::var("VPN_USER")?, env::var("VPN_PASSWORD")?);
    let credentials = Some(Credentials { username, password: password.as_str().into() });
    Ok(Profile::parse(&text, &mut load)?.into_config(Secrets { credentials, ..Secrets::default() })?.into())
}
