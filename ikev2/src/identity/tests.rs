use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Identity {
    Identity::from_text(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn text_says_what_kind_of_identity_it_is() {
    for (text, id_type, data) in [
        ("192.0.2.1", 1, &[192, 0, 2, 1][..]),
        ("vpn.example", 2, b"vpn.example"),
        ("@vpn.example", 2, b"vpn.example"),
        ("user", 2, b"user"),
        (" user ", 2, b"user"),
        ("DOMAIN\\user", 2, b"DOMAIN\\user"),
        ("fqdn:192.0.2.1", 2, b"192.0.2.1"),
        ("user@example", 3, b"user@example"),
        ("@@user@example", 3, b"user@example"),
        ("müller@example", 3, "müller@example".as_bytes()),
        ("2001:db8::1", 5, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        ("::1", 5, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        ("CN=a", 9, &[0x30, 12, 0x31, 10, 0x30, 8, 6, 3, 0x55, 4, 3, 0x13, 1, b'a']),
        ("@#6b6579", 11, b"key"),
        ("keyid:key", 11, b"key"),
        ("keyid:#6b6579", 11, b"key"),
    ] {
        let identity = read(text);
        let payload = identity.to_payload();
        assert_eq!((payload.id_type.0, payload.reserved, &payload.data[..]), (id_type, [0; 3], data), "{text}");
        assert_eq!(Identity::from_payload(&payload), Ok(identity), "{text}");
    }
}

#[test]
fn text_that_is_no_identity_is_told_with_the_cure() {
    for (text, expected) in [
        ("", IdentityError::Empty),
        ("keyid:", IdentityError::Empty),
        ("%any", IdentityError::Any),
        ("müller", IdentityError::Name("müller".to_owned())),
        ("two words", IdentityError::Name("two words".to_owned())),
        ("@", IdentityError::Name(String::new())),
        ("ipv4:vpn.example", IdentityError::Address("vpn.example".to_owned())),
        ("two words@example", IdentityError::Email("two words@example".to_owned())),
        ("@#6b657", IdentityError::Hex("6b657".to_owned())),
        ("@#xy", IdentityError::Hex("xy".to_owned())),
        ("@#", IdentityError::Hex(String::new())),
        ("C=CH, name", IdentityError::DistinguishedName("name".to_owned())),
        ("C=CH,", IdentityError::DistinguishedName(String::new())),
        ("C=", IdentityError::DistinguishedName("C=".to_owned())),
        ("CN=a\\", IdentityError::DistinguishedName("CN=a\\".to_owned())),
        ("XY=a", IdentityError::Attribute("XY".to_owned())),
        ("3.1=a", IdentityError::Attribute("3.1".to_owned())),
        ("1.40=a", IdentityError::Attribute("1.40".to_owned())),
    ] {
        assert_eq!(Identity::from_text(text), Err(expected), "{text}");
    }
}

#[test]
fn hosts_and_users_have_identities() {
    assert_eq!(Identity::of_host("192.0.2.1"), read("192.0.2.1"));
    assert_eq!(Identity::of_host("[2001:db8::1]"), read("2001:db8::1"));
    assert_eq!(Identity::of_host("vpn.example."), read("vpn.example"));
    assert_eq!(Identity::of_user("user@example"), read("user@example"));
    assert_eq!(Identity::of_user("DOMAIN\\user"), Identity::Fqdn("DOMAIN\\user".to_owned()));
    assert_eq!(Identity::of_user("192.0.2.1"), Identity::Fqdn("192.0.2.1".to_owned()));
    assert_eq!(Identity::of_user("Jürgen Müller"), Identity::KeyId("Jürgen Müller".as_bytes().to_vec()));
}

/// Names of certificates and requests made by OpenSSL 3.0.22, the second one by `openssl req -new -multivalue-rdn -subj
/// /DC=org+UID=x/emailAddress=a@b`.
#[test]
fn distinguished_names_are_encoded_as_openssl_does() {
    for (text, der) in [
        (
            "C=CH, O=adit tests, CN=vpn.example",
            "3038310b300906035504061302434831133011060355040a0c0a616469742074657374733114301206035504030c0b76706e2e6578616d706c65",
        ),
        (
            "DC=org+UID=x, emailAddress=a@b",
            "303a3124300f060a0992268993f22c6401010c01783011060a0992268993f22c64011916036f72673112301006092a864886f70d0109011603614062",
        ),
    ] {
        let openssl = Identity::DistinguishedName(hex::decode(der).unwrap());
        assert!(read(text).matches(&openssl), "{text} is not {openssl}");
        assert_eq!(read(&openssl.to_string()).to_string(), openssl.to_string());
    }
}

#[test]
fn distinguished_names_match_whatever_their_strings_are_made_of() {
    let cn = |tag: u8, value: &[u8]| {
        let attribute = adit_pki::der::sequence(&[&[6, 3, 0x55, 4, 3], &adit_pki::der::value(tag, &[value])]);
        Identity::DistinguishedName(adit_pki::der::sequence(&[&adit_pki::der::value(0x31, &[&attribute])]))
    };
    let name = cn(12, "Zürich VPN".as_bytes());
    for same in [
        cn(12, "zürich vpn".as_bytes()),
        cn(12, "  ZÜRICH   VPN ".as_bytes()),
        cn(20, b"Z\xfcrich VPN"),
        cn(30, b"\0Z\0\xfc\0r\0i\0c\0h\0 \0V\0P\0N"),
        cn(28, b"\0\0\0Z\0\0\0\xfc\0\0\0r\0\0\0i\0\0\0c\0\0\0h\0\0\0 \0\0\0V\0\0\0P\0\0\0N"),
    ] {
        assert!(name.matches(&same) && same.matches(&name), "{same}");
    }
    for other in [cn(12, b"Zurich VPN"), cn(12, "ZürichVPN".as_bytes()), cn(4, "Zürich VPN".as_bytes()), cn(12, b"*")]
    {
        assert!(!name.matches(&other) && !other.matches(&name), "{other}");
    }
    assert!(cn(4, b"x").matches(&cn(4, b"x")) && !cn(4, b"x").matches(&cn(4, b"X")));
}

#[test]
fn distinguished_names_match_as_a_whole_and_in_order() {
    let name = read("C=CH, O=x, CN=y");
    assert!(name.matches(&read("/C=CH/O=x/CN=y")));
    for other in
        ["O=x, C=CH, CN=y", "C=CH, O=x", "C=CH, O=x, CN=y, CN=y", "C=CH + O=x, CN=y", "C=CH, O=x, UID=y", "CN=y"]
    {
        assert!(!name.matches(&read(other)) && !read(other).matches(&name), "{other}");
    }
    assert!(read("C=CH + O=x, CN=y").matches(&read("o=X + c=ch, cn=Y")), "within one relative name there is no order");
    // The empty name is nobody's (RFC 4945 §3.1.5).
    let empty = Identity::DistinguishedName(vec![0x30, 0]);
    assert!(!empty.matches(&empty));
}

#[test]
fn special_characters_are_escaped_both_ways() {
    for (text, shown) in [
        ("O=Example\\, Inc., CN=a", "O=Example\\, Inc., CN=a"),
        ("/O=a\\/b/CN=c", "O=a\\/b, CN=c"),
        ("CN=a\\+b\\=c\\\\", "CN=a\\+b\\=c\\\\"),
        ("CN=\\20a\\20", "CN=\\20a\\20"),
        ("CN=\\0a\\1b[31m", "CN=\\0a\\1b[31m"),
        ("E=a@b, SN=1, S=x", "emailAddress=a@b, serialNumber=1, surname=x"),
        ("2.5.4.3=a, 1.2.3.4294967295=b", "CN=a, 1.2.3.4294967295=b"),
    ] {
        assert_eq!(read(text).to_string(), shown, "{text}");
        assert_eq!(read(shown), read(text), "{text}");
    }
}

#[test]
fn names_read_as_another_kind_say_their_own() {
    for identity in [
        Identity::Fqdn("192.0.2.1".to_owned()),
        Identity::Fqdn("a@b".to_owned()),
        Identity::Fqdn("CN=a".to_owned()),
        Identity::Fqdn("keyid:x".to_owned()),
        Identity::Email("name".to_owned()),
        Identity::Email("CN=a@b".to_owned()),
    ] {
        assert_eq!(read(&identity.to_string()), identity, "{identity}");
    }
}

/// `psk:` stands before what nobody has proved.
#[test]
fn no_identity_is_shown_as_if_it_were_of_a_key_for_anybody() {
    for (identity, shown) in [
        (Identity::Fqdn("psk:name".to_owned()), "fqdn:psk:name"),
        (Identity::Email("psk:a@b".to_owned()), "email:psk:a@b"),
    ] {
        assert_eq!(identity.to_string(), shown);
        assert_eq!(read(shown), identity);
    }
}

proptest! {
    #[test]
    fn what_is_shown_is_read_back(text in "\\PC{0,40}") {
        if let Ok(identity) = Identity::from_text(&text) {
            prop_assert_eq!(Identity::from_text(&identity.to_string()), Ok(identity.clone()));
            prop_assert!(identity.matches(&identity));
            prop_assert_eq!(Identity::from_payload(&identity.to_payload()), Ok(identity));
        }
    }

    #[test]
    fn no_payload_is_too_odd(id_type: u8, data: Vec<u8>, whole: bool) {
        let data = if whole { adit_pki::der::sequence(&[&data]) } else { data };
        let payload = Identification { id_type: IdType(id_type), reserved: [0; 3], data: data.into() };
        if let Ok(identity) = Identity::from_payload(&payload) {
            drop(identity.to_string());
            prop_assert_eq!(identity.to_payload(), payload);
        }
    }
}
