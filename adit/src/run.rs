//! From the command line to the exit code; and what `adit forward` does in between.

use std::{ffi::OsString, future::Future, io::Write};

use adit_driver::{Any, Builder, Client, Failure};
use clap::Parser;

use crate::{
    arguments::{Arguments, Command, Forward, LogFormat},
    config::{self, Configuration},
    demo,
    error::{Error, Exit},
    forward::{self, Listener},
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
        Command::Probe(arguments) => on_one_thread(probe::run(arguments, adjust)),
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
    let listeners = Listener::bind_all(&arguments.forwards)?;
    let client = Builder::new(Any::from(config)).options(forward::options()).prompter(Person::new()).start();
    tokio::select! {
        biased;
        exit = signals.next() => return Ok(close(&client, exit, &mut signals).await),
        up = client.up() => up?,
    };
    if let Err(error) = announce(&listeners) {
        client.close().await;
        return Err(error);
    }
    let mut forwards = tokio::task::JoinSet::new();
    for listener in listeners {
        forwards.spawn(listener.serve(client.clone()));
    }
    let failure: Failure = tokio::select! {
        biased;
        exit = signals.next() => return Ok(close(&client, exit, &mut signals).await),
        failure = client.closed() => failure,
    };
    // Whoever is connected gets a reset with the end of the process; those waiting for a tunnel, too.
    Err(failure.into())
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

/// One line for each forward, for whoever waits for them.
fn announce(listeners: &[Listener]) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    let written = listeners.iter().try_for_each(|listener| writeln!(stdout, "{listener}"));
    written.and_then(|()| stdout.flush()).map_err(|error| Error::new(Exit::Other, format!("standard output: {error}")))
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
