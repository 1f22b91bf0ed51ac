//! ESP in tunnel mode and in user space: a sealer and an opener for each SA, values without I/O, lock, clock or allocation
//! per packet (RFC 4303).
//!
//! ```text
//! SPI:u32 | sequence number:u32 | IV | ciphertext of ( packet | TFC padding | 1, 2, 3, … | pad length:u8 | next header:u8 ) | ICV
//!
//! AEAD            IV[8]; covers SPI and sequence number as additional data, with ESN all 64 bits of the latter
//!                 (RFC 4106, RFC 4309, RFC 7634)
//! CBC, CTR        IV of a block, or 8 bytes; the ICV is an HMAC of everything before it, with ESN also of the high half of
//!                 the sequence number, which is never sent (RFC 3602, RFC 3686, RFC 4868)
//! ```
//!
//! UDP encapsulation adds nothing here: the datagram is the ESP packet (RFC 3948 §2.1). Not built: finding back to a peer
//! that is 2^32 packets ahead with ESN (RFC 4303 appendix A3); liveness checks and rekeying come long before.

mod opener;
mod packet;
mod protection;
mod sealer;

#[cfg(test)]
mod tests;

pub(crate) use self::protection::seal_content;
pub use self::{opener::EspOpener, sealer::EspSealer};
