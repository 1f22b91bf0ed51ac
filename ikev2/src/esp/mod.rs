//! ESP in user space (RFC 4303).
