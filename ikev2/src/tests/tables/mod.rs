//! Every state against every kind of message, as tables that are committed beside this file.
//!
//! A table that differs fails its test. `INSTA_UPDATE=always cargo test -p ikev2 tables` writes what the code does now over
//! what is committed; look at the difference line by line before committing it: it is what has become of the protocol.

mod answering;
mod children;
mod handshake;

use std::fmt;

use super::{
    pair::{Pair, Setup, Travelling},
    secs,
};
use crate::message::{Message, Payload, numbers::NotifyType};

/// Nothing is sent again before the outcome is known.
fn patient(mut setup: Setup) -> Setup {
    setup.settings.retransmission.first = secs(2);
    setup
}

/// What has come of an input, if anything: what the client says, and where it stands now.
fn outcome(pair: &mut Pair, before: &str) -> Option<String> {
    let mut parts = said(pair);
    let after = pair.client.state_name();
    match &pair.log.closed {
        Some((_, closed)) => parts.push(format!("closed, {:?}: {}", closed.kind, shortened(pair.error()))),
        None if after != before => parts.push(format!("-> {after}")),
        None => {}
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The messages of the client, as its peer reads them.
fn said(pair: &mut Pair) -> Vec<String> {
    let mut said = Vec::new();
    while let Some(travelling) = pair.client_sent.pop_front() {
        said.push(read(pair, &travelling));
    }
    said
}

fn read(pair: &mut Pair, travelling: &Travelling) -> String {
    let (heard, repeated) = (pair.peer.heard.len(), pair.peer.repeated);
    pair.peer_hears(travelling);
    match pair.peer.heard.get(heard) {
        Some(message) => format!("says {}", telling(message.clone())),
        None if pair.peer.repeated > repeated => "asks again".to_owned(),
        None => "says something".to_owned(),
    }
}

/// Without what is said in every message of its kind.
fn telling(mut message: Message) -> Message {
    message.payloads.retain(|payload| !matches!(payload, Payload::Notify(n) if ROUTINE.contains(&n.notify_type)));
    message
}

/// Which error it is; not its text, which may change.
fn shortened(error: &impl fmt::Debug) -> String {
    let text = format!("{error:?}");
    let mut short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// One line of a table.
fn line(input: &str, outcome: &str) -> String {
    format!("{}\n", format!("    {input:WIDTH$}  {outcome}").trim_end())
}

/// What is said in every IKE_SA_INIT, and tells nothing about a state.
const ROUTINE: [NotifyType; 4] = [
    NotifyType::NAT_DETECTION_SOURCE_IP,
    NotifyType::NAT_DETECTION_DESTINATION_IP,
    NotifyType::IKEV2_FRAGMENTATION_SUPPORTED,
    NotifyType::SIGNATURE_HASH_ALGORITHMS,
];
/// Of an error: some name everything that was offered.
const LONGEST: usize = 70;
/// Of the longest name of an input.
const WIDTH: usize = 57;
