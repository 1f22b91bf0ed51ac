//! Every phase of a server's session, and what each control message of a client makes of it, as one table that is committed.
//!
//! A table that differs fails the test. `INSTA_UPDATE=always cargo test -p openvpn messages` writes what the code does now over
//! what is committed; look at the difference line by line before committing it: it is what has become of the protocol.

use adit_tunnel::{Secret, Tunnel};

use super::{
    net::{Net, Owner, Peer, Setup},
    slots::described,
};
use crate::{
    config::{Credentials, StaticChallenge},
    data::EXIT_MESSAGE,
    server::ServerSession,
    session::iv_proto,
    tests::{
        link::{Link, LinkSettings},
        millis, secs,
    },
};

/// A session that has come so far; what the server has said last does not arrive, so that nothing but the message comes.
struct State {
    name: &'static str,
    /// The newest key id, its slot, the session.
    called: (u8, &'static str, &'static str),
    setup: fn(&mut Setup),
    reach: fn(&mut Net),
}

const STATES: [State; 11] = [
    State {
        name: "TLS is through, the key message is wanted",
        called: (0, "Tls", "Handshaking"),
        setup: |setup| {
            let challenge = StaticChallenge { text: "Code".to_owned(), echo: false, concat: false };
            setup.settings.static_challenge = Some(challenge);
        },
        reach: |net| net.run(millis(500)),
    },
    State {
        name: "the owner decides",
        called: (0, "Ready", "Judging"),
        setup: |setup| setup.owner = Owner::NeverAnswers,
        reach: |net| until(net, (0, "Ready", "Judging")),
    },
    State {
        name: "the client may come in, and has not asked for options",
        called: (0, "Ready", "Admitted"),
        setup: |_| {},
        reach: |net| until(net, (0, "Ready", "Admitted")),
    },
    State { name: "traffic flows", called: (0, "Ready", "Up"), setup: |_| {}, reach: Net::come_up },
    State {
        name: "a second key is begun by us",
        called: (1, "AwaitingReset", "Up"),
        setup: |_| {},
        reach: renegotiate,
    },
    State {
        name: "the owner decides about a second key",
        called: (1, "Judging", "Up"),
        setup: |setup| setup.owner = Owner::ChecksAfter(millis(200)),
        reach: |net| {
            renegotiate(net);
            until(net, (1, "Judging", "Up"));
        },
    },
    State {
        name: "a second key is ready",
        called: (1, "Ready", "Up"),
        setup: |_| {},
        reach: |net| {
            renegotiate(net);
            net.run(secs(1));
        },
    },
    State {
        name: "the client was refused",
        called: (0, "Ready", "Leaving"),
        setup: |setup| {
            let password = Secret::from("wrong");
            setup.credentials = Some(Credentials { username: "user".to_owned(), password });
        },
        reach: |net| until(net, (0, "Ready", "Leaving")),
    },
    State {
        name: "we have said goodbye",
        called: (0, "Ready", "Leaving"),
        setup: |_| {},
        reach: |net| {
            net.come_up();
            net.with_peer(ServerSession::close);
        },
    },
    State {
        name: "over, after our goodbye",
        called: (0, "Ready", "Closed"),
        setup: |_| {},
        reach: |net| {
            net.come_up();
            cut(net);
            net.with_peer(ServerSession::close);
            net.run(secs(4));
        },
    },
    State {
        name: "over, nobody answered in time",
        called: (0, "Ready", "Closed"),
        setup: |setup| {
            setup.owner = Owner::NeverAnswers;
            // The client waits longer.
            setup.server.hand_window = secs(5);
        },
        reach: |net| {
            until(net, (0, "Ready", "Judging"));
            cut(net);
            net.run(secs(6));
        },
    },
];

impl State {
    fn net(&self) -> Net {
        let mut net = Setup::new(|setup| {
            // One wrapping for all keys; and the client asks for its options.
            setup.withheld = iv_proto::DYN_TLS_CRYPT | iv_proto::REQUEST_PUSH;
            setup.settings.reneg_sec = secs(0);
            (self.setup)(setup);
        })
        .start();
        (self.reach)(&mut net);
        cut(&mut net);
        net.run(millis(100));
        assert_eq!(peer(&mut net).end.tunnel.state_names(), self.called, "{}: {:?}", self.name, net.states());
        net
    }
}

fn until(net: &mut Net, called: (u8, &'static str, &'static str)) {
    let is_there = |net: &Net| net.peers.values().any(|peer| peer.end.tunnel.state_names() == called);
    assert!(net.run_until(secs(50), is_there), "{called:?}: {:?}", net.states());
}

