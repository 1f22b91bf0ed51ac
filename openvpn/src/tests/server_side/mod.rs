//! The real client against the real server, one behaviour a file.

mod certificates;
mod ciphers;
mod closing;
mod config;
mod cookies;
mod derivations;
mod float;
mod handshake;
mod hostile;
mod keepalive;
mod limits;
mod login;
mod messages;
mod net;
mod renegotiation;
mod slots;
mod wraps;
