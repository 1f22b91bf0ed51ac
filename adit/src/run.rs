//! From the command line to the exit code; and what `adit forward` does in between.

use std::{ffi::OsString, future::Future, io::Write, sync::Arc, time::Duration};

use clap::Parser;

use crate::{
    arguments::{Arguments, Check, Command, Forward, Import, LogFormat, Run},
    commands,
    config::{self, Configuration, Problems, Questions},
    debugging, demo, engine,
    error::{Error, Exit},
    forward, generate, log,
    plan::{ControlPlan, Plan},
    probe, serve,
    signals::Signals,
    terminal::Terminal,
    up::{self, Up},
};

/// Runs the program with these arguments, the first of which is its name. `adjust` may change the configuration before it is
/// used: the program itself leaves it as it is, tests withhold features.
#[must_use]
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    adjust: impl Fn(&mut Configuration) + Send + Sync + 'static,
) -> Exit {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are asked for, and go to standard output. A closed one cannot be helped.
            drop(error.print());
            return if error.exit_code() == 0 { Exit::Ok } else { Exit::Usage };
        }
    };
    log::start(&arguments);
    #[cfg(unix)]
    crate::descriptors::raise();
    // A question may be open when the program ends.
    let _terminal = Terminal::save();
    let log_format = arguments.log_format;
    let ended = match &arguments.command {
        Command::Forward(arguments) => on_one_thread(forward(arguments, adjust)),
        Command::Probe(arguments) => on_one_thread(probe::run(arguments)),
        Command::Up(arguments) => up(arguments, adjust),
        Command::Down(arguments) => up::down(arguments),
        Command::Check(arguments) => check(arguments),
        Command::Completions(arguments) => generate::completions(arguments.shell),
        Command::Import(arguments) => import(arguments, log_format),
        Command::Man(arguments) => generate::man(arguments),
        Command::Run(arguments) => {
            // Kept: what was answered is not asked a second time, unless it was refused.
            let questions = Arc::new(Questions::of_the_terminal());
            let load = loader(arguments, Arc::clone(&questions), adjust);
            load.and_then(|load| on_one_thread(engine::run(load, questions)))
        }
        Command::Operation(operation) => commands::run(operation),
        Command::Serve(arguments) => on_one_thread(serve::run(arguments, log_format)),
        Command::Demo(arguments) => on_one_thread(demo::run(arguments)),
    };
    log::finish();
    match ended {
        Ok(exit) => exit,
        Err(error) => {
            report(&error, arguments.log_format);
            error.exit()
        }
    }
}

/// How long threads may take to end that have nothing to do any more.
const LAST_THREADS: Duration = Duration::from_millis(200);

/// One thread: one tunnel is one task, and waking another core for each packet costs more than its encryption.
fn on_one_thread(command: impl Future<Output = Result<Exit, Error>>) -> Result<Exit, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(Exit::Other, format!("no runtime: {error}")))?;
    let result = runtime.block_on(async {
        tokio::spawn(log::sum_up());
        command.await
    });
    // Neither a name server that does not answer nor an open question may hold up the end for long.
    runtime.shutdown_timeout(LAST_THREADS);
    result
}

async fn forward(arguments: &Forward, adjust: impl Fn(&mut Configuration) + Send + 'static) -> Result<Exit, Error> {
    let mut signals = Signals::new()?;
    let plan = tokio::select! {
        biased;
        exit = signals.next() => return Ok(exit),
        plan = load(arguments.clone(), adjust) => plan?,
    };
    without_tun(&plan)?;
    engine::forward(plan, signals).await
}

/// A device would be missed in silence, and what was to go through it would go in the clear.
fn without_tun(plan: &Plan) -> Result<(), Error> {
    let Some(connection) = plan.connections.iter().find(|connection| connection.tun.is_some()) else { return Ok(()) };
    let problem = format!("connection `{}`: `adit forward` makes no device", connection.name);
    Err(Error::new(Exit::Usage, problem).hint("`adit up` and `adit run` do; or take `tun` out"))
}

