//! Asks a web server behind the gateway for its first page.
//!
//! `VPN_USER=alice VPN_PASSWORD=… cargo run -p adit-examples --example connect_and_dial -- office.ovpn 192.168.100.30 8080`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{env, fs, path::Path};

use adit_driver::{Builder, ClientEvent, openvpn::OpenVpn};
use anyhow::Context;
use openvpn::{Credentials, Profile, Secrets};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = env::args().skip(1);
    let usage = "usage: connect_and_dial FILE.ovpn HOST PORT";
    let path = arguments.next().context(usage)?;
    let host = arguments.next().context(usage)?;
    let port: u16 = arguments.next().context(usage)?.parse()?;

    let text = fs::read(&path).with_context(|| path.clone())?;
    let beside = Path::new(&path).parent().unwrap_or_else(|| Path::new("")).to_owned();
    let mut load = |name: &str| fs::read(beside.join(name)).map_err(|error| format!("{name}: {error}"));
    let credentials = match (env::var("VPN_USER"), env::var("VPN_PASSWORD")) {
        (Ok(username), Ok(password)) => Some(Credentials { username, password: password.as_str().into() }),
        _ => None,
    };
    let secrets = Secrets { credentials, ..Secrets::default() };
    let config = Profile::parse(&text, &mut load)?.into_config(secrets)?;

    let client = Builder::new(OpenVpn::from(config)).start();
    let mut events = client.events();
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            match event {
                ClientEvent::Connecting { remote } => println!("connecting to {remote}"),
                ClientEvent::Up(network) => println!("up, our addresses are {:?}", network.addresses),
                ClientEvent::Down { cause, retry_in } => println!("{cause}; trying again in {retry_in:?}"),
                ClientEvent::DeviceLost => println!("the device of the tunnel is gone; this example has none"),
                ClientEvent::Prompt(prompt) => println!("the gateway asks: {prompt:?}"),
                ClientEvent::Closed(cause) => println!("closed: {cause}"),
            }
        }
    });
    client.up().await?;

    let mut connection = client.dial((host.as_str(), port)).await?;
    connection.write_all(format!("GET / HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()).await?;
    connection.shutdown().await?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await?;
    println!("{}", String::from_utf8_lossy(&answer));
    println!("{:?}", client.stats());
    client.close().await;
    Ok(())
}
