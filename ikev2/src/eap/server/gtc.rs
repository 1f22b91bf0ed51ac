//! EAP-GTC (RFC 3748 §5.6), asking: for the password, in clear.

use zeroize::Zeroizing;

use super::{
    EapClientError,
    method::{Context, Next, ServerMethod},
};

pub(super) struct Gtc;

impl ServerMethod for Gtc {
    fn begin(&mut self, _: &mut Context<'_>) -> Result<Zeroizing<Vec<u8>>, EapClientError> {
        Ok(Zeroizing::new(b"Password: ".to_vec()))
    }

    fn handle(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Result<Next, EapClientError> {
        let identity = cx.users.claimed(cx.identity).password(data)?;
        Ok(Next::Done { key: None, identity })
    }
}
