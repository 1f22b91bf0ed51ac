//! Numbers from IANA's "IKEv2 Parameters", as newtypes so that unknown values survive.

use std::fmt;

macro_rules! numbers {
    ($(#[$doc:meta])* $vis:vis struct $name:ident($raw:ty) { $($(#[$const_doc:meta])* $const:ident = $value:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $vis struct $name(pub(crate) $raw);

        #[allow(dead_code, reason = "the registry is complete even where we do not use a number yet")]
        impl $name {
            $($(#[$const_doc])* $vis const $const: Self = Self($value);)*

            /// The registry's name, if we know the number.
            $vis const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($const)),)*
                    _ => None,
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, concat!(stringify!($name), "({})"), self.0),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self, f)
            }
        }
    };
}

numbers! {
    /// Exchange types (RFC 7296 §3.1).
    pub(crate) struct ExchangeType(u8) {
        IKE_SA_INIT = 34,
        IKE_AUTH = 35,
        CREATE_CHILD_SA = 36,
        INFORMATIONAL = 37,
    }
}

numbers! {
    /// Payload types (RFC 7296 §3.2, RFC 7383 §2.5).
    pub(crate) struct PayloadType(u8) {
        NONE = 0,
        SA = 33,
        KE = 34,
        IDI = 35,
        IDR = 36,
        CERT = 37,
        CERTREQ = 38,
        AUTH = 39,
        NONCE = 40,
        NOTIFY = 41,
        DELETE = 42,
        VENDOR = 43,
        TSI = 44,
        TSR = 45,
        SK = 46,
        CP = 47,
        EAP = 48,
        SKF = 53,
    }
}

numbers! {
    /// Protocol identifiers (RFC 7296 §3.3.1).
    pub(crate) struct ProtocolId(u8) {
        NONE = 0,
        IKE = 1,
        AH = 2,
        ESP = 3,
    }
}

numbers! {
    /// Transform types (RFC 7296 §3.3.2).
    pub(crate) struct TransformType(u8) {
        ENCR = 1,
        PRF = 2,
        INTEG = 3,
        KE = 4,
        ESN = 5,
    }
}

numbers! {
    /// Encryption algorithms, transform type 1.
    pub(crate) struct EncryptionId(u16) {
        /// 3DES-CBC.
        TRIPLE_DES = 3,
        /// No encryption (RFC 2410).
        NULL = 11,
        /// AES-CBC (RFC 3602).
        AES_CBC = 12,
        /// AES-CTR (RFC 3686).
        AES_CTR = 13,
        /// AES-CCM with an 8-byte tag (RFC 4309).
        AES_CCM_8 = 14,
        /// AES-CCM with a 12-byte tag.
        AES_CCM_12 = 15,
        /// AES-CCM with a 16-byte tag.
        AES_CCM_16 = 16,
        /// AES-GCM with an 8-byte tag (RFC 4106).
        AES_GCM_8 = 18,
        /// AES-GCM with a 12-byte tag.
        AES_GCM_12 = 19,
        /// AES-GCM with a 16-byte tag.
        AES_GCM_16 = 20,
        /// ChaCha20-Poly1305 (RFC 7634).
        CHACHA20_POLY1305 = 28,
    }
}

numbers! {
    /// Pseudorandom functions, transform type 2.
    pub(crate) struct PrfId(u16) {
        /// HMAC-MD5.
        HMAC_MD5 = 1,
        /// HMAC-SHA1.
        HMAC_SHA1 = 2,
        /// AES-XCBC (RFC 4434).
        AES_XCBC = 4,
        /// HMAC-SHA2-256 (RFC 4868).
        HMAC_SHA2_256 = 5,
        /// HMAC-SHA2-384.
        HMAC_SHA2_384 = 6,
        /// HMAC-SHA2-512.
        HMAC_SHA2_512 = 7,
        /// AES-CMAC (RFC 4615).
        AES_CMAC = 8,
    }
}

