//! The TUN device of a connection: at the tunnel of the gateway that is active, and put by while there is none.

use std::sync::Arc;

use adit_tunnel::NetworkConfig;

use crate::{shared::Shared, tun::Port};

/// Where the device is.
#[derive(Debug, Default)]
pub(super) struct Seat {
    /// While no gateway is active. What the kernel sends waits in its queue.
    port: Option<Port>,
    /// The client that has it. Kept, because the device would go with the last handle of it.
    holder: Option<Arc<Shared>>,
}

impl Seat {
    /// Another device takes the place of the one before.
    #[cfg(target_os = "linux")]
    pub(super) fn put(&mut self, port: Port) {
        self.clear();
        self.port = Some(port);
    }

    /// It is removed.
    #[cfg(target_os = "linux")]
    pub(super) fn clear(&mut self) {
        self.follow(None, None);
        self.port = None;
    }

    /// The device goes to this client, whose tunnel has this network.
    pub(super) fn follow(&mut self, to: Option<&Arc<Shared>>, network: Option<&NetworkConfig>) {
        let stays = self.holder.as_ref().map(|holder| holder.id()) == to.map(|to| to.id());
        if stays && self.port.is_none() {
            return;
        }
        if let Some(before) = self.holder.take() {
            // Without one it was lost there, and that was told.
            self.port = before.inside().lock().device.take();
        }
        let Some(to) = to else { return };
        let Some(mut port) = self.port.take() else { return };
        if let Some(network) = network {
            port.set_tcp_mtu(network.tcp_mtu);
        }
        let inside = to.inside();
        let mut inner = inside.lock();
        inner.device = Some(port);
        // Who waits for the kernel's packets is this client's task from now on.
        inner.wake_driver();
        self.holder = Some(Arc::clone(to));
    }
}
