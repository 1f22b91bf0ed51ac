//! The IKE SA is replaced (RFC 7296 §1.3.2, §2.8.2, §2.25.2). In the diagrams `rekey` is CREATE_CHILD_SA { SA, Ni, KEi }, `delete` is
//! INFORMATIONAL { D }.

use adit_tunnel::CloseKind;

use super::{A, B, Part, Table, another_group, crossings, crossings_with, secs, tables, tables_with};
use crate::message::numbers::DhGroup;

/// ```text
///  A rekey -------->        B
///    <-------- answer
///    delete ------->
///    <-------- nothing
/// ```
#[test]
fn regular() {
    for mut table in tables() {
        for _ in 0..3 {
            table.rekeys_ike(A);
            table.exchange(A);
            // B remembers those before for a while, to answer again.
            assert!(table.sas(A) == 2 && table.sas(B) >= 2);
            table.exchange(A);
            table.assert_ike_is_of(A);
        }
        table.settle();
    }
}

/// Whoever has rekeyed last is the original initiator of the new IKE SA.
///
/// ```text
///  A rekey, delete ------->             B
///    <------- rekey, delete
///    rekey of the child, delete ------->
/// ```
#[test]
fn regular_in_turn() {
    for mut table in tables() {
        for part in [A, B, B, A] {
            table.rekeys_ike(part);
            table.exchange(part);
            table.exchange(part);
            table.assert_ike_is_of(part);
            table.rekeys_child(part.other());
            table.exchange(part.other());
            table.exchange(part.other());
            table.assert_child_is_of(part.other());
        }
        table.settle();
    }
}

/// A begins with the group it likes best, which is not that of the handshake.
fn begins_with_another_group(table: &mut Table, part: Part) {
    let group = if table.is_client(part) { DhGroup::CURVE25519 } else { DhGroup::ECP_384 };
    table.established(part).sas[0].ike.suite.group = group;
}

/// ```text
///  A rekey -------->                B
///    <-------- INVALID_KE_PAYLOAD
///    rekey -------->
///    <-------- answer
///    delete ------->
///    <-------- nothing
/// ```
#[test]
fn regular_ke_invalid() {
    for mut table in tables_with(another_group) {
        begins_with_another_group(&mut table, A);
        table.rekeys_ike(A);
        table.exchange(A);
        assert_eq!((table.sas(A), table.sas(B)), (1, 1));
        table.exchange(A);
        assert_eq!((table.sas(A), table.sas(B)), (2, 2));
        table.exchange(A);
        table.assert_ike_is_of(A);
        table.settle();
    }
}

fn both_ask(table: &mut Table) {
    table.rekeys_ike(A);
    table.keep("rekey of A", A);
    table.rekeys_ike(B);
    table.keep("rekey of B", B);
}

fn the_rest_of_a_collision(table: &mut Table, loser: Part) {
    table.arrives("rekey of A");
    table.keep("answer of B", B);
    table.arrives("rekey of B");
    table.keep("answer of A", A);
    table.arrives("answer of A");
    table.keep("delete of B", B);
    table.arrives("answer of B");
    table.keep("delete of A", A);
    assert_eq!((table.sas(A), table.sas(B)), (3, 3));
    table.arrives("delete of A");
    table.carry(B);
    table.arrives("delete of B");
    table.carry(A);
    table.assert_ike_is_of(loser.other());
    table.settle();
}

/// ```text
///  A rekey ----\ /---- rekey    B
///               X
///    <---------/ \--------->
///    answer ---\ /---- answer
///               X
///    <---------/ \--------->
///    delete ---\ /---- delete   of the old one by the winner, of its own by the loser
///               X
///    <---------/ \--------->
///    nothing --\ /---- nothing
///               X
///    <---------/ \--------->
/// ```
#[test]
fn collision() {
    for (mut table, loser) in crossings() {
        both_ask(&mut table);
        the_rest_of_a_collision(&mut table, loser);
    }
}

