//! Both ends of a case: the gateway, our client's TOML file, and the settings of strongSwan's own client that does the same.

use std::path::PathBuf;

use anyhow::Result;

use super::charon::{CharonConfig, GATEWAY_ID};
use crate::{client::client_file, config::Lines, rig::Rig};

/// The user of the EAP cases.
pub(crate) const USER: &str = "alice";
/// The password.
pub(crate) const PASSWORD: &str = "correct horse";
/// The pre-shared key.
pub(crate) const PSK: &str = "battery staple";

/// What an IKEv2 client is started with.
#[derive(Debug, Clone)]
pub(crate) struct IkeClient {
    /// The keys of its connection in the TOML file.
    pub(crate) toml: Lines,
    /// strongSwan's own client.
    pub(crate) reference: CharonConfig,
    /// Secrets, in files beside the TOML file.
    secrets: Vec<(String, String)>,
    /// Where the connection comes from, if not from the TOML file.
    pub(crate) instead: Option<Vec<String>>,
    /// Further arguments.
    pub(crate) args: Vec<String>,
    /// The environment.
    pub(crate) env: Vec<(String, String)>,
    /// What is typed: standard input.
    pub(crate) input: Option<String>,
    /// Logs the details, too.
    pub(crate) verbose: bool,
}

impl IkeClient {
    /// A client without a word of configuration.
    pub(crate) fn new() -> Self {
        Self {
            toml: Lines::default(),
            reference: CharonConfig::client(),
            secrets: Vec::new(),
            instead: None,
            args: Vec::new(),
            env: Vec::new(),
            input: None,
            verbose: false,
        }
    }

    /// Sets a key of the TOML file to a value as TOML has it.
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        self.toml = self.toml.replace(&format!("{key} = {value}"));
        self
    }

    /// Sets a key to a text.
    pub(crate) fn text(self, key: &str, value: &str) -> Self {
        self.set(key, &format!("{value:?}"))
    }

    /// Takes a key out.
    pub(crate) fn without(mut self, key: &str) -> Self {
        self.toml = self.toml.without(key);
        self
    }

    /// Sets a key to a secret that is in a file of its own.
    pub(crate) fn secret(mut self, key: &str, value: &str) -> Self {
        let file = format!("{key}.txt");
        self.secrets.retain(|(known, _)| *known != file);
        self.secrets.push((file.clone(), format!("{value}\n")));
        self.set(key, &format!("{{ file = {file:?} }}"))
    }

    /// Changes strongSwan's own client.
    pub(crate) fn reference(mut self, change: impl FnOnce(CharonConfig) -> CharonConfig) -> Self {
        self.reference = change(self.reference);
        self
    }

    /// The arguments that say where the connection comes from; its files are written.
    pub(crate) fn source(&self, rig: &Rig, name: &str) -> Result<Vec<String>> {
        self.write_secrets(rig)?;
        if let Some(instead) = &self.instead {
            return Ok(instead.clone());
        }
        // Files of the PKI are named before anybody knows where it is.
        let keys = self.toml.text().replace("@PKI", &rig.pki.path("ike").display().to_string());
        let text = format!("[connection.office]\nprotocol = \"ikev2\"\n{keys}");
        let file = client_file(&rig.dir.join(format!("{name}.toml")), &text)?;
        Ok(vec!["--config".to_owned(), file.display().to_string()])
    }

    /// Writes the files of the secrets, and returns where they are.
    pub(crate) fn write_secrets(&self, rig: &Rig) -> Result<Vec<PathBuf>> {
        self.secrets.iter().map(|(file, text)| client_file(&rig.dir.join(file), text)).collect()
    }
}

/// A gateway and a client that fit.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) gateway: CharonConfig,
    pub(crate) client: IkeClient,
}

impl Setup {
    fn new(gateway: CharonConfig) -> Self {
        let client = IkeClient::new().set("remotes", "[\"203.0.113.1\"]").text("remote_id", GATEWAY_ID);
        Self { gateway, client }
    }

