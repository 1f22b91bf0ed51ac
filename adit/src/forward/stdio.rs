//! `--stdio`: standard input and output are the connection.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use adit_driver::Target;
use tokio::{
    fs::File,
    io::{AsyncRead, AsyncWrite, ReadBuf, Stdin},
};

use super::{counters::Open, stop::Stop, through::Through};
use crate::error::{Error, Exit};

/// Who is at the other end, for the log.
const PEER: &str = "standard input";

/// Carries both directions to their ends, or until it is told to stop.
pub(super) async fn serve(to: Target, through: Through, mut stop: Stop) -> Result<(), Error> {
    stop.release();
    let carried = async {
        // What ends the program is said by the program.
        let inside = through.reach(PEER, &to).await.map_err(|error| {
            let problem = format!("cannot connect to {to}: {error}");
            Error::new(Exit::Other, problem)
        })?;
        let _open = Open::new(&through.counters);
        let unusable = |error| Error::new(Exit::Other, format!("standard output: {error}"));
        let streams = Streams { input: tokio::io::stdin(), output: output().map_err(unusable)? };
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
    output: File,
}

/// Standard output as it is: that of the standard library keeps back what is not a whole line yet.
fn output() -> io::Result<File> {
    #[cfg(unix)]
    let output = std::os::fd::AsFd::as_fd(&io::stdout()).try_clone_to_owned()?;
    #[cfg(windows)]
    let output = std::os::windows::io::AsHandle::as_handle(&io::stdout()).try_clone_to_owned()?;
    Ok(File::from_std(output.into()))
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
        let closed = close_output();
        if let Ok(nothing) = &closed {
            self.output = File::from_std(nothing.try_clone()?);
        }
        Poll::Ready(closed.map(drop))
    }
}

/// Whoever reads our output sees its end, though we go on reading our input. What takes its place takes everything.
#[cfg(unix)]
fn close_output() -> io::Result<std::fs::File> {
    let nothing = std::fs::File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&nothing)?;
    Ok(nothing)
}

/// Here our output ends with us.
#[cfg(not(unix))]
fn close_output() -> io::Result<std::fs::File> {
    std::fs::File::options().write(true).open("NUL")
}
