//! OpenVPN for the driver.

use std::sync::Arc;

use openvpn::Config;

/// Makes OpenVPN tunnels of one configuration.
#[derive(Debug)]
pub struct OpenVpn {
    config: Arc<Config>,
}
