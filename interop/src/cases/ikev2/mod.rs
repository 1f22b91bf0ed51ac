//! IKEv2 with strongSwan.

mod authentication;
mod customers;

use super::Case;
use crate::{needs::Need, rig::Rig};

pub(super) fn cases() -> Vec<Case> {
    [customers::cases(), authentication::cases()].into_iter().flatten().collect()
}

/// A case that needs strongSwan.
fn case(name: &str, run: impl Fn(&Rig) -> anyhow::Result<()> + Send + Sync + 'static) -> Case {
    Case::new(format!("ikev2_{name}"), run).needs(Need::StrongSwan)
}
