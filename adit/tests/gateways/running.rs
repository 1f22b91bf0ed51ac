//! The program while it runs.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program, not yet started.
pub(crate) fn adit(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
    command.args(arguments).stdin(Stdio::null()).env_remove("ADIT_LOG").env("RUST_BACKTRACE", "0");
    command
}

/// A directory of its own for each test, gone afterwards.
pub(crate) struct Workplace(pub(crate) PathBuf);

impl Workplace {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("adit-gateways-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A running program; ended with this.
pub(crate) struct Running {
    child: Child,
    stdout: Arc<Lines>,
    stderr: Arc<Lines>,
}

/// What was written so far.
#[derive(Default)]
struct Lines {
    text: Mutex<(String, bool)>,
    more: Condvar,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = Lines::read(child.stdout.take().unwrap());
        let stderr = Lines::read(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// Waits until standard output has a line that begins so, and returns what follows.
    pub(crate) fn line(&self, begin: &str) -> String {
        self.nth_line(begin, 0)
    }

    pub(crate) fn nth_line(&self, begin: &str, nth: usize) -> String {
        let found = self.stdout.wait(|text| {
            text.lines().filter_map(|line| line.trim_start().strip_prefix(begin)).nth(nth).map(str::to_owned)
        });
        found.unwrap_or_else(|| panic!("no line `{begin}`:\n{}\n{}", self.stdout.text(), self.stderr.text()))
    }

    /// Waits until standard error has this.
    pub(crate) fn said(&self, wanted: &str) {
        let found = self.stderr.wait(|text| text.contains(wanted).then_some(()));
        assert!(found.is_some(), "not `{wanted}`:\n{}", self.stderr.text());
    }

    /// Sends a signal.
    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        let status = within_patience(&mut self.child).unwrap_or_else(|| panic!("still there:\n{}", self.stderr.text()));
        let whole = |lines: &Lines| {
            // Closed with the end of the program.
            assert!(lines.wait(|_| None::<()>).is_none());
            lines.text()
        };
        Ended { status, stdout: whole(&self.stdout), stderr: whole(&self.stderr) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Waits for the end of a program that was started otherwise.
#[cfg(unix)]
pub(crate) fn ended(child: &mut Child) -> ExitStatus {
    within_patience(child).unwrap_or_else(|| {
        drop(child.kill());
        panic!("still there")
    })
}

fn within_patience(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return Some(status),
            None if Instant::now() > deadline => return None,
            None => thread::park_timeout(Duration::from_millis(5)),
        }
    }
}

/// What became of it.
pub(crate) struct Ended {
    status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap()
    }

    /// The signal that ended it, where it has none of its own way.
    #[cfg(unix)]
    pub(crate) fn signal(&self) -> Option<i32> {
        std::os::unix::process::ExitStatusExt::signal(&self.status)
    }

    /// It ended with this code.
    pub(crate) fn with(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{}\n{}", self.stdout, self.stderr);
        self
    }
}

impl Lines {
    fn read(from: impl Read + Send + 'static) -> Arc<Self> {
        let lines = Arc::new(Self::default());
        let to = Arc::clone(&lines);
        thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut line = Vec::new();
            while from.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                to.text.lock().unwrap().0 += &String::from_utf8_lossy(&line);
                line.clear();
                to.more.notify_all();
            }
            to.text.lock().unwrap().1 = true;
            to.more.notify_all();
        });
        lines
    }

    /// What is found in the text, as soon as it is; `None` at the end of the text.
    fn wait<T>(&self, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + PATIENCE;
        let mut text = self.text.lock().unwrap();
        loop {
            let found = find(&text.0);
            if found.is_some() || text.1 || Instant::now() > deadline {
                return found;
            }
            text = self.more.wait_timeout(text, Duration::from_millis(100)).unwrap().0;
        }
    }

    fn text(&self) -> String {
        self.text.lock().unwrap().0.clone()
    }
}

/// What a web server answers here.
pub(crate) fn get(address: &str) -> String {
    let address: SocketAddr = address.parse().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{address}: {error}\n{answer}"));
    answer
}
