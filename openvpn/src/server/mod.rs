//! The answering end: one [`Server`] in front, and one [`ServerSession`] for each client.
//!
//! ```text
//!  UDP   reset ──▶ hear ──▶ our reset, its session id a cookie; nothing is remembered
//!        the client's next packet ──▶ hear ──▶ the cookie is right ──▶ ServerSession
//!  TCP   reset ──▶ hear ──▶ ServerSession
//! ```

mod client;
mod config;
mod cookie;
mod door;
mod error;
mod half_open;
mod judging;
mod leaving;
mod listener;
mod push;
mod routes;
mod session;
mod slot;

pub use self::{
    config::{
        ClientAnchors, ClientCertificates, ClientCheck, ExitNotice, ServerConfig, ServerConfigBuilder,
        ServerConfigError, ServerLimits, ServerSettings, ServerWrap,
    },
    error::ServerSessionError,
    listener::Server,
    session::ServerSession,
};
