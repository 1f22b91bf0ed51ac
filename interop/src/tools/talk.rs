//! A word over TCP: says it and tells what came back, or listens and tells what it heard.

use std::{
    io::{self, ErrorKind, Read, Write},
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

/// What a reset looks like, depending on what was tried when it came.
const RESETS: [ErrorKind; 3] = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::NotConnected];

pub(crate) fn main(options: &Options) -> Result<()> {
    if let Some(length) = options.listen {
        return listen(options, length);
    }
    let patience = Duration::from_secs_f64(options.patience);
    let mut answer = Answer { text: String::new(), reset: false };
    // Whoever resets at once may do so before we know that we are connected.
    match talk(options, patience, &mut answer.text) {
        Ok(_) => {}
        Err(error) if RESETS.contains(&error.kind()) => answer.reset = true,
        Err(error) => return Err(error.into()),
    }
    say(&serde_json::to_string(&answer)?)
}

fn talk(options: &Options, patience: Duration, answer: &mut String) -> io::Result<usize> {
    let mut stream = TcpStream::connect_timeout(&options.address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(options.text.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    stream.read_to_string(answer)
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
