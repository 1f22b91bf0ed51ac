//! EAP-TTLS, from end to end.

use super::*;
use crate::{
    config::{EapTlsServer, TtlsInner},
    eap::tests::pki::{OTHER_CA, expected, leaf},
};

const KIND: EapType = EapType::TTLS;

fn all_inside() -> Vec<TtlsInnerMethod> {
    let eap = vec![EapServerMethod::MsChapV2, EapServerMethod::Gtc, EapServerMethod::Md5];
    vec![TtlsInnerMethod::Pap, TtlsInnerMethod::MsChapV2, TtlsInnerMethod::Eap(eap)]
}

fn server(version: TlsVersion, inner: Vec<TtlsInnerMethod>) -> Server {
    Server::new(vec![EapServerMethod::Ttls { tls: tls_identity(&SERVER, &CA, version), inner }])
}

fn with(inner: TtlsInner) -> EapMethod {
    EapMethod::Ttls { server: expected(), anonymous_identity: Some("anonymous@example".to_owned()), inner }
}

fn ms_chap_inside(password: &str) -> TtlsInner {
    TtlsInner::MsChapV2(MsChapV2Secret::Password(password.into()))
}

/// Every way inside, with this password.
fn every(password: &str) -> Vec<TtlsInner> {
    let eap = [ms_chap(password), EapMethod::Gtc(password.into()), EapMethod::Md5(password.into())];
    let eap = eap.map(|method| TtlsInner::Eap(Box::new(method)));
    [TtlsInner::Pap(password.into()), ms_chap_inside(password)].into_iter().chain(eap).collect()
}

#[test]
fn both_ends_agree_on_the_key_whatever_proves_the_client() {
    for version in VERSIONS {
        for inner in every("secret") {
            let key = success("user", server(version, all_inside()).run(vec![with(inner)], "HOME\\user"));
            assert_eq!(key.unwrap().expose().len(), 64);
        }
        for inner in every("another") {
            let end = server(version, all_inside()).run(vec![with(inner)], "OFFICE\\user");
            assert!(success("OFFICE\\user", end).is_some());
        }
        let end = server(version, all_inside()).run(vec![with(ms_chap_inside("secret"))], "hashed");
        assert!(success("hashed", end).is_some());
    }
}

/// A password as long as a multiple of the padding, one longer, and none.
#[test]
fn the_padding_of_passwords_is_taken_off() {
    for password in ["0123456789abcdef", "0123456789abcdefg", "p", ""] {
        let secret = MsChapV2Secret::Password(password.into());
        let users = vec![EapUser { name: "user".to_owned(), secret }];
        let tls = tls_identity(&SERVER, &CA, TlsVersion::V1_3);
        let methods = vec![EapServerMethod::Ttls { tls, inner: vec![TtlsInnerMethod::Pap] }];
        let servers = Arc::new(EapServers::new(&EapServerConfig { methods, users }).unwrap());
        let run = |password: &str| {
            Server::with(Arc::clone(&servers)).run(vec![with(TtlsInner::Pap(password.into()))], "user")
        };
        assert!(success("user", run(password)).is_some());
        assert!(matches!(run("x"), End::Refused { server: EapClientError::WrongPassword(_), .. }));
    }
}

#[test]
fn unknown_users_and_wrong_passwords_look_alike() {
    for version in VERSIONS {
        let run = |name: &str, inner: TtlsInner| {
            let mut server = server(version, all_inside());
            match server.run(vec![with(inner)], name) {
                End::Refused { server, client } => (server, client),
                // It has been told by MS-CHAPv2, and what it answers does not matter.
                End::GaveUp(client) => (server.refuses(KIND, &[0]), client),
                End::Success { .. } => panic!("{name}"),
            }
        };
        for (wrong, unknown) in every("wrong").into_iter().zip(every("secret")) {
            let (server, client) = run("user", wrong);
            assert_eq!(server, EapClientError::WrongPassword("user".to_owned()));
            let told = matches!(client, EapError::RefusedByMsChapV2 { error: 691, .. });
            assert!(told || client == EapError::Refused(Some(KIND)), "{client}");
            assert_eq!(run("nobody", unknown), (EapClientError::UnknownUser("nobody".to_owned()), client));
        }
    }
}

/// An inner run has its failure inside, and then nothing but EAP-Failure outside.
#[test]
fn inner_ms_chap_waits_for_the_acknowledgement_of_its_failure() {
    let mut server = server(TlsVersion::V1_2, all_inside());
    let end = server.run(vec![with(TtlsInner::Eap(Box::new(ms_chap("wrong"))))], "user");
    assert!(matches!(end, End::GaveUp(EapError::RefusedByMsChapV2 { error: 691, .. })), "{end:?}");
}

