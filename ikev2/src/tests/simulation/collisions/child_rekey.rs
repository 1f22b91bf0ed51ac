//! The child is replaced (RFC 7296 §1.3.3, §2.8.1, §2.25.1). In the diagrams `rekey` is CREATE_CHILD_SA { N(REKEY_SA), … }, `delete`
//! is INFORMATIONAL { D(SPI) }.
//!
//! Not here: what has "multi_ke" or "mixed" in its name, for RFC 9370 is not supported.

use adit_tunnel::CloseKind;

use super::{A, B, Part, Table, another_group, crossings, crossings_with, secs, tables, tables_with};
use crate::exchange::Wanted;

/// ```text
///  A rekey -------->        B
///    <-------- answer
///    delete ------->
///    <-------- delete
/// ```
#[test]
fn regular() {
    for mut table in tables() {
        table.rekeys_child(A);
        table.exchange(A);
        assert_eq!((table.children(A), table.children(B)), (2, 2));
        table.exchange(A);
        assert_eq!((table.children(A), table.children(B)), (1, 1));
        table.assert_child_is_of(A);
        table.settle();
    }
}

/// ```text
///  A rekey -------->                B
///    <-------- INVALID_KE_PAYLOAD
///    rekey -------->
///    <-------- answer
///    delete ------->
///    <-------- delete
/// ```
#[test]
fn regular_ke_invalid() {
    for mut table in tables_with(another_group) {
        table.rekeys_child(A);
        table.exchange(A);
        assert_eq!((table.children(A), table.children(B)), (1, 1));
        table.exchange(A);
        assert_eq!((table.children(A), table.children(B)), (2, 2));
        table.exchange(A);
        table.assert_child_is_of(A);
        table.settle();
    }
}

/// The old child is due at B, too, when A has replaced it.
///
/// ```text
///  A rekey -------->        B
///    <-------- answer
///    delete ----\
///                \          the old child is due
///                 --->
///    <-------- delete
/// ```
#[test]
fn responder_ignore_soft_expire() {
    for mut table in tables() {
        table.rekeys_child(A);
        table.exchange(A);
        table.keep("delete", A);
        table.rekeys_child(B);
        table.is_silent(B);
        table.arrives("delete");
        table.carry(B);
        table.is_silent(B);
        table.assert_child_is_of(A);
        table.settle();
    }
}

/// The old child is deleted much too late: B has forgotten it by itself.
///
/// ```text
///  A rekey -------->        B
///    <-------- answer
///    delete ----\
///                \          three minutes
///                 --->
///    <-------- nothing to delete
/// ```
#[test]
fn responder_handle_hard_expire() {
    for mut table in tables_with(|ends| {
        ends.both(|settings| {
            (settings.retransmission.first, settings.retransmission.limit) = (secs(60), secs(60));
            settings.retransmission.tries = 20;
        });
    }) {
        table.rekeys_child(A);
        table.exchange(A);
        table.slower_packets();
        table.waits(secs(200));
        assert_eq!((table.children(A), table.children(B)), (2, 1));
        let delete = table.says_last(A);
        table.hears(delete);
        table.carry(B);
        table.assert_child_is_of(A);
        table.settle();
    }
}

/// B, which did not begin, deletes the old child all the same.
///
/// ```text
///  A rekey -------->        B
///    <-------- answer
///    delete ----\ /---- delete
///                X
///    <----------/ \------->
///    nothing ---\ /---- nothing to delete
///                X
///    <----------/ \------->
/// ```
#[test]
fn responder_delete() {
    for mut table in tables() {
        table.rekeys_child(A);
        table.exchange(A);
        table.keep("delete of A", A);
        table.deletes_child(B);
        table.keep("delete of B", B);
        table.arrives("delete of A");
        table.keep("nothing of B", B);
        table.arrives("delete of B");
        table.keep("nothing of A", A);
        table.arrives("nothing of A");
        table.arrives("nothing of B");
        table.assert_child_is_of(A);
        table.settle();
    }
}

/// ```text
///  A rekey -------->        B has lost the child
///    <-------- CHILD_SA_NOT_FOUND
///    create ------->        (the client does)
///    <-------- answer
/// ```
#[test]
fn responder_lost_sa() {
    for mut table in tables() {
        table.rekeys_child(A);
        let lost = table.child(B);
        table.loses(B, lost);
        table.exchange(A);
        assert_eq!((table.children(A), table.children(B)), (0, 0));
        if table.is_client(B) {
            table.wants(B, Wanted::CreateChild);
        }
        table.settle_after_a_gap();
    }
}

