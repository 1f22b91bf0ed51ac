//! Pings a host behind an IKEv2 gateway as an ordinary user: the echo requests are packets of the tunnel, not of this machine.
//!
//! `cargo run -p adit-examples --example userspace_ping -- vpn.example:500 psk.txt 192.168.100.30`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{env, fs, net::IpAddr, time::Duration};

use adit_tunnel::Secret;
use anyhow::{Context, Result, bail, ensure};
use ikev2::{Config, Credentials, PeerVerifier, Remote};

const PINGS: u32 = 4;
const PAYLOAD: &[u8] = b"a ping of adit";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [gateway, psk, target] = &arguments[..] else {
        bail!("usage: userspace_ping GATEWAY:PORT PSK-FILE TARGET");
    };
    let (host, port) = gateway.rsplit_once(':').context("GATEWAY:PORT, as in vpn.example:500")?;
    let target: IpAddr = target.parse().context("TARGET must be an address")?;
    let key = Secret::new(fs::read_to_string(psk).with_context(|| psk.clone())?.trim_end());
    let config = Config::builder(vec![Remote::new(host, port.parse()?)])
        .peer(PeerVerifier::Psk { key: key.clone(), identity: None })
        .credentials(Credentials::Psk(key))
        .build()?;

    let client = adit_driver::connect(config).await?;
    let mut answered = 0;
    for sequence in 1..=PINGS {
        match client.ping(target, PAYLOAD, Duration::from_secs(2)).await {
            Ok(time) => {
                answered += 1;
                let time = time.as_secs_f64() * 1000.0;
                println!("{} bytes from {target}: seq={sequence} time={time:.3} ms", PAYLOAD.len());
            }
            Err(error) => println!("seq={sequence}: {error}"),
        }
    }
    client.close().await;
    println!("{PINGS} sent, {answered} received");
    ensure!(answered > 0, "{target} does not answer");
    Ok(())
}
