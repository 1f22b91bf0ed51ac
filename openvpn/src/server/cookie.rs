//! Cookies: session ids of ours that can be computed again, so that nothing is remembered of a client before it has shown that
//! it receives what is sent to its address (OpenVPN 2.6 `ssl_pkt.c`, session_id_hmac).

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use adit_tunnel::Random;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::{
    algorithms::Digest,
    control::packet::SessionId,
    crypto::{Crypto, Hmac},
};

/// Makes cookies and knows them again.
pub(super) struct Cookies {
    key: Box<dyn Hmac>,
    start: Instant,
    slot: Duration,
}

impl Cookies {
    /// A cookie is good for one to one and a half of `hand_window`.
    pub(super) fn new(random: &mut dyn Random, crypto: &dyn Crypto, hand_window: Duration, start: Instant) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        random.fill(key.as_mut_slice());
        Self { key: crypto.hmac(Digest::Sha256, key.as_slice()), start, slot: (hand_window / 2).max(SHORTEST_SLOT) }
    }

    /// Our session id for this client.
    pub(super) fn make(&self, now: Instant, client: SocketAddr, client_session: SessionId) -> SessionId {
        self.of_slot(self.slot_at(now), client, client_session)
    }

    /// Whether the session id is one that [`Self::make`] gave this client lately. Takes the same time whatever is wrong.
    pub(super) fn is_ours(
        &self,
        now: Instant,
        client: SocketAddr,
        client_session: SessionId,
        session_id: SessionId,
    ) -> bool {
        let newest = self.slot_at(now);
        let matches = (0..ACCEPTED_SLOTS).fold(Choice::from(0), |any, age| {
            let made = self.of_slot(newest.wrapping_sub(age), client, client_session);
            any | made.bytes().ct_eq(session_id.bytes())
        });
        matches.into()
    }

    fn slot_at(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.start).as_millis();
        u64::try_from(elapsed / self.slot.as_millis()).unwrap_or(u64::MAX)
    }

    fn of_slot(&self, slot: u64, client: SocketAddr, client_session: SessionId) -> SessionId {
        let ip = match client.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let mut mac = [0; 64];
        let port = client.port().to_be_bytes();
        self.key.sign(&[&slot.to_be_bytes(), &ip.octets(), &port, client_session.bytes()], &mut mac);
        let bytes = mac.first_chunk().copied().unwrap_or_default();
        // Zero is no session id; once in 2^64 cookies.
        SessionId::new(bytes).unwrap_or(SessionId::FALLBACK)
    }
}

/// The slot at hand and the two before it (2.6 `ssl_pkt.c`).
const ACCEPTED_SLOTS: u64 = 3;
/// Keeps a division from failing.
const SHORTEST_SLOT: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use adit_testing::SeededRandom;

    use super::*;
    use crate::{
        crypto::Ring,
        tests::{START, secs},
    };

    const CLIENT: &str = "192.0.2.7:40000";

    fn cookies(seed: u64) -> Cookies {
        Cookies::new(&mut SeededRandom::new(seed), &Ring, secs(60), *START)
    }

    fn session(byte: u8) -> SessionId {
        SessionId::new([byte; 8]).unwrap()
    }

    #[test]
    fn a_cookie_is_known_again_for_the_hand_window() {
        let (cookies, client) = (cookies(1), CLIENT.parse().unwrap());
        for start in [0, 17, 29, 1_000_000] {
            let made_at = *START + secs(start);
            let cookie = cookies.make(made_at, client, session(1));
            for (age, known) in [(0, true), (59, true), (90, false), (10_000, false)] {
                assert_eq!(cookies.is_ours(made_at + secs(age), client, session(1), cookie), known, "{start} + {age}");
            }
        }
    }

    #[test]
    fn a_cookie_is_for_one_address_one_port_and_one_session_of_one_server() {
        let client = CLIENT.parse().unwrap();
        let (ours, foreign) = (cookies(1), cookies(2));
        let cookie = ours.make(*START, client, session(1));
        assert!(ours.is_ours(*START, client, session(1), cookie));
        assert!(!ours.is_ours(*START, "192.0.2.7:40001".parse().unwrap(), session(1), cookie));
        assert!(!ours.is_ours(*START, "192.0.2.8:40000".parse().unwrap(), session(1), cookie));
        assert!(!ours.is_ours(*START, "[2001:db8::7]:40000".parse().unwrap(), session(1), cookie));
        assert!(!ours.is_ours(*START, client, session(2), cookie));
        assert!(!foreign.is_ours(*START, client, session(1), cookie));
    }

    /// CVE-2025-13086 was a comparison with its meaning turned around.
    #[test]
    fn a_cookie_with_any_changed_bit_is_refused() {
        let (cookies, client) = (cookies(1), CLIENT.parse().unwrap());
        let cookie = *cookies.make(*START, client, session(1)).bytes();
        for bit in 0..64 {
            let mut changed = cookie;
            changed[bit / 8] ^= 1 << (bit % 8);
            let changed = SessionId::new(changed).unwrap();
            assert!(!cookies.is_ours(*START, client, session(1), changed), "bit {bit}");
        }
    }

    #[test]
    fn a_cookie_of_the_future_is_refused() {
        let (cookies, client) = (cookies(1), CLIENT.parse().unwrap());
        let cookie = cookies.make(*START + secs(30), client, session(1));
        assert!(!cookies.is_ours(*START, client, session(1), cookie));
    }
}
