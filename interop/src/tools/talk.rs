//! A word over TCP: says it and tells what came back, or listens and tells what it heard.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::say;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    address: SocketAddr,
    /// What to say.
    #[arg(default_value = "hello")]
    text: String,
    /// Listens there instead, and says it to whoever has said so many bytes.
    #[arg(long)]
    listen: Option<usize>,
    /// Gives up after so many seconds without an answer.
    #[arg(long, default_value_t = 20.0)]
    patience: f64,
}

/// What came back, and how it ended.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) reset: bool,
}

pub(crate) fn main(options: &Options) -> Result<()> {
    if let Some(length) = options.listen {
        return listen(options, length);
    }
    let patience = Duration::from_secs_f64(options.patience);
    let mut stream = TcpStream::connect_timeout(&options.address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let mut answer = Answer { text: String::new(), reset: false };
    let talked = stream
        .write_all(options.text.as_bytes())
        .and_then(|()| stream.shutdown(Shutdown::Write))
        .and_then(|()| stream.read_to_string(&mut answer.text));
    match talked {
        Ok(_) => {}
        Err(error)
            if [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::NotConnected].contains(&error.kind()) =>
        {
            answer.reset = true;
        }
        Err(error) => return Err(error.into()),
    }
    say(&serde_json::to_string(&answer)?)
}

/// One line for each connection: whom it is from, and its first bytes in hexadecimal.
fn listen(options: &Options, length: usize) -> Result<()> {
    let listener = TcpListener::bind(options.address)?;
    say("ready")?;
    for stream in listener.incoming() {
        let mut stream = stream?;
        let mut heard = vec![0; length];
        let read = stream.read_exact(&mut heard);
        match read.and_then(|()| stream.write_all(options.text.as_bytes())) {
            Ok(()) => say(&format!("heard {} from {}", hex::encode(heard), stream.peer_addr()?))?,
            Err(error) => say(&format!("failed: {error}"))?,
        }
    }
    Ok(())
}
