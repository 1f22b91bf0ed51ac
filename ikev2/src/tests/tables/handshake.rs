//! A client's handshake against every kind of answer, and against whatever is none.

use bytes::Bytes;

use super::{
    super::{
        authentication::eap,
        millis,
        mutators::{self, Edit, Mutator},
        pair::{Pair, Setup},
        peer::status,
        secs,
    },
    line, patient,
};
use crate::{
    message::{
        Authentication, Delete, Header, Message, MessageId, Payload,
        numbers::{AuthMethod, ExchangeType, NotifyType, PayloadType},
    },
    sa::Timer,
};

/// A client by hand whose request has not arrived yet, after so many answers.
struct State {
    name: &'static str,
    setup: fn() -> Setup,
    answers: usize,
    /// As the session calls it.
    called: &'static str,
}

const STATES: [State; 7] = [
    State { name: "Init: IKE_SA_INIT was sent", setup: Setup::default, answers: 0, called: "Init" },
    State { name: "Auth, with a pre-shared key", setup: Setup::default, answers: 1, called: "Auth" },
    State { name: "Auth, EAP is to follow", setup: with_eap, answers: 1, called: "Auth" },
    State { name: "Eap: the identity was told", setup: with_eap, answers: 2, called: "Eap" },
    State { name: "Eap: the challenge was answered", setup: with_eap, answers: 3, called: "Eap" },
    State { name: "Eap: MSCHAPv2 is over", setup: with_eap, answers: 4, called: "Eap" },
    State { name: "Proved: AUTH of EAP was sent", setup: with_eap, answers: 5, called: "Proved" },
];

fn with_eap() -> Setup {
    eap(|_| {})
}

impl State {
    fn pair(&self) -> Pair {
        let mut pair = patient((self.setup)()).start().all_by_hand();
        for _ in 0..self.answers {
            ask(&mut pair);
            pair.down();
        }
        assert_eq!(pair.client.state_name(), self.called, "{}", self.name);
        pair
    }
}

/// The request arrives and is answered; the answer is not there yet.
fn ask(pair: &mut Pair) {
    pair.up();
    if !pair.peer.inbox.is_empty() {
        pair.peer_answers();
    }
}

/// An edit of the answer, to the exchange that is in flight.
type Answer = (String, Box<dyn Fn(ExchangeType) -> Mutator>);

fn edited(name: &str, edit: impl Fn(ExchangeType) -> Mutator + 'static) -> Answer {
    (name.to_owned(), Box::new(edit))
}

/// With these payloads in place of what a gateway says.
fn replaced(name: &str, payloads: impl Fn() -> Vec<Payload> + Clone + 'static) -> Answer {
    edited(name, move |exchange| {
        let payloads = payloads.clone();
        mutators::payloads(exchange, move |all| *all = payloads())
    })
}

/// With this in place of the EAP packet; at the end, if there is none.
fn with_packet(name: &str, packet: &'static [u8]) -> Answer {
    edited(name, move |exchange| {
        mutators::payloads(exchange, move |all| {
            all.retain(|payload| payload.payload_type() != PayloadType::EAP);
            all.push(Payload::Eap(Bytes::from_static(packet)));
        })
    })
}

