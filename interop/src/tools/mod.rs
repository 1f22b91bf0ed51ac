//! What the cases run inside their namespaces: this very program, called again with a hidden subcommand.

pub(crate) mod datagram;
pub(crate) mod delay;
pub(crate) mod dns;
pub(crate) mod fetch;
pub(crate) mod hold;
pub(crate) mod http;
pub(crate) mod load;
pub(crate) mod pattern;
pub(crate) mod probe;
pub(crate) mod reconnect;
pub(crate) mod relay;
pub(crate) mod serve;
pub(crate) mod socks;
pub(crate) mod stream;
pub(crate) mod talk;
pub(crate) mod withholding;

use std::io::{self, Write};

use anyhow::Result;

/// Prints a line on standard output at once: it is read through a pipe.
pub(crate) fn say(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}
