//! Profiles of strongSwan's Android client: JSON with certificates inside (`.sswan`).
//!
//! The keys are those its importer reads (strongSwan, `VpnProfileImportActivity.java`). What means nothing here is said to.

use std::time::Duration;

use adit_tunnel::{Family, Secret};
use base64::{Engine, prelude::BASE64_STANDARD};
use ikev2::{Remote, SignatureChoice};
use serde_json::{Map, Value};

use super::{
    draft::{Auth, Draft, Given, Method, Wording},
    files::{Content, SecretSource, is_utf16, without_mark},
    problems::Problems,
};
use crate::error::{Error, Exit};

/// Understands the profile; `name` is what to call it. `None`: what is wrong is in the list of problems, all of it.
pub(super) fn parse(name: &str, bytes: &[u8], problems: &mut Problems) -> Option<Draft> {
    let mut root = problems.catch(Fields::new(name, bytes))?;
    let errors = problems.errors();
    let mut draft = Draft { forgiving: true, ..Draft::new(name, Wording::Options) };
    for known in ["uuid", "name"] {
        root.take(known);
    }
    root.remote(&mut draft, problems);
    root.local(&mut draft, problems);
    let kind = root.text("type");
    problems.catch(kind.and_then(|kind| kind_of(&root, kind, &mut draft)));
    if let Some(Some(proposals)) = problems.catch(root.text("ike-proposal")) {
        problems.catch(draft.set_ike_proposals(proposals));
    }
    if let Some(Some(proposals)) = problems.catch(root.text("esp-proposal")) {
        problems.catch(draft.set_esp_proposals(proposals));
    }
    if let Some(Some(mtu)) = problems.catch(root.number("mtu")) {
        draft.set(move |settings| settings.mtu = Some(mtu));
    }
    if let Some(Some(seconds)) = problems.catch(root.number("nat-keepalive")) {
        draft.set(move |settings| settings.nat_keepalive = Duration::from_secs(seconds.into()));
    }
    if problems.catch(root.flag("ipv6-transport")) == Some(Some(false)) {
        draft.remotes.iter_mut().for_each(|remote| remote.family = Some(Family::V4));
    }
    for (key, why) in [
        ("split-tunneling", "only what is forwarded enters the tunnel"),
        ("apps", "only what is forwarded enters the tunnel"),
        ("excluded-apps", "only what is forwarded enters the tunnel"),
        ("proxy", "nothing here uses a proxy"),
        ("dns-servers", "names are asked of the DNS servers that the gateway names"),
    ] {
        if root.take(key).is_some() {
            draft.warnings.push(format!("{} has no effect: {why}", root.place(key)));
        }
    }
    root.finish(&mut draft);
    (problems.errors() == errors).then_some(draft)
}

/// What the type of the profile asks for.
fn kind_of(root: &Fields<'_>, kind: Option<Given<String>>, draft: &mut Draft) -> Result<(), Error> {
    let Some(kind) = kind else { return Err(root.missing("type")) };
    (draft.auth, draft.eap) = match kind.value.as_str() {
        // What the app accepts for a password, in its order.
        "ikev2-eap" => (Some(Auth::Eap), vec![Method::MsChapV2, Method::Gtc, Method::Md5]),
        "ikev2-eap-tls" => (Some(Auth::Eap), vec![Method::Tls]),
        "ikev2-cert" => (Some(Auth::Certificate), Vec::new()),
        "ikev2-cert-eap" => {
            let error = kind.error("a certificate and EAP one after the other (RFC 4739) are not supported");
            return Err(error.hint("ask for a profile of type ikev2-eap, ikev2-eap-tls or ikev2-cert"));
        }
        "ikev2-byod-eap" => {
            let error = kind.error("the checks of the device (EAP-TNC) of `ikev2-byod-eap` are not supported");
            return Err(error.hint("ask for a profile of type ikev2-eap"));
        }
        other => {
            let error = kind.error(format!("the type `{other}` is unknown"));
            return Err(error.hint("known are ikev2-eap, ikev2-eap-tls and ikev2-cert"));
        }
    };
    Ok(())
}

