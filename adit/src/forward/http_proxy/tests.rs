//! A client of its own at the proxy, and the toy gateway behind it.

use std::{io::ErrorKind, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    super::tests::{Gateway, Serving, ended, serve, soon, tunnel},
    head,
};
use crate::plan::{ForwardKind, ForwardPlan, Listen, Login};

fn plan(login: Option<(&str, &str)>) -> ForwardPlan {
    let login = login.map(|(user, password)| Login { user: user.to_owned(), password: password.into() });
    ForwardPlan::new(ForwardKind::HttpProxy { listen: Listen::Tcp(([127, 0, 0, 1], 0).into()), login })
}

async fn proxy(login: Option<(&str, &str)>) -> (Gateway, Serving) {
    let (far, client) = tunnel().await;
    let serving = serve(&plan(login), &client);
    (far, serving)
}

async fn send(proxy: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// The answer up to the end of the stream, which must be no reset.
async fn refused(proxy: SocketAddr, request: &str) -> String {
    let mut stream = send(proxy, request).await;
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

/// Reads until this has come.
async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        text.push(soon(stream.read_u8()).await.unwrap().into());
    }
    text
}

#[tokio::test]
async fn connect_carries_what_follows_and_what_came_too_early() {
    let (_far, serving) = proxy(None).await;
    let mut stream = send(serving.address, "CONNECT 10.9.0.1:7 HTTP/1.1\r\nHost: 10.9.0.1:7\r\n\r\nearly").await;
    assert!(until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
    until(&mut stream, "early").await;
    stream.write_all(b" and late").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = String::new();
    soon(stream.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest, " and late");
    let now = serving.counters.snapshot();
    assert_eq!((now.sent_bytes, now.received_bytes, now.failed), (14, 14, 0));
}

#[tokio::test]
async fn a_head_may_come_in_pieces() {
    let (_far, serving) = proxy(None).await;
    let mut stream = TcpStream::connect(serving.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in b"CONNECT 10.9.0.1:7 HTTP/1.0\r\n\r\n" {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn every_failure_has_its_status_and_a_text() {
    let (far, client) = tunnel().await;
    let serving = serve(&plan(None), &client);
    let at = serving.address;
    for (request, status, text) in [
        ("CONNECT 10.9.0.1:1 HTTP/1.1\r\n\r\n", "502 ", "cannot connect to 10.9.0.1:1: "),
        ("CONNECT 10.9.0.1 HTTP/1.1\r\n\r\n", "400 ", "HOST:PORT"),
        ("GET http://10.9.0.1:1/ HTTP/1.1\r\n\r\n", "502 ", "cannot connect to 10.9.0.1:1: "),
        ("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "400 ", "this is a proxy"),
        ("GET ftp://10.9.0.1/ HTTP/1.1\r\n\r\n", "405 ", "use CONNECT"),
        ("POST http://10.9.0.1/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "411 ", "Content-Length"),
        ("nonsense\r\n\r\n", "400 ", "malformed"),
    ] {
        let answer = refused(at, request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(body.contains(text) && answer.contains(&format!("Content-Length: {}\r\n", body.len())), "{answer}");
    }
    let large = format!("GET http://10.9.0.1/ HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(2 * head::MOST_BYTES));
    assert!(refused(at, &large).await.starts_with("HTTP/1.1 431 "));
    assert_eq!(serving.counters.snapshot().failed, 8);
    soon(client.close()).await;
    assert!(refused(at, "CONNECT 10.9.0.1:7 HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 503 "));
    drop(far);
}

#[tokio::test]
async fn what_is_no_http_is_answered_at_once() {
    let (_far, serving) = proxy(None).await;
    // Neither ends its direction: they wait.
    for (said, text) in [
        ("\x16\x03\x01\x02\0\x01", "without TLS"),
        ("\x05\x01\0", "without TLS"),
        ("GET http://10.9.0.1/ HTTP/1.1\n\n", "line feed"),
    ] {
        let begin = tokio::time::Instant::now();
        let answer = refused(serving.address, said).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains(text), "{answer}");
        assert!(begin.elapsed() < super::HANDSHAKE, "it was waited for the rest");
    }
}

#[tokio::test]
async fn who_is_not_known_gets_no_further() {
    let (_far, serving) = proxy(Some(("alice", "se:cret"))).await;
    let connect = |line: &str| format!("CONNECT 10.9.0.1:7 HTTP/1.1\r\n{line}\r\n\r\n");
    for wrong in [
        "Host: x",
        "Proxy-Authorization: Basic YWxpY2U6d3Jvbmc=",
        "Proxy-Authorization: Basic !",
        "Proxy-Authorization: Bearer YWxpY2U6c2U6Y3JldA==",
        "Authorization: Basic YWxpY2U6c2U6Y3JldA==",
    ] {
        let answer = refused(serving.address, &connect(wrong)).await;
        assert!(answer.starts_with("HTTP/1.1 407 ") && answer.contains("\r\nProxy-Authenticate: Basic "), "{answer}");
    }
    let right = connect("proxy-authorization: basic YWxpY2U6c2U6Y3JldA==");
    let mut stream = send(serving.address, &right).await;
    assert!(until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
}

/// The echo says what its server would get.
#[tokio::test]
async fn a_plain_request_reaches_its_server_alone() {
    let (_far, serving) = proxy(None).await;
    let request = "POST http://10.9.0.1:7/path HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nConnection: keep-alive\r\n\r\n\
        bodyGET http://other/ HTTP/1.1\r\n\r\n";
    let mut stream = send(serving.address, request).await;
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    assert_eq!(
        answer,
        "POST /path HTTP/1.1\r\nHost: 10.9.0.1:7\r\nContent-Length: 4\r\nVia: 1.1 adit\r\nConnection: close\r\n\r\nbody"
    );
}

#[tokio::test]
async fn a_client_that_leaves_while_its_server_is_silent_gives_its_place_back() {
    let (_far, serving) = proxy(None).await;
    let mut stream = send(serving.address, "GET http://10.9.0.1:9/ HTTP/1.1\r\n\r\n").await;
    // It has said all, and may well wait.
    stream.shutdown().await.unwrap();
    while serving.counters.snapshot().sent_bytes == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(serving.counters.snapshot().open, 1);
    stream.set_zero_linger().unwrap();
    drop(stream);
    serving.stopper.drain();
    ended(serving).await;
}

#[tokio::test]
async fn an_answer_cut_inside_is_cut_outside() {
    let (_far, serving) = proxy(None).await;
    let mut stream = send(serving.address, "GET http://10.9.0.1:19/ HTTP/1.1\r\n\r\n").await;
    let mut answer = Vec::new();
    let read = soon(stream.read_to_end(&mut answer)).await;
    assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset);
}
