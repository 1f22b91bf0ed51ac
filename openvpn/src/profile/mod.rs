//! `.ovpn` profiles.

pub(crate) mod lexer;

/// Whether OpenVPN 2.6 knows a directive of this name.
pub(crate) fn is_directive(name: &str) -> bool {
    matches!(name, "up" | "down" | "ca" | "cert" | "key" | "remote" | "proto" | "reneg-sec" | "fragment" | "mssfix")
}
