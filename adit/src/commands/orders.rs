//! `adit connect`, `disconnect`, `cancel`, `reload`.

use super::{
    arguments::{Disconnect, Named, Process},
    locate::locate,
    say,
};
use crate::{
    control::{Client, Request},
    error::{Error, Exit},
    prompt,
    status::{ConnectionStatus, State},
};

pub(super) fn connect(arguments: &Named) -> Result<Exit, Error> {
    tell(&mut client(&arguments.process)?, &Request::Connect { connection: arguments.name.clone() })
}

pub(super) fn cancel(arguments: &Named) -> Result<Exit, Error> {
    tell(&mut client(&arguments.process)?, &Request::Cancel { connection: arguments.name.clone() })
}

pub(super) fn reload(arguments: &Process) -> Result<Exit, Error> {
    tell(&mut client(arguments)?, &Request::Reload)
}

pub(super) fn disconnect(arguments: &Disconnect) -> Result<Exit, Error> {
    let mut client = client(&arguments.process)?;
    if !arguments.yes {
        let status = client.ask(&Request::Status)?.status;
        let connections = status.map(|status| status.connections).unwrap_or_default();
        let found = connections.iter().find(|connection| connection.name == arguments.name);
        let unread = |error| Error::new(Exit::Other, format!("no answer: {error}"));
        // Where there is nothing to cut, the process says why it does nothing.
        if let Some(connection) = found.filter(|connection| connection.state != State::Idle) {
            if !prompt::is_interactive() {
                let error = Error::new(Exit::Usage, "there is no terminal to ask at whether to disconnect");
                return Err(error.hint("--yes disconnects without asking"));
            }
            if !is_yes(&prompt::ask(&question(connection)).map_err(unread)?) {
                say("nothing was done\n")?;
                return Ok(Exit::Other);
            }
        }
    }
    tell(&mut client, &Request::Disconnect { connection: arguments.name.clone() })
}

fn client(process: &Process) -> Result<Client, Error> {
    locate(process)?.client()
}

fn tell(client: &mut Client, request: &Request) -> Result<Exit, Error> {
    let answer = client.order(request)?;
    say(&(answer.message.unwrap_or_else(|| "done".to_owned()) + "\n"))?;
    Ok(Exit::Ok)
}

fn question(connection: &ConnectionStatus) -> String {
    let open: u64 = connection.forwards.iter().map(|forward| forward.open).sum();
    let now = match open {
        0 => "none is open now".to_owned(),
        1 => "1 is open now".to_owned(),
        _ => format!("{open} are open now"),
    };
    format!(
        "All connections through `{}` are cut ({now}), and services that rely on it may fail until it is connected \
         again. Disconnect? [y/N] ",
        connection.name
    )
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        for (answer, expected) in [("y", true), (" Yes\n", true), ("", false), ("n", false), ("yeah", false)] {
            assert_eq!(is_yes(answer), expected, "{answer:?}");
        }
    }

    #[test]
    fn the_question_says_what_is_at_stake() {
        let process = crate::status::tests::process();
        let question = question(&process.connections[0]);
        assert!(question.contains("`production`") && question.contains("2 are open now"), "{question}");
    }
}
