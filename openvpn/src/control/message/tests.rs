use proptest::prelude::*;

use super::*;

fn one(text: &str) -> Message {
    Message::decode(text.as_bytes()).unwrap()
}

fn options(push: &[String]) -> Vec<&str> {
    push.iter().map(String::as_str).collect()
}

fn push(text: &str) -> Push {
    let (Message::PushReply(push) | Message::PushUpdate(push)) = one(text) else { panic!("{text}") };
    push
}

fn failure(text: &str) -> AuthFailure {
    let Message::AuthFailed(failure) = one(text) else { panic!("{text}") };
    failure
}

#[test]
fn a_record_is_split_at_nul_with_or_without_the_last_one() {
    let all: Vec<_> = messages(b"EXIT\0\0INFO,hello\0HALT").map(Result::unwrap).collect();
    let halt = Message::Halt { message: String::new() };
    assert_eq!(all, [Message::Exit, Message::Info(Info::Text("hello".to_owned())), halt]);
    assert_eq!(messages(b"").count(), 0);
}

#[test]
fn a_record_of_very_many_messages_ends_with_an_error() {
    let record = b"EXIT\0".repeat(1000);
    let all: Vec<_> = messages(&record).collect();
    assert_eq!(all.len(), MAX_MESSAGES + 1);
    assert_eq!(all.last(), Some(&Err(MessageError::TooManyMessages)));
}

#[test]
fn line_ends_are_chopped_and_other_unprintable_characters_refused() {
    assert_eq!(one("AUTH_FAILED,no\r\n\n"), Message::AuthFailed(AuthFailure::Plain("no".to_owned())));
    for (text, at) in
        [("AUTH_FAILED,a\nb", 13), ("INFO,\x1b[2J", 5), ("\tEXIT", 0), ("EXIT\x7f", 4), ("INFO,\u{9b}m", 5)]
    {
        assert_eq!(Message::decode(text.as_bytes()), Err(MessageError::NotPrintable { at }), "{text:?}");
    }
    assert_eq!(failure("AUTH_FAILED,Größe 漢"), AuthFailure::Plain("Größe 漢".to_owned()));
    let latin1 = Message::decode(b"AUTH_FAILED,Gr\xf6\xdfe").unwrap();
    assert_eq!(latin1, Message::AuthFailed(AuthFailure::Plain("Gr\u{fffd}\u{fffd}e".to_owned())));
}

#[test]
fn one_refused_message_does_not_take_the_others_along() {
    let all: Vec<_> = messages(b"INFO,\x1b\0EXIT\0").collect();
    assert_eq!(all, [Err(MessageError::NotPrintable { at: 5 }), Ok(Message::Exit)]);
}

#[test]
fn a_push_reply_is_a_list_of_options() {
    let reply = push("PUSH_REPLY,route 10.0.0.0 255.0.0.0,,ping 10,peer-id 0");
    assert_eq!(options(&reply.options), ["route 10.0.0.0 255.0.0.0", "ping 10", "peer-id 0"]);
    assert!(!reply.more);
    assert!(push("PUSH_REPLY").options.is_empty());
}

#[test]
fn continued_replies_are_joined_without_the_marks() {
    let mut assembler = PushAssembler::default();
    for (first, last) in [("a", "b"), ("c", "d")] {
        assert_eq!(assembler.add(push(&format!("PUSH_REPLY,{first},push-continuation 2"))), Ok(None));
        assert_eq!(assembler.add(push("PUSH_REPLY,m,push-continuation 2")), Ok(None));
        let all = assembler.add(push(&format!("PUSH_REPLY,{last},push-continuation 1"))).unwrap().unwrap();
        assert_eq!(options(&all), [first, "m", last]);
    }
    let alone = assembler.add(push("PUSH_UPDATE,-route")).unwrap().unwrap();
    assert_eq!(options(&alone), ["-route"]);
}

#[test]
fn an_endless_push_is_given_up() {
    let mut assembler = PushAssembler::default();
    let part = || push(&format!("PUSH_REPLY,{},push-continuation 2", "x".repeat(1000)));
    let refused = (1..1000).find(|_| assembler.add(part()).is_err());
    assert_eq!(refused, Some(MAX_PUSH_BYTES / 1000 + 1));
    assert_eq!(assembler.bytes, 0, "nothing is kept");

    let many = || push(&format!("PUSH_REPLY{},push-continuation 2", ",x".repeat(1000)));
    let refused = (1..1000).find(|_| assembler.add(many()).is_err());
    assert_eq!(refused, Some(MAX_PUSH_OPTIONS / 1000 + 1));
}

