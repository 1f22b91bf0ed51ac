//! Their part of the command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum Operation {
    /// Shows the connections of a process that runs: state, gateways, forwards, numbers
    #[command(after_help = ORDER_EXIT_CODES)]
    Status(Status),

    /// Connects a connection of a process that runs
    #[command(after_help = ORDER_EXIT_CODES)]
    Connect(Named),

    /// Disconnects a connection of a process that runs; asks first
    #[command(after_help = DISCONNECT_EXIT_CODES)]
    Disconnect(Disconnect),

    /// Ends an attempt to connect
    #[command(after_help = ORDER_EXIT_CODES)]
    Cancel(Named),

    /// Has a process that runs read its configuration again, as SIGHUP does
    #[command(after_help = ORDER_EXIT_CODES)]
    Reload(Process),

    /// Shows what happened to the connections, and by whom
    #[command(after_help = LOG_EXIT_CODES)]
    Log(Log),

    /// Says by its exit code whether everything, one connection or one forward can be used: 0 or 1
    #[command(after_help = HEALTHCHECK_EXIT_CODES)]
    Healthcheck(Healthcheck),
}

/// Which process.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Process {
    /// The control socket; else it is looked for in $XDG_RUNTIME_DIR/adit and in /run/adit
    #[arg(long, value_name = "PATH")]
    pub(crate) control: Option<PathBuf>,

    /// The TOML file the process was started with: it says where things are
    #[arg(long, short, value_name = "FILE", conflicts_with = "control")]
    pub(crate) config: Option<PathBuf>,
}

/// Options of `adit status`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Status {
    /// Everything about this connection, instead of a line for each
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// For machines: one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    /// Again at every change, until Ctrl-C; with --json, a line each
    #[arg(long, short)]
    pub(crate) watch: bool,

    #[command(flatten)]
    pub(crate) process: Process,
}

/// Options of `adit connect` and `adit cancel`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Named {
    /// The connection
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) process: Process,
}

/// Options of `adit disconnect`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Disconnect {
    /// The connection
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// Does not ask; needed where there is no terminal to ask at
    #[arg(long, short)]
    pub(crate) yes: bool,

    #[command(flatten)]
    pub(crate) process: Process,
}

/// Options of `adit log`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Log {
    /// Goes on with what comes, until Ctrl-C
    #[arg(long, short)]
    pub(crate) follow: bool,

    /// Only this connection
    #[arg(long, value_name = "NAME")]
    pub(crate) connection: Option<String>,

    /// The latest so many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    pub(crate) lines: usize,

    /// For machines: a JSON object a line
    #[arg(long)]
    pub(crate) json: bool,

    /// The activity log's file: no process is needed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["follow", "control", "config"])]
    pub(crate) file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) process: Process,
}

/// Options of `adit healthcheck`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Healthcheck {
    /// Only this connection
    #[arg(value_name = "NAME", conflicts_with = "connection")]
    pub(crate) name: Option<String>,

    /// Only this forward: NAME, or CONNECTION/NAME
    #[arg(long, value_name = "NAME")]
    pub(crate) forward: Option<String>,

    /// The same as NAME
    #[arg(long, value_name = "NAME")]
    pub(crate) connection: Option<String>,

    /// Asks the admin port instead of the control socket
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with_all = ["control", "config"])]
    pub(crate) admin: Option<SocketAddr>,

    #[command(flatten)]
    pub(crate) process: Process,
}

impl Healthcheck {
    /// The only connection that is asked about, whichever way it was named.
    pub(crate) fn connection(&self) -> Option<&String> {
        self.name.as_ref().or(self.connection.as_ref())
    }
}

const ORDER_EXIT_CODES: &str = "\
Exit codes:
    0  done
    1  refused, or no process answers
    2  the command line is wrong, or there is no such connection
";

const DISCONNECT_EXIT_CODES: &str = "\
Exit codes:
    0  done
    1  refused, no process answers, or the answer to the question was not yes
    2  the command line is wrong, there is no such connection, or no terminal to ask at and no --yes
";

const LOG_EXIT_CODES: &str = "\
Exit codes:
    0  done
    1  no process answers, or it has ended
    2  the command line is wrong, or there is no such connection or file
";

const HEALTHCHECK_EXIT_CODES: &str = "\
Exit codes:
    0  ready
    1  not ready, or no process answers
    2  the command line is wrong
";
