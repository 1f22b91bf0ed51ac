//! The admin port's HTTP.

use std::{collections::VecDeque, convert::Infallible, future::poll_fn, io, net::SocketAddr, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

use super::{metrics, query::Asked};
use crate::{
    engine::Engine,
    error::{Error, Exit},
    status::Readiness,
};

/// Callers at the same time; another one takes the place of the first of them, so that a probe is always answered.
pub(super) const CALLERS: usize = 64;
/// How long a caller may take for the head of a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a caller may take for everything: its one request, and to read the answer.
const LIFE: Duration = Duration::from_secs(30);
/// A longer head is refused.
const HEAD_BYTES: usize = 16 << 10;
/// Of whoever is refused, so much more is read.
const LEFT_BYTES: u64 = 4 << 20;
const NO_DESCRIPTORS_WAIT: Duration = Duration::from_millis(100);
const WHAT_THERE_IS: &str = "there is /livez, /readyz, /startupz and /metrics\n";

/// The admin port.
pub(crate) struct Server {
    address: SocketAddr,
    listener: TcpListener,
    pub(super) patience: Duration,
    pub(super) life: Duration,
}

impl Server {
    pub(crate) fn bind(address: SocketAddr) -> Result<Self, Error> {
        let bind = || -> io::Result<(SocketAddr, TcpListener)> {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok((listener.local_addr()?, TcpListener::from_std(listener)?))
        };
        let failed = |error: io::Error| {
            Error::new(Exit::LocalSocket, format!("cannot listen on {address} for probes and metrics: {error}"))
                .hint("choose another `listen` in [admin]")
        };
        let (address, listener) = bind().map_err(failed)?;
        Ok(Self { address, listener, patience: PATIENCE, life: LIFE })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until it is dropped.
    pub(crate) async fn serve(self, engine: Engine) {
        let (mut callers, mut places) = (JoinSet::new(), VecDeque::<AbortHandle>::new());
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        places.retain(|caller| !caller.is_finished());
                        while places.len() >= CALLERS {
                            if let Some(first) = places.pop_front() {
                                first.abort();
                            }
                        }
                        places.push_back(callers.spawn(talk(stream, peer, engine.clone(), (self.patience, self.life))));
                    }
                    Err(error) => {
                        tracing::warn!("admin port: {error}");
                        tokio::time::sleep(NO_DESCRIPTORS_WAIT).await;
                    }
                },
                // Reaps those that are done.
                Some(_) = callers.join_next() => {}
            }
        }
    }
}

/// Answers one request, within these times for its head and for everything.
async fn talk(stream: TcpStream, peer: SocketAddr, engine: Engine, (patience, life): (Duration, Duration)) {
    let service = service_fn(|request| std::future::ready(answer(&request, &engine)));
    // Who has said all may end its own direction, and waits for the answer: it is the time for everything that ends others.
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(patience).keep_alive(false).half_close(true);
    builder.max_buf_size(HEAD_BYTES);
    let talk = async {
        let mut connection = builder.serve_connection(TokioIo::new(stream), service);
        let talked = poll_fn(|context| connection.poll_without_shutdown(context)).await;
        let mut stream = connection.into_parts().io.into_inner();
        // Who is gone already has no use for it.
        stream.shutdown().await.ok();
        if talked.is_err() {
            // What was said and not read would have the answer, which is 400 or 431, taken back by a reset.
            tokio::io::copy(&mut stream.take(LEFT_BYTES), &mut tokio::io::sink()).await.ok();
        }
        talked
    };
    match tokio::time::timeout(life, talk).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%peer, "admin port: {error}"),
        Err(_) => tracing::debug!(%peer, "admin port: it took too long"),
    }
}

fn answer(request: &Request<Incoming>, engine: &Engine) -> Result<Response<Full<Bytes>>, Infallible> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(response);
    }
    let query = request.uri().query().unwrap_or_default();
    Ok(match request.uri().path() {
        "/livez" => said(&engine.liveness()),
        "/readyz" => match Asked::parse(query) {
            Ok(asked) => said(&readiness(engine, &asked)),
            Err(key) => {
                let key = key.escape_debug();
                text(
                    StatusCode::BAD_REQUEST,
                    format!("`{key}` is none of what can be asked about: connection, forward\n"),
                )
            }
        },
        "/startupz" => said(&engine.startup()),
        "/metrics" => {
            let mut response = text(StatusCode::OK, metrics::text(&engine.status(), engine.handshakes()));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
            response
        }
        _ => text(StatusCode::NOT_FOUND, WHAT_THERE_IS.to_owned()),
    })
}

/// Whether all is ready that was asked about.
fn readiness(engine: &Engine, asked: &Asked) -> Readiness {
    let status = engine.status();
    let mut reasons = Vec::new();
    for (connection, forward) in asked.questions() {
        for reason in status.readiness(connection, forward).reasons {
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
    }
    Readiness { ready: reasons.is_empty(), reasons }
}

fn said(readiness: &Readiness) -> Response<Full<Bytes>> {
    if readiness.ready {
        return text(StatusCode::OK, "ok\n".to_owned());
    }
    text(StatusCode::SERVICE_UNAVAILABLE, readiness.reasons.join("\n") + "\n")
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
