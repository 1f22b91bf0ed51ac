//! Who vouches for the gateway, and what was asked of it beyond that.

use std::path::PathBuf;

use adit_pki::CertificateFacts;
use ikev2::Identity;

use super::{
    Import, Made, Value,
    dirs::Store,
    ike::{Connection, identity},
};
use crate::config::files::read;

impl Connection {
    /// strongSwan names itself by the subject of its certificate if that does not bear the name it was told.
    pub(super) fn confirm_identity(&self, store: &Store, made: &mut Made) {
        let Some(id) = &self.ours.id else { return };
        let Ok(wanted) = identity(&id.value).and_then(|text| Identity::from_text(&text)) else { return };
        let file = self.ours.certificates.first().and_then(|name| read(&store.certificate(name)).ok());
        let chain = file.and_then(|file| adit_pki::certificates(&file).ok()).unwrap_or_default();
        let Some(facts) = chain.first().and_then(|leaf| CertificateFacts::read(leaf)) else { return };
        let certified = std::iter::once(&facts.subject).chain(&facts.names);
        if !certified.filter_map(|name| Identity::from_text(name).ok()).any(|name| name.matches(&wanted)) {
            made.keys.retain(|(key, _)| *key != "local_id");
            made.note(format!(
                "{}: `{}`: the certificate does not bear this name, so strongSwan says the certificate's subject, and so does this.",
                id.place, id.key
            ));
        }
    }

    /// Who vouches for the gateway.
    pub(super) fn trust(&self, store: &Store, made: &mut Made, import: &mut Import) {
        if let Some(said) = &self.ours.authorities_said {
            import.lose(&said.place, &said.key, "our certificate is shown as it is, whoever issued it");
        }
        if self.by_psk() {
            self.psk_instead(made, import);
            return;
        }
        let auth = self.theirs.auth.as_ref();
        let method = auth.map_or("", |auth| auth.value.split('-').next().unwrap_or_default());
        match (auth, method) {
            (Some(_), "psk" | "secret") if !self.is_turned => made.note("The gateway proves itself by a pre-shared key, and we do by something else: this is not supported, it has to show a certificate."),
            (Some(_), "psk" | "secret") => made.note("The gateway proves itself by a pre-shared key, and its callers do by something else: this is not supported, it has to show a certificate."),
            (Some(auth), "eap") => import.lose(&auth.place, &auth.key, "the gateway proves itself by a certificate, and never by EAP alone"),
            (Some(auth), _) if auth.value.contains(['-', ',']) => import.lose(
                &auth.place,
                &auth.key,
                "which keys, lengths and hashes of the gateway's certificate and signature are good enough is not chosen: every one that is safe is accepted",
            ),
            _ => {}
        }
        // A gateway's own file says which certificate it shows, not which one its callers want.
        if let Some(said) = self.theirs.certificates_said.as_ref().filter(|_| !self.is_turned) {
            import.lose(
                &said.place,
                &said.key,
                "the gateway's own certificate cannot be pinned: every certificate is accepted that an authority of `ca` vouches for and that bears the name \
                 of `remote_id`, or of `remotes`; name there as few authorities as there are, best one that issues for this gateway alone",
            );
        }
        let mut paths: Vec<PathBuf> = self.theirs.authorities.iter().map(|name| store.authority(name)).collect();
        if paths.is_empty() {
            paths = store.all_authorities();
        }
        if paths.is_empty() && self.theirs.certificates_said.is_some() {
            made.note("The gateway's own certificate is named, and no authority: name whoever issued it in `ca`.");
        }
        if paths.is_empty() {
            made.note("No authority was found that vouches for the gateway: add `ca = [\"ca.pem\"]`, unless it is in the PKCS#12 file.");
        } else {
            made.set("ca", Value::Paths(paths));
        }
        // strongSwan reads every list that lies there.
        let lists = store.all_revocation_lists();
        if let Some(directory) = lists.first().and_then(|list| list.parent()) {
            import.lose(
                directory.display(),
                "revocation lists",
                format_args!(
                    "{} there: `crl = [\"…\"]` names lists, which are then needed for every certificate",
                    match lists.len() {
                        1 => "a list lies".to_owned(),
                        many => format!("{many} lists lie"),
                    }
                ),
            );
        }
    }

    /// A pre-shared key is that of both ends here: what else was asked of the gateway is not.
    fn psk_instead(&self, made: &mut Made, import: &mut Import) {
        if !self.theirs.auth.as_ref().is_some_and(|auth| ["psk", "secret"].contains(&auth.value.as_str())) {
            made.note("We prove ourselves by a pre-shared key, and the gateway by something else, a certificate perhaps: this is not supported, it has to have the same key, which everybody else who has it can then pretend to be.");
        }
        for said in [&self.theirs.certificates_said, &self.theirs.authorities_said].into_iter().flatten() {
            import.lose(&said.place, &said.key, "with `auth = \"psk\"`, the gateway is not asked for a certificate");
        }
    }
}
