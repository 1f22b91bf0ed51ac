//! Two gateways to try the other examples with, in one process and on loopback alone.
//!
//! `cargo run -p adit-examples --example office`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{env, fs};

use adit_examples::{Office, PASSWORD, USER, WEB};
use anyhow::Result;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let directory = env::temp_dir().join("adit-office");
    fs::create_dir_all(&directory)?;
    let office = Office::open(&directory)?;
    let (gateway, ca, psk) = (office.ikev2_address(), office.ca(), office.psk());
    let (ca, psk, profile) = (ca.display(), psk.display(), office.profile());
    let (profile, host, port) = (profile.display(), WEB.ip(), WEB.port());
    println!("export VPN_USER={USER} VPN_PASSWORD='{PASSWORD}'");
    for arguments in [
        format!("connect_and_dial -- {profile} {host} {port}"),
        format!("ikev2_dial -- {gateway} {ca} {USER} {host} {port}"),
        format!("hyper_connector -- {profile} http://{WEB}/one http://{WEB}/two"),
        format!("both_protocols -- {gateway} {psk} {profile} {WEB}"),
        format!("userspace_ping -- {gateway} {psk} 10.99.1.1"),
        format!("sans_io -- {gateway} {psk} {WEB}"),
        format!("print_profile -- {profile}"),
    ] {
        println!("cargo run -p adit-examples --example {arguments}");
    }
    println!("Ctrl-C ends it.");
    tokio::signal::ctrl_c().await?;
    Ok(())
}
