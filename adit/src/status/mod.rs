//! What can be seen from outside: one snapshot, for `adit status`, the metrics and the probes.

mod model;
mod text;
mod timestamp;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use self::{
    model::{
        ConnectionStatus, ForwardStatus, GatewayState, GatewayStatus, LastError, Memory, ProcessStatus, Readiness,
        Rekeys, State, UdpSocket,
    },
    text::{details, table},
    timestamp::Timestamp,
};
