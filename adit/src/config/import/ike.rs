//! A connection as strongSwan describes it, in either of its files, and as a connection of ours.

use adit_tunnel::Secret;
use ikev2::{EspProposals, Identity, IdentityError, IkeProposals};

use super::{Import, Made, Value, dirs::Store};

/// A connection, with both of its ends.
#[derive(Default)]
pub(super) struct Connection {
    pub(super) name: String,
    pub(super) place: String,
    pub(super) ours: End,
    pub(super) theirs: End,
    pub(super) port: Option<u16>,
    pub(super) ike_proposals: Option<Said>,
    pub(super) esp_proposals: Option<Said>,
    /// Without an identity of the other end, every one is accepted that is vouched for; otherwise its address.
    pub(super) any_identity: bool,
    /// What is taken over as it is.
    pub(super) keys: Vec<(&'static str, Value)>,
    pub(super) notes: Vec<String>,
    /// It was the gateway's own, and both ends are exchanged.
    pub(super) is_turned: bool,
}

/// One end.
#[derive(Default)]
pub(super) struct End {
    pub(super) addresses: Vec<String>,
    pub(super) id: Option<Said>,
    pub(super) auth: Option<Said>,
    /// The identity inside of EAP.
    pub(super) eap_id: Option<Said>,
    pub(super) certificates: Vec<String>,
    pub(super) authorities: Vec<String>,
    /// Where the addresses, the certificates and the authorities stand.
    pub(super) addresses_said: Option<Said>,
    pub(super) certificates_said: Option<Said>,
    pub(super) authorities_said: Option<Said>,
    pub(super) networks: Vec<Said>,
}

/// A value, where it stands, and what it is called there.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) place: String,
    pub(super) key: String,
    pub(super) value: String,
}

/// A secret of one of the files of secrets.
pub(super) struct Credential {
    pub(super) kind: CredentialKind,
    /// Whose it is; nobody's: everybody's.
    pub(super) ids: Vec<String>,
    pub(super) secret: Option<Secret>,
    pub(super) place: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CredentialKind {
    Psk,
    /// A password.
    Eap,
    NtHash,
    /// A private key, and its passphrase if it has one.
    Key(String),
    Pkcs12(String),
}

/// Nobody in particular.
pub(super) fn is_anybody(text: &str) -> bool {
    matches!(
        text,
        "" | "%any"
            | "%any4"
            | "%any6"
            | "%anyaddr"
            | "0.0.0.0"
            | "::"
            | "0.0.0.0/0"
            | "::/0"
            | "%defaultroute"
            | "%group"
            | "%opportunistic"
    )
}

impl Connection {
    /// Makes a connection of ours of it.
    pub(super) fn finish(mut self, store: &Store, credentials: &[Credential], import: &mut Import) {
        let mut made = Made::new(self.name.clone());
        for note in std::mem::take(&mut self.notes) {
            made.note(note);
        }
        if self.theirs.addresses.iter().all(|address| is_anybody(address)) {
            if !self.turn_round() {
                import.lose(
                    &self.place,
                    &self.name,
                    "it answers whoever calls, and says nowhere by which address it is reached",
                );
                return;
            }
            made.note("It answers whoever calls: this is how to call it, so both ends are exchanged. See that its name or address is right. When it starts, renews keys and asks whether its callers live is its own matter, and not taken over.");
        } else if let Some(said) = &self.ours.addresses_said
            && !self.ours.addresses.iter().all(|address| is_anybody(address))
        {
            import.lose(&said.place, &said.key, "the address we send from is chosen by the system");
        }
        made.text("protocol", "ikev2");
        if !self.remotes(&mut made, import) {
            return;
        }
        self.identities(&mut made);
        self.proofs(store, credentials, &mut made, import);
        self.trust(store, &mut made, import);
        self.proposals(&mut made, import);
        let mut networks: Vec<_> = self.theirs.networks.iter().filter(|said| said.value != "dynamic").collect();
        // Everything is what is asked for unless something is said.
        if networks.iter().all(|said| is_anybody(&said.value)) {
            networks.clear();
        }
        let mut wanted = Vec::new();
        for said in networks {
            let network = crate::config::draft::Given::new(said.value.as_str(), "").network();
            match network {
                Ok(_) => wanted.push(said.value.clone()),
                Err(_) => import.lose(
                    &said.place,
                    &said.key,
                    "a network is an address with a prefix; protocols, ports and ranges are not taken",
                ),
            }
        }
        if !wanted.is_empty() {
            made.set("remote_ts", Value::Texts(wanted));
        } else if !self.theirs.networks.iter().any(|said| is_anybody(&said.value)) {
            made.note("No network behind the gateway is named, for which strongSwan asks for the gateway's own address alone; here all is asked for that the gateway gives: name what is wanted in `remote_ts`.");
        }
        for said in self.ours.networks.iter().filter(|said| !is_anybody(&said.value) && said.value != "dynamic") {
            import.lose(&said.place, &said.key, "our end is the address that the gateway gives us, and nothing else");
        }
        for (key, value) in self.keys {
            made.set(key, value);
        }
        import.connections.push(made);
    }

