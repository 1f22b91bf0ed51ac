//! Cookies: a newcomer shows that it receives what we send to its address, before we remember anything (RFC 7296 §2.6).

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use adit_tunnel::{Random, Secret};
use bytes::Bytes;
use ring::hmac;

use crate::message::IkeSpi;

/// The secrets that cookies are made with: the current one, and the one before, for cookies that are on their way.
pub(super) struct Cookies {
    secrets: [Secret; 2],
    since: Instant,
    /// Names the current secret.
    version: u8,
}

impl Cookies {
    pub(super) fn new(random: &mut dyn Random, now: Instant) -> Self {
        Self { secrets: [secret(random), secret(random)], since: now, version: 0 }
    }

    /// `<version> | HMAC(secret, Ni | IPi | SPIi)`.
    pub(super) fn make(
        &mut self,
        random: &mut dyn Random,
        now: Instant,
        from: IpAddr,
        spi: IkeSpi,
        ni: &[u8],
    ) -> Bytes {
        self.renew(random, now);
        let [current, _] = &self.secrets;
        let tag = hmac::sign(&key(current), &content(from, spi, ni));
        [&[self.version][..], tag.as_ref()].concat().into()
    }

    /// Whether we made this cookie for the same sender, not long ago.
    pub(super) fn verify(&self, now: Instant, from: IpAddr, spi: IkeSpi, ni: &[u8], cookie: &[u8]) -> bool {
        let Some((version, tag)) = cookie.split_first() else { return false };
        let [current, previous] = &self.secrets;
        let age = now.saturating_duration_since(self.since);
        let secret = match self.version.wrapping_sub(*version) {
            0 if age < LIFETIME * 2 => current,
            1 if age < LIFETIME => previous,
            _ => return false,
        };
        hmac::verify(&key(secret), &content(from, spi, ni), tag).is_ok()
    }

    fn renew(&mut self, random: &mut dyn Random, now: Instant) {
        let age = now.saturating_duration_since(self.since);
        if age < LIFETIME {
            return;
        }
        let [current, previous] = &mut self.secrets;
        // After a long silence the old one is too old for anything.
        *previous = if age < LIFETIME * 2 { current.clone() } else { secret(random) };
        *current = secret(random);
        self.version = self.version.wrapping_add(1);
        self.since = now;
    }
}

fn secret(random: &mut dyn Random) -> Secret {
    let mut bytes = [0; 32];
    random.fill(&mut bytes);
    Secret::new(bytes)
}

fn key(secret: &Secret) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.expose())
}

fn content(from: IpAddr, spi: IkeSpi, ni: &[u8]) -> Vec<u8> {
    let address = match from {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    [ni, &address, &spi.0.to_be_bytes()].concat()
}

/// How long a secret makes cookies; they are good for as long again. Our judgement: the way back and forth, and some tries.
const LIFETIME: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use adit_testing::SeededRandom;

    use super::*;
    use crate::tests::{START, secs};

    #[test]
    fn a_cookie_is_good_for_its_sender_alone_and_not_for_ever() {
        let mut random = SeededRandom::new(1);
        let mut cookies = Cookies::new(&mut random, *START);
        let (from, spi, ni) = (IpAddr::from([192, 0, 2, 1]), IkeSpi(1), [7; 32]);
        let cookie = cookies.make(&mut random, *START, from, spi, &ni);
        assert!((1..=64).contains(&cookie.len()));
        assert!(cookies.verify(*START, from, spi, &ni, &cookie));
        assert!(!cookies.verify(*START, [192, 0, 2, 2].into(), spi, &ni, &cookie));
        assert!(!cookies.verify(*START, from, IkeSpi(2), &ni, &cookie));
        assert!(!cookies.verify(*START, from, spi, &[8; 32], &cookie));
        for damaged in 0..cookie.len() {
            let mut bytes = cookie.to_vec();
            bytes[damaged] ^= 1;
            assert!(!cookies.verify(*START, from, spi, &ni, &bytes), "byte {damaged}");
            assert!(!cookies.verify(*START, from, spi, &ni, &cookie[..damaged]), "cut to {damaged}");
        }
        let later = cookies.make(&mut random, *START + secs(61), from, spi, &ni);
        assert_ne!(later, cookie);
        assert!(cookies.verify(*START + secs(61), from, spi, &ni, &cookie), "made with the secret before");
        assert!(!cookies.verify(*START + secs(122), from, spi, &ni, &cookie));
        cookies.make(&mut random, *START + secs(1000), from, spi, &ni);
        assert!(!cookies.verify(*START + secs(1000), from, spi, &ni, &later));
    }
}
