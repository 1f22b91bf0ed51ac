//! The network inside the tunnel: lines that mean the same as options of the server, and what the server may say.

use std::net::Ipv4Addr;

use super::{APPLIED, Applied, Context, HARMLESS, lossy, no_arguments};
use crate::{
    config::{PullAction, PullFilter},
    options::{OptionError, PulledOptions},
};

/// Keeps the line; it is applied before those the server pushes.
pub(in super::super) fn local_option(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let mut line = cx.name.to_owned();
    for argument in arguments {
        line.push(' ');
        quote(argument, &mut line);
    }
    match PulledOptions::default().apply_local(&line) {
        Ok(Some(note)) => lossy(note.to_string()),
        Ok(None) if cx.draft.settings.local_options.len() == MAX_LINES => {
            Err(format!("there are more than {MAX_LINES} lines about the network").into())
        }
        Ok(None) => {
            cx.draft.settings.local_options.push(line);
            APPLIED
        }
        Err(OptionError::Malformed { reason, .. }) => Err(reason),
        Err(error) => Err(error.to_string().into()),
    }
}

/// A destination may be a name in OpenVPN, to keep single hosts out of the tunnel.
pub(in super::super) fn route(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let is_name = |word: &str| {
        let keyword = matches!(word, "vpn_gateway" | "net_gateway" | "remote_host");
        !keyword && word.parse::<Ipv4Addr>().is_err() && word.contains(|c: char| c.is_ascii_alphabetic())
    };
    if arguments.first().is_some_and(|word| is_name(word)) {
        return lossy("routes to names are not followed");
    }
    local_option(cx, arguments)
}

pub(in super::super) fn redirect_private(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let before = cx.draft.settings.local_options.len();
    let outcome = local_option(cx, arguments);
    cx.draft.settings.local_options.truncate(before);
    outcome.and(HARMLESS)
}

/// `pull-filter accept|ignore|reject TEXT`.
pub(in super::super) fn pull_filter(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let [action, prefix] = arguments else { return Err("write `pull-filter accept|ignore|reject TEXT`".into()) };
    let action = match *action {
        "accept" => PullAction::Accept,
        "ignore" => PullAction::Ignore,
        "reject" => PullAction::Reject,
        _ => return Err("its first value is accept, ignore or reject".into()),
    };
    if cx.draft.settings.pull_filters.len() == MAX_LINES {
        return Err(format!("there are more than {MAX_LINES} filters").into());
    }
    cx.draft.settings.pull_filters.push(PullFilter { action, prefix: (*prefix).to_owned() });
    APPLIED
}

pub(in super::super) fn route_nopull(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    no_arguments(arguments)?;
    cx.draft.settings.route_nopull = true;
    APPLIED
}

/// Writes a word so that it is read back as it is.
fn quote(word: &str, line: &mut String) {
    line.push('"');
    for c in word.chars() {
        if matches!(c, '"' | '\\') {
            line.push('\\');
        }
        line.push(c);
    }
    line.push('"');
}

/// Most lines of a kind; our judgement.
const MAX_LINES: usize = 4096;