    /// From the gateway's end to ours. Whether it can be said where it is.
    fn turn_round(&mut self) -> bool {
        let reachable = |text: &String| !is_anybody(text) && !text.contains(['=', '@', '/', '*', '%', ' ']);
        let address = self.ours.addresses.iter().find(|address| reachable(address)).cloned();
        let id = self.ours.id.as_ref().map(|id| id.value.trim_start_matches('@').to_owned());
        let Some(address) = address.or_else(|| id.filter(|id| reachable(id))) else { return false };
        std::mem::swap(&mut self.ours, &mut self.theirs);
        self.theirs.addresses = vec![address];
        self.ours.addresses.clear();
        self.is_turned = true;
        // What one end does and the other one does not.
        self.port = None;
        self.keys.retain(|(key, _)| {
            !matches!(
                *key,
                "autostart" | "child_rekey_seconds" | "ike_rekey_seconds" | "initial_contact" | "liveness_seconds"
            )
        });
        true
    }

    /// Where the gateway is. Whether that can be said.
    fn remotes(&self, made: &mut Made, import: &mut Import) -> bool {
        let mut remotes = Vec::new();
        for address in self.theirs.addresses.iter().filter(|address| !is_anybody(address)) {
            let remote = match self.port.filter(|port| *port != 500) {
                Some(port) => crate::config::host_and_port(address, port),
                None => address.clone(),
            };
            match crate::config::draft::Given::new(remote.as_str(), "").remote() {
                Ok(_) => remotes.push(remote),
                Err(_) => import.lose(
                    &self.place,
                    "remote address",
                    "a gateway has a name or an address, no network and no range",
                ),
            }
        }
        if self.port.is_some_and(|port| port != 500) {
            made.note("With another port than 500, NAT traversal is used from the first datagram on.");
        }
        let any = !remotes.is_empty();
        if !any {
            import.lose(&self.place, &self.name, "it has no address of a gateway that could be called");
        }
        made.set("remotes", Value::Texts(remotes));
        any
    }

    fn identities(&self, made: &mut Made) {
        match &self.theirs.id {
            Some(id) if id.value == "%any" => made.text("remote_id", "%any"),
            Some(id) if !is_anybody(&id.value) => match identity(id.value.trim_start_matches('%')) {
                Ok(id) => made.text("remote_id", id),
                Err(error) => made.note(format!("{}: `{}`: {error}", id.place, id.key)),
            },
            None if self.any_identity && !self.by_psk() => made.note(
                "strongSwan takes whoever the authority vouches for, as no `id` of the gateway is said; here it has to be who `remotes` names, unless `remote_id` says another name, or `\"%any\"`.",
            ),
            Some(_) | None => {}
        }
        if let Some(id) = self.ours.id.as_ref().filter(|id| !is_anybody(&id.value)) {
            match identity(&id.value) {
                Ok(id) => made.text("local_id", id),
                Err(error) => made.note(format!("{}: `{}`: {error}", id.place, id.key)),
            }
        }
    }

