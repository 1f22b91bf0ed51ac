//! What OpenVPN 2.6 itself makes of every example line, held against what we make of it.
//!
//! Needs `openvpn` 2.6 (Debian: `apt install openvpn`). It is started once for each example, on the loopback device, and
//! stopped as soon as it begins to connect; no tunnel is made and no root needed.

#[expect(dead_code, reason = "the other test uses all of it")]
#[path = "support/examples.rs"]
mod examples;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, mpsc},
    thread,
    time::Duration,
};

use examples::{Example, examples, load, testdata};
use openvpn::Profile;

/// Waits longest for an openvpn that says nothing.
const PATIENCE: Duration = Duration::from_secs(20);

/// These send the log elsewhere, detach, or need what not every machine gives: only what the parser says is looked at.
const PARSED_ONLY: [&str; 7] = ["daemon", "log", "log-append", "syslog", "management-hold", "mlock", "chroot"];

/// What openvpn says.
#[derive(Debug, PartialEq)]
enum Verdict {
    Accepts,
    Refuses(String),
}

#[test]
fn disagreements_with_openvpn_are_the_listed_ones() {
    let openvpn = openvpn();
    let folder = Folder::new();
    let examples = examples();
    let todo = Mutex::new(examples.iter().enumerate());
    let found = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let Some((index, example)) = todo.lock().unwrap().next() else { return };
                    let verdict = ask(&openvpn, &folder.0, index, example);
                    let ours = Profile::parse(example.profile(), &mut load).is_ok();
                    if ours != (verdict == Verdict::Accepts) {
                        found.lock().unwrap().insert(example.shown(), (index, verdict));
                    }
                }
            });
        }
    });
    compare(found.into_inner().unwrap());
}

#[test]
fn every_directive_openvpn_knows_is_known() {
    let help = Command::new(openvpn()).arg("--help").output().unwrap();
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let names = help.lines().filter_map(|line| line.strip_prefix("--")?.split([' ', ':']).next());
    // The help leaves some out; these were found by trying every word in the program.
    let found = fs::read_to_string(testdata("profile/openvpn-2.6.txt")).unwrap();
    let missing: Vec<&str> = names
        .chain(found.lines())
        .filter(|name| *name != "connection" && openvpn::directives().all(|(known, ..)| known != *name))
        .collect();
    assert!(missing.is_empty(), "unknown to us: {missing:?}");
}

/// Compares with the committed list: `LINE | accepts or refuses, as openvpn does | reason`.
fn compare(found: BTreeMap<String, (usize, Verdict)>) {
    let listed = fs::read_to_string(testdata("profile/disagreements.txt")).unwrap();
    let mut listed: BTreeMap<&str, &str> = listed
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let mut parts = line.rsplitn(3, " | ");
            let reason = parts.next().unwrap();
            assert!(reason.len() > 10, "a reason is missing: {line}");
            let verdict = parts.next().unwrap();
            (parts.next().unwrap().trim(), verdict.trim())
        })
        .collect();
    let mut wrong = Vec::new();
    for (line, (_, verdict)) in &found {
        let word = if *verdict == Verdict::Accepts { "accepts" } else { "refuses" };
        if listed.remove(line.as_str()) != Some(word) {
            wrong.push(format!("not listed: {line} | {word} | {verdict:?}"));
        }
    }
    wrong.extend(listed.iter().map(|(line, word)| format!("listed, but we agree: {line} | {word}")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn ask(openvpn: &Path, folder: &Path, index: usize, example: &Example) -> Verdict {
    let config = format!("{index}.conf");
    // Windows' backslashes aside, the profile is what we read. `dev null` needs no device and no root.
    fs::write(folder.join(&config), format!("{}dev null\n", example.profile())).unwrap();
    let parsed_only = PARSED_ONLY.contains(&example.directive());
    let mut command = Command::new(openvpn);
    command.args(["--config", &config, "--verb", "3", "--connect-retry-max", "1"]);
    if parsed_only {
        command.arg("--show-gateway");
    }
    let child = command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = Killed(child.unwrap());
    let (sender, lines) = mpsc::channel();
    let (out, err) = (child.0.stdout.take().unwrap(), child.0.stderr.take().unwrap());
    thread::scope(|scope| {
        let errors = sender.clone();
        scope.spawn(move || BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        scope.spawn(move || BufReader::new(err).lines().map_while(Result::ok).try_for_each(|line| errors.send(line)));
        let mut said = Vec::new();
        let verdict = loop {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) if CONNECTING.iter().any(|sign| line.contains(sign)) => break Some(Verdict::Accepts),
                Ok(line) => said.push(line),
                Err(mpsc::RecvTimeoutError::Timeout) => break Some(Verdict::Refuses("says nothing".to_owned())),
                Err(mpsc::RecvTimeoutError::Disconnected) => break None,
            }
        };
        if verdict.is_some() {
            child.0.kill().ok();
        }
        let success = child.0.wait().is_ok_and(|status| status.success());
        verdict.unwrap_or_else(
            || {
                if parsed_only && success { Verdict::Accepts } else { Verdict::Refuses(essence(&said)) }
            },
        )
    })
}

/// What stands in the log once options and keys are accepted, the last two where there is nobody to ask, or no IPv6.
const CONNECTING: [&str; 6] = [
    "TCP/UDP: Preserving recently used remote address",
    "Attempting to establish TCP",
    "link local",
    "Socket bind failed",
    "can't ask for",
    "Could not determine IPv4/IPv6 protocol",
];

/// The line that says why.
fn essence(said: &[String]) -> String {
    let telling = ["Options error", "Error", "error", "Cannot", "failed", "fatal"];
    let found = telling.iter().find_map(|word| said.iter().find(|line| line.contains(word)));
    found.or_else(|| said.last()).cloned().unwrap_or_default()
}

fn openvpn() -> PathBuf {
    let places = ["/usr/sbin/openvpn", "/usr/local/sbin/openvpn", "/usr/bin/openvpn"];
    let found = places.iter().map(PathBuf::from).find(|path| path.is_file());
    let openvpn = found
        .expect("this test holds our table against the real `openvpn`; install it (Debian: `apt install openvpn`)");
    let version = Command::new(&openvpn).arg("--version").output().unwrap();
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    assert!(version.starts_with("OpenVPN 2.6."), "openvpn 2.6 is needed, not {}", version.lines().next().unwrap_or(""));
    openvpn
}

/// A child that does not outlive us.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A folder with all files the examples name, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("oracle-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for source in ["keys", "profile"] {
            for file in fs::read_dir(testdata(source)).unwrap() {
                let file = file.unwrap().path();
                fs::copy(&file, folder.join(file.file_name().unwrap())).unwrap();
            }
        }
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}
