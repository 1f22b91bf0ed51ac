//! The program as a gateway: `adit serve` and `adit demo`, as they are run, and ended by signals.
#![cfg(unix)]

mod demo;
mod forwards;
mod json;
mod operations;
mod running;
mod serve;
