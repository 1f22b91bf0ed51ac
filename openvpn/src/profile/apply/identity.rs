//! Who we are: certificates, keys, user and password.

use adit_tunnel::Secret;

use super::{
    super::{draft::Login, source::text_lines},
    APPLIED, Applied, Context, HARMLESS, lossy, one, wrong_count,
};
use crate::{config::StaticChallenge, keys::pem};

pub(in super::super) fn cert(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let Some(content) = cx.content(arguments)? else { return HARMLESS };
    cx.draft.certificates = pem::certificates(content.expose()).map_err(|e| e.to_string())?;
    APPLIED
}

pub(in super::super) fn extra_certs(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let Some(content) = cx.content(arguments)? else { return HARMLESS };
    cx.draft.extra_certificates = pem::certificates(content.expose()).map_err(|e| e.to_string())?;
    APPLIED
}

pub(in super::super) fn key(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let Some(content) = cx.content(arguments)? else { return HARMLESS };
    pem::is_key_encrypted(content.expose()).map_err(|e| e.to_string())?;
    cx.draft.key = Some(content);
    APPLIED
}

pub(in super::super) fn pkcs12(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    if !cfg!(feature = "pkcs12") {
        return Err("this program was built without support for PKCS#12; use `cert` and `key`".into());
    }
    let Some(content) = cx.content(arguments)? else { return HARMLESS };
    cx.draft.pkcs12 = Some(content);
    APPLIED
}

/// `askpass [FILE]`.
pub(in super::super) fn askpass(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    if arguments.is_empty() || arguments == ["stdin"] {
        return HARMLESS;
    }
    let content = cx.file(one(arguments)?)?;
    let lines = text_lines(content.expose()).ok_or("the file is not text")?;
    let line = lines.first().ok_or("the file is empty; its first line is the passphrase")?;
    cx.draft.key_passphrase = Some(Secret::from(line.as_str()));
    APPLIED
}

/// `auth-user-pass [FILE]`: the user in the first line, the password in the second.
pub(in super::super) fn auth_user_pass(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    if cx.inline.is_none() && (arguments.is_empty() || arguments == ["stdin"]) {
        cx.draft.login = Some(Login::default());
        return APPLIED;
    }
    if arguments.len() > 1 {
        return Err(wrong_count());
    }
    let Some(content) = cx.content(arguments)? else { return HARMLESS };
    let lines = text_lines(content.expose()).ok_or("its content is not text")?;
    let mut lines = lines.iter().map(|line| line.as_str()).filter(|line| cx.inline.is_none() || !line.is_empty());
    let username = lines.next().filter(|line| !line.is_empty()).ok_or("the user is missing in the first line")?;
    let password = lines.next().filter(|line| !line.is_empty());
    cx.draft.login = Some(Login { username: Some(username.to_owned()), password: password.map(Secret::from) });
    APPLIED
}

pub(in super::super) fn auth_retry(_: &mut Context<'_>, arguments: &[&str]) -> Applied {
    match one(arguments)? {
        "none" => HARMLESS,
        "interact" | "nointeract" => lossy("a rejected password is never tried again by itself"),
        _ => Err("write none, interact or nointeract".into()),
    }
}

/// `static-challenge TEXT ECHO [scrv1|concat]`.
pub(in super::super) fn static_challenge(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let (text, echo, format) = match arguments {
        [text, echo] => (text, echo, "scrv1"),
        [text, echo, format] => (text, echo, *format),
        _ => return Err("write `static-challenge TEXT 0` or `static-challenge TEXT 1`".into()),
    };
    let echo = match *echo {
        "0" => false,
        "1" => true,
        _ => return Err("its second value is 0 or 1: whether typing is visible".into()),
    };
    let concat = match format {
        "scrv1" => false,
        "concat" => true,
        _ => return Err("the format is unknown; write scrv1 or concat".into()),
    };
    cx.draft.settings.static_challenge = Some(StaticChallenge { text: (*text).to_owned(), echo, concat });
    APPLIED
}
