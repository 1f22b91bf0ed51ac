//! What both ends want at once, and what comes at the wrong time (RFC 7296 §2.8, §2.25): every datagram is carried by hand, while
//! packets flow. Names are those of strongSwan's collision suite.
//!
//! In the diagrams A begins and B is the other end. Each test is run with the client as A, and with the gateway.
