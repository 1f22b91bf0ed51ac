//! Entry points for fuzzers: each takes any bytes and must neither panic nor take long.

mod esp_open;
mod message;
mod responder;
mod session;

/// Takes any bytes.
pub type Target = fn(&[u8]);

/// Every target with its name, which is also the name of its corpus in `testdata/fuzz`.
pub const TARGETS: &[(&str, Target)] = &[
    ("eap", eap),
    ("eap_mschapv2", eap_mschapv2),
    ("eap_server", eap_server),
    ("esp_open", esp_open),
    ("ike_message", ike_message),
    ("ike_payloads_inside_sk", ike_payloads_inside_sk),
    ("responder", responder),
    ("session", session),
];

pub use self::{
    esp_open::esp_open,
    message::{ike_message, ike_payloads_inside_sk},
    responder::responder,
    session::session,
};
pub use crate::eap::{
    fuzzing::{eap, eap_mschapv2},
    server::fuzzing::eap_server,
};

#[cfg(test)]
mod tests;
