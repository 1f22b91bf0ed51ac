//! Fuzz target: packets for the server, and attributes for phase 2 of EAP-TTLS, which lies behind TLS.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use adit_pki::ClientIdentity;
use adit_tunnel::Random;
use pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::{
    EapServer, EapServerConfig, EapServerMethod, EapServerStep, EapServers, EapTlsIdentity, EapUser, TtlsInnerMethod,
    inner::{InnerMethods, Inside, Phase2},
    method::Context,
};
use crate::config::{MsChapV2Secret, TlsVersion};

/// The first byte chooses the method that is offered first, or phase 2 of EAP-TTLS; the rest are packets of the client, or
/// attributes, each behind its length in two bytes.
pub fn eap_server(data: &[u8]) {
    drop(run(data));
}

/// How many requests follow the one for the identity, and who has got in.
fn run(data: &[u8]) -> (usize, Option<String>) {
    let mut requests = 0;
    let Some((&choice, rest)) = data.split_first() else { return (requests, None) };
    let Some(servers) = SERVERS.get(usize::from(choice) % (SERVERS.len() + 1)) else { return phase2(rest) };
    let Some(servers) = servers else { return (requests, None) };
    let mut server = EapServer::new(Arc::clone(servers));
    assert_eq!(server.start(&mut Constant)[..], [1, 0x5a, 0, 5, 1]);
    for packet in crate::eap::fuzzing::packets(rest) {
        match server.handle(&mut Constant, NOW, packet) {
            EapServerStep::Request(request) => {
                assert!(request.starts_with(&[1]) && request.len() < 2048);
                requests += 1;
            }
            EapServerStep::Success { packet, identity, .. } => {
                assert!(packet.starts_with(&[3]) && packet.len() == 4);
                assert!(identity == "user", "there is nobody else");
                is_over(server);
                return (requests, Some(identity));
            }
            EapServerStep::Failure { packet, .. } => {
                assert!(packet.starts_with(&[4]) && packet.len() == 4);
                is_over(server);
                break;
            }
        }
    }
    (requests, None)
}

/// The same for phase 2.
fn phase2(rest: &[u8]) -> (usize, Option<String>) {
    let mut requests = 0;
    let Some(servers) = SERVERS.first().and_then(Option::as_ref) else { return (requests, None) };
    let Ok(methods) = InnerMethods::new(&inside(), servers.users()) else { return (requests, None) };
    let mut phase2 = Phase2::new(Zeroizing::new([2; 17]));
    for plaintext in crate::eap::fuzzing::packets(rest) {
        let random = &mut Constant;
        let mut cx = Context { random, unix_time: NOW, id: 0, identity: b"", users: servers.users() };
        match phase2.handle(&mut cx, &methods, plaintext) {
            Ok(Inside::Ask(_)) => requests += 1,
            Ok(Inside::Done(identity)) => {
                assert!(identity == "user", "there is nobody else");
                return (requests, Some(identity));
            }
            Ok(Inside::Refuse(..)) | Err(_) => break,
        }
    }
    (requests, None)
}

fn is_over(mut server: EapServer) {
    let step = server.handle(&mut Constant, NOW, &[2, 0x5a, 0, 5, 1]);
    assert!(matches!(step, EapServerStep::Failure { .. }));
}

fn servers(methods: Vec<EapServerMethod>) -> Option<Arc<EapServers>> {
    let secret = MsChapV2Secret::Password("password".into());
    let users = vec![EapUser { name: "user".to_owned(), secret }];
    EapServers::new(&EapServerConfig { methods, users }).ok().map(Arc::new)
}

fn inside() -> Vec<TtlsInnerMethod> {
    let eap = vec![EapServerMethod::MsChapV2, EapServerMethod::Gtc, EapServerMethod::Md5];
    vec![TtlsInnerMethod::Pap, TtlsInnerMethod::MsChapV2, TtlsInnerMethod::Eap(eap)]
}

/// All methods, each of them first once.
static SERVERS: LazyLock<Vec<Option<Arc<EapServers>>>> = LazyLock::new(|| {
    let certificate = CertificateDer::from(&include_bytes!("../../../testdata/eap/client.der")[..]);
    let Ok(key) = PrivateKeyDer::try_from(&include_bytes!("../../../testdata/eap/client.p8")[..]) else {
        return vec![];
    };
    let tls = EapTlsIdentity {
        certificate: Arc::new(ClientIdentity { chain: vec![certificate], key }),
        anchors: vec![CertificateDer::from(&include_bytes!("../../../testdata/eap/ca.der")[..])],
        crls: vec![],
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
    };
    let all = [
        EapServerMethod::MsChapV2,
        EapServerMethod::Gtc,
        EapServerMethod::Md5,
        EapServerMethod::Tls(tls.clone()),
        EapServerMethod::Ttls { tls, inner: inside() },
    ];
    let rotated = |first| all.iter().cycle().skip(first).take(all.len()).cloned().collect();
    (0..all.len()).map(|first| servers(rotated(first))).collect()
});

/// Always the same bytes.
struct Constant;

impl Random for Constant {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(0x5a);
    }
}

/// A day in November 2026.
const NOW: Duration = Duration::from_secs(1_797_000_000);

/// How many requests a file brings about, and whether somebody gets in.
#[cfg(test)]
pub(crate) fn outcome(file: &[u8]) -> (usize, bool) {
    let (requests, identity) = run(file);
    (requests, identity.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without them the target would do nothing.
    #[test]
    fn the_target_has_its_methods() {
        assert_eq!(SERVERS.iter().flatten().count(), 5);
    }
}
