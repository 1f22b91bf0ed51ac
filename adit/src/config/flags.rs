//! Options of the command line: a whole IKEv2 connection for a quick try, or what a `.sswan` profile lacks.

use crate::{
    arguments::Forward,
    error::{Error, Exit},
};

use super::{
    draft::{Draft, Given, Wording},
    files::{Content, SecretSource},
    ovpn,
};

/// The connection of `--ikev2`.
pub(super) fn quick(host: &str, arguments: &Forward) -> Result<Draft, Error> {
    let mut draft = Draft::new("--ikev2", Wording::Options);
    draft.remotes = vec![Given::new(host, "--ikev2").remote()?];
    add(&mut draft, arguments)?;
    Ok(draft)
}

/// Adds what options say, in place of what the profile says.
pub(super) fn add(draft: &mut Draft, arguments: &Forward) -> Result<(), Error> {
    let options = &arguments.ikev2_options;
    let file = |path: &std::path::PathBuf, option: &str| Given::new(Content::File(path.clone()), option);
    let secret = |path: &std::path::PathBuf, option: &str| Given::new(SecretSource::File(path.clone()), option);
    fn replace<T>(old: &mut Option<T>, new: Option<T>) {
        *old = new.or_else(|| old.take());
    }
    if !options.ca.is_empty() {
        draft.ca = options.ca.iter().map(|path| file(path, "--ca")).collect();
    }
    if options.cert.is_some() || options.p12.is_some() {
        (draft.certificate, draft.key, draft.pkcs12) = (None, None, None);
    }
    replace(&mut draft.certificate, options.cert.as_ref().map(|path| file(path, "--cert")));
    replace(&mut draft.key, options.key.as_ref().map(|path| file(path, "--key")));
    replace(&mut draft.pkcs12, options.p12.as_ref().map(|path| file(path, "--p12")));
    replace(&mut draft.passphrase, arguments.askpass.as_ref().map(|path| secret(path, "--askpass")));
    replace(&mut draft.psk, options.psk_file.as_ref().map(|path| secret(path, "--psk-file")));
    if let Some(path) = &arguments.auth_user_pass {
        let (user, password) = ovpn::login_of(path)?;
        draft.user = Some(Given::new(user, "--auth-user-pass"));
        draft.password = Some(Given::new(SecretSource::Value(password), "--auth-user-pass"));
    }
    replace(&mut draft.user, options.user.as_ref().map(|user| Given::new(user.clone(), "--user")));
    replace(&mut draft.password, options.password_file.as_ref().map(|path| secret(path, "--password-file")));
    if !options.eap.is_empty() {
        draft.eap.clone_from(&options.eap);
    }
    let text = |text: &Option<String>, option: &str| text.as_ref().map(|text| Given::new(text.clone(), option));
    replace(&mut draft.local_id, text(&options.local_id, "--local-id").map(|id| id.identity()).transpose()?);
    replace(&mut draft.remote_id, text(&options.remote_id, "--remote-id").map(|id| id.remote_id()).transpose()?);
    if let Some(proposals) = text(&options.ike_proposals, "--ike-proposals") {
        draft.set_ike_proposals(proposals)?;
    }
    if let Some(proposals) = text(&options.esp_proposals, "--esp-proposals") {
        draft.set_esp_proposals(proposals)?;
    }
    if options.legacy {
        draft.set(|settings| settings.legacy = true);
    }
    Ok(())
}

/// What options say about an OpenVPN profile.
pub(super) fn of_openvpn(arguments: &Forward) -> ovpn::Given {
    ovpn::Given {
        login: arguments.auth_user_pass.clone().map_or(ovpn::Login::Unknown, ovpn::Login::File),
        passphrase: arguments.askpass.clone().map(|path| Given::new(SecretSource::File(path), "--askpass")),
        named: None,
        wording: Wording::Options,
    }
}

/// Refuses options that have no use with this file.
pub(super) fn refuse(arguments: &Forward, file: &str, also_secrets: bool) -> Result<(), Error> {
    let secrets =
        [("--auth-user-pass", arguments.auth_user_pass.is_some()), ("--askpass", arguments.askpass.is_some())];
    let given = arguments.ikev2_options.first_given();
    let given = given.or_else(|| secrets.iter().find(|(_, given)| also_secrets && *given).map(|(option, _)| *option));
    let Some(option) = given else { return Ok(()) };
    let error = Error::new(Exit::Usage, format!("{option} has no use with {file}"));
    Err(error.hint("say it in that file, or leave the option away"))
}
