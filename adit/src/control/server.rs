//! The end of the process that runs.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Semaphore, broadcast::error::RecvError, oneshot},
};

use super::{Answer, Request, peer};
use crate::{
    activity::By,
    engine::{Engine, Order},
    error::{Error, Exit},
    forward::UnixListener,
};

/// A longer line is no request.
const LINE_BYTES: u64 = 64 * 1024;
/// Callers at the same time.
pub(super) const CALLERS: usize = 64;
/// Numbers of packets change all the time: they are told no more often than this, and so are changes of state that come close
/// upon each other.
const PACE: Duration = Duration::from_millis(200);
const REFRESH: Duration = Duration::from_secs(1);
/// Places are for those who say something: a caller's first request comes at once, and its next when somebody has made up his mind.
const FIRST_REQUEST: Duration = Duration::from_secs(5);
const NEXT_REQUEST: Duration = Duration::from_secs(300);
/// And for those who read: no answer waits longer for one who is stopped, such as a `status --watch`.
const TAKEN: Duration = Duration::from_secs(10);

/// The control socket; gone with this.
pub(crate) struct Server {
    path: PathBuf,
    listener: UnixListener,
}

impl Server {
    /// Listens; a socket that a process left behind is replaced, one that answers is not, and neither is any other file.
    pub(crate) fn bind(path: &Path) -> Result<Self, Error> {
        let failed = |error: io::Error| {
            let failed = Error::new(Exit::LocalSocket, format!("control socket {}: {error}", path.display()));
            let hints = [
                (
                    io::ErrorKind::AddrInUse,
                    "another adit runs there: give each its own `socket` in [control], or \"off\"",
                ),
                (io::ErrorKind::AlreadyExists, "choose another path as `socket` in [control], or remove what is there"),
                (
                    io::ErrorKind::PermissionDenied,
                    "set `socket` in [control] to a path this user may write to, or \"off\"",
                ),
                (io::ErrorKind::ReadOnlyFilesystem, "set `socket` in [control] to a writable path, or \"off\""),
            ];
            match hints.iter().find(|(kind, _)| *kind == error.kind()) {
                Some((_, hint)) => failed.hint(*hint),
                None => failed,
            }
        };
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty() && !parent.exists()) {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed)?;
        }
        // For us alone; and whoever connects is judged by who it is.
        let listener = UnixListener::bind(path, Some(0o600)).map_err(failed)?;
        Ok(Self { path: path.to_owned(), listener })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Lets callers in until it is dropped; those that are in are answered until they leave.
    pub(crate) async fn serve(self, engine: Engine) {
        let (room, silent) = (Arc::new(Semaphore::new(CALLERS)), Arc::new(Silent::default()));
        loop {
            match self.listener.accept().await {
                Ok(stream) => {
                    let place = match Arc::clone(&room).try_acquire_owned() {
                        Ok(place) => Some(place),
                        // Whoever has nothing to say makes room, so that `adit status` and `adit healthcheck` are always answered.
                        Err(_) if silent.dismiss() => {
                            // It may have spoken at this very moment, and stays for long: that is waited for no longer.
                            let left = tokio::time::timeout(2 * REFRESH, Arc::clone(&room).acquire_owned()).await;
                            left.ok().and_then(Result::ok)
                        }
                        Err(_) => None,
                    };
                    let Some(place) = place else {
                        refuse(stream).await;
                        continue;
                    };
                    let (engine, silent) = (engine.clone(), Arc::clone(&silent));
                    // Goes on without us: whoever wanted the reload that ends this socket is told what came of it.
                    tokio::spawn(async move {
                        if let Err(error) = answer(stream, engine, &silent).await {
                            tracing::debug!("control socket: {error}");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!("control socket: {error}");
                    tokio::time::sleep(REFRESH).await;
                }
            }
        }
    }
}

/// Says that there is no room. A line fits into the buffer of the socket: nobody is waited for.
async fn refuse(mut stream: UnixStream) {
    let error = Error::new(Exit::Other, format!("too many callers: {CALLERS} are connected to the control socket"));
    let error = error.hint("end some of them, such as `adit status --watch` and `adit log -f`, and try again");
    tracing::warn!("{}", error.message());
    let (_, mut write) = stream.split();
    let answer = Answer::failed(&error);
    if !matches!(tokio::time::timeout(REFRESH, send(&mut write, &answer)).await, Ok(Ok(()))) {
        tracing::debug!("a caller too many has left before it was told so");
    }
}

/// Callers of whom nothing is wanted and who want nothing, in the order they fell silent in.
#[derive(Debug, Default)]
struct Silent(Mutex<(u64, BTreeMap<u64, oneshot::Sender<()>>)>);

impl Silent {
    /// Somebody falls silent: what tells it to leave, until it speaks.
    fn begins(&self) -> (Silence<'_>, oneshot::Receiver<()>) {
        let (dismissed, told) = oneshot::channel();
        let mut known = self.lock();
        known.0 += 1;
        let number = known.0;
        known.1.insert(number, dismissed);
        (Silence { silent: self, number }, told)
    }

    /// Tells the one to leave that has been silent longest; whether there was one.
    fn dismiss(&self) -> bool {
        loop {
            let Some((_, dismissed)) = self.lock().1.pop_first() else { return false };
            // One that has spoken just now stays.
            if dismissed.send(()).is_ok() {
                return true;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, oneshot::Sender<()>>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends when its caller speaks, or leaves.
struct Silence<'a> {
    silent: &'a Silent,
    number: u64,
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        self.silent.lock().1.remove(&self.number);
    }
}

async fn answer(stream: UnixStream, engine: Engine, silent: &Silent) -> io::Result<()> {
    let admitted = peer::admitted(&stream);
    let (read, mut write) = stream.into_split();
    let by = match admitted {
        Ok(by) => by,
        Err(error) => return send(&mut write, &Answer::failed(&error)).await,
    };
    let mut lines = BufReader::new(read.take(LINE_BYTES));
    let mut line = Vec::new();
    let mut patience = FIRST_REQUEST;
    loop {
        line.clear();
        lines.get_mut().set_limit(LINE_BYTES);
        let read = {
            let (_silence, dismissed) = silent.begins();
            tokio::select! {
                biased;
                read = tokio::time::timeout(patience, lines.read_until(b'\n', &mut line)) => read,
                Ok(()) = dismissed => {
                    let error = Error::new(Exit::Other, "silent for longest, while others want a place at the control socket");
                    let farewell = Answer::failed(&error.hint("connect again"));
                    return tokio::time::timeout(REFRESH, send(&mut write, &farewell)).await.unwrap_or(Ok(()));
                }
            }
        };
        match read {
            Ok(read) => {
                if read? == 0 {
                    return Ok(());
                }
            }
            Err(_) => {
                let error = Error::new(Exit::Other, format!("no request came within {} s", patience.as_secs()));
                return send(&mut write, &Answer::failed(&error)).await;
            }
        }
        patience = NEXT_REQUEST;
        let request = match serde_json::from_slice(&line) {
            Ok(request) => request,
            Err(error) => {
                let error = Error::new(Exit::Other, format!("no request: {error}"));
                // Who says no request says no other: it is told so once.
                return send(&mut write, &Answer::failed(&error.hint("see docs/operations.md"))).await;
            }
        };
        match request {
            Request::Watch => return watch(&mut lines, &mut write, &engine).await,
            Request::Log { connection, lines: count, follow } => {
                let connection = connection.as_deref();
                let (entries, follower) = engine.activity().last(count, connection);
                send(&mut write, &Answer::entries(entries)).await?;
                if follow {
                    return follow_log(&mut lines, &mut write, follower, connection).await;
                }
            }
            other @ (Request::Status
            | Request::Connect { .. }
            | Request::Disconnect { .. }
            | Request::Cancel { .. }
            | Request::Reload
            | Request::Ready { .. }
            | Request::Version) => send(&mut write, &perform(other, &engine, by.clone()).await).await?,
        }
    }
}

/// What is answered once.
async fn perform(request: Request, engine: &Engine, by: By) -> Answer {
    let order = match request {
        Request::Status | Request::Watch => return Answer::status(engine.status()),
        Request::Version => return Answer::version(),
        Request::Ready { connection, forward } => {
            return Answer::readiness(engine.status().readiness(connection.as_deref(), forward.as_deref()));
        }
        Request::Log { lines, connection, .. } => {
            return Answer::entries(engine.activity().last(lines, connection.as_deref()).0);
        }
        Request::Reload => {
            return engine.reload(by).await.map_or_else(|error| Answer::failed(&error), Answer::done);
        }
        Request::Connect { connection } => (Order::Connect, connection),
        Request::Disconnect { connection } => (Order::Disconnect, connection),
        Request::Cancel { connection } => (Order::Cancel, connection),
    };
    let done = engine.order(&order.1, order.0, by).await;
    done.map_or_else(|error| Answer::failed(&error), Answer::done)
}

async fn watch(
    lines: &mut BufReader<tokio::io::Take<OwnedReadHalf>>,
    write: &mut OwnedWriteHalf,
    engine: &Engine,
) -> io::Result<()> {
    let mut changes = engine.changes();
    let mut last = None;
    loop {
        changes.mark_unchanged();
        let status = engine.status();
        if last.as_ref() != Some(&status) {
            send(write, &Answer::status(status.clone())).await?;
            last = Some(status);
        }
        tokio::select! {
            ended = until_end(lines) => return ended,
            () = tokio::time::sleep(REFRESH) => {}
            // The engine holds the sender.
            _ = changes.changed() => tokio::time::sleep(PACE).await,
        }
    }
}

async fn follow_log(
    lines: &mut BufReader<tokio::io::Take<OwnedReadHalf>>,
    write: &mut OwnedWriteHalf,
    mut follower: tokio::sync::broadcast::Receiver<crate::activity::Entry>,
    connection: Option<&str>,
) -> io::Result<()> {
    loop {
        let entry = tokio::select! {
            ended = until_end(lines) => return ended,
            entry = follower.recv() => entry,
        };
        match entry {
            Ok(entry) if entry.is_about(connection) => send(write, &Answer::entries(vec![entry])).await?,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => tracing::debug!("somebody who follows the log is too slow"),
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

/// Until the caller has gone; whatever else it says is not looked at.
async fn until_end(lines: &mut BufReader<tokio::io::Take<OwnedReadHalf>>) -> io::Result<()> {
    loop {
        lines.get_mut().set_limit(LINE_BYTES);
        let read = lines.fill_buf().await?.len();
        if read == 0 {
            return Ok(());
        }
        lines.consume(read);
    }
}

async fn send(write: &mut (impl AsyncWriteExt + Unpin), answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    let late = || io::Error::new(io::ErrorKind::TimedOut, "the caller does not read its answer");
    tokio::time::timeout(TAKEN, write.write_all(&line)).await.map_err(|_| late())?
}
