//! Steps with a name, a time and a verdict.

use std::{
    env,
    ffi::OsString,
    io::{BufRead, BufReader},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};

/// What has been done so far.
pub(crate) struct Steps {
    started: Instant,
    passed: usize,
    failed: usize,
    /// What cargo said of each test: its name, and what became of it.
    tests: Vec<String>,
}

impl Steps {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), passed: 0, failed: 0, tests: Vec::new() }
    }

    /// A step of our own.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Result<()>) -> Result<()> {
        self.timed(name, |steps| {
            step()?;
            steps.passed += 1;
            Ok(())
        })
    }

    /// A step that cargo does; those that run tests count each of them.
    pub(crate) fn cargo(&mut self, name: &str, args: &[&str], envs: &[(&str, &str)]) -> Result<()> {
        self.timed(name, |steps| {
            let mut command = Command::new("cargo");
            command.args(args).envs(envs.iter().copied());
            if args.first() == Some(&"test") && !args.contains(&"--no-run") {
                return steps.counted(&mut command, "test result: ");
            }
            let status = command.status().context("cannot run cargo")?;
            ensure!(status.success(), "`cargo {}` failed", args.join(" "));
            steps.passed += 1;
            Ok(())
        })
    }

    /// A step that another program does, which says `N passed, M failed`.
    pub(crate) fn program(&mut self, name: &str, command: &mut Command) -> Result<()> {
        self.timed(name, |steps| steps.counted(command, ""))
    }

    /// Whether a test has run whose name begins so.
    pub(crate) fn has_run(&self, beginning: &str) -> bool {
        self.tests.iter().any(|test| test.starts_with(beginning))
    }

    /// The cases with real peers. What was built before must include them.
    pub(crate) fn interop(&mut self, args: &[String]) -> Result<()> {
        self.timed("interop", |steps| {
            let program = target_dir()?.join("debug").join("interop");
            let mut command = Command::new(program);
            if !is_root()? && may_sudo() {
                let program = command.get_program().to_owned();
                command = Command::new("sudo");
                command.arg("-n").arg(program);
            }
            command.args(args).env("PATH", path_with_sbin());
            if args.first().is_some_and(|first| first == "list") {
                ensure!(command.status()?.success(), "the list failed");
                return Ok(());
            }
            steps.counted(&mut command, "")
        })
    }

    /// Says how it ended.
    pub(crate) fn finish(self, result: Result<()>) -> ExitCode {
        let failed = if result.is_err() { self.failed.max(1) } else { self.failed };
        if let Err(error) = &result {
            say(&format!("error: {error:#}"));
        }
        say(&format!("== done in {:.0} s", self.started.elapsed().as_secs_f64()));
        say(&format!("{} passed, {failed} failed", self.passed));
        if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn timed(&mut self, name: &str, step: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        say(&format!("== {name}"));
        let started = Instant::now();
        let result = step(self).with_context(|| format!("step `{name}`"));
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        say(&format!("== {name}: {verdict} ({:.1} s)", started.elapsed().as_secs_f64()));
        result
    }

    /// Passes the output on and adds up its lines `PREFIX… N passed… M failed`.
    fn counted(&mut self, command: &mut Command, prefix: &str) -> Result<()> {
        let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run {command:?}"))?;
        let mut found = false;
        if let Some(out) = child.stdout.take() {
            for line in BufReader::new(out).lines() {
                let line = line?;
                if let Some((passed, failed)) = line.strip_prefix(prefix).and_then(counts) {
                    (self.passed, self.failed, found) = (self.passed + passed, self.failed + failed, true);
                }
                say(&line);
                self.tests.extend(line.strip_prefix("test ").map(str::to_owned));
            }
        }
        let status = child.wait()?;
        ensure!(status.success(), "{} failed", command.get_program().display());
        ensure!(found, "nothing was counted in the output of {}", command.get_program().display());
        Ok(())
    }
}

/// The numbers before "passed" and "failed" in a line that says both.
fn counts(line: &str) -> Option<(usize, usize)> {
    let words: Vec<&str> = line.split([' ', ',', ';']).filter(|word| !word.is_empty()).collect();
    let before = |what: &str| {
        let place = words.iter().position(|word| *word == what)?;
        words.get(place.checked_sub(1)?)?.parse().ok()
    };
    Some((before("passed")?, before("failed")?))
}

#[expect(clippy::print_stdout, reason = "the output of this program is for people")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}

/// Runs a command and returns its output.
pub(crate) fn output(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program).args(args).output().with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!("{program} {} failed: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether we may do everything.
pub(crate) fn is_root() -> Result<bool> {
    Ok(output("id", &["-u"])?.trim() == "0")
}

/// Whether `sudo` lets us do everything without a question.
pub(crate) fn may_sudo() -> bool {
    let trial = Command::new("sudo").args(["-n", "true"]).stderr(Stdio::null()).status();
    trial.is_ok_and(|status| status.success())
}

/// The PATH with the places where Debian keeps `ip` and `openvpn`.
pub(crate) fn path_with_sbin() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

/// Where cargo builds.
pub(crate) fn target_dir() -> Result<std::path::PathBuf> {
    let metadata = output("cargo", &["metadata", "--no-deps", "--format-version", "1"])?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let dir = metadata.get("target_directory").and_then(|dir| dir.as_str()).context("no target directory")?;
    Ok(dir.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_cargo_and_from_the_rig() {
        assert_eq!(counts("ok. 12 passed; 1 failed; 0 ignored; 0 measured"), Some((12, 1)));
        assert_eq!(counts("101 passed, 2 failed"), Some((101, 2)));
        assert_eq!(counts("passed"), None);
        assert_eq!(counts("all of them passed, none failed"), None);
    }
}
