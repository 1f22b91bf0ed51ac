//! The long suites: simulations with many seeds, deliberate faults, speed, and interop cases that take ten minutes and more.

use anyhow::{Result, ensure};

use crate::{
    build_interop, sabotage,
    steps::{Steps, say},
    tools,
};

/// Those named; all, if there is no name.
pub(crate) fn run(steps: &mut Steps, names: Vec<String>) -> Result<()> {
    let all = names.is_empty();
    let (suites, cases): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| SUITES.contains(&name.as_str()));
    let wanted = |suite: &str| all || suites.iter().any(|name| name == suite);
    if wanted(SABOTAGE) {
        sabotage::run(steps)?;
    }
    if wanted(SIMULATE) {
        simulate(steps)?;
    }
    if wanted(SPEED) {
        tools::install(steps)?;
        speed(steps)?;
    }
    if all || !cases.is_empty() {
        tools::install(steps)?;
        build_interop(steps)?;
        let mut args = vec!["run".to_owned(), "--soak".to_owned()];
        args.extend(cases);
        steps.interop(&args)?;
    }
    Ok(())
}

/// Simulations are the tests with that word in their path. What is behind the number of seeds they say themselves.
pub(crate) fn simulations(steps: &mut Steps, name: &str, profile: &[&str], envs: &[(&str, &str)]) -> Result<()> {
    // Without an end at the first crate that fails: what the others find is wanted, too.
    let tests = [&["test", "--workspace", "--lib", "--tests", "--no-fail-fast"], profile].concat();
    steps.cargo(name, &[&tests[..], &["simulation"]].concat(), envs)?;
    for (package, tests) in SIMULATED {
        ensure!(steps.has_run(tests), "no simulation of {package} has run");
    }
    Ok(())
}

fn simulate(steps: &mut Steps) -> Result<()> {
    let profile = ["--profile", "simulate"];
    // On its own, so that the time of the simulations is theirs alone.
    let build = [&["test", "--workspace", "--lib", "--tests"][..], &profile, &["--no-run"]].concat();
    steps.cargo("build", &build, &[])?;
    say(&format!("{SEEDS} seeds for each variant, {STEPS} steps for each model"));
    simulations(steps, "simulate", &profile, &[("ADIT_TEST_SEEDS", SEEDS), ("ADIT_TEST_STEPS", STEPS)])
}

/// The program as it is released; the rig around it may be as it is.
fn speed(steps: &mut Steps) -> Result<()> {
    steps.cargo("build", &["build", "-p", "adit-interop"], &[])?;
    steps.cargo("build", &["build", "--release", "-p", "adit"], &[])?;
    steps.interop(&["run".to_owned(), "--speed".to_owned()])
}

/// Protocols, and the beginning of names that only their simulations have.
const SIMULATED: [(&str, &str); 2] =
    [("ikev2", "tests::simulation::collisions::"), ("openvpn", "tests::simulation::renegotiation::")];

/// Every simulation with ten times as many seeds as in `test`.
const SIMULATE: &str = "simulate";
/// Every deliberate fault.
const SABOTAGE: &str = "sabotage";
/// How fast TUN mode is.
const SPEED: &str = "speed";
const SUITES: [&str; 3] = [SIMULATE, SABOTAGE, SPEED];

const SEEDS: &str = "10000";
const STEPS: &str = "1000000";
