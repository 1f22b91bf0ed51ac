//! `adit status`.

use std::io::{self, IsTerminal};

use super::{arguments::Status, json, locate::locate, say};
use crate::{
    control::Request,
    error::{Error, Exit},
    status::{ProcessStatus, Timestamp, details, table},
};

/// Erases what a terminal shows, and begins at its top.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub(super) fn run(arguments: &Status) -> Result<Exit, Error> {
    let located = locate(&arguments.process)?;
    let mut client = located.client()?;
    if !arguments.watch {
        let answer = client.ask(&Request::Status)?;
        say(&shown(answer.status, arguments)?)?;
        return Ok(Exit::Ok);
    }
    let clear = !arguments.json && io::stdout().is_terminal();
    let mut next = Some(client.ask(&Request::Watch)?);
    while let Some(answer) = next {
        let text = shown(answer.status, arguments)?;
        if !say(&if clear { format!("{CLEAR}{text}") } else { text })? {
            return Ok(Exit::Ok);
        }
        next = client.next()?;
    }
    Err(Error::new(Exit::Other, "the process has ended"))
}

fn shown(status: Option<ProcessStatus>, arguments: &Status) -> Result<String, Error> {
    let Some(mut status) = status else { return Err(Error::new(Exit::Other, "an answer without a status")) };
    let Some(name) = &arguments.name else {
        return if arguments.json { json(&status) } else { Ok(table(&status, Timestamp::now())) };
    };
    status.connections.retain(|connection| connection.name == *name);
    match status.connections.first() {
        None => {
            Err(Error::new(Exit::Usage, format!("there is no connection `{name}`")).hint("`adit status` lists them"))
        }
        Some(_) if arguments.json => json(&status),
        Some(connection) => Ok(details(connection, Timestamp::now())),
    }
}
