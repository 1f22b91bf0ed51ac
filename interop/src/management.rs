//! The server's management socket, where the rig decides about clients.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// A connection to the management socket.
pub(crate) struct Management {
    stream: BufReader<UnixStream>,
}

/// A client the server asks about.
#[derive(Debug, Default)]
pub(crate) struct Asking {
    /// Its number and that of its key, as commands take them.
    pub(crate) ids: String,
    pub(crate) password: String,
}

impl Management {
    pub(crate) fn connect(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path).with_context(|| format!("management socket {}", path.display()))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    pub(crate) fn send(&mut self, command: &str) -> Result<()> {
        writeln!(self.stream.get_mut(), "{command}").with_context(|| format!("management command {command}"))
    }

    /// Waits for the next client that wants in.
    pub(crate) fn next_client(&mut self, limit: Duration) -> Result<Asking> {
        let deadline = Instant::now() + limit;
        let mut asking = Asking::default();
        loop {
            let line = self.line(deadline).context("waiting for a client")?;
            if let Some(ids) = line.strip_prefix(">CLIENT:CONNECT,") {
                asking.ids = ids.replace(',', " ");
            } else if let Some(password) = line.strip_prefix(">CLIENT:ENV,password=") {
                asking.password = password.to_owned();
            } else if line == ">CLIENT:ENV,END" && !asking.ids.is_empty() {
                return Ok(asking);
            }
        }
    }

    fn line(&mut self, deadline: Instant) -> Result<String> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!("the management socket is silent");
        }
        self.stream.get_ref().set_read_timeout(Some(left))?;
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("the management socket was closed");
        }
        Ok(line.trim_end().to_owned())
    }
}
