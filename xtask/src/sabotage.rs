//! Mutation sanity: with one deliberate fault compiled in, the tests must fail; with none, they must pass.
//!
//! A fault is a line `if cfg!(adit_sabotage = "NAME")` in a protocol crate. To look into one by hand:
//! `RUSTFLAGS='--cfg adit_sabotage="replay"' cargo test -p ikev2 --lib`. Here the flag goes to our own crates alone, through a
//! wrapper around rustc for each fault, so that what they depend on is built once and not once for each.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::steps::{self, Steps, say};

struct Fault {
    name: &'static str,
    /// What it does, for people.
    what: &'static str,
    /// The crates whose tests have to notice.
    crates: &'static [&'static str],
}

const FAULTS: [Fault; 7] = [
    Fault { name: "replay", what: "the replay check is skipped", crates: &["adit-tunnel", "ikev2", "openvpn"] },
    Fault { name: "collision", what: "the winner of a rekey collision is deleted", crates: &["ikev2"] },
    Fault { name: "nonce_esp", what: "ESP packets are sealed with one nonce", crates: &["ikev2"] },
    Fault { name: "nonce_openvpn", what: "OpenVPN packets are sealed with one nonce", crates: &["openvpn"] },
    Fault { name: "early_success", what: "an early EAP-Success is accepted", crates: &["ikev2"] },
    Fault { name: "auth", what: "a wrong AUTH is accepted", crates: &["ikev2"] },
    Fault { name: "retransmission", what: "a retransmission is forgotten", crates: &["ikev2", "openvpn"] },
];

/// The tests without a fault, then with each.
pub(crate) fn run(steps: &mut Steps) -> Result<()> {
    let dir = steps::target_dir()?.join("sabotage");
    fs::create_dir_all(&dir)?;
    let sound = Fault { name: "none", what: "nothing is wrong", crates: &["adit-tunnel", "ikev2", "openvpn"] };
    steps.run("sabotage: none", || {
        let outcome = tests(&dir, &sound)?;
        ensure!(outcome.failed.is_empty(), "tests fail without any fault: {}", outcome.failed.join(", "));
        say(&format!("none: all of {} tests pass", outcome.passed));
        Ok(())
    })?;
    let mut survivors = Vec::new();
    for fault in &FAULTS {
        let caught = steps.run(&format!("sabotage: {}", fault.name), || {
            let outcome = tests(&dir, fault)?;
            ensure!(!outcome.failed.is_empty(), "no test notices that {}", fault.what);
            say(&report(fault, &outcome.failed));
            Ok(())
        });
        if let Err(error) = caught {
            say(&format!("{error:#}"));
            survivors.push(fault.name);
        }
    }
    ensure!(survivors.is_empty(), "not caught: {}", survivors.join(", "));
    Ok(())
}

fn report(fault: &Fault, failed: &[String]) -> String {
    let first: Vec<&str> = failed.iter().take(NAMED).map(String::as_str).collect();
    let more = if failed.len() > NAMED { ", …" } else { "" };
    format!("{}: {}: caught by {} tests: {}{more}", fault.name, fault.what, failed.len(), first.join(", "))
}

struct Outcome {
    passed: usize,
    /// With their crate.
    failed: Vec<String>,
}

fn tests(dir: &Path, fault: &Fault) -> Result<Outcome> {
    let mut outcome = Outcome { passed: 0, failed: Vec::new() };
    for binary in build(dir, fault)? {
        let output = binary.run(dir, fault)?;
        for line in output.lines() {
            let Some((name, verdict)) = line.strip_prefix("test ").and_then(|line| line.rsplit_once(" ... ")) else {
                continue;
            };
            match verdict {
                "ok" => outcome.passed += 1,
                "FAILED" => {
                    outcome.failed.push(format!("{} {}", binary.package, name.trim_end_matches(" - should panic")))
                }
                _ => {}
            }
        }
    }
    ensure!(outcome.passed > 0, "no test has run");
    Ok(outcome)
}

/// The unit tests of one crate.
struct Binary {
    package: String,
    /// Where its tests expect to run.
    home: PathBuf,
    program: PathBuf,
}

