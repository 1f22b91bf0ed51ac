//! The log, on standard error; that of the demo is what it shows, and goes to standard output.

mod fold;

use std::{
    io::{self, IsTerminal},
    sync::OnceLock,
    time::Duration,
};

use tracing_subscriber::{EnvFilter, Layer, filter::FilterExt, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use self::fold::Fold;
use crate::{
    arguments::{Arguments, Command, LogFormat},
    demo::Steps,
};

/// Overrides the level, in the syntax of `tracing`: `ADIT_LOG=debug,rustls=trace`.
const VARIABLE: &str = "ADIT_LOG";
/// How often is looked whether there are warnings to be summed up.
const SUMS: Duration = Duration::from_secs(5);

/// The one of the log: filters live as long as the process.
static FOLD: OnceLock<Fold> = OnceLock::new();

/// Starts logging; a second call changes nothing.
pub(crate) fn start(arguments: &Arguments) {
    let level = match (arguments.quiet, arguments.verbose) {
        (true, _) => "warn",
        (false, 0) => "info",
        (false, 1) => "debug",
        (false, _) => "trace",
    };
    let is_demo = matches!(arguments.command, Command::Demo(_));
    let more = if is_demo && level == "info" { Steps::DETAILS } else { "" };
    let default = format!("{level},rustls=warn,quinn_udp=warn{more}");
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(default));
    let filter = filter.and(FOLD.get_or_init(Fold::new));
    let layer = fmt::layer().with_writer(io::stderr).with_target(false);
    let layer = match arguments.log_format {
        LogFormat::Text if is_demo => {
            // Whoever reads the pages no longer is told once, where they are written.
            let layer = layer.log_internal_errors(false);
            layer.with_writer(io::stdout).with_ansi(false).event_format(Steps::new()).with_filter(filter).boxed()
        }
        LogFormat::Text => layer.with_ansi(io::stderr().is_terminal()).with_filter(filter).boxed(),
        LogFormat::Json => layer.with_ansi(false).json().with_filter(filter).boxed(),
    };
    if let Err(error) = tracing_subscriber::registry().with(layer).try_init() {
        tracing::debug!("logging was started before: {error}");
    }
}

/// Sums up, now and then, the warnings that were folded; never ends.
pub(crate) async fn sum_up() {
    loop {
        tokio::time::sleep(SUMS).await;
        if let Some(fold) = FOLD.get() {
            fold.say(false);
        }
    }
}

/// Sums up the rest, at the end.
pub(crate) fn finish() {
    if let Some(fold) = FOLD.get() {
        fold.say(true);
    }
}