fn both_are_refused(table: &mut Table) {
    begins_with_another_group(table, A);
    begins_with_another_group(table, B);
    table.rekeys_ike(A);
    table.keep("first of A", A);
    table.rekeys_ike(B);
    table.keep("first of B", B);
    table.arrives("first of A");
    table.keep("refusal of B", B);
    table.arrives("first of B");
    table.keep("refusal of A", A);
    table.arrives("refusal of B");
    table.arrives("refusal of A");
    assert_eq!((table.sas(A), table.sas(B)), (1, 1));
}

/// ```text
///  A rekey ----\ /---- rekey    B
///               X
///    <---------/ \--------->
///    INVALID_KE_PAYLOAD ---\ /---- INVALID_KE_PAYLOAD
///                           X
///    <---------------------/ \--->
///    rekey ----\ /---- rekey    and so on, as in `collision`
/// ```
#[test]
fn collision_ke_invalid() {
    for (mut table, loser) in crossings_with(another_group, 1) {
        both_are_refused(&mut table);
        table.keep("rekey of A", A);
        table.keep("rekey of B", B);
        the_rest_of_a_collision(&mut table, loser);
    }
}

/// ```text
///    (both refused, as above)
///  A rekey ----\ /---- rekey    B
///    /----------+---- answer
///    |         / \
///    delete --/-\ |
///    <-------/  | |
///    TEMPORARY_FAILURE ---->
///               \---------->
///    <---------- nothing
/// ```
#[test]
fn collision_ke_invalid_delayed_retry() {
    for mut table in tables_with(another_group) {
        both_are_refused(&mut table);
        table.keep("rekey of A", A);
        table.keep("late rekey of B", B);
        table.arrives("rekey of A");
        table.carry(B);
        table.keep("delete", A);
        table.arrives("late rekey of B");
        table.carry(A);
        table.is_silent(B);
        table.arrives("delete");
        table.carry(B);
        table.assert_ike_is_of(A);
        table.settle();
    }
}

fn answer_is_late(table: &mut Table) {
    both_ask(table);
    table.arrives("rekey of A");
    table.keep("late answer", B);
    table.arrives("rekey of B");
    table.carry(A);
}

/// When B deletes the old IKE SA, A forgets what it has asked for on it (RFC 7296 §2.25.2); when B deletes its own, A goes on.
///
/// ```text
///  A rekey ----\ /---- rekey    B
///               X
///    <---------/ \--------->
///    answer ---\ /---- answer
///               X
///    /---------/ \--------->
///    | <--------- delete        of the old one, or of its own
///    | nothing ------------>
///    \--->
///    delete ---------->         of the old one, if B has lost
///    <---------- nothing
/// ```
#[test]
fn collision_delayed_response() {
    for (mut table, loser) in crossings() {
        answer_is_late(&mut table);
        table.exchange(B);
        table.arrives("late answer");
        if loser == A {
            table.is_silent(A);
        } else {
            table.exchange(A);
        }
        table.assert_ike_is_of(loser.other());
        table.settle();
    }
}

/// ```text
///    /---------/ \--------->    (see above)
///    | /--------- delete        of the old one, or of its own
///    \-|->
///    delete ---------->         of its own, or of the old one
///      \->
///    <---------- nothing
///    nothing ---------->
/// ```
#[test]
fn collision_delayed_response_delete() {
    for (mut table, loser) in crossings() {
        answer_is_late(&mut table);
        table.keep("late delete", B);
        table.arrives("late answer");
        table.keep("delete of A", A);
        table.arrives("delete of A");
        table.keep("answer to A", B);
        table.arrives("late delete");
        table.keep("answer to B", A);
        table.arrives("answer to A");
        table.arrives("answer to B");
        table.assert_ike_is_of(loser.other());
        table.settle();
    }
}

fn request_is_late(table: &mut Table) {
    table.rekeys_ike(A);
    table.keep("late rekey", A);
    table.rekeys_ike(B);
    table.exchange(B);
}

