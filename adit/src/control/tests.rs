//! Both ends of the control socket.

use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::PathBuf,
};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::{
    activity::Kind,
    demo::testing::{Kind as Protocol, Office},
    engine::Engine,
    error::Exit,
    status::State,
    tests::Folder,
};

/// Runs the calls of a caller on a thread of its own, beside the event loop.
async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(act).await.unwrap()
}

struct Bench {
    _folder: Folder,
    path: PathBuf,
    engine: Engine,
    serving: tokio::task::JoinHandle<()>,
}

impl Bench {
    fn new(engine: Engine) -> Self {
        let folder = Folder::new();
        let path = folder.path().join("sub/control.sock");
        let serving = tokio::spawn(Server::bind(&path).unwrap().serve(engine.clone()));
        Self { _folder: folder, path, engine, serving }
    }

    async fn ask(&self, request: Request) -> Result<Answer, crate::error::Error> {
        let path = self.path.clone();
        blocking(move || Client::connect(Some(&path)).and_then(|mut client| client.ask(&request))).await
    }

    /// What is answered to these lines.
    async fn raw(&self, lines: &'static str) -> Vec<Value> {
        let path = self.path.clone();
        let answers = blocking(move || {
            let mut stream = UnixStream::connect(path).unwrap();
            stream.write_all(lines.as_bytes()).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            BufReader::new(stream).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
        });
        answers.await
    }
}

