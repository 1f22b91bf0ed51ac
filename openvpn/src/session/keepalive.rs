//! Pings both ways, `inactive`, and renegotiation by volume: all read the data channel's counters now and then.

use std::time::{Duration, Instant};

use adit_tunnel::{Event, FlowId, Retry};
use bytes::Bytes;

use super::{Phase, Session, Timer, keys::Totals};
use crate::{config::Settings, data::PING_PAYLOAD, error::SessionError};

/// When the data channel was last seen to be alive.
pub(super) struct Keepalive {
    seen: Totals,
    looked_at: Instant,
    last_sent: Instant,
    last_received: Instant,
    /// Since when `inactive` counts, and the bytes carried until then.
    inactive_since: Instant,
    inactive_bytes: u64,
    interval: Duration,
}

impl Keepalive {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            seen: Totals::default(),
            looked_at: now,
            last_sent: now,
            last_received: now,
            inactive_since: now,
            inactive_bytes: 0,
            interval: MAX_INTERVAL,
        }
    }

    /// An authentic control packet has come.
    pub(super) fn on_received(&mut self, now: Instant) {
        self.last_received = now;
    }
}

impl Session {
    /// Begins to look at the counters, as the pulled options say.
    pub(super) fn start_keepalive(&mut self, now: Instant) {
        let options = &self.options;
        let times = [options.ping, options.ping_restart, options.ping_exit, options.inactive.map(|(time, _)| time)];
        let shortest = times.into_iter().flatten().min().unwrap_or(MAX_INTERVAL);
        self.keepalive = Keepalive::new(now);
        self.keepalive.interval = (shortest / 4).clamp(MIN_INTERVAL, MAX_INTERVAL);
        self.timers.set(Timer::Sample, now + self.keepalive.interval);
        if let Some(limit) = options.session_timeout {
            self.timers.set(Timer::SessionTimeout, self.started + limit);
        }
    }

    pub(super) fn sample(&mut self, now: Instant) {
        let totals = self.keys.totals();
        let keepalive = &mut self.keepalive;
        if totals.sealed_packets != keepalive.seen.sealed_packets {
            // Perhaps right after the last look: taken so, a ping is never late.
            keepalive.last_sent = keepalive.looked_at;
        }
        if totals.opened_packets != keepalive.seen.opened_packets {
            keepalive.last_received = now;
        }
        (keepalive.seen, keepalive.looked_at) = (totals, now);
        self.timers.set(Timer::Sample, now + keepalive.interval);
        if self.check_silence(now) || self.check_inactive(now, totals) {
            return;
        }
        self.ping(now);
        self.check_volume(now);
    }

    fn check_silence(&mut self, now: Instant) -> bool {
        let silence = now.duration_since(self.keepalive.last_received);
        let is_over = |limit: Option<Duration>| limit.is_some_and(|limit| silence >= limit);
        if is_over(self.options.ping_exit) {
            self.fail(now, SessionError::Silence { silence, directive: "ping-exit" }, Retry::Never);
        } else if is_over(self.options.ping_restart) {
            self.fail(now, SessionError::Silence { silence, directive: "ping-restart" }, Retry::NextAddress);
        } else {
            return false;
        }
        true
    }

    fn check_inactive(&mut self, now: Instant, totals: Totals) -> bool {
        let Some((limit, bytes)) = self.options.inactive else { return false };
        let keepalive = &mut self.keepalive;
        let carried = totals.sealed_bytes + totals.opened_bytes;
        if carried - keepalive.inactive_bytes >= bytes.max(1) {
            (keepalive.inactive_since, keepalive.inactive_bytes) = (now, carried);
        }
        if now.duration_since(keepalive.inactive_since) < limit {
            return false;
        }
        self.fail(now, SessionError::Inactive, Retry::Never);
        true
    }

    fn ping(&mut self, now: Instant) {
        let Some(limit) = self.options.ping else { return };
        // Not a quarter too late: the next look would come after the limit.
        if now.duration_since(self.keepalive.last_sent) + self.keepalive.interval > limit {
            self.keepalive.last_sent = now;
            self.events.push_back(Event::Inject { flow: FlowId::default(), packet: Bytes::from_static(&PING_PAYLOAD) });
        }
    }

    /// Renegotiates before packet ids run out, and as `reneg-bytes` and `reneg-pkts` say.
    fn check_volume(&mut self, now: Instant) {
        let settings = &self.config.settings;
        let newest = self.keys.newest();
        let over = |carried: u64, limit: u64| limit > 0 && carried >= limit;
        let packets = newest.sealed_packets.max(newest.opened_packets);
        let due = over(packets, PACKET_ID_LIMIT)
            || over(packets, settings.reneg_packets)
            || over(newest.sealed_bytes.max(newest.opened_bytes), settings.reneg_bytes);
        if self.keys.sealing_is_exhausted(PACKET_ID_LIMIT) {
            self.switch_sealer();
        }
        if due && self.phase == Phase::Up && self.slot.is_ready() && !self.keys.sealer_waits() {
            self.renegotiate(now, "us, by volume");
        }
    }
}

/// Whether the profile leaves it to the server how long silence may last; 0 would say "for ever".
pub(super) fn is_unsaid(settings: &Settings) -> bool {
    settings.ping_restart.is_none() && settings.ping_exit.is_none()
}

/// 2.x renegotiates there (`packet_id.h`): 16 million packets before the last.
const PACKET_ID_LIMIT: u64 = 0xff00_0000;
/// What 2.x clients take over UDP until a server pushes something else (openvpn.8, `--ping-restart`; seen with 2.6.14).
pub(super) const PULL_PING_RESTART: Duration = Duration::from_secs(120);
/// A short `ping` must not make us busy.
const MIN_INTERVAL: Duration = Duration::from_millis(250);
/// At a million packets a second, packet ids last 16 s from the limit above.
const MAX_INTERVAL: Duration = Duration::from_secs(5);
