//! What every EAP method is to the server.

use std::time::Duration;

use adit_tunnel::{Random, Secret};
use zeroize::Zeroizing;

use super::{EapClientError, users::Users};

/// A method that runs.
pub(super) trait ServerMethod: Send {
    /// The data of the first request, behind its type.
    ///
    /// # Errors
    /// [`EapClientError`]; the method is over then.
    fn begin(&mut self, cx: &mut Context<'_>) -> Result<Zeroizing<Vec<u8>>, EapClientError>;

    /// Takes the data of a response behind its type.
    ///
    /// # Errors
    /// [`EapClientError`]; the method is over then, and the client is told by EAP-Failure alone.
    fn handle(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Result<Next, EapClientError>;
}

/// What follows from a response.
pub(super) enum Next {
    /// A request with this data.
    Ask(Zeroizing<Vec<u8>>),
    /// A request with this data, which tells the client that it is refused; EAP-Failure follows its response.
    Refuse(Zeroizing<Vec<u8>>, EapClientError),
    /// The client has proved itself.
    Done { key: Option<Secret>, identity: String },
}

/// What a method is told beside the data.
pub(super) struct Context<'a> {
    pub(super) random: &'a mut dyn Random,
    /// Since 1970-01-01 UTC, for certificates.
    pub(super) unix_time: Duration,
    /// The identifier of the request that was answered.
    pub(super) id: u8,
    /// What the client calls itself outside of the method.
    pub(super) identity: &'a [u8],
    pub(super) users: &'a Users,
}
