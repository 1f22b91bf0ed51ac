//! Every phase of a session, and what each input makes of it, as one table that is committed.
//!
//! If it differs the test fails. `INSTA_UPDATE=always cargo test -p openvpn transitions` writes what the code does now over what is
//! committed; look at the difference line by line before committing it: it is what has become of the protocol.

use super::{
    pair::{Pair, Setup},
    secs,
};
use crate::{config::StaticChallenge, data::EXIT_MESSAGE};

/// A session in this phase.
fn in_phase(phase: &str) -> Pair {
    let mut pair = Setup::new(|setup| match phase {
        "Asking" => {
            setup.settings.static_challenge =
                Some(StaticChallenge { text: "Code".to_owned(), echo: false, concat: false });
        }
        "Pulling" => setup.script.says = Some(Vec::new()),
        "Challenged" => setup.script.says = Some(vec![b"AUTH_FAILED,CRV1:R:S:dXNlcg==:PIN?\0".to_vec()]),
        _ => {}
    })
    .start();
    match phase {
        "Handshaking" => pair.run(super::millis(35)),
        "Asking" | "Pulling" | "Challenged" | "Up" => pair.run(super::millis(500)),
        "Leaving" => {
            pair.come_up();
            pair.close();
        }
        _ => {
            pair.come_up();
            pair.close();
            pair.run(secs(1));
        }
    }
    assert_eq!(self::phase(&pair), phase);
    pair
}

fn phase(pair: &Pair) -> String {
    let text = format!("{:?}", pair.client);
    text.split("phase: ").nth(1).and_then(|rest| rest.split(',').next()).unwrap().to_owned()
}

#[derive(Clone, Copy)]
enum Input {
    /// What can happen at any time.
    Any(fn(&mut Pair)),
    /// What takes a server whose handshake is complete.
    Ready(fn(&mut Pair)),
    /// A record of the server, which takes TLS.
    Says(&'static [u8]),
}

use Input::{Any, Ready, Says};

const INPUTS: [(&str, Input); 27] = [
    ("500 ms", Any(|pair| pair.run(super::millis(500)))),
    (
        "silence",
        Any(|pair| {
            pair.to_client.cut = true;
            pair.to_server.cut = true;
            pair.run(secs(400));
        }),
    ),
    ("answer", Any(|pair| pair.answer("x"))),
    ("cancel", Any(Pair::cancel)),
    ("close", Any(Pair::close)),
    (
        "PUSH_REPLY",
        Ready(|pair| {
            pair.server.push_options();
            pair.server_says(b"INFO,x\0");
        }),
    ),
    ("PUSH_REPLY of nonsense", Says(b"PUSH_REPLY,ifconfig nowhere\0")),
    ("PUSH_REPLY of nothing", Says(b"PUSH_REPLY\0")),
    ("PUSH_UPDATE", Says(b"PUSH_UPDATE,route 192.0.2.0 255.255.255.0\0")),
    ("PUSH_REQUEST", Says(b"PUSH_REQUEST\0")),
    ("INFO", Says(b"INFO,hello\0")),
    ("INFO_PRE", Says(b"INFO_PRE,hello\0")),
    ("INFO_PRE, a page to open", Says(b"INFO_PRE,OPEN_URL:https://login.example\0")),
    ("INFO_PRE, a question", Says(b"INFO_PRE,CR_TEXT:R,E:PIN?\0")),
    ("AUTH_FAILED", Says(b"AUTH_FAILED\0")),
    ("AUTH_FAILED for now", Says(b"AUTH_FAILED,TEMP[backoff 42,advance addr]:later\0")),
    ("AUTH_FAILED, the token", Says(b"AUTH_FAILED,SESSION:token expired\0")),
    ("CRV1", Says(b"AUTH_FAILED,CRV1:R:S:dXNlcg==:PIN?\0")),
    ("AUTH_PENDING", Says(b"AUTH_PENDING\0")),
    ("RESTART", Says(b"RESTART\0")),
    ("HALT", Says(b"HALT,go away\0")),
    ("EXIT", Says(b"EXIT\0")),
    ("a message nobody knows", Says(b"HELLO,client\0")),
    ("one that is not printable", Says(b"AUTH_FAILED,\x1b[2J\0")),
    (
        "exit notice",
        Any(|pair| {
            adit_tunnel::Tunnel::handle_message(&mut pair.client, pair.now, &EXIT_MESSAGE);
            pair.settle();
        }),
    ),
    (
        "SOFT_RESET",
        Ready(|pair| {
            pair.server.renegotiate(pair.now);
            pair.run(super::millis(100));
        }),
    ),
    ("garbage", Any(|pair| pair.inject(&[0x20; 50]))),
];

/// False if the server is not that far.
fn give(pair: &mut Pair, input: Input) -> bool {
    match input {
        Any(act) => act(pair),
        Ready(act) if pair.server.is_ready() => act(pair),
        Says(record) if !pair.server.tls().is_handshaking() => {
            // So that nothing but this arrives.
            pair.to_server.cut = true;
            pair.server_says(record);
        }
        Ready(_) | Says(_) => return false,
    }
    true
}

/// What has come of the input: the next phase, the end, and what people are asked.
fn outcome(from: &str, input: Input) -> String {
    let mut pair = in_phase(from);
    let asked = pair.log.prompts.len();
    if !give(&mut pair, input) {
        return "(the server is not that far)".to_owned();
    }
    let to = phase(&pair);
    let mut outcome = if to == from { "-".to_owned() } else { to };
    if pair.log.closed.is_some() && from != "Closed" {
        outcome += &format!(": {:?}", pair.error());
    }
    if pair.log.prompts.len() > asked {
        outcome += ", and asks";
    }
    outcome
}

#[test]
fn the_whole_table() {
    let mut table = String::new();
    for from in ["Handshaking", "Asking", "Pulling", "Up", "Challenged", "Leaving", "Closed"] {
        for (name, input) in INPUTS {
            table += &format!("{from:12} {name:26} -> {}\n", outcome(from, input));
        }
        table.push('\n');
    }
    insta::assert_snapshot!(table);
}
