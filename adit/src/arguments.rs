//! The command line.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::{ArgAction, ArgGroup, Args, Parser, Subcommand, ValueEnum};

use crate::{
    commands::arguments::Operation,
    config::Method,
    debugging::Debugging,
    probe::{self, Probe},
    spec::{LocalSpec, ProxySpec, ReverseSpec, TargetSpec},
    up::{Down, UP, UP_EXAMPLES, Up},
};

/// Options of `adit forward` about all of its forwards.
const FORWARDS: &str = "Options of all forwards";
/// Options of every command: those of `adit forward` stand before them in its help, not among them.
const LOG: &str = "Log options";
/// Options of `--ikev2`.
const IKEV2: &str = "IKEv2 options (with --ikev2; most also with a .sswan profile)";

/// The command line. Its help begins with the description of the package.
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
    Forward(Box<Forward>),

    /// Explains what a gateway says, without a tunnel
    #[command(long_about = probe::ABOUT, after_help = probe::EXIT_CODES)]
    Probe(Box<Probe>),

    /// Puts the machine behind the gateway: a TUN device with its addresses, routes and DNS servers (Linux, as root)
    #[command(long_about = UP, after_help = format!("{UP_EXAMPLES}\n{EXIT_CODES}"))]
    Up(Box<Up>),

    /// Undoes what an `adit up` has left behind that was killed
    #[command(after_help = DOWN_EXIT_CODES)]
    Down(Down),

    /// Says everything that is wrong with a configuration, without connecting or asking
    #[command(after_help = CHECK_EXIT_CODES)]
    Check(Check),

    /// Makes a TOML file of connections of what other programs are configured with
    #[command(long_about = IMPORT, after_help = IMPORT_EXAMPLES)]
    Import(Import),

    /// Runs the connections of a TOML file, each on its own, until it is told to end
    #[command(long_about = RUN, after_help = format!("{RUN_EXAMPLES}\n{RUN_EXIT_CODES}"))]
    Run(Run),

    #[command(flatten)]
    Operation(Operation),

    /// Answers as a VPN gateway: for labs, tests and small sites
    #[command(long_about = SERVE, after_help = format!("{SERVE_EXAMPLES}\n{SERVE_EXIT_CODES}"))]
    Serve(Serve),

    /// Writes a script that completes commands and options in a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(Completions),

    /// Writes manual pages
    #[command(after_help = MAN_EXAMPLES)]
    Man(Man),

    /// Shows both protocols at work, in this process and on loopback alone: the place to begin
    #[command(long_about = DEMO, after_help = DEMO_EXIT_CODES)]
    Demo(Demo),
}

/// Options of `adit check`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Check {
    /// A TOML file of connections, or of gateways for `adit serve` (.toml), an OpenVPN profile (.ovpn, .conf) or a strongSwan profile (.sswan), with every file
    /// it names
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// The connection of a TOML file whose files and secrets are looked at; all unless given
    #[arg(long, value_name = "NAME")]
    pub(crate) connection: Option<String>,

    /// Says it as one JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `adit import`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Import {
    /// An OpenVPN profile (.ovpn, .conf), a strongSwan profile (.sswan), `swanctl.conf`, or `ipsec.conf` with `ipsec.secrets`
    /// beside it
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// What to call the connection, where there is one; else what it is called in the file, or the file itself
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Writes into this new file, and what was embedded into files beside it, for their owner alone; else to standard output,
    /// where comments say which files to make
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// Options of `adit completions`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Completions {
    /// For which shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// Options of `adit man`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Man {
    /// The command whose page goes to standard output; the page of the program unless given
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    pub(crate) command: Option<String>,

    /// Writes all pages into this directory, as adit.1, adit-forward.1 and so on
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// Options of `adit run`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Run {
    /// The TOML file of connections. Files it names are looked for beside it
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: PathBuf,

    /// Only this connection of the file; may be repeated
    #[arg(long = "connection", value_name = "NAME")]
    pub(crate) connections: Vec<String>,

    #[command(flatten)]
    pub(crate) debugging: Debugging,
}

