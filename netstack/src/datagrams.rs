//! The UDP part of the stack's interface.

use std::{net::SocketAddr, time::Instant};

use crate::{
    ConnectError, Stack, UdpError, UdpId,
    demux::{FIRST_PORT, PORTS},
    udp::{self, SOCKET_COST, UdpSocket},
};

impl Stack {
    /// Opens a UDP socket on a free port, the same in both families.
    ///
    /// Like behind a firewall, only remotes that were sent to within [`udp_idle`](crate::StackConfig::udp_idle) may send
    /// to it; others get ICMP port unreachable.
    ///
    /// # Errors
    /// `NoAddressOfFamily` without any address, `TooManyConnections`, `NoPort`, `NoMemory`.
    pub fn bind_udp(&mut self) -> Result<UdpId, ConnectError> {
        let result = self.try_bind_udp();
        if let Err(error) = result {
            self.count_refusal(error);
        }
        result
    }

    /// Opens a UDP socket on a port of our own addresses that anybody may send to, now or once there are addresses.
    ///
    /// # Errors
    /// `PortInUse`, `TooManyConnections`, `NoMemory`.
    pub fn bind_udp_port(&mut self, port: u16) -> Result<UdpId, ConnectError> {
        let result = self.try_bind_udp_port(port);
        if let Err(error) = result {
            self.count_refusal(error);
        }
        result
    }

    fn try_bind_udp_port(&mut self, port: u16) -> Result<UdpId, ConnectError> {
        if port == 0 || self.ports.contains_key(&port) {
            return Err(ConnectError::PortInUse);
        }
        if self.sockets.len() >= self.config.max_connections {
            return Err(ConnectError::TooManyConnections);
        }
        if !self.budget.charge(SOCKET_COST) {
            return Err(self.no_memory());
        }
        let key = self.sockets.insert(UdpSocket::open(port));
        self.ports.insert(port, key);
        Ok(UdpId(key))
    }

    fn try_bind_udp(&mut self) -> Result<UdpId, ConnectError> {
        if self.config.addresses.is_empty() {
            return Err(ConnectError::NoAddressOfFamily);
        }
        if self.sockets.len() >= self.config.max_connections {
            return Err(ConnectError::TooManyConnections);
        }
        let start = self.random.below(PORTS);
        let mut ports = (0..PORTS).map(|step| FIRST_PORT + (start + step) % PORTS);
        let port = ports.find(|port| !self.ports.contains_key(port)).ok_or(ConnectError::NoPort)?;
        if !self.budget.charge(SOCKET_COST) {
            return Err(self.no_memory());
        }
        let key = self.sockets.insert(UdpSocket::bound(port));
        self.ports.insert(port, key);
        Ok(UdpId(key))
    }

    /// Queues a datagram; it leaves with the next [`poll_packets`](Self::poll_packets). The queue holds 256 KiB.
    ///
    /// # Errors
    /// `TooLarge` for what does not fit into one packet, `QueueFull` and `NoMemory` for a datagram that is dropped as UDP
    /// may, `NoAddressOfFamily`, `Unaddressable`, `Closed`.
    pub fn send_udp(&mut self, now: Instant, id: UdpId, remote: SocketAddr, payload: &[u8]) -> Result<(), UdpError> {
        let now = self.clock.advance(now);
        let remote = (remote.ip().to_canonical(), remote.port());
        let source = self.source_for(remote.0);
        let socket = self.sockets.get_mut(id.0).ok_or(UdpError::Closed)?;
        if !self.config.is_peer(remote.0) || remote.1 == 0 {
            return Err(UdpError::Unaddressable);
        }
        let local = match socket.association() {
            Some(tuple) if tuple.remote == remote => tuple.local,
            Some(_) => return Err(UdpError::Unaddressable),
            None => (source.ok_or(UdpError::NoAddressOfFamily)?, socket.port()),
        };
        let limit = udp::payload_limit(self.config.mtu_for(remote.0), remote.0);
        if payload.len() > limit {
            return Err(UdpError::TooLarge { limit });
        }
        self.identification = self.identification.wrapping_add(1);
        let packet = udp::packet(local, remote, self.identification, payload).ok_or(UdpError::TooLarge { limit })?;
        let cost = udp::cost(packet.len());
        if !socket.may_send(cost) {
            self.counters.udp_dropped += 1;
            return Err(UdpError::QueueFull);
        }
        if !self.budget.charge(cost) {
            self.counters.udp_dropped += 1;
            return Err(UdpError::NoMemory);
        }
        socket.associate(now, remote, self.config.udp_idle);
        socket.queue_to_send(packet);
        self.make_udp_ready(id.0);
        Ok(())
    }

    /// Fetches a datagram: from whom, and how many bytes of it were written to `buf`. What does not fit is lost.
    pub fn receive_udp(&mut self, id: UdpId, buf: &mut [u8]) -> Option<(SocketAddr, usize)> {
        let socket = self.sockets.get_mut(id.0)?;
        socket.announced = false;
        let (from, payload, cost) = socket.next_received()?;
        self.budget.give_back(cost);
        let len = payload.len().min(buf.len());
        if let (Some(space), Some(start)) = (buf.get_mut(..len), payload.get(..len)) {
            space.copy_from_slice(start);
        }
        Some((from, len))
    }

    /// Closes a UDP socket or association; what it had queued is dropped.
    pub fn close_udp(&mut self, id: UdpId) {
        if let Some(socket) = self.sockets.remove(id.0) {
            match (socket.association(), socket.idle_since()) {
                (Some(tuple), Some((_, deadline))) => self.associations.remove(&tuple, deadline),
                _ => {
                    self.ports.remove(&socket.port());
                }
            }
            self.budget.give_back(socket.charged() + SOCKET_COST);
        }
    }

    /// The local port of a UDP socket or association.
    #[must_use]
    pub fn udp_port(&self, id: UdpId) -> Option<u16> {
        self.sockets.get(id.0).map(UdpSocket::port)
    }
}
