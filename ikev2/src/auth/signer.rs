//! tmp
use crate::{config::SignatureChoice, message::{Authentication, Certificate, numbers::{AuthMethod, HashAlgorithm}}};
#[derive(Debug)] pub(crate) struct Signer;
#[derive(Debug, Clone, Copy)] pub(crate) struct Scheme;
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)] #[error("x")] pub struct KeyUnusable;
impl Signer {
  pub(crate) fn new(_: &adit_pki::ClientIdentity) -> Result<Self, KeyUnusable> { Ok(Self) }
  pub(crate) fn schemes(&self, _: SignatureChoice, _: &[HashAlgorithm], _: bool) -> Vec<Scheme> { vec![] }
  pub(crate) fn sign(&self, _: Scheme, _: &[u8]) -> Authentication { Authentication { method: AuthMethod::RSA, data: bytes::Bytes::new() } }
  pub(crate) fn cert_payloads(&self) -> Vec<Certificate> { vec![] }
}
