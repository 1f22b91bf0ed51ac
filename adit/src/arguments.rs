//! The command line.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::spec::ForwardSpec;

/// Options of every command: those of `adit forward` stand before them in its help, not among them.
const LOG: &str = "Log options";

/// Reaches hosts behind a VPN gateway: without root, TUN device or routes.
#[derive(Debug, Parser)]
#[command(name = "adit", version, about, after_help = EXIT_CODES, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// How the log on standard error is written
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT", help_heading = LOG)]
    pub(crate) log_format: LogFormat,

    /// Logs more: once for details of the negotiation, twice for every packet
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = LOG)]
    pub(crate) verbose: u8,

    /// Logs only warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = LOG)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Forwards local ports to hosts behind the gateway
    #[command(after_help = format!("{EXAMPLES}\n{EXIT_CODES}"))]
    Forward(Forward),
}

/// Options of `adit forward`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Forward {
    /// The profile: an OpenVPN .ovpn or .conf file. Files it names are looked for beside it
    #[arg(long, short, value_name = "FILE.ovpn")]
    pub(crate) config: PathBuf,

    /// Listens on PORT (of 127.0.0.1, or of BIND) and connects to HOSTPORT of HOST through the tunnel; may be repeated.
    /// IPv6 addresses stand in brackets; a HOST that is a name is resolved by the DNS servers the gateway pushes
    #[arg(short = 'L', long = "local", value_name = "[BIND:]PORT:HOST:HOSTPORT[/udp]", required = true)]
    pub(crate) forwards: Vec<ForwardSpec>,

    /// Takes user name and password from the first two lines of this file
    #[arg(long, value_name = "FILE")]
    pub(crate) auth_user_pass: Option<PathBuf>,

    /// Takes the passphrase of the private key from the first line of this file
    #[arg(long, value_name = "FILE")]
    pub(crate) askpass: Option<PathBuf>,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

const EXAMPLES: &str = "\
Examples:
  Reach a web server behind the gateway at http://127.0.0.1:8080/
      adit forward --config office.ovpn -L 8080:192.168.100.30:80

  A database by name, a DNS server over UDP, and an IPv6 host, in one tunnel
      adit forward -c office.ovpn -L 5432:db.corp.example:5432 -L 5353:10.0.0.53:53/udp -L 8081:[fd00::30]:80

  For other machines, too (think about who can reach that port)
      adit forward -c office.ovpn -L 0.0.0.0:8080:192.168.100.30:80

  Without a terminal, the password in a file, the log for machines
      adit forward -c office.ovpn --auth-user-pass login.txt --log-format json -L 8080:192.168.100.30:80

When the tunnel is up, standard output has one line for each forward: `127.0.0.1:8080 -> 192.168.100.30:80/tcp`.
The first connect gives up after one round over all gateways, or after as many as `connect-retry-max` says; a tunnel
that was up is brought back for as long as it takes, or as `connect-retry-max` says. Credentials that were rejected are
never tried again. Ctrl-C and SIGTERM close the tunnel politely.
";

const EXIT_CODES: &str = "\
Exit codes:
    0  ended by SIGTERM
    1  something else
    2  the command line, the profile or a secret cannot be used
    3  no tunnel: no gateway was reached, none answered, or it broke off
    4  no tunnel: the gateway could not prove who it is
    5  our credentials were rejected, or a question of the gateway was not answered
    6  no tunnel: no algorithm in common with the gateway
    7  a local address or port cannot be used
    8  the tunnel was up and has ended for good, or did not come back
  130  ended by Ctrl-C
";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_help_lists_the_options_of_the_log_behind_those_of_the_command() {
        let mut command = Arguments::command();
        command.build();
        let help = command.find_subcommand_mut("forward").unwrap().render_long_help().to_string();
        let options =
            ["--config <", "--local <", "--auth-user-pass <", "--askpass <", "--log-format <", "--verbose", "--quiet"];
        let places: Vec<_> = options.iter().map(|option| help.find(option).unwrap()).collect();
        assert!(places.is_sorted(), "{help}");
    }

    #[test]
    fn options_of_the_log_stand_before_or_behind_the_command() {
        let before = "adit --log-format json -v forward -c x.ovpn -L 1:h:2 -L 3:h:4/udp";
        let behind = "adit forward --config x.ovpn -L 1:h:2 -L 3:h:4/udp --log-format json -v";
        for line in [before, behind] {
            let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
            assert_eq!((arguments.log_format, arguments.verbose), (LogFormat::Json, 1));
            let Command::Forward(forward) = arguments.command;
            assert_eq!(forward.forwards.len(), 2);
        }
    }
}
