//! Message ids, retransmission and the cached answer, with a window of one request in each direction (RFC 7296 §2.1–§2.3).

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{config::Retransmission, message::MessageId};

/// Our requests: at most one waits for its response.
#[derive(Debug, Default)]
pub(crate) struct Requester {
    next: u32,
    in_flight: Option<InFlight>,
}

#[derive(Debug)]
struct InFlight {
    /// Sent again as they are: never encrypted twice (RFC 7296 §2.1).
    datagrams: Vec<Bytes>,
    sent: u32,
}

impl Requester {
    /// The first request has this id.
    pub(crate) const fn starting_at(next: u32) -> Self {
        Self { next, in_flight: None }
    }

    /// The id of the next request.
    pub(crate) const fn next_id(&self) -> MessageId {
        MessageId(self.next)
    }

    pub(crate) const fn is_idle(&self) -> bool {
        self.in_flight.is_none()
    }

    /// The request with [`Self::next_id`] has been sent once. Returns when to send it again.
    pub(crate) fn start(&mut self, datagrams: Vec<Bytes>, schedule: &Retransmission) -> Duration {
        self.in_flight = Some(InFlight { datagrams, sent: 1 });
        schedule.first
    }

    /// Whether a response with this id is waited for.
    pub(crate) const fn awaits(&self, id: MessageId) -> bool {
        self.in_flight.is_some() && self.next == id.0
    }

    /// The response has come.
    pub(crate) fn finish(&mut self) {
        if self.in_flight.take().is_some() {
            self.next = self.next.saturating_add(1);
        }
    }

    /// How often the request in flight was sent.
    pub(crate) fn sent(&self) -> u32 {
        self.in_flight.as_ref().map_or(0, |request| request.sent)
    }

    /// The request in flight counts as not sent yet: the way there was another.
    pub(crate) fn start_again(&mut self) {
        if let Some(request) = &mut self.in_flight {
            request.sent = 0;
        }
    }

    /// What to send again, and when to come back; `None` when the peer has been asked often enough.
    pub(crate) fn retransmit(&mut self, schedule: &Retransmission) -> Option<(&[Bytes], Duration)> {
        let request = self.in_flight.as_mut()?;
        if request.sent >= schedule.tries {
            return None;
        }
        request.sent += 1;
        let wait = schedule.wait(request.sent);
        if cfg!(adit_sabotage = "retransmission") {
            return Some((&[], wait)); // A deliberate fault: tests must notice that nothing is sent again.
        }
        Some((&request.datagrams, wait))
    }
}

impl Retransmission {
    /// The wait after the request was sent so often, at least once.
    fn wait(&self, sent: u32) -> Duration {
        self.first.saturating_mul(1u32.checked_shl(sent.saturating_sub(1)).unwrap_or(u32::MAX)).min(self.limit)
    }
}

/// The peer's requests: the next one, or the last one again.
#[derive(Debug, Default)]
pub(crate) struct Responder {
    expected: u32,
    last: Option<Answered>,
    /// Since when answers given again are counted, and how many there were.
    again: Option<(Instant, u32)>,
}

#[derive(Debug)]
struct Answered {
    /// The datagram of the request, or its first fragment. Whoever sends the same bytes again wants the same answer again; no other
    /// test is needed, for these were authentic.
    request: Bytes,
    response: Vec<Bytes>,
}

impl Responder {
    /// Whether this is the id of a request not seen yet.
    pub(crate) const fn expects(&self, id: MessageId) -> bool {
        self.expected == id.0
    }

    /// Whether this is the id of the request after the one that waits for its answer.
    pub(crate) const fn expects_next(&self, id: MessageId) -> bool {
        self.expected.saturating_add(1) == id.0
    }

    /// Whether the request with this id was answered last.
    pub(crate) const fn answered_last(&self, id: MessageId) -> bool {
        self.last.is_some() && id.0.saturating_add(1) == self.expected
    }

    /// Whether this very datagram was answered last.
    pub(crate) fn repeated(&self, datagram: &[u8]) -> bool {
        self.last.as_ref().is_some_and(|last| last.request == datagram)
    }

    /// Whether an answer may be given again now. Whoever repeats the bytes of a request may be anybody, and send them from
    /// anywhere.
    #[must_use]
    pub(crate) fn may_repeat(&mut self, now: Instant) -> bool {
        let since = self.again.filter(|(since, _)| now.saturating_duration_since(*since) < REPEATS_INTERVAL);
        let (since, times) = since.unwrap_or((now, 0));
        self.again = Some((since, times.saturating_add(1)));
        times < MAX_REPEATS
    }

    /// The response to send again.
    pub(crate) fn response(&self) -> &[Bytes] {
        self.last.as_ref().map_or(&[], |last| &last.response)
    }

    /// The request with the expected id was answered.
    pub(crate) fn answered(&mut self, request: Bytes, response: Vec<Bytes>) {
        self.expected = self.expected.saturating_add(1);
        self.last = Some(Answered { request, response });
    }
}

/// More often than any client asks again, and few enough to hurt nobody…
const MAX_REPEATS: u32 = 5;
/// … within this time. Our judgement.
const REPEATS_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule() -> Retransmission {
        let seconds = Duration::from_secs;
        Retransmission { first: seconds(1), limit: seconds(5), tries: 4 }
    }

    #[test]
    fn the_same_bytes_are_sent_until_the_tries_are_used_up() {
        let mut requester = Requester::default();
        let datagrams = vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")];
        let mut waits = vec![requester.start(datagrams.clone(), &schedule()).as_secs()];
        while let Some((again, wait)) = requester.retransmit(&schedule()) {
            assert_eq!(again, datagrams);
            waits.push(wait.as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 5]);
    }

    #[test]
    fn only_the_response_to_the_request_in_flight_is_waited_for() {
        let mut requester = Requester::starting_at(1);
        assert!(!requester.awaits(MessageId(1)));
        requester.start(vec![], &schedule());
        assert!(requester.awaits(MessageId(1)) && !requester.awaits(MessageId(0)) && !requester.awaits(MessageId(2)));
        requester.finish();
        assert_eq!(requester.next_id(), MessageId(2));
        requester.finish();
        assert_eq!(requester.next_id(), MessageId(2), "nothing was in flight");
    }

    #[test]
    fn the_last_request_again_gets_the_same_response() {
        let mut responder = Responder::default();
        assert!(responder.expects(MessageId(0)));
        responder.answered(Bytes::from_static(b"request"), vec![Bytes::from_static(b"response")]);
        assert!(responder.expects(MessageId(1)) && !responder.expects(MessageId(0)));
        assert!(responder.repeated(b"request") && !responder.repeated(b"other"));
        assert!(responder.answered_last(MessageId(0)) && !responder.answered_last(MessageId(1)));
        assert_eq!(responder.response(), [Bytes::from_static(b"response")]);
    }

    #[test]
    fn an_answer_is_given_again_only_so_often() {
        let (mut responder, start) = (Responder::default(), *crate::tests::START);
        let mut allowed =
            |at: u64| (0..100).filter(|_| responder.may_repeat(start + Duration::from_millis(at))).count();
        assert_eq!([0, 500, 999, 1000, 1500, 2100].map(&mut allowed), [5, 0, 0, 5, 0, 5]);
    }
}
