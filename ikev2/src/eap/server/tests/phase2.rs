//! Phase 2 of EAP-TTLS, behind TLS: attributes that our own peer would not send.

use ::mschapv2::{Challenged, NtHash, packet::Malformed};
use zeroize::Zeroizing;

use super::{
    super::{
        inner::{InnerMethods, Inside, Phase2},
        users::Users,
    },
    *,
};
use crate::eap::ttls::avp::{Attribute, attributes, encode, parse};

const CHALLENGE: [u8; 17] = [7; 17];

struct Inner {
    users: Arc<Users>,
    methods: InnerMethods,
    phase2: Phase2,
    random: SeededRandom,
}

impl Inner {
    fn new() -> Self {
        let users = Arc::new(Users::new(&config(vec![EapServerMethod::MsChapV2]).users).unwrap());
        let eap = TtlsInnerMethod::Eap(vec![EapServerMethod::Gtc]);
        let methods = [TtlsInnerMethod::Pap, TtlsInnerMethod::MsChapV2, eap];
        let methods = InnerMethods::new(&methods, &users).unwrap();
        Self { users, methods, phase2: Phase2::new(Zeroizing::new(CHALLENGE)), random: SeededRandom::new(3) }
    }

    fn handle(&mut self, plaintext: &[u8]) -> Result<Inside, EapClientError> {
        let random = &mut self.random;
        let mut cx = Context { random, unix_time: NOW, id: 0, identity: b"outside", users: &self.users };
        self.phase2.handle(&mut cx, &self.methods, plaintext)
    }

    /// The attribute in answer, or the identity at the end.
    fn say(&mut self, parts: &[(Attribute, &[u8])]) -> Result<Result<(Attribute, Vec<u8>), String>, EapClientError> {
        let parts: Vec<_> = parts.iter().map(|(attribute, value)| encode(*attribute, value)).collect();
        match self.handle(&attributes(&parts))? {
            Inside::Ask(answer) | Inside::Refuse(answer, _) => {
                let avps = parse(&answer).unwrap();
                Ok(Ok((avps[0].attribute, avps[0].value.to_vec())))
            }
            Inside::Done(identity) => Ok(Err(identity)),
        }
    }

    fn refuses(&mut self, parts: &[(Attribute, &[u8])]) -> EapClientError {
        self.say(parts).unwrap_err()
    }
}

/// Challenge and response of MS-CHAPv2.
fn ms_chap(id: u8, challenge: [u8; 16], password: &str) -> [u8; 50] {
    let hash = NtHash::of_password(password);
    Challenged::with(id, challenge).respond(b"user", &hash, [9; 16]).1.attribute()
}

const NAME: (Attribute, &[u8]) = (Attribute::USER_NAME, b"user");

#[test]
fn ms_chap_needs_the_challenge_that_both_ends_know() {
    let right = ms_chap(7, [7; 16], "secret");
    let challenge = (Attribute::MS_CHAP_CHALLENGE, &[7; 16][..]);
    let response = (Attribute::MS_CHAP2_RESPONSE, &right[..]);
    let mut good = Inner::new();
    let Ok(Ok((attribute, success))) = good.say(&[NAME, challenge, response]) else { panic!() };
    assert_eq!((attribute, success[0], &success[1..3]), (Attribute::MS_CHAP2_SUCCESS, 7, &b"S="[..]));
    assert!(matches!(good.handle(b""), Ok(Inside::Done(user)) if user == "user"));
    // A challenge of the client's own choice, with the response that fits.
    let own = ms_chap(7, [8; 16], "secret");
    let chosen = [NAME, (Attribute::MS_CHAP_CHALLENGE, &[8; 16]), (Attribute::MS_CHAP2_RESPONSE, &own)];
    assert_eq!(Inner::new().refuses(&chosen), EapClientError::OtherChallenge);
    for odd in [&[][..], &[7; 15], &[7; 17]] {
        let odd = [NAME, (Attribute::MS_CHAP_CHALLENGE, odd), response];
        assert_eq!(Inner::new().refuses(&odd), EapClientError::OtherChallenge);
    }
    let other_id = ms_chap(8, [7; 16], "secret");
    let other_id = [NAME, challenge, (Attribute::MS_CHAP2_RESPONSE, &other_id[..])];
    assert_eq!(Inner::new().refuses(&other_id), EapClientError::OtherChallenge);
    let out_of_order = EapClientError::Packet(EapError::AttributeOutOfOrder);
    assert_eq!(Inner::new().refuses(&[NAME, response]), out_of_order);
    assert_eq!(Inner::new().refuses(&[challenge, response]), out_of_order);
    for end in 0..50 {
        let short = [NAME, challenge, (Attribute::MS_CHAP2_RESPONSE, &right[..end])];
        let wanted = EapClientError::Packet(EapError::MsChapV2(Malformed::Truncated));
        assert_eq!(Inner::new().refuses(&short), wanted, "{end}");
    }
}

#[test]
fn a_refusal_of_ms_chap_is_the_last_word() {
    let wrong = ms_chap(7, [7; 16], "wrong");
    let said = [NAME, (Attribute::MS_CHAP_CHALLENGE, &[7; 16]), (Attribute::MS_CHAP2_RESPONSE, &wrong)];
    let mut inner = Inner::new();
    let parts = said.map(|(attribute, value)| encode(attribute, value));
    let Ok(Inside::Refuse(answer, error)) = inner.handle(&attributes(&parts)) else { panic!() };
    assert_eq!(error, EapClientError::WrongPassword("user".to_owned()));
    let avps = parse(&answer).unwrap();
    assert_eq!(avps[0].attribute, Attribute::MS_CHAP_ERROR);
    assert_eq!(::mschapv2::packet::Failure::from_attribute(avps[0].value).unwrap().error, 691);
    assert_eq!(inner.refuses(&said), EapClientError::Packet(EapError::AttributeOutOfOrder));
}

