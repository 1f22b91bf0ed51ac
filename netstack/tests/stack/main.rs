//! Our stack against a plain smoltcp host over a simulated link, on a virtual clock.
//!
//! Seeds are fixed; `TUNNEL_TEST_SEED` sets another one.

mod associations;
mod bounds;
mod client;
mod close;
mod craft;
mod fragments;
mod garbage;
mod host;

mod icmp;
mod incoming;
mod incoming_bounds;
mod link;
mod matrix;
mod owned;
mod pair;
mod reconfigure;
mod refit;
mod reuse;
mod serving;
mod sizes;
mod transfer;
mod udp;
mod world;
