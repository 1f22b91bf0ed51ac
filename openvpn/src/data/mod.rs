//! The data channel: sealer and opener.