/// Options of `adit serve`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Serve {
    /// The TOML file that describes the gateways; all of them are run. Files it names are looked for beside it
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: PathBuf,

    /// Puts the peers of each gateway on a TUN device, where the kernel routes (Linux, as root): without it their connections
    /// go out through ordinary sockets of this machine
    #[arg(long)]
    pub(crate) tun: bool,
}

/// Options of `adit demo`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Demo {
    /// Ends after its own check
    #[arg(long)]
    pub(crate) once: bool,
}

/// Options of `adit forward`.
#[derive(Debug, Clone, Default, Args)]
#[command(group = ArgGroup::new("gateway").required(true).args(["config", "ikev2"]))]
#[command(group = ArgGroup::new("way").required(true).multiple(true).args(["local", "reverse", "socks", "http_proxy", "stdio"]))]
pub(crate) struct Forward {
    /// What describes the connection: an OpenVPN profile (.ovpn, .conf), a strongSwan profile (.sswan), or a TOML file of
    /// connections (.toml). Files it names are looked for beside it
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// The connection of the TOML file, where it has several
    #[arg(long, value_name = "NAME", conflicts_with = "ikev2")]
    pub(crate) connection: Option<String>,

    /// An IKEv2 gateway, described by the options below: for a quick try. With another port than 500, NAT traversal is
    /// used from the first datagram on
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) ikev2: Option<String>,

    /// Listens on PORT (of 127.0.0.1, or of BIND) and connects to HOSTPORT of HOST through the tunnel; may be repeated, as
    /// may the others. IPv6 addresses stand in brackets; a HOST that is a name is resolved by the DNS servers the gateway
    /// pushes. `unix:/PATH` in the place of PORT listens on a unix socket. A UDP datagram has to fit into one packet of the
    /// tunnel (about 1300 to 1450 bytes): larger ones are dropped, with a warning
    #[arg(short = 'L', long, value_name = "[BIND:]PORT:HOST:HOSTPORT[/udp]")]
    pub(crate) local: Vec<LocalSpec>,

    /// Listens on PORT of our own address inside the VPN, and connects to HOSTPORT of HOST on this side, or to a unix socket
    /// (`PORT:unix:/PATH`)
    #[arg(short = 'R', long, value_name = "PORT:HOST:HOSTPORT[/udp]")]
    pub(crate) reverse: Vec<ReverseSpec>,

    /// Listens as a SOCKS5 proxy: TCP and UDP to any host behind the gateway; names are resolved there
    #[arg(short = 'D', long, value_name = "[BIND:]PORT")]
    pub(crate) socks: Vec<ProxySpec>,

    /// Listens as an HTTP proxy: CONNECT to any host behind the gateway, and plain requests of http:// addresses
    #[arg(long, value_name = "[BIND:]PORT")]
    pub(crate) http_proxy: Vec<ProxySpec>,

    /// Connects standard input and output to PORT of HOST, as ssh's ProxyCommand needs it, and ends with that connection
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) stdio: Option<TargetSpec>,

    /// What becomes of connections while the tunnel is down: `refuse` resets them at once, `wait` has them wait for it for 30
    /// seconds, `wait=SECONDS` for so long
    #[arg(long, value_name = "refuse|wait[=SECONDS]", default_value = "wait", hide_default_value = true, help_heading = FORWARDS)]
    pub(crate) while_down: WhileDown,

    /// Refuses connections beyond so many at the same time, for each forward. Of UDP senders, the one idle longest makes room
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..), help_heading = FORWARDS)]
    pub(crate) max_connections: Option<u32>,

    /// Tells the target who has connected, by a header of the PROXY protocol, version 2 (TCP, for -L and -R)
    #[arg(long, help_heading = FORWARDS)]
    pub(crate) proxy_protocol: bool,

    /// Lets those use -D and --http-proxy who know the user name and the password, which are the first two lines of this file
    #[arg(long, value_name = "FILE", help_heading = FORWARDS)]
    pub(crate) proxy_login: Option<PathBuf>,

    /// The permission bits of unix sockets, in octal; 600 unless given
    #[arg(long, value_name = "MODE", value_parser = parse_mode, help_heading = FORWARDS)]
    pub(crate) socket_mode: Option<u32>,

    /// Takes user name and password from the first two lines of this file
    #[arg(long, value_name = "FILE")]
    pub(crate) auth_user_pass: Option<PathBuf>,

    /// Takes the passphrase of the private key from the first line of this file
    #[arg(long, value_name = "FILE")]
    pub(crate) askpass: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) ikev2_options: Ikev2Options,

    #[command(flatten)]
    pub(crate) debugging: Debugging,
}

