//! What becomes of a child SA in each of its states: by messages of either end, packets, and time.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{
    super::{
        pair::{Pair, Setup},
        peer::status,
        secs,
    },
    line, outcome, patient,
};
use crate::{
    exchange::Wanted,
    message::{
        Delete, Notify, Payload,
        numbers::{DhGroup, ExchangeType, NotifyType},
    },
    sa::Timer,
};

/// A pair by hand, and which child the table is about: its place among those of the peer.
struct State {
    name: &'static str,
    reach: fn() -> (Pair, usize),
    child: &'static str,
}

const STATES: [State; 6] = [
    State { name: "InUse", reach: in_use, child: "InUse" },
    State { name: "InUse, and our rekeying of it is under way", reach: being_rekeyed, child: "InUse" },
    State { name: "Waiting: the peer made it in place of another", reach: waiting, child: "Waiting" },
    State { name: "Replaced: the peer's new one has taken over", reach: replaced, child: "Replaced" },
    State { name: "Deleting: ours has taken over, and our Delete is under way", reach: deleting, child: "Deleting" },
    State {
        name: "Deleting: ours has lost a collision, and our Delete is under way",
        reach: redundant,
        child: "Deleting",
    },
];

fn in_use() -> (Pair, usize) {
    let pair = patient(Setup::default()).up().all_by_hand();
    let child = pair.peer.child();
    (pair, child)
}

fn being_rekeyed() -> (Pair, usize) {
    let (mut pair, child) = in_use();
    pair.client_rekeys_child();
    pair.up();
    (pair, child)
}

/// The peer knows the keys of its new child, and has not sent on it.
fn waiting() -> (Pair, usize) {
    let (mut pair, old) = in_use();
    let request = pair.peer.rekey_child(old);
    pair.down();
    pair.up();
    let new = pair.peer.child_rekeyed(request);
    (pair, new)
}

fn replaced() -> (Pair, usize) {
    let (mut pair, new) = waiting();
    pair.assert_traffic_flows();
    pair.wait(secs(6));
    (pair, new - 1)
}

fn deleting() -> (Pair, usize) {
    let (mut pair, old) = being_rekeyed();
    pair.peer_answers();
    pair.down();
    pair.up();
    (pair, old)
}

fn redundant() -> (Pair, usize) {
    let (mut pair, old) = in_use();
    pair.client_rekeys_child();
    // The lowest nonce of all is in the client's exchange (RFC 7296 §2.8.1).
    pair.peer.nonces.extend([Bytes::from_static(&[0xff; 32]), Bytes::from_static(&[0; 32])]);
    let request = pair.peer.rekey_child(old);
    pair.down();
    let ours = pair.client_sent.pop_front().expect("our request");
    pair.up();
    pair.peer.child_rekeyed(request);
    pair.peer_hears(&ours);
    pair.peer_answers();
    let ours = pair.peer.child();
    pair.down();
    pair.up();
    (pair, ours)
}

