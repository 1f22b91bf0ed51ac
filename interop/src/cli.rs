//! The command line, with the hidden commands the rig calls itself by.

use std::{
    io::{self, Read},
    path::PathBuf,
    process::ExitCode,
    thread,
};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

use crate::{
    cases::{self, Case},
    net,
    rig::Rig,
    runner,
    tools::{datagram, dns, fetch, hold, load, probe, reconnect, relay, say, serve, socks, stream, talk, withholding},
};

/// Cases of adit with real peers.
#[derive(Debug, Parser)]
#[command(name = "interop")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Names every case, and says whether it can run here.
    List,
    /// Runs all cases, or those whose name begins with one of those given.
    Run {
        /// Names or beginnings of names.
        cases: Vec<String>,
        /// Cases at the same time.
        #[arg(long, default_value_t = default_jobs())]
        jobs: usize,
        /// Leave the files of failed cases.
        #[arg(long)]
        keep: bool,
        /// Run `openvpn` or strongSwan in the client's place, to prove the rig itself.
        #[arg(long)]
        reference: bool,
        /// Run the long suites with these names instead.
        #[arg(long)]
        soak: bool,
        /// Measure speed instead, one case after the other, with the `adit` of a release build.
        #[arg(long, conflicts_with_all = ["soak", "reference"])]
        speed: bool,
    },
    #[command(hide = true)]
    Case {
        name: String,
        #[arg(long)]
        run_dir: PathBuf,
        #[arg(long)]
        prefix: String,
        #[arg(long)]
        reference: bool,
    },
    #[command(hide = true)]
    Serve(serve::Options),
    #[command(hide = true)]
    Fetch(fetch::Options),
    #[command(hide = true)]
    Hold(hold::Options),
    #[command(hide = true)]
    Load(load::Options),
    #[command(hide = true)]
    Names(dns::Options),
    #[command(hide = true)]
    Stream(stream::Options),
    #[command(hide = true)]
    Probe(probe::Options),
    #[command(hide = true)]
    Datagram(datagram::Options),
    #[command(hide = true)]
    Reconnect(reconnect::Options),
    #[command(hide = true)]
    Relay(relay::Options),
    #[command(hide = true)]
    Socks(socks::Options),
    #[command(hide = true)]
    Talk(talk::Options),
    #[command(hide = true)]
    Withholding(withholding::Options),
}

/// The program `interop`.
#[must_use]
pub fn main() -> ExitCode {
    let command = Cli::parse().command;
    let log = tracing_subscriber::fmt().with_writer(io::stderr);
    if matches!(command, Command::Withholding(_)) {
        // The cases read this one's log as they read that of `adit --log-format json`.
        log.json().init();
    } else {
        log.with_ansi(false).without_time().with_target(false).init();
    }
    match dispatch(command) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::List => list()?,
        Command::Run { cases, jobs, keep, reference, soak, speed } => {
            let all = match (soak, speed) {
                (true, _) => cases::soak(),
                (_, true) => cases::speed(),
                _ => cases::all(),
            };
            let jobs = if speed { 1 } else { jobs };
            let options = runner::Options { jobs, keep, reference, release: speed };
            let passed = runner::run(select(all, &cases)?, &options)?;
            return Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Case { name, run_dir, prefix, reference } => {
            end_with_runner(prefix.clone());
            let case =
                cases::all().into_iter().chain(cases::soak()).chain(cases::speed()).find(|case| case.name == name);
            let case = case.with_context(|| format!("no case {name}"))?;
            let rig = Rig::new(&run_dir, &name, &prefix, reference)?;
            (case.run)(&rig)?;
            rig.prove_rows(&case.rows.split_whitespace().collect())?;
        }
        Command::Serve(options) => serve::main(&options)?,
        Command::Fetch(options) => fetch::main(&options)?,
        Command::Hold(options) => hold::main(&options)?,
        Command::Load(options) => load::main(&options)?,
        Command::Names(options) => dns::main(&options)?,
        Command::Stream(options) => stream::main(&options)?,
        Command::Probe(options) => probe::main(&options)?,
        Command::Datagram(options) => datagram::main(&options)?,
        Command::Reconnect(options) => reconnect::main(&options)?,
        Command::Relay(options) => relay::main(&options)?,
        Command::Socks(options) => socks::main(&options)?,
        Command::Talk(options) => talk::main(&options)?,
        Command::Withholding(options) => return withholding::main(&options),
    }
    Ok(ExitCode::SUCCESS)
}

/// A case must not outlive its runner, not even one that was killed: our standard input ends with it.
fn end_with_runner(prefix: String) {
    thread::spawn(move || {
        io::stdin().read_to_end(&mut Vec::new()).ok();
        if let Err(error) = net::remove(&prefix) {
            tracing::error!("cannot remove the network: {error:#}");
        }
        std::process::exit(1);
    });
}

fn list() -> Result<()> {
    for case in cases::all() {
        let state = case.blocked().map_or_else(|| "runnable".to_owned(), |reason| format!("blocked: {reason}"));
        say(&format!("{:<44} {state}", case.name))?;
    }
    for (what, why) in cases::NOT_WITH_THESE_PEERS {
        say(&format!("{what:<44} no case: {why}"))?;
    }
    Ok(())
}

fn select(all: Vec<Case>, wanted: &[String]) -> Result<Vec<Case>> {
    for name in wanted {
        if !all.iter().any(|case| case.name.starts_with(name)) {
            bail!("no case begins with {name:?}; `list` names them all");
        }
    }
    // A full name means that case alone, even if others begin with it.
    let is_wanted = |case: &Case| {
        wanted.iter().any(|name| case.name == *name || (case.name.starts_with(name) && !all_names(&all, name)))
    };
    let keep: Vec<bool> = all.iter().map(|case| wanted.is_empty() || is_wanted(case)).collect();
    Ok(all.into_iter().zip(keep).filter_map(|(case, keep)| keep.then_some(case)).collect())
}

fn all_names(all: &[Case], name: &str) -> bool {
    all.iter().any(|case| case.name == name)
}

/// Cases mostly wait, so more of them than cores run well side by side.
fn default_jobs() -> usize {
    thread::available_parallelism().map_or(4, |cores| 2 * cores.get() + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(wanted: &[&str]) -> Vec<String> {
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        select(cases::all(), &wanted).unwrap().into_iter().map(|case| case.name).collect()
    }

    #[test]
    fn a_full_name_is_one_case_and_a_beginning_is_many() {
        assert_eq!(names(&["pkcs12"]), ["pkcs12"]);
        assert_eq!(names(&["matrix_tls_crypt_v2_udp"]).len(), 6);
        assert_eq!(names(&["matrix_"]).len(), 48);
        assert!(select(cases::all(), &["nothing".to_owned()]).is_err());
    }

    #[test]
    fn every_case_has_a_name_of_its_own() {
        let names: Vec<String> =
            cases::all().into_iter().chain(cases::soak()).chain(cases::speed()).map(|case| case.name).collect();
        let different: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len());
    }
}
