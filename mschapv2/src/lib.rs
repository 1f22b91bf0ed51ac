//! MS-CHAPv2 (RFC 2759) and the keys made of it (RFC 3079).
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unreachable)]
