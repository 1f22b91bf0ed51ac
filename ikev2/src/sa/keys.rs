//! SKEYSEED, SK_* and the keys of children (RFC 7296 §2.14, §2.17, §2.18).
