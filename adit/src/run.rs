//! From the command line to the exit code; and what `adit forward` does in between.

use std::{ffi::OsString, future::Future, io::Write, sync::Arc};

use adit_driver::{Any, Builder, Client, Failure, Options};
use clap::Parser;

use crate::{
    arguments::{Arguments, Check, Command, Forward, LogFormat},
    config::{self, Configuration},
    demo,
    error::{Error, Exit},
    forward::{self, Bound, ForwardCounters, ForwardSnapshot, Stopper},
    log, probe,
    prompt::Person,
    serve,
    signals::Signals,
    terminal::Terminal,
};

/// Runs the program with these arguments, the first of which is its name. `adjust` may change the configuration before it is
/// used: the program itself leaves it as it is, tests withhold features.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>, adjust: impl FnOnce(&mut Configuration)) -> Exit {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are asked for, and go to standard output. A closed one cannot be helped.
            drop(error.print());
            return if error.exit_code() == 0 { Exit::Ok } else { Exit::Usage };
        }
    };
    log::start(&arguments);
    // A question may be open when the program ends.
    let _terminal = Terminal::save();
    let log_format = arguments.log_format;
    let ended = match &arguments.command {
        Command::Forward(arguments) => on_one_thread(forward(arguments, adjust)),
        Command::Probe(arguments) => on_one_thread(probe::run(arguments)),
        Command::Check(arguments) => check(arguments),
        Command::Serve(arguments) => on_one_thread(serve::run(arguments, log_format)),
        Command::Demo(arguments) => on_one_thread(demo::run(arguments)),
    };
    match ended {
        Ok(exit) => exit,
        Err(error) => {
            report(&error, arguments.log_format);
            error.exit()
        }
    }
}

/// One thread: one tunnel is one task, and waking another core for each packet costs more than its encryption.
fn on_one_thread(command: impl Future<Output = Result<Exit, Error>>) -> Result<Exit, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(Exit::Other, format!("no runtime: {error}")))?;
    let result = runtime.block_on(command);
    // Neither a name server that does not answer nor an open question may hold up the end.
    runtime.shutdown_background();
    result
}

async fn forward(arguments: &Forward, adjust: impl FnOnce(&mut Configuration)) -> Result<Exit, Error> {
    let mut signals = Signals::new()?;
    let mut config = tokio::select! {
        biased;
        exit = signals.next() => return Ok(exit),
        config = load(arguments.clone()) => config?,
    };
    adjust(&mut config);
    // Before connecting: a port in use is said at once.
    let bound = Bound::bind_all(&forward::flags::plans(arguments)?)?;
    let options = Options { wait_for_tunnel: arguments.while_down.wait(), ..forward::options() };
    let client = Builder::new(Any::from(config)).options(options).prompter(Person::new()).start();
    tokio::select! {
        biased;
        exit = signals.next() => return Ok(close(&client, exit, &mut signals).await),
        up = client.up() => up?,
    };
    if let Err(error) = Bound::announce(&bound) {
        client.close().await;
        return Err(error);
    }
    let (stopper, stop) = Stopper::new();
    let mut forwards = tokio::task::JoinSet::new();
    let mut counted = Vec::new();
    for bound in bound {
        let counters = Arc::new(ForwardCounters::default());
        counted.push((bound.plan().name.clone(), Arc::clone(&counters)));
        forwards.spawn(bound.serve(client.clone().into(), counters, stop.clone()));
    }
    let failure: Failure = tokio::select! {
        biased;
        exit = signals.next() => {
            // Nobody is let in any more, who would be cut with the others.
            stopper.drain();
            let exit = close(&client, exit, &mut signals).await;
            stopper.abort();
            for (name, counters) in counted {
                let ForwardSnapshot { total, refused, failed, .. } = counters.snapshot();
                tracing::info!("{name}: {total} connections, {failed} of them failed, {refused} more refused");
            }
            return Ok(exit);
        }
        // Only one of standard input and output ends by itself.
        Some(ended) = forwards.join_next() => {
            close(&client, Exit::Ok, &mut signals).await;
            return ended.unwrap_or_else(|error| Err(Error::new(Exit::Other, error))).map(|()| Exit::Ok);
        }
        failure = client.closed() => failure,
    };
    // Whoever is connected gets a reset with the end of the process; those waiting for a tunnel, too.
    Err(failure.into())
}

fn check(arguments: &Check) -> Result<Exit, Error> {
    let checked = config::check(&arguments.file, arguments.connection.as_deref());
    if arguments.json {
        say(&format!("{:#}\n", checked.json()))?;
    } else {
        // Nowhere left to say that standard error is closed.
        drop(write!(std::io::stderr(), "{}", checked.complaints()));
        say(&checked.to_string())?;
    }
    Ok(if checked.is_fine() { Exit::Ok } else { Exit::Usage })
}

fn say(text: &str) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| Error::new(Exit::Other, format!("standard output: {error}")))
}

/// On a thread of its own: it may ask for secrets.
async fn load(arguments: Forward) -> Result<Configuration, Error> {
    match tokio::task::spawn_blocking(move || config::load(&arguments)).await {
        Ok(config) => config,
        Err(error) => Err(Error::new(Exit::Other, error)),
    }
}

/// Says goodbye to the gateway; a second signal ends the waiting.
async fn close(client: &Client, exit: Exit, signals: &mut Signals) -> Exit {
    tracing::info!("closing the tunnel");
    tokio::select! {
        () = client.close() => exit,
        again = signals.next() => again,
    }
}

/// The one line about why the program ends.
fn report(error: &Error, format: LogFormat) {
    match format {
        LogFormat::Text => {
            // Nowhere left to say that standard error is closed.
            drop(writeln!(std::io::stderr(), "error: {error}"));
        }
        LogFormat::Json => {
            tracing::error!(exit_code = error.exit().code(), hint = error.hint_text(), "{}", error.message());
        }
    }
}
