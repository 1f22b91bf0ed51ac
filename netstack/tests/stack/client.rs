//! The owner of a connection: acts on events alone, so that a lost event hangs the test.

use adit_netstack::{CloseReason, ConnectionId, Stack, StackEvent};

pub(crate) struct Client {
    pub(crate) id: ConnectionId,
    pub(crate) to_send: Vec<u8>,
    pub(crate) sent: usize,
    /// Shut down once everything is sent.
    pub(crate) shutdown: bool,
    pub(crate) received: Vec<u8>,
    /// Read nothing for now.
    pub(crate) lazy: bool,
    pub(crate) connected: bool,
    pub(crate) end: bool,
    pub(crate) error: Option<CloseReason>,
    pub(crate) closed: Option<CloseReason>,
    can_send: bool,
    can_receive: bool,
    shut: bool,
}

impl Client {
    pub(crate) fn new(id: ConnectionId) -> Self {
        Self {
            id,
            to_send: Vec::new(),
            sent: 0,
            shutdown: false,
            received: Vec::new(),
            lazy: false,
            connected: false,
            end: false,
            error: None,
            closed: None,
            can_send: false,
            can_receive: false,
            shut: false,
        }
    }

    /// Sends more than was wanted at first.
    pub(crate) fn send(&mut self, data: &[u8]) {
        self.to_send.extend_from_slice(data);
        self.can_send = self.connected;
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "all others are not for this client")]
    pub(crate) fn on_event(&mut self, event: StackEvent) -> bool {
        match event {
            StackEvent::Connected(id) if id == self.id => {
                assert!(!self.connected, "connected once");
                self.connected = true;
                self.can_send = true;
            }
            StackEvent::Writable(id) if id == self.id => self.can_send = true,
            StackEvent::Readable(id) if id == self.id => self.can_receive = true,
            StackEvent::Closed(id, reason) if id == self.id => {
                assert_eq!(self.closed.replace(reason), None, "closed once");
                self.can_receive = true;
            }
            _ => return false,
        }
        true
    }

    pub(crate) fn run(&mut self, stack: &mut Stack) {
        self.run_sender(stack);
        self.run_receiver(stack);
    }

    fn run_sender(&mut self, stack: &mut Stack) {
        while self.can_send && self.sent < self.to_send.len() {
            let rest = &self.to_send[self.sent..];
            let rest = &rest[..rest.len().min(10_000)];
            match stack.send(self.id, rest) {
                Ok(sent) => {
                    self.sent += sent;
                    self.can_send = sent == rest.len();
                }
                Err(error) => {
                    self.error = Some(error);
                    self.can_send = false;
                }
            }
        }
        if self.shutdown && !self.shut && self.connected && self.sent == self.to_send.len() {
            self.shut = true;
            stack.shutdown(self.id);
        }
    }

    fn run_receiver(&mut self, stack: &mut Stack) {
        let mut buf = [0; 7000];
        while self.can_receive && !self.lazy {
            match stack.receive(self.id, &mut buf) {
                Ok(Some(0)) => {
                    self.end = true;
                    self.can_receive = false;
                }
                Ok(Some(len)) => self.received.extend_from_slice(&buf[..len]),
                Ok(None) => self.can_receive = false,
                Err(error) => {
                    self.error = Some(error);
                    self.can_receive = false;
                }
            }
        }
    }
}

/// Bytes that are not the same when shifted or swapped.
pub(crate) fn pattern(len: usize, seed: u64) -> Vec<u8> {
    use adit_tunnel::Random;
    let mut bytes = vec![0; len];
    adit_testing::SeededRandom::new(seed).fill(&mut bytes);
    bytes
}
