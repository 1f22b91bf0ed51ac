//! The long suites: simulations with many seeds, deliberate faults, and interop cases that take ten minutes and more.

use anyhow::Result;

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
    if all || !cases.is_empty() {
        tools::install(steps)?;
        build_interop(steps)?;
        let mut args = vec!["run".to_owned(), "--soak".to_owned()];
        args.extend(cases);
        steps.interop(&args)?;
    }
    Ok(())
}

fn simulate(steps: &mut Steps) -> Result<()> {
    let args = ["test", "--workspace", "--profile", "simulate", "--lib", "--tests"];
    steps.cargo("build simulations", &[&args[..], &["--no-run"]].concat(), &[])?;
    say(&format!("{SEEDS} seeds for each variant, {STEPS} steps for each model"));
    let envs = [("ADIT_TEST_SEEDS", SEEDS), ("ADIT_TEST_STEPS", STEPS)];
    steps.cargo("simulate", &[&args[..], &["simulation"]].concat(), &envs)
}

/// Every simulation with ten times as many seeds as in `test`.
const SIMULATE: &str = "simulate";
/// Every deliberate fault.
const SABOTAGE: &str = "sabotage";
const SUITES: [&str; 2] = [SIMULATE, SABOTAGE];

const SEEDS: &str = "10000";
const STEPS: &str = "1000000";