/// Options of `--ikev2`.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = IKEV2)]
pub(crate) struct Ikev2Options {
    /// Our user name, for EAP
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,

    /// Takes the password from the first line of this file; else ADIT_PASSWORD is it, or it is asked for
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,

    /// Takes the pre-shared key from the first line of this file
    #[arg(long, value_name = "FILE")]
    pub(crate) psk_file: Option<PathBuf>,

    /// An authority that vouches for the gateway, PEM or DER; may be repeated. Unless given, those in the PKCS#12 file are
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Vec<PathBuf>,

    /// Our certificate, with those between it and its authority
    #[arg(long, value_name = "FILE", conflicts_with = "p12")]
    pub(crate) cert: Option<PathBuf>,

    /// The private key of the certificate
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,

    /// Certificate and private key as PKCS#12
    #[arg(long, value_name = "FILE")]
    pub(crate) p12: Option<PathBuf>,

    /// EAP methods to accept, best first; mschapv2 for a password and tls for a certificate, unless given
    #[arg(long, value_name = "METHODS", value_enum, value_delimiter = ',')]
    pub(crate) eap: Vec<Method>,

    /// Who we are: a name, an e-mail address, an IP address, "C=CH, CN=x", or @#HEX
    #[arg(long, value_name = "ID")]
    pub(crate) local_id: Option<String>,

    /// Who the gateway must be; HOST unless given, %any for whoever the authority vouches for. With a pre-shared key, whoever
    /// has the key unless given
    #[arg(long, value_name = "ID")]
    pub(crate) remote_id: Option<String>,

    /// Algorithms of the IKE SA in strongSwan's notation, such as aes256gcm16-prfsha384-ecp384
    #[arg(long, value_name = "PROPOSALS")]
    pub(crate) ike_proposals: Option<String>,

    /// Algorithms of ESP, such as aes256gcm16
    #[arg(long, value_name = "PROPOSALS")]
    pub(crate) esp_proposals: Option<String>,

    /// Allows algorithms that should not be used any more: SHA-1, 3DES, MODP groups below 2048 bits
    #[arg(long)]
    pub(crate) legacy: bool,
}

impl Ikev2Options {
    /// One of the options that were given.
    pub(crate) fn first_given(&self) -> Option<&'static str> {
        let given = [
            ("--user", self.user.is_some()),
            ("--password-file", self.password_file.is_some()),
            ("--psk-file", self.psk_file.is_some()),
            ("--ca", !self.ca.is_empty()),
            ("--cert", self.cert.is_some()),
            ("--key", self.key.is_some()),
            ("--p12", self.p12.is_some()),
            ("--eap", !self.eap.is_empty()),
            ("--local-id", self.local_id.is_some()),
            ("--remote-id", self.remote_id.is_some()),
            ("--ike-proposals", self.ike_proposals.is_some()),
            ("--esp-proposals", self.esp_proposals.is_some()),
            ("--legacy", self.legacy),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(option, _)| option)
    }
}

/// What becomes of connections while the tunnel is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhileDown {
    Refuse,
    Wait(Duration),
}

impl Default for WhileDown {
    fn default() -> Self {
        Self::Wait(WAIT)
    }
}

impl WhileDown {
    /// How long they wait.
    pub(crate) fn wait(self) -> Duration {
        match self {
            Self::Refuse => Duration::ZERO,
            Self::Wait(wait) => wait,
        }
    }
}

