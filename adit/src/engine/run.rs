//! `adit run`: the main loop.

use std::{future::pending, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{
    Engine, Reload,
    files::{self, Files},
    services::Services,
    systemd,
};
use crate::{
    activity::{By, Kind},
    config::{Questions, Seen},
    environment::Manner,
    error::{Error, Exit},
    plan::Plan,
    signals::{Signals, Told},
};

/// Reads the configuration. Blocks, and may ask.
pub(crate) type Load = Arc<dyn Fn() -> Result<Plan, Unreadable> + Send + Sync>;

/// A configuration that cannot be used.
pub(crate) struct Unreadable {
    /// With which it may become right.
    pub(crate) files: Vec<Seen>,
    pub(crate) error: Error,
}

/// The main loop turns at least so often.
const TURN: Duration = Duration::from_secs(1);

/// Runs all connections until a signal ends it.
/// `questions` are those that reading asks.
pub(crate) async fn run(load: Load, questions: Arc<Questions>) -> Result<Exit, Error> {
    let mut signals = Signals::new()?;
    let plan = tokio::select! {
        biased;
        exit = signals.next_end() => return Ok(exit),
        plan = start_reading(&load) => flattened(plan).map_err(|unreadable| unreadable.error)?,
    };
    let (engine, reloads) = Engine::new(Manner::Patient, plan.handshakes, plan.memory, questions);
    let mut services = Services::default();
    services.apply(&plan, &engine)?;
    let files = Files::new(plan.files.clone());
    let mut main = Main {
        drain: plan.drain,
        engine,
        services,
        load,
        files: Some(files),
        reading: None,
        again: Vec::new(),
        said: String::new(),
    };
    for connection in plan.connections {
        let name = connection.name.clone();
        if let Err(error) = main.engine.add(connection, By::Program).await {
            tracing::error!("`{name}`: {error}");
        }
    }
    systemd::ready(&main.engine.summary());
    let exit = main.turn(&mut signals, reloads).await;
    tracing::info!("ending: no new connections, up to {} s for the live ones, then farewells", main.drain.as_secs());
    systemd::stopping();
    Ok(tokio::select! {
        () = main.engine.stop(main.drain, By::Signal) => exit,
        again = signals.next_end() => again,
        // The admin port says that we are stopping.
        () = beat(&main.engine) => exit,
    })
}

/// What the main loop knows.
struct Main {
    engine: Engine,
    services: Services,
    load: Load,
    drain: Duration,
    /// `None` while they are looked at.
    files: Option<Files>,
    reading: Option<Reading>,
    /// Those who came during a reading: it may have passed what they have changed, so there is another one after it.
    again: Vec<Wanted>,
    /// What systemd was told last.
    said: String,
}

/// A configuration that is being read, and for whom.
type Reading = (JoinHandle<Result<Plan, Unreadable>>, Vec<Wanted>);

/// Who wants the configuration to be read again.
struct Wanted {
    by: By,
    reply: Option<oneshot::Sender<Result<String, Error>>>,
}

impl Main {
    /// Until a signal ends it.
    async fn turn(&mut self, signals: &mut Signals, mut reloads: mpsc::Receiver<Reload>) -> Exit {
        let mut turns = interval(TURN);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watchdog = systemd::watchdog().map(interval);
        let mut look_at = Instant::now() + files::INTERVAL;
        let mut looking: Option<JoinHandle<(Files, Vec<PathBuf>)>> = None;
        loop {
            tokio::select! {
                told = signals.next_told() => match told {
                    Told::End(exit) => return exit,
                    Told::Reload => self.read(Wanted { by: By::Signal, reply: None }),
                },
                Some(Reload { by, reply }) = reloads.recv() => self.read(Wanted { by, reply: Some(reply) }),
                plan = finished(&mut self.reading) => self.on_read(plan).await,
                () = tokio::time::sleep_until(look_at), if looking.is_none() => {
                    if let Some(mut files) = self.files.take() {
                        looking = Some(tokio::task::spawn_blocking(move || {
                            let changed = files.changed();
                            (files, changed)
                        }));
                    }
                    look_at = Instant::now() + files::INTERVAL;
                }
                looked = finished_looking(&mut looking) => {
                    let (files, changed) = looked;
                    self.files.get_or_insert(files);
                    if let Some(first) = changed.first() {
                        let more = if changed.len() > 1 { format!(" and {} more", changed.len() - 1) } else { String::new() };
                        tracing::info!("{}{more} changed", first.display());
                        self.read(Wanted { by: By::Program, reply: None });
                    }
                }
                _ = turns.tick() => self.on_turn(),
                () = tick(&mut watchdog) => systemd::alive(),
            }
        }
    }

    fn on_turn(&mut self) {
        self.engine.beat();
        let summary = self.engine.summary();
        if summary != self.said {
            systemd::status(&summary);
            self.said = summary;
        }
    }

    /// Reads the configuration; once more, where that is being done.
    fn read(&mut self, wanted: Wanted) {
        self.again.push(wanted);
        self.read_for_all();
    }

    fn read_for_all(&mut self) {
        let (None, Some(first)) = (&self.reading, self.again.first()) else { return };
        tracing::info!("reading the configuration again, by {}", first.by);
        systemd::reloading();
        self.reading = Some((start_reading(&self.load), std::mem::take(&mut self.again)));
    }

    async fn on_read(&mut self, (plan, wanted): (Result<Plan, Unreadable>, Vec<Wanted>)) {
        let by = wanted.first().map_or(By::Program, |first| first.by.clone());
        let applied = match plan {
            Ok(plan) => self.apply(plan, by.clone()).await,
            Err(Unreadable { files, error }) => {
                self.files = Some(Files::new(files));
                Err(error)
            }
        };
        let done = match applied {
            Ok((changed, None)) => {
                tracing::info!("configuration: {changed}");
                self.engine.note(Kind::Reloaded, by, &changed);
                Ok(changed)
            }
            Ok((changed, Some(error))) => {
                tracing::error!(hint = error.hint_text(), "configuration: {changed}; but {}", error.message());
                self.engine.note(Kind::Reloaded, by, &format!("{changed}; but {error}"));
                let text = format!("{}; otherwise {changed}", error.message());
                let part = Error::new(error.exit(), text);
                Err(match error.hint_text() {
                    Some(hint) => part.hint(hint),
                    None => part,
                })
            }
            Err(error) => {
                tracing::error!(hint = error.hint_text(), "the configuration stays as it was: {}", error.message());
                self.engine.note(Kind::Reloaded, by, &format!("refused, it stays as it was: {error}"));
                Err(error)
            }
        };
        self.engine.show_read(done.as_ref().map(|_| ()));
        for reply in wanted.into_iter().filter_map(|wanted| wanted.reply) {
            // Whoever asked may have gone.
            drop(reply.send(done.clone()));
        }
        systemd::ready(&self.engine.summary());
        self.read_for_all();
    }

    /// Services come first: a new configuration whose ports cannot be had changes no connection.
    /// What was changed, and what could not be done.
    async fn apply(&mut self, plan: Plan, by: By) -> Result<(String, Option<Error>), Error> {
        let mut said: Vec<String> = self.services.apply(&plan, &self.engine)?.into_iter().map(str::to_owned).collect();
        if self.drain != plan.drain {
            said.push(format!("`drain_seconds` is {}", plan.drain.as_secs()));
        }
        self.drain = plan.drain;
        self.files = Some(Files::new(plan.files.clone()));
        let (changed, failed) = self.engine.apply(plan, by).await;
        said.extend(changed);
        let said = if said.is_empty() { "nothing has changed".to_owned() } else { said.join("; ") };
        Ok((said, all(failed)))
    }
}

/// All of these as one, with the code and the hint of the first.
fn all(errors: Vec<Error>) -> Option<Error> {
    let texts: Vec<_> = errors.iter().map(Error::message).collect();
    let first = errors.into_iter().next()?;
    let all = Error::new(first.exit(), texts.join("; "));
    Some(match first.hint_text() {
        Some(hint) => all.hint(hint),
        None => all,
    })
}

fn start_reading(load: &Load) -> JoinHandle<Result<Plan, Unreadable>> {
    let load = Arc::clone(load);
    tokio::task::spawn_blocking(move || load())
}

fn flattened(read: Result<Result<Plan, Unreadable>, tokio::task::JoinError>) -> Result<Plan, Unreadable> {
    read.map_err(|error| Unreadable { files: Vec::new(), error: Error::new(Exit::Other, error) })?
}

async fn finished(reading: &mut Option<Reading>) -> (Result<Plan, Unreadable>, Vec<Wanted>) {
    let Some((read, _)) = reading else { return pending().await };
    let plan = flattened(read.await);
    let wanted = reading.take().map(|(_, wanted)| wanted).unwrap_or_default();
    (plan, wanted)
}

async fn finished_looking(looking: &mut Option<JoinHandle<(Files, Vec<PathBuf>)>>) -> (Files, Vec<PathBuf>) {
    let Some(looked) = looking else { return pending().await };
    let result = looked.await;
    *looking = None;
    match result {
        Ok(looked) => looked,
        Err(error) => {
            tracing::error!("looking at files: {error}");
            (Files::new(Vec::new()), Vec::new())
        }
    }
}

async fn tick(watchdog: &mut Option<tokio::time::Interval>) {
    match watchdog {
        Some(watchdog) => {
            watchdog.tick().await;
        }
        None => pending().await,
    }
}

/// Keeps the probes content while everything ends; never ends itself.
async fn beat(engine: &Engine) {
    let mut turns = interval(TURN);
    let mut watchdog = systemd::watchdog().map(interval);
    loop {
        tokio::select! {
            _ = turns.tick() => engine.beat(),
            () = tick(&mut watchdog) => systemd::alive(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use super::*;
    use crate::{
        config,
        demo::testing::{Kind as Protocol, Office},
        environment::Order,
        status::{State, Timestamp},
        tests::Folder,
    };

    /// With no connections yet.
    fn main_of(load: Load, questions: impl Into<Arc<Questions>>) -> (Main, mpsc::Receiver<Reload>) {
        let (engine, reloads) = Engine::new(Manner::Patient, 1, 1 << 20, questions.into());
        let main = Main {
            engine,
            services: Services::default(),
            load,
            drain: Duration::ZERO,
            files: None,
            reading: None,
            again: Vec::new(),
            said: String::new(),
        };
        (main, reloads)
    }

    /// Waits until the only connection is in this state.
    async fn reaches(engine: &Engine, state: State) {
        let mut changes = engine.changes();
        let reached = async {
            while engine.status().connections.first().map(|connection| connection.state) != Some(state) {
                changes.changed().await.unwrap();
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(60), reached).await;
        assert!(in_time.is_ok(), "{:#?}", engine.status());
    }

    #[tokio::test]
    async fn a_password_that_was_mistyped_is_asked_for_again() {
        let office = Office::open(Protocol::Ikev2);
        let folder = Folder::new();
        let path = folder.path().join("adit.toml");
        std::fs::write(&path, format!("[control]\nsocket = \"off\"\n{}", office.written("main", folder.path())))
            .unwrap();
        let questions = Arc::new(Questions::answered_by(&["mistyped", &office.password()]));
        let asked = Arc::clone(&questions);
        let load: Load = Arc::new(move || {
            config::plan(&path, &[], &asked, &mut |_| {})
                .map_err(|problems| Unreadable { files: problems.seen(), error: problems.into_error().unwrap() })
        });
        let (mut main, reloads) = main_of(load, questions);
        let engine = main.engine.clone();
        let mut signals = Signals::new().unwrap();
        let turning = tokio::spawn(async move { main.turn(&mut signals, reloads).await });
        assert!(engine.reload(By::Program).await.unwrap().ends_with("`main` is new"));
        reaches(&engine, State::Failed).await;
        // Reading alone asks nobody: nobody may be there.
        assert_eq!(engine.reload(By::Program).await.unwrap(), "nothing has changed");
        assert_eq!(engine.order("main", Order::Connect, By::Signal).await.unwrap(), "`main`: connecting");
        reaches(&engine, State::Connected).await;
        // What is right is not asked for a second time, which nobody would answer.
        engine.order("main", Order::Disconnect, By::Signal).await.unwrap();
        engine.order("main", Order::Connect, By::Signal).await.unwrap();
        reaches(&engine, State::Connected).await;
        turning.abort();
    }

    #[tokio::test]
    async fn a_reload_that_is_refused_is_told_until_one_is_done() {
        let folder = Folder::new();
        let path = folder.path().join("adit.toml");
        let read = path.clone();
        let load: Load = Arc::new(move || {
            config::plan(&read, &[], &Questions::noted(), &mut |_| {})
                .map_err(|problems| Unreadable { files: problems.seen(), error: problems.into_error().unwrap() })
        });
        let (mut main, _reloads) = main_of(load, Questions::noted());
        let engine = main.engine.clone();
        assert!(engine.status().configuration_error.is_none(), "what was read at the start is in force");
        let long_ago = Timestamp::from(std::time::UNIX_EPOCH);
        *super::super::lock(&engine.inner.in_force_since) = long_ago;
        std::fs::write(folder.path().join("psk.txt"), "secret\n").unwrap();
        let right = "[control]\nsocket = \"off\"\n[connection.a]\nautostart = false\nprotocol = \"ikev2\"\n\
                     remotes = [\"a\"]\nremote_id = \"x\"\npsk = { file = \"psk.txt\" }\n";
        for (text, fine) in [("nonsense = 1\n", false), (right, true), ("[control]\nx = 1\n", false)] {
            std::fs::write(&path, text).unwrap();
            let before = engine.status().configuration_since;
            main.read(Wanted { by: By::Signal, reply: None });
            let read = finished(&mut main.reading).await;
            main.on_read(read).await;
            let status = engine.status();
            assert_eq!(status.configuration_error.is_none(), fine, "{text}: {status:#?}");
            assert_eq!(status.configuration_since != before, fine, "{text}: {status:#?}");
        }
        assert!(engine.status().configuration_since > long_ago);
    }

    #[tokio::test]
    async fn who_asks_during_a_reading_has_one_that_began_later() {
        let (go, held) = std::sync::mpsc::channel::<()>();
        let (held, begun) = (Mutex::new(held), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&begun);
        let load: Load = Arc::new(move || {
            count.fetch_add(1, Relaxed);
            held.lock().unwrap().recv().unwrap();
            Err(Unreadable { files: Vec::new(), error: Error::new(Exit::Usage, "not yet") })
        });
        let (mut main, _reloads) = main_of(load, Questions::noted());
        let wanted = || {
            let (reply, answer) = oneshot::channel();
            (Wanted { by: By::Program, reply: Some(reply) }, answer)
        };
        let ((first, mut first_answer), (second, mut second_answer)) = (wanted(), wanted());
        main.read(first);
        main.read(second);
        go.send(()).unwrap();
        let read = finished(&mut main.reading).await;
        main.on_read(read).await;
        assert!(first_answer.try_recv().is_ok() && second_answer.try_recv().is_err());
        go.send(()).unwrap();
        let read = finished(&mut main.reading).await;
        main.on_read(read).await;
        assert!(second_answer.try_recv().is_ok() && main.reading.is_none());
        assert_eq!(begun.load(Relaxed), 2);
    }

    /// Whatever is not of a connection is told, too; and whoever asks over a socket that goes is answered.
    #[cfg(unix)]
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_reload_that_moves_the_services_says_so_over_the_socket_of_before() {
        let folder = Folder::new();
        let (path, first) = (folder.path().join("adit.toml"), folder.path().join("first.sock"));
        let write = |socket: &str, rest: &str| {
            let socket = folder.path().join(socket);
            std::fs::write(&path, format!("[control]\nsocket = \"{}\"\n{rest}", socket.display())).unwrap();
        };
        let read = path.clone();
        let load: Load = Arc::new(move || {
            config::plan(&read, &[], &Questions::noted(), &mut |_| {})
                .map_err(|problems| Unreadable { files: problems.seen(), error: problems.into_error().unwrap() })
        });
        let (mut main, reloads) = main_of(load, Questions::noted());
        let engine = main.engine.clone();
        let mut signals = Signals::new().unwrap();
        let connection = "[connection.a]\nautostart = false\nprotocol = \"ikev2\"\nremotes = [\"a\"]\n\
                          remote_id = \"x\"\npsk = { file = \"psk.txt\" }\n";
        std::fs::write(folder.path().join("psk.txt"), "secret\n").unwrap();
        write("first.sock", connection);
        let turning = tokio::spawn(async move { main.turn(&mut signals, reloads).await });
        engine.reload(By::Program).await.unwrap();
        assert_eq!(engine.reload(By::Program).await.unwrap(), "nothing has changed");
        write("second.sock", &format!("[admin]\nlisten = \"127.0.0.1:0\"\n[limits]\nhandshakes = 7\n{connection}"));
        let asked = tokio::task::spawn_blocking(move || {
            crate::control::Client::connect(Some(&first))?.order(&crate::control::Request::Reload)
        });
        let said = asked.await.unwrap().unwrap().message.unwrap();
        assert_eq!(said, "another admin port; another control socket; `handshakes` is 7");
        turning.abort();
    }
}
