//! Proposals and suites (RFC 7296 §2.7, §3.3).

/// Algorithms for the IKE SA, best first.
#[derive(Debug, Clone)]
pub struct IkeProposals;

/// Algorithms for ESP, best first.
#[derive(Debug, Clone)]
pub struct EspProposals;