/// The members of an object that have not been looked at yet.
struct Fields<'a> {
    file: &'a str,
    /// Before each key, such as `remote.`.
    prefix: &'static str,
    members: Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn new(file: &'a str, bytes: &[u8]) -> Result<Self, Error> {
        let wrong = |problem: String| Error::new(Exit::Usage, problem);
        if is_utf16(bytes) {
            return Err(wrong(format!("{file}: it is UTF-16")).hint("save the profile as UTF-8"));
        }
        match serde_json::from_slice(without_mark(bytes)) {
            Ok(Value::Object(members)) => Ok(Self { file, prefix: "", members }),
            Ok(_) => Err(wrong(format!("{file}: this is no strongSwan profile, but other JSON"))),
            Err(error) => {
                let why = if error.is_eof() { "it ends too early" } else { "something else was expected here" };
                let error = wrong(format!("{file} line {}: this is no JSON: {why}", error.line()));
                Err(error.hint("copy the profile again, as it was given to you"))
            }
        }
    }

    fn remote(&mut self, draft: &mut Draft, problems: &mut Problems) {
        let Some(remote) = problems.catch(self.object("remote", "remote.")) else { return };
        let Some(mut remote) = remote else { return problems.error(self.missing("remote")) };
        let gateway = match problems.catch(remote.text("addr")) {
            Some(Some(address)) => problems.catch(address.remote()),
            Some(None) => {
                problems.error(remote.missing("addr"));
                None
            }
            None => None,
        };
        let port = problems.catch(remote.number("port")).flatten();
        draft.remotes.extend(gateway.map(|gateway| Remote { port: port.unwrap_or(gateway.port), ..gateway }));
        let id = problems.catch(remote.text("id")).flatten();
        draft.remote_id = id.and_then(|id| problems.catch(id.remote_id()));
        draft.ca = problems.catch(remote.bytes("cert")).flatten().into_iter().collect();
        if problems.catch(remote.flag("certreq")) == Some(Some(false)) {
            let what = remote.place("certreq");
            draft.warnings.push(format!("{what} has no effect: the gateway is asked for its certificate"));
        }
        if let Some(Some(revocation)) = problems.catch(remote.object("revocation", "remote.revocation.")) {
            revocation.revocation(draft, problems);
        }
        remote.finish(draft);
    }

    fn revocation(mut self, draft: &mut Draft, problems: &mut Problems) {
        if problems.catch(self.flag("strict")) == Some(Some(true)) {
            let problem = format!("{}: nothing is fetched to see what was revoked", self.place("strict"));
            let error = Error::new(Exit::Usage, problem);
            problems.error(error.hint("describe the connection in a TOML file, with `crl = [\"…\"]`"));
        }
        for key in ["crl", "ocsp"] {
            if problems.catch(self.flag(key)) == Some(Some(true)) {
                let what = self.place(key);
                draft.warnings.push(format!("{what} has no effect: nothing is fetched to see what was revoked"));
            }
        }
        self.finish(draft);
    }

    fn local(&mut self, draft: &mut Draft, problems: &mut Problems) {
        let Some(Some(mut local)) = problems.catch(self.object("local", "local.")) else { return };
        draft.user = problems.catch(local.text("eap_id")).flatten();
        let secret = problems.catch(local.text("shared_secret")).flatten();
        draft.password =
            secret.map(|Given { value, place }| Given::new(SecretSource::Value(Secret::new(value)), place));
        let id = problems.catch(local.text("id")).flatten();
        draft.local_id = id.and_then(|id| problems.catch(id.identity()));
        draft.pkcs12 = problems.catch(local.bytes("p12")).flatten();
        if problems.catch(local.flag("rsa-pss")) == Some(Some(true)) {
            draft.set(|settings| settings.signature = SignatureChoice::RsaPss);
        }
        local.finish(draft);
    }

    fn place(&self, key: &str) -> String {
        format!("{}: `{}{key}`", self.file, self.prefix)
    }

    fn wrong(&self, key: &str, wanted: &str) -> Error {
        Error::at(&self.place(key), format!("this has to be {wanted}"))
    }

    fn missing(&self, key: &str) -> Error {
        Error::new(Exit::Usage, format!("{} is missing", self.place(key))).hint("is it a strongSwan profile?")
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.members.remove(key).filter(|value| !value.is_null())
    }

    fn text(&mut self, key: &str) -> Result<Option<Given<String>>, Error> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(Given::new(text, self.place(key)))),
            Some(_) => Err(self.wrong(key, "a text")),
        }
    }

    fn number(&mut self, key: &str) -> Result<Option<u16>, Error> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0);
        number.map(Some).ok_or_else(|| self.wrong(key, "a number from 1 to 65535"))
    }

    fn flag(&mut self, key: &str) -> Result<Option<bool>, Error> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    fn object(&mut self, key: &str, prefix: &'static str) -> Result<Option<Self>, Error> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Object(members)) => Ok(Some(Self { file: self.file, prefix, members })),
            Some(_) => Err(self.wrong(key, "an object")),
        }
    }

    /// Base64, perhaps on several lines.
    fn bytes(&mut self, key: &str) -> Result<Option<Given<Content>>, Error> {
        let Some(Given { mut value, place }) = self.text(key)? else { return Ok(None) };
        value.retain(|c| !c.is_whitespace());
        match BASE64_STANDARD.decode(&value) {
            Ok(bytes) => Ok(Some(Given::new(Content::Bytes(Secret::new(bytes)), place))),
            Err(_) => Err(self.wrong(key, "base64")),
        }
    }

    /// Whatever is left is not understood.
    fn finish(self, draft: &mut Draft) {
        for key in self.members.keys() {
            draft.warnings.push(format!("{} is unknown, and has no effect", self.place(key)));
        }
    }
}