numbers! {
    /// Integrity algorithms, transform type 3.
    pub(crate) struct IntegrityId(u16) {
        /// None, with an AEAD.
        NONE = 0,
        /// HMAC-MD5-96.
        HMAC_MD5_96 = 1,
        /// HMAC-SHA1-96 (RFC 2404).
        HMAC_SHA1_96 = 2,
        /// AES-XCBC-96 (RFC 3566).
        AES_XCBC_96 = 5,
        /// AES-CMAC-96 (RFC 4494).
        AES_CMAC_96 = 8,
        /// HMAC-SHA2-256-128 (RFC 4868).
        HMAC_SHA2_256_128 = 12,
        /// HMAC-SHA2-384-192.
        HMAC_SHA2_384_192 = 13,
        /// HMAC-SHA2-512-256.
        HMAC_SHA2_512_256 = 14,
    }
}

numbers! {
    /// Key exchange methods, transform type 4 ("Diffie-Hellman groups").
    pub(crate) struct DhGroup(u16) {
        /// No key exchange, in an offer for a child without perfect forward secrecy.
        NONE = 0,
        /// MODP, 1024 bits.
        MODP_1024 = 2,
        /// MODP, 1536 bits (RFC 3526).
        MODP_1536 = 5,
        /// MODP, 2048 bits.
        MODP_2048 = 14,
        /// MODP, 3072 bits.
        MODP_3072 = 15,
        /// MODP, 4096 bits.
        MODP_4096 = 16,
        /// MODP, 6144 bits.
        MODP_6144 = 17,
        /// MODP, 8192 bits.
        MODP_8192 = 18,
        /// NIST P-256 (RFC 5903).
        ECP_256 = 19,
        /// NIST P-384.
        ECP_384 = 20,
        /// NIST P-521.
        ECP_521 = 21,
        /// X25519 (RFC 8031).
        CURVE25519 = 31,
        /// X448.
        CURVE448 = 32,
    }
}

numbers! {
    /// Sequence number widths, transform type 5.
    pub(crate) struct EsnId(u16) {
        NONE = 0,
        ESN = 1,
    }
}

numbers! {
    /// Authentication methods (RFC 7296 §3.8, RFC 7427).
    pub(crate) struct AuthMethod(u8) {
        RSA = 1,
        PSK = 2,
        ECDSA_256 = 9,
        ECDSA_384 = 10,
        ECDSA_521 = 11,
        DIGITAL_SIGNATURE = 14,
    }
}

numbers! {
    /// Hash algorithms of SIGNATURE_HASH_ALGORITHMS (RFC 7427 §7, RFC 8420).
    pub(crate) struct HashAlgorithm(u16) {
        SHA1 = 1,
        SHA2_256 = 2,
        SHA2_384 = 3,
        SHA2_512 = 4,
        IDENTITY = 5,
    }
}

numbers! {
    /// Certificate encodings (RFC 7296 §3.6).
    pub(crate) struct CertEncoding(u8) {
        X509_SIGNATURE = 4,
        HASH_AND_URL = 12,
        OCSP = 14,
        RAW_KEY = 15,
    }
}

numbers! {
    /// Identification types (RFC 7296 §3.5).
    pub(crate) struct IdType(u8) {
        IPV4_ADDR = 1,
        FQDN = 2,
        RFC822_ADDR = 3,
        IPV6_ADDR = 5,
        DER_ASN1_DN = 9,
        DER_ASN1_GN = 10,
        KEY_ID = 11,
        NULL = 13,
    }
}

numbers! {
    /// Traffic selector types (RFC 7296 §3.13.1).
    pub(crate) struct TsType(u8) {
        IPV4_RANGE = 7,
        IPV6_RANGE = 8,
    }
}

numbers! {
    /// Configuration message types (RFC 7296 §3.15).
    pub(crate) struct CfgType(u8) {
        REQUEST = 1,
        REPLY = 2,
        SET = 3,
        ACK = 4,
    }
}

