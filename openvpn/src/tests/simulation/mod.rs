//! Our client and our server in a world whose loss, delay and timing we control. One claim a file, for many seeds.

mod handshakes;
mod idle;
mod model;
mod renegotiation;
mod variants;

use adit_testing::Pair;

use crate::{Server, Session};

/// Both ends in one world.
type World = Pair<Session, Server>;