impl FromStr for WhileDown {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.strip_prefix("wait=")) {
            ("refuse", _) => Ok(Self::Refuse),
            ("wait", _) => Ok(Self::default()),
            (_, Some(seconds)) => {
                let seconds: u32 = seconds.parse().map_err(|_| "the seconds to wait are a whole number")?;
                Ok(Self::Wait(Duration::from_secs(seconds.into())))
            }
            _ => Err("expected `refuse`, `wait` or `wait=SECONDS`"),
        }
    }
}

/// How long connections wait for a tunnel, unless it is said.
const WAIT: Duration = Duration::from_secs(30);

/// Permission bits, in octal.
fn parse_mode(text: &str) -> Result<u32, &'static str> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777 && !text.starts_with('+'));
    mode.ok_or("expected permission bits in octal, such as 660")
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

  Through an IKEv2 gateway, with a password that is asked for
      adit forward --ikev2 vpn.example --user alice --ca ca.pem -L 8080:192.168.100.30:80

  Through one of the connections of a TOML file
      adit forward -c connections.toml --connection office -L 8080:192.168.100.30:80

  A SOCKS5 proxy and an HTTP proxy to everything behind the gateway
      adit forward -c office.ovpn -D 1080 --http-proxy 3128
      curl --proxy socks5h://127.0.0.1:1080 http://intranet.corp.example/

  A host behind the gateway with ssh, without a port of this machine (in ~/.ssh/config)
      ProxyCommand adit forward -q -c office.ovpn --stdio %h:%p

  A web server of this machine for those inside the VPN, at port 80 of our address there
      adit forward -c office.ovpn -R 80:127.0.0.1:8080

  A database at a unix socket; connections are refused at once while the tunnel is down, and beyond 20
      adit forward -c office.ovpn -L unix:/run/user/1000/db.sock:db.corp.example:5432 --while-down refuse --max-connections 20

  Without a terminal, the password in a file, the log for machines
      adit forward -c office.ovpn --auth-user-pass login.txt --log-format json -L 8080:192.168.100.30:80

When the tunnel is up, standard output has one line for each forward: `127.0.0.1:8080 -> 192.168.100.30:80/tcp`; not with
--stdio, whose output it is.
The first connect gives up after one round over all gateways, a tunnel that was up is brought back for as long as it
takes; or both after as many rounds as an OpenVPN profile's `connect-retry-max` says. Credentials that were rejected are
never tried again. Ctrl-C, SIGTERM and SIGHUP (unless `nohup` has it ignored) close the tunnel politely.
";

const EXIT_CODES: &str = "\
Exit codes:
    0  ended by SIGTERM or SIGHUP; or the connection of --stdio has ended
    1  something else
    2  the command line, the configuration or a secret cannot be used
    3  no tunnel: no gateway was reached, none answered, or it broke off
    4  no tunnel: the gateway could not prove who it is
    5  our credentials were rejected, or a question of the gateway was not answered
    6  no tunnel: no algorithm, authentication method or network in common with the gateway
    7  a local address or port cannot be used
    8  the tunnel was up and has ended for good, or did not come back
  130  ended by Ctrl-C
";

const CHECK_EXIT_CODES: &str = "\
Exit codes:
    0  it can be used, perhaps with warnings
    1  standard output cannot be written to
    2  it cannot be used, or the command line cannot
";

const IMPORT: &str = "\
Makes a TOML file of connections of what other programs are configured with.

Every key is taken over, or named in a comment with the reason why not. Secrets and certificates that are inside of the file
become files of their own; a secret never goes to standard output. What was made is to be read once, and tried with `adit check`.

An OpenVPN profile stays as it is, and is named: `profile = \"office.ovpn\"`; one with LZO compression, or with options that
nobody knows or that are not supported, becomes another one, without. A configuration of strongSwan that answers whoever calls, a
gateway's, is turned round: how to call it.";

const IMPORT_EXAMPLES: &str = "\
Examples:
  See what would become of it
      adit import /etc/swanctl/swanctl.conf

  Write office.toml, and its secrets and certificates beside it
      adit import office.sswan --name office -o office.toml

