//! `adit forward`: one connection, and the end of the program with it.

use std::{sync::Arc, time::Duration};

use super::{Engine, services::Services};
use crate::{
    activity::By,
    config::Questions,
    environment::Manner,
    error::{Error, Exit},
    plan::{ControlPlan, Plan},
    signals::Signals,
};

/// Runs the only connection of the plan until it ends, or a signal ends it.
pub(crate) async fn forward(mut plan: Plan, mut signals: Signals) -> Result<Exit, Error> {
    if plan.control == ControlPlan::Default {
        // For a process that stays: several of this kind may run beside each other.
        plan.control = ControlPlan::Off;
    }
    let questions = Arc::new(Questions::noted());
    let (engine, _reloads) = Engine::new(Manner::Strict, plan.handshakes, plan.memory, questions);
    let mut services = Services::default();
    services.apply(&plan, &engine)?;
    let Some(mut connection) = plan.connections.pop() else {
        return Err(Error::new(Exit::Usage, "there is no connection"));
    };
    connection.autostart = true;
    let (environment, _) = engine.add(connection, By::Program).await?;
    let mut turns = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            biased;
            exit = signals.next() => {
                tracing::info!("closing the tunnel");
                return Ok(tokio::select! {
                    () = engine.stop(Duration::ZERO, By::Signal) => exit,
                    again = signals.next() => again,
                });
            }
            ended = environment.ended() => return match ended {
                Ok(()) => {
                    engine.stop(Duration::ZERO, By::Program).await;
                    Ok(Exit::Ok)
                }
                // Whoever is connected got a reset; those waiting for a tunnel, too.
                Err(error) => Err(Arc::unwrap_or_clone(error)),
            },
            _ = turns.tick() => engine.beat(),
        }
    }
}
