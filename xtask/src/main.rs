//! The developer's commands: `cargo xtask test | interop | soak | package | api | deploy`.

mod api;
mod deny;
mod deploy;
mod package;
mod sabotage;
mod soak;
mod steps;
mod tools;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use steps::Steps;

/// The developer's commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything: fmt, no-io, deny, api, clippy, features, docs, packages, build, deploy, tests, simulations, interop.
    Test,
    /// The cases with real peers, or those whose names begin as given.
    Interop {
        /// Names or beginnings of names; none means all.
        cases: Vec<String>,
        /// Only names the cases, and says which can run here.
        #[arg(long)]
        list: bool,
        /// Cases at the same time.
        #[arg(long)]
        jobs: Option<usize>,
        /// Keep the files of the cases for a look.
        #[arg(long)]
        keep: bool,
    },
    /// The long suites: `simulate`, `sabotage`, `speed`, and interop cases of ten minutes and more each.
    Soak {
        /// `simulate` (the simulations with 10,000 seeds), `sabotage` (deliberate faults, which the tests must notice), `speed` (of
        /// TUN mode, in a release build), names of long interop cases or their beginnings; none means all.
        names: Vec<String>,
    },
    /// The tarballs of all published crates, each built from what is in it.
    Package,
    /// What is in `deploy/`: units, container file, manifests, chart.
    Deploy,
    /// The public API of all published crates, compared with the listings in `docs/api`.
    Api {
        /// Write the listings anew.
        #[arg(long)]
        update: bool,
    },
}

fn main() -> ExitCode {
    let mut steps = Steps::new();
    let result = dispatch(Cli::parse().command, &mut steps);
    steps.finish(result)
}

fn dispatch(command: Command, steps: &mut Steps) -> Result<()> {
    match command {
        Command::Test => test(steps),
        Command::Interop { list: true, .. } => {
            build_interop(steps)?;
            steps.interop(&["list".to_owned()])
        }
        Command::Interop { cases, jobs, keep, .. } => {
            tools::install(steps)?;
            build_interop(steps)?;
            let mut args = vec!["run".to_owned()];
            args.extend(jobs.map(|jobs| format!("--jobs={jobs}")));
            args.extend(keep.then(|| "--keep".to_owned()));
            args.extend(cases);
            steps.interop(&args)
        }
        Command::Soak { names } => soak::run(steps, names),
        Command::Package => packages(steps),
        Command::Deploy => {
            tools::install(steps)?;
            steps.cargo("build", &["build", "-p", "adit"], &[])?;
            deploy::run(steps)
        }
        Command::Api { update } => steps.run("api", || api::run(update)),
    }
}

/// From the cheap to the dear, so that what is wrong shows early.
fn test(steps: &mut Steps) -> Result<()> {
    tools::install(steps)?;
    steps.cargo("fmt", &["fmt", "--all", "--check"], &[])?;
    steps.run("no-io", no_io)?;
    steps.run("deny", deny::check)?;
    steps.run("api", || api::run(false))?;
    steps.cargo("clippy", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], &[])?;
    steps.cargo("features", &["clippy", "-p", "openvpn", "--no-default-features", "--", "-D", "warnings"], &[])?;
    steps.cargo("docs", &["doc", "--workspace", "--no-deps"], &[("RUSTDOCFLAGS", "-D warnings")])?;
    // Before the build: what it leaves in the target directory is ours again then.
    packages(steps)?;
    // Everything at once and in one profile: tests, programs and rig share what is built.
    steps.cargo("build", &["build", "--workspace", "--all-targets"], &[])?;
    deploy::run(steps)?;
    steps.cargo("tests", &["test", "--workspace", "--no-fail-fast", "--", "--skip", "simulation"], &[])?;
    soak::simulations(steps, "simulations", &[], &[])?;
    steps.interop(&["run".to_owned()])
}

fn packages(steps: &mut Steps) -> Result<()> {
    steps.run("manifests", package::manifests)?;
    steps.run("packages", package::tarballs)
}

fn build_interop(steps: &mut Steps) -> Result<()> {
    steps.cargo("build", &["build", "-p", "adit", "-p", "adit-interop"], &[])
}

/// Protocol crates must not even depend on something that could do I/O.
fn no_io() -> Result<()> {
    for name in ["adit-tunnel", "adit-pki", "mschapv2", "ikev2", "openvpn", "adit-netstack"] {
        let tree = steps::output("cargo", &["tree", "-p", name, "-e", "normal", "--prefix", "none", "--all-features"])?;
        for line in tree.lines() {
            let dependency = line.split(' ').next().unwrap_or_default();
            anyhow::ensure!(
                !["tokio", "mio", "socket2", "async-io", "polling"].contains(&dependency),
                "{name} depends on {line}: protocol crates do no I/O"
            );
        }
    }
    Ok(())
}