Exit codes:
    0  it was understood
    2  it was not, or a file is there already
";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  adit completions bash > /etc/bash_completion.d/adit
  adit completions zsh > \"${fpath[1]}/_adit\"
  adit completions fish > ~/.config/fish/completions/adit.fish

Exit codes:
    0  it was written
    1  it could not be
    2  the command line cannot be used
";

const MAN_EXAMPLES: &str = "\
Examples:
  adit man forward | man -l -
  adit man --dir /usr/local/share/man/man1

Exit codes:
    0  it was written
    1  standard output cannot be written to
    2  there is no such command, or the directory cannot be written to
";

const DOWN_EXIT_CODES: &str = "\
Exit codes:
    0  it is undone, or there was nothing to undo
    2  the command line cannot be used
    7  it cannot be undone: the process lives, or rights are missing
";

const RUN: &str = "\
Runs the connections of a TOML file in one process, each on its own: whatever happens to one of them, the others do not notice.

A connection with `autostart = false` waits for `adit connect NAME`. A gateway that is down is tried again for as long as it takes,
with growing waits; one that refuses our credentials, or cannot prove who it is, is not tried again until `adit connect NAME` or
another configuration. SIGHUP, `adit reload` or a change of any file of the configuration has it read again: what did not change is
not interrupted, and one with a mistake is told and not used. SIGTERM ends it: nothing new is accepted, live connections may go on
for `drain_seconds` of [limits], then the gateways get a farewell; a second signal ends it at once.";

const RUN_EXAMPLES: &str = "\
Examples:
  Run all connections of a file
      adit run --config /etc/adit/adit.toml

  See what they do, from another terminal
      adit status --watch
";

const RUN_EXIT_CODES: &str = "\
Exit codes:
    0  ended by SIGTERM
    1  something else
    2  the command line, the configuration or a secret cannot be used
    7  the control socket that [control] names, or the admin port, cannot be used; where nothing names a control socket, one
       that cannot be used is a warning
  130  ended by Ctrl-C
";

const SERVE: &str = "\
Answers as a VPN gateway, IKEv2 or OpenVPN: for labs, tests and small sites.

It is one process with the users, keys and networks of its file, read once at its start. It knows no RADIUS, fetches no
revocation lists, and does not bring peers together: without --tun, each reaches hosts by TCP and UDP as this machine does,
and no other peer; nothing but TCP, UDP and a ping of the gateway's own address passes. It needs no root then, and with it only for ports
below 1024 and for --tun. An IKEv2 gateway without root answers on one port above 1023, with the non-ESP marker always: a
strongSwan client reaches it with `remote_port = PORT` and `local_port = 4500`.";

const SERVE_EXAMPLES: &str = "\
Examples:
  Run all gateways of a file; examples/serve.toml of the source has every key
      adit serve --config serve.toml

  With a TUN device, and the kernel to route between it and the networks of this machine
      adit serve --config serve.toml --tun

When a gateway listens, standard output has one line for each of its addresses: `ready NAME 0.0.0.0:4500/udp`. Port 0 takes
a free one, which is told there. Ctrl-C, SIGTERM and SIGHUP (unless `nohup` has it ignored) say goodbye to all peers.
";

const SERVE_EXIT_CODES: &str = "\
Exit codes:
    0  ended by SIGTERM or SIGHUP
    1  something else
    2  the command line, the configuration or a secret cannot be used
    7  a local address, port or device cannot be used
    8  a TUN device was taken away
  130  ended by Ctrl-C
";

const DEMO: &str = "\
Shows both protocols at work, in this process and on loopback alone: the place to begin.

An IKEv2 gateway and an OpenVPN gateway with keys made for this run, a web server behind them that can be reached through
tunnels alone, a client tunnel to each, and forwards to the web server at 127.0.0.1:33000 (IKEv2) and 127.0.0.1:33001
(OpenVPN), or the next free ports. It fetches the page over both, says step by step what happens, and stays up for you to try
it. It needs no root, no network and no configuration, writes no file, and leaves nothing behind.

