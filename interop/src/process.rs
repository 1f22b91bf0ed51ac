//! Processes of a case: started, listened to line by line, and ended by their own id.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};

/// A running process. Dropping it kills it.
pub(crate) struct Process {
    name: String,
    pid: u32,
    log: PathBuf,
    output: Arc<Output>,
}

impl Process {
    /// Starts a process whose output goes to `DIR/NAME.log` as well.
    pub(crate) fn spawn(name: &str, dir: &Path, command: &mut Command) -> Result<Self> {
        Self::spawn_with_input(name, dir, command, None)
    }

    /// The same, with text on its standard input, which is closed afterwards.
    pub(crate) fn spawn_with_input(name: &str, dir: &Path, command: &mut Command, input: Option<&str>) -> Result<Self> {
        let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {name}: {command:?}"))?;
        if let (Some(mut pipe), Some(text)) = (child.stdin.take(), input) {
            pipe.write_all(text.as_bytes()).with_context(|| format!("cannot write to {name}"))?;
        }
        let log = dir.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log)?;
        let process = Self { name: name.to_owned(), pid: child.id(), log, output: Arc::new(Output::new(file)) };
        if let Some(out) = child.stdout.take() {
            process.read(Stream::Out, out);
        }
        if let Some(err) = child.stderr.take() {
            process.read(Stream::Err, err);
        }
        process.wait_in_background(child);
        Ok(process)
    }

    /// Reads a FIFO the process writes its log to.
    pub(crate) fn follow(&self, fifo: PathBuf) {
        let output = Arc::clone(&self.output);
        thread::spawn(move || {
            if let Ok(file) = File::open(fifo) {
                output.lock().readers += 1;
                output.copy(Stream::Out, file);
            }
        });
    }

    fn read(&self, stream: Stream, source: impl Read + Send + 'static) {
        let output = Arc::clone(&self.output);
        output.lock().readers += 1;
        thread::spawn(move || output.copy(stream, source));
    }

    fn wait_in_background(&self, mut child: Child) {
        let output = Arc::clone(&self.output);
        thread::spawn(move || {
            let status = child.wait();
            output.lock().exited = status.ok();
            output.changed.notify_all();
        });
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// How many lines there are so far: where a later search begins.
    pub(crate) fn mark(&self) -> usize {
        self.output.lock().lines.len()
    }

    /// All lines from `mark` on that `pick` accepts.
    pub(crate) fn lines<T>(&self, mark: usize, pick: impl Fn(&Line) -> Option<T>) -> Vec<T> {
        self.output.lock().lines.iter().skip(mark).filter_map(pick).collect()
    }

    /// How many lines contain the text.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.lines(0, |line| line.text.contains(text).then_some(())).len()
    }

    /// Waits for a line from `mark` on that contains the text.
    pub(crate) fn wait_text(&self, mark: usize, text: &str, limit: Duration) -> Result<String> {
        self.wait_for(mark, &format!("a line with {text:?}"), limit, |line| {
            line.text.contains(text).then(|| line.text.clone())
        })
    }

    /// Waits for a line from `mark` on that `pick` accepts.
    pub(crate) fn wait_for<T>(
        &self,
        mark: usize,
        what: &str,
        limit: Duration,
        mut pick: impl FnMut(&Line) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + limit;
        let mut next = mark;
        let mut state = self.output.lock();
        loop {
            if let Some(found) = state.lines.iter().skip(next).find_map(&mut pick) {
                return Ok(found);
            }
            next = next.max(state.lines.len());
            if let (Some(status), 0) = (state.exited, state.readers) {
                bail!("{} ended ({status}) while waiting for {what}", self.name);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("{}: no sign of {what} within {limit:?}", self.name);
            }
            state = self.output.wait(state, left);
        }
    }

    /// Runs `work`, and meanwhile `act` for each line that contains the text. Returns how many there were.
    pub(crate) fn on_line<T>(
        &self,
        text: &str,
        act: impl Fn() -> Result<()> + Sync,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<(T, usize)> {
        let (mark, over) = (self.mark(), AtomicBool::new(false));
        let watch = || {
            let (mut next, mut acted) = (mark, 0);
            let mut state = self.output.lock();
            loop {
                let found = state.lines.iter().skip(next).filter(|line| line.text.contains(text)).count();
                next = state.lines.len();
                if found == 0 {
                    if over.load(Ordering::Relaxed) {
                        return anyhow::Ok(acted);
                    }
                    state = self.output.wait(state, Duration::from_secs(1));
                    continue;
                }
                drop(state);
                for _ in 0..found {
                    act()?;
                }
                acted += found;
                state = self.output.lock();
            }
        };
        thread::scope(|scope| {
            let watch = scope.spawn(watch);
            let done = work();
            // Under the lock, so that the watch does not begin to wait in between.
            let state = self.output.lock();
            over.store(true, Ordering::Relaxed);
            drop(state);
            self.output.changed.notify_all();
            let acted = watch.join().map_err(|_| anyhow!("the watch over {} panicked", self.name))?;
            Ok((done?, acted?))
        })
    }

    /// Waits until the process has ended.
    pub(crate) fn wait_exit(&self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        let mut state = self.output.lock();
        loop {
            if let Some(status) = state.exited {
                return Ok(status);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("{} still runs after {limit:?}", self.name);
            }
            state = self.output.wait(state, left);
        }
    }

    /// Waits until the process has ended and all it said has been read.
    pub(crate) fn wait_end(&self, limit: Duration) -> Result<ExitStatus> {
        let status = self.wait_exit(limit)?;
        self.drained(Duration::from_secs(5))?;
        Ok(status)
    }

    /// Waits until the process has ended well, and returns what it printed.
    pub(crate) fn wait_output(&self, limit: Duration) -> Result<String> {
        let status = self.wait_end(limit)?;
        let of = |wanted| self.lines(0, |line| (line.stream == wanted).then(|| line.text.clone())).join("\n");
        if !status.success() {
            bail!("{} failed ({status}): {}", self.name, of(Stream::Err));
        }
        Ok(of(Stream::Out))
    }

    fn drained(&self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        let mut state = self.output.lock();
        while state.readers > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("{}: its output stays open", self.name);
            }
            state = self.output.wait(state, left);
        }
        Ok(())
    }

    pub(crate) fn is_running(&self) -> bool {
        self.output.lock().exited.is_none()
    }

    /// Waits until the process has done what it had to and waits itself, as the kernel sees it; or until it has ended.
    pub(crate) fn wait_asleep(&self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let Ok(stat) = fs::read_to_string(format!("/proc/{}/stat", self.pid)) else { return Ok(()) };
            // The name before the state may hold anything, brackets too.
            let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
            if !matches!(state, Some('R' | 'D')) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{} does not come to rest within {limit:?}", self.name);
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Sends a signal (`TERM`, `STOP`, …), if the process still runs.
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        if !self.is_running() {
            bail!("{} has ended before SIG{name}", self.name);
        }
        kill(name, &[self.pid])
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_running() {
            kill("KILL", &[self.pid]).ok();
            self.wait_exit(Duration::from_secs(5)).ok();
        }
        // The log file is what a failing case shows; make sure that it is complete.
        self.drained(Duration::from_millis(300)).ok();
        tracing::debug!(process = %self.name, log = %self.log.display(), "gone");
    }
}

