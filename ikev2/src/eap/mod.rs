//! EAP, the side that is asked (RFC 3748).
