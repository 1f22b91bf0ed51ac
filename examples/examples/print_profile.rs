//! Prints what becomes of each line of an OpenVPN profile.
//!
//! `cargo run -p adit-examples --example print_profile -- office.ovpn`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{env, fs, path::Path};

use anyhow::Context;
use openvpn::{Outcome, Profile};

fn main() -> anyhow::Result<()> {
    let path = env::args().nth(1).context("usage: print_profile FILE.ovpn")?;
    let text = fs::read(&path).with_context(|| path.clone())?;
    let beside = Path::new(&path).parent().unwrap_or_else(|| Path::new(""));
    let mut load = |name: &str| fs::read(beside.join(name)).map_err(|error| format!("{name}: {error}"));
    let profile = match Profile::parse(&text, &mut load) {
        Ok(profile) => profile,
        Err(error) => {
            error.refusals().iter().for_each(|refusal| println!("refused: {refusal}"));
            anyhow::bail!("{path} cannot be used");
        }
    };
    for outcome in profile.outcomes() {
        let (line, directive) = (outcome.line, &outcome.directive);
        match &outcome.outcome {
            Outcome::Applied => println!("{line:4} {directive}: applied"),
            Outcome::Harmless => println!("{line:4} {directive}: means nothing here"),
            Outcome::Lossy(loss) => println!("{line:4} {directive}: ignored: {loss}"),
            Outcome::Refused(why) => println!("{line:4} {directive}: refused: {why}"),
        }
    }
    for remote in profile.remotes() {
        println!("gateway: {} port {} over {:?}", remote.host, remote.port, remote.transport);
    }
    if profile.needs_credentials().is_some() {
        println!("asks for a user name and a password");
    }
    if profile.needs_key_passphrase() {
        println!("asks for the passphrase of the private key");
    }
    Ok(())
}
