//! Tunnels that would end each other: to say with INITIAL_CONTACT that there is no other IKE SA between two identities (RFC 7296
//! §2.4) is right for one tunnel alone.

use std::{collections::HashMap, net::IpAddr};

use ikev2::Identity;

use super::{
    build,
    connection::{Connection, GatewayTable},
    draft::{Auth, Draft, RemoteId},
    files::Content,
    problems::Problems,
    tables::Described,
};
use crate::error::Error;

/// Who more than one of these gateways is: one gateway with several addresses, or several that share what they know. To say with
/// INITIAL_CONTACT that there is no other IKE SA between the two of us (RFC 7296 §2.4) would be wrong there, and end the tunnel
/// that stands by, or the one in use.
pub(super) fn shared_identities(gateways: &[GatewayTable]) -> Vec<RemoteId> {
    let mut seen = Vec::new();
    let mut shared = Vec::new();
    for table in gateways {
        let Some(Described::Ikev2(draft)) = &table.described else { continue };
        let Some(id @ RemoteId::Exactly(_)) = &draft.remote_id else { continue };
        if seen.contains(&id) {
            shared.push(id.clone());
        }
        seen.push(id);
    }
    shared
}

/// Warns of connections that are the same user of the same gateway, where the connect of one ends the tunnel of the other.
pub(super) fn same_user(connections: &[Connection], problems: &mut Problems) {
    let mut seen: HashMap<(Gateway, Us<'_>), Vec<Tunnel<'_>>> = HashMap::new();
    for connection in connections {
        let shared = shared_identities(&connection.gateways);
        let mut said = false;
        for table in &connection.gateways {
            let Some(Described::Ikev2(draft)) = &table.described else { continue };
            let Some(us) = Us::of(draft) else { continue };
            let is_shared = draft.remote_id.as_ref().is_some_and(|id| shared.contains(id));
            let ends_others = draft.initial_contact.unwrap_or(!is_shared);
            for (remote, place) in draft.remotes.iter().zip(&draft.remotes_at) {
                let gateway = Gateway { host: canonical(&remote.host), port: remote.port };
                let tunnel = Tunnel { connection, place, peer: draft.remote_id.as_ref(), ends_others };
                let earlier = seen.entry((gateway, us.clone())).or_default();
                // Once for each connection: whoever has read it knows where to look.
                if let Some(first) = earlier.iter().find(|first| first.clashes_with(&tunnel)).filter(|_| !said) {
                    let shown = super::host_and_port(&remote.host, remote.port);
                    problems.warning(tunnel.warning(first, &shown, &us));
                    said = true;
                }
                earlier.push(tunnel);
            }
        }
    }
}

/// Where a gateway answers.
#[derive(PartialEq, Eq, Hash)]
struct Gateway {
    host: String,
    port: u16,
}

/// One way of writing for all that are the same host.
fn canonical(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => host.trim_end_matches('.').to_lowercase(),
    }
}

/// Who we are to a gateway, as far as the file says it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Us<'a> {
    /// Gateways tell users of EAP apart by this name, whatever stands in IDi.
    User(&'a str),
    /// `local_id`.
    Named(&'a Identity),
    /// The subject of what is in this file.
    Certificate(&'a std::path::Path),
    /// Our address: the same for all from this machine.
    Address,
}

impl<'a> Us<'a> {
    /// `None`: that is not known yet, or never.
    fn of(draft: &'a Draft) -> Option<Self> {
        let auth = build::auth(draft).ok()?;
        if let (Auth::Eap, Some(user)) = (auth, &draft.user) {
            return Some(Self::User(&user.value));
        }
        if let Some(id) = &draft.local_id {
            return Some(Self::Named(id));
        }
        let certificate = draft.certificate.as_ref().or(draft.pkcs12.as_ref());
        match (auth, certificate.map(|given| &given.value)) {
            (Auth::Psk, _) => Some(Self::Address),
            (Auth::Certificate | Auth::Eap, Some(Content::File(path) | Content::Read(path, _))) => {
                Some(Self::Certificate(path))
            }
            (Auth::Certificate | Auth::Eap, Some(Content::Bytes(_)) | None) => None,
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::User(name) => format!("the user `{}`", name.escape_debug()),
            Self::Named(id) => format!("`{id}`"),
            Self::Certificate(path) => format!("the holder of {}", path.display()),
            Self::Address => "the address of this machine".to_owned(),
        }
    }
}

/// A tunnel that may be there some day.
struct Tunnel<'a> {
    connection: &'a Connection,
    place: &'a str,
    /// Who the gateway must be.
    peer: Option<&'a RemoteId>,
    ends_others: bool,
}

impl Tunnel<'_> {
    fn clashes_with(&self, other: &Self) -> bool {
        let peers = match (self.peer, other.peer) {
            (Some(RemoteId::Exactly(one)), Some(RemoteId::Exactly(two))) => one == two,
            _ => true,
        };
        peers && self.connection.name != other.connection.name && (self.ends_others || other.ends_others)
    }

    fn warning(&self, first: &Self, gateway: &str, us: &Us<'_>) -> Error {
        let (ours, theirs) = (&self.connection.name, &first.connection.name);
        let (effect, cure) = match (first.ends_others, self.ends_others) {
            (true, true) => {
                ("each ends the tunnel of the other when it connects".to_owned(), "in both of them".to_owned())
            }
            (true, false) => {
                (format!("`{theirs}` ends the tunnel of `{ours}` when it connects"), format!("in `{theirs}`"))
            }
            (false, _) => (format!("`{ours}` ends the tunnel of `{theirs}` when it connects"), format!("in `{ours}`")),
        };
        let both = format!("connection `{ours}` and connection `{theirs}` ({})", first.place);
        let error = Error::at(self.place, format!("{both} are the same to {gateway}, {}: {effect}", us.shown()));
        error.hint(format!("say `initial_contact = false` {cure}; or give each its own identity"))
    }
}
