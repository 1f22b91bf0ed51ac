//! As much HTTP/1.1 as the rig needs, on blocking sockets: one request a connection.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

use anyhow::{Context, Result, bail};

/// A request with its headers read; the body, if any, is still to be read.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) length: usize,
    pub(crate) stream: BufReader<TcpStream>,
}

impl Request {
    fn read(stream: TcpStream) -> Result<Self> {
        let mut stream = BufReader::new(stream);
        let (first, headers) = read_head(&mut stream)?;
        let mut words = first.split(' ');
        let (Some(method), Some(path)) = (words.next(), words.next()) else { bail!("not a request: {first:?}") };
        Ok(Self {
            method: method.to_owned(),
            path: path.to_owned(),
            length: content_length(&headers).unwrap_or(0),
            stream,
        })
    }

    /// Answers with a short text.
    pub(crate) fn answer(mut self, status: &str, body: &str) -> Result<()> {
        self.head(status, body.len())?.write_all(body.as_bytes())?;
        Ok(())
    }

    /// Sends the head of an answer; the body follows.
    pub(crate) fn head(&mut self, status: &str, length: usize) -> Result<&mut TcpStream> {
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes())?;
        Ok(stream)
    }
}

/// Serves each connection in a thread of its own, for ever.
pub(crate) fn listen(
    listener: &TcpListener,
    handle: impl Fn(Request) -> Result<()> + Copy + Send + 'static,
) -> Result<()> {
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            if let Err(error) = Request::read(stream).and_then(handle) {
                tracing::warn!("request failed: {error:#}");
            }
        });
    }
    Ok(())
}

/// The answer to a request: its status line and the length of the body that follows.
pub(crate) fn read_answer(stream: &mut BufReader<TcpStream>) -> Result<(String, usize)> {
    let (status, headers) = read_head(stream)?;
    let length = content_length(&headers).context("answer without Content-Length")?;
    Ok((status, length))
}

fn read_head(stream: &mut impl BufRead) -> Result<(String, Vec<String>)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.by_ref().take(8192).read_line(&mut line)? == 0 {
            bail!("the connection ended within the head, after {lines:?}");
        }
        let line = line.trim_end();
        if line.is_empty() && !lines.is_empty() {
            let first = lines.remove(0);
            return Ok((first, lines));
        }
        lines.push(line.to_owned());
    }
}

fn content_length(headers: &[String]) -> Option<usize> {
    let value = |line: &String| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    };
    headers.iter().find_map(value)
}
