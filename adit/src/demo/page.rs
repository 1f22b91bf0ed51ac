//! The web server behind the gateways: it has no socket, and can be reached through the tunnels alone.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest head of a request; browsers send some 2 KiB.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// The page, for whoever came in this way.
pub(super) fn page(way: &str) -> String {
    format!("<html><body><h1>Hello world!</h1><p>You came in through {way}.</p></body></html>\n")
}

/// Answers one request, and ends the connection.
pub(super) async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, page: String) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > MAX_HEAD_BYTES || stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    let mut words = head.split(|byte| byte.is_ascii_whitespace());
    let (status, body) = match (words.next(), words.next()) {
        (Some(b"GET" | b"HEAD"), Some(b"/")) => ("200 OK", page.as_str()),
        (Some(b"GET" | b"HEAD"), _) => ("404 Not Found", "There is one page here: /\n"),
        _ => ("405 Method Not Allowed", "This page can be read, and nothing else.\n"),
    };
    let kind = if status == "200 OK" { "text/html" } else { "text/plain" };
    let length = body.len();
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    if !head.starts_with(b"HEAD") {
        answer += body;
    }
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // Until the other side has ended, too: an end with something unread looks like a failure.
    while stream.read(&mut [0; 1024]).await? > 0 {}
    Ok(())
}

/// Asks for the page over this connection.
pub(super) async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<String> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    match answer.split_once("\r\n\r\n") {
        Some((head, page)) if head.starts_with("HTTP/1.1 200 ") => Ok(page.to_owned()),
        _ => Err(io::Error::other(format!("`{}` is no page", answer.lines().next().unwrap_or_default()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is answered to this.
    async fn answered(request: &[u8]) -> (io::Result<()>, String) {
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        let asks = async {
            near.write_all(request).await.unwrap();
            near.shutdown().await.unwrap();
            let mut text = String::new();
            near.read_to_string(&mut text).await.unwrap();
            text
        };
        tokio::join!(answer(far, page("a test")), asks)
    }

    #[tokio::test]
    async fn the_page_is_what_is_asked_for() {
        let (near, far) = tokio::io::duplex(100);
        let (served, asked) = tokio::join!(answer(far, page("a test")), ask(near));
        served.unwrap();
        assert_eq!(asked.unwrap(), page("a test"));
    }

    #[tokio::test]
    async fn what_is_no_request_for_the_page_gets_no_page() {
        for (request, status) in [
            (&b"HEAD / HTTP/1.1\r\n\r\n"[..], "HTTP/1.1 200 "),
            (b"GET /favicon.ico HTTP/1.1\r\n\r\n", "HTTP/1.1 404 "),
            (b"POST / HTTP/1.1\r\n\r\n", "HTTP/1.1 405 "),
        ] {
            let (served, text) = answered(request).await;
            assert!(served.is_ok() && text.starts_with(status) && !text.contains("Hello"), "{text}");
        }
        for request in [&b""[..], b"GET / HTTP/1.1\r\n", &[b'x'; 20_000]] {
            let (served, text) = answered(request).await;
            assert!(served.is_err() && text.is_empty(), "{text}");
        }
    }
}