type Input = (&'static str, fn(&mut Pair, usize));

const INPUTS: [Input; 17] = [
    ("a packet comes on it, and 6 s pass", |pair, child| {
        let place = pair.peer.live_children().iter().position(|live| *live == child).expect("it lives");
        let packet = pair.packets_under_way().remove(place);
        pair.assert_opens(&[packet]);
        pair.wait(secs(6));
    }),
    ("the peer rekeys it", |pair, child| drop(pair.peer.rekey_child(child))),
    ("the peer rekeys it with a group we do not use", |pair, child| {
        drop(pair.peer.rekey_child_with(child, &[DhGroup::MODP_1024]));
    }),
    ("the peer rekeys one we do not know", |pair, child| {
        let offer = crate::EspProposals::only(&pair.peer.children[child].suite);
        let unknown = Payload::Notify(Notify::about_esp(NotifyType::REKEY_SA, 0x1234_5678));
        pair.peer.create_child_with(vec![unknown], offer, &[DhGroup::NONE]);
    }),
    ("the peer wants one more", |pair, child| {
        let offer = crate::EspProposals::only(&pair.peer.children[child].suite);
        pair.peer.create_child_with(Vec::new(), offer, &[DhGroup::NONE]);
    }),
    ("the peer deletes it", |pair, child| pair.peer.delete_child(child)),
    ("the peer deletes one we do not know", |pair, _| tell(pair, Payload::Delete(Delete::Esp(vec![0x1234_5678])))),
    ("the peer has no such SPI", |pair, child| {
        let spi = pair.peer.children[child].spi_in.to_be_bytes();
        tell(pair, status(NotifyType::INVALID_SPI, Bytes::copy_from_slice(&spi)));
    }),
    ("the peer asks whether we are there", |pair, _| {
        let sa = pair.peer.sa();
        pair.peer.request(sa, ExchangeType::INFORMATIONAL, Vec::new());
    }),
    ("the peer rekeys the IKE SA", |pair, _| {
        let sa = pair.peer.sa();
        pair.peer.rekey_ike(sa);
    }),
    ("the peer deletes the IKE SA", |pair, _| {
        let sa = pair.peer.sa();
        pair.peer.delete_ike(sa);
    }),
    ("the peer refuses our proof after all", |pair, _| tell(pair, status(NotifyType::AUTHENTICATION_FAILED, ""))),
    ("the peer says IKE_AUTH", |pair, _| {
        let sa = pair.peer.sa();
        pair.peer.request(sa, ExchangeType::IKE_AUTH, Vec::new());
    }),
    ("it is time to rekey it", |pair, child| {
        let spi = pair.peer.children[child].spi_out;
        pair.client_wants(Wanted::RekeyChild(spi));
    }),
    ("it is to be deleted", |pair, child| {
        let spi = pair.peer.children[child].spi_out;
        pair.client_wants(Wanted::DeleteChild(spi));
    }),
    ("close", |pair, _| pair.close()),
    ("200 s pass, and the peer answers everything", |pair, _| {
        pair.peer.script.auto = true;
        while !pair.peer.inbox.is_empty() {
            pair.peer_answers();
        }
        pair.by_hand = false;
        pair.run(secs(200));
    }),
];

fn tell(pair: &mut Pair, payload: Payload) {
    let sa = pair.peer.sa();
    pair.peer.request(sa, ExchangeType::INFORMATIONAL, vec![payload]);
}

/// What the request in flight is answered with, if there is one.
const ANSWERS: [(&str, Option<NotifyType>); 10] = [
    ("the answer: what a gateway says", None),
    ("the answer: N(TEMPORARY_FAILURE)", Some(NotifyType::TEMPORARY_FAILURE)),
    ("the answer: N(CHILD_SA_NOT_FOUND)", Some(NotifyType::CHILD_SA_NOT_FOUND)),
    ("the answer: N(NO_PROPOSAL_CHOSEN)", Some(NotifyType::NO_PROPOSAL_CHOSEN)),
    ("the answer: N(INVALID_KE_PAYLOAD)", Some(NotifyType::INVALID_KE_PAYLOAD)),
    ("the answer: N(TS_UNACCEPTABLE)", Some(NotifyType::TS_UNACCEPTABLE)),
    ("the answer: N(NO_ADDITIONAL_SAS)", Some(NotifyType::NO_ADDITIONAL_SAS)),
    ("the answer: N(INVALID_SYNTAX)", Some(NotifyType::INVALID_SYNTAX)),
    ("the answer: N(8192), an error of nobody's", Some(NotifyType(8192))),
    ("the answer: N(40000), which is no error", Some(NotifyType(40000))),
];

/// What has come of the input, and all children that are left.
fn result(mut pair: Pair) -> String {
    let names = names(&pair);
    while let Some(said) = pair.peer.out.pop_front() {
        let said = super::Travelling { client: said.to, gateway: said.from, datagram: said.datagram };
        pair.client_hears(&said);
    }
    let mut outcome = outcome(&mut pair, "Established").unwrap_or_default();
    if pair.log.closed.is_some() {
        return outcome;
    }
    if pair.client.timers().contains(&Timer::TryAgain) {
        outcome += "tries again later";
    }
    if pair.client.timers().contains(&Timer::Reauthenticate) {
        outcome += "authenticates anew";
    }
    let left = children(&mut pair);
    let left: Vec<_> = left.iter().map(|(spi, state)| format!("{} {state}", names.get(spi).unwrap_or(&'+'))).collect();
    let left = if left.is_empty() { "none".to_owned() } else { left.join(", ") };
    format!("{left:WIDTH$}  {outcome}")
}

fn children(pair: &mut Pair) -> Vec<(u32, &'static str)> {
    let established = pair.client.established().expect("established");
    established.children.iter().map(|child| (child.spi_in, child.state_name())).collect()
}

/// A, B, C for the children there are before the input; one that is made by it is a `+`.
fn names(pair: &Pair) -> BTreeMap<u32, char> {
    let added = pair.log.keys.iter().filter_map(|(_, text)| text.strip_prefix("+ "));
    added.map(|spi| u32::from_str_radix(spi, 16).expect("an SPI")).zip('A'..).collect()
}

#[test]
fn everything_that_can_happen_to_a_child_in_every_state() {
    let mut table = String::new();
    for State { name, reach, child } in STATES {
        let (mut pair, subject) = reach();
        let (spi, names) = (pair.peer.children[subject].spi_out, names(&pair));
        let before = children(&mut pair);
        assert!(before.contains(&(spi, child)), "{name}: {before:?}");
        let before: Vec<_> = before.iter().map(|(spi, state)| format!("{} {state}", names[spi])).collect();
        table += &format!("{}: {name}; there are {}\n", names[&spi], before.join(", "));
        for (input, act) in INPUTS {
            let (mut pair, subject) = reach();
            act(&mut pair, subject);
            table += &line(input, &result(pair));
        }
        for (input, error) in ANSWERS {
            let (mut pair, _) = reach();
            if pair.peer.inbox.is_empty() {
                continue;
            }
            match error {
                Some(error) => pair.peer_refuses(error),
                None => pair.peer_answers(),
            }
            table += &line(input, &result(pair));
        }
        table.push('\n');
    }
    insta::assert_snapshot!(table);
}

/// Of the longest list of children.
const WIDTH: usize = 36;