fn answers() -> Vec<Answer> {
    let mut answers = vec![
        edited("what a gateway answers", |exchange| mutators::payloads(exchange, |_| {})),
        replaced("nothing", Vec::new),
    ];
    for (what, kind) in [
        ("SA", PayloadType::SA),
        ("KE", PayloadType::KE),
        ("Nonce", PayloadType::NONCE),
        ("IDr", PayloadType::IDR),
        ("CERT", PayloadType::CERT),
        ("AUTH", PayloadType::AUTH),
        ("EAP", PayloadType::EAP),
        ("CP", PayloadType::CP),
        ("TSi", PayloadType::TSI),
        ("TSr", PayloadType::TSR),
        ("any notification", PayloadType::NOTIFY),
    ] {
        answers.push(edited(&format!("the same without {what}"), move |exchange| mutators::remove(exchange, kind)));
    }
    answers.push(edited("the same with another AUTH", |exchange| {
        mutators::payloads(exchange, |all| {
            for payload in all.iter_mut().filter(|payload| payload.payload_type() == PayloadType::AUTH) {
                *payload =
                    Payload::Auth(Authentication { method: AuthMethod::PSK, data: Bytes::from_static(&[7; 32]) });
            }
        })
    }));
    answers
        .push(edited("the same with a payload of a new type", |exchange| mutators::add_payload(exchange, 200, false)));
    answers.push(edited("the same with a critical one", |exchange| mutators::add_payload(exchange, 200, true)));
    answers.push(edited("the same, cut short", |exchange| {
        Mutator::new(
            exchange,
            Edit::Content(Box::new(|(_, content)| content.truncate(content.len().saturating_sub(1)))),
        )
    }));
    answers.push(edited("the same, and a bit is wrong", |exchange| {
        Mutator::new(exchange, Edit::Datagram(Box::new(|datagram| datagram[40] ^= 1)))
    }));
    answers.push(edited("the same from a responder without SPI", |exchange| {
        Mutator::new(exchange, Edit::Header(Box::new(|header| header[8..16].fill(0))))
    }));
    answers.extend(ERRORS.map(|error| replaced(&format!("N({error})"), move || vec![status(error, "")])));
    for (name, data) in [("offered", &[0, 19]), ("not offered", &[0, 1])] {
        let name = format!("N(INVALID_KE_PAYLOAD), a group {name}");
        answers.push(replaced(&name, move || vec![status(NotifyType::INVALID_KE_PAYLOAD, &data[..])]));
    }
    for (name, len) in [("N(COOKIE)", 16), ("N(COOKIE), empty", 0), ("N(COOKIE), too long", 65)] {
        answers.push(replaced(name, move || vec![status(NotifyType::COOKIE, vec![7; len])]));
    }
    answers.push(replaced("N(REDIRECT)", || vec![status(NotifyType::REDIRECT, "")]));
    answers.push(replaced("N(40000), which is no error", || vec![status(NotifyType(40000), "")]));
    for (name, packet) in [
        ("EAP-Success", &[3, 9, 0, 4][..]),
        ("EAP-Failure", &[4, 9, 0, 4]),
        ("EAP-Request/Identity", &[1, 9, 0, 5, 1]),
        ("EAP-Request of a method we have not", &[1, 9, 0, 6, 25, 0x20]),
        ("EAP-Response", &[2, 9, 0, 5, 1]),
    ] {
        answers.push(replaced(&format!("{name} alone"), move || vec![Payload::Eap(Bytes::from_static(packet))]));
        answers.push(with_packet(&format!("the same with {name}"), packet));
    }
    answers.push(replaced("D(IKE)", || vec![Payload::Delete(Delete::Ike)]));
    answers.push(edited("the same, and D(IKE)", |exchange| {
        mutators::payloads(exchange, |all| all.push(Payload::Delete(Delete::Ike)))
    }));
    answers.push(edited("the same, and N(TS_UNACCEPTABLE)", |exchange| {
        mutators::add_notify(exchange, NotifyType::TS_UNACCEPTABLE.0, b"")
    }));
    answers.push(edited("the same, and N(AUTHENTICATION_FAILED)", |exchange| {
        mutators::add_notify(exchange, NotifyType::AUTHENTICATION_FAILED.0, b"")
    }));
    answers
}

const ERRORS: [NotifyType; 20] = [
    NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD,
    NotifyType::INVALID_IKE_SPI,
    NotifyType::INVALID_MAJOR_VERSION,
    NotifyType::INVALID_SYNTAX,
    NotifyType::INVALID_MESSAGE_ID,
    NotifyType::INVALID_SPI,
    NotifyType::NO_PROPOSAL_CHOSEN,
    NotifyType::AUTHENTICATION_FAILED,
    NotifyType::AUTHORIZATION_FAILED,
    NotifyType::SINGLE_PAIR_REQUIRED,
    NotifyType::NO_ADDITIONAL_SAS,
    NotifyType::INTERNAL_ADDRESS_FAILURE,
    NotifyType::FAILED_CP_REQUIRED,
    NotifyType::TS_UNACCEPTABLE,
    NotifyType::INVALID_SELECTORS,
    NotifyType::UNACCEPTABLE_ADDRESSES,
    NotifyType::TEMPORARY_FAILURE,
    NotifyType::CHILD_SA_NOT_FOUND,
    NotifyType::MS_NOTIFY_STATUS,
    // Nobody's: an error all the same (RFC 7296 §3.10.1).
    NotifyType(8192),
];

fn outcome(pair: &mut Pair, state: &State) -> String {
    super::outcome(pair, state.called).unwrap_or_else(|| "dropped".to_owned())
}

