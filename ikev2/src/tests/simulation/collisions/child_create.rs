//! A child is made where there is none (RFC 7296 §1.3.1): by the client, A here. The gateway never asks for one.

use adit_tunnel::CloseKind;

use super::{A, B, Table, secs, tables};

/// The client has just deleted the only child, and asks for another: its request has a name.
fn asks(table: &mut Table) {
    table.deletes_child(A);
    table.exchange(A);
    table.keep("create", A);
}

fn of_clients() -> impl Iterator<Item = Table> {
    tables().filter(|table| table.is_client(A))
}

/// ```text
///  A create ------->        B
///    <-------- answer
/// ```
#[test]
fn regular() {
    for mut table in of_clients() {
        let addresses = table.world.clients[0].driven.network.clone().unwrap().addresses;
        asks(&mut table);
        table.arrives("create");
        table.carry(B);
        assert_eq!((table.children(A), table.children(B)), (1, 1));
        assert_eq!(table.world.clients[0].driven.network.clone().unwrap().addresses, addresses);
        table.settle_after_a_gap_with_losses();
    }
}

/// ```text
///  A create ------->        B
///    x-------- answer
///    create, again ------->
///    <-------- answer, again
/// ```
#[test]
fn dropped_response() {
    for mut table in of_clients() {
        asks(&mut table);
        table.arrives("create");
        table.lose(B);
        table.waits(secs(2));
        table.exchange(A);
        assert_eq!((table.children(A), table.children(B)), (1, 1));
        table.settle_after_a_gap_with_losses();
    }
}

/// ```text
///  A create ---\ /---- rekey of the IKE SA    B
///               X
///    <---------/ \------------------------>
///    TEMPORARY_FAILURE ---\ /---- TEMPORARY_FAILURE
///                          X
///    <--------------------/ \------------->
/// ```
#[test]
fn collision_ike_rekey() {
    for mut table in of_clients() {
        let sa = table.established(A).sas[0].ike.our_spi();
        asks(&mut table);
        table.rekeys_ike(B);
        table.keep("rekey", B);
        table.arrives("create");
        table.keep("refusal of B", B);
        table.arrives("rekey");
        table.keep("refusal of A", A);
        table.arrives("refusal of A");
        table.arrives("refusal of B");
        table.settle_after_a_gap();
        assert_ne!(table.established(A).sas[0].ike.our_spi(), sa);
    }
}

/// ```text
///  A create ---\ /---- delete of the IKE SA   B
///               X
///    <---------/ \------------------------>
///    nothing --\ /---- TEMPORARY_FAILURE
///               X
///    <---------/ \------------------------>
/// ```
#[test]
fn collision_ike_delete() {
    for mut table in of_clients() {
        asks(&mut table);
        table.closes(B);
        table.keep("delete", B);
        table.arrives("create");
        table.keep("refusal", B);
        table.arrives("delete");
        table.carry(A);
        table.arrives("refusal");
        table.assert_over(CloseKind::PeerClosed, CloseKind::Local);
    }
}

/// ```text
///  A create ------->        B
///    /-------- answer
///    | <------ delete       of the new one
///    | delete ----->
///    \-->
/// ```
#[test]
fn collision_delete() {
    for mut table in of_clients() {
        asks(&mut table);
        table.arrives("create");
        table.keep("late answer", B);
        table.deletes_child(B);
        table.exchange(B);
        table.arrives("late answer");
        table.settle_after_a_gap_with_losses();
    }
}