The steps are its log, and go to standard output with the pages; with --log-format json the log goes to standard error, and
standard output has the pages alone.";

const DEMO_EXIT_CODES: &str = "\
Exit codes:
    0  the page came through both tunnels, and --once or SIGTERM or SIGHUP ended it
    7  no local port is free
  130  ended by Ctrl-C
  and others, with a line that says what went wrong, as `adit forward` has them
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
        let options = [
            "--config <",
            "--ikev2 <",
            "--local <",
            "--reverse <",
            "--socks <",
            "--http-proxy <",
            "--stdio <",
            "--auth-user-pass <",
            "--askpass <",
            "--while-down <",
            "--psk-file <",
            "--legacy",
            "--log-format <",
            "--verbose",
            "--quiet",
        ];
        let (_, list) = help.split_once("Options:").unwrap();
        let places: Vec<_> = options.iter().map(|option| list.find(option).unwrap()).collect();
        assert!(places.is_sorted(), "{help}");
    }

    #[test]
    fn options_of_the_log_stand_before_or_behind_the_command() {
        let before = "adit --log-format json -v forward -c x.ovpn -L 1:h:2 -L 3:h:4/udp";
        let behind = "adit forward --config x.ovpn -L 1:h:2 -L 3:h:4/udp --log-format json -v";
        for line in [before, behind] {
            let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
            assert_eq!((arguments.log_format, arguments.verbose), (LogFormat::Json, 1));
            let Command::Forward(forward) = arguments.command else { panic!("another command") };
            assert_eq!(forward.local.len(), 2);
        }
    }

    #[test]
    fn any_way_in_or_out_is_enough_and_one_is_needed() {
        let parse = |line: &str| Arguments::try_parse_from(format!("adit forward -c x.ovpn {line}").split(' '));
        for right in
            ["-L 1:h:2", "-R 1:h:2/udp", "-D 1080", "--http-proxy *:3128", "--stdio h:22", "-D 1 -L unix:/a:h:2"]
        {
            assert!(parse(right).is_ok(), "{right}");
        }
        for wrong in ["-v", "-R 1:2:h:2", "-D 1:h:2", "--stdio h", "--stdio h:22 --stdio h:23", "--proxy-protocol"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_settings_of_all_forwards_have_their_forms() {
        let parse = |line: &str| {
            let line = format!("adit forward -c x.ovpn -L 1:h:2 {line}");
            Arguments::try_parse_from(line.trim().split(' ')).map(|arguments| {
                let Command::Forward(forward) = arguments.command else { panic!("another command") };
                forward
            })
        };
        let wait = |line| parse(line).unwrap().while_down.wait();
        assert_eq!(wait(""), Duration::from_secs(30));
        assert_eq!(wait("--while-down refuse"), Duration::ZERO);
        assert_eq!(wait("--while-down wait=5"), Duration::from_secs(5));
        let forward = parse("--max-connections 3 --socket-mode 0660").unwrap();
        assert_eq!((forward.max_connections, forward.socket_mode), (Some(3), Some(0o660)));
        for wrong in ["--while-down never", "--while-down wait=-1", "--max-connections 0", "--socket-mode 888"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_connection_is_described_once() {
        let parse = |line: &str| Arguments::try_parse_from(format!("adit forward {line} -L 1:h:2").split(' '));
        for right in [
            "-c x.ovpn",
            "-c x.toml --connection office",
            "--ikev2 vpn.example --user alice --ca ca.pem --eap mschapv2,tls,ttls,gtc,md5",
            "--ikev2 vpn.example --cert c.pem --key k.pem --ca a.pem --ca b.pem",
        ] {
            assert!(parse(right).is_ok(), "{right}");
        }
        for wrong in [
            "",
            "-c x.ovpn --ikev2 vpn.example",
            "--ikev2 vpn.example --connection office",
            "--ikev2 vpn.example --key k.pem",
            "--ikev2 vpn.example --cert c.pem --p12 c.p12",
            "--ikev2 vpn.example --eap peap",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
