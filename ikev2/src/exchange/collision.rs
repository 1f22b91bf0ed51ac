//! Who wins when both ends rekey the same SA at once: a function of the nonces alone (RFC 7296 §2.8.1, §2.8.2).

use bytes::Bytes;

/// An end of an IKE SA, as seen from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Ours,
    Theirs,
}

/// The lower of the two nonces of an exchange, octet by octet; where one ends, it is the lower.
pub(crate) fn lowest(a: &Bytes, b: &Bytes) -> Bytes {
    a.min(b).clone()
}

/// Whose exchange made the redundant SA: the one with the lowest of all four nonces.
pub(crate) fn loser(ours: &Bytes, theirs: &Bytes) -> Side {
    // A deliberate fault, which tests must notice: the winner is taken for the loser.
    let (ours, theirs) = if cfg!(adit_sabotage = "collision") { (theirs, ours) } else { (ours, theirs) };
    if ours < theirs { Side::Ours } else { Side::Theirs }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonce(bytes: &'static [u8]) -> Bytes {
        Bytes::from_static(bytes)
    }

    #[test]
    fn the_exchange_with_the_lowest_nonce_loses() {
        assert_eq!(loser(&nonce(&[1, 9]), &nonce(&[2, 0])), Side::Ours);
        assert_eq!(loser(&nonce(&[2, 0]), &nonce(&[1, 9])), Side::Theirs);
    }

    /// "If you reach the end of one nonce, that nonce is the lower one."
    #[test]
    fn a_nonce_that_ends_first_is_lower() {
        assert_eq!(lowest(&nonce(&[5, 5, 0]), &nonce(&[5, 5])), nonce(&[5, 5]));
        assert_eq!(loser(&nonce(&[5, 5]), &nonce(&[5, 5, 0])), Side::Ours);
    }

    #[test]
    fn both_ends_name_the_same_loser() {
        let (a, b) = (nonce(&[7; 32]), nonce(&[8; 32]));
        assert_ne!(loser(&a, &b), loser(&b, &a));
    }
}
