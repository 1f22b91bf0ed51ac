//! Going on with another configuration: what did not change is not cut.

use adit_driver::redundancy::{Gateway, RedundancyOptions};

use super::{
    lock,
    machine::Trigger,
    task::{Task, way},
};
use crate::{
    activity::{By, Entry, Kind},
    error::Error,
    plan::{ConnectionPlan, ForwardPlan},
};

/// What has come of another configuration.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// In words; empty if nothing was changed.
    pub(crate) changed: String,
    /// What could not be done.
    pub(crate) failed: Vec<Error>,
}

impl Task {
    /// What was changed, in words; empty if nothing was. And why some of its forwards do not listen where they are to.
    pub(super) async fn apply(&mut self, plan: ConnectionPlan, by: By) -> Applied {
        let mut said = Vec::new();
        let gateways = gateway_changes(&self.plan.gateways, &plan.gateways);
        let news: Vec<_> = plan.gateways.iter().filter(|gateway| is_another(gateway, &self.plan.gateways)).collect();
        let hopeful = !news.is_empty();
        news.iter().for_each(|gateway| lock(&self.view).on_news(&gateway.name));
        let options = option_changes(&self.plan.redundancy, &plan.redundancy);
        let rewired = self.plan.wait != plan.wait;
        if self.plan.description != plan.description {
            said.push("description".to_owned());
        }
        if self.plan.autostart != plan.autostart {
            said.push(format!("autostart: {}", plan.autostart));
        }
        if self.plan.wait != plan.wait {
            said.push("wait_seconds".to_owned());
        }
        let device_changed = self.plan.tun != plan.tun;
        if device_changed {
            said.push("tun".to_owned());
        }
        said.extend(options.iter().map(|option| (*option).to_owned()));
        said.extend(gateways.iter().cloned());
        let old = std::mem::replace(&mut self.plan, plan);
        self.change_device();
        let hopeful = hopeful || device_changed && self.lacked_device;
        let is_changed = !gateways.is_empty() || !options.is_empty() || device_changed;
        let begins = is_changed && hopeful && self.machine.on(Trigger::Edited).is_some();
        if begins {
            // It has ended, and nothing goes through it any more.
            self.running = None;
        } else if is_changed {
            let options = self.options();
            if let Some(running) = &self.running {
                running.redundant.update(self.plan.gateways.clone(), options);
            }
        }
        let (plans, drain) = (self.plan.forwards.clone(), old.redundancy.drain);
        let (redundant, wait) = (self.running.as_ref().map(|running| &running.redundant), self.plan.wait);
        let to = |forward: &ForwardPlan| redundant.map(|redundant| way(redundant, forward, wait));
        let changes = self.forwards.apply(plans, to, |forward| rewired && forward.wait.is_none(), drain).await;
        for (what, names) in [("added", &changes.added), ("changed", &changes.changed), ("removed", &changes.removed)] {
            said.extend(names.iter().map(|name| format!("forward {name} {what}")));
        }
        said.extend(changes.renamed.iter().map(|names| format!("forward {names}")));
        if self.forwards.is_open() {
            self.serve();
        }
        let said = said.join(", ");
        if !said.is_empty() {
            let others = changes.added.len() + changes.changed.len() + changes.renamed.len();
            let kept = self.forwards.list.len() - others;
            let kept = if kept == 1 { "1 forward is".to_owned() } else { format!("{kept} forwards are") };
            tracing::info!("configuration changed: {said}; {kept} as before");
            self.machine.touch();
            self.note(Entry::new(Kind::Edited, by.clone()).reason(&said));
        }
        let mut failed = changes.failed;
        if begins {
            failed.extend(self.connect(by));
        }
        self.look_outside();
        Applied { changed: said, failed }
    }
}

/// Whether this gateway has not had its say as it is now. Those that have refused us would do so again, and lock an account.
fn is_another(gateway: &Gateway, old: &[Gateway]) -> bool {
    !old.iter().any(|old| old.name == gateway.name && old.fingerprint == gateway.fingerprint)
}

/// Which were added, changed, removed or put in another order.
fn gateway_changes(old: &[Gateway], new: &[Gateway]) -> Vec<String> {
    let mut changes = Vec::new();
    let find = |list: &[Gateway], name: &str| list.iter().position(|gateway| gateway.name == name);
    for gateway in new {
        match find(old, &gateway.name).map(|index| &old[index]) {
            None => changes.push(format!("gateway {} added", gateway.name)),
            Some(before) if before.fingerprint != gateway.fingerprint => {
                changes.push(format!("gateway {} changed", gateway.name));
            }
            Some(before) if before.probe != gateway.probe => changes.push(format!("probe of gateway {}", gateway.name)),
            Some(_) => {}
        }
    }
    for gateway in old.iter().filter(|gateway| find(new, &gateway.name).is_none()) {
        changes.push(format!("gateway {} removed", gateway.name));
    }
    let places: Vec<_> = new.iter().filter_map(|gateway| find(old, &gateway.name)).collect();
    if !places.is_sorted() {
        changes.push("order of gateways".to_owned());
    }
    changes
}

/// Options that differ, by the names of their keys.
fn option_changes(old: &RedundancyOptions, new: &RedundancyOptions) -> Vec<&'static str> {
    let changes = [
        ("policy", old.policy != new.policy),
        ("standby", old.hot_standby != new.hot_standby),
        ("stagger_seconds", old.stagger != new.stagger),
        ("probe", old.probe != new.probe),
        ("fail_back_seconds", old.fail_back_after != new.fail_back_after),
        ("drain_seconds", old.drain != new.drain),
        ("max_connections", old.tunnel.max_connections != new.tunnel.max_connections),
    ];
    changes.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| name).collect()
}