    /// How we prove ourselves.
    fn proofs(&self, store: &Store, credentials: &[Credential], made: &mut Made, import: &mut Import) {
        let default = Said { place: self.place.clone(), key: "auth".into(), value: "pubkey".into() };
        let auth = self.ours.auth.as_ref().unwrap_or(&default);
        let words: Vec<_> = auth.value.split(',').map(|word| word.trim().trim_end_matches('!')).collect();
        let first = words.first().copied().unwrap_or_default();
        match first {
            "psk" | "secret" => {
                made.text("auth", "psk");
                self.psk(credentials, made, import);
            }
            _ if first == "eap" || first.starts_with("eap-") => {
                made.text("auth", "eap");
                self.eap(&words, auth, store, credentials, made, import);
            }
            _ if first.starts_with("xauth") => {
                import.lose(&auth.place, &auth.key, "XAuth is of IKEv1; IKEv2 has EAP for it");
                made.text("auth", "eap");
            }
            _ => {
                made.text("auth", "certificate");
                if first.contains('-') {
                    import.lose(&auth.place, &auth.key, "which key lengths and hashes are accepted is not chosen; what is taken over is that a certificate proves who we are");
                }
                if first.starts_with("rsa") && first.contains("pss") {
                    made.text("signature", "rsa-pss");
                }
                self.certificate(store, credentials, made, import);
                self.confirm_identity(store, made);
            }
        }
    }

    fn psk(&self, credentials: &[Credential], made: &mut Made, import: &mut Import) {
        let ends: Vec<&str> = [&self.theirs, &self.ours]
            .into_iter()
            .flat_map(|end| end.addresses.iter().map(String::as_str).chain(end.id.as_ref().map(|id| id.value.as_str())))
            .collect();
        let chosen = choose(credentials, |kind| *kind == CredentialKind::Psk, &ends);
        match chosen.and_then(|chosen| Some((chosen, chosen.secret.as_ref()?))) {
            Some((chosen, secret)) => {
                let file = file_of("psk", &self.name, "the pre-shared key, on a line", chosen, secret, import);
                made.set("psk", Value::NewSecret(file));
            }
            None => made.note("The pre-shared key is in none of the files: it is asked for, unless `psk = { file = \"…\" }` names it."),
        }
    }

    fn eap(
        &self,
        words: &[&str],
        auth: &Said,
        store: &Store,
        credentials: &[Credential],
        made: &mut Made,
        import: &mut Import,
    ) {
        let mut methods = Vec::new();
        for word in words {
            match word.strip_prefix("eap-") {
                None => {}
                Some(method @ ("mschapv2" | "tls" | "ttls" | "gtc" | "md5")) => methods.push(method.to_owned()),
                // The server's own matter: whatever it asks for that we have.
                Some("dynamic" | "radius") => {}
                Some(other) => import.lose(
                    &auth.place,
                    &auth.key,
                    format_args!("the EAP method `{}` is not supported", other.escape_debug()),
                ),
            }
        }
        if words.len() > 1 {
            made.note(format!(
                "{}: `{}`: strongSwan itself takes one method there; those it names are accepted, best first.",
                auth.place, auth.key
            ));
        }
        let named = |said: &Said| !is_anybody(&said.value) && !said.value.starts_with('%');
        let user = self.ours.eap_id.as_ref().filter(|id| named(id)).map(|id| id.value.clone());
        // Inside of EAP we are who we are outside of it, unless something else is said.
        let own = user.clone().or_else(|| self.ours.id.as_ref().filter(|id| named(id)).map(|id| id.value.clone()));
        let has_certificate = !self.ours.certificates.is_empty()
            || credentials.iter().any(|credential| matches!(credential.kind, CredentialKind::Pkcs12(_)));
        if methods.iter().any(|method| method == "tls") {
            if has_certificate {
                self.certificate(store, credentials, made, import);
            } else if methods.len() > 1 {
                methods.retain(|method| method != "tls");
                made.note("EAP-TLS wants a certificate of ours, and there is none: add `eap = [\"tls\"]` and `pkcs12 = \"…\"` for it.");
            } else {
                made.note("EAP-TLS wants a certificate of ours: add `pkcs12 = \"…\"`, or `certificate = \"…\"` and `key = \"…\"`.");
            }
        }
        let passwords = methods.is_empty() || methods.iter().any(|method| method != "tls");
        if passwords {
            let wanted: Vec<&str> = own.as_deref().into_iter().collect();
            let is_login = |kind: &CredentialKind| matches!(kind, CredentialKind::Eap | CredentialKind::NtHash);
            let chosen = choose(credentials, is_login, &wanted).filter(|chosen| own.is_none() || chosen.is_of(&wanted));
            let user = user.or_else(|| chosen.and_then(|chosen| chosen.ids.first().cloned())).or(own);
            match &user {
                Some(user) => made.text("user", user.clone()),
                None => {
                    made.note("The user name is in none of the files: it is asked for, unless `user = \"…\"` says it.")
                }
            }
            match chosen.and_then(|chosen| Some((chosen, chosen.secret.as_ref()?))) {
                Some((chosen, secret)) if chosen.kind == CredentialKind::NtHash => {
                    let digits = secret.expose().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
                    let digits = Secret::from(digits.as_str());
                    let file = file_of("nt-hash", &self.name, "the NT hash, in hexadecimal digits", chosen, &digits, import);
                    made.set("nt_hash", Value::NewSecret(file));
                }
                Some((chosen, secret)) => {
                    let file = file_of("password", &self.name, "the password, on a line", chosen, secret, import);
                    made.set("password", Value::NewSecret(file));
                }
                None => made.note("The password is in none of the files: it is asked for, unless `password = { file = \"…\" }` names it."),
            }
            let others = credentials.iter().filter(|other| is_login(&other.kind)).count();
            if others > 1 {
                made.note("There are several passwords in the files of secrets; see that `user` and `password` are the right ones.");
            }
        } else if let Some(user) = user {
            made.text("user", user);
        }
        if methods.iter().any(|method| method == "ttls") {
            made.note("What is inside of EAP-TTLS is said in strongswan.conf: see that `ttls` is right.");
            made.set("ttls", Value::Toml("{ inner = \"eap-mschapv2\" }".into()));
        }
        if !methods.is_empty() {
            made.set("eap", Value::Texts(methods));
        }
    }

