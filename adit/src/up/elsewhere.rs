//! Systems without a device of ours.

use super::{Down, TunOptions};
use crate::{
    error::{Error, Exit},
    plan::ConnectionPlan,
};

pub(crate) async fn life(_: ConnectionPlan, options: &TunOptions) -> Result<Exit, Error> {
    options.check()?;
    Err(unsupported())
}

pub(crate) fn down(_: &Down) -> Result<Exit, Error> {
    Err(unsupported())
}

fn unsupported() -> Error {
    Error::new(Exit::Usage, "TUN devices are supported on Linux only").hint("`adit forward` needs none")
}
