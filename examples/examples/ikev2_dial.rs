//! Asks a web server behind an IKEv2 gateway for its first page, with EAP-MSCHAPv2.
//!
//! `VPN_PASSWORD=… cargo run -p adit-examples --example ikev2_dial -- vpn.example:500 ca.pem alice 192.168.100.30 8080`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{env, fs};

use anyhow::{Context, Result, bail};
use ikev2::{
    CertificateVerifier, Config, Credentials, EapCredentials, EapMethod, ExpectedIdentity, MsChapV2Secret,
    PeerVerifier, Remote,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [gateway, ca, user, host, port] = &arguments[..] else {
        bail!("usage: ikev2_dial GATEWAY:PORT CA.pem USER HOST PORT");
    };
    let (gateway, gateway_port) = gateway.rsplit_once(':').context("GATEWAY:PORT, as in vpn.example:500")?;
    let password = env::var("VPN_PASSWORD").context("VPN_PASSWORD is not set")?;

    // How the gateway proves itself, and how we do: neither can be left out.
    let anchors = adit_pki::certificates(&fs::read(ca).with_context(|| ca.clone())?)?;
    let verifier = CertificateVerifier { anchors, crls: Vec::new(), identity: ExpectedIdentity::Host };
    let methods = vec![EapMethod::MsChapV2(MsChapV2Secret::Password(password.as_str().into()))];
    let config = Config::builder(vec![Remote::new(gateway, gateway_port.parse()?)])
        .peer(PeerVerifier::Certificate(verifier))
        .credentials(Credentials::Eap(EapCredentials { identity: user.clone(), methods }))
        .build()?;

    let client = adit_driver::connect(config).await?;
    if let Some(network) = client.network() {
        println!("up, our addresses are {:?}", network.addresses);
    }
    let mut connection = client.dial((host.as_str(), port.parse()?)).await?;
    connection.write_all(format!("GET / HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    println!("{answer}");
    client.close().await;
    Ok(())
}
