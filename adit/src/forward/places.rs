//! Where the forwards of a process listen: whoever is to listen at the same place next takes over the socket, so that nobody who
//! connects meanwhile is refused.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::net::UdpSocket;

use super::{
    listen::{self, At, Socket},
    outside::Acceptor,
};
use crate::plan::{ForwardKind, ForwardPlan, Listen};

/// Cheap to clone. That no two listen at the same place is for those to see to who read the configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places(Arc<Mutex<HashMap<Listen, Known>>>);

/// A socket, as long as somebody has it.
#[derive(Debug)]
enum Known {
    Stream(Weak<Acceptor>, At),
    Datagram(Weak<UdpSocket>, SocketAddr),
}

/// Keeps sockets open.
#[must_use = "dropped, it keeps nothing"]
pub(crate) struct Held(Vec<Socket>);

impl Places {
    /// The socket that is there, or a new one.
    pub(super) fn bind(&self, kind: &ForwardKind) -> io::Result<Socket> {
        let Some(listen) = kind.listen().filter(|listen| !listen.is_any()) else { return listen::bind(kind) };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(socket) = known.get(listen).and_then(Known::socket) {
            return Ok(socket);
        }
        known.retain(|_, known| known.socket().is_some());
        let socket = listen::bind(kind)?;
        known.extend(Known::of(&socket).map(|found| (listen.clone(), found)));
        Ok(socket)
    }

    /// Keeps the sockets open that these are to listen on.
    pub(crate) fn hold<'a>(&self, plans: impl IntoIterator<Item = &'a ForwardPlan>) -> Held {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let socket = |plan: &ForwardPlan| known.get(plan.kind.listen()?)?.socket();
        Held(plans.into_iter().filter_map(socket).collect())
    }
}

impl Held {
    /// Whether the place of this forward is kept.
    pub(crate) fn has(&self, kind: &ForwardKind, places: &Places) -> bool {
        let known = places.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kind.listen().and_then(|listen| known.get(listen)).and_then(Known::socket);
        found.is_some_and(|found| self.0.iter().any(|held| held.is(&found)))
    }
}

impl Known {
    fn of(socket: &Socket) -> Option<Self> {
        match socket {
            Socket::Stream(acceptor, at) => Some(Self::Stream(Arc::downgrade(acceptor), at.clone())),
            Socket::Datagram(socket, address) => Some(Self::Datagram(Arc::downgrade(socket), *address)),
            Socket::None => None,
        }
    }

    fn socket(&self) -> Option<Socket> {
        match self {
            Self::Stream(acceptor, at) => Some(Socket::Stream(acceptor.upgrade()?, at.clone())),
            Self::Datagram(socket, address) => Some(Socket::Datagram(socket.upgrade()?, *address)),
        }
    }
}