fn renegotiate(net: &mut Net) {
    net.come_up();
    net.with_peer(ServerSession::renegotiate_now);
}

/// The client hears nothing any more, not even what is under way.
fn cut(net: &mut Net) {
    net.clients[0].down = Link::new(LinkSettings::GOOD, 1);
    net.clients[0].down.cut = true;
}

/// The only peer, also if its session has ended.
fn peer(net: &mut Net) -> &mut Peer {
    net.peers.values_mut().chain(&mut net.gone).next().expect("a peer")
}

#[derive(Clone, Copy)]
enum Input {
    /// A record of the client inside TLS.
    Says(&'static [u8]),
    /// A message of the data channel.
    Data(&'static [u8]),
}

use Input::{Data, Says};

const INPUTS: [(&str, Input); 25] = [
    ("PUSH_REQUEST", Says(b"PUSH_REQUEST\0")),
    ("PUSH_REQUEST without its end", Says(b"PUSH_REQUEST")),
    ("PUSH_REQUEST, twice in a record", Says(b"PUSH_REQUEST\0PUSH_REQUEST\0")),
    ("PUSH_REQUEST, then EXIT", Says(b"PUSH_REQUEST\0EXIT\0")),
    ("EXIT", Says(b"EXIT\0")),
    ("EXIT, then PUSH_REQUEST", Says(b"EXIT\0PUSH_REQUEST\0")),
    ("exit notice in a data packet", Data(&EXIT_MESSAGE)),
    ("CR_RESPONSE", Says(b"CR_RESPONSE,MTIzNDU2\0")),
    ("INFO", Says(b"INFO,hello\0")),
    ("INFO_PRE", Says(b"INFO_PRE,CR_TEXT:R,E:PIN?\0")),
    ("PUSH_REPLY", Says(b"PUSH_REPLY,ifconfig 10.8.0.2 255.255.255.0\0")),
    ("PUSH_UPDATE", Says(b"PUSH_UPDATE,route 192.0.2.0 255.255.255.0\0")),
    ("AUTH_FAILED", Says(b"AUTH_FAILED\0")),
    ("AUTH_PENDING", Says(b"AUTH_PENDING,timeout 9999\0")),
    ("RESTART", Says(b"RESTART\0")),
    ("HALT", Says(b"HALT,go away\0")),
    ("a message nobody knows", Says(b"HELLO,server\0")),
    ("one in small letters", Says(b"exit\0")),
    ("one that is not printable", Says(b"EXIT,\x1b[2J\0")),
    ("that, then EXIT", Says(b"HELLO,\x1b[2J\0EXIT\0")),
    ("bytes that are no text", Says(&[0xff; 50])),
    ("nothing but ends", Says(&[0; 50])),
    ("64 messages in a record", Says(NUMEROUS.split_at(64).0.as_flattened())),
    ("65 messages in a record", Says(NUMEROUS.as_flattened())),
    ("half a key message", Says(&[0, 0, 0, 0, 2, 1, 1, 1, 1])),
];

/// One message more than a record may hold.
const NUMEROUS: &[[u8; 2]] = &[*b"A\0"; 65];

fn outcome(state: &State, input: Input) -> String {
    let mut net = state.net();
    let now = net.now;
    let mut datagrams = Vec::new();
    if let Says(record) = input {
        let client = &mut net.client().tunnel;
        client.say(now, record);
        datagrams.extend(std::iter::from_fn(|| client.poll_transmit()));
        assert!(!datagrams.is_empty(), "{}: the client says nothing", state.name);
    }
    let peer = peer(&mut net);
    let (path, peer) = (peer.path, &mut peer.end.tunnel);
    let (before, asked) = ((peer.state_names(), peer.dropped_datagrams()), peer.was_asked_for_options());
    if let Data(message) = input {
        peer.handle_message(now, message);
    }
    for sent in datagrams {
        peer.handle_datagram(now, &path, &mut sent.datagram.to_vec());
    }
    let remembered = if peer.was_asked_for_options() == asked { "" } else { "; options are asked for" };
    described(peer, before) + remembered
}

#[test]
fn every_message_of_a_client_in_every_phase_of_a_servers_session() {
    let mut table = String::new();
    for state in &STATES {
        let (key_id, slot, phase) = state.called;
        table += &format!("{} ({slot} of key {key_id}, {phase})\n", state.name);
        for (name, input) in INPUTS {
            table += &format!("    {name:34} {}\n", outcome(state, input));
        }
        table.push('\n');
    }
    insta::assert_snapshot!(table);
}