    /// Both ends prove that they know the same key.
    pub(crate) fn psk() -> Self {
        const CLIENT: &str = "client@example.org";
        let setup = Self::new(
            CharonConfig::gateway()
                .conn("local.auth", "psk")
                .conn("remote.auth", "psk")
                .conn("remote.id", CLIENT)
                .secret("ike.secret", PSK),
        );
        setup.client(|client| {
            client.text("auth", "psk").text("local_id", CLIENT).secret("psk", PSK).reference(|charon| {
                charon
                    .conn("local.auth", "psk")
                    .conn("local.id", CLIENT)
                    .conn("remote.auth", "psk")
                    .secret("ike.secret", PSK)
            })
        })
    }

    /// Both ends have a certificate of the PKI: `server` and `client`, or others of the same kind.
    pub(crate) fn certificates(server: &str, client: &str) -> Self {
        let gateway = CharonConfig::gateway()
            .certificate(server)
            .file("x509ca", "ca.crt")
            .conn("remote.auth", "pubkey")
            .conn("remote.id", "%any");
        Self::new(gateway).ca("ca.crt").client_certificate(client)
    }

    /// The gateway proves itself with a certificate, the client by an EAP method with user and password, as strongSwan
    /// calls it: `eap-mschapv2`, `eap-gtc`, `eap-md5`.
    pub(crate) fn eap(method: &str) -> Self {
        let gateway = CharonConfig::gateway()
            .certificate("server")
            .file("x509ca", "ca.crt")
            .conn("remote.auth", method)
            .conn("remote.eap_id", "%any")
            .conn("remote.id", "%any")
            .secret("eap-alice.id", USER)
            .secret("eap-alice.secret", PASSWORD);
        let name = method.trim_start_matches("eap-");
        Self::new(gateway).ca("ca.crt").client(|client| {
            client
                .text("auth", "eap")
                .set("eap", &format!("[{name:?}]"))
                .text("user", USER)
                .secret("password", PASSWORD)
                .reference(|charon| {
                    charon
                        .conn("local.auth", method)
                        .conn("local.id", USER)
                        .conn("local.eap_id", USER)
                        .secret("eap-alice.id", USER)
                        .secret("eap-alice.secret", PASSWORD)
                })
        })
    }

    /// The client trusts this CA for the gateway.
    pub(crate) fn ca(self, file: &str) -> Self {
        self.client(|client| {
            client
                .set("ca", &format!("[\"@PKI/{file}\"]"))
                .reference(|charon| charon.conn("remote.auth", "pubkey").file("x509ca", file))
        })
    }

    /// The client proves itself with this certificate and key.
    pub(crate) fn client_certificate(self, name: &str) -> Self {
        self.client(|client| {
            client
                .text("auth", "certificate")
                .text("certificate", &format!("@PKI/{name}.crt"))
                .text("key", &format!("@PKI/{name}.key"))
                .reference(|charon| charon.certificate(name))
        })
    }

    /// Both ends know only these proposals.
    pub(crate) fn proposals(self, ike: &str, esp: &str) -> Self {
        self.gateway(|gateway| gateway.conn("proposals", ike).child("esp_proposals", esp)).client(|client| {
            client
                .text("ike_proposals", ike)
                .text("esp_proposals", esp)
                .reference(|charon| charon.conn("proposals", ike).child("esp_proposals", esp))
        })
    }

    /// Changes the gateway.
    pub(crate) fn gateway(mut self, change: impl FnOnce(CharonConfig) -> CharonConfig) -> Self {
        self.gateway = change(self.gateway);
        self
    }

    /// Changes the client.
    pub(crate) fn client(mut self, change: impl FnOnce(IkeClient) -> IkeClient) -> Self {
        self.client = change(self.client);
        self
    }
}