/// ```text
///  A rekey ----\                B
///    <---------|- rekey
///    answer ---|----------->
///    /---------|- delete
///    |         \----------->
///    <--------- TEMPORARY_FAILURE
///    \-->
///    nothing -------------->
/// ```
#[test]
fn collision_delayed_request() {
    for mut table in tables() {
        request_is_late(&mut table);
        table.keep("delete", B);
        table.arrives("late rekey");
        table.carry(B);
        table.is_silent(A);
        table.arrives("delete");
        table.carry(A);
        table.assert_ike_is_of(B);
        table.settle();
    }
}

/// The request arrives when B knows the old IKE SA no more.
///
/// ```text
///  A rekey ----\                B
///    <---------|- rekey
///    answer ---|----------->
///    <---------|- delete
///    nothing --|----------->
///              \----------->    nobody's
/// ```
#[test]
fn collision_delayed_request_more() {
    for mut table in tables() {
        request_is_late(&mut table);
        table.exchange(B);
        table.arrives("late rekey");
        table.is_silent(A);
        table.is_silent(B);
        table.assert_ike_is_of(B);
        table.settle();
    }
}

/// ```text
///  A rekey ----\                B
///    <---------|- rekey
///    answer ---|----------->
///    <---------|- delete
///    nothing -\|
///             |\----------->
///    <--------|- TEMPORARY_FAILURE
///             \------------>
/// ```
#[test]
fn collision_delayed_request_more_delete() {
    for mut table in tables() {
        request_is_late(&mut table);
        table.carry(B);
        table.keep("late answer", A);
        table.arrives("late rekey");
        table.carry(B);
        table.is_silent(A);
        table.arrives("late answer");
        table.assert_ike_is_of(B);
        table.settle();
    }
}

/// ```text
///  A rekey ----\                B
///    <---------|- rekey
///    answer ---|----------->
///    /---------|- delete
///    |         \----------->
///    | /------- TEMPORARY_FAILURE
///    \-|->
///    nothing -------------->
///      \->
/// ```
#[test]
fn collision_delayed_request_and_delete() {
    for mut table in tables() {
        request_is_late(&mut table);
        table.keep("late delete", B);
        table.arrives("late rekey");
        table.keep("refusal", B);
        table.arrives("late delete");
        table.carry(A);
        table.arrives("refusal");
        table.is_silent(A);
        table.assert_ike_is_of(B);
        table.settle();
    }
}

/// ```text
///  A rekey ---x                 B
///    <---------- rekey
///    answer --------------->
///    <---------- delete
///    nothing -------------->    A has forgotten its own
/// ```
#[test]
fn collision_dropped_request() {
    for mut table in tables() {
        table.rekeys_ike(A);
        table.lose(A);
        table.rekeys_ike(B);
        table.exchange(B);
        table.exchange(B);
        table.waits(secs(3));
        table.is_silent(A);
        table.is_silent(B);
        table.assert_ike_is_of(B);
        table.settle();
    }
}

/// The answer to the one who wins is lost for good: the other goes on, and the winner, too.
///
/// ```text
///  A rekey ----\ /---- rekey    B
///               X
///    <---------/ \--------->
///    answer ----------\
///    x---------------- answer
///    <---------------- delete   (when B has heard A's answer)
///    nothing ----------->
///    rekey, again ------>       only if the old IKE SA still is
/// ```
#[test]
fn collision_dropped_response() {
    for (mut table, loser) in crossings() {
        both_ask(&mut table);
        table.arrives("rekey of A");
        table.lose(B);
        table.arrives("rekey of B");
        table.carry(A);
        table.exchange(B);
        if loser == B {
            // A sends again, and gets the same answer.
            table.waits(secs(2));
            table.exchange(A);
            table.exchange(A);
        }
        table.assert_ike_is_of(loser.other());
        table.settle();
    }
}

/// ```text
///  A rekey -------->        B
///    <-------- answer
///    delete ------x
///    delete, again ---->
///    <-------- nothing
/// ```
#[test]
fn delete_dropped() {
    for mut table in tables() {
        table.rekeys_ike(A);
        table.exchange(A);
        table.lose(A);
        assert_eq!((table.sas(A), table.sas(B)), (2, 2));
        // On the new one work goes on.
        table.rekeys_child(A);
        table.exchange(A);
        table.exchange(A);
        table.waits(secs(2));
        table.exchange(A);
        table.assert_ike_is_of(A);
        table.settle();
    }
}