/// B deletes the new child, of all things. The client makes yet another.
///
/// ```text
///  A rekey -------->        B
///    <-------- answer
///    delete ----\ /---- delete of the new one
///                X
///    <----------/ \------->
///    ------------------->
///    <-------------------
///    create ------->        (the client does)
///    <-------- answer
/// ```
#[test]
fn responder_incorrect_delete() {
    for mut table in tables() {
        table.rekeys_child(A);
        table.exchange(A);
        table.keep("delete of A", A);
        let new = table.established(B).children.iter().find(|child| !child.is_in_use()).unwrap().spi_in;
        table.wants(B, Wanted::DeleteChild(new));
        table.keep("delete of B", B);
        table.arrives("delete of A");
        table.arrives("delete of B");
        table.settle_after_a_gap();
    }
}

/// ```text
///  A rekey -------->        B
///    <-------- answer
///    delete ---x
///    delete ---x            again and again
/// ```
#[test]
fn delete_timeout() {
    for mut table in tables() {
        table.rekeys_child(A);
        table.exchange(A);
        table.slower_packets();
        table.waits(secs(150));
        table.assert_over(CloseKind::TimedOut, CloseKind::TimedOut);
    }
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
///    delete ---\ /---- delete
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

fn both_ask(table: &mut Table) {
    table.rekeys_child(A);
    table.keep("rekey of A", A);
    table.rekeys_child(B);
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
    assert_eq!((table.children(A), table.children(B)), (3, 3));
    table.arrives("delete of A");
    table.carry(B);
    table.arrives("delete of B");
    table.carry(A);
    table.assert_child_is_of(loser.other());
    assert_eq!((table.children(A), table.children(B)), (1, 1));
    table.settle();
}

/// ```text
///  A rekey ----\ /---- rekey    B
///               X
///    <---------/ \--------->
///    answer ---\ /---- answer
///               X
///    /---------/ \--------->
///    | <--------- delete        of the old one, or of its own
///    | delete -------->
///    \--->
///    delete ---------->         of its own, or of the old one
///    <---------- delete
/// ```
#[test]
fn collision_delayed_response() {
    for (mut table, loser) in crossings() {
        answer_is_late(&mut table);
        table.exchange(B);
        table.arrives("late answer");
        table.exchange(A);
        table.assert_child_is_of(loser.other());
        table.settle();
    }
}

/// B's answer to A is still under way.
fn answer_is_late(table: &mut Table) {
    both_ask(table);
    table.arrives("rekey of A");
    table.keep("late answer", B);
    table.arrives("rekey of B");
    table.carry(A);
}

/// Both answers are under way while both ends sleep: so long that each goes on with what the other made, before it hears who has won.
///
/// ```text
///  A rekey ----\ /---- rekey    B
///               X
///    <---------/ \--------->
///    answer ---\ /---- answer
///               X
///    (an hour) / \
///    rekey, again ---x
///            x--- rekey, again
///    <---------/ \--------->
///    delete ---\ /---- delete   of the old one by the winner, of its own by the loser
///               X
///    <---------/ \--------->
/// ```
#[test]
fn collision_delayed_responses_suspended() {
    for (mut table, loser) in crossings() {
        both_ask(&mut table);
        table.arrives("rekey of A");
        table.keep("answer of B", B);
        table.arrives("rekey of B");
        table.keep("answer of A", A);
        table.world.suspend(secs(3600));
        table.packets_travel();
        table.says_last(A);
        table.says_last(B);
        let taken_over = [A, B].map(|part| table.child(part));
        assert_eq!((table.children(A), table.children(B)), (2, 2));
        table.arrives("answer of A");
        table.arrives("answer of B");
        let new = [A, B].map(|part| table.child(part));
        let winner = loser.other() as usize;
        assert!(new[winner] != taken_over[winner] && new[loser as usize] == taken_over[loser as usize]);
        table.assert_child_is_of(loser.other());
        // What each sealed for the other before it heard.
        table.settle_after_losses();
    }
}

/// The same, and B's deletion is late, too.
///
/// ```text
///    /---------/ \--------->    (see above)
///    | /--------- delete
///    \-|->
///    delete ---------->
///      \->
///    <---------- delete
///    delete ---------->
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
        table.assert_child_is_of(loser.other());
        table.settle();
    }
}

/// A's request is still under way when B has its answer.
fn request_is_late(table: &mut Table) {
    table.rekeys_child(A);
    table.keep("late rekey", A);
    table.rekeys_child(B);
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
///    delete --------------->
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
        table.assert_child_is_of(B);
        table.settle();
    }
}

/// ```text
///  A rekey ----\                B
///    <---------|- rekey
///    answer ---|----------->
///    <---------|- delete
///    delete ---|----------->
///              \----------->
///    <--------- CHILD_SA_NOT_FOUND
/// ```
#[test]
fn collision_delayed_request_more() {
    for mut table in tables() {
        request_is_late(&mut table);
        table.exchange(B);
        table.arrives("late rekey");
        table.carry(B);
        table.is_silent(A);
        table.assert_child_is_of(B);
        table.settle();
    }
}