#[test]
fn only_what_is_configured_is_taken() {
    for version in VERSIONS {
        let refused = |inner: Vec<TtlsInnerMethod>, client: TtlsInner| match server(version, inner)
            .run(vec![with(client)], "user")
        {
            End::Refused { server, client } => {
                assert_eq!(client, EapError::Refused(Some(KIND)));
                server
            }
            end @ (End::Success { .. } | End::GaveUp(_)) => panic!("{end:?}"),
        };
        let eap = || TtlsInner::Eap(Box::new(EapMethod::Gtc(password())));
        let all = all_inside();
        let [pap, ms_chap, with_eap] = &all[..] else { panic!() };
        let not = EapClientError::NotOffered;
        assert_eq!(refused(vec![ms_chap.clone(), with_eap.clone()], TtlsInner::Pap(password())), not("PAP"));
        assert_eq!(refused(vec![pap.clone(), with_eap.clone()], ms_chap_inside("secret")), not("MS-CHAPv2"));
        assert_eq!(refused(vec![pap.clone(), ms_chap.clone()], eap()), not("EAP"));
        let only_md5 = vec![TtlsInnerMethod::Eap(vec![EapServerMethod::Md5])];
        assert_eq!(refused(only_md5, eap()), EapClientError::NoCommonMethod(EapType::MD5));
    }
}

#[test]
fn a_client_that_does_not_believe_us_says_nothing() {
    let impostor = leaf(&OTHER_CA, |_| {});
    for version in VERSIONS {
        let tls = tls_identity(&impostor, &CA, version);
        let mut server = Server::new(vec![EapServerMethod::Ttls { tls, inner: all_inside() }]);
        let end = server.run(vec![with(TtlsInner::Pap(password()))], "user");
        assert!(matches!(end, End::GaveUp(EapError::ServerCertificate(_))), "{end:?}");
    }
}

#[test]
fn versions_must_have_something_in_common() {
    let ours = EapTlsServer { max_version: TlsVersion::V1_2, ..expected() };
    let method = EapMethod::Ttls { server: ours, anonymous_identity: None, inner: TtlsInner::Pap(password()) };
    let mut server = server(TlsVersion::V1_3, all_inside());
    assert!(matches!(server.run(vec![method], "user"), End::GaveUp(EapError::NoTlsAgreement(_))));
    assert!(matches!(server.refuses(KIND, &[0]), EapClientError::NoTlsAgreement(_)));
}

/// One bit of what the client says inside, or of its Finished.
#[test]
fn nothing_can_be_changed_on_the_way() {
    for version in VERSIONS {
        let mut packets = 0;
        server(version, all_inside()).run_changed(client(vec![with(TtlsInner::Pap(password()))], "user"), |response| {
            packets += u32::from(response.len() > 40);
        });
        for spoilt in 1..packets {
            let mut server = server(version, all_inside());
            let mut number = 0;
            let end = server.run_changed(client(vec![with(TtlsInner::Pap(password()))], "user"), |response| {
                if response.len() > 40 {
                    if number == spoilt {
                        *response.last_mut().unwrap() ^= 1;
                    }
                    number += 1;
                }
            });
            assert!(number > spoilt && !matches!(end, End::Success { .. }), "{end:?}");
        }
    }
}

/// RFC 5281 §9.2: version 0 is what we have offered.
#[test]
fn other_versions_of_ttls_are_the_end() {
    for version in 1..=7 {
        let mut server = server(TlsVersion::V1_3, all_inside());
        assert_eq!(server.identified("user"), (KIND, vec![0x20]));
        let wanted = EapClientError::Packet(EapError::TtlsVersion(version));
        assert_eq!(server.refuses(KIND, &[version, 22, 3, 1]), wanted);
    }
}

#[test]
fn what_cannot_work_is_not_accepted() {
    let refused = |inner: Vec<TtlsInnerMethod>| {
        let tls = tls_identity(&SERVER, &CA, TlsVersion::V1_3);
        let mut config = config(vec![EapServerMethod::Ttls { tls, inner }]);
        config.users.retain(|user| user.name == "user");
        EapServers::new(&config).unwrap_err()
    };
    let tls = || tls_identity(&SERVER, &CA, TlsVersion::V1_3);
    assert_eq!(refused(vec![]), EapUnusable::NoMethod);
    assert_eq!(refused(vec![TtlsInnerMethod::Eap(vec![])]), EapUnusable::NoMethod);
    let twice = vec![EapServerMethod::Gtc, EapServerMethod::Gtc];
    assert_eq!(refused(vec![TtlsInnerMethod::Eap(twice)]), EapUnusable::Twice(EapType::GTC));
    let inside = |method| refused(vec![TtlsInnerMethod::Eap(vec![EapServerMethod::Gtc, method])]);
    assert_eq!(inside(EapServerMethod::Tls(tls())), EapUnusable::InnerMethod(EapType::TLS));
    let ttls = EapServerMethod::Ttls { tls: tls(), inner: all_inside() };
    assert_eq!(inside(ttls), EapUnusable::InnerMethod(EapType::TTLS));
    let hashed = EapUser { name: "h".to_owned(), secret: MsChapV2Secret::NtHash(Secret::new([1; 16])) };
    let with_hash = |inner| {
        let methods = vec![EapServerMethod::Ttls { tls: tls(), inner }];
        EapServers::new(&EapServerConfig { methods, users: vec![hashed.clone()] }).err()
    };
    let serves_nothing = Some(EapUnusable::HashServesNothing("h".to_owned()));
    assert_eq!(with_hash(vec![TtlsInnerMethod::Pap]), serves_nothing);
    assert_eq!(with_hash(vec![TtlsInnerMethod::Eap(vec![EapServerMethod::Md5])]), serves_nothing);
    assert_eq!(with_hash(vec![TtlsInnerMethod::Pap, TtlsInnerMethod::MsChapV2]), None);
    assert_eq!(with_hash(vec![TtlsInnerMethod::Eap(vec![EapServerMethod::MsChapV2])]), None);
}