    fn certificate(&self, store: &Store, credentials: &[Credential], made: &mut Made, import: &mut Import) {
        let pkcs12 = credentials.iter().find_map(|credential| match &credential.kind {
            CredentialKind::Pkcs12(file) => Some((credential, file)),
            CredentialKind::Psk | CredentialKind::Eap | CredentialKind::NtHash | CredentialKind::Key(_) => None,
        });
        let keys: Vec<_> = credentials
            .iter()
            .filter_map(|credential| match &credential.kind {
                CredentialKind::Key(file) => Some((credential, store.key(file))),
                CredentialKind::Psk | CredentialKind::Eap | CredentialKind::NtHash | CredentialKind::Pkcs12(_) => None,
            })
            .collect();
        let (passphrase, what) = match (self.ours.certificates.first(), pkcs12) {
            (Some(certificate), _) => {
                let path = store.certificate(certificate);
                let stem = path.file_stem().map(ToOwned::to_owned);
                made.set("certificate", Value::Path(path));
                let all = store.all_keys();
                let named = keys.iter().find(|(_, path)| path.file_stem() == stem.as_deref()).or_else(|| keys.first());
                let found = match named {
                    Some((credential, path)) => Some((Some(*credential), path.clone())),
                    None => all
                        .iter()
                        .find(|path| path.file_stem() == stem.as_deref())
                        .or_else(|| all.first().filter(|_| all.len() == 1))
                        .map(|path| (None, path.clone())),
                };
                match found {
                    Some((credential, path)) => {
                        made.set("key", Value::Path(path));
                        (credential, "the passphrase of the private key, on a line")
                    }
                    None => {
                        made.note("The private key of the certificate was not found: add `key = \"…\"`.");
                        (None, "")
                    }
                }
            }
            (None, Some((credential, file))) => {
                made.set("pkcs12", Value::Path(store.key(file)));
                (Some(credential), "the passphrase of the PKCS#12 file, on a line")
            }
            (None, None) => {
                made.note("Our certificate is named nowhere: add `pkcs12 = \"…\"`, or `certificate = \"…\"` and `key = \"…\"`.");
                (None, "")
            }
        };
        if let Some((credential, secret)) =
            passphrase.and_then(|credential| Some((credential, credential.secret.as_ref()?)))
        {
            let file = file_of("passphrase", &self.name, what, credential, secret, import);
            made.set("passphrase", Value::NewSecret(file));
        }
        for more in self.ours.certificates.iter().skip(1) {
            made.note(format!("Our second certificate `{}` is not used: one proves who we are.", more.escape_debug()));
        }
    }

    pub(super) fn by_psk(&self) -> bool {
        self.ours.auth.as_ref().is_some_and(|auth| ["psk", "secret"].contains(&auth.value.as_str()))
    }