/// One line of output.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) stream: Stream,
    pub(crate) text: String,
    /// When it was read.
    pub(crate) at: Instant,
}

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

struct Output {
    state: Mutex<State>,
    changed: Condvar,
    started: Instant,
}

struct State {
    lines: Vec<Line>,
    exited: Option<ExitStatus>,
    readers: usize,
    file: File,
}

impl Output {
    fn new(file: File) -> Self {
        let state = State { lines: Vec::new(), exited: None, readers: 0, file };
        Self { state: Mutex::new(state), changed: Condvar::new(), started: Instant::now() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, limit: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner).0
    }

    fn copy(&self, stream: Stream, source: impl Read) {
        let mut source = BufReader::new(source);
        let mut bytes = Vec::new();
        while matches!(source.read_until(b'\n', &mut bytes), Ok(1..)) {
            let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            bytes.clear();
            let mut state = self.lock();
            let (mut entry, at) = (String::new(), Instant::now());
            write!(entry, "{:8.3} ", (at - self.started).as_secs_f64()).ok();
            entry.push_str(&text);
            entry.push('\n');
            state.file.write_all(entry.as_bytes()).ok();
            state.lines.push(Line { stream, text, at });
            drop(state);
            self.changed.notify_all();
        }
        self.lock().readers -= 1;
        self.changed.notify_all();
    }
}

/// Sends a signal to processes, by id. Those that have ended meanwhile are no error.
pub(crate) fn kill(signal: &str, pids: &[u32]) -> Result<()> {
    if pids.is_empty() {
        return Ok(());
    }
    let list = pids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    let script = format!("kill -s {signal} {list}");
    Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status().context("cannot run sh")?;
    Ok(())
}

/// Runs a command to its end and returns its output.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        let err = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} failed ({}): {}", output.status, err.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