numbers! {
    /// Configuration attributes (RFC 7296 §3.15.1, RFC 8598).
    pub(crate) struct CfgAttribute(u16) {
        INTERNAL_IP4_ADDRESS = 1,
        INTERNAL_IP4_NETMASK = 2,
        INTERNAL_IP4_DNS = 3,
        INTERNAL_IP4_NBNS = 4,
        INTERNAL_IP4_DHCP = 6,
        APPLICATION_VERSION = 7,
        INTERNAL_IP6_ADDRESS = 8,
        INTERNAL_IP6_DNS = 10,
        INTERNAL_IP6_DHCP = 12,
        INTERNAL_IP4_SUBNET = 13,
        SUPPORTED_ATTRIBUTES = 14,
        INTERNAL_IP6_SUBNET = 15,
        INTERNAL_DNS_DOMAIN = 25,
        INTERNAL_DNSSEC_TA = 26,
        /// Windows (MS-IKEE): the gateway's inner address.
        INTERNAL_IP4_SERVER = 23456,
        /// Windows: the gateway's inner IPv6 address.
        INTERNAL_IP6_SERVER = 23457,
        /// Cisco Unity.
        UNITY_DEF_DOMAIN = 28674,
    }
}

numbers! {
    /// Notify message types (RFC 7296 §3.10.1): below 16384 errors, above status.
    pub(crate) struct NotifyType(u16) {
        UNSUPPORTED_CRITICAL_PAYLOAD = 1,
        INVALID_IKE_SPI = 4,
        INVALID_MAJOR_VERSION = 5,
        INVALID_SYNTAX = 7,
        INVALID_MESSAGE_ID = 9,
        INVALID_SPI = 11,
        NO_PROPOSAL_CHOSEN = 14,
        INVALID_KE_PAYLOAD = 17,
        AUTHENTICATION_FAILED = 24,
        SINGLE_PAIR_REQUIRED = 34,
        NO_ADDITIONAL_SAS = 35,
        INTERNAL_ADDRESS_FAILURE = 36,
        FAILED_CP_REQUIRED = 37,
        TS_UNACCEPTABLE = 38,
        INVALID_SELECTORS = 39,
        UNACCEPTABLE_ADDRESSES = 40,
        UNEXPECTED_NAT_DETECTED = 41,
        TEMPORARY_FAILURE = 43,
        CHILD_SA_NOT_FOUND = 44,
        AUTHORIZATION_FAILED = 45,
        /// Windows: an error code of its own in the data.
        MS_NOTIFY_STATUS = 12345,
        INITIAL_CONTACT = 16384,
        SET_WINDOW_SIZE = 16385,
        ADDITIONAL_TS_POSSIBLE = 16386,
        IPCOMP_SUPPORTED = 16387,
        NAT_DETECTION_SOURCE_IP = 16388,
        NAT_DETECTION_DESTINATION_IP = 16389,
        COOKIE = 16390,
        USE_TRANSPORT_MODE = 16391,
        HTTP_CERT_LOOKUP_SUPPORTED = 16392,
        REKEY_SA = 16393,
        ESP_TFC_PADDING_NOT_SUPPORTED = 16394,
        NON_FIRST_FRAGMENTS_ALSO = 16395,
        MOBIKE_SUPPORTED = 16396,
        ADDITIONAL_IP4_ADDRESS = 16397,
        ADDITIONAL_IP6_ADDRESS = 16398,
        NO_ADDITIONAL_ADDRESSES = 16399,
        UPDATE_SA_ADDRESSES = 16400,
        COOKIE2 = 16401,
        NO_NATS_ALLOWED = 16402,
        AUTH_LIFETIME = 16403,
        MULTIPLE_AUTH_SUPPORTED = 16404,
        REDIRECT_SUPPORTED = 16406,
        REDIRECT = 16407,
        REDIRECTED_FROM = 16408,
        EAP_ONLY_AUTHENTICATION = 16417,
        CHILDLESS_IKEV2_SUPPORTED = 16418,
        IKEV2_FRAGMENTATION_SUPPORTED = 16430,
        SIGNATURE_HASH_ALGORITHMS = 16431,
    }
}

impl NotifyType {
    /// Whether the type announces an error (RFC 7296 §3.10.1), known or not.
    pub(crate) const fn is_error(self) -> bool {
        self.0 < 16384
    }
}

impl EncryptionId {
    /// Whether the algorithm authenticates, too, so that no integrity transform goes with it.
    pub(crate) const fn is_aead(self) -> bool {
        matches!(self.0, 14..=16 | 18..=20 | 28)
    }
}
