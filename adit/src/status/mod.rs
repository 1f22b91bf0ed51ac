//! What can be seen from outside: one snapshot, for `adit status`, the metrics and the probes.

mod model;
#[cfg(any(unix, test))]
mod text;
mod timestamp;

#[cfg(test)]
pub(crate) mod tests;

#[cfg(any(unix, test))]
pub(crate) use self::text::{details, table};
pub(crate) use self::{
    model::{
        ConnectionStatus, DeviceState, DeviceStatus, ForwardStatus, GatewayState, GatewayStatus, LastError, Memory,
        ProbeState, ProbeStatus, ProcessStatus, Readiness, Redundancy, Rekeys, State, UdpSocket,
    },
    timestamp::Timestamp,
};
