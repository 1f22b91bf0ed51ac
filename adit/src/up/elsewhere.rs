//! Systems without a device of ours.

use super::{Down, options::TunOptions};
use crate::{
    config::Configuration,
    error::{Error, Exit},
    plan::ForwardPlan,
};

pub(crate) async fn life(
    _: Configuration,
    options: &TunOptions,
    _: &[ForwardPlan],
    _: std::time::Duration,
) -> Result<Exit, Error> {
    options.check()?;
    Err(unsupported())
}

pub(crate) fn down(_: &Down) -> Result<Exit, Error> {
    Err(unsupported())
}

fn unsupported() -> Error {
    Error::new(Exit::Usage, "TUN devices are supported on Linux only").hint("`adit forward` needs none")
}
