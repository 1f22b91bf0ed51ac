//! Traffic selectors: narrowing, and the check of inner packets (RFC 7296 §2.9, RFC 4301 §5.2).
