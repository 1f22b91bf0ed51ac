//! The control socket: a JSON object a line, each way, between `adit status` and others and the process that runs.

#[cfg(unix)]
mod client;
#[cfg(unix)]
mod peer;
#[cfg(unix)]
mod protocol;
#[cfg(unix)]
mod server;

#[cfg(all(test, unix))]
mod tests;

use std::path::PathBuf;

#[cfg(unix)]
pub(crate) use self::{
    client::Client,
    protocol::{Answer, Request},
    server::Server,
};

/// The name of the socket within a runtime directory.
const NAME: &str = "adit/control.sock";

/// Where a process listens unless told otherwise: in the runtime directory that systemd made for it, in that of its user, or in
/// that of the system.
pub(crate) fn default_path() -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(directory) = variable("RUNTIME_DIRECTORY") {
        return directory.join("control.sock");
    }
    variable("XDG_RUNTIME_DIR").unwrap_or_else(|| PathBuf::from("/run")).join(NAME)
}

/// Where a process may be found, the likeliest place first.
pub(crate) fn likely_paths() -> Vec<PathBuf> {
    let mut paths = vec![default_path(), PathBuf::from("/run").join(NAME)];
    paths.dedup();
    paths
}
