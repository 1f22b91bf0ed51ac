//! `--stdio`: standard input and output are the connection.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use adit_driver::Target;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, Stdin, Stdout};

use super::{counters::Open, stop::Stop, through::Through};
use crate::error::{Error, Exit};

/// Who is at the other end, for the log.
const PEER: &str = "standard input";

/// Carries both directions to their ends, or until it is told to stop.
pub(super) async fn serve(to: Target, through: Through, mut stop: Stop) -> Result<(), Error> {
    stop.release();
    let carried = async {
        let inside = through.dial(PEER, &to).await.map_err(|error| {
            let problem = format!("cannot connect to {to}: {error}");
            Error::new(Exit::Other, problem)
        })?;
        let _open = Open::new(&through.counters);
        let streams = Streams { input: tokio::io::stdin(), output: tokio::io::stdout() };
        let carried = through.carry(PEER, streams, inside).await;
        carried.map_err(|error| Error::new(Exit::Other, format!("the connection to {to} ended early: {error}")))
    };
    tokio::select! {
        ended = carried => ended,
        () = stop.aborted() => Ok(()),
    }
}

/// Both of them. Threads of their own read and write: to make them non-blocking would do so for whoever shares them.
struct Streams {
    input: Stdin,
    output: Stdout,
}

impl AsyncRead for Streams {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_read(cx, buf)
    }
}

impl AsyncWrite for Streams {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.output).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.output).poll_flush(cx))?;
        Poll::Ready(close_output())
    }
}

/// Whoever reads our output sees its end, though we go on reading our input.
#[cfg(unix)]
fn close_output() -> io::Result<()> {
    let nothing = std::fs::File::options().write(true).open("/dev/null")?;
    Ok(rustix::stdio::dup2_stdout(nothing)?)
}

/// Here our output ends with us.
#[cfg(not(unix))]
fn close_output() -> io::Result<()> {
    Ok(())
}