fn build(dir: &Path, fault: &Fault) -> Result<Vec<Binary>> {
    let mut command = Command::new("cargo");
    command.args(["test", "--lib", "--no-run", "--quiet", "--message-format=json-render-diagnostics"]);
    command.args(fault.crates.iter().flat_map(|name| ["-p", name]));
    command.env("CARGO_TARGET_DIR", dir).env("RUSTC_WORKSPACE_WRAPPER", wrapper(dir, fault)?);
    let output = command.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "the tests cannot be built");
    let mut binaries = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: serde_json::Value = serde_json::from_str(line)?;
        let text = |pointer| message.pointer(pointer).and_then(|value| value.as_str());
        let (Some(program), Some(manifest)) = (text("/executable"), text("/manifest_path")) else { continue };
        let home = Path::new(manifest).parent().context("no directory of the crate")?.to_owned();
        let package = text("/target/name").context("no name of the crate")?.to_owned();
        binaries.push(Binary { package, home, program: program.into() });
    }
    ensure!(binaries.len() == fault.crates.len(), "{} of {} test binaries", binaries.len(), fault.crates.len());
    Ok(binaries)
}

/// A wrapper of its own for each fault, because cargo tells builds apart by its path.
fn wrapper(dir: &Path, fault: &Fault) -> Result<PathBuf> {
    let path = dir.join(format!("rustc-{}", fault.name));
    let script = format!("#!/bin/sh\nexec \"$@\" --cfg 'adit_sabotage=\"{}\"'\n", fault.name);
    let script = if fault.name == "none" { "#!/bin/sh\nexec \"$@\"\n".to_owned() } else { script };
    // Written anew it would be newer than what was built with it.
    if fs::read_to_string(&path).ok().as_ref() != Some(&script) {
        fs::write(&path, script)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(path)
}

impl Binary {
    /// What it prints; the log of the tests stays in a file.
    fn run(&self, dir: &Path, fault: &Fault) -> Result<String> {
        let log = dir.join(format!("{}-{}.log", fault.name, self.package));
        let out = fs::File::create(&log)?;
        let mut command = Command::new(&self.program);
        command.current_dir(&self.home).env("CARGO_MANIFEST_DIR", &self.home);
        // Tests that fail on purpose must leave nothing behind in the sources, and a simulation shows a fault soon or never.
        command.envs([
            ("INSTA_UPDATE", "no"),
            ("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1"),
            ("PROPTEST_MAX_SHRINK_ITERS", "100"),
        ]);
        command.envs([("ADIT_TEST_SEEDS", "20"), ("ADIT_TEST_STEPS", "2000")]);
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let mut child = command.spawn().with_context(|| format!("cannot run {}", self.program.display()))?;
        ended(&mut child).with_context(|| format!("the tests of {}; see {}", self.package, log.display()))?;
        let output = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        // Neither a crash nor a hang names a test.
        ensure!(output.contains("\ntest result: "), "the tests of {} crashed: see {}", self.package, log.display());
        Ok(output)
    }
}

fn ended(child: &mut Child) -> Result<()> {
    let started = Instant::now();
    while child.try_wait()?.is_none() {
        if started.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
            bail!("not done after {} minutes", LIMIT.as_secs() / 60);
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Tests named in the report of a fault.
const NAMED: usize = 3;
/// For the unit tests of one crate; they take seconds.
const LIMIT: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    /// Else the flag would be misspelt in one of the places, and the fault would be none.
    #[test]
    fn the_compiler_knows_every_fault() {
        let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")).unwrap();
        let values = manifest.split_once("cfg(adit_sabotage, values(").unwrap().1.split_once(')').unwrap().0;
        let known: Vec<&str> = values.split(", ").map(|name| name.trim_matches('"')).collect();
        assert_eq!(known, FAULTS.map(|fault| fault.name));
    }

    #[test]
    fn a_report_names_the_first_tests_and_their_number() {
        let failed: Vec<String> = (1..=4).map(|n| format!("ikev2 test_{n}")).collect();
        assert_eq!(
            report(&FAULTS[1], &failed),
            "collision: the winner of a rekey collision is deleted: caught by 4 tests: ikev2 test_1, ikev2 test_2, \
             ikev2 test_3, …"
        );
        assert!(
            report(&FAULTS[1], &failed[..3]).ends_with("caught by 3 tests: ikev2 test_1, ikev2 test_2, ikev2 test_3")
        );
    }
}
