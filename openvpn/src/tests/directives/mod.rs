//! What is "applied" changes what happens: lines of a profile, and the session or the network that comes of them.
//!
//! `testdata/profile/behaviour.txt` says for each directive which test shows it.

mod control;
mod data;
mod identity;
mod network;
mod server_check;
mod tls;

use std::fs;

use super::pair::Setup;
use crate::{
    config::Config,
    profile::{Profile, Secrets},
    tests::pki,
};

/// A tunnel with the usual profile and these lines.
fn with(lines: &str) -> Setup {
    Setup::new(|setup| setup.profile = Some(profile("client", lines)))
}

/// The same, for a server that does what the script says.
fn with_server(lines: &str, script: impl FnOnce(&mut super::server::Script)) -> Setup {
    let mut setup = with(lines);
    script(&mut setup.script);
    setup
}

fn profile(mode: &str, lines: &str) -> String {
    let ca = pki::CA.pem();
    format!(
        "{mode}\nremote vpn.example\n<ca>\n{ca}</ca>\n<auth-user-pass>\nuser\npassword\n</auth-user-pass>\n{lines}\n"
    )
}

/// The configuration of a profile, whose files are those of `testdata`.
pub(super) fn config(text: &str) -> Config {
    let profile = Profile::parse(text, &mut file).unwrap();
    profile.into_config(Secrets { key_passphrase: None, ..Secrets::default() }).unwrap()
}

fn file(name: &str) -> Result<Vec<u8>, String> {
    fs::read(format!("{}/testdata/keys/{name}", env!("CARGO_MANIFEST_DIR"))).map_err(|error| error.to_string())
}
