//! Bodies, servers and clients that mean harm.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tower::Service;

/// A body in frames that are made when they are asked for. It pauses before the first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frames {
    pub(crate) left: usize,
    pub(crate) size: usize,
    /// The size of the buffer that each frame is a slice of.
    pub(crate) buffer: usize,
    pub(crate) paused: bool,
}

impl Frames {
    pub(crate) fn new(count: usize, size: usize) -> Self {
        Self { left: count, size, buffer: size, paused: false }
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !self.paused {
            self.paused = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        let frame = Bytes::from(vec![b'x'; self.buffer]).slice(..self.size);
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }
}

/// A body whose frames of noise are there at once, after which nothing comes, not even its end.
#[derive(Debug)]
pub(crate) struct Unfinished {
    left: usize,
    size: usize,
    /// The memory of the body itself, such as a server's read buffer.
    _own: Vec<u8>,
}

impl Unfinished {
    pub(crate) fn new(count: usize, size: usize) -> Self {
        Self { left: count, size, _own: Vec::new() }
    }

    pub(crate) fn with_buffer(self, size: usize) -> Self {
        Self { _own: vec![0; size], ..self }
    }
}

impl Body for Unfinished {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Pending;
        }
        self.left -= 1;
        let frame = noise(self.size, self.left as u64);
        Poll::Ready(Some(Ok(Frame::data(frame.into()))))
    }
}

/// Returns `size` bytes that no coding makes smaller.
pub(crate) fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..size).map(|_| next()).collect()
}

/// A response that is stored.
pub(crate) fn fresh<B>(body: B) -> Response<B> {
    Response::builder().header("cache-control", "max-age=600").body(body).unwrap()
}

/// Serves over HTTP/1 and HTTP/2, on a free port.
pub(crate) async fn serve<S, B>(service: S) -> SocketAddr
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>> + std::fmt::Debug,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let service = TowerToHyperService::new(service.clone());
            spawn(async move {
                let mut server = auto::Builder::new(TokioExecutor::new());
                // By default the buffer grows with each read, which returns more on a busy machine.
                server.http1().max_buf_size(16 * 1024);
                drop(server.serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    addr
}

/// Opens so many responses over HTTP/2, each of a URL of its own, and reads none of their bodies.
pub(crate) async fn stall(addr: SocketAddr, streams: usize) -> Vec<Response<Incoming>> {
    let mut opened = Vec::new();
    let mut sender = None;
    for number in 0..streams {
        // A server allows 200 streams a connection.
        if number % 100 == 0 {
            let stream = TcpStream::connect(addr).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (new, connection) =
                http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            spawn(async move { drop(connection.await) });
            sender = Some(new);
        }
        let uri = format!("http://{addr}/{number}");
        let request = Request::get(uri).body(Empty::<Bytes>::new()).unwrap();
        opened.push(sender.as_mut().unwrap().send_request(request).await.unwrap());
    }
    opened
}

/// Waits until nothing is to be done, and returns what is held then.
pub(crate) async fn settled() -> u64 {
    let mut last = super::held();
    loop {
        // The clock is paused: this is over when all tasks wait.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let held = super::held();
        if held == last {
            return held;
        }
        last = held;
    }
}

/// Returns `count` headers with unusual names, and values of `size` bytes.
pub(crate) fn odd_fields(count: usize, size: usize) -> HeaderMap {
    let field = |at: usize| {
        let name = format!("x-unusual-name-{at}");
        (http::HeaderName::try_from(name).unwrap(), "v".repeat(size).parse().unwrap())
    };
    (0..count).map(field).collect()
}

#[expect(clippy::disallowed_methods, reason = "a test may start tasks")]
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}
