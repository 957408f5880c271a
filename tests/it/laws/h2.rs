//! A client of HTTP/2 that knows whether a frame ended the stream.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::{HeaderValue, Request};
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::client::{End, Seen, connect};
use super::story::{Ask, Upload};
use crate::support::{BoxBody, BoxError, Scripted, boxed, data, empty, full};

pub(super) async fn send(
    addr: SocketAddr,
    path: &str,
    ask: &Ask,
    tag: Option<&HeaderValue>,
) -> Seen {
    let mut request = Request::new(h2_upload(ask.upload));
    *request.method_mut() = ask.method.clone();
    *request.uri_mut() = format!("http://{addr}{path}").parse().unwrap();
    *request.headers_mut() = ask.headers(tag);
    send_request(addr, request).await
}

fn h2_upload(upload: Option<Upload>) -> BoxBody {
    match upload {
        None => boxed(empty()),
        Some(upload) if upload.chunked => boxed(Scripted::new([data::<BoxError>(upload.len)])),
        Some(upload) => full(vec![b'u'; upload.len]),
    }
}

/// Sends one request over a connection with prior knowledge of HTTP/2.
pub(super) async fn send_request(addr: SocketAddr, request: Request<BoxBody>) -> Seen {
    let frames = Arc::new(Mutex::new(Frames::default()));
    let stream = connect(addr).await;
    let tap = Tap { stream, frames: Arc::clone(&frames) };
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tap));
    let (mut sender, connection) = match handshake.await {
        Ok(connected) => connected,
        Err(error) => return Seen::nothing(&error),
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(connection.await) });
    let response = match sender.send_request(request).await {
        Ok(response) => response,
        Err(error) => return Seen::nothing(&format!("{error:?}")),
    };
    let (head, mut body) = response.into_parts();
    let mut seen =
        Seen { status: Some(head.status.as_u16()), headers: head.headers, ..Seen::nothing(&"") };
    seen.end = loop {
        match body.frame().await {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => seen.body.extend_from_slice(&data),
                Err(frame) => seen.trailers = frame.into_trailers().unwrap_or_default(),
            },
            Some(Err(error)) => break End::Aborted(format!("{error:?}")),
            None if frames.lock().unwrap().ended => break End::Complete,
            None => break End::Aborted("no frame ended the stream".into()),
        }
    };
    seen
}

/// An HTTP/2 connection that looks at the frames that it receives: hyper's client takes a reset
/// with `NO_ERROR` for the end of a body.
#[derive(Debug)]
struct Tap {
    stream: TcpStream,
    frames: Arc<Mutex<Frames>>,
}

/// The frames that were received, of a connection with one stream (RFC 9113 §4.1).
#[derive(Debug, Default)]
struct Frames {
    header: Vec<u8>,
    /// Bytes of the current frame's payload that are still to come.
    payload: usize,
    /// A frame of the stream had `END_STREAM`.
    ended: bool,
}

impl Frames {
    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = &bytes[skipped..];
            let taken = (FRAME_HEADER - self.header.len()).min(bytes.len());
            self.header.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if let [a, b, c, kind, flags, stream @ ..] = &self.header[..] {
                if stream.len() == 4 {
                    self.payload = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
                    self.ended |= [DATA, HEADERS].contains(kind) && flags & END_STREAM != 0;
                    self.header.clear();
                }
            }
        }
    }
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let from = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if polled.is_ready() {
            self.frames.lock().unwrap().feed(&buffer.filled()[from..]);
        }
        polled
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

const FRAME_HEADER: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;
