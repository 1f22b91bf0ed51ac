//! An HTTP client of hyper whose connections go through a tunnel. All it takes is a `tower_service::Service<Uri>`, so anything
//! built on tower's connectors can be given one.
//!
//! `VPN_USER=alice VPN_PASSWORD=… cargo run -p adit-examples --example hyper_connector -- office.ovpn http://192.168.100.30:8080/ …`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    env, fs,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use adit_driver::{Client, Connection, Target};
use anyhow::{Context as _, Result};
use http_body_util::{BodyExt, Empty};
use hyper::{Uri, body::Bytes, rt::ReadBufCursor};
use hyper_util::{
    client::legacy::{
        self,
        connect::{Connected, Connection as Described},
    },
    rt::{TokioExecutor, TokioIo},
};
use openvpn::{Credentials, Profile, Secrets};

/// Makes connections through the tunnel. A clone is another handle of the same tunnel.
#[derive(Clone)]
struct Connector(Client);

impl tower_service::Service<Uri> for Connector {
    type Response = Tunnelled;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Tunnelled>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // While the tunnel is down, `dial` waits for it.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let client = self.0.clone();
        Box::pin(async move {
            let connection = client.dial(target(&uri)?).await?;
            Ok(Tunnelled(TokioIo::new(connection)))
        })
    }
}

/// Where a URL leads. Names are asked of the DNS servers behind the gateway; an address of IPv6 stands in brackets, which
/// `Target` knows.
fn target(uri: &Uri) -> io::Result<Target> {
    let wrong = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
    // Whoever asks for https must not be given what everybody can read: put a layer of TLS around this connector for it.
    if uri.scheme_str() != Some("http") {
        return Err(wrong(format!("{uri}: only http:// goes through this connector")));
    }
    let host = uri.host().ok_or_else(|| wrong(format!("{uri}: no host")))?;
    Ok(Target::from((host, uri.port_u16().unwrap_or(80))))
}

/// A connection in the terms of hyper.
struct Tunnelled(TokioIo<Connection>);

impl Described for Tunnelled {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Tunnelled {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl hyper::rt::Write for Tunnelled {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let profile = arguments.next().context("usage: hyper_connector FILE.ovpn URL…")?;
    let text = fs::read(&profile).with_context(|| profile.clone())?;
    let mut load = |name: &str| fs::read(name).map_err(|error| format!("{name}: {error}"));
    let (username, password) = (env::var("VPN_USER")?, env::var("VPN_PASSWORD")?);
    let credentials = Some(Credentials { username, password: password.as_str().into() });
    let config = Profile::parse(&text, &mut load)?.into_config(Secrets { credentials, ..Secrets::default() })?;
    let tunnel = adit_driver::connect(config).await?;

    let http: legacy::Client<_, Empty<Bytes>> =
        legacy::Client::builder(TokioExecutor::new()).build(Connector(tunnel.clone()));
    for url in arguments {
        let answer = http.get(url.parse()?).await?;
        println!("{} {url}", answer.status());
        let body = answer.into_body().collect().await?.to_bytes();
        println!("{}", String::from_utf8_lossy(&body).trim_end());
    }
    // hyper keeps connections for the next request to the same host.
    println!("{} connection(s) inside the tunnel", tunnel.stats().connections);
    tunnel.close().await;
    Ok(())
}
