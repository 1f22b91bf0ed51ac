//! `adit log`.

use super::{arguments::Log, json, locate::locate, say};
use crate::{
    activity::{Entry, last_of_file},
    error::{Error, Exit},
};

pub(super) fn run(arguments: &Log) -> Result<Exit, Error> {
    if let Some(path) = &arguments.file {
        return from_file(path, arguments);
    }
    let located = locate(&arguments.process)?;
    match from_process(&located, arguments) {
        // The process does not run; what it wrote is there.
        Err(error) if !arguments.follow => match located.activity {
            Some(path) => from_file(&path, arguments),
            None => Err(error),
        },
        ended => ended,
    }
}

fn from_file(path: &std::path::Path, arguments: &Log) -> Result<Exit, Error> {
    let entries = last_of_file(path, arguments.lines, arguments.connection.as_deref())
        .map_err(|error| Error::new(Exit::Usage, format!("cannot read {}: {error}", path.display())))?;
    check(&entries, arguments)?;
    show(&entries, arguments)?;
    Ok(Exit::Ok)
}

/// Nothing is said of a connection there never was: that is told, rather than shown as an empty log.
fn check(entries: &[Entry], arguments: &Log) -> Result<(), Error> {
    match &arguments.connection {
        Some(name) if entries.is_empty() && arguments.lines > 0 && !arguments.follow => {
            let error = Error::new(Exit::Usage, format!("the activity log has nothing about a connection `{name}`"));
            Err(error.hint("`adit status` lists the connections, `adit log` shows what there is"))
        }
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn from_process(located: &super::locate::Located, arguments: &Log) -> Result<Exit, Error> {
    use crate::control::Request;
    let mut client = located.client()?;
    let Log { connection, lines, follow, .. } = arguments;
    let request = Request::Log { connection: connection.clone(), lines: *lines, follow: *follow };
    let mut next = Some(client.ask(&request)?);
    while let Some(answer) = next {
        let entries = answer.entries.unwrap_or_default();
        check(&entries, arguments)?;
        if !show(&entries, arguments)? || !follow {
            return Ok(Exit::Ok);
        }
        next = client.next()?;
    }
    Err(Error::new(Exit::Other, "the process has ended"))
}

#[cfg(not(unix))]
fn from_process(_: &super::locate::Located, _: &Log) -> Result<Exit, Error> {
    Err(Error::new(Exit::Usage, "this system has no control socket").hint("give the activity log with --file"))
}

/// `false`: nobody reads it any more.
fn show(entries: &[Entry], arguments: &Log) -> Result<bool, Error> {
    for entry in entries {
        let line = if arguments.json { json(entry)? } else { format!("{entry}\n") };
        if !say(&line)? {
            return Ok(false);
        }
    }
    Ok(true)
}
