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
    plan::{ControlPlan, Plan},
};

/// Ended with this.
#[derive(Default)]
pub(super) struct Services {
    admin: Option<(SocketAddr, Serving)>,
    #[cfg(unix)]
    control: Option<(PathBuf, Serving)>,
}

struct Serving(JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Services {
    /// Goes on with these; what is as before is not touched. All that could not be had is told, and the rest is there.
    pub(super) async fn apply(&mut self, plan: &Plan, engine: &Engine) -> Result<(), Error> {
        let admin = self.apply_admin(plan.admin, engine);
        let control = self.apply_control(&plan.control, engine).await;
        let activity = engine.activity().write_to(plan.activity.as_ref());
        admin.and(control).and(activity)
    }

    fn apply_admin(&mut self, wanted: Option<SocketAddr>, engine: &Engine) -> Result<(), Error> {
        if self.admin.as_ref().map(|(address, _)| *address) == wanted {
            return Ok(());
        }
        self.admin = None;
        if let Some(address) = wanted {
            let server = admin::Server::bind(address)?;
            tracing::info!(address = %server.address(), "probes and metrics at http://{}/", server.address());
            self.admin = Some((address, Serving(tokio::spawn(server.serve(engine.clone())))));
        }
        Ok(())
    }

    #[cfg(unix)]
    async fn apply_control(&mut self, plan: &ControlPlan, engine: &Engine) -> Result<(), Error> {
        let wanted = match plan {
            ControlPlan::Off => None,
            ControlPlan::Default => Some(control::default_path()),
            ControlPlan::At(path) => Some(path.clone()),
        };
        if self.control.as_ref().map(|(path, _)| path) == wanted.as_ref() {
            return Ok(());
        }
        if let Some((_, serving)) = self.control.take() {
            // Its socket is removed with it: before another one may be made there.
            serving.0.abort();
            tokio::task::yield_now().await;
        }
        let Some(path) = wanted else { return Ok(()) };
        match control::Server::bind(&path) {
            Ok(server) => {
                tracing::debug!("control socket {}", server.path().display());
                self.control = Some((path, Serving(tokio::spawn(server.serve(engine.clone())))));
            }
            // Nobody asked for this one.
            Err(error) if *plan == ControlPlan::Default => {
                tracing::warn!(
                    hint = error.hint_text(),
                    "{}; `adit status` will not find this process",
                    error.message()
                );
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    #[cfg(not(unix))]
    async fn apply_control(&mut self, plan: &ControlPlan, _: &Engine) -> Result<(), Error> {
        match plan {
            ControlPlan::At(path) => {
                let problem = format!("control socket {}: this system has none", path.display());
                Err(Error::new(crate::error::Exit::Usage, problem).hint("take `socket` out of [control]"))
            }
            ControlPlan::Default | ControlPlan::Off => Ok(()),
        }
    }
}
