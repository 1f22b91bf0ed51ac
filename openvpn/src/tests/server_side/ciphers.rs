//! Which cipher the data channel gets.

use super::net::Setup;
use crate::{
    algorithms::{Cipher, Digest},
    error::SessionError,
    server::ServerSessionError,
};

fn agreed(change: impl FnOnce(&mut Setup)) -> Cipher {
    let mut net = Setup::new(change).up();
    net.assert_traffic_flows();
    net.peer().end.tunnel.agreed().unwrap().cipher
}

#[test]
fn our_order_decides() {
    for cipher in Cipher::ALL {
        let agreed = agreed(|setup| {
            setup.settings.data_ciphers = Cipher::ALL.to_vec();
            setup.settings.auth = Digest::Sha256;
            setup.server.auth = Digest::Sha256;
            setup.server.data_ciphers = vec![cipher, Cipher::Aes128Gcm];
        });
        assert_eq!(agreed, cipher);
    }
}

#[test]
fn a_client_without_negotiation_keeps_its_own_if_we_allow_it() {
    let agreed = agreed(|setup| {
        setup.withhold_ncp = true;
        setup.settings.data_ciphers = vec![Cipher::ChaCha20Poly1305];
    });
    assert_eq!(agreed, Cipher::ChaCha20Poly1305);
}

#[test]
fn a_client_without_negotiation_and_with_another_cipher_gets_the_fallback() {
    let agreed = agreed(|setup| {
        setup.withhold_ncp = true;
        setup.settings.data_ciphers = vec![Cipher::Aes192Gcm];
        setup.settings.data_ciphers_fallback = Some(Cipher::Aes256Cbc);
        setup.server.data_ciphers_fallback = Some(Cipher::Aes256Cbc);
    });
    assert_eq!(agreed, Cipher::Aes256Cbc);
}

#[test]
fn without_a_common_cipher_the_client_is_told_so() {
    let net = Setup::new(|setup| {
        setup.settings.data_ciphers = vec![Cipher::Aes128Cbc];
        setup.server.data_ciphers = vec![Cipher::Aes256Gcm];
    })
    .fails();
    assert_eq!(*net.client_error(), SessionError::NoSharedCipher);
    let mut net = net;
    net.run(crate::tests::secs(1));
    assert_eq!(*net.server_error().1, ServerSessionError::NoSharedCipher);
    assert!(net.gone[0].end.ups.is_empty() && net.gone[0].end.keys.is_empty());
}
