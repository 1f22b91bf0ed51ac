//! What a process offers besides its connections: the admin port, the control socket, the activity log in its file.

use std::net::SocketAddr;
#[cfg(unix)]
use std::path::PathBuf;

use tokio::task::JoinHandle;

use super::Engine;
#[cfg(unix)]
use crate::control;
use crate::{
    admin,
    error::Error,
    plan::{ActivityPlan, ControlPlan, Plan},
};

/// Ended with this.
#[derive(Default)]
pub(super) struct Services {
    admin: Option<(SocketAddr, Serving)>,
    #[cfg(unix)]
    control: Option<(PathBuf, Serving)>,
    activity: Option<ActivityPlan>,
}

struct Serving(JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What becomes of one of them.
enum Change<T> {
    /// It stays as it is.
    None,
    To(Option<T>),
}

impl Services {
    /// Goes on with these; what is as before is not touched. If one of them cannot be had, all stay as they were.
    /// What was changed, in words.
    pub(super) fn apply(&mut self, plan: &Plan, engine: &Engine) -> Result<Vec<&'static str>, Error> {
        let admin = self.bind_admin(plan.admin)?;
        #[cfg(unix)]
        let control = self.bind_control(&plan.control)?;
        #[cfg(not(unix))]
        refuse_control(&plan.control)?;
        engine.activity().write_to(plan.activity.as_ref())?;
        let mut said = Vec::new();
        if self.activity != plan.activity {
            said.push("another activity log");
            self.activity.clone_from(&plan.activity);
        }
        if let Change::To(server) = admin {
            said.push(if server.is_some() { "another admin port" } else { "no admin port any more" });
            self.admin = server.map(|(wanted, server)| {
                tracing::info!(address = %server.address(), "probes and metrics at http://{}/", server.address());
                (wanted, Serving(tokio::spawn(server.serve(engine.clone()))))
            });
        }
        #[cfg(unix)]
        if let Change::To(server) = control {
            said.push(if server.is_some() { "another control socket" } else { "no control socket any more" });
            self.control = server.map(|server| {
                let path = server.path().to_owned();
                tracing::debug!("control socket {}", path.display());
                (path, Serving(tokio::spawn(server.serve(engine.clone()))))
            });
        }
        Ok(said)
    }

    fn bind_admin(&self, wanted: Option<SocketAddr>) -> Result<Change<(SocketAddr, admin::Server)>, Error> {
        if self.admin.as_ref().map(|(address, _)| *address) == wanted {
            return Ok(Change::None);
        }
        let bind = |address| Ok::<_, Error>((address, admin::Server::bind(address)?));
        Ok(Change::To(wanted.map(bind).transpose()?))
    }

    #[cfg(unix)]
    fn bind_control(&self, plan: &ControlPlan) -> Result<Change<control::Server>, Error> {
        let wanted = match plan {
            ControlPlan::Off => None,
            ControlPlan::Default => Some(control::default_path()),
            ControlPlan::At(path) => Some(path.clone()),
        };
        if self.control.as_ref().map(|(path, _)| path) == wanted.as_ref() {
            return Ok(Change::None);
        }
        let Some(path) = wanted else { return Ok(Change::To(None)) };
        match control::Server::bind(&path) {
            Ok(server) => Ok(Change::To(Some(server))),
            // Nobody asked for this one.
            Err(error) if *plan == ControlPlan::Default => {
                let hint = error.hint_text();
                tracing::warn!(hint, "{}; `adit status` will not find this process", error.message());
                Ok(Change::To(None))
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(not(unix))]
fn refuse_control(plan: &ControlPlan) -> Result<(), Error> {
    match plan {
        ControlPlan::At(path) => {
            let problem = format!("control socket {}: this system has none", path.display());
            Err(Error::new(crate::error::Exit::Usage, problem).hint("take `socket` out of [control]"))
        }
        ControlPlan::Default | ControlPlan::Off => Ok(()),
    }
}