#[test]
fn refusals_come_with_or_without_a_reason() {
    assert_eq!(failure("AUTH_FAILED"), AuthFailure::Plain(String::new()));
    assert_eq!(failure("AUTH_FAILED,"), AuthFailure::Plain(String::new()));
    assert_eq!(failure("AUTH_FAILED,locked, ask IT"), AuthFailure::Plain("locked, ask IT".to_owned()));
    assert_eq!(failure("AUTH_FAILED,SESSION: expired"), AuthFailure::Session("expired".to_owned()));
    assert_eq!(failure("AUTH_FAILED,TEMPORARILY no"), AuthFailure::Plain("TEMPORARILY no".to_owned()));
}

#[test]
fn temporary_refusals_say_when_and_where_to_try_again() {
    let temporary = |seconds: Option<u64>, advance, message: &str| AuthFailure::Temporary {
        backoff: seconds.map(Duration::from_secs),
        advance,
        message: message.to_owned(),
    };
    for (text, expected) in [
        ("TEMP", temporary(None, Advance::No, "")),
        ("TEMP:later", temporary(None, Advance::No, "later")),
        ("TEMP[backoff 42,advance no]: No free IP addresses", temporary(Some(42), Advance::No, "No free IP addresses")),
        ("TEMP[advance remote]", temporary(None, Advance::Remote, "")),
        ("TEMP[advance addr,new 1, backoff 1]:a:b", temporary(Some(1), Advance::Address, "a:b")),
        ("TEMP[backoff -1,advance up]:x", temporary(None, Advance::No, "x")),
        ("TEMP[backoff 99999999999]:x", temporary(Some(86400), Advance::No, "x")),
        ("TEMP[backoff 1", temporary(None, Advance::No, "[backoff 1")),
    ] {
        assert_eq!(failure(&format!("AUTH_FAILED,{text}")), expected, "{text}");
    }
}

/// The example of OpenVPN's `management-notes.txt`.
#[test]
fn a_dynamic_challenge_is_answered_with_its_state() {
    let text = "AUTH_FAILED,CRV1:R,E:Om01u7Fh4LrGBS7uh0SWmzwabUiGiW6l:Y3Ix:Please enter: token PIN";
    let AuthFailure::Challenge(challenge) = failure(text) else { panic!("no challenge") };
    assert!(challenge.echo && challenge.response);
    assert_eq!(challenge.username, "cr1");
    assert_eq!(challenge.text, "Please enter: token PIN");
    let password = challenge.password(&"8675309".into());
    assert_eq!(password.expose(), b"CRV1::Om01u7Fh4LrGBS7uh0SWmzwabUiGiW6l::8675309");
}

#[test]
fn an_unreadable_challenge_is_a_refusal_that_does_not_show_its_state() {
    for text in ["CRV1:", "CRV1:R:state", "CRV1:R:state:!:text", "CRV1:R:state:Y3Ix"] {
        let AuthFailure::Plain(reason) = failure(&format!("AUTH_FAILED,{text}")) else { panic!("{text}") };
        assert!(!reason.contains("state"), "{text}");
    }
}

#[test]
fn pending_authentication_may_say_how_long() {
    let timeout = |text| {
        let Message::AuthPending { timeout } = one(text) else { panic!("{text}") };
        timeout.map(|time| time.as_secs())
    };
    assert_eq!(timeout("AUTH_PENDING"), None);
    assert_eq!(timeout("AUTH_PENDING,timeout 60"), Some(60));
    assert_eq!(timeout("AUTH_PENDING,new 1,timeout 5"), Some(5));
    assert_eq!(timeout("AUTH_PENDING,timeout x"), None);
    assert_eq!(timeout("AUTH_PENDING,timeout 18446744073709551615"), Some(86400));
}

