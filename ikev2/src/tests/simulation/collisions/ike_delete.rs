//! The IKE SA is deleted, and everything with it (RFC 7296 §1.4.1).

use adit_tunnel::CloseKind::{self, Local, PeerClosed};

use super::{A, B, Table, secs, tables};

/// A has closed it of its own will; how that looks to the client, and to the gateway.
fn closed_by_a(table: &Table) -> (CloseKind, CloseKind) {
    if table.is_client(A) { (Local, PeerClosed) } else { (PeerClosed, Local) }
}

/// ```text
///  A delete ------->       B
///    <------- nothing
/// ```
#[test]
fn regular() {
    for mut table in tables() {
        table.closes(A);
        table.exchange(A);
        table.is_silent(A);
        table.is_silent(B);
        let (client, gateway) = closed_by_a(&table);
        table.assert_over(client, gateway);
    }
}

/// ```text
///  A delete ---\ /---- delete   B
///               X
///    <---------/ \--------->
///    nothing --\ /---- nothing
///               X
///    <---------/ \--------->
/// ```
#[test]
fn collision() {
    for mut table in tables() {
        table.closes(A);
        table.keep("delete of A", A);
        table.closes(B);
        table.keep("delete of B", B);
        table.arrives("delete of A");
        table.keep("answer of B", B);
        table.arrives("delete of B");
        table.keep("answer of A", A);
        table.arrives("answer of B");
        table.arrives("answer of A");
        table.is_silent(A);
        table.is_silent(B);
        table.assert_over(Local, Local);
    }
}

/// ```text
///  A delete ---x            B
///    delete ------->
///    <------- nothing
/// ```
#[test]
fn delete_dropped() {
    // A farewell lasts as long as the first try, here.
    for mut table in super::tables_with(|ends| ends.both(|settings| settings.retransmission.first = secs(1))) {
        table.closes(A);
        table.lose(A);
        table.waits(secs(1));
        table.exchange(A);
        let (client, gateway) = closed_by_a(&table);
        table.assert_over(client, gateway);
    }
}

/// B has nothing left to answer with; A does not wait for ever.
///
/// ```text
///  A delete ------->        B
///         x--- nothing
///    delete ------->
/// ```
#[test]
fn answer_dropped() {
    for mut table in tables() {
        table.closes(A);
        table.carry(A);
        table.lose(B);
        let (client, gateway) = closed_by_a(&table);
        table.assert_over(client, gateway);
    }
}
