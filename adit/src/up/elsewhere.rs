//! Systems without a device of ours.

use adit_driver::Names;

use super::{Down, TunOptions, keeper::Surround};
use crate::{
    error::{Error, Exit},
    plan::ConnectionPlan,
};

pub(crate) fn open(options: &TunOptions, _: &str, _: &Names) -> Result<Box<dyn Surround>, Error> {
    options.check()?;
    Err(unsupported())
}

pub(crate) fn mark(_: &TunOptions) -> Option<u32> {
    None
}

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
