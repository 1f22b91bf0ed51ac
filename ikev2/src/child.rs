//! A child SA.
