//! The child is deleted (RFC 7296 §1.4.1). A client without one makes another; at a gateway the client is given time for that.

use adit_tunnel::CloseKind;

use super::{A, B, secs, tables};
use crate::exchange::Wanted;

/// ```text
///  A delete ------->        B
///    <-------- delete
///    create ------->        (the client does)
///    <-------- answer
/// ```
#[test]
fn regular() {
    for mut table in tables() {
        let old = table.child(A);
        table.deletes_child(A);
        table.carry(A);
        // The client as B asks for another at once.
        let answer = table.keep_first(B);
        table.hears(answer);
        assert_eq!((table.children(A), table.children(B)), (0, 0));
        table.settle_after_a_gap();
        assert_ne!(table.child(A), old);
    }
}

/// ```text
///  A delete ---\ /---- delete   B
///               X
///    <---------/ \--------->
///    nothing --\ /---- nothing
///               X
///    <---------/ \--------->
///    create --------------->    (the client does)
///    <---------- answer
/// ```
#[test]
fn collision() {
    for mut table in tables() {
        table.deletes_child(A);
        table.keep("delete of A", A);
        table.deletes_child(B);
        table.keep("delete of B", B);
        table.arrives("delete of A");
        let of_b = table.keep_first(B);
        table.arrives("delete of B");
        let of_a = table.keep_first(A);
        table.hears(of_b);
        table.hears(of_a);
        table.settle_after_a_gap();
    }
}

/// What the gateway deletes is gone for the client, which asks for another before the gateway has heard that.
///
/// ```text
///  gateway delete ------->      client
///    /------------ delete
///    | <---------- create
///    | answer ----------->
///    \-->
/// ```
#[test]
fn collision_create() {
    for mut table in tables().filter(|table| table.is_client(B)) {
        table.deletes_child(A);
        table.carry(A);
        let late = table.keep_first(B);
        table.keep("create", B);
        table.arrives("create");
        table.carry(A);
        table.hears(late);
        table.settle_after_a_gap_with_losses();
    }
}

/// ```text
///  A delete ---\ /---- rekey of the IKE SA    B
///               X
///    <---------/ \------------------------>
///    TEMPORARY_FAILURE ---\ /---- delete
///                          X
///    <--------------------/ \------------->
///    create ------------------------------>   (the client does)
/// ```
#[test]
fn collision_ike_rekey() {
    for mut table in tables() {
        let sa = table.established(A).sas[0].ike.our_spi();
        table.deletes_child(A);
        table.keep("delete", A);
        table.rekeys_ike(B);
        table.keep("rekey", B);
        table.arrives("delete");
        table.keep("answer", B);
        table.arrives("rekey");
        table.keep("refusal", A);
        table.arrives("answer");
        table.arrives("refusal");
        table.settle_after_a_gap();
        assert_ne!(table.established(A).sas[0].ike.our_spi(), sa);
    }
}

/// The old IKE SA goes before the answer to B's deletion of the child has come through it: B deletes it again, on the new one.
///
/// ```text
///  A rekey of the IKE SA ------>      B
///    <------------------ answer
///    delete of the old --\ /---- delete of the child, on the old one
///    nothing -----------+-X-->        on the new one
///    <------------------|/
///    delete ------------|---x
///                       \---->
///    <------------------ delete, on the new one
/// ```
#[test]
fn collision_ike_rekey_delayed() {
    for mut table in tables() {
        table.rekeys_ike(A);
        table.carry(A);
        table.keep("answer", B);
        table.deletes_child(B);
        table.keep("delete of the child", B);
        table.arrives("answer");
        table.keep("delete of the old", A);
        table.wants(A, Wanted::Liveness);
        table.carry(A);
        table.lose(B);
        table.arrives("delete of the child");
        // A client as A asks for another child, too, but its window is full.
        table.lose(A);
        table.arrives("delete of the old");
        table.settle_after_a_gap();
    }
}

/// ```text
///  A delete ---\ /---- delete of the IKE SA   B
///               X
///    <---------/ \------------------------>
///    nothing --\ /---- delete
///               X
///    <---------/ \------------------------>
/// ```
#[test]
fn collision_ike_delete() {
    for mut table in tables() {
        table.deletes_child(A);
        table.keep("delete", A);
        table.closes(B);
        table.keep("delete of the IKE SA", B);
        table.arrives("delete");
        table.keep("answer", B);
        table.arrives("delete of the IKE SA");
        table.carry(A);
        table.arrives("answer");
        let of_a = CloseKind::PeerClosed;
        let (client, gateway) = if table.is_client(A) { (of_a, CloseKind::Local) } else { (CloseKind::Local, of_a) };
        table.assert_over(client, gateway);
    }
}

/// ```text
///  A delete ------x         B
///    delete, again ---->
///    <-------- delete
///    create ------->        (the client does)
/// ```
#[test]
fn dropped() {
    for mut table in tables() {
        table.deletes_child(A);
        table.lose(A);
        table.waits(secs(2));
        table.carry(A);
        let answer = table.keep_first(B);
        table.hears(answer);
        table.settle_after_a_gap();
    }
}
