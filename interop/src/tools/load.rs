//! A steady rate of requests to the web server, each on a connection of its own; writes what became of each as JSON.

use std::{
    collections::BTreeMap,
    io::{BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::mpsc,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::{http, pattern::Body, say};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    address: SocketAddr,
    /// Requests a second.
    #[arg(long, default_value_t = 50)]
    rate: u32,
    #[arg(long)]
    seconds: f64,
    /// Bytes of each answer.
    #[arg(long, default_value_t = 2000)]
    bytes: usize,
    /// A request that has no whole answer by then has failed, in seconds.
    #[arg(long, default_value_t = 2.0)]
    patience: f64,
    /// Where the report is written.
    #[arg(long)]
    report: PathBuf,
}

/// What became of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Answered,
    Failed,
    /// The answer was whole, and another one.
    Wrong,
}

/// One request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Request {
    /// When it began, in nanoseconds since 1970.
    pub(crate) began: u64,
    /// How much later than it should have.
    pub(crate) late_ms: u32,
    pub(crate) took_ms: u32,
    pub(crate) outcome: Outcome,
}

/// All requests, as they began. Written in few letters: there are thousands.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) requests: Vec<Request>,
    /// Why requests failed, and how many of each.
    pub(crate) failures: BTreeMap<String, usize>,
}

pub(crate) fn main(options: &Options) -> Result<()> {
    ensure!(options.rate > 0, "the rate is requests a second, at least 1");
    let count = (options.seconds * f64::from(options.rate)) as u32;
    let expected = Body::sha256(options.bytes);
    let (sender, receiver) = mpsc::channel();
    let start = Instant::now();
    say("ready")?;
    let ended: Vec<(Request, Option<String>)> = thread::scope(|scope| {
        for index in 0..count {
            let due = start + Duration::from_secs(1) * index / options.rate;
            // The rate is what is asked for: there is no event to wait for.
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let (sender, expected) = (sender.clone(), &expected);
            scope.spawn(move || sender.send(request(options, expected, due)).ok());
        }
        drop(sender);
        receiver.iter().collect::<Result<_>>()
    })?;
    let mut failures = BTreeMap::new();
    for error in ended.iter().filter_map(|(_, error)| error.clone()) {
        *failures.entry(error).or_default() += 1;
    }
    let mut requests: Vec<Request> = ended.into_iter().map(|(request, _)| request).collect();
    requests.sort_by_key(|request| request.began);
    // The case reads this file: in a log it would hide everything else.
    std::fs::write(&options.report, serde_json::to_string(&Report { requests, failures })?)?;
    say("done")
}

fn request(options: &Options, expected: &str, due: Instant) -> Result<(Request, Option<String>)> {
    let started = Instant::now();
    let began = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;
    let (outcome, error) = match ask(options, started) {
        Ok(hash) if hash == expected => (Outcome::Answered, None),
        Ok(_) => (Outcome::Wrong, None),
        Err(error) => (Outcome::Failed, Some(format!("{error:#}"))),
    };
    let milliseconds = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    let late_ms = milliseconds(started.saturating_duration_since(due));
    Ok((Request { began, late_ms, took_ms: milliseconds(started.elapsed()), outcome }, error))
}

fn ask(options: &Options, started: Instant) -> Result<String> {
    let deadline = started + Duration::from_secs_f64(options.patience);
    let left = || Some(deadline.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero());
    let mut stream = TcpStream::connect_timeout(&options.address, left().context("too late")?)?;
    let path = format!("/bytes/{}", options.bytes);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n", options.address)?;
    stream.set_read_timeout(Some(left().context("too late")?))?;
    let mut stream = BufReader::new(stream);
    let (_, length) = http::read_answer(&mut stream)?;
    let (mut hash, mut bytes, mut buffer) = (Context::new(&SHA256), 0, vec![0; 16 * 1024]);
    loop {
        stream.get_ref().set_read_timeout(Some(left().context("too late")?))?;
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        bytes += read;
    }
    ensure!(bytes == length, "{bytes} of {length} bytes came");
    Ok(hex::encode(hash.finish()))
}

impl Report {
    /// Of the requests that began after this time and after the last failure: how long after this time the first of them was
    /// answered, in seconds; nothing when failures went on to the end.
    pub(crate) fn recovered_after(&self, fault: u64) -> Option<f64> {
        let after = self.requests.iter().filter(|request| request.began > fault);
        let last_failure = after.clone().filter(|request| request.outcome != Outcome::Answered).map(|r| r.began).max();
        let sound = after.filter(|request| last_failure.is_none_or(|last| request.began > last));
        let answered = sound.map(|request| request.began + u64::from(request.took_ms) * 1_000_000).min()?;
        Some((answered - fault) as f64 / 1e9)
    }

    /// The longest time an answer took, in milliseconds.
    pub(crate) fn slowest(&self) -> u32 {
        let answered = self.requests.iter().filter(|request| request.outcome == Outcome::Answered);
        answered.map(|request| request.took_ms).max().unwrap_or_default()
    }

    pub(crate) fn count(&self, outcome: Outcome) -> usize {
        self.requests.iter().filter(|request| request.outcome == outcome).count()
    }

    /// How late the latest request began, in milliseconds: what the machine itself adds.
    pub(crate) fn worst_lag(&self) -> u32 {
        self.requests.iter().map(|request| request.late_ms).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcomes: &[Outcome]) -> Report {
        let request = |(index, outcome): (usize, &Outcome)| Request {
            began: index as u64 * 1_000_000_000,
            late_ms: 0,
            took_ms: 500,
            outcome: *outcome,
        };
        Report { requests: outcomes.iter().enumerate().map(request).collect(), failures: BTreeMap::new() }
    }

    #[test]
    fn it_has_recovered_with_the_first_answer_after_the_last_failure() {
        use Outcome::{Answered, Failed};
        let report = report(&[Answered, Answered, Failed, Answered, Failed, Answered, Answered]);
        assert_eq!(report.recovered_after(500_000_000), Some(5.0));
        assert_eq!(report.count(Failed), 2);
        assert_eq!(self::report(&[Answered, Failed]).recovered_after(0), None);
        assert_eq!(self::report(&[Answered, Answered]).recovered_after(0), Some(1.5));
    }
}
