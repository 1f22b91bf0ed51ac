//! Examples of use: see `examples/`.
//!
//! * `connect_and_dial`: an HTTP request to a host behind the gateway;
//! * `print_profile`: what becomes of each line of a profile;
//! * `sans_io`: the state machine with a socket of the standard library, without tokio.
