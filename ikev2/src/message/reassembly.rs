//! Fragments of a message until it is whole (RFC 7383 §2.6).

use std::{cmp::Ordering, fmt};

use zeroize::Zeroizing;

use super::{
    header::Header,
    numbers::{ExchangeType, PayloadType},
    undecodable::{UnauthenticatedReason, Undecodable},
};

/// Where a fragment belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fragment {
    /// Counts from 1.
    pub(super) number: u16,
    pub(super) total: u16,
}

/// The fragments of one message of one direction. Fragments of a newer message displace those of an older one.
///
/// ```text
///  None ──first fragment──▶ Some(Partial) ──last one missing──▶ None
///                            ▲     │ newer message, or a higher total
///                            └─────┘
/// ```
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    partial: Option<Partial>,
}

/// A message of which fragments are missing.
#[derive(Debug)]
struct Partial {
    header: Header,
    /// The type of the first payload, told by the first fragment.
    first: PayloadType,
    /// One for each number.
    fragments: Vec<Option<Content>>,
}

/// Decrypted bytes; they may hold what must not outlive its use.
struct Content(Zeroizing<Vec<u8>>);

/// A message with all its fragments.
pub(super) struct Whole {
    pub(super) first: PayloadType,
    pub(super) content: Zeroizing<Vec<u8>>,
}

impl Reassembly {
    /// Windows sends more than 16, each of 576 bytes.
    const MAX_FRAGMENTS: u16 = 64;
    /// Of all fragments together.
    const MAX_BYTES: usize = 65536;
    /// The same while the peer may not have proved who it is: long chains of certificates have half of that. Our judgement.
    pub(crate) const MAX_BYTES_OF_STRANGERS: usize = 24 * 1024;

    /// Nothing there yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// What is to be checked before the fragment is verified (§2.6), since it costs less.
    pub(super) fn check(&self, header: &Header, fragment: &Fragment) -> Result<(), UnauthenticatedReason> {
        let Fragment { number, total } = *fragment;
        if number == 0 || number > total || total > Self::MAX_FRAGMENTS {
            return Err(UnauthenticatedReason::Fragment);
        }
        let Some(partial) = &self.partial else { return Ok(()) };
        if partial.header != *header {
            let newer = header.message_id > partial.header.message_id;
            return if newer { Ok(()) } else { Err(UnauthenticatedReason::Fragment) };
        }
        match partial.total().cmp(&total.into()) {
            Ordering::Greater => Err(UnauthenticatedReason::Fragment),
            Ordering::Equal if partial.has(number) => Err(UnauthenticatedReason::DuplicateFragment),
            Ordering::Equal | Ordering::Less => Ok(()),
        }
    }

    /// Keeps a fragment that was checked and verified. Returns the message if it was the last one missing.
    pub(super) fn add(
        &mut self,
        header: &Header,
        fragment: Fragment,
        first: PayloadType,
        content: &[u8],
    ) -> Result<Option<Whole>, Undecodable> {
        let total = usize::from(fragment.total);
        // The peer cut the message anew, smaller (§2.5.2), or this is another message.
        let kept = self.partial.take().filter(|partial| partial.header == *header && partial.total() == total);
        let mut partial = kept.unwrap_or_else(|| Partial::new(*header, total));
        if partial.bytes() + content.len() > Self::max_bytes(header) {
            return Err(UnauthenticatedReason::Fragment.into());
        }
        partial.put(fragment.number, first, content);
        match partial.whole() {
            Some(whole) => Ok(Some(whole)),
            None => {
                self.partial = Some(partial);
                Ok(None)
            }
        }
    }

    /// Only who is known may ask for CREATE_CHILD_SA, and a response is that of a peer we have asked.
    fn max_bytes(header: &Header) -> usize {
        let known = header.response || header.exchange == ExchangeType::CREATE_CHILD_SA;
        if known { Self::MAX_BYTES } else { Self::MAX_BYTES_OF_STRANGERS }
    }

    /// A whole message has come; fragments of it, or of one before it, are of no use any more.
    pub(super) fn finish(&mut self, header: &Header) {
        self.partial.take_if(|partial| partial.header.message_id <= header.message_id);
    }
}

impl Partial {
    fn new(header: Header, total: usize) -> Self {
        let fragments = std::iter::repeat_with(|| None).take(total).collect();
        Self { header, first: PayloadType::NONE, fragments }
    }

    fn put(&mut self, number: u16, first: PayloadType, content: &[u8]) {
        if let Some(slot) = self.fragments.get_mut(usize::from(number).saturating_sub(1)) {
            *slot = Some(Content(Zeroizing::new(content.to_vec())));
        }
        if number == 1 {
            self.first = first;
        }
    }

    fn total(&self) -> usize {
        self.fragments.len()
    }

    fn has(&self, number: u16) -> bool {
        self.fragments.get(usize::from(number).saturating_sub(1)).is_some_and(Option::is_some)
    }

    fn bytes(&self) -> usize {
        self.fragments.iter().flatten().map(|content| content.0.len()).sum()
    }

    /// `None` while fragments are missing.
    fn whole(&self) -> Option<Whole> {
        if self.fragments.iter().any(Option::is_none) {
            return None;
        }
        // Room for all at once, so that growing leaves no copy behind.
        let mut content = Zeroizing::new(Vec::with_capacity(self.bytes()));
        self.fragments.iter().flatten().for_each(|fragment| content.extend_from_slice(&fragment.0));
        Some(Whole { first: self.first, content })
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}
