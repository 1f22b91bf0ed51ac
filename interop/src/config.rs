//! Configuration files for both ends, as lists of lines.

use anyhow::Result;

use crate::pki::Pki;

/// The lines of a configuration file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines(Vec<String>);

impl Lines {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.lines().map(str::to_owned).collect())
    }

    /// Adds lines.
    pub(crate) fn with(mut self, text: &str) -> Self {
        self.0.extend(text.lines().map(str::to_owned));
        self
    }

    /// Takes out what begins with this directive, also as an inline block.
    pub(crate) fn without(mut self, directive: &str) -> Self {
        let (open, close) = (format!("<{directive}>"), format!("</{directive}>"));
        let mut inside = false;
        self.0.retain(|line| {
            inside |= *line == open;
            let keep = !inside && line.split_whitespace().next() != Some(directive);
            inside &= *line != close;
            keep
        });
        self
    }

    /// Puts a line in the place of what begins with the same directive.
    pub(crate) fn replace(self, line: &str) -> Self {
        let directive = line.split_whitespace().next().unwrap_or_default();
        self.without(directive).with(line)
    }

    /// Adds a file of the PKI as an inline block.
    pub(crate) fn inline(self, tag: &str, pki: &Pki, file: &str) -> Result<Self> {
        let text = pki.text(file)?;
        Ok(self.with(&format!("<{tag}>\n{}\n</{tag}>", text.trim_end())))
    }

    pub(crate) fn text(&self) -> String {
        let mut text = self.0.join("\n");
        text.push('\n');
        text
    }
}

/// How the outer packets travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

impl Transport {
    pub(crate) const ALL: [Self; 2] = [Self::Udp, Self::Tcp];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// A server as one would set it up today: certificates on both sides, subnet topology, AEAD ciphers.
pub(crate) fn server(pki: &Pki, transport: Transport) -> Lines {
    let proto = match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp-server",
    };
    let path = |name: &str| pki.path(name).display().to_string();
    Lines::new(&format!(
        "proto {proto}\nport 1194\ndev tun\ntopology subnet\nserver 10.8.0.0 255.255.255.0\n\
         ca {}\ncert {}\nkey {}\ndh none\nkeepalive 10 60\ndata-ciphers AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305\n\
         push \"route 192.168.100.0 255.255.255.0\"\nconnect-freq-initial 1000 1\nverb 4",
        path("ca.crt"),
        path("server.crt"),
        path("server.key"),
    ))
}

/// The profile that fits [`server`]: everything inline.
pub(crate) fn profile(pki: &Pki, transport: Transport) -> Result<Lines> {
    let proto = transport.name();
    Lines::new(&format!(
        "client\ndev tun\nnobind\nproto {proto}\nremote 203.0.113.1 1194\nremote-cert-tls server\n\
         data-ciphers AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305\nexplicit-exit-notify 1"
    ))
    .inline("ca", pki, "ca.crt")?
    .inline("cert", pki, "alice.crt")?
    .inline("key", pki, "alice.key")
    .map(|lines| if transport == Transport::Tcp { lines.without("explicit-exit-notify") } else { lines })
}

/// The profile of a user with a password and no certificate.
pub(crate) fn password_profile(pki: &Pki, transport: Transport) -> Result<Lines> {
    Ok(profile(pki, transport)?.without("cert").without("key").with("auth-user-pass"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directive_goes_with_its_block_and_leaves_the_others() {
        let lines = Lines::new("ca x\n<ca>\nline of the block\n</ca>\ncache y\nverb 4");
        assert_eq!(lines.clone().without("ca").text(), "cache y\nverb 4\n");
        assert_eq!(lines.without("ca").replace("verb 6").text(), "cache y\nverb 6\n");
    }
}