#[tokio::test]
async fn only_the_user_may_use_the_socket_and_it_is_gone_afterwards() {
    let bench = Bench::new(Engine::for_tests());
    assert_eq!(fs::metadata(&bench.path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(bench.path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    bench.serving.abort();
    assert!(bench.serving.await.is_err());
    assert!(!bench.path.exists());
}

#[tokio::test]
async fn a_socket_that_was_left_behind_is_replaced_and_one_that_answers_is_not() {
    let bench = Bench::new(Engine::for_tests());
    let error = Server::bind(&bench.path).err().unwrap();
    assert!(error.exit() == Exit::LocalSocket && error.to_string().contains("another adit runs there"), "{error}");
    let left = bench.path.with_file_name("left.sock");
    drop(std::os::unix::net::UnixListener::bind(&left).unwrap());
    assert!(left.exists());
    drop(Server::bind(&left).unwrap());
}

#[tokio::test]
async fn a_file_that_is_no_socket_stays_and_so_does_what_took_its_place() {
    let folder = Folder::new();
    let path = folder.path().join("adit.toml");
    fs::write(&path, "precious").unwrap();
    let error = Server::bind(&path).err().unwrap();
    assert!(error.exit() == Exit::LocalSocket && error.to_string().contains("no socket"), "{error}");
    assert!(error.hint_text().unwrap().contains("another path"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    let path = folder.path().join("control.sock");
    let server = Server::bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "another's").unwrap();
    drop(server);
    assert_eq!(fs::read(&path).unwrap(), b"another's");
}

#[tokio::test]
async fn the_protocol_is_a_json_object_a_line() {
    let bench = Bench::new(Engine::for_tests());
    let answers = bench
        .raw("{\"command\":\"version\"}\n{\"command\":\"connect\",\"connection\":\"x\"}\n{\"command\":\"status\"}\nnonsense\nmore\n{\"command\":\"version\"}\n")
        .await;
    assert_eq!(answers[0], serde_json::json!({"ok": true, "version": env!("CARGO_PKG_VERSION")}));
    assert_eq!(answers[1], serde_json::json!({"ok": false, "error": "there is no connection `x`", "exit_code": 2}));
    assert_eq!(answers[2]["status"]["pid"], std::process::id());
    // Who speaks something else is told so once.
    assert!(answers[3]["ok"] == false && answers[3]["error"].as_str().unwrap().starts_with("no request"));
    assert_eq!(answers.len(), 4);
}

#[tokio::test]
async fn orders_are_followed_and_told_by_whom() {
    let office = Office::open(Protocol::Ikev2);
    let mut plan = office.connection("office", &["crm"]);
    plan.autostart = false;
    let bench = Bench::new(Engine::for_tests());
    bench.engine.add_for_tests(plan).await;
    let connection = || "office".to_owned();
    let ready = |forward: Option<&str>| Request::Ready { connection: None, forward: forward.map(str::to_owned) };
    assert!(bench.ask(ready(None)).await.unwrap().readiness.unwrap().ready, "nothing is to be connected");
    assert!(!bench.ask(ready(Some("crm"))).await.unwrap().readiness.unwrap().ready);

    let path = bench.path.clone();
    let watching = blocking(move || {
        let mut client = Client::connect(Some(&path)).unwrap();
        client.send(&Request::Watch).unwrap();
        let mut states = Vec::new();
        while states.last() != Some(&State::Connected) {
            let status = client.next().unwrap().unwrap().status.unwrap();
            states.push(status.connections[0].state);
        }
        states
    });
    bench.ask(Request::Connect { connection: connection() }).await.unwrap();
    let states = watching.await;
    assert!(states.iter().all(|state| matches!(state, State::Idle | State::Connecting | State::Connected)));
    assert!(bench.ask(ready(Some("crm"))).await.unwrap().readiness.unwrap().ready);
    assert!(bench.ask(Request::Cancel { connection: connection() }).await.is_err());
    let nosuch = bench.ask(Request::Connect { connection: "nosuch".to_owned() }).await.unwrap_err();
    assert_eq!(nosuch.exit(), Exit::Usage, "the code of the process is the caller's");
    let done = bench.ask(Request::Disconnect { connection: connection() }).await.unwrap();
    assert_eq!(done.message.as_deref(), Some("`office` is disconnected"));
    let log = Request::Log { connection: Some(connection()), lines: 2, follow: false };
    let entries = bench.ask(log).await.unwrap().entries.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.kind).collect::<Vec<_>>(), [Kind::Connected, Kind::Disconnected]);
    assert_eq!(entries[0].by, "gateway");
    assert!(entries[1].by.starts_with("user ") || entries[1].by.starts_with("uid "), "{entries:?}");
}

#[tokio::test]
async fn a_log_that_is_followed_goes_on() {
    let bench = Bench::new(Engine::for_tests());
    let path = bench.path.clone();
    let (begun, begins) = tokio::sync::oneshot::channel();
    let follower = tokio::task::spawn_blocking(move || {
        let mut client = Client::connect(Some(&path)).unwrap();
        client.send(&Request::Log { connection: None, lines: 5, follow: true }).unwrap();
        let first = client.next().unwrap().unwrap().entries.unwrap();
        begun.send(()).unwrap();
        (first, client.next().unwrap().unwrap().entries.unwrap())
    });
    begins.await.unwrap();
    bench.engine.activity().add(crate::activity::Entry::new(Kind::Reloaded, crate::activity::By::Signal));
    let (first, second) = follower.await.unwrap();
    assert!(first.is_empty() && second.len() == 1 && second[0].kind == Kind::Reloaded);
}

#[test]
fn a_process_that_is_not_there_is_said_with_what_to_do() {
    let folder = Folder::new();
    let error = Client::connect(Some(&folder.path().join("none.sock"))).err().unwrap();
    assert!(error.exit() == Exit::Other && error.to_string().contains("adit run --config FILE"), "{error}");
}

#[test]
fn a_process_that_hangs_is_not_waited_for() {
    let folder = Folder::new();
    let path = folder.path().join("control.sock");
    // It takes callers in, as the kernel does for a process that is stopped, and says nothing.
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let connect = || Client::impatient(&path, std::time::Duration::from_millis(50)).unwrap();
    let connection = || "office".to_owned();
    let asked = connect().ask(&Request::Status).unwrap_err();
    let ordered = connect().order(&Request::Connect { connection: connection() }).unwrap_err();
    for error in [asked, ordered] {
        assert!(error.message().contains("has not answered for 0.05 s; it hangs, or is stopped"), "{error}");
        assert!(error.hint_text().unwrap().contains("kill -CONT"), "{error}");
    }
}

#[test]
fn a_process_that_takes_nobody_in_is_not_waited_for() {
    use socket2::{Domain, SockAddr, Socket, Type};
    let folder = Folder::new();
    let path = folder.path().join("control.sock");
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    listener.listen(0).unwrap();
    // Its queue is full, as that of a process which was stopped long ago.
    let patience = std::time::Duration::from_millis(50);
    let waiting: Vec<_> = std::iter::repeat_with(|| Client::impatient(&path, patience)).take(8).collect();
    let error = waiting.into_iter().find_map(Result::err).expect("the queue has an end");
    assert!(error.message().contains("has not answered for 0.05 s; it hangs, or is stopped"), "{error}");
}

#[tokio::test]
async fn one_caller_too_many_is_told_so_and_room_is_made_by_one_who_leaves() {
    let bench = Bench::new(Engine::for_tests());
    let mut callers: Vec<_> = Vec::new();
    for _ in 0..server::CALLERS {
        let path = bench.path.clone();
        let caller = blocking(move || {
            let mut client = Client::connect(Some(&path)).unwrap();
            client.ask(&Request::Watch).unwrap();
            client
        });
        callers.push(caller.await);
    }
    let refused = bench.ask(Request::Version).await.unwrap_err();
    assert!(refused.message().starts_with("too many callers: 64 are connected to the control socket"), "{refused}");
    assert!(refused.hint_text().unwrap().contains("adit status --watch"), "{refused}");
    drop(callers.pop());
    // That it has left is noticed soon.
    while bench.ask(Request::Version).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn callers_who_have_fallen_silent_make_room_the_longest_silent_first() {
    let bench = Bench::new(Engine::for_tests());
    let caller = |watches: bool| {
        let path = bench.path.clone();
        blocking(move || {
            let mut client = Client::connect(Some(&path)).unwrap();
            client.ask(if watches { &Request::Watch } else { &Request::Version }).unwrap();
            client
        })
    };
    let _watches = caller(true).await;
    let mut silent = Vec::new();
    for _ in 1..server::CALLERS {
        silent.push(caller(false).await);
    }
    // One that watches is not silent, whatever it says.
    bench.ask(Request::Version).await.unwrap();
    let mut first = silent.remove(0);
    let told = blocking(move || first.next()).await.unwrap_err();
    assert!(told.message().starts_with("silent for longest") && told.hint_text() == Some("connect again"), "{told}");
    let mut last = silent.pop().unwrap();
    blocking(move || last.ask(&Request::Version)).await.unwrap();
    for _ in 0..2 * server::CALLERS {
        caller(false).await;
    }
}

#[tokio::test(start_paused = true)]
async fn callers_who_say_nothing_lose_their_places() {
    let bench = Bench::new(Engine::for_tests());
    let mut callers = Vec::new();
    for _ in 0..server::CALLERS {
        callers.push(tokio::net::UnixStream::connect(&bench.path).await.unwrap());
    }
    for mut caller in callers {
        let mut told = String::new();
        caller.read_to_string(&mut told).await.unwrap();
        assert!(told.contains("no request came within 5 s"), "{told}");
    }
    bench.ask(Request::Version).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_does_not_read_loses_its_place() {
    let bench = Bench::new(Engine::for_tests());
    let mut caller = tokio::net::UnixStream::connect(&bench.path).await.unwrap();
    let request = [serde_json::to_vec(&Request::Status).unwrap(), vec![b'\n']].concat();
    let error = loop {
        if let Err(error) = caller.write_all(&request).await {
            break error;
        }
    };
    assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    bench.ask(Request::Version).await.unwrap();
}

#[tokio::test]
async fn the_socket_belongs_to_who_runs_the_process_and_nobody_else_may_open_it() {
    use std::os::unix::fs::MetadataExt;
    let bench = Bench::new(Engine::for_tests());
    let (socket, folder) = (fs::metadata(&bench.path).unwrap(), fs::metadata(bench.path.parent().unwrap()).unwrap());
    let ours = rustix::process::geteuid().as_raw();
    assert_eq!((socket.mode() & 0o777, socket.uid()), (0o600, ours));
    assert_eq!((folder.mode() & 0o777, folder.uid()), (0o700, ours), "a folder that is made for it is as closed");
}