/// Until the client has acknowledged our proof, it has not said that it believes us.
#[test]
fn only_nothing_acknowledges_ms_chap() {
    let right = ms_chap(7, [7; 16], "secret");
    let said = [NAME, (Attribute::MS_CHAP_CHALLENGE, &[7; 16]), (Attribute::MS_CHAP2_RESPONSE, &right)];
    let mut inner = Inner::new();
    assert!(inner.say(&said).is_ok());
    assert_eq!(inner.refuses(&[NAME]), EapClientError::Packet(EapError::AttributeOutOfOrder));
    assert_eq!(inner.handle(b"").err(), Some(EapClientError::Packet(EapError::AttributeOutOfOrder)));
}

#[test]
fn passwords_need_a_name_and_names_a_password() {
    let password = (Attribute::USER_PASSWORD, &b"secret\0\0\0\0\0\0\0\0\0\0"[..]);
    assert_eq!(Inner::new().say(&[NAME, password]), Ok(Err("user".to_owned())));
    assert_eq!(Inner::new().say(&[password, (Attribute::USER_NAME, b"HOME\\user")]), Ok(Err("user".to_owned())));
    let out_of_order = EapClientError::Packet(EapError::AttributeOutOfOrder);
    assert_eq!(Inner::new().refuses(&[NAME]), out_of_order);
    assert_eq!(Inner::new().refuses(&[password]), out_of_order);
    assert_eq!(Inner::new().refuses(&[]), out_of_order);
    let wrong = EapClientError::WrongPassword("user".to_owned());
    for bad in [&b"secre"[..], b"secret\0x", b"\0secret", b"", b"\0"] {
        assert_eq!(Inner::new().refuses(&[NAME, (Attribute::USER_PASSWORD, bad)]), wrong);
    }
    let hashed = [(Attribute::USER_NAME, &b"hashed"[..]), password];
    assert_eq!(Inner::new().refuses(&hashed), EapClientError::OnlyHash("hashed".to_owned()));
}

#[test]
fn inner_eap_begins_with_the_identity_unasked() {
    let message = |packet: &[u8]| (Attribute::EAP_MESSAGE, packet.to_vec());
    let identity = response(0x77, EapType::IDENTITY, b"user");
    let mut inner = Inner::new();
    // Spread over two attributes, as RADIUS does.
    let (first, second) = identity.split_at(6);
    let parts = [(Attribute::EAP_MESSAGE, first), (Attribute::EAP_MESSAGE, second)];
    let Ok(Ok((Attribute::EAP_MESSAGE, request))) = inner.say(&parts) else { panic!() };
    assert_eq!((&request[..2], request[4]), (&[1, 0x78][..], 6));
    let (attribute, answer) = message(&response(0x78, EapType::GTC, b"secret"));
    assert_eq!(inner.say(&[(attribute, &answer)]), Ok(Err("user".to_owned())));
    // Something else first, or in the midst.
    let gtc = response(0x77, EapType::GTC, b"secret");
    let out_of_turn = EapClientError::OutOfTurn { running: EapType::IDENTITY, answered: EapType::GTC };
    assert_eq!(Inner::new().refuses(&[(Attribute::EAP_MESSAGE, &gtc)]), out_of_turn);
    for odd in [&[][..], &[2], &[1, 0x77, 0, 5, 1], &[3, 0x77, 0, 4]] {
        let error = Inner::new().refuses(&[(Attribute::EAP_MESSAGE, odd)]);
        assert!(matches!(error, EapClientError::Packet(EapError::Malformed | EapError::Code(_))), "{error}");
    }
    let mut inner = Inner::new();
    assert!(inner.say(&[(Attribute::EAP_MESSAGE, &identity)]).is_ok());
    let password = (Attribute::USER_PASSWORD, &b"secret"[..]);
    assert_eq!(inner.refuses(&[NAME, password]), EapClientError::Packet(EapError::AttributeOutOfOrder));
}

#[test]
fn unknown_attributes_are_ignored_unless_mandatory() {
    let optional = b"\0\0\x12\x34\0\0\0\x0cabcd";
    let good = attributes(&[encode(NAME.0, NAME.1), encode(Attribute::USER_PASSWORD, b"secret")]);
    let with = |other: &[u8]| Inner::new().handle(&[other, &good[..]].concat());
    assert!(matches!(with(optional), Ok(Inside::Done(_))));
    assert!(matches!(with(&encode(Attribute { vendor: 311, code: 10 }, b"x")), Ok(Inside::Done(_))));
    let mandatory = with(b"\0\0\x12\x34\xc0\0\0\x10\0\0\0\x09abcd").err();
    assert_eq!(mandatory, Some(EapError::MandatoryAttribute { vendor: 9, code: 0x1234 }.into()));
}

/// CVE-2026-25075.
#[test]
fn truncated_attributes_are_the_end() {
    let good = attributes(&[encode(NAME.0, NAME.1), encode(Attribute::USER_PASSWORD, b"secret__")]);
    for end in 1..good.len() {
        let error = Inner::new().handle(&good[..end]).err().unwrap();
        let malformed = EapClientError::Packet(EapError::Attributes);
        // A cut between the two leaves a name without a password.
        let wanted = if end == 12 { EapClientError::Packet(EapError::AttributeOutOfOrder) } else { malformed };
        assert_eq!(error, wanted, "{end}");
    }
    for length in 0..8 {
        let lie = [0, 0, 0, 1, 0x40, 0, 0, length, b'u', b's', b'e', b'r'];
        assert_eq!(Inner::new().handle(&lie).err(), Some(EapClientError::Packet(EapError::Attributes)));
    }
}
