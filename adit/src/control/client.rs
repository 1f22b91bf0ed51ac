//! The end of `adit status` and others.

use std::{
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Answer, Request, likely_paths};
use crate::error::{Error, Exit};

/// A process that runs.
pub(crate) struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the control socket, or to the one that answers of those where a process listens unless told otherwise.
    pub(crate) fn connect(path: Option<&Path>) -> Result<Self, Error> {
        let paths = path.map_or_else(likely_paths, |path| vec![path.to_owned()]);
        let mut failed = Error::new(Exit::Other, "there is no control socket to look for");
        for path in paths {
            match UnixStream::connect(&path) {
                Ok(stream) => return Ok(Self { path, stream: BufReader::new(stream) }),
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

    /// How long an answer may take; for ever unless it is told.
    pub(crate) fn set_patience(&self, patience: Duration) -> Result<(), Error> {
        let set = self.stream.get_ref().set_read_timeout(Some(patience));
        set.map_err(|error| self.broken(&error))
    }

    /// Asks, and returns the answer.
    pub(crate) fn ask(&mut self, request: &Request) -> Result<Answer, Error> {
        self.send(request)?;
        match self.next()? {
            Some(answer) => Ok(answer),
            None => Err(Error::new(Exit::Other, format!("{}: closed without an answer", self.path.display()))),
        }
    }

    pub(crate) fn send(&mut self, request: &Request) -> Result<(), Error> {
        let mut line = serde_json::to_vec(request).map_err(|error| Error::new(Exit::Other, error))?;
        line.push(b'\n');
        // One that refuses us has answered, and closed.
        match self.stream.get_mut().write_all(&line) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(self.broken(&error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The next answer; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Answer>, Error> {
        let mut line = Vec::new();
        match self.stream.read_until(b'\n', &mut line) {
            Ok(0) => Ok(None),
            Ok(_) => {
                let answer: Answer = serde_json::from_slice(&line).map_err(|error| {
                    Error::new(Exit::Other, format!("{}: an answer of another version: {error}", self.path.display()))
                })?;
                answer.into_result().map(Some)
            }
            Err(error) => Err(self.broken(&error)),
        }
    }

    fn broken(&self, error: &io::Error) -> Error {
        Error::new(Exit::Other, format!("{}: {error}", self.path.display()))
    }
}

fn unreachable(path: &Path, error: &io::Error) -> Error {
    let failed = Error::new(Exit::Other, format!("no adit answers at {}: {error}", path.display()));
    failed.hint(if error.kind() == io::ErrorKind::PermissionDenied {
        "it belongs to another user: run this as that user, or as root"
    } else {
        "start `adit run --config FILE`, or say where it listens: --control PATH, or --config FILE"
    })
}
