//! `-L`: each local connection has one inside the tunnel.

use adit_driver::Target;

use super::{outside::Outside, proxy_protocol, through::Through};

/// Where the connections of a forward go.
#[derive(Debug, Clone)]
pub(super) struct Local {
    pub(super) through: Through,
    pub(super) to: Target,
    /// A PROXY header goes first.
    pub(super) proxy_protocol: bool,
}

impl Local {
    pub(super) async fn session(self, mut outside: Outside) {
        let peer = outside.peer();
        let Ok(inside) = self.through.dial_for(&outside, &self.to).await else { return };
        if self.proxy_protocol
            && let Err(error) = inside.write(&proxy_protocol::header(peer.address(), outside.local())).await
        {
            tracing::debug!(%peer, "ended by {error}");
            return;
        }
        if self.through.carry(peer, &mut outside, inside).await.is_ok() {
            outside.keep_the_last_bytes();
        }
    }
}
