//! What every EAP method is to the peer.

use std::time::Duration;

use adit_tunnel::{Random, Secret};
use zeroize::Zeroizing;

use super::EapError;

/// A method that runs. The server speaks first; each request is answered by one response.
pub(super) trait Method: Send {
    /// Takes the data of a request behind its type, and returns that of the response.
    ///
    /// # Errors
    /// [`EapError`]; the method is over then.
    fn handle(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Result<Zeroizing<Vec<u8>>, EapError>;

    /// The server says that we have succeeded. The key, if the method makes one.
    ///
    /// # Errors
    /// Whatever is missing for that.
    fn finish(&mut self) -> Result<Option<Secret>, EapError>;
}

/// What a method is told beside the data.
pub(super) struct Context<'a> {
    pub(super) random: &'a mut dyn Random,
    /// Since 1970-01-01 UTC, for certificates.
    pub(super) unix_time: Duration,
    /// The identifier of the request.
    pub(super) id: u8,
}