/// ```text
///  A rekey ----\                B
///    <---------|- rekey
///    answer ---|----------->
///    <---------|- delete
///    delete --\|
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
        table.assert_child_is_of(B);
        table.settle();
    }
}

/// ```text
///  A rekey ---x                 B
///    <---------- rekey
///    answer --------------->
///    <---------- delete
///    delete --------------->
///    rekey ---------------->
///    <--------- CHILD_SA_NOT_FOUND
/// ```
#[test]
fn collision_dropped_request() {
    for mut table in tables() {
        table.rekeys_child(A);
        table.lose(A);
        table.rekeys_child(B);
        table.exchange(B);
        table.exchange(B);
        table.waits(secs(2));
        table.exchange(A);
        table.is_silent(A);
        table.assert_child_is_of(B);
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
///    delete --------------->
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
        table.assert_child_is_of(B);
        table.settle();
    }
}

/// Both begin with a group that the other does not take.
///
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

/// Both ends have heard that they need another group.
fn both_are_refused(table: &mut Table) {
    table.rekeys_child(A);
    table.keep("first of A", A);
    table.rekeys_child(B);
    table.keep("first of B", B);
    table.arrives("first of A");
    table.keep("refusal of B", B);
    table.arrives("first of B");
    table.keep("refusal of A", A);
    table.arrives("refusal of B");
    table.arrives("refusal of A");
    assert_eq!((table.children(A), table.children(B)), (1, 1));
}

/// The same, but B's second try is late.
///
/// ```text
///    rekey ----\ /---- rekey    B
///               X
///    /---------/ \--------->
///    | <---------- answer
///    | delete --\
///    \-->       |
///    TEMPORARY_FAILURE ---->
///               \---------->
///    <---------- delete
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
        table.assert_child_is_of(A);
        table.settle();
    }
}

/// The loser deletes its own child, and then the old one as well, which is the winner's to delete.
///
/// ```text
///    (as in `collision`, until both have their answers)
///  A delete ---\ /---- delete   B, the loser
///               X
///    /---------/ \----->
///    \--> answer ------>
///    <----------- delete        the old one
///    nothing ---------->
///    <---------- nothing        to A's deletion
/// ```
#[test]
fn collision_responder_incorrect_delete() {
    for (mut table, loser) in crossings() {
        both_ask(&mut table);
        table.arrives("rekey of A");
        table.keep("answer of B", B);
        table.arrives("rekey of B");
        table.carry(A);
        let winner = loser.other();
        if loser == A {
            table.arrives("answer of B");
            table.keep("delete of the winner", B);
        } else {
            table.keep("its own", B);
            table.arrives("answer of B");
            table.keep("delete of the winner", A);
        }
        if loser == A {
            table.keep("its own", A);
        }
        table.deletes_child(loser);
        table.arrives("its own");
        table.carry(winner);
        // Now the old one.
        table.carry(loser);
        table.keep("nothing", winner);
        table.arrives("delete of the winner");
        table.carry(loser);
        table.arrives("nothing");
        table.assert_child_is_of(winner);
        table.settle();
    }
}

/// B deletes the child that A is replacing. The client makes another.
///
/// ```text
///  A rekey ----\ /---- delete   B
///               X
///    /---------/ \--------->
///    | <--------- TEMPORARY_FAILURE
///    \-->
///    delete --------------->
///    create --------------->    (the client does)
///    <---------- answer
/// ```
#[test]
fn collision_delete() {
    for refused_first in [false, true] {
        for mut table in tables() {
            table.rekeys_child(A);
            table.keep("rekey", A);
            table.deletes_child(B);
            table.keep("delete", B);
            table.arrives("rekey");
            table.keep("refusal", B);
            if refused_first {
                table.arrives("refusal");
                table.arrives("delete");
            } else {
                table.arrives("delete");
                table.arrives("refusal");
            }
            table.settle_after_a_gap();
        }
    }
}

/// ```text
///  A rekey ----\ x---- delete   B
///              \----------->
///    <--------- TEMPORARY_FAILURE
///    <---------- delete
///    delete --------------->
///    create --------------->    (the client does)
///    <---------- answer
/// ```
#[test]
fn collision_delete_drop_delete() {
    for mut table in tables() {
        table.deletes_child(B);
        table.lose(B);
        table.rekeys_child(A);
        table.exchange(A);
        table.waits(secs(2));
        table.settle_after_a_gap();
    }
}

