//! Systems without a TUN device of ours.

use std::{
    convert::Infallible,
    io,
    task::{Context, Poll},
};

use adit_netstack::PacketSink;
use adit_tunnel::IpNet;

/// There is none.
#[derive(Debug)]
pub(crate) struct Reader(Infallible);

/// There is none.
#[derive(Debug)]
pub(crate) struct Writer(Infallible);

pub(crate) fn open(_: Option<&str>, _: u16, _: &[IpNet]) -> io::Result<(Reader, Writer)> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "TUN devices are supported on Linux only"))
}

impl Reader {
    pub(crate) fn poll_fill(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self.0 {}
    }

    pub(crate) fn next_len(&self) -> Option<usize> {
        match self.0 {}
    }

    pub(crate) fn write(&mut self, _: &mut [u8]) {
        match self.0 {}
    }

    pub(crate) fn discard(&mut self) -> u64 {
        match self.0 {}
    }
}

impl Writer {
    pub(crate) fn name(&self) -> &str {
        match self.0 {}
    }

    pub(crate) fn deliver(&mut self, _: &[u8]) {
        match self.0 {}
    }

    pub(crate) fn flush(&mut self) -> u64 {
        match self.0 {}
    }
}

/// There is none.
#[derive(Debug)]
pub(crate) struct Port(Infallible);

impl Port {
    pub(crate) fn name(&self) -> &str {
        match self.0 {}
    }

    pub(crate) fn set_tcp_mtu(&mut self, _: u16) {
        match self.0 {}
    }

    pub(crate) fn deliver(&mut self, _: &[u8]) {
        match self.0 {}
    }

    pub(crate) fn flush(&mut self) {
        match self.0 {}
    }

    pub(crate) fn take_dropped(&mut self) -> u64 {
        match self.0 {}
    }

    pub(crate) fn poll_packets(&mut self, _: &mut Context<'_>, _: &mut dyn PacketSink) -> io::Result<()> {
        match self.0 {}
    }
}
