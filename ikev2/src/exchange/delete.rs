//! INFORMATIONAL with Delete payloads (RFC 7296 §1.4.1).

use super::{Exchange, Wanted, create_child::MAX_DELETED};
use crate::{
    established::Established,
    message::{Delete, IkeSpi, Payload, numbers::ExchangeType},
    sa::Context,
};

impl Established {
    // INFORMATIONAL { D(our SPI) } -->
    pub(crate) fn delete_child(&mut self, cx: &mut Context<'_>, spi: IkeSpi, spi_in: u32) {
        let Some(child) = self.child(spi_in) else { return };
        child.deleting(cx);
        let payloads = vec![Payload::Delete(Delete::Esp(vec![spi_in]))];
        self.request(cx, spi, ExchangeType::INFORMATIONAL, payloads, Exchange::DeleteChild(spi_in));
    }

    /// Whatever the answer says, the peer knows the child no more.
    pub(crate) fn on_child_deleted(&mut self, cx: &mut Context<'_>, spi_in: u32) {
        if self.remove_child(cx, spi_in) && cx.end.is_client() {
            self.want(cx, Wanted::CreateChild);
        }
    }

    /// The children of a Delete payload of the peer. Returns our SPIs of those we were not deleting anyway (RFC 7296
    /// §1.4.1), and whether packets have nowhere to go now.
    pub(super) fn delete_by_peer(&mut self, cx: &mut Context<'_>, spis: &[u32]) -> (Vec<u32>, bool) {
        let (mut answered, mut lost) = (Vec::new(), false);
        for spi_out in spis {
            let Some(child) = self.children.iter().find(|child| child.spi_out == *spi_out) else {
                self.note_deleted(*spi_out);
                continue;
            };
            let spi_in = child.spi_in;
            if !child.is_deleting() {
                answered.push(spi_in);
            }
            lost |= self.remove_child(cx, spi_in);
        }
        (answered, lost)
    }

    /// The peer may have answered our request for a child, and deleted that child, before its answer arrives.
    fn note_deleted(&mut self, spi_out: u32) {
        for sa in &mut self.sas {
            if let Some(Exchange::CreateChild(exchange)) = &mut sa.exchange
                && exchange.deleted.len() < MAX_DELETED
            {
                exchange.deleted.push(spi_out);
            }
        }
    }
}
