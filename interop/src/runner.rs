//! Runs cases side by side, each in a process of its own, and cleans up behind each whatever became of it.

use std::{
    collections::VecDeque,
    fs,
    io::Read,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    cases::Case,
    ike,
    needs::{self, Need},
    net,
    pki::Pki,
    tools::say,
};

/// Cases that are allowed to be blocked.
const BLOCKED: &str = include_str!("../blocked.toml");

/// What to run, and how.
pub(crate) struct Options {
    /// At most so many cases at the same time.
    pub(crate) jobs: usize,
    /// Leave the logs of failed cases where they are.
    pub(crate) keep: bool,
    /// `openvpn` or strongSwan takes the client's place.
    pub(crate) reference: bool,
    /// The program under test is that of a release build.
    pub(crate) release: bool,
}

/// Runs the cases; true if none failed.
pub(crate) fn run(mut cases: Vec<Case>, options: &Options) -> Result<bool> {
    let allowed = needs::allowed(BLOCKED)?;
    let mut tally = Tally::default();
    let mut runnable = Vec::new();
    for case in cases.drain(..) {
        match (case.blocked(), allowed.get(&case.name)) {
            (None, _) => runnable.push(case),
            (Some(reason), Some(allowed)) => say(&format!("blocked  {}: {reason} (allowed: {allowed})", case.name))?,
            (Some(reason), None) => {
                tally.failed.push(case.name.clone());
                say(&format!("FAILED   {}: blocked: {reason}", case.name))?;
            }
        }
    }
    // The longest first: they must not start when all others are done.
    runnable.sort_by_key(|case| std::cmp::Reverse(case.seconds));
    if !runnable.is_empty() {
        let ike = runnable.iter().any(|case| case.has_need(Need::StrongSwan));
        let run = Run::prepare(options, ike)?;
        run.all(runnable, &mut tally)?;
    }
    for line in &tally.measured {
        say(&format!("measured {line}"))?;
    }
    for name in &tally.failed {
        say(&format!("failed: {name}"))?;
    }
    say(&format!("{} passed, {} failed", tally.passed, tally.failed.len()))?;
    Ok(tally.failed.is_empty())
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: Vec<String>,
    /// What cases have measured, with their names.
    measured: Vec<String>,
}

/// What a case says of itself.
#[derive(Default)]
struct Said {
    notes: Vec<String>,
    measured: Vec<String>,
}

impl Said {
    fn read(text: &str) -> Self {
        let with = |prefix| text.lines().filter_map(|line| Some(line.strip_prefix(prefix)?.to_owned())).collect();
        Self { notes: with("note: "), measured: with("measured: ") }
    }
}

/// Cases with their numbers.
type Queue = Mutex<VecDeque<(usize, Case)>>;

fn queue(cases: Vec<(usize, Case)>) -> Queue {
    Mutex::new(cases.into())
}

/// One run: its directory, and whether it shall end early.
struct Run<'a> {
    dir: PathBuf,
    options: &'a Options,
    stopped: Arc<AtomicBool>,
}

impl<'a> Run<'a> {
    fn prepare(options: &'a Options, ike: bool) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("adit-interop-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        let run = Self { dir, options, stopped: Arc::new(AtomicBool::new(false)) };
        run.stop_on_signal()?;
        fs::set_permissions(&run.dir, fs::Permissions::from_mode(0o755))?;
        run.install_programs()?;
        Pki::create(&run.dir.join("pki"))?;
        if ike {
            ike::pki::create(&run.dir.join("pki/ike"))?;
        }
        Ok(run)
    }

    /// Puts both programs where every user can run them: a checkout in a home directory is closed to others.
    fn install_programs(&self) -> Result<()> {
        let own = std::env::current_exe()?;
        let bin = self.dir.join("bin");
        fs::create_dir_all(&bin)?;
        fs::copy(&own, bin.join("interop"))?;
        let adit = match own.parent().and_then(Path::parent) {
            Some(target) if self.options.release => target.join("release/adit"),
            _ => own.with_file_name("adit"),
        };
        if self.options.reference {
            return Ok(());
        }
        fs::copy(&adit, bin.join("adit")).with_context(|| format!("{}: build it first", adit.display())).map(drop)
    }

    fn stop_on_signal(&self) -> Result<()> {
        let stopped = Arc::clone(&self.stopped);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        thread::spawn(move || {
            runtime.block_on(async {
                use tokio::signal::unix::{SignalKind, signal};
                let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
                else {
                    return;
                };
                tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
                stopped.store(true, Ordering::Relaxed);
            });
        });
        Ok(())
    }

