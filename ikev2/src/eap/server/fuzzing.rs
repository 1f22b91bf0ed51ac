//! Fuzz target: packets for the server.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use adit_tunnel::Random;

use super::{EapServer, EapServerConfig, EapServerMethod, EapServerStep, EapServers, EapUser};
use crate::config::MsChapV2Secret;

/// The first byte chooses the method that is offered first, the rest are packets of the client, each behind its length in two
/// bytes.
pub fn eap_server(data: &[u8]) {
    drop(run(data));
}

/// How many requests follow the one for the identity, and who has got in.
fn run(data: &[u8]) -> (usize, Option<String>) {
    let mut requests = 0;
    let Some((&choice, rest)) = data.split_first() else { return (requests, None) };
    let Some(servers) = SERVERS.get(usize::from(choice) % SERVERS.len()).and_then(Option::as_ref) else {
        return (requests, None);
    };
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

fn is_over(mut server: EapServer) {
    let step = server.handle(&mut Constant, NOW, &[2, 0x5a, 0, 5, 1]);
    assert!(matches!(step, EapServerStep::Failure { .. }));
}

fn servers(methods: Vec<EapServerMethod>) -> Option<Arc<EapServers>> {
    let secret = MsChapV2Secret::Password("password".into());
    let users = vec![EapUser { name: "user".to_owned(), secret }];
    EapServers::new(&EapServerConfig { methods, users }).ok().map(Arc::new)
}

/// All methods, each of them first once.
static SERVERS: LazyLock<Vec<Option<Arc<EapServers>>>> = LazyLock::new(|| {
    let all = [EapServerMethod::MsChapV2, EapServerMethod::Gtc, EapServerMethod::Md5];
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
        assert!(SERVERS.iter().all(Option::is_some));
    }
}
