//! What a session needs to know before it starts. A [`Config`] that exists is valid.

use std::{sync::Arc, time::Duration};

use adit_pki::ClientIdentity;
use adit_tunnel::{Family, IpNet, Secret};
use pki_types::{CertificateDer, CertificateRevocationListDer};

use crate::{
    identity::Identity,
    negotiate::{EspProposals, IkeProposals},
};

/// One gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Name or address.
    pub host: String,
    /// 500 floats to 4500 as RFC 7296 §2.23 describes; any other port is spoken to with the non-ESP marker from the first
    /// datagram on.
    pub port: u16,
    /// `None` tries IPv6 and IPv4.
    pub family: Option<Family>,
}

/// How the gateway proves who it is.
#[derive(Debug, Clone)]
pub enum PeerVerifier {
    /// By the same pre-shared key as ours.
    Psk {
        /// The key.
        key: Secret,
        /// The identity it must show; `None` takes any: whoever has the key is the gateway.
        identity: Option<Identity>,
    },
    /// By a signature with a certificate.
    Certificate(CertificateVerifier),
}

/// How a certificate of the gateway is judged.
#[derive(Debug, Clone)]
pub struct CertificateVerifier {
    /// Trust anchors; at least one.
    pub anchors: Vec<CertificateDer<'static>>,
    /// Revocation lists; with any, every certificate of the chain below an anchor must be covered by one.
    pub crls: Vec<CertificateRevocationListDer<'static>>,
    /// Who the gateway must be.
    pub identity: ExpectedIdentity,
}

/// Who the gateway must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpectedIdentity {
    /// The host of [`Remote`] it was reached by.
    Host,
    /// This identity.
    Exactly(Identity),
    /// Whatever the trust anchors vouch for: any holder of a certificate of theirs can pose as the gateway.
    AnyOfTheAnchors,
}

/// How we prove who we are.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// By a pre-shared key.
    Psk(Secret),
    /// By a signature with a certificate.
    Certificate(Arc<ClientIdentity>),
    /// By EAP, after the gateway has proved itself.
    Eap(EapCredentials),
}

/// What EAP methods may use, and which of them are allowed.
#[derive(Debug, Clone)]
pub struct EapCredentials {
    /// The answer to an EAP Identity request, and the user name of methods with one, such as `DOMAIN\user`.
    pub identity: String,
    /// Methods allowed, best first; at least one.
    pub methods: Vec<EapMethod>,
}

/// An EAP method with what it needs.
#[derive(Debug, Clone)]
pub enum EapMethod {
    /// EAP-MSCHAPv2.
    MsChapV2(MsChapV2Secret),
    /// EAP-TLS.
    Tls {
        /// Our certificate.
        certificate: Arc<ClientIdentity>,
        /// How the EAP server is judged.
        server: EapTlsServer,
    },
    /// EAP-TTLS.
    Ttls {
        /// How the EAP server is judged.
        server: EapTlsServer,
        /// The name shown outside of the TLS tunnel; the identity if `None`.
        anonymous_identity: Option<String>,
        /// What proves us inside.
        inner: TtlsInner,
    },
    /// EAP-GTC with a fixed answer: a password, in clear to the gateway.
    Gtc(Secret),
    /// EAP-MD5: gives no key.
    Md5(Secret),
}

/// What proves us inside EAP-TTLS.
#[derive(Debug, Clone)]
pub enum TtlsInner {
    /// The password itself.
    Pap(Secret),
    /// MS-CHAPv2 in AVPs.
    MsChapV2(MsChapV2Secret),
    /// An EAP method; only those without TLS.
    Eap(Box<EapMethod>),
}

/// The secret of MS-CHAPv2.
#[derive(Debug, Clone)]
pub enum MsChapV2Secret {
    /// A password in UTF-8.
    Password(Secret),
    /// The NT hash of one, 16 bytes.
    NtHash(Secret),
}

/// How the server of a TLS-based EAP method is judged. It may be another than the gateway.
#[derive(Debug, Clone)]
pub struct EapTlsServer {
    /// Trust anchors; at least one.
    pub anchors: Vec<CertificateDer<'static>>,
    /// Revocation lists.
    pub crls: Vec<CertificateRevocationListDer<'static>>,
    /// A name (DNS, IP address, or common name if the certificate has no alternative name) its certificate must show;
    /// `None` takes any server certificate of the anchors.
    pub name: Option<String>,
    /// Lowest version of TLS.
    pub min_version: TlsVersion,
    /// Highest version of TLS offered.
    pub max_version: TlsVersion,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// Everything that has a default.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Algorithms for the IKE SA, best first.
    pub ike_proposals: IkeProposals,
    /// Algorithms for ESP, best first.
    pub esp_proposals: EspProposals,
    /// Allows MODP-1024, MODP-1536, 3DES and SHA-1 (signatures too).
    pub legacy: bool,
    /// IDi; by default the subject of our certificate, the EAP identity or our address.
    pub local_identity: Option<Identity>,
    /// Whether IDr is sent to choose among the identities of the gateway.
    pub send_remote_identity: bool,
    /// How we sign; see [`SignatureChoice`].
    pub signature: SignatureChoice,
    /// Networks wanted behind the gateway.
    pub remote_networks: Vec<IpNet>,
    /// Whether IKE messages are fragmented (RFC 7383).
    pub fragmentation: bool,
    /// Largest IP datagram of an IKE fragment, in bytes.
    pub fragment_size: u16,
    /// Whether MOBIKE is announced (RFC 4555).
    pub mobike: bool,
    /// Whether INITIAL_CONTACT is sent with the first connect, which ends older sessions of the same identity.
    pub initial_contact: bool,
    /// Silence before a liveness check (RFC 7296 §2.4); at least a second.
    pub liveness: Duration,
    /// Silence of ours before a NAT keepalive (RFC 3948 §2.3).
    pub nat_keepalive: Duration,
    /// Age at which we rekey a child; zero never does.
    pub child_rekey: Duration,
    /// Age at which we rekey the IKE SA; zero never does.
    pub ike_rekey: Duration,
    /// Retransmission of requests.
    pub retransmission: Retransmission,
    /// Longest handshake, from the first datagram to the tunnel up.
    pub handshake_timeout: Duration,
    /// ESP sequence numbers accepted below the newest; at least 64.
    pub replay_window: u32,
    /// Largest inner packet, in bytes; `None` derives it from an outer MTU of 1500.
    pub mtu: Option<u16>,
}

/// When a request is sent again: each wait doubles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retransmission {
    /// First wait.
    pub first: Duration,
    /// Longest wait.
    pub limit: Duration,
    /// Times a request is sent before the peer counts as gone.
    pub tries: u32,
}

/// How we sign AUTH with an RSA key. Other keys leave no choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SignatureChoice {
    /// RFC 7427 with PKCS#1, then with PSS, then method 1, each after AUTHENTICATION_FAILED.
    #[default]
    Auto,
    /// RFC 7427 with RSASSA-PKCS1-v1_5.
    RsaPkcs1,
    /// RFC 7427 with RSASSA-PSS.
    RsaPss,
    /// Method 1 of RFC 7296.
    Method1,
}