/// The deletion of the old IKE SA never arrives. A forgets it, and asks on the new one whether B is there: else B could never know
/// that the new one is in use, and would go back to the old one.
///
/// ```text
///  A rekey -------->        B
///    <-------- answer
///    delete ------x
///    delete ------x         again and again
///    nothing ------->       on the new one
///    <-------- nothing
/// ```
#[test]
fn delete_timeout() {
    for mut table in tables() {
        table.rekeys_ike(A);
        table.exchange(A);
        table.slower_packets();
        table.waits(secs(35));
        assert_eq!(table.sas(A), 2);
        table.says_last(A);
        table.waits(secs(3));
        assert_eq!(table.sas(A), 1);
        table.exchange(A);
        table.assert_ike_is_of(A);
        table.waits(secs(190));
        table.settle();
    }
}

/// B deletes the IKE SA that A is replacing: the association is over.
///
/// ```text
///  A rekey ----\ /---- delete   B
///               X
///    /---------/ \--------->
///    | <--------- TEMPORARY_FAILURE
///    \-->
///    nothing -------------->
/// ```
#[test]
fn collision_delete() {
    for refused_first in [false, true] {
        for mut table in tables() {
            table.rekeys_ike(A);
            table.keep("rekey", A);
            table.closes(B);
            table.keep("delete", B);
            table.arrives("rekey");
            table.keep("refusal", B);
            if refused_first {
                table.arrives("refusal");
                table.is_silent(A);
                table.arrives("delete");
            } else {
                table.arrives("delete");
                table.arrives("refusal");
            }
            table.carry(A);
            assert_b_closed(&mut table);
        }
    }
}

fn assert_b_closed(table: &mut Table) {
    let of_a = CloseKind::PeerClosed;
    let (client, gateway) = if table.is_client(A) { (of_a, CloseKind::Local) } else { (CloseKind::Local, of_a) };
    table.assert_over(client, gateway);
}

/// ```text
///  A rekey ----\ x---- delete   B
///              \----------->
///    <--------- TEMPORARY_FAILURE
///    <--------- delete, again
///    nothing -------------->
/// ```
#[test]
fn collision_delete_drop_delete() {
    for mut table in tables_with(|ends| ends.both(|settings| settings.retransmission.first = secs(1))) {
        table.closes(B);
        table.lose(B);
        table.rekeys_ike(A);
        table.exchange(A);
        table.waits(super::millis(1200));
        table.exchange(B);
        assert_b_closed(&mut table);
    }
}

/// ```text
///  A rekey ---x  /---- delete   B
///    <----------/
///    nothing -------------->
/// ```
#[test]
fn collision_delete_drop_rekey() {
    for mut table in tables() {
        table.rekeys_ike(A);
        table.lose(A);
        table.closes(B);
        table.exchange(B);
        assert_b_closed(&mut table);
    }
}

/// B wants to leave when it has just agreed to another IKE SA: both are deleted.
///
/// ```text
///  A rekey ------------->       B
///    /--------- answer
///    | <------- delete, of both
///    \-->
///    nothing ----------->
/// ```
#[test]
fn collision_delete_delayed_response() {
    for mut table in tables() {
        table.rekeys_ike(A);
        table.carry(A);
        table.keep("late answer", B);
        table.closes(B);
        assert_b_closed(&mut table);
    }
}

/// A child and the IKE SA are due at one end at once, and at the other: all four come to it.
#[test]
fn collision_of_everything() {
    for mut table in tables() {
        let (child, sa) = (table.child(A), table.established(A).sas[0].ike.our_spi());
        for part in [A, B] {
            table.rekeys_child(part);
            table.rekeys_ike(part);
        }
        table.settle();
        assert!(table.child(A) != child && table.established(A).sas[0].ike.our_spi() != sa);
    }
}
