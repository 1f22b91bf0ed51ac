//! What `adit demo` does: both protocols at work, in this process and on loopback alone.
//!
//! ```text
//!  127.0.0.1:33000 ── client ═══ IKEv2 ═══▶ gateway ──╮
//!                                                     ├── the web server, which has no socket
//!  127.0.0.1:33001 ── client ══ OpenVPN ══▶ gateway ──╯
//! ```

mod keys;
mod lane;
mod page;
mod steps;
#[cfg(test)]
pub(crate) mod testing;

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

pub(crate) use self::steps::Steps;
use self::{
    keys::Keys,
    lane::{Kind, Lane},
};
use crate::{
    arguments::Demo,
    error::{Error, Exit},
    signals::Signals,
};

/// Far longer than it takes: something is wrong then.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn run(arguments: &Demo) -> Result<Exit, Error> {
    let mut signals = Signals::new()?;
    let start = Instant::now();
    let lanes = tokio::select! {
        biased;
        exit = signals.next() => return Ok(exit),
        lanes = tokio::time::timeout(PATIENCE, show()) => match lanes {
            Ok(lanes) => lanes?,
            Err(_) => {
                let problem = format!("the pages did not come within {} s", PATIENCE.as_secs());
                return Err(Error::new(Exit::Other, problem).hint("`adit demo -v` says more"));
            }
        },
    };
    tracing::info!("both pages are here, {} ms after the start", start.elapsed().as_millis());
    let exit = if arguments.once {
        Exit::Ok
    } else {
        say(&what_to_try(&lanes))?;
        let [one, two] = &lanes;
        tokio::select! {
            biased;
            exit = signals.next() => exit,
            error = one.ended() => return Err(error),
            error = two.ended() => return Err(error),
        }
    };
    let [one, two] = &lanes;
    tokio::select! {
        _ = async { tokio::join!(one.close(), two.close()) } => Ok(exit),
        again = signals.next() => Ok(again),
    }
}

/// One after the other, so that the steps can be followed.
async fn show() -> Result<[Lane; 2], Error> {
    tracing::info!(
        "two gateways, a web server behind them, and a client for each, all in this process and on loopback"
    );
    let unusable = |error| Error::new(Exit::Other, format!("no keys could be made: {error}"));
    let keys = Keys::make().map_err(unusable)?;
    tracing::info!("keys and certificates are made (ECDSA on P-256), for this run alone");
    // Both before either is used: whoever takes the port of one, its neighbour keeps its own.
    let [first, second] = lane::bind()?;
    let mut one = Lane::start(Kind::Ikev2, &keys, first).await?;
    say(&one.fetch().await?)?;
    let mut two = Lane::start(Kind::OpenVpn, &keys, second).await?;
    say(&two.fetch().await?)?;
    Ok([one, two])
}

fn what_to_try([one, two]: &[Lane; 2]) -> String {
    let (one, two) = (one.address(), two.address());
    format!(
        "\nTry it from another terminal, or with a browser; nothing but the tunnels leads to this page:\n    \
         curl {one}    through IKEv2\n    curl {two}    through OpenVPN\nCtrl-C ends it.\n"
    )
}

/// To standard output, between the steps.
fn say(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| Error::new(Exit::Other, format!("standard output: {error}")))
}
