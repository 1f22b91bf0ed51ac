//! A transfer and a numbered stream of datagrams side by side, paced to last so that something can happen to them.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};

use crate::{cases::faults::stream, ike::session::IkeSession, rig::check_body, tools::stream::Report};

/// Bytes a second of the transfer.
const RATE: usize = 128 * 1024;
/// Milliseconds between the datagrams of the stream.
const INTERVAL: u64 = 20;

/// A download and a stream to the echo.
pub(super) struct Transfer {
    pub(super) seconds: u64,
}

/// What became of the stream, when the download has come as it was sent.
pub(super) struct Ended(pub(super) Report);

impl Transfer {
    pub(super) fn run(&self, session: &IkeSession<'_>) -> Result<Ended> {
        self.run_beside(session, || Ok(()))
    }

    /// Runs, and does something when the first quarter is over.
    pub(super) fn run_beside(&self, session: &IkeSession<'_>, act: impl FnOnce() -> Result<()>) -> Result<Ended> {
        let Self { seconds } = *self;
        let (rig, length) = (session.rig, RATE * usize::try_from(seconds)?);
        let (answers, report) = thread::scope(|scope| {
            let path = format!("/paced/{length}/{seconds}");
            let download = scope.spawn(move || rig.fetch(session.client.web(), &path, &["--patience", "30"]));
            let (datagrams, interval) = ((seconds * 1000 / INTERVAL).to_string(), INTERVAL.to_string());
            let datagrams = scope.spawn(move || {
                let args = ["--count", &datagrams, "--interval", &interval, "--size", "400"];
                stream(rig, &session.client, &args)
            });
            wait_sent(session, u64::try_from(length / 4)?, Duration::from_secs(seconds + 30))?;
            act()?;
            let answers = download.join().map_err(|_| anyhow!("the download panicked"))?;
            let report = datagrams.join().map_err(|_| anyhow!("the stream panicked"))?;
            anyhow::Ok((answers, report))
        })?;
        let answers = answers.context("the transfer")?;
        let answer = answers.first().context("no answer")?;
        check_body(answer, length)?;
        ensure!(answer.seconds >= seconds as f64 - 1.0, "the transfer took only {:.1} s", answer.seconds);
        let report = report.context("the stream")?;
        ensure!(report.corrupted == 0, "{} datagrams came back changed", report.corrupted);
        Ok(Ended(report))
    }
}

impl Ended {
    pub(super) fn nothing_lost(&self) -> Result<()> {
        let lost = &self.0.lost;
        ensure!(lost.is_empty(), "{} of {} datagrams were lost: {lost:?}", lost.len(), self.0.sent);
        Ok(())
    }

    /// The longest time without an echo.
    pub(super) fn outage(&self) -> Duration {
        let (mut longest, mut run, mut before) = (0, 0, None);
        for number in &self.0.lost {
            run = if before == number.checked_sub(1) { run + 1 } else { 1 };
            before = Some(*number);
            longest = longest.max(run);
        }
        Duration::from_millis(longest * INTERVAL)
    }
}

/// Waits until the gateway has sent so much through its present CHILD_SA.
fn wait_sent(session: &IkeSession<'_>, bytes: u64, limit: Duration) -> Result<()> {
    let deadline = Instant::now() + limit;
    while session.gateway.sent()? < bytes {
        ensure!(Instant::now() < deadline, "the gateway has not sent {bytes} bytes within {limit:?}");
        // There is no event for it.
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
