//! What is told to a process that runs, and asked about it: `adit status` and others.

pub(crate) mod arguments;
mod healthcheck;
mod locate;
mod log;
#[cfg(unix)]
mod orders;
#[cfg(unix)]
mod status;

use std::io::{self, Write};

use self::arguments::Operation;
use crate::error::{Error, Exit};

/// Does one of them. Blocks.
pub(crate) fn run(operation: &Operation) -> Result<Exit, Error> {
    match operation {
        #[cfg(unix)]
        Operation::Status(arguments) => status::run(arguments),
        #[cfg(unix)]
        Operation::Connect(arguments) => orders::connect(arguments),
        #[cfg(unix)]
        Operation::Disconnect(arguments) => orders::disconnect(arguments),
        #[cfg(unix)]
        Operation::Cancel(arguments) => orders::cancel(arguments),
        #[cfg(unix)]
        Operation::Reload(arguments) => orders::reload(arguments),
        Operation::Log(arguments) => log::run(arguments),
        Operation::Healthcheck(arguments) => healthcheck::run(arguments),
        #[cfg(not(unix))]
        _ => Err(Error::new(Exit::Usage, "this system has no control socket").hint("use the admin port: [admin]")),
    }
}

/// To standard output. `false`: nobody reads it any more.
fn say(text: &str) -> Result<bool, Error> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::new(Exit::Other, format!("standard output: {error}"))),
    }
}

/// A line of JSON.
fn json(value: &impl serde::Serialize) -> Result<String, Error> {
    let mut text = serde_json::to_string(value).map_err(|error| Error::new(Exit::Other, error))?;
    text.push('\n');
    Ok(text)
}
