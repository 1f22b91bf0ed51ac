//! The answering end.

#[expect(dead_code, reason = "the server itself comes next")]
mod config;

pub use self::config::{
    ClientAnchors, ClientCertificates, ClientCheck, ExitNotice, ServerConfig, ServerConfigBuilder, ServerConfigError,
    ServerLimits, ServerSettings, ServerWrap,
};
