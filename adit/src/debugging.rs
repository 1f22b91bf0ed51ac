//! What helps to look into a tunnel: its inner packets in a file, and its keys. Both off unless asked for.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use adit_driver::Capture;
use adit_tunnel::{KeyLog, KeySink};
use clap::Args;

use crate::{
    config::Configuration,
    error::{Error, Exit},
};

/// Options of every command that makes tunnels.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Options to look into tunnels")]
pub(crate) struct Debugging {
    /// Writes the packets inside of the tunnel to this file, for Wireshark or tcpdump. It is made anew, readable by its
    /// owner alone
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,

    /// The longest that file may become, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 100, requires = "pcap", value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pcap_max_mib: u32,

    /// Writes the KEYS of the tunnel to this file, for Wireshark: whoever has them can read everything that was captured
    /// of the tunnel. docs/debugging.md tells how to use it
    #[arg(long, value_name = "FILE")]
    keylog: Option<PathBuf>,
}

impl Debugging {
    /// Where inner packets go, if they are asked for.
    pub(crate) fn capture(&self) -> Result<Option<Capture>, Error> {
        let Some(path) = &self.pcap else { return Ok(None) };
        let capture =
            Capture::create(path, u64::from(self.pcap_max_mib) << 20).map_err(|error| unusable(path, &error))?;
        tracing::warn!("the packets inside of the tunnel are written to {}", path.display());
        Ok(Some(capture))
    }

    /// Where keys go; nowhere unless asked for.
    pub(crate) fn keys(&self) -> Result<KeySink, Error> {
        let Some(path) = &self.keylog else { return Ok(KeySink::default()) };
        let file = private(path).map_err(|error| unusable(path, &error))?;
        tracing::warn!(
            "THE KEYS OF THE TUNNEL ARE WRITTEN TO {}: whoever has them can read it; delete the file afterwards",
            path.display()
        );
        Ok(KeySink::new(KeyFile(Arc::new(Mutex::new(file)))))
    }
}

/// Lets a configuration log its keys.
pub(crate) fn log_keys(configuration: &mut Configuration, keys: &KeySink) {
    match configuration {
        Configuration::Ikev2(config) => config.log_keys(keys),
        Configuration::OpenVpn(config) => config.log_keys(keys),
    }
}

struct KeyFile(Arc<Mutex<File>>);

impl KeyLog for KeyFile {
    fn line(&self, line: &str) {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = writeln!(file, "{line}") {
            tracing::warn!("keys cannot be written: {error}");
        }
    }
}

fn unusable(path: &Path, error: &io::Error) -> Error {
    Error::new(Exit::Usage, format!("{}: {error}", path.display()))
        .hint("name a file in a directory that can be written")
}

#[cfg(unix)]
fn private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    // What an earlier run has left is of use as long as its capture is.
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

#[cfg(not(unix))]
fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}