    fn all(&self, cases: Vec<Case>, tally: &mut Tally) -> Result<()> {
        // Those that mostly wait go beside the others, which would else wait for them.
        let (paced, busy): (Vec<_>, Vec<_>) = cases.into_iter().enumerate().partition(|(_, case)| case.paced);
        let jobs = self.options.jobs;
        let queues = [busy, paced].map(|cases| (jobs.min(cases.len()), queue(cases)));
        let tally = Mutex::new(tally);
        thread::scope(|scope| {
            for (jobs, queue) in &queues {
                for _ in 0..*jobs {
                    scope.spawn(|| {
                        while let Some((number, case)) = self.next(queue) {
                            let started = Instant::now();
                            let result = self.one(number, &case);
                            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                            report(&case, started.elapsed(), result, &mut tally);
                        }
                    });
                }
            }
        });
        if self.stopped.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }

    fn next(&self, queue: &Queue) -> Option<(usize, Case)> {
        if self.stopped.load(Ordering::Relaxed) {
            return None;
        }
        queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Runs one case to its end or its limit. The error carries the logs.
    fn one(&self, number: usize, case: &Case) -> Result<Said> {
        // Whatever happens, the namespaces and what runs in them go.
        let network = Network(format!("adit-{}-{number}", std::process::id()));
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("case").arg(&case.name).arg("--run-dir").arg(&self.dir).arg("--prefix").arg(&network.0);
        if self.options.reference {
            command.arg("--reference");
        }
        // A group of its own: Ctrl-C reaches the runner alone, which then ends the cases in order.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let (out, err) = (drain(child.stdout.take()), drain(child.stderr.take()));
        let ended = self.wait(&mut child, case.limit());
        drop(network);
        let collect = |thread: thread::JoinHandle<String>| thread.join().unwrap_or_default();
        let (out, err) = (collect(out), collect(err));
        let result = match ended {
            Ok(true) => Ok(Said::read(&out)),
            Ok(false) => Err(anyhow::anyhow!("{}", err.trim())),
            Err(error) => Err(error.context(err.trim().to_owned())),
        };
        let dir = self.dir.join(&case.name);
        // With what it said of itself: the seed is there.
        let result = result.map_err(|error| error.context(format!("{out}{}", logs(&dir))));
        if !(self.options.keep && result.is_err()) {
            fs::remove_dir_all(&dir).ok();
        }
        result
    }

    fn wait(&self, child: &mut Child, limit: Duration) -> Result<bool> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status.success());
            }
            let reason = if self.stopped.load(Ordering::Relaxed) {
                "interrupted".to_owned()
            } else if Instant::now() > deadline {
                format!("not done after {limit:?}")
            } else {
                // std has no wait with a deadline.
                thread::sleep(Duration::from_millis(20));
                continue;
            };
            child.kill()?;
            child.wait()?;
            bail!(reason);
        }
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        // What failed cases left stands beside what all cases share.
        let shared = ["bin", "pki"];
        let of_a_case = |entry: fs::DirEntry| shared.iter().all(|name| entry.file_name() != *name);
        let failed = fs::read_dir(&self.dir).is_ok_and(|entries| entries.flatten().any(of_a_case));
        if self.options.keep && failed {
            fs::remove_dir_all(self.dir.join("bin")).ok();
            say(&format!("kept: {}", self.dir.display())).ok();
        } else {
            fs::remove_dir_all(&self.dir).ok();
        }
    }
}

/// Removes the namespaces of a case when dropped.
struct Network(String);

impl Drop for Network {
    fn drop(&mut self) {
        if let Err(error) = net::remove(&self.0) {
            say(&format!("cannot remove the network {}: {error:#}", self.0)).ok();
        }
    }
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut bytes).ok();
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn report(case: &Case, took: Duration, result: Result<Said>, tally: &mut Tally) {
    let seconds = took.as_secs_f64();
    let text = match result {
        Ok(said) => {
            tally.passed += 1;
            let both = said.notes.iter().chain(&said.measured);
            let notes: String = both.map(|note| format!("\n           {note}")).collect();
            tally.measured.extend(said.measured.iter().map(|text| format!("{}: {text}", case.name)));
            format!("ok       {} ({seconds:.1} s){notes}", case.name)
        }
        Err(error) => {
            tally.failed.push(case.name.clone());
            let reason: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
            format!("FAILED   {} ({seconds:.1} s): {}\n{error}", case.name, reason.join(": "))
        }
    };
    say(&text).ok();
}

/// The ends of all logs of a case.
fn logs(dir: &Path) -> String {
    const LAST: usize = 70;
    let mut names: Vec<PathBuf> = fs::read_dir(dir)
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    names.sort();
    let mut text = String::new();
    for path in names {
        let bytes = fs::read(&path).unwrap_or_default();
        let content = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = content.lines().collect();
        let skipped = lines.len().saturating_sub(LAST);
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        text.push_str(&format!("---- {name} (without the first {skipped} lines)\n"));
        for line in lines.iter().skip(skipped) {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}
