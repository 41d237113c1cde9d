//! Where a monitor asks: plain HTTP, `GET /metrics` and nothing else, on a listener of its own.
//!
//! It knows nobody and tells everybody, so it belongs on an address that only the monitor reaches.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, stream::FuturesUnordered};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::{Metrics, text::CONTENT_TYPE};

/// Further callers wait in the kernel's queue.
const CALLERS_MAX: usize = 8;
/// From the first byte of a request to the last of its answer.
const CALL_LONGEST: Duration = Duration::from_secs(15);
/// Whoever connects and asks nothing does not keep the others out for longer.
const ASKED_WITHIN: Duration = Duration::from_secs(2);
/// The least that the HTTP library takes.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// After the kernel refused a connection, as when there are no more file descriptors.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) async fn serve(listener: TcpListener, metrics: Metrics, stop: CancellationToken) {
    let mut calls = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(()) = calls.next() => {}
            accepted = listener.accept(), if calls.len() < CALLERS_MAX => match accepted {
                Ok((stream, _)) => calls.push(call(stream, metrics.clone())),
                Err(error) => {
                    tracing::warn!(%error, "cannot take a connection for metrics");
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
}

/// One connection, one answer. What becomes of it is the caller's affair.
async fn call(stream: TcpStream, metrics: Metrics) {
    let answers = service_fn(move |request| {
        let metrics = metrics.clone();
        async move { Ok::<_, Infallible>(answer(&request, &metrics).await) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(ASKED_WITHIN)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), answers);
    let _ = tokio::time::timeout(CALL_LONGEST, connection).await;
}

async fn answer(request: &Request<Incoming>, metrics: &Metrics) -> Response<Full<Bytes>> {
    match (request.uri().path(), request.method()) {
        ("/metrics", &Method::GET) => said(StatusCode::OK, CONTENT_TYPE, metrics.text().await),
        ("/metrics", _) => said(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET is expected\n".to_owned()),
        _ => said(StatusCode::NOT_FOUND, "text/plain", "the figures are at /metrics\n".to_owned()),
    }
}

fn said(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}
