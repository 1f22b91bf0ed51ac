//! The session: the current IKE SA and, while rekeying, its successor.