#[test]
fn infos_are_typed() {
    let info = |text: &str| match (one(&format!("INFO_PRE,{text}")), one(&format!("INFO,{text}"))) {
        (Message::InfoPre(before), Message::Info(after)) if before == after => before,
        other => panic!("{other:?}"),
    };
    assert_eq!(info("OPEN_URL:https://a/b?c=1,2"), Info::OpenUrl("https://a/b?c=1,2".to_owned()));
    let flags = vec!["hidden".to_owned(), "external".to_owned()];
    let url = "https://a:1/".to_owned();
    assert_eq!(info("WEB_AUTH:hidden,external:https://a:1/"), Info::WebAuth { flags, url });
    let text = "Code: now".to_owned();
    assert_eq!(info("CR_TEXT:R,E:Code: now"), Info::CrText { text, echo: true, response: true });
    let text = "Look".to_owned();
    assert_eq!(info("CR_TEXT::Look"), Info::CrText { text, echo: false, response: false });
    assert_eq!(info("CR_TEXT:x"), Info::Text("CR_TEXT:x".to_owned()));
    assert_eq!(info("PROFILE:x"), Info::Text("PROFILE:x".to_owned()));
}

#[test]
fn restarts_carry_flags() {
    let restart = |keep_credentials, next_server, message: &str| {
        Message::Restart(Restart { keep_credentials, next_server, message: message.to_owned() })
    };
    assert_eq!(one("RESTART"), restart(false, false, ""));
    assert_eq!(one("RESTART,maintenance"), restart(false, false, "maintenance"));
    assert_eq!(one("RESTART,[P]"), restart(true, false, ""));
    assert_eq!(one("RESTART,[PN]bye"), restart(true, true, "bye"));
    assert_eq!(one("RESTART,[N]bye"), restart(false, true, "bye"));
    assert_eq!(one("RESTART:bye, all"), restart(false, false, "bye, all"));
    assert_eq!(one("HALT,[P]done"), Message::Halt { message: "done".to_owned() });
    assert_eq!(one("HALT:done"), Message::Halt { message: "done".to_owned() });
}

#[test]
fn unknown_messages_keep_their_first_word_only() {
    assert_eq!(one("ACC,ctrl,x"), Message::Unknown("ACC".to_owned()));
    assert_eq!(one(&"x".repeat(100)), Message::Unknown("x".repeat(32)));
    assert_eq!(one("EXITED"), Message::Unknown("EXITED".to_owned()));
}

#[test]
fn debug_shows_no_token_and_no_state() {
    for text in [
        "PUSH_REPLY,auth-token SECRET,ping 10",
        "AUTH_FAILED,CRV1:R:SECRET:U0VDUkVU:PIN?",
        "INFO_PRE,OPEN_URL:https://a/SECRET",
        "INFO_PRE,WEB_AUTH::https://a/SECRET",
    ] {
        assert!(!format!("{:?}", one(text)).contains("SECRET"), "{text}");
    }
    assert!(format!("{:?}", one("PUSH_REPLY,auth-token SECRET,ping 10")).contains("auth-token"));
}

#[test]
fn answers_are_written_as_the_server_reads_them() {
    assert_eq!(cr_response(&"Hallo Welt!".into()).expose(), b"CR_RESPONSE,SGFsbG8gV2VsdCE=\0");
    let both = static_challenge_password(&"pass".into(), &"123".into());
    assert_eq!(both.expose(), b"SCRV1:cGFzcw==:MTIz");
}

proptest! {
    #[test]
    fn no_bytes_make_decoding_panic(record in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(messages(&record).count() <= MAX_MESSAGES + 1);
    }

    #[test]
    fn no_text_after_a_known_word_makes_decoding_panic(
        verb in prop::sample::select(vec![
            "PUSH_REPLY,", "AUTH_FAILED,", "AUTH_FAILED,TEMP", "AUTH_FAILED,CRV1:", "AUTH_PENDING,", "INFO,",
            "INFO_PRE,WEB_AUTH:", "INFO_PRE,CR_TEXT:", "RESTART,", "RESTART:", "HALT,",
        ]),
        text in "[ -~äß]{0,60}",
    ) {
        let message = format!("{verb}{text}");
        prop_assert!(Message::decode(message.as_bytes()).is_ok());
    }

    #[test]
    fn options_survive_however_they_are_cut_into_messages(
        sent in prop::collection::vec("[a-z0-9][a-z0-9 .]{0,20}", 1..30),
        cut in 1usize..10,
    ) {
        let mut assembler = PushAssembler::default();
        let parts: Vec<_> = sent.chunks(cut).collect();
        let mut result = None;
        for (at, part) in parts.iter().enumerate() {
            let mark = if at + 1 == parts.len() { 1 } else { 2 };
            prop_assert!(result.is_none());
            result = assembler.add(push(&format!("PUSH_REPLY,{},push-continuation {mark}", part.join(",")))).unwrap();
        }
        prop_assert_eq!(result.unwrap().to_vec(), sent);
    }
}
