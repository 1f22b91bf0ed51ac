//! The options of `adit probe`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use crate::arguments::{Forward, Ikev2Options};

/// Options of `adit probe`.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("source").required(true).args(["config", "ikev2"]))]
pub(crate) struct Probe {
    /// What describes the connection, as for `adit forward`: .toml, .ovpn, .conf or .sswan
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The connection of the TOML file, where it has several
    #[arg(long, value_name = "NAME", conflicts_with = "ikev2")]
    connection: Option<String>,

    /// Only this gateway of the connection
    #[arg(long, value_name = "NAME", conflicts_with = "ikev2")]
    pub(super) gateway: Option<String>,

    /// An IKEv2 gateway, described by the options below
    #[arg(long, value_name = "HOST[:PORT]")]
    ikev2: Option<String>,

    /// Tries our credentials, too, once: the gateway judges them, and OpenVPN assigns an address for a moment. Without,
    /// no user name and no password is shown to anybody
    #[arg(long)]
    pub(super) login: bool,

    /// Seconds that an address may take to answer at all
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) timeout: u16,

    /// Writes one JSON object, for programs
    #[arg(long)]
    pub(super) json: bool,

    /// Takes user name and password from the first two lines of this file
    #[arg(long, value_name = "FILE")]
    auth_user_pass: Option<PathBuf>,

    /// Takes the passphrase of the private key from the first line of this file
    #[arg(long, value_name = "FILE")]
    askpass: Option<PathBuf>,

    #[command(flatten)]
    ikev2_options: Ikev2Options,
}

impl Probe {
    /// The same connection, as `adit forward` would be told of it.
    pub(super) fn source(&self) -> Forward {
        Forward {
            config: self.config.clone(),
            connection: self.connection.clone(),
            ikev2: self.ikev2.clone(),
            auth_user_pass: self.auth_user_pass.clone(),
            askpass: self.askpass.clone(),
            ikev2_options: self.ikev2_options.clone(),
            ..Forward::default()
        }
    }
}

pub(crate) const ABOUT: &str = "\
Negotiates with a gateway and explains what it says: for each address whether and how fast it answers, the algorithms agreed
on, NAT on the way, what it announces, who it is and by which certificates, and, when something fails, at which step, why, and
what can be done about it.

Nothing comes up: no ESP SA, no address, no route. What was begun at the gateway is ended in good order. With a user name and
password (EAP, OpenVPN) the probe ends before they are shown, unless --login is given. A pre-shared key or an IKEv2 certificate
of ours has to be shown, for a gateway proves itself only in answer to that: one that allows a single session for each identity
may end another session of ours because of it.";

pub(crate) const EXIT_CODES: &str = "\
Examples:
  What does this gateway offer, and is it the right one?
      adit probe --ikev2 vpn.example --user alice --ca ca.pem

  All gateways of a connection, and whether the login works
      adit probe -c connections.toml --connection office --login

Exit codes:
    0  every gateway has an address where all went well
    2  the command line, the configuration or a secret cannot be used
    3  a gateway was not reached, did not answer, or broke off
    4  a gateway could not prove who it is
    5  our credentials were rejected
    6  no algorithm or authentication method in common
    7  a local address or port cannot be used
  130  ended by Ctrl-C
";
