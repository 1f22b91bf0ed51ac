//! Runs a test for many seeds, on all cores; a failing run prints one line that replays it.

use std::{
    any::Any,
    env, io,
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Instant,
};

/// Runs `test` for the seeds from 0 on: `count` of them, or as many as `ADIT_TEST_SEEDS` says; for one alone if `TUNNEL_TEST_SEED`
/// names it. Prints how many have passed, and for the smallest seed that fails the line that runs it again.
///
/// `name` is that of the test, as `cargo test` takes it.
///
/// # Panics
/// If `test` does for any seed.
pub fn seeds(name: &str, count: u64, test: impl Fn(u64) + Sync) {
    let count = number("ADIT_TEST_SEEDS").unwrap_or(count);
    let one = number("TUNNEL_TEST_SEED");
    let (first, last) = one.map_or((0, count), |seed| (seed, seed + 1));
    let started = Instant::now();
    let run = run(
        first,
        cores(),
        |seed| seed < last,
        |seed| {
            test(seed);
            1
        },
    );
    match run {
        Ok(units) => say(&format!("{name}: {units} seeds passed in {:.1} s", started.elapsed().as_secs_f64())),
        Err(failure) => panic!("{}", failure.report(name)),
    }
}

/// Runs random histories, one per seed, until they have made `steps` steps in sum, or as many as `ADIT_TEST_STEPS` says. `history`
/// returns how many steps it made. Otherwise as [`seeds`].
///
/// # Panics
/// If `history` does for any seed.
pub fn histories(name: &str, steps: u64, history: impl Fn(u64) -> u64 + Sync) {
    let steps = number("ADIT_TEST_STEPS").unwrap_or(steps);
    let one = number("TUNNEL_TEST_SEED");
    let made = AtomicU64::new(0);
    let (started, count) = (Instant::now(), AtomicU64::new(0));
    let goes_on = |seed| one.map_or_else(|| made.load(Relaxed) < steps, |one| seed == one);
    let run = run(one.unwrap_or(0), cores(), goes_on, |seed| {
        let done = history(seed);
        made.fetch_add(done, Relaxed);
        count.fetch_add(1, Relaxed);
        done
    });
    match run {
        Ok(done) => {
            let (count, time) = (count.into_inner(), started.elapsed().as_secs_f64());
            say(&format!("{name}: {done} steps in {count} histories passed in {time:.1} s"));
        }
        Err(failure) => panic!("{}", failure.report(name)),
    }
}

/// The smallest seed that failed.
#[derive(Debug)]
struct Failure {
    seed: u64,
    message: String,
}

impl Failure {
    fn report(&self, name: &str) -> String {
        let package = env::var("CARGO_PKG_NAME").unwrap_or_else(|_| "PACKAGE".to_owned());
        let (seed, message) = (self.seed, &self.message);
        format!("{name}, seed {seed}: {message}\nreplay: TUNNEL_TEST_SEED={seed} cargo test -p {package} {name}")
    }
}

/// Seeds are taken in order, so that all below the smallest that fails are run. Returns the sum of what the runs return.
fn run(
    first: u64,
    threads: usize,
    goes_on: impl Fn(u64) -> bool + Sync,
    test: impl Fn(u64) -> u64 + Sync,
) -> Result<u64, Failure> {
    let (next, sum, failure) = (AtomicU64::new(first), AtomicU64::new(0), Mutex::<Option<Failure>>::new(None));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Relaxed);
            let failed = failure.lock().is_ok_and(|failure| failure.as_ref().is_some_and(|other| other.seed < seed));
            if failed || !goes_on(seed) {
                return;
            }
            match catch_unwind(AssertUnwindSafe(|| test(seed))) {
                Ok(units) => drop(sum.fetch_add(units, Relaxed)),
                Err(panic) => {
                    let mut failure = failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    if failure.as_ref().is_none_or(|other| other.seed > seed) {
                        *failure = Some(Failure { seed, message: text(panic.as_ref()) });
                    }
                }
            }
        }
    };
    // A single run stays on the thread of the test, whose name its messages then carry.
    if threads <= 1 {
        work();
    } else {
        thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    }
    match failure.into_inner() {
        Ok(Some(failure)) => Err(failure),
        Ok(None) | Err(_) => Ok(sum.into_inner()),
    }
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("panicked").to_owned()
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Past the test harness, which keeps to itself what a passing test prints.
fn say(line: &str) {
    // Whether anybody reads it is not for a test to care about.
    io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_is_run_once() {
        let ran = Mutex::new(Vec::new());
        let run = run(
            0,
            4,
            |seed| seed < 100,
            |seed| {
                ran.lock().unwrap().push(seed);
                2
            },
        );
        assert_eq!(run.ok(), Some(200));
        let mut ran = ran.into_inner().unwrap();
        ran.sort_unstable();
        assert_eq!(ran, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn the_smallest_failing_seed_is_told_with_the_line_that_replays_it() {
        let fails = |seed: u64| {
            assert!(seed < 17, "no {seed}");
            1
        };
        for threads in [1, 4] {
            let failure = run(0, threads, |seed| seed < 1000, fails).expect_err("a failure");
            let report = failure.report("some_test");
            let replay = "\nreplay: TUNNEL_TEST_SEED=17 cargo test -p adit-testing some_test";
            assert_eq!(report, format!("some_test, seed 17: no 17{replay}"));
        }
    }

    #[test]
    fn nothing_runs_long_after_a_failure() {
        let count = AtomicU64::new(0);
        let run = run(
            0,
            2,
            |_| true,
            |seed| {
                count.fetch_add(1, Relaxed);
                assert!(seed < 10);
                1
            },
        );
        assert!(run.is_err_and(|failure| failure.seed == 10));
        assert!(count.into_inner() >= 11);
    }

    #[test]
    fn histories_go_on_until_the_steps_are_made() {
        let made = AtomicU64::new(0);
        histories("histories_go_on_until_the_steps_are_made", 1000, |_| {
            made.fetch_add(7, Relaxed);
            7
        });
        let made = made.into_inner();
        assert!(env::var_os("ADIT_TEST_STEPS").is_some() || env::var_os("TUNNEL_TEST_SEED").is_some() || made >= 1000);
    }
}