/// On a thread of its own: it may ask for secrets.
async fn load(arguments: Forward, adjust: impl Fn(&mut Configuration) + Send + 'static) -> Result<Plan, Error> {
    let read = move || {
        let questions = Questions::of_the_terminal();
        let keys = arguments.debugging.keys()?;
        let read = config::connection(&arguments, &questions, &mut |configuration| {
            adjust(configuration);
            debugging::log_keys(configuration, &keys);
        });
        let mut connection = read.map_err(Problems::last)?;
        connection.redundancy.tunnel.capture = arguments.debugging.capture()?;
        connection.forwards.extend(forward::flags::plans(&arguments)?);
        Ok(Plan {
            connections: vec![connection],
            admin: None,
            control: ControlPlan::Off,
            activity: None,
            handshakes: usize::from(u16::MAX),
            // There is one tunnel, whose own bound is narrower.
            memory: usize::MAX,
            drain: Duration::ZERO,
            files: Vec::new(),
        })
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(plan) => plan,
        Err(error) => Err(Error::new(Exit::Other, error)),
    }
}

/// What reads the configuration of `adit run`, now and whenever it has changed.
fn loader(
    arguments: &Run,
    questions: Arc<Questions>,
    adjust: impl Fn(&mut Configuration) + Send + Sync + 'static,
) -> Result<engine::Load, Error> {
    // Once, also where the configuration is read again: one file has the tunnels of all connections.
    let (keys, capture) = (arguments.debugging.keys()?, arguments.debugging.capture()?);
    let arguments = arguments.clone();
    let read = move || {
        let read = config::plan(&arguments.config, &arguments.connections, &questions, &mut |configuration| {
            adjust(configuration);
            debugging::log_keys(configuration, &keys);
        });
        let mut plan =
            read.map_err(|problems| engine::Unreadable { files: problems.seen(), error: problems.last() })?;
        for connection in &mut plan.connections {
            connection.redundancy.tunnel.capture.clone_from(&capture);
        }
        Ok(plan)
    };
    Ok(Arc::new(read))
}

/// Reads the configuration to its end before the rest begins: who gives up rights has to be alone.
fn up(arguments: &Up, adjust: impl Fn(&mut Configuration) + Send + 'static) -> Result<Exit, Error> {
    if arguments.connection.stdio.is_some() {
        let error = Error::new(Exit::Usage, "--stdio has no use with `adit up`");
        return Err(error.hint("`adit forward` has one connection for it, and the device needs none"));
    }
    let mut read = None;
    let reading = async {
        let mut signals = Signals::new()?;
        tokio::select! {
            biased;
            exit = signals.next() => Ok(exit),
            plan = load(arguments.connection.clone(), adjust) => {
                read = plan?.connections.pop();
                Ok(Exit::Ok)
            }
        }
    };
    let exit = on_one_thread(reading)?;
    let Some(connection) = read else { return Ok(exit) };
    let options = arguments.options(connection.tun.clone().unwrap_or_default());
    on_one_thread(up::life(connection, &options))
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

fn import(arguments: &Import, format: LogFormat) -> Result<Exit, Error> {
    let imported = match (config::Import::read(&arguments.file, arguments.name.as_deref()), format) {
        (Ok(imported), _) => imported,
        (Err(problems), LogFormat::Text) => {
            // Nowhere left to say that standard error is closed.
            drop(write!(std::io::stderr(), "{}", problems.complaints("is it the right file?")));
            return Ok(Exit::Usage);
        }
        (Err(problems), LogFormat::Json) => return Err(problems.last()),
    };
    match &arguments.out {
        Some(out) => {
            let made = imported.write(out)?;
            say(&made.iter().map(|path| format!("{}\n", path.display())).collect::<String>())?;
        }
        None => say(&imported.text(None))?,
    }
    Ok(Exit::Ok)
}

pub(crate) fn say(text: &str) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| Error::new(Exit::Other, format!("standard output: {error}")))
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
