//! The log, on standard error; that of the demo is what it shows, and goes to standard output.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::{
    arguments::{Arguments, Command, LogFormat},
    demo::Steps,
};

/// Overrides the level, in the syntax of `tracing`: `ADIT_LOG=debug,rustls=trace`.
const VARIABLE: &str = "ADIT_LOG";

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
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    let started = match arguments.log_format {
        LogFormat::Text if is_demo => {
            // Whoever reads the pages no longer is told once, where they are written.
            let builder = builder.log_internal_errors(false);
            builder.with_writer(io::stdout).with_ansi(false).event_format(Steps::new()).try_init()
        }
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.with_ansi(false).json().try_init(),
    };
    if let Err(error) = started {
        tracing::debug!("logging was started before: {error}");
    }
}
