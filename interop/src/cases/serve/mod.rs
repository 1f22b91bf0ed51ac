//! Debian's clients at `adit serve`, in both ways out.

mod openvpn;
mod paced;
mod peers;
mod strongswan;

use anyhow::Result;

use super::Case;
use crate::{
    gateway::{Gateway, Stranger, WayOut},
    rig::Rig,
};

pub(super) fn cases() -> Vec<Case> {
    [openvpn::cases(), strongswan::cases(), peers::cases(), paced::cases()].into_iter().flatten().collect()
}

/// One table for the gateway, with its secrets.
struct Table {
    text: String,
    secrets: Vec<(&'static str, &'static str)>,
}

impl Table {
    fn new(text: &str) -> Self {
        Self { text: format!("[serve.office]\n{}\n", text.trim()), secrets: Vec::new() }
    }

    fn with(mut self, line: &str) -> Self {
        self.text.push_str(line);
        self.text.push('\n');
        self
    }

    fn secret(mut self, file: &'static str, text: &'static str) -> Self {
        self.secrets.push((file, text));
        self
    }

    fn start(&self, rig: &Rig, out: WayOut) -> Result<Gateway> {
        Gateway::start(rig, &self.text, &self.secrets, out)
    }
}

/// The lan cannot be reached; with the client it can; the gateway knows who came, and that it went.
fn passes(rig: &Rig, table: &Table, out: WayOut, client: impl FnOnce() -> Result<Stranger>) -> Result<()> {
    let _lan = rig.start_lan()?;
    rig.prove_unreachable()?;
    let gateway = table.start(rig, out)?;
    let client = client()?;
    gateway.wait(" is up, as ")?;
    client.exchange(rig)?;
    client.close()?;
    gateway.wait(" is down: ")?;
    gateway.close()
}