/// What the answer does at once; and what comes of a suspicion, if nothing better comes.
fn answered(state: &State, edit: &dyn Fn(ExchangeType) -> Mutator) -> String {
    let mut pair = state.pair();
    let header = exchange_in_flight(&pair);
    pair.peer.mutators.push(edit(header.exchange).at(header.message_id.0));
    ask(&mut pair);
    while let Some(said) = pair.peer.out.pop_front() {
        let said = super::Travelling { client: said.to, gateway: said.from, datagram: said.datagram };
        pair.client_hears(&said);
    }
    let suspicious = pair.client.timers().contains(&Timer::Suspicion);
    if suspicious {
        pair.wait(millis(500));
    }
    let outcome = outcome(&mut pair, state);
    if suspicious { format!("half a second later: {outcome}") } else { outcome }
}

/// The header of the request in flight, which the peer has not got yet.
fn exchange_in_flight(pair: &Pair) -> Header {
    let datagram = &pair.client_sent.back().expect("a request").datagram;
    let message = if pair.peer.heard.is_empty() { &datagram[..] } else { &datagram[4..] };
    Header::peek(message).expect("a header")
}

/// A message that is no answer to the request in flight.
#[derive(Clone, Copy)]
enum OutOfTurn {
    Request,
    /// Of the id in flight: where that is all that is wrong with a sealed one, it is an answer.
    Response,
    /// Of the id after.
    LaterResponse,
}

/// One line for all exchanges that come to the same as a reserved one, and a line for each of the others.
fn out_of_turn(state: &State, sealed: bool, kind: OutOfTurn) -> String {
    let text = match kind {
        OutOfTurn::Request => "request",
        OutOfTurn::Response => "response with the id awaited",
        OutOfTurn::LaterResponse => "response with a later id",
    };
    let name = |exchange: &str| format!("{exchange}, a {} {text}", if sealed { "sealed" } else { "plain" });
    let outcomes = EXCHANGES.map(|number| (number, one_out_of_turn(state, sealed, kind, number)));
    let (_, common) = &outcomes[0];
    let odd = outcomes.iter().filter(|(_, outcome)| outcome != common);
    let mut lines: String =
        odd.map(|(number, outcome)| line(&name(&ExchangeType(*number).to_string()), outcome)).collect();
    lines += &line(&name(if lines.is_empty() { "any exchange" } else { "any other exchange" }), common);
    lines
}

fn one_out_of_turn(state: &State, sealed: bool, kind: OutOfTurn, exchange: u8) -> String {
    let mut pair = state.pair();
    ask(&mut pair);
    pair.peer.out.clear();
    let (sa, awaited) = (pair.peer.sas.len() - 1, pair.peer.heard.last().expect("a request").header.message_id.0);
    let spis = (pair.peer.sas[sa].spi_i, pair.peer.sas[sa].spi_r);
    let (response, id) = match kind {
        OutOfTurn::Request => (false, 0),
        OutOfTurn::Response => (true, awaited),
        OutOfTurn::LaterResponse => (true, awaited + 1),
    };
    let header = Header { response, ..Header::request(spis, ExchangeType(exchange), false, MessageId(id)) };
    let payloads = vec![Payload::Delete(Delete::Ike), status(NotifyType::AUTHENTICATION_FAILED, "")];
    for datagram in pair.peer.encode(sealed.then_some(sa), Message { header, payloads }) {
        pair.inject("192.0.2.1:4500".parse().expect("an address"), &[&[0; 4], &datagram[..]].concat());
    }
    pair.wait(millis(500));
    outcome(&mut pair, state)
}

/// A reserved one first, those of RFC 7296, and some of later ones.
const EXCHANGES: [u8; 10] = [0, 33, 34, 35, 36, 37, 38, 43, 44, 250];

fn others(state: &State) -> String {
    let mut lines = String::new();
    for sealed in [false, true] {
        for kind in [OutOfTurn::Request, OutOfTurn::Response, OutOfTurn::LaterResponse] {
            lines += &out_of_turn(state, sealed, kind);
        }
    }
    let mut pair = state.pair();
    pair.client_sent.clear();
    // The request again and again, and then the end. Nobody is asked for ever.
    pair.wait(secs(600));
    pair.client_sent.clear();
    lines += &line("no answer for ten minutes", &outcome(&mut pair, state));
    let mut pair = state.pair();
    pair.client_sent.clear();
    pair.close();
    lines + &line("close", &outcome(&mut pair, state))
}

#[test]
fn every_message_in_every_state_of_the_handshake() {
    let mut table = String::new();
    for state in &STATES {
        table += &format!("{}\n", state.name);
        for (name, edit) in answers() {
            table += &line(&name, &answered(state, &edit));
        }
        table += &others(state);
        table.push('\n');
    }
    insta::assert_snapshot!(table);
}