/// ```text
///  A rekey ---x  /---- delete   B
///    <----------/
///    delete --------------->
///    rekey ---------------->
///    <--------- CHILD_SA_NOT_FOUND
///    create --------------->    (the client does)
///    <---------- answer
/// ```
#[test]
fn collision_delete_drop_rekey() {
    for mut table in tables() {
        table.rekeys_child(A);
        table.lose(A);
        table.deletes_child(B);
        table.exchange(B);
        table.settle_after_a_gap();
    }
}

/// B uses the new child before A knows it: what it seals meanwhile is lost, and nothing else.
///
/// ```text
///  A rekey ---------------->    B
///    /----------- answer
///    | <--------- delete        the old one
///    | delete ------------->
///    \-->
/// ```
#[test]
fn collision_delete_delayed_response() {
    for mut table in tables() {
        table.rekeys_child(A);
        table.carry(A);
        table.keep("late answer", B);
        table.deletes_child(B);
        table.exchange(B);
        table.arrives("late answer");
        table.assert_child_is_of(A);
        table.settle_after_losses();
    }
}

/// The same, and B replaces the new child before A knows it: it has to wait until A does.
///
/// ```text
///  A rekey ---------------->    B
///    /----------- answer
///    | <--------- delete        the old one
///    | delete ------------->
///    | <--------- rekey         the new one
///    | TEMPORARY_FAILURE -->
///    \-->
///    <----------- rekey
/// ```
#[test]
fn collision_delete_delayed_response_rekey() {
    for mut table in tables() {
        table.rekeys_child(A);
        table.carry(A);
        table.keep("late answer", B);
        table.deletes_child(B);
        table.exchange(B);
        table.rekeys_child(B);
        table.exchange(B);
        table.arrives("late answer");
        table.assert_child_is_of(A);
        let (of_a, of_b) = (table.child(A), table.child(B));
        table.settle_after_losses();
        assert!(table.child(A) != of_a && table.child(B) != of_b, "B has come to it");
    }
}

/// Both ends sleep over the time to try again: hours after the first refusal the second one is no reason to leave.
///
/// ```text
///  A rekey ----\ /---- rekey of the IKE SA    B
///               X
///    <---------/ \------------------------>
///    TEMPORARY_FAILURE ---\ /---- TEMPORARY_FAILURE
///                          X
///    <--------------------/ \------------->
///    (an hour later, the same again)
/// ```
#[test]
fn collision_ike_rekey_suspended() {
    for mut table in tables() {
        table.rekeys_child(A);
        table.keep("rekey", A);
        table.rekeys_ike(B);
        table.keep("rekey of the IKE SA", B);
        table.arrives("rekey");
        table.keep("refusal of B", B);
        table.arrives("rekey of the IKE SA");
        table.keep("refusal of A", A);
        table.arrives("refusal of B");
        table.arrives("refusal of A");
        table.world.suspend(secs(1800));
        table.settle();
    }
}

/// While A replaces the child, B replaces the IKE SA. Both have to wait, and both come to it.
///
/// ```text
///  A rekey ----\ /---- rekey of the IKE SA    B
///               X
///    <---------/ \------------------------>
///    TEMPORARY_FAILURE ---\ /---- TEMPORARY_FAILURE
///                          X
///    <--------------------/ \------------->
/// ```
#[test]
fn collision_ike_rekey() {
    for mut table in tables() {
        let (child, sa) = (table.child(A), table.established(A).sas[0].ike.our_spi());
        table.rekeys_child(A);
        table.keep("rekey", A);
        table.rekeys_ike(B);
        table.keep("rekey of the IKE SA", B);
        table.arrives("rekey");
        table.keep("refusal of B", B);
        table.arrives("rekey of the IKE SA");
        table.keep("refusal of A", A);
        table.arrives("refusal of B");
        table.arrives("refusal of A");
        table.is_silent(A);
        table.is_silent(B);
        table.settle();
        assert!(table.child(A) != child && table.established(A).sas[0].ike.our_spi() != sa);
    }
}

/// ```text
///  A rekey ----\ /---- delete of the IKE SA   B
///               X
///    <---------/ \------------------------>
///    nothing ----------------------------->
/// ```
#[test]
fn collision_ike_delete() {
    for mut table in tables() {
        table.rekeys_child(A);
        table.keep("rekey", A);
        table.closes(B);
        table.keep("delete", B);
        table.arrives("rekey");
        table.keep("refusal", B);
        table.arrives("delete");
        table.carry(A);
        table.arrives("refusal");
        let (client, gateway) = if table.is_client(A) {
            (CloseKind::PeerClosed, CloseKind::Local)
        } else {
            (CloseKind::Local, CloseKind::PeerClosed)
        };
        table.assert_over(client, gateway);
    }
}
