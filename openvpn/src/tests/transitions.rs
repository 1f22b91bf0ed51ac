//! Every phase of a session, and what each input makes of it, as one table.

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

type Input = (&'static str, fn(&mut Pair));

const INPUTS: [Input; 14] = [
    ("500 ms", |pair| pair.run(super::millis(500))),
    ("silence", |pair| {
        pair.to_client.cut = true;
        pair.to_server.cut = true;
        pair.run(secs(400));
    }),
    ("answer", |pair| pair.answer("x")),
    ("cancel", Pair::cancel),
    ("close", Pair::close),
    ("PUSH_REPLY", |pair| {
        if pair.server.is_ready() {
            pair.server.push_options();
            pair.server_says(b"INFO,x\0");
        }
    }),
    ("AUTH_FAILED", |pair| says(pair, b"AUTH_FAILED\0")),
    ("CRV1", |pair| says(pair, b"AUTH_FAILED,CRV1:R:S:dXNlcg==:PIN?\0")),
    ("AUTH_PENDING", |pair| says(pair, b"AUTH_PENDING\0")),
    ("RESTART", |pair| says(pair, b"RESTART\0")),
    ("EXIT", |pair| says(pair, b"EXIT\0")),
    ("exit notice", |pair| {
        adit_tunnel::Tunnel::handle_message(&mut pair.client, pair.now, &EXIT_MESSAGE);
        pair.settle();
    }),
    ("SOFT_RESET", |pair| {
        if pair.server.is_ready() {
            pair.server.renegotiate(pair.now);
            pair.run(super::millis(100));
        }
    }),
    ("garbage", |pair| pair.inject(&[0x20; 50])),
];

/// While the link to the server is cut, so that nothing but this arrives.
fn says(pair: &mut Pair, text: &[u8]) {
    if pair.server.is_ready() {
        pair.to_server.cut = true;
        pair.server_says(text);
    }
}

#[test]
fn the_whole_table() {
    let mut table = String::new();
    for from in ["Handshaking", "Asking", "Pulling", "Up", "Challenged", "Leaving", "Closed"] {
        for (name, input) in INPUTS {
            let mut pair = in_phase(from);
            input(&mut pair);
            let to = phase(&pair);
            let what = pair.log.closed.as_ref().filter(|_| from != "Closed").map(|_| format!(": {:?}", pair.error()));
            if to != from {
                table += &format!("{from:12} {name:13} -> {to}{}\n", what.unwrap_or_default());
            } else {
                table += &format!("{from:12} {name:13} -> -\n");
            }
        }
        table.push('\n');
    }
    insta::assert_snapshot!(table);
}
