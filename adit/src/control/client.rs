//! The end of `adit status` and others.

use std::{
    io::{self, BufRead, BufReader, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use socket2::{Domain, SockAddr, Socket, Type};

use super::{Answer, Request, likely_paths};
use crate::error::{Error, Exit};

/// How long a process may take for what it can answer at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// A process that runs.
pub(crate) struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
    patience: Duration,
}

impl Client {
    /// Connects to the control socket, or to the one that answers of those where a process listens unless told otherwise.
    pub(crate) fn connect(path: Option<&Path>) -> Result<Self, Error> {
        Self::connect_within(path, PATIENCE)
    }

    fn connect_within(path: Option<&Path>, patience: Duration) -> Result<Self, Error> {
        let paths = path.map_or_else(likely_paths, |path| vec![path.to_owned()]);
        let mut failed = Error::new(Exit::Other, "there is no control socket to look for");
        for path in paths {
            match connected(&path, patience) {
                Ok(stream) => return Ok(Self { path, stream: BufReader::new(stream), patience }),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(silent(&path, patience)),
                // What was said of the likeliest place is said, unless another one is there and refuses.
                Err(error) => {
                    let found = error.kind() != io::ErrorKind::NotFound;
                    if found || failed.hint_text().is_none() {
                        failed = unreachable(&path, &error);
                    }
                    if found {
                        break;
                    }
                }
            }
        }
        Err(failed)
    }

    /// Asks what is answered at once, and returns the answer, or the first of several: [`Self::next`] has the others.
    pub(crate) fn ask(&mut self, request: &Request) -> Result<Answer, Error> {
        self.send(request)?;
        self.only(Some(self.patience))
    }

    /// Has something done, and returns what came of it: that may take its time, but whether somebody is there may not.
    pub(crate) fn order(&mut self, request: &Request) -> Result<Answer, Error> {
        self.ask(&Request::Version)?;
        self.send(request)?;
        self.only(None)
    }

    fn only(&mut self, patience: Option<Duration>) -> Result<Answer, Error> {
        match self.read(patience)? {
            Some(answer) => Ok(answer),
            None => Err(Error::new(Exit::Other, format!("{}: closed without an answer", self.path.display()))),
        }
    }

    pub(crate) fn send(&mut self, request: &Request) -> Result<(), Error> {
        let mut line = serde_json::to_vec(request).map_err(|error| Error::new(Exit::Other, error))?;
        line.push(b'\n');
        // One that refuses us has answered, and closed.
        match self.stream.get_mut().write_all(&line) {
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(silent(&self.path, self.patience)),
            Err(error) => Err(self.broken(&error)),
            Ok(()) => Ok(()),
        }
    }

    /// The next answer, whenever it comes; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Answer>, Error> {
        self.read(None)
    }

    fn read(&mut self, patience: Option<Duration>) -> Result<Option<Answer>, Error> {
        let set = self.stream.get_ref().set_read_timeout(patience);
        set.map_err(|error| self.broken(&error))?;
        let mut line = Vec::new();
        match self.stream.read_until(b'\n', &mut line) {
            Ok(0) => Ok(None),
            Ok(_) => {
                let answer: Answer = serde_json::from_slice(&line).map_err(|error| {
                    Error::new(Exit::Other, format!("{}: an answer of another version: {error}", self.path.display()))
                })?;
                answer.into_result().map(Some)
            }
            // What a read says that ran out of time.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(silent(&self.path, self.patience)),
            Err(error) => Err(self.broken(&error)),
        }
    }

    fn broken(&self, error: &io::Error) -> Error {
        Error::new(Exit::Other, format!("{}: {error}", self.path.display()))
    }
}

#[cfg(test)]
impl Client {
    pub(super) fn impatient(path: &Path, patience: Duration) -> Result<Self, Error> {
        Self::connect_within(Some(path), patience)
    }
}

/// A process that is stopped takes nobody in once its queue is full: that is waited for no longer than for an answer, and so is
/// whatever is sent.
fn connected(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(patience))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(OwnedFd::from(socket).into())
}

fn silent(path: &Path, patience: Duration) -> Error {
    let (path, seconds) = (path.display(), patience.as_secs_f32());
    let text = format!("{path}: the process has not answered for {seconds} s; it hangs, or is stopped");
    Error::new(Exit::Other, text)
        .hint("let it go on (`kill -CONT PID`), or end and start it again; its log may say more")
}

fn unreachable(path: &Path, error: &io::Error) -> Error {
    let failed = Error::new(Exit::Other, format!("no adit answers at {}: {error}", path.display()));
    failed.hint(if error.kind() == io::ErrorKind::PermissionDenied {
        "it belongs to another user: run this as that user, or as root"
    } else {
        "start `adit run --config FILE`, or say where it listens: --control PATH, or --config FILE"
    })
}