    fn proposals(&self, made: &mut Made, import: &mut Import) {
        let mut legacy = false;
        for (key, said) in [("ike_proposals", &self.ike_proposals), ("esp_proposals", &self.esp_proposals)] {
            let Some(said) = said else { continue };
            let text = said.value.trim().trim_end_matches('!').replace(' ', "");
            // Each on its own: one that is not known does not take the others with it.
            let fits = |one: &&str| match key {
                "ike_proposals" => one.parse::<IkeProposals>().is_ok(),
                _ => one.parse::<EspProposals>().is_ok(),
            };
            let (good, bad): (Vec<&str>, Vec<&str>) = text.split(',').partition(fits);
            for bad in bad {
                let why = match key {
                    "ike_proposals" => bad.parse::<IkeProposals>().err().map(|error| error.to_string()),
                    _ => bad.parse::<EspProposals>().err().map(|error| error.to_string()),
                };
                import.lose(
                    &said.place,
                    &said.key,
                    format_args!("the proposal `{}` is not taken: {}", bad.escape_debug(), why.unwrap_or_default()),
                );
            }
            if good.is_empty() || good == ["default"] {
                continue;
            }
            legacy |= good.iter().flat_map(|one| one.split('-')).any(|word| LEGACY.contains(&word));
            made.text(key, good.join(","));
        }
        if legacy {
            made.note("It uses algorithms that are no longer safe, which `legacy` allows.");
            made.set("legacy", Value::Flag(true));
        }
    }
}

/// An identity as ours is written. A distinguished name has a backslash before the commas of a value, where strongSwan has
/// quotation marks around it.
pub(super) fn identity(text: &str) -> Result<String, IdentityError> {
    let mut written = String::new();
    let mut quoted = false;
    for letter in text.chars() {
        match letter {
            '"' if text.contains('=') => quoted = !quoted,
            ',' | '+' if quoted => written.extend(['\\', letter]),
            letter => written.push(letter),
        }
    }
    Identity::from_text(&written).map(|_| written)
}

/// Words of proposals that are to be allowed expressly.
const LEGACY: &[&str] = &["sha", "sha1", "prfsha1", "3des", "modp1024", "modp1536"];

impl Credential {
    fn is_of(&self, wanted: &[&str]) -> bool {
        let bare = |text: &str| text.trim_start_matches('@').to_owned();
        self.ids.iter().any(|id| wanted.iter().any(|wanted| bare(wanted) == bare(id)))
    }
}

/// The one for these identities, or for nobody in particular, or the only one.
fn choose<'a>(
    credentials: &'a [Credential],
    is_kind: impl Fn(&CredentialKind) -> bool,
    wanted: &[&str],
) -> Option<&'a Credential> {
    let all: Vec<_> = credentials.iter().filter(|credential| is_kind(&credential.kind)).collect();
    let exact = all.iter().find(|credential| credential.is_of(wanted));
    let anybody = all.iter().find(|credential| credential.ids.iter().all(|id| is_anybody(id)));
    exact.or(anybody).or_else(|| all.first()).copied()
}

fn file_of(
    kind: &str,
    connection: &str,
    what: &str,
    credential: &Credential,
    secret: &Secret,
    import: &mut Import,
) -> String {
    let content = Secret::new([secret.expose(), b"\n"].concat());
    import.new_file(format!("{connection}-{kind}.txt"), format!("{what}: {}", credential.place), content)
}

/// `30`, `30s`, `5m`, `2h`, `1d`, in seconds.
pub(super) fn seconds(text: &str) -> Option<i64> {
    let text = text.trim();
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let factor = match unit.trim() {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(factor).filter(|seconds| *seconds <= i64::from(u32::MAX))
}

/// `yes` and `no`, in all their forms.
pub(super) fn flag(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "yes" | "true" | "1" | "enabled" => Some(true),
        "no" | "false" | "0" | "disabled" => Some(false),
        _ => None,
    }
}

/// A secret as it is written: `0x…` in hexadecimal digits, `0s…` in base64, or as it is.
pub(super) fn secret(text: &str) -> Secret {
    use base64::Engine;
    if let Some(digits) = text.strip_prefix("0x").filter(|digits| digits.len() % 2 == 0 && digits.is_ascii()) {
        let bytes: Option<Vec<u8>> = digits
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        if let Some(bytes) = bytes {
            return Secret::new(bytes);
        }
    }
    let decoded = text.strip_prefix("0s").and_then(|text| base64::prelude::BASE64_STANDARD.decode(text).ok());
    decoded.map_or_else(|| Secret::from(text), Secret::new)
}
