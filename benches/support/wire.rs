//! A server's connection without the kernel: hyper parses requests out of memory and writes its
//! answers to nowhere.

use std::cell::Cell;
use std::error::Error;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper_util::service::TowerToHyperService;
use tokio::runtime::{Builder, Runtime};
use tower::Service;

use crate::support::Work;

/// A request that its client sends again as soon as it has the answer.
pub(crate) struct Exchanges {
    runtime: Runtime,
    client: Rc<Client>,
    connection: Connection,
    connect: Box<dyn Fn() -> Connection>,
    woken: Arc<Woken>,
}

type Connection = Pin<Box<dyn Future<Output = Result<(), hyper::Error>>>>;

/// The client's end.
struct Client {
    request: &'static str,
    /// The bytes of the request that the server has not read yet.
    unread: Cell<usize>,
    /// The first bytes of the answer: its version and its status.
    start: Cell<[u8; 12]>,
    written: Cell<usize>,
}

/// The server's end.
struct Wire(Rc<Client>);

/// The connection has asked to be polled again.
struct Woken(AtomicBool);

impl Exchanges {
    /// `serve` is called on the runtime.
    pub(crate) fn new<S, B>(workload: &Workload, serve: impl FnOnce() -> S) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body<Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
    {
        let Ok(runtime) = Builder::new_current_thread().enable_time().build() else {
            panic!("there is no runtime")
        };
        let service = runtime.block_on(async { serve() });
        let client = Rc::new(Client {
            request: (workload.request)().leak(),
            unread: Cell::default(),
            start: Cell::default(),
            written: Cell::default(),
        });
        let wire = Rc::clone(&client);
        let connect: Box<dyn Fn() -> Connection> = Box::new(move || {
            let service = TowerToHyperService::new(service.clone());
            Box::pin(http1::Builder::new().serve_connection(Wire(Rc::clone(&wire)), service))
        });
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let mut exchanges = Self { runtime, connection: connect(), client, connect, woken };
        // A cache that is filled by the first has it for the others.
        exchanges.time(3);
        let start = exchanges.client.start.get();
        let expected = format!("HTTP/1.1 {}", workload.status);
        assert!(start == expected.as_bytes(), "the answer is {}", String::from_utf8_lossy(&start));
        exchanges
    }
}

impl Work for Exchanges {
    #[expect(clippy::disallowed_methods, reason = "a bench is about time")]
    fn time(&mut self, times: u32) -> Duration {
        let Self { runtime, client, connection, connect, woken } = self;
        let waker = Waker::from(Arc::clone(woken));
        runtime.block_on(async {
            let start = Instant::now();
            for _ in 0..times {
                client.unread.set(client.request.len());
                client.written.set(0);
                loop {
                    woken.0.store(false, Ordering::Relaxed);
                    match connection.as_mut().poll(&mut Context::from_waker(&waker)) {
                        // It closes where it has not read the whole body.
                        Poll::Ready(Ok(())) if client.written.get() > 0 => *connection = connect(),
                        Poll::Ready(ended) => panic!("there is no answer: {ended:?}"),
                        Poll::Pending => {}
                    }
                    if client.written.get() > 0 && !woken.0.load(Ordering::Relaxed) {
                        break;
                    }
                    // Lets the tasks run, of a cache that is filled.
                    tokio::task::yield_now().await;
                }
            }
            start.elapsed()
        })
    }
}

impl Client {
    fn take(&self, bytes: &[u8]) {
        if self.written.get() == 0 {
            let mut start = [0; 12];
            if let Some(given) = bytes.get(..start.len()) {
                start.copy_from_slice(given);
            }
            self.start.set(start);
        }
        self.written.set(self.written.get() + bytes.len());
    }
}

impl Read for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let client = &self.0;
        let unread = client.unread.get();
        if unread == 0 {
            // Whoever sends the next request polls.
            return Poll::Pending;
        }
        let (_, rest) = client.request.as_bytes().split_at(client.request.len() - unread);
        let some = &rest[..rest.len().min(buffer.remaining())];
        buffer.put_slice(some);
        client.unread.set(unread - some.len());
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        slices.iter().for_each(|slice| self.0.take(slice));
        Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A request, and the status of its answer.
pub(crate) struct Workload {
    pub(crate) title: &'static str,
    pub(crate) request: fn() -> String,
    pub(crate) status: u16,
}

pub(crate) const WORKLOADS: [Workload; 4] = [
    Workload { title: "GET /hello", request: || get("/hello"), status: 200 },
    Workload { title: "GET /items", request: || get("/items"), status: 200 },
    Workload { title: "GET /cached/items", request: || get("/cached/items"), status: 200 },
    Workload { title: "POST /items, 20 KiB of JSON", request: too_large, status: 413 },
];

/// The name of the peer's cases.
pub(crate) const USUAL: &str = "axum, the usual crates";

/// The headers that wrk sends in benches/e2e.
fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\n{FIELDS}\r\n")
}

fn too_large() -> String {
    let size = 20 * 1024;
    let fields = format!("content-type: application/json\r\ncontent-length: {size}\r\n");
    format!("POST /items HTTP/1.1\r\n{FIELDS}{fields}\r\n{}", "1".repeat(size))
}

const FIELDS: &str = "host: 127.0.0.1:3000\r\nuser-agent: curl/8.5.0\r\naccept: */*\r\n\
                      accept-encoding: gzip\r\n";
