//! What the stack counts.

/// Numbers since the stack was made; none of them is ever reset.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Packets given to [`Stack::handle_packet`](crate::Stack::handle_packet).
    pub packets_in: u64,
    /// Packets handed to a [`PacketSink`](crate::PacketSink).
    pub packets_out: u64,
    /// TCP segments sent again, with a SYN, data or a FIN.
    pub retransmits: u64,
    /// Packets dropped because a header was truncated or inconsistent.
    pub malformed: u64,
    /// Packets dropped because of a wrong IPv4, TCP, UDP or ICMP checksum.
    pub bad_checksum: u64,
    /// Packets dropped because they are not for one of our addresses, or not from a unicast address.
    pub misaddressed: u64,
    /// With [`Accept::Any`](crate::Accept): packets dropped because their source is none of the peers' addresses.
    pub not_from_peer: u64,
    /// Fragments received.
    pub fragments: u64,
    /// Fragments dropped: of IPv6, malformed, overlapping, or beyond the bounds of reassembly.
    pub fragments_dropped: u64,
    /// Packets put together from fragments.
    pub reassembled: u64,
    /// Packets dropped because we do not speak their protocol.
    pub unknown_protocol: u64,
    /// TCP segments of no known connection.
    pub unknown_tcp: u64,
    /// UDP datagrams of no known association.
    pub unknown_udp: u64,
    /// TCP segments dropped before they reach a connection: they cannot be part of an honest exchange.
    pub implausible: u64,
    /// RSTs sent for unknown segments and refused connections.
    pub resets_sent: u64,
    /// ICMP errors sent: for unknown datagrams, and for what was refused.
    pub unreachables_sent: u64,
    /// Echo requests answered.
    pub echoes_answered: u64,
    /// Answers (RST, ICMP) not sent because of the rate limit, because nobody fetched the earlier ones, or because the stack is
    /// [quiet](crate::Stack::set_quiet).
    pub answers_suppressed: u64,
    /// ICMP errors that were about one of our connections or associations and were acted on.
    pub icmp_accepted: u64,
    /// ICMP errors ignored: not about us, implausible, or not fatal in the state of the connection.
    pub icmp_ignored: u64,
    /// Datagrams dropped because a queue or the memory budget was full, in either direction.
    pub udp_dropped: u64,
    /// Connections that began at the other end.
    pub incoming: u64,
    /// SYNs dropped because too many wait to be accepted, too many connections exist, or the memory budget is full.
    pub incoming_dropped: u64,
    /// Connections and associations that were refused by [`Stack::refuse`](crate::Stack::refuse) or
    /// [`Stack::refuse_udp`](crate::Stack::refuse_udp).
    pub incoming_refused: u64,
    /// Associations that began at the other end.
    pub associations: u64,
    /// Associations closed before their time because others came.
    pub associations_evicted: u64,
    /// How often a connection did not get the larger buffers it asked for: half of a budget was taken, or they could not be exchanged.
    pub degraded: u64,
    /// Connections and sockets refused, for whatever reason.
    pub refused: u64,
    /// Those of them for which there was no memory, of the stack's own or of the [pool](crate::StackConfig::pool).
    pub refused_memory: u64,
    /// Those of them beyond [`StackConfig::max_connections`](crate::StackConfig::max_connections).
    pub refused_full: u64,
    /// How often a connection was looked at to see whether it has something to send. Grows with traffic, not with the
    /// number of idle connections.
    pub polls: u64,
}
